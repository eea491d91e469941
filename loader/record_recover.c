/* record_recover.c - a unit as an earlier process left it; see record_unit.h for the states. */
#include "loader/record_unit.h"

#include "runtime/file.h"
#include "runtime/log.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Lines of a journal that are tried before its object: after a power cut only the last few, written
 * within one sync interval, can be untrue, and each try reads the bytes behind the object again. */
enum { MAX_TRIES = 64 };

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* A file under its final name, as part of an unfinished unit, or as former file of a retried one.
 */
typedef struct file_names {
    char *final, *part, *old;
} file_names;

static ivl_status names_of(const ivl__unit *unit, int file, file_names *names, ivl_error *error)
{
    *names = (file_names){0};
    names->final = ivl__record_file_path(unit->context->layout, file, unit->number);
    names->part = names->final ? ivl__record_concat(names->final, ".part") : NULL;
    names->old = names->final ? ivl__record_concat(names->final, ".old") : NULL;
    return names->part && names->old ? IVL_OK : no_memory(error);
}

static void names_free(file_names *names)
{
    ivl__free(names->final);
    ivl__free(names->part);
    ivl__free(names->old);
}

/* Calls `step` for every file of the unit until it fails. */
static ivl_status each_file(ivl__unit *unit,
                            ivl_status (*step)(ivl__unit *unit, int file, const file_names *names,
                                               ivl_error *error),
                            ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < unit->context->layout->n_files; i++) {
        file_names names;

        status = names_of(unit, i, &names, error);
        if (status == IVL_OK) {
            status = step(unit, i, &names, error);
        }
        names_free(&names);
    }
    return status;
}

/* The .npz or .sqlite files of the unit. */
static ivl_status each_packed(ivl__unit *unit,
                              ivl_status (*step)(ivl__unit *unit, const char *path,
                                                 ivl_error *error),
                              ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    int n = layout->form == IVL__RECORD_NPZ      ? 1
            : layout->form == IVL__RECORD_SQLITE ? layout->n_streams
                                                 : 0;
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < n; i++) {
        char *path = ivl__record_packed_path(layout, i);

        status = path ? step(unit, path, error) : no_memory(error);
        ivl__free(path);
    }
    return status;
}

/* ---- starting over ----------------------------------------------------------------------- */

static ivl_status remove_file(ivl__unit *unit, int file, const file_names *names, ivl_error *error)
{
    if (!ivl__record_is_packed(unit->context->layout, file)) {
        IVL__TRY(ivl__file_remove(names->final, error));
    }
    IVL__TRY(ivl__file_remove(names->part, error));
    return ivl__file_remove(names->old, error);
}

static ivl_status remove_packed(ivl__unit *unit, const char *path, ivl_error *error)
{
    (void)unit;
    return ivl__file_remove(path, error);
}

/* Record and journal go last: whatever is interrupted here is still known as damaged. */
static ivl_status wipe(ivl__unit *unit, ivl_error *error)
{
    IVL__TRY(each_file(unit, remove_file, error));
    IVL__TRY(each_packed(unit, remove_packed, error));
    IVL__TRY(ivl__file_remove(unit->record_path, error));
    return ivl__file_remove(unit->journal_path, error);
}

/* Forgets what the journal said, but for whose unit it is. */
static ivl_status begin_anew(ivl__unit *unit, const char *why, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    ivl__journal fresh = {.unit = journal->unit, .key = journal->key};

    ivl__log(IVL_LOG_WARNING, "'%s': %s; unit %" PRIu64 " is computed anew",
             unit->context->layout->path, why, unit->number);
    unit->damaged = true;
    journal->key = NULL;
    ivl__journal_free(journal);
    *journal = fresh;
    journal->provenance = json_object();
    if (!journal->provenance) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    unit->done = false;
    return wipe(unit, error);
}

/* ---- a new unit -------------------------------------------------------------------------- */

static ivl_status refuse_foreign(const ivl__unit *unit, const char *path, ivl_error *error)
{
    ivl__file_kind kind = ivl__file_kind_of(path);

    if (kind == IVL__FILE_MISSING) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     kind == IVL__FILE_FOLDER
                         ? "'%s', a file of the output '%s', is a folder; choose another output"
                         : "'%s' exists, but no record says that it belongs to the output '%s'; "
                           "move it away, choose another output, or pass --force to overwrite it",
                     path, unit->context->layout->path);
}

static ivl_status check_foreign_file(ivl__unit *unit, int file, const file_names *names,
                                     ivl_error *error)
{
    return ivl__record_is_packed(unit->context->layout, file)
               ? IVL_OK
               : refuse_foreign(unit, names->final, error);
}

static ivl_status check_foreign_packed(ivl__unit *unit, const char *path, ivl_error *error)
{
    return refuse_foreign(unit, path, error);
}

static ivl_status check_foreign(ivl__unit *unit, ivl_error *error)
{
    IVL__TRY(each_file(unit, check_foreign_file, error));
    return each_packed(unit, check_foreign_packed, error);
}

/* ---- reading ----------------------------------------------------------------------------- */

ivl_status ivl__unit_read(const char *path, json_t **json, unsigned char **text, size_t *bytes,
                          size_t *used, ivl_error *error)
{
    ivl_status status;

    IVL__TRY(ivl__file_read(path, IVL__JOURNAL_MAX_BYTES, text, bytes, error));
    status = ivl__journal_json((const char *)*text, *bytes, json, used, error);
    if (status != IVL_OK) {
        ivl__free(*text);
        *text = NULL;
        return ivl__fail_context(error, status, "'%s'", path);
    }
    return IVL_OK;
}

/* Reads journal or record into unit->journal; the text stays for its further lines. */
static ivl_status read_journal(ivl__unit *unit, const char *path, unsigned char **text,
                               size_t *bytes, size_t *used, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl__journal found;
    ivl_status status;
    json_t *json;

    IVL__TRY(ivl__unit_read(path, &json, text, bytes, used, error));
    status = layout->form == IVL__RECORD_FOLDER
                 ? IVL_OK
                 : ivl__record_head_check(unit->context->head, json, layout->path, error);
    if (status == IVL_OK) {
        status = ivl__journal_parse(layout, json, &found, error);
    }
    json_decref(json);
    if (status == IVL_OK && found.unit != unit->number) {
        status = ivl__fail(error, IVL_BAD_INPUT, "it is the record of unit %" PRIu64, found.unit);
        ivl__journal_free(&found);
    }
    if (status == IVL_OK) {
        ivl__journal_free(&unit->journal);
        unit->journal = found;
        return IVL_OK;
    }
    ivl__free(*text);
    if (status == IVL_BAD_INPUT) {
        return ivl__fail_context(error, IVL_INVALID_ARGUMENT,
                                 "'%s' (move it away to compute its rows again, or pass --force)",
                                 path);
    }
    return status;
}

/* ---- done -------------------------------------------------------------------------------- */

static ivl_status check_done_file(ivl__unit *unit, int file, const file_names *names,
                                  ivl_error *error)
{
    uint64_t wanted = unit->journal.now.bytes[file];
    ivl__file_identity identity;

    if (ivl__record_is_packed(unit->context->layout, file)) {
        return IVL_OK;
    }
    if (ivl__file_kind_of(names->final) == IVL__FILE_MISSING) {
        unit->damaged = true;
        return IVL_OK;
    }
    IVL__TRY(ivl__file_identity_of(names->final, &identity, error));
    if (identity.bytes != wanted) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' has %" PRIu64 " bytes, but '%s' says %" PRIu64
                         ": it was changed since; move it away to compute its rows again, or pass "
                         "--force",
                         names->final, identity.bytes, unit->record_path, wanted);
    }
    return IVL_OK;
}

static ivl_status check_done_packed(ivl__unit *unit, const char *path, ivl_error *error)
{
    (void)error;
    unit->damaged = unit->damaged || ivl__file_kind_of(path) == IVL__FILE_MISSING;
    return IVL_OK;
}

static ivl_status read_done(ivl__unit *unit, ivl_error *error)
{
    unsigned char *text;
    size_t bytes, used;

    IVL__TRY(read_journal(unit, unit->record_path, &text, &bytes, &used, error));
    ivl__free(text);
    if (!unit->journal.complete || unit->journal.has_old) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' is not the record of a finished unit",
                         unit->record_path);
    }
    unit->done = true;
    IVL__TRY(each_file(unit, check_done_file, error));
    IVL__TRY(each_packed(unit, check_done_packed, error));
    if (unit->damaged) {
        IVL__TRY(ivl__unit_lock(unit, error));
        return begin_anew(unit, "files that its record tells of are gone", error);
    }
    return IVL_OK;
}

/* ---- being reopened, retried ------------------------------------------------------------- */

static ivl_status final_to_part(ivl__unit *unit, int file, const file_names *names,
                                ivl_error *error)
{
    if (ivl__record_is_packed(unit->context->layout, file) || !ivl__file_exists(names->final)) {
        return IVL_OK;
    }
    return ivl__file_rename(names->final, names->part, error);
}

/* The journal is "open" already; the record goes when nothing bears a final name any more. */
static ivl_status take_names_back(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;

    if (layout->form == IVL__RECORD_NPZ || layout->form == IVL__RECORD_SQLITE) {
        IVL__TRY(ivl__unit_unpack(unit, error));
    }
    IVL__TRY(each_file(unit, final_to_part, error));
    return ivl__file_remove(unit->record_path, error);
}

static ivl_status part_to_old(ivl__unit *unit, int file, const file_names *names, ivl_error *error)
{
    ivl__file_identity identity;

    if (!ivl__file_exists(names->old) && ivl__file_exists(names->part)) {
        IVL__TRY(ivl__file_rename(names->part, names->old, error));
    }
    if (ivl__file_kind_of(names->old) != IVL__FILE_REGULAR) {
        unit->damaged = true;
        return IVL_OK;
    }
    IVL__TRY(ivl__file_identity_of(names->old, &identity, error));
    unit->damaged = unit->damaged || identity.bytes < unit->journal.old.bytes[file];
    return IVL_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

/* Whether the parts hold what a state claims; from: bytes that were synced, NULL to look at sizes
 * only. */
static ivl_status holds(ivl__unit *unit, const ivl__record_state *state, const uint64_t *from,
                        const uint32_t *crc, bool *good, ivl_error *error)
{
    ivl_status status = IVL_OK;

    *good = true;
    for (int i = 0; status == IVL_OK && *good && i < unit->context->layout->n_files; i++) {
        ivl__file_identity identity;
        file_names names;

        status = names_of(unit, i, &names, error);
        if (status == IVL_OK && ivl__file_kind_of(names.part) != IVL__FILE_REGULAR) {
            *good = state->bytes[i] == 0;
        } else if (status == IVL_OK && from) {
            status = ivl__record_part_check(names.part, from[i], state->bytes[i], crc[i], good,
                                            error);
        } else if (status == IVL_OK) {
            status = ivl__file_identity_of(names.part, &identity, error);
            *good = status == IVL_OK && identity.bytes >= state->bytes[i];
        }
        names_free(&names);
    }
    return status;
}

/* Takes the last line of the journal that tells the truth; else its object stays. */
static ivl_status take_last_line(ivl__unit *unit, const char *text, size_t from, size_t end,
                                 ivl_error *error)
{
    ivl__journal *journal = &unit->journal;

    for (int i = 0; i < MAX_TRIES; i++) {
        uint32_t crc[IVL__RECORD_MAX_FILES];
        ivl__record_state state;
        ivl_status status;
        bool good = false;

        if (!ivl__journal_line(unit->context->layout, text, from, &end, &state, crc)) {
            break;
        }
        status = holds(unit, &state, journal->now.bytes, crc, &good, error);
        if (status == IVL_OK && good) {
            ivl__record_state_free(&journal->now);
            journal->now = state;
            break;
        }
        ivl__record_state_free(&state);
        IVL__TRY(status);
    }
    return IVL_OK;
}

static ivl_status settle_open(ivl__unit *unit, const char *text, size_t from, size_t end,
                              ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    bool good = true;

    if (journal->has_old && journal->now.inputs < journal->old.inputs) {
        IVL__TRY(each_file(unit, part_to_old, error));
        if (unit->damaged) {
            return begin_anew(unit, "its former files are gone or cut", error);
        }
    }
    if (journal->now.inputs) {
        IVL__TRY(holds(unit, &journal->now, NULL, NULL, &good, error));
    }
    if (!good) {
        return begin_anew(unit, "its .part files are gone or cut", error);
    }
    return journal->now.inputs ? take_last_line(unit, text, from, end, error) : IVL_OK;
}

static ivl_status read_open(ivl__unit *unit, ivl_error *error)
{
    unsigned char *text;
    size_t bytes, used;
    ivl_status status;

    IVL__TRY(read_journal(unit, unit->journal_path, &text, &bytes, &used, error));
    if (unit->journal.complete) {
        status = ivl__unit_close(unit, error);
    } else {
        status = ivl__file_exists(unit->record_path) ? take_names_back(unit, error)
                                                     : check_foreign(unit, error);
        if (status == IVL_OK) {
            status = settle_open(unit, (const char *)text, used, bytes, error);
        }
    }
    ivl__free(text);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------- */

ivl_status ivl__unit_lock(ivl__unit *unit, ivl_error *error)
{
    bool busy = false;

    if (unit->lock >= 0) {
        return IVL_OK;
    }
    IVL__TRY(ivl__lockfile_take(unit->lock_path, false, &unit->lock, &busy, error));
    if (busy) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "unit %" PRIu64 " of '%s' is being written by another process (it holds "
                         "'%s'); wait for it, or give each process its own --shard i/n",
                         unit->number, unit->context->layout->path, unit->lock_path);
    }
    return IVL_OK;
}

/* The lock file of a process that ended between finishing the unit and removing it. */
static void remove_stale_lock(const ivl__unit *unit)
{
    bool busy;
    int fd;

    if (ivl__file_exists(unit->lock_path) &&
        ivl__lockfile_take(unit->lock_path, false, &fd, &busy, NULL) == IVL_OK) {
        ivl__lockfile_release(unit->lock_path, fd);
    }
}

ivl_status ivl__unit_recover(ivl__unit *unit, ivl_error *error)
{
    bool finished = ivl__file_exists(unit->record_path) && !ivl__file_exists(unit->journal_path);

    if (!finished || unit->context->force) {
        IVL__TRY(ivl__unit_lock(unit, error));
        /* Now that nobody else can change it. */
        finished = ivl__file_exists(unit->record_path) && !ivl__file_exists(unit->journal_path);
    }
    if (unit->context->force) {
        return wipe(unit, error);
    }
    if (finished) {
        if (unit->lock < 0) {
            remove_stale_lock(unit);
        }
        return read_done(unit, error);
    }
    return ivl__file_exists(unit->journal_path) ? read_open(unit, error)
                                                : check_foreign(unit, error);
}

/* ---- journal ----------------------------------------------------------------------------- */

static char *journal_text(const ivl__unit *unit)
{
    const ivl__record_layout *layout = unit->context->layout;
    const ivl__journal *journal = &unit->journal;
    json_t *object = json_object();
    char *dump = NULL;
    char *text;

    if (object &&
        (layout->form == IVL__RECORD_FOLDER ||
         ivl__record_head_write(unit->context->head, object)) &&
        ivl__journal_write(layout, journal, object)) {
        dump = json_dumps(object, journal->complete ? JSON_INDENT(2) : JSON_COMPACT);
    }
    json_decref(object);
    text = dump ? ivl__record_concat(dump, "\n") : NULL;
    free(dump);
    return text;
}

/* Like ivl__file_replace, but under one temporary name: the lock keeps others away, and what a kill
 * leaves behind is overwritten by the next run instead of lying about. */
static ivl_status replace(const char *path, const char *text, ivl_error *error)
{
    char *temporary = ivl__record_concat(path, ".new");
    size_t bytes = strlen(text);
    ivl_status status = temporary ? IVL_OK : no_memory(error);
    int fd = -1;

    if (status == IVL_OK) {
        status = ivl__file_create(temporary, &fd, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_truncate(fd, temporary, 0, error);
        status = status == IVL_OK ? ivl__file_pwrite(fd, temporary, 0, text, bytes, error) : status;
        status = status == IVL_OK ? ivl__file_sync(fd, temporary, error) : status;
        ivl__file_close(fd);
        status = status == IVL_OK ? ivl__file_rename(temporary, path, error) : status;
        if (status != IVL_OK) {
            ivl__file_remove(temporary, NULL);
        }
    }
    ivl__free(temporary);
    return status;
}

ivl_status ivl__unit_write_journal(ivl__unit *unit, ivl_error *error)
{
    char *text = journal_text(unit);
    ivl_status status;

    if (!text) {
        return no_memory(error);
    }
    status = replace(unit->journal_path, text, error);
    if (status == IVL_OK) {
        unit->journal_bytes = strlen(text);
        unit->synced_at = ivl__now();
    }
    ivl__free(text);
    return status;
}

/* ---- from one state to the next ---------------------------------------------------------- */

static ivl_status part_to_final(ivl__unit *unit, int file, const file_names *names,
                                ivl_error *error)
{
    if (ivl__record_is_packed(unit->context->layout, file)) {
        return IVL_OK;
    }
    if (ivl__file_exists(names->part)) {
        return ivl__file_rename(names->part, names->final, error);
    }
    if (ivl__file_kind_of(names->final) != IVL__FILE_REGULAR) {
        return ivl__fail(error, IVL_IO_ERROR,
                         "'%s', which '%s' tells of, is gone; pass --force to start over",
                         names->part, unit->journal_path);
    }
    return IVL_OK;
}

static ivl_status remove_old(ivl__unit *unit, int file, const file_names *names, ivl_error *error)
{
    (void)unit;
    (void)file;
    return ivl__file_remove(names->old, error);
}

static ivl_status write_record(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl_status status;
    char *text, *keys;

    if (layout->form != IVL__RECORD_NPZ) {
        return ivl__file_rename(unit->journal_path, unit->record_path, error);
    }
    text = journal_text(unit);
    keys = ivl__record_file_path(layout, layout->n_streams, unit->number);
    status = text && keys ? ivl__unit_write_keys(unit, text, keys, error) : no_memory(error);
    ivl__free(text);
    ivl__free(keys);
    return status == IVL_OK ? ivl__file_remove(unit->journal_path, error) : status;
}

ivl_status ivl__unit_close(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;

    IVL__TRY(each_file(unit, part_to_final, error));
    if (layout->form == IVL__RECORD_NPZ || layout->form == IVL__RECORD_SQLITE) {
        IVL__TRY(ivl__unit_pack(unit, error));
    }
    IVL__TRY(each_file(unit, remove_old, error));
    IVL__TRY(write_record(unit, error));
    unit->done = true;
    return IVL_OK;
}

ivl_status ivl__unit_reopen(ivl__unit *unit, ivl_error *error)
{
    uint64_t hash = unit->journal.now.hash;

    if (!unit->done) {
        return IVL_OK;
    }
    if (unit->lock < 0) {
        IVL__TRY(ivl__unit_lock(unit, error));
        if (ivl__file_exists(unit->journal_path) || read_done(unit, error) != IVL_OK ||
            unit->journal.now.hash != hash) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "unit %" PRIu64 " of '%s' was changed by another process just now",
                             unit->number, unit->context->layout->path);
        }
    }
    unit->journal.complete = false;
    IVL__TRY(ivl__unit_write_journal(unit, error));
    IVL__TRY(take_names_back(unit, error));
    unit->done = false;
    unit->journal_bytes = 0;
    return IVL_OK;
}

ivl_status ivl__unit_start_retry(ivl__unit *unit, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;

    IVL__TRY(ivl__unit_reopen(unit, error));
    if (!journal->has_old) {
        journal->old = journal->now;
        journal->has_old = true;
        journal->now = (ivl__record_state){0};
        IVL__TRY(ivl__unit_write_journal(unit, error));
        unit->journal_bytes = 0;
        IVL__TRY(each_file(unit, part_to_old, error));
        if (unit->damaged) {
            return begin_anew(unit, "its files are gone or cut", error);
        }
    }
    return IVL_OK;
}
