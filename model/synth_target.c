/* synth_target.c - the place of a stand-in checkpoint; see synth_target.h. */
#include "model/synth_target.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES (4u << 20)
/* What the configurations of model_config_writer.h hold, and no downloaded one. */
#define MARK "\"_name_or_path\": \"synth/"

static ivl_status no_memory(const char *path, ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", path);
}

static char *with_ending(const char *path, const char *ending)
{
    size_t n = strlen(path);
    char *text = ivl__malloc(n + strlen(ending) + 1);

    if (text) {
        memcpy(text, path, n);
        strcpy(text + n, ending);
    }
    return text;
}

/* ---- what is there already --------------------------------------------------------------- */

static bool is_ours(const char *name, ivl__entry_kind kind)
{
    static const char *const endings[] = {".safetensors", ".bin",   ".pth",
                                          ".json",        ".model", ".part"};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t e = strlen(endings[i]);

        if (n > e && strcmp(name + n - e, endings[i]) == 0) {
            return kind == IVL__ENTRY_FILE || kind == IVL__ENTRY_UNKNOWN;
        }
    }
    return false;
}

typedef struct looking {
    int entries;
    char foreign[256]; /* the first entry that is not ours */
} looking;

static bool look(void *user, const char *name, ivl__entry_kind kind)
{
    looking *l = user;

    l->entries++;
    if (!is_ours(name, kind) && !l->foreign[0]) {
        snprintf(l->foreign, sizeof l->foreign, "%s", name);
    }
    return !l->foreign[0];
}

static bool has_mark(const char *folder)
{
    char *path = ivl__path_join(folder, "config.json");
    unsigned char *text = NULL;
    size_t bytes;
    bool found = path && ivl__file_read(path, MAX_CONFIG_BYTES, &text, &bytes, NULL) == IVL_OK &&
                 strstr((char *)text, MARK);

    ivl__free(text);
    ivl__free(path);
    return found;
}

static ivl_status check_folder(const char *path, bool force, ivl_error *error)
{
    looking found = {0};

    IVL__TRY(ivl__folder_list(path, look, &found, error));
    if (found.entries == 0) {
        return IVL_OK;
    }
    if (!force) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' exists and is not empty; choose another name, or --force to replace "
                         "a checkpoint made by synth",
                         path);
    }
    if (found.foreign[0]) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' holds '%s', which synth does not write; remove the folder yourself "
                         "or choose another name",
                         path, found.foreign);
    }
    if (!has_mark(path)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' was not made by synth (its config.json does not say so); remove the "
                         "folder yourself or choose another name",
                         path);
    }
    return IVL_OK;
}

/* rename(2) refuses these, whatever lies there. */
static bool has_no_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static ivl_status check_existing(const ivl__synth_target *t, bool force, ivl_error *error)
{
    if (has_no_name(t->path)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is no name for a new folder", t->path);
    }
    if (ivl__path_is_link(t->path)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' is a symbolic link; name the place that it points to", t->path);
    }
    switch (ivl__file_kind_of(t->path)) {
    case IVL__FILE_MISSING: return IVL_OK;
    case IVL__FILE_FOLDER:
        if (t->folder) {
            return check_folder(t->path, force, error);
        }
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is a folder, its name ends as a file's",
                         t->path);
    case IVL__FILE_REGULAR:
        if (!t->folder && force) {
            return IVL_OK;
        }
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' exists; choose another name%s", t->path,
                         t->folder ? "" : ", or --force to replace it");
    case IVL__FILE_OTHER: break;
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is neither a folder nor a file", t->path);
}

ivl_status ivl__synth_target_open(const char *path, bool folder, bool force,
                                  ivl__synth_target *target, ivl_error *error)
{
    size_t n = strlen(path);

    *target = (ivl__synth_target){.folder = folder, .lock = -1};
    target->path = ivl__strdup(path);
    if (!target->path) {
        return no_memory(path, error);
    }
    while (n > 1 && target->path[n - 1] == '/') {
        target->path[--n] = 0;
    }
    target->part = with_ending(target->path, ".part");
    target->place = ivl__path_folder(target->path);
    if (!target->part || !target->place) {
        return no_memory(path, error);
    }
    return check_existing(target, force, error);
}

/* ---- the part ---------------------------------------------------------------------------- */

typedef struct emptying {
    const char *folder;
    ivl_status status;
    ivl_error *error;
} emptying;

static bool remove_entry(void *user, const char *name, ivl__entry_kind kind)
{
    emptying *e = user;
    char *path;

    if (!is_ours(name, kind)) {
        e->status = ivl__fail(e->error, IVL_INVALID_ARGUMENT,
                              "'%s' holds '%s', which synth does not write; remove the folder "
                              "yourself",
                              e->folder, name);
        return false;
    }
    path = ivl__path_join(e->folder, name);
    e->status = path ? ivl__file_remove(path, e->error) : no_memory(e->folder, e->error);
    ivl__free(path);
    return e->status == IVL_OK;
}

static ivl_status empty_folder(const char *path, ivl_error *error)
{
    emptying e = {path, IVL_OK, error};

    IVL__TRY(ivl__folder_list(path, remove_entry, &e, error));
    return e.status;
}

ivl_status ivl__synth_target_begin(ivl__synth_target *t, uint64_t bytes, ivl_error *error)
{
    IVL__TRY(ivl__folder_create(t->place, error));
    if (!t->folder) {
        /* The writer claims and empties the file itself. */
        return ivl__disk_has_room(t->place, bytes, t->path, error);
    }
    IVL__TRY(ivl__folder_lock(t->part, &t->lock, error));
    /* What an interrupted run left there goes before free space is looked at. */
    IVL__TRY(empty_folder(t->part, error));
    t->owned = true;
    return ivl__disk_has_room(t->place, bytes, t->path, error);
}

char *ivl__synth_target_file(const ivl__synth_target *t, const char *name)
{
    return t->folder ? ivl__path_join(t->part, name) : ivl__strdup(t->part);
}

/* ---- the end ----------------------------------------------------------------------------- */

/* rename(2) replaces files and empty folders only: another folder steps aside first. */
static ivl_status replace_folder(ivl__synth_target *t, ivl_error *error)
{
    char *old = with_ending(t->path, ".old.part");
    ivl_status status = old ? IVL_OK : no_memory(t->path, error);

    /* Left by a run that was killed right here. */
    if (status == IVL_OK && ivl__file_exists(old)) {
        status = empty_folder(old, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_rename(t->path, old, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_rename(t->part, t->path, error);
        if (status != IVL_OK) {
            ivl__file_rename(old, t->path, NULL);
        } else {
            t->owned = false;
            status = empty_folder(old, error);
        }
    }
    if (status == IVL_OK) {
        status = ivl__folder_remove(old, error);
    }
    ivl__free(old);
    return status;
}

ivl_status ivl__synth_target_publish(ivl__synth_target *t, ivl_error *error)
{
    if (t->folder && ivl__file_exists(t->path)) {
        return replace_folder(t, error);
    }
    IVL__TRY(ivl__file_rename(t->part, t->path, error));
    t->owned = false;
    return IVL_OK;
}

void ivl__synth_target_close(ivl__synth_target *t)
{
    if (t->owned && t->folder) {
        empty_folder(t->part, NULL);
        ivl__folder_remove(t->part, NULL);
    } else if (t->owned) {
        ivl__file_remove(t->part, NULL);
    }
    ivl__file_close(t->lock);
    ivl__free(t->path);
    ivl__free(t->part);
    ivl__free(t->place);
    *t = (ivl__synth_target){.lock = -1};
}
