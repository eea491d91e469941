/* record_writer.c - rows of vectors with their metadata; see record_writer.h.
 *
 * The reader side opens units (which recovers and locks them) and hands them over by a list; the
 * writer side appends to one after another. A unit belongs to the reader until it answers NEW for
 * an input of it, and its extent as found (known_*) is never changed.
 */
#include "loader/record_writer.h"

#include "loader/record_manifest.h"
#include "loader/record_unit.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct ivl__record_writer {
    ivl__record_layout layout;
    ivl__record_head head;
    ivl__unit_context context;
    char *found_provenance; /* of an earlier run, malloc'ed by jansson */

    ivl__unit *walking; /* reader side */
    ivl__unit *current; /* writer side */

    ivl__mutex mutex; /* guards head.provenance until the first row, and: */
    bool settled;     /* the manifest is there */
    ivl__unit *units; /* opened and not yet finished */
    ivl__record_writer_counts counts;
};

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* ---- open -------------------------------------------------------------------------------- */

static ivl_status check_folder_of(const char *path, ivl_error *error)
{
    char *folder = ivl__path_folder(path);
    ivl_status status = IVL_OK;

    if (!folder) {
        return no_memory(error);
    }
    if (ivl__file_kind_of(folder) != IVL__FILE_FOLDER) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot write '%s': there is no folder '%s'", path,
                           folder);
    } else if (!ivl__path_usable(folder)) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot write '%s': no permission in '%s'", path,
                           folder);
    }
    ivl__free(folder);
    return status;
}

/* The head that an earlier run left, *json = NULL when there is none. */
static ivl_status read_head(const ivl__record_layout *layout, json_t **json, ivl_error *error)
{
    char *record, *journal;
    ivl_status status = IVL_OK;

    *json = NULL;
    if (layout->form == IVL__RECORD_FOLDER) {
        return ivl__manifest_read(layout->base, json, error);
    }
    record = ivl__record_path(layout, 0);
    journal = record ? ivl__record_concat(record, ".part") : NULL;
    if (!journal) {
        status = no_memory(error);
    } else if (ivl__file_exists(journal) || ivl__file_exists(record)) {
        unsigned char *text;
        size_t bytes, used;

        status = ivl__unit_read(ivl__file_exists(journal) ? journal : record, json, &text, &bytes,
                                &used, error);
        if (status == IVL_OK) {
            ivl__free(text);
        }
    }
    ivl__free(record);
    ivl__free(journal);
    return status;
}

static ivl_status check_head(ivl__record_writer *w, ivl_error *error)
{
    json_t *json;
    ivl_status status;

    if (w->context.force) {
        return IVL_OK;
    }
    status = read_head(&w->layout, &json, error);
    if (status == IVL_OK && json) {
        status = ivl__record_head_check(&w->head, json, w->layout.path, error);
        if (status == IVL_BAD_INPUT) {
            ivl__fail_context(error, status, "'%s%s'", w->layout.base,
                              w->layout.form == IVL__RECORD_FOLDER ? "/manifest.json"
                                                                   : ".meta.json");
        }
        if (status == IVL_OK) {
            free(w->found_provenance);
            w->found_provenance = json_dumps(json_object_get(json, "provenance"), JSON_COMPACT);
            status = w->found_provenance ? IVL_OK : no_memory(error);
        }
        json_decref(json);
    }
    /* What is there is not ours, or damaged: a matter of the arguments, not of the inputs. */
    return status == IVL_BAD_INPUT
               ? ivl__fail_context(error, IVL_INVALID_ARGUMENT,
                                   "output '%s' (move it away, choose another, or pass --force)",
                                   w->layout.path)
               : status;
}

/* Against what the open found. */
static ivl_status check_found_provenance(const ivl__record_writer *w, ivl_error *error)
{
    json_t *found = w->found_provenance ? json_loads(w->found_provenance, 0, NULL) : NULL;
    ivl_status status = ivl__record_head_check_provenance(&w->head, found, w->layout.path, error);

    json_decref(found);
    return status;
}

static ivl_status prepare(ivl__record_writer *w, const ivl__record_writer_options *options,
                          ivl_error *error)
{
    IVL__TRY(ivl__record_head_init(&w->head, &w->layout, options->identity, error));
    w->head.same_numerics = options->same_numerics;
    if (options->provenance) {
        IVL__TRY(ivl__record_head_set_provenance(&w->head, options->provenance, error));
    }
    if (w->layout.form == IVL__RECORD_FOLDER) {
        IVL__TRY(check_head(w, error));
        IVL__TRY(check_found_provenance(w, error));
        return ivl__manifest_folders(&w->layout, error);
    }
    IVL__TRY(check_folder_of(w->layout.path, error));
    IVL__TRY(check_head(w, error));
    return check_found_provenance(w, error);
}

ivl_status ivl__record_writer_open(const char *path, const ivl__record_writer_options *options,
                                   ivl__record_writer **writer, ivl_error *error)
{
    ivl__record_writer *w = ivl__calloc(1, sizeof *w);
    ivl_status status;

    if (!w) {
        return no_memory(error);
    }
    status = ivl__record_layout_init(&w->layout, path, options->streams, options->n_streams,
                                     options->type, error);
    if (status != IVL_OK) {
        ivl__free(w);
        return status;
    }
    w->context = (ivl__unit_context){&w->layout, &w->head, options->force, options->retry_errors,
                                     options->sync_seconds};
    ivl__mutex_init(&w->mutex);
    status = prepare(w, options, error);
    if (status != IVL_OK) {
        ivl__record_writer_free(w);
        return status;
    }
    *writer = w;
    return IVL_OK;
}

void ivl__record_writer_free(ivl__record_writer *w)
{
    if (!w) {
        return;
    }
    while (w->units) {
        ivl__unit *unit = w->units;

        w->units = unit->next;
        ivl__unit_free(unit);
    }
    ivl__mutex_free(&w->mutex);
    ivl__record_head_free(&w->head);
    ivl__record_layout_free(&w->layout);
    free(w->found_provenance);
    ivl__free(w);
}

const char *ivl__record_writer_provenance(const ivl__record_writer *w)
{
    return w->found_provenance;
}

ivl_status ivl__record_writer_set_provenance(ivl__record_writer *w, const char *provenance,
                                             ivl_error *error)
{
    ivl_status status;

    ivl__mutex_lock(&w->mutex);
    status = ivl__record_head_set_provenance(&w->head, provenance, error);
    if (status == IVL_OK) {
        status = check_found_provenance(w, error);
    }
    if (status == IVL_OK && w->settled && w->layout.form == IVL__RECORD_FOLDER) {
        status = ivl__manifest_note_provenance(&w->layout, &w->head, error);
    }
    ivl__mutex_unlock(&w->mutex);
    return status;
}

/* ---- reader side ------------------------------------------------------------------------- */

static ivl_status settle(ivl__record_writer *w, ivl_error *error)
{
    ivl_status status = IVL_OK;

    ivl__mutex_lock(&w->mutex);
    if (!w->settled && w->layout.form == IVL__RECORD_FOLDER) {
        status = ivl__manifest_settle(&w->layout, &w->head, w->context.force, error);
    }
    w->settled = w->settled || status == IVL_OK;
    ivl__mutex_unlock(&w->mutex);
    return status;
}

static ivl_status next_failed(ivl__unit *unit, ivl_error *error)
{
    const char *line;
    size_t bytes;

    IVL__TRY(ivl__lines_next(&unit->failed, &line, &bytes, error));
    unit->next_failed = UINT64_MAX;
    if (line && !ivl__record_error_input(line, bytes, &unit->next_failed)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is damaged; pass --force to start over",
                         unit->failed.path);
    }
    return IVL_OK;
}

/* A retried unit: which former inputs failed, from where the new files end; how many those are. */
static ivl_status open_failed(ivl__record_writer *w, ivl__unit *unit, uint64_t *left,
                              ivl_error *error)
{
    const ivl__journal *journal = &unit->journal;
    int file = w->layout.n_files - 1;
    char *path = ivl__record_file_path(&w->layout, file, unit->number);
    char *old = path ? ivl__record_concat(path, ".old") : NULL;

    ivl__free(path);
    IVL__TRY(ivl__lines_open(&unit->failed, old, journal->old.bytes[file], false, error));
    unit->has_failed = true;
    *left = journal->old.errors;
    IVL__TRY(next_failed(unit, error));
    while (unit->next_failed < journal->now.inputs) {
        *left -= 1;
        IVL__TRY(next_failed(unit, error));
    }
    return IVL_OK;
}

/* Counts what is recorded; in a retried unit the failures that are tried again do not count. */
static ivl_status count_found(ivl__record_writer *w, ivl__unit *unit, ivl_error *error)
{
    const ivl__journal *journal = &unit->journal;
    uint64_t rows = journal->now.rows;
    uint64_t errors = journal->now.errors;
    uint64_t left = 0;

    if (journal->has_old && journal->now.inputs < journal->old.inputs) {
        IVL__TRY(open_failed(w, unit, &left, error));
        rows += journal->old.inputs - journal->now.inputs - left;
        errors += w->context.retry_errors ? 0 : left;
    }
    ivl__mutex_lock(&w->mutex);
    w->counts.found_rows += rows;
    w->counts.found_errors += errors;
    w->counts.damaged += unit->damaged;
    ivl__mutex_unlock(&w->mutex);
    return IVL_OK;
}

static ivl_status seen_begin(ivl__record_writer *w, const ivl__item *item, ivl__seen *seen,
                             ivl_error *error)
{
    ivl__unit *unit;
    ivl_status status;

    IVL__TRY(settle(w, error));
    IVL__TRY(ivl__unit_open(&w->context, item->unit, item->key, &unit, error));
    status = count_found(w, unit, error);
    if (status != IVL_OK) {
        ivl__unit_free(unit);
        return status;
    }
    if (unit->done && item->key) {
        ivl__unit_free(unit);
        *seen = IVL__SEEN_UNIT;
        return IVL_OK;
    }
    if (!ivl__record_state_copy(&unit->known, ivl__unit_known(unit))) {
        ivl__unit_free(unit);
        return no_memory(error);
    }
    unit->retry_from = unit->journal.now.inputs;
    w->walking = unit;
    ivl__mutex_lock(&w->mutex);
    unit->next = w->units;
    w->units = unit;
    ivl__mutex_unlock(&w->mutex);
    *seen = IVL__SEEN_NEW;
    return IVL_OK;
}

static ivl_status changed(const ivl__record_writer *w, const ivl__unit *unit, uint64_t input,
                          const char *was, const char *now, ivl_error *error)
{
    static const char advice[] = "choose another output, or pass --force to start over";

    if (was && now) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "the inputs are not those that '%s' was made from: input %" PRIu64
                         " of unit %" PRIu64 " was '%s', now it is '%s'; %s",
                         w->layout.path, input, unit->number, was, now, advice);
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "the inputs are not those that '%s' was made from: some of the first %" PRIu64
                     " of unit %" PRIu64 " have changed; %s",
                     w->layout.path, input + 1, unit->number, advice);
}

/* Keys are compared escaped, as the record has them. */
static ivl_status check_recorded(const ivl__record_writer *w, const ivl__unit *unit,
                                 const ivl__item *item, ivl_error *error)
{
    bool first = item->position == 0;
    bool last = item->position + 1 == unit->known.inputs;
    ivl__text key = {0};
    ivl_status status = IVL_OK;

    if (!first && !last) {
        return IVL_OK;
    }
    ivl__text_escaped(&key, item->key);
    ivl__text_add(&key, "", 0);
    if (key.failed) {
        status = no_memory(error);
    } else if (first && strcmp(key.data, unit->journal.first) != 0) {
        status = changed(w, unit, item->position, unit->journal.first, key.data, error);
    } else if (last && strcmp(key.data, unit->known.last) != 0) {
        status = changed(w, unit, item->position, unit->known.last, key.data, error);
    } else if (last && unit->walked_hash != unit->known.hash) {
        status = changed(w, unit, item->position, NULL, NULL, error);
    }
    ivl__text_free(&key);
    return status;
}

static ivl_status seen_item(ivl__record_writer *w, const ivl__item *item, ivl__seen *seen,
                            ivl_error *error)
{
    ivl__unit *unit = w->walking;

    if (item->position != unit->walked) {
        return ivl__fail(error, IVL_INTERNAL,
                         "unit %" PRIu64 ": input %" PRIu64 " came where %" PRIu64 " was expected",
                         unit->number, item->position, unit->walked);
    }
    unit->walked_hash = ivl__record_hash(unit->walked ? unit->walked_hash : 0, item->key,
                                         item->content);
    unit->walked++;
    *seen = IVL__SEEN_NEW;
    if (item->position >= unit->known.inputs) {
        return ivl__unit_reopen(unit, error);
    }
    IVL__TRY(check_recorded(w, unit, item, error));
    if (!unit->has_failed || item->position != unit->next_failed) {
        *seen = IVL__SEEN_RECORDED;
        return IVL_OK;
    }
    *seen = w->context.retry_errors ? IVL__SEEN_NEW : IVL__SEEN_RECORDED;
    return next_failed(unit, error);
}

static ivl_status seen_end(ivl__record_writer *w, ivl__seen *seen, ivl_error *error)
{
    ivl__unit *unit = w->walking;

    w->walking = NULL;
    *seen = IVL__SEEN_NEW;
    if (unit->walked < unit->known.inputs) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "the inputs are not those that '%s' was made from: unit %" PRIu64
                         " had %" PRIu64 " inputs, now %" PRIu64
                         "; choose another output, or pass --force to start over",
                         w->layout.path, unit->number, unit->known.inputs, unit->walked);
    }
    return IVL_OK;
}

ivl_status ivl__record_writer_seen(ivl__record_writer *w, const ivl__item *item, ivl__seen *seen,
                                   ivl_error *error)
{
    if (item->kind == IVL__ITEM_UNIT_BEGIN) {
        return seen_begin(w, item, seen, error);
    }
    if (!w->walking || w->walking->number != item->unit) {
        return ivl__fail(error, IVL_INTERNAL, "unit %" PRIu64 " was not begun", item->unit);
    }
    return item->kind == IVL__ITEM_UNIT_END ? seen_end(w, seen, error)
                                            : seen_item(w, item, seen, error);
}

/* ---- writer side ------------------------------------------------------------------------- */

ivl_status ivl__record_writer_begin_unit(ivl__record_writer *w, uint64_t unit, const char *key,
                                         ivl_error *error)
{
    ivl__unit *found;

    (void)key; /* The reader side has compared it. */
    ivl__mutex_lock(&w->mutex);
    for (found = w->units; found && found->number != unit; found = found->next) {
    }
    ivl__mutex_unlock(&w->mutex);
    if (!found || w->current) {
        return ivl__fail(error, IVL_INTERNAL, "unit %" PRIu64 " begins out of turn", unit);
    }
    w->current = found;
    return IVL_OK;
}

static ivl_status add(ivl__record_writer *w, const ivl__record *record, const float *const *rows,
                      const char *message, ivl_error *error)
{
    if (!w->current || w->current->number != record->unit) {
        return ivl__fail(error, IVL_INTERNAL, "an input of unit %" PRIu64 " comes out of turn",
                         record->unit);
    }
    IVL__TRY(ivl__unit_add(w->current, record, rows, message, error));
    ivl__mutex_lock(&w->mutex);
    w->counts.rows += rows != NULL;
    w->counts.errors += rows == NULL;
    ivl__mutex_unlock(&w->mutex);
    return IVL_OK;
}

ivl_status ivl__record_writer_add_row(ivl__record_writer *w, const ivl__record *record,
                                      const float *const *rows, ivl_error *error)
{
    return add(w, record, rows, NULL, error);
}

ivl_status ivl__record_writer_add_error(ivl__record_writer *w, const ivl__record *record,
                                        const char *message, ivl_error *error)
{
    return add(w, record, NULL, message, error);
}

ivl_status ivl__record_writer_commit(ivl__record_writer *w, ivl_error *error)
{
    return w->current ? ivl__unit_commit(w->current, error) : IVL_OK;
}

ivl_status ivl__record_writer_end_unit(ivl__record_writer *w, uint64_t unit, ivl_error *error)
{
    ivl__unit *ended = w->current;
    ivl__unit **link;

    if (!ended || ended->number != unit) {
        return ivl__fail(error, IVL_INTERNAL, "unit %" PRIu64 " ends out of turn", unit);
    }
    IVL__TRY(ivl__unit_finish(ended, error));
    ivl__mutex_lock(&w->mutex);
    for (link = &w->units; *link != ended; link = &(*link)->next) {
    }
    *link = ended->next;
    ivl__mutex_unlock(&w->mutex);
    w->current = NULL;
    ivl__unit_free(ended);
    return IVL_OK;
}

ivl__record_writer_counts ivl__record_writer_get_counts(const ivl__record_writer *w)
{
    ivl__record_writer *unlocked = (ivl__record_writer *)(uintptr_t)w;
    ivl__record_writer_counts counts;

    ivl__mutex_lock(&unlocked->mutex);
    counts = w->counts;
    ivl__mutex_unlock(&unlocked->mutex);
    return counts;
}

/* ---- the end ----------------------------------------------------------------------------- */

/* What done/ holds. */
typedef struct inventory {
    uint64_t done;   /* records of units below `units` */
    uint64_t units;  /* of the source */
    uint64_t beyond; /* the lowest other unit, UINT64_MAX for none */
} inventory;

static bool take_stock(void *user, const char *name, ivl__entry_kind kind)
{
    inventory *stock = user;
    uint64_t unit;
    bool open;

    (void)kind;
    if (ivl__record_name_unit(name, &unit, &open)) {
        if (unit >= stock->units) {
            stock->beyond = unit < stock->beyond ? unit : stock->beyond;
        } else {
            stock->done += !open;
        }
    }
    return true;
}

static ivl_status list_done(const ivl__record_writer *w, inventory *stock, ivl_error *error)
{
    char *folder = ivl__path_join(w->layout.base, "done");
    ivl_status status = folder ? ivl__folder_list(folder, take_stock, stock, error)
                               : no_memory(error);

    ivl__free(folder);
    return status;
}

/* With force the units that the inputs no longer reach are removed; without, they are refused. */
static ivl_status check_beyond(ivl__record_writer *w, uint64_t units, inventory *stock,
                               ivl_error *error)
{
    for (;;) {
        ivl__unit *unit;

        *stock = (inventory){.units = units, .beyond = UINT64_MAX};
        IVL__TRY(list_done(w, stock, error));
        if (stock->beyond == UINT64_MAX) {
            return IVL_OK;
        }
        if (!w->context.force) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "the inputs are not those that '%s' was made from: they make %" PRIu64
                             " units, but it has a unit %" PRIu64
                             "; choose another output, or pass --force to start over",
                             w->layout.path, units, stock->beyond);
        }
        IVL__TRY(ivl__unit_open(&w->context, stock->beyond, NULL, &unit, error));
        ivl__unit_free(unit);
    }
}

/* Inputs of all units, from their records. */
static ivl_status sum_inputs(const ivl__record_writer *w, uint64_t units, uint64_t *inputs,
                             ivl_error *error)
{
    *inputs = 0;
    for (uint64_t unit = 0; unit < units; unit++) {
        char *path = ivl__record_path(&w->layout, unit);
        unsigned char *text;
        size_t bytes, used;
        uint64_t n = 0;
        json_t *json;
        ivl_status status = path ? ivl__unit_read(path, &json, &text, &bytes, &used, error)
                                 : no_memory(error);

        if (status == IVL_OK) {
            status = ivl__json_u64(json, "inputs", &n)
                         ? IVL_OK
                         : ivl__fail(error, IVL_BAD_INPUT, "'%s' is damaged", path);
            json_decref(json);
            ivl__free(text);
        }
        ivl__free(path);
        IVL__TRY(status);
        *inputs += n;
    }
    return IVL_OK;
}

ivl_status ivl__record_writer_finish(ivl__record_writer *w, uint64_t units, uint64_t inputs,
                                     ivl_error *error)
{
    uint64_t old_units, old_inputs;
    inventory stock;

    IVL__TRY(settle(w, error));
    if (w->layout.form != IVL__RECORD_FOLDER) {
        return IVL_OK;
    }
    IVL__TRY(check_beyond(w, units, &stock, error));
    if (stock.done == units) {
        /* Better than what was counted: tars that were skipped have not been opened. */
        IVL__TRY(sum_inputs(w, units, &inputs, error));
    }
    if (ivl__totals_read(w->layout.base, &old_units, &old_inputs, NULL) == IVL_OK &&
        old_units == units && old_inputs == inputs && units) {
        return IVL_OK;
    }
    return ivl__totals_write(w->layout.base, units, inputs, error);
}
