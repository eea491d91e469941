/* record_retry.c - a unit written anew from its former files, failed inputs left out.
 *
 * Which former input was a row and which had failed follows from the errors, that tell their
 * number: all others are rows, in order.
 */
#include "loader/record_unit.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>

static char *old_path(const ivl__unit *unit, int file)
{
    char *path = ivl__record_file_path(unit->context->layout, file, unit->number);
    char *old = path ? ivl__record_concat(path, ".old") : NULL;

    ivl__free(path);
    return old;
}

static ivl_status damaged(const ivl__line_reader *reader, ivl_error *error)
{
    return ivl__fail(
        error, IVL_BAD_INPUT,
        "'%s' is damaged: its lines are not those of its record; pass --force to start "
        "over",
        reader->path);
}

/* Reads on to the next failed input. */
static ivl_status next_failed(ivl__unit *unit, ivl_error *error)
{
    ivl__unit_old *old = &unit->old;
    ivl__line_reader *reader = &old->lines[unit->context->layout->n_files - 1];
    uint64_t before = old->failed;
    bool first = old->failed_line == NULL;
    const char *line;

    IVL__TRY(ivl__lines_next(reader, &line, &old->failed_bytes, error));
    old->failed = UINT64_MAX;
    if (!line) {
        return IVL_OK;
    }
    ivl__free(old->failed_line);
    old->failed_line = ivl__malloc(old->failed_bytes);
    if (!old->failed_line) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    memcpy(old->failed_line, line, old->failed_bytes);
    if (!ivl__record_error_input(line, old->failed_bytes, &old->failed) ||
        old->failed >= unit->journal.old.inputs || (!first && old->failed <= before)) {
        return damaged(reader, error);
    }
    return IVL_OK;
}

/* Passes over the former inputs before `input`: they are in the new files already. */
static ivl_status skip_to(ivl__unit *unit, uint64_t input, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl__unit_old *old = &unit->old;
    uint64_t errors = 0;

    IVL__TRY(next_failed(unit, error));
    while (old->failed < input) {
        errors++;
        IVL__TRY(next_failed(unit, error));
    }
    old->input = input;
    old->row = input - errors;
    for (int i = 0; i < layout->n_files - 1; i++) {
        bool header = ivl__record_kind_of(layout, i) == IVL__RECORD_TABLE;

        if (ivl__record_kind_of(layout, i) == IVL__RECORD_ARRAY) {
            continue;
        }
        for (uint64_t n = old->row + header; n > 0; n--) {
            const char *line;
            size_t bytes;

            IVL__TRY(ivl__lines_next(&old->lines[i], &line, &bytes, error));
            if (!line) {
                return damaged(&old->lines[i], error);
            }
        }
    }
    return IVL_OK;
}

static ivl_status open_old(ivl__unit *unit, int file, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl__unit_old *old = &unit->old;
    char *path = old_path(unit, file);

    if (ivl__record_kind_of(layout, file) != IVL__RECORD_ARRAY) {
        return ivl__lines_open(&old->lines[file], path, unit->journal.old.bytes[file],
                               ivl__record_kind_of(layout, file) == IVL__RECORD_TABLE, error);
    }
    old->array_paths[file] = path;
    return path ? ivl__file_open(path, &old->arrays[file], error)
                : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

ivl_status ivl__unit_old_open(ivl__unit *unit, ivl_error *error)
{
    ivl__journal *journal = &unit->journal;
    ivl__unit_old *old = &unit->old;

    if (journal->now.inputs >= journal->old.inputs) {
        return IVL_OK;
    }
    *old = (ivl__unit_old){.open = true};
    for (int i = 0; i < IVL__MAX_STREAMS; i++) {
        old->arrays[i] = -1;
    }
    for (int i = 0; i < unit->context->layout->n_files; i++) {
        IVL__TRY(open_old(unit, i, error));
    }
    if (!journal->now.last) {
        /* The chain of keys stays that of the former inputs until there are more. */
        journal->now.last = ivl__strdup(journal->old.last);
        journal->now.hash = journal->old.hash;
        if (!journal->now.last) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
        }
    }
    return skip_to(unit, journal->now.inputs, error);
}

void ivl__unit_old_close(ivl__unit *unit)
{
    ivl__unit_old *old = &unit->old;

    if (!old->open) {
        return;
    }
    for (int i = 0; i < IVL__RECORD_MAX_FILES; i++) {
        ivl__lines_close(&old->lines[i]);
    }
    for (int i = 0; i < IVL__MAX_STREAMS; i++) {
        ivl__file_close(old->arrays[i]);
        ivl__free(old->array_paths[i]);
    }
    ivl__free(old->failed_line);
    *old = (ivl__unit_old){.open = false};
}

static ivl_status copy_array_row(ivl__unit *unit, int file, ivl_error *error)
{
    ivl__unit_old *old = &unit->old;
    ivl__record_part *part = &unit->parts[file];
    size_t bytes = (size_t)ivl__record_row_bytes(unit->context->layout, file);
    uint64_t offset = IVL__NPY_HEADER_BYTES + old->row * bytes;
    size_t used = part->pending.bytes;
    size_t got;

    if (!ivl__grow((void **)&part->pending.data, &part->pending.capacity, used + bytes + 1, 1)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    IVL__TRY(ivl__file_pread(old->arrays[file], old->array_paths[file], offset,
                             part->pending.data + used, bytes, &got, error));
    if (got != bytes) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' ends inside a row: damaged",
                         old->array_paths[file]);
    }
    part->pending.bytes += bytes;
    return ivl__record_part_added(part, error);
}

static ivl_status copy_line(ivl__unit *unit, int file, ivl_error *error)
{
    ivl__line_reader *reader = &unit->old.lines[file];
    ivl__record_part *part = &unit->parts[file];
    const char *line;
    size_t bytes;

    IVL__TRY(ivl__lines_next(reader, &line, &bytes, error));
    if (!line) {
        return damaged(reader, error);
    }
    if (reader->table) {
        return ivl__record_part_add(part, line, bytes, error);
    }
    if (!ivl__record_renumber_row(&part->pending, line, bytes, unit->journal.now.rows)) {
        return damaged(reader, error);
    }
    return ivl__record_part_added(part, error);
}

static ivl_status copy_row(ivl__unit *unit, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;

    if (unit->old.row >= unit->journal.old.rows) {
        return damaged(&unit->old.lines[layout->n_files - 1], error);
    }
    for (int i = 0; i < layout->n_files - 1; i++) {
        IVL__TRY(ivl__record_kind_of(layout, i) == IVL__RECORD_ARRAY
                     ? copy_array_row(unit, i, error)
                     : copy_line(unit, i, error));
    }
    unit->old.row++;
    unit->journal.now.rows++;
    return IVL_OK;
}

static ivl_status copy_error(ivl__unit *unit, ivl_error *error)
{
    ivl__unit_old *old = &unit->old;

    IVL__TRY(ivl__record_part_add(&unit->parts[unit->context->layout->n_files - 1],
                                  old->failed_line, old->failed_bytes, error));
    unit->journal.now.errors++;
    return next_failed(unit, error);
}

ivl_status ivl__unit_old_copy(ivl__unit *unit, uint64_t input, bool *failed, ivl_error *error)
{
    ivl__unit_old *old = &unit->old;
    uint64_t end = unit->journal.old.inputs;

    *failed = false;
    if (!old->open) {
        return IVL_OK;
    }
    for (; old->input < input && old->input < end; old->input++) {
        bool row = old->input != old->failed;

        IVL__TRY(row ? copy_row(unit, error) : copy_error(unit, error));
        unit->journal.now.inputs++;
    }
    if (old->input == input && old->input < end && old->failed == input) {
        *failed = true;
        old->input++;
        return next_failed(unit, error);
    }
    return IVL_OK;
}
