/* record_unit.c - appending to one unit of an output; see record_unit.h. */
#include "loader/record_unit.h"

#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>

/* The journal is written whole when its lines have grown to this. */
#define JOURNAL_LINES_BYTES ((uint64_t)16 << 20)

/* Provenances of earlier runs that are kept. */
enum { MAX_EARLIER = 32 };

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* ---- open and free ----------------------------------------------------------------------- */

static char *escaped(const char *key)
{
    ivl__text text = {0};

    ivl__text_escaped(&text, key);
    ivl__text_add(&text, "", 0);
    if (text.failed) {
        ivl__text_free(&text);
    }
    return text.data;
}

/* Another tar (or none) where the output has one: the list of units is part of its identity. */
static ivl_status check_key(const ivl__unit *unit, const char *key, ivl_error *error)
{
    const char *was = unit->journal.key;

    if (was == key || (was && key && strcmp(was, key) == 0)) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "the inputs are not those that '%s' was made from: its unit %llu is %s%s%s, "
                     "now it is %s%s%s; choose another output, or pass --force to start over",
                     unit->context->layout->path, (unsigned long long)unit->number, was ? "'" : "",
                     was ? was : "a list of files", was ? "'" : "", key ? "'" : "",
                     key ? key : "a list of files", key ? "'" : "");
}

static ivl_status find(ivl__unit *unit, const char *key, ivl_error *error)
{
    char *plain = key ? escaped(key) : NULL;
    ivl_status status;

    if (key && !plain) {
        return no_memory(error);
    }
    unit->journal.unit = unit->number;
    unit->journal.key = plain ? ivl__strdup(plain) : NULL;
    /* Whose run this is may not be known yet, and matters only when it adds something. */
    unit->journal.provenance = json_object();
    if ((plain && !unit->journal.key) || !unit->journal.provenance) {
        status = no_memory(error);
    } else {
        status = ivl__unit_recover(unit, error);
    }
    if (status == IVL_OK) {
        status = check_key(unit, plain, error);
    }
    ivl__free(plain);
    return status;
}

ivl_status ivl__unit_open(const ivl__unit_context *context, uint64_t number, const char *key,
                          ivl__unit **unit, ivl_error *error)
{
    ivl__unit *u = ivl__calloc(1, sizeof *u);
    ivl_status status;

    if (!u) {
        return no_memory(error);
    }
    u->context = context;
    u->number = number;
    u->lock = -1;
    u->record_path = ivl__record_path(context->layout, number);
    u->journal_path = u->record_path ? ivl__record_concat(u->record_path, ".part") : NULL;
    u->lock_path = u->record_path ? ivl__record_concat(u->record_path, ".lock") : NULL;
    status = u->journal_path && u->lock_path ? find(u, key, error) : no_memory(error);
    if (status == IVL_OK && context->retry_errors && ivl__unit_known(u)->errors) {
        status = ivl__unit_start_retry(u, error);
    }
    if (status != IVL_OK) {
        ivl__unit_free(u);
        return status;
    }
    u->committed = u->journal.now.inputs;
    *unit = u;
    return IVL_OK;
}

static void close_parts(ivl__unit *unit)
{
    for (int i = 0; unit->writing && i < unit->context->layout->n_files; i++) {
        ivl__record_part_close(&unit->parts[i]);
    }
    ivl__unit_old_close(unit);
    unit->writing = false;
}

void ivl__unit_free(ivl__unit *unit)
{
    if (!unit) {
        return;
    }
    close_parts(unit);
    if (unit->has_failed) {
        ivl__lines_close(&unit->failed);
    }
    if (unit->lock_path) {
        ivl__lockfile_release(unit->lock_path, unit->lock);
    }
    ivl__journal_free(&unit->journal);
    ivl__record_state_free(&unit->known);
    ivl__free(unit->record_path);
    ivl__free(unit->journal_path);
    ivl__free(unit->lock_path);
    ivl__free(unit->row);
    ivl__free(unit);
}

const ivl__record_state *ivl__unit_known(const ivl__unit *unit)
{
    const ivl__journal *journal = &unit->journal;

    return journal->has_old && journal->now.inputs < journal->old.inputs ? &journal->old
                                                                         : &journal->now;
}

/* ---- adding ------------------------------------------------------------------------------ */

/* What stands in a file before its first row. */
static ivl_status add_beginning(ivl__unit *unit, int file, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl__record_part *part = &unit->parts[file];
    unsigned char header[IVL__NPY_HEADER_BYTES];

    switch (ivl__record_kind_of(layout, file)) {
    case IVL__RECORD_ARRAY:
        /* Only a place: the shape is known, and written, at the end. */
        memset(header, 0, sizeof header);
        return ivl__record_part_add(part, header, sizeof header, error);
    case IVL__RECORD_TABLE:
        ivl__record_add_table_header(&part->pending, (size_t)layout->elements[file]);
        return ivl__record_part_added(part, error);
    case IVL__RECORD_METADATA:
    case IVL__RECORD_VECTORS:
    case IVL__RECORD_ERRORS: break;
    }
    return IVL_OK;
}

static char *part_path(const ivl__unit *unit, int file)
{
    char *path = ivl__record_file_path(unit->context->layout, file, unit->number);
    char *part = path ? ivl__record_concat(path, ".part") : NULL;

    ivl__free(path);
    return part;
}

static ivl_status open_parts(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    bool fresh = unit->journal.now.inputs == 0;
    ivl_status status = IVL_OK;

    for (int i = 0; i < layout->n_files; i++) {
        unit->parts[i].fd = -1;
    }
    unit->writing = true;
    for (int i = 0; status == IVL_OK && i < layout->n_files; i++) {
        status = ivl__record_part_open(&unit->parts[i], part_path(unit, i),
                                       fresh ? 0 : unit->journal.now.bytes[i], error);
        if (status == IVL_OK && fresh) {
            status = add_beginning(unit, i, error);
        }
    }
    return status;
}

static ivl_status start(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    size_t longest = 0;
    ivl_status status;

    if (unit->done || unit->lock < 0) {
        return ivl__fail(error, IVL_INTERNAL, "unit %llu is not open for more",
                         (unsigned long long)unit->number);
    }
    for (int i = 0; i < layout->n_streams; i++) {
        size_t bytes = (size_t)ivl__record_row_bytes(layout, i);

        longest = bytes > longest ? bytes : longest;
    }
    unit->row = layout->type == IVL__NPY_F4 ? NULL : ivl__malloc(longest);
    if (layout->type != IVL__NPY_F4 && !unit->row) {
        return no_memory(error);
    }
    status = open_parts(unit, error);
    if (status == IVL_OK && unit->journal.has_old) {
        status = ivl__unit_old_open(unit, error);
    }
    return status;
}

static bool same_as_any(const json_t *list, json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_equal(json_array_get(list, i), value)) {
            return true;
        }
    }
    return false;
}

/* This run adds something: its provenance comes first, another one before it is kept. */
static ivl_status note_provenance(ivl__unit *unit, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    json_t *ours = unit->context->head->provenance;

    if (!ours || json_equal(journal->provenance, ours)) {
        return IVL_OK;
    }
    if (ivl__unit_known(unit)->inputs) {
        IVL__TRY(ivl__record_head_check_provenance(unit->context->head, journal->provenance,
                                                   unit->context->layout->path, error));
        /* The list may belong to what was parsed: a copy is changed. */
        json_t *list = journal->earlier ? json_copy(journal->earlier) : json_array();

        if (!list) {
            return no_memory(error);
        }
        if (!same_as_any(list, journal->provenance) && json_array_size(list) < MAX_EARLIER &&
            json_array_append(list, journal->provenance) != 0) {
            json_decref(list);
            return no_memory(error);
        }
        json_decref(journal->earlier);
        journal->earlier = list;
    }
    json_decref(journal->provenance);
    journal->provenance = json_incref(ours);
    return IVL_OK;
}

static ivl_status add_array_row(ivl__unit *unit, int stream, const float *row, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    size_t n = (size_t)layout->elements[stream];
    uint16_t *halves = (uint16_t *)(void *)unit->row;

    if (layout->type == IVL__NPY_F4) {
        return ivl__record_part_add(&unit->parts[stream], row, n * sizeof *row, error);
    }
    if (layout->type == IVL__NPY_U1) {
        unsigned char *bytes = (unsigned char *)unit->row;

        for (size_t i = 0; i < n; i++) {
            bytes[i] = (unsigned char)row[i];
        }
        return ivl__record_part_add(&unit->parts[stream], bytes, n, error);
    }
    for (size_t i = 0; i < n; i++) {
        halves[i] = ivl__float_to_f16(row[i]);
    }
    return ivl__record_part_add(&unit->parts[stream], halves, n * sizeof *halves, error);
}

static ivl_status add_row(ivl__unit *unit, const ivl__record *record, const float *const *rows,
                          ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    uint64_t row = unit->journal.now.rows;

    for (int i = 0; i < layout->n_files - 1; i++) {
        ivl__record_part *part = &unit->parts[i];

        switch (ivl__record_kind_of(layout, i)) {
        case IVL__RECORD_ARRAY: IVL__TRY(add_array_row(unit, i, rows[i], error)); continue;
        case IVL__RECORD_METADATA:
            ivl__record_add_metadata(&part->pending, row, record, NULL, 0, layout->type);
            break;
        case IVL__RECORD_VECTORS:
            ivl__record_add_metadata(&part->pending, row, record, rows[i],
                                     (size_t)layout->elements[i], layout->type);
            break;
        case IVL__RECORD_TABLE:
            ivl__record_add_table(&part->pending, record, rows[i], (size_t)layout->elements[i],
                                  layout->type);
            break;
        case IVL__RECORD_ERRORS: continue;
        }
        IVL__TRY(ivl__record_part_added(part, error));
    }
    unit->journal.now.rows++;
    return IVL_OK;
}

static ivl_status add_error(ivl__unit *unit, const ivl__record *record, const char *message,
                            ivl_error *error)
{
    ivl__record_part *part = &unit->parts[unit->context->layout->n_files - 1];

    ivl__record_add_error(&part->pending, record, message);
    unit->journal.now.errors++;
    return ivl__record_part_added(part, error);
}

/* Inputs beyond the former ones make the chain longer. */
static ivl_status add_key(ivl__unit *unit, const ivl__record *record, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    char *plain = escaped(record->key);

    if (plain && !journal->first) {
        journal->first = ivl__strdup(plain);
    }
    if (!plain || !journal->first) {
        ivl__free(plain);
        return no_memory(error);
    }
    ivl__free(journal->now.last);
    journal->now.last = plain;
    journal->now.hash = ivl__record_hash(journal->now.inputs ? journal->now.hash : 0, record->key,
                                         record->content);
    return IVL_OK;
}

static ivl_status add(ivl__unit *unit, const ivl__record *record, const float *const *rows,
                      const char *message, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    bool former = journal->has_old && record->position < journal->old.inputs;
    bool failed = false;

    if (!unit->writing) {
        IVL__TRY(start(unit, error));
        IVL__TRY(note_provenance(unit, error));
    }
    if (journal->has_old) {
        IVL__TRY(ivl__unit_old_copy(unit, record->position, &failed, error));
    }
    if (record->position != journal->now.inputs || (former && !failed)) {
        return ivl__fail(error, IVL_INTERNAL,
                         "unit %llu: input %llu was added where %llu was expected",
                         (unsigned long long)unit->number, (unsigned long long)record->position,
                         (unsigned long long)journal->now.inputs);
    }
    if (!former) {
        IVL__TRY(add_key(unit, record, error));
    }
    IVL__TRY(rows ? add_row(unit, record, rows, error) : add_error(unit, record, message, error));
    journal->now.inputs++;
    return IVL_OK;
}

/* After a failure files and counts may disagree in memory; what was committed is safe. */
static ivl_status broken(const ivl__unit *unit, ivl_error *error)
{
    return ivl__fail(error, IVL_IO_ERROR,
                     "'%s': an earlier write failed; what was committed before it is kept",
                     unit->context->layout->path);
}

ivl_status ivl__unit_add(ivl__unit *unit, const ivl__record *record, const float *const *rows,
                         const char *message, ivl_error *error)
{
    ivl_status status = unit->broken ? broken(unit, error)
                                     : add(unit, record, rows, message, error);

    unit->broken = status != IVL_OK;
    return status;
}

/* ---- committing -------------------------------------------------------------------------- */

static ivl_status flush(ivl__unit *unit, bool sync, ivl_error *error)
{
    for (int i = 0; i < unit->context->layout->n_files; i++) {
        ivl__record_part *part = &unit->parts[i];

        IVL__TRY(sync ? ivl__record_part_sync(part, error) : ivl__record_part_flush(part, error));
        unit->journal.now.bytes[i] = part->written;
    }
    return IVL_OK;
}

static ivl_status append_line(ivl__unit *unit, ivl_error *error)
{
    uint32_t crc[IVL__RECORD_MAX_FILES];
    ivl_status status;
    char *line;
    int fd;

    for (int i = 0; i < unit->context->layout->n_files; i++) {
        crc[i] = unit->parts[i].crc;
    }
    line = ivl__journal_format_line(unit->context->layout, &unit->journal.now, crc);
    if (!line) {
        return no_memory(error);
    }
    status = ivl__file_create(unit->journal_path, &fd, error);
    if (status == IVL_OK) {
        status = ivl__file_pwrite(fd, unit->journal_path, unit->journal_bytes, line, strlen(line),
                                  error);
        ivl__file_close(fd);
    }
    unit->journal_bytes += strlen(line);
    ivl__free(line);
    return status;
}

static ivl_status commit(ivl__unit *unit, ivl_error *error)
{
    bool whole = unit->journal_bytes == 0 || unit->journal_bytes > JOURNAL_LINES_BYTES ||
                 ivl__now() - unit->synced_at >= unit->context->sync_seconds;

    IVL__TRY(flush(unit, whole, error));
    IVL__TRY(whole ? ivl__unit_write_journal(unit, error) : append_line(unit, error));
    unit->committed = unit->journal.now.inputs;
    return IVL_OK;
}

ivl_status ivl__unit_commit(ivl__unit *unit, ivl_error *error)
{
    ivl_status status;

    if (unit->broken) {
        return broken(unit, error);
    }
    if (!unit->writing || unit->journal.now.inputs == unit->committed) {
        return IVL_OK;
    }
    status = commit(unit, error);
    unit->broken = status != IVL_OK;
    return status;
}

/* ---- finishing --------------------------------------------------------------------------- */

static ivl_status write_headers(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;

    for (int i = 0; i < layout->n_files; i++) {
        const ivl__record_stream *stream = &layout->streams[i < layout->n_streams ? i : 0];
        unsigned char header[IVL__NPY_HEADER_BYTES];
        uint64_t shape[5] = {unit->journal.now.rows};

        if (ivl__record_kind_of(layout, i) != IVL__RECORD_ARRAY) {
            continue;
        }
        memcpy(shape + 1, stream->shape, sizeof stream->shape);
        IVL__TRY(ivl__npy_header(layout->type, shape, stream->rank + 1, header, error));
        IVL__TRY(ivl__record_part_flush(&unit->parts[i], error));
        IVL__TRY(ivl__file_pwrite(unit->parts[i].fd, unit->parts[i].path, 0, header, sizeof header,
                                  error));
    }
    return IVL_OK;
}

static ivl_status finish(ivl__unit *unit, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    bool failed;

    if (!unit->writing) {
        IVL__TRY(start(unit, error));
    }
    if (journal->has_old) {
        IVL__TRY(ivl__unit_old_copy(unit, journal->old.inputs, &failed, error));
    }
    IVL__TRY(write_headers(unit, error));
    IVL__TRY(flush(unit, true, error));
    close_parts(unit);
    journal->complete = true;
    journal->has_old = false;
    ivl__record_state_free(&journal->old);
    IVL__TRY(ivl__unit_write_journal(unit, error));
    return ivl__unit_close(unit, error);
}

ivl_status ivl__unit_finish(ivl__unit *unit, ivl_error *error)
{
    ivl_status status;

    if (unit->broken) {
        return broken(unit, error);
    }
    if (unit->done) {
        return IVL_OK;
    }
    status = finish(unit, error);
    unit->broken = status != IVL_OK;
    return status;
}
