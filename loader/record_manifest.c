/* record_manifest.c - manifest and totals of an output folder; see record_manifest.h. */
#include "loader/record_manifest.h"

#include "loader/json_text.h"
#include "loader/record_journal.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

/* Identity and provenance are short. */
enum { MAX_MANIFEST_BYTES = 16 << 20 };

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* ---- reading ----------------------------------------------------------------------------- */

static ivl_status read_object(const char *folder, const char *name, json_t **json, ivl_error *error)
{
    char *path = ivl__path_join(folder, name);
    unsigned char *text;
    size_t bytes;
    json_error_t why;
    ivl_status status = IVL_OK;

    *json = NULL;
    if (!path) {
        return no_memory(error);
    }
    if (ivl__file_exists(path)) {
        status = ivl__file_read(path, MAX_MANIFEST_BYTES, &text, &bytes, error);
        if (status == IVL_OK) {
            *json = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, &why);
            if (!json_is_object(*json)) {
                json_decref(*json);
                *json = NULL;
                status = ivl__fail(error, IVL_BAD_INPUT, "'%s' is no JSON object", path);
            }
            ivl__free(text);
        }
    }
    ivl__free(path);
    return status;
}

ivl_status ivl__manifest_read(const char *folder, json_t **json, ivl_error *error)
{
    return read_object(folder, "manifest.json", json, error);
}

/* ---- folders ----------------------------------------------------------------------------- */

static ivl_status make_folder(const ivl__record_layout *layout, const char *name, ivl_error *error)
{
    char *path = ivl__path_join(layout->base, name);
    ivl_status status = path ? ivl__folder_create(path, error) : no_memory(error);

    if (status == IVL_OK && !ivl__path_usable(path)) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot write in '%s': permission denied", path);
    }
    ivl__free(path);
    return status;
}

ivl_status ivl__manifest_folders(const ivl__record_layout *layout, ivl_error *error)
{
    for (int i = 0; i < layout->n_streams; i++) {
        IVL__TRY(make_folder(layout, layout->streams[i].name, error));
    }
    IVL__TRY(make_folder(layout, "metadata", error));
    IVL__TRY(make_folder(layout, "errors", error));
    return make_folder(layout, "done", error);
}

/* ---- starting over ----------------------------------------------------------------------- */

bool ivl__record_name_unit(const char *name, uint64_t *unit, bool *open)
{
    char *end;
    size_t digits = strspn(name, "0123456789");

    if (digits < 6 || digits > 18) {
        return false;
    }
    *unit = strtoull(name, &end, 10);
    *open = strcmp(end, ".json.part") == 0;
    return *open || strcmp(end, ".json") == 0;
}

/* Whether a name is one that units have: PREFIX, six digits or more, ENDING and perhaps more. */
static bool is_unit_file(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(name, prefix, n) == 0 && strspn(name + n, "0123456789") >= 6 &&
           name[n + strspn(name + n, "0123456789")] == '.';
}

typedef struct cleaning {
    const char *folder, *prefix;
    ivl_status status;
    ivl_error *error;
} cleaning;

static bool remove_unit_file(void *user, const char *name, ivl__entry_kind kind)
{
    cleaning *c = user;
    char *path;

    if (kind == IVL__ENTRY_FOLDER || !is_unit_file(name, c->prefix)) {
        return true;
    }
    path = ivl__path_join(c->folder, name);
    c->status = path ? ivl__file_remove(path, c->error) : no_memory(c->error);
    ivl__free(path);
    return c->status == IVL_OK;
}

/* Removes the unit files of one folder; a missing folder is fine. */
static ivl_status clean(const char *base, const char *name, const char *prefix, ivl_error *error)
{
    char *folder = ivl__path_join(base, name);
    cleaning c = {folder, prefix, IVL_OK, error};
    ivl_status status = IVL_OK;

    if (!folder) {
        return no_memory(error);
    }
    if (ivl__file_kind_of(folder) == IVL__FILE_FOLDER) {
        status = ivl__folder_list(folder, remove_unit_file, &c, error);
    }
    ivl__free(folder);
    return status == IVL_OK ? c.status : status;
}

static ivl_status remove_named(const char *base, const char *name, ivl_error *error)
{
    char *path = ivl__path_join(base, name);
    ivl_status status = path ? ivl__file_remove(path, error) : no_memory(error);

    ivl__free(path);
    return status;
}

static ivl_status clean_streams(const char *base, const json_t *manifest, ivl_error *error)
{
    ivl__record_stream streams[IVL__MAX_STREAMS];
    ivl__npy_type type;
    int n = 0;

    if (ivl__record_head_streams(manifest, streams, &n, &type, NULL) != IVL_OK) {
        return IVL_OK;
    }
    for (int i = 0; i < n; i++) {
        ivl__text prefix = {0};
        ivl_status status;

        if (streams[i].name[strcspn(streams[i].name, "/.")]) {
            continue; /* Not a name that this program gives. */
        }
        ivl__text_printf(&prefix, "%s_", streams[i].name);
        status = prefix.failed ? no_memory(error)
                               : clean(base, streams[i].name, prefix.data, error);
        ivl__text_free(&prefix);
        IVL__TRY(status);
    }
    return IVL_OK;
}

/* Everything of the former manifest; the records first, so that no unit is ever taken for done that
 * has lost its rows. */
static ivl_status clean_all(const ivl__record_layout *layout, const json_t *manifest,
                            ivl_error *error)
{
    IVL__TRY(clean(layout->base, "done", "", error));
    IVL__TRY(remove_named(layout->base, "totals.json", error));
    IVL__TRY(remove_named(layout->base, "errors.jsonl", error));
    IVL__TRY(clean_streams(layout->base, manifest, error));
    IVL__TRY(clean(layout->base, "metadata", "metadata_", error));
    return clean(layout->base, "errors", "errors_", error);
}

/* ---- manifest ---------------------------------------------------------------------------- */

static ivl_status write_object(const char *folder, const char *name, json_t *object,
                               ivl_error *error)
{
    char *path = ivl__path_join(folder, name);
    char *dump = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
    char *text = dump ? ivl__record_concat(dump, "\n") : NULL;
    ivl_status status = no_memory(error);

    if (path && text) {
        status = ivl__file_replace(path, text, strlen(text), error);
    }
    ivl__free(text);
    free(dump);
    ivl__free(path);
    return status;
}

static ivl_status write_manifest(const ivl__record_layout *layout, const ivl__record_head *head,
                                 ivl_error *error)
{
    json_t *object = json_object();
    ivl_status status = no_memory(error);

    json_t *provenance = head->provenance ? json_incref(head->provenance) : json_object();

    if (object && ivl__record_head_write(head, object) &&
        json_object_set_new(object, "provenance", provenance) == 0) {
        status = write_object(layout->base, "manifest.json", object, error);
    }
    json_decref(object);
    return status;
}

/* With the lock held. */
static ivl_status settle(const ivl__record_layout *layout, const ivl__record_head *head, bool force,
                         ivl_error *error)
{
    json_t *json;
    ivl_error why = {0};
    ivl_status status = ivl__manifest_read(layout->base, &json, &why);

    if (status == IVL_OK && json) {
        status = ivl__record_head_check(head, json, layout->path, &why);
        if (status == IVL_BAD_INPUT) {
            ivl__fail_context(&why, status, "'%s/manifest.json'", layout->base);
        }
        if (status == IVL_OK) {
            json_decref(json);
            return IVL_OK;
        }
    }
    if (status != IVL_OK &&
        !(force && (status == IVL_BAD_INPUT || status == IVL_INVALID_ARGUMENT))) {
        json_decref(json);
        return ivl__fail(error, status, "%s", why.message);
    }
    status = status == IVL_OK ? IVL_OK : clean_all(layout, json, error);
    json_decref(json);
    return status == IVL_OK ? write_manifest(layout, head, error) : status;
}

/* With the lock held. Another process may have been faster. */
static ivl_status note_provenance(const ivl__record_layout *layout, const ivl__record_head *head,
                                  ivl_error *error)
{
    json_t *json;
    const json_t *recorded;
    ivl_status status;

    IVL__TRY(ivl__manifest_read(layout->base, &json, error));
    recorded = json_object_get(json, "provenance");
    status = json && json_object_size(recorded) == 0
                 ? write_manifest(layout, head, error)
                 : ivl__record_head_check_provenance(head, recorded, layout->path, error);
    json_decref(json);
    return status;
}

/* One process at a time. */
static ivl_status with_lock(const ivl__record_layout *layout, const ivl__record_head *head,
                            bool settling, bool force, ivl_error *error)
{
    char *lock = ivl__path_join(layout->base, "manifest.json.lock");
    ivl_status status;
    bool busy;
    int fd;

    if (!lock) {
        return no_memory(error);
    }
    status = ivl__lockfile_take(lock, true, &fd, &busy, error);
    if (status == IVL_OK) {
        status = settling ? settle(layout, head, force, error)
                          : note_provenance(layout, head, error);
        ivl__lockfile_release(lock, fd);
    }
    ivl__free(lock);
    return status;
}

ivl_status ivl__manifest_settle(const ivl__record_layout *layout, const ivl__record_head *head,
                                bool force, ivl_error *error)
{
    return with_lock(layout, head, true, force, error);
}

ivl_status ivl__manifest_note_provenance(const ivl__record_layout *layout,
                                         const ivl__record_head *head, ivl_error *error)
{
    return with_lock(layout, head, false, false, error);
}

/* ---- totals ------------------------------------------------------------------------------ */

ivl_status ivl__totals_read(const char *folder, uint64_t *units, uint64_t *inputs, ivl_error *error)
{
    json_t *json;
    bool good;

    *units = 0;
    *inputs = 0;
    IVL__TRY(read_object(folder, "totals.json", &json, error));
    if (!json) {
        return IVL_OK;
    }
    good = ivl__json_u64(json, "units", units) && ivl__json_u64(json, "inputs", inputs);
    json_decref(json);
    return good ? IVL_OK
                : ivl__fail(error, IVL_BAD_INPUT, "'%s/totals.json' is damaged; remove it", folder);
}

ivl_status ivl__totals_write(const char *folder, uint64_t units, uint64_t inputs, ivl_error *error)
{
    json_t *object = json_pack("{s:I, s:I}", "units", (json_int_t)units, "inputs",
                               (json_int_t)inputs);
    ivl_status status = write_object(folder, "totals.json", object, error);

    json_decref(object);
    return status;
}
