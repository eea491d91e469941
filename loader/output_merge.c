/* output_merge.c - the units of an output folder joined into single files; see output_status.h.
 *
 * All files are written as *.part and synced, then get their names, X.meta.json first: a
 * merge that ended between the names is seen by it, and not taken for none.
 */
#include "loader/output_folder.h"
#include "loader/output_status.h"
#include "loader/record_lines.h"
#include "loader/record_part.h"
#include "loader/record_unit.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 18, MAX_PROVENANCES = 32 };

typedef struct unit_extent {
    uint64_t rows, inputs;
} unit_extent;

typedef struct merge {
    ivl__record_layout from, to;
    json_t *manifest;
    json_t *provenances; /* of the units, each once */
    unit_extent *units;  /* [n_units] */
    uint64_t n_units;
    uint64_t rows, errors, inputs;
    uint64_t copied, bytes; /* of all, for the progress */
    unsigned char *chunk;   /* [CHUNK] */
    bool force;
    ivl__merge_progress *progress;
    void *user;
} merge;

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* ---- the units --------------------------------------------------------------------------- */

static ivl_status missing(const merge *m, uint64_t unit, bool begun, uint64_t total,
                          ivl_error *error)
{
    ivl__journal journal;
    char known[64] = "no run has come to the end of the inputs";

    if (total) {
        snprintf(known, sizeof known, "of %" PRIu64, total);
    }
    if (begun && ivl__output_read_unit(&m->from, unit, true, &journal, NULL) == IVL_OK) {
        uint64_t inputs = journal.now.inputs;

        ivl__journal_free(&journal);
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' is not complete: unit %" PRIu64 " (%s) is not finished, it has "
                         "%" PRIu64 " inputs so far; run embed to its end first",
                         m->from.path, unit, known, inputs);
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "'%s' is not complete: unit %" PRIu64 " (%s) is missing; run embed (all its "
                     "shards) to its end first",
                     m->from.path, unit, known);
}

static ivl_status note_provenance(merge *m, json_t *provenance, ivl_error *error)
{
    size_t n = json_array_size(m->provenances);

    for (size_t i = 0; i < n; i++) {
        if (json_equal(json_array_get(m->provenances, i), provenance)) {
            return IVL_OK;
        }
    }
    if (n < MAX_PROVENANCES && json_array_append(m->provenances, provenance) != 0) {
        return no_memory(error);
    }
    return IVL_OK;
}

static ivl_status add_unit(merge *m, uint64_t unit, ivl_error *error)
{
    ivl__journal journal;
    ivl_status status;

    IVL__TRY(ivl__output_read_unit(&m->from, unit, false, &journal, error));
    m->units[unit] = (unit_extent){journal.now.rows, journal.now.inputs};
    m->rows += journal.now.rows;
    m->errors += journal.now.errors;
    m->inputs += journal.now.inputs;
    for (int i = 0; i < m->from.n_files; i++) {
        bool array = i < m->from.n_streams;
        /* Errors are written twice. */
        uint64_t times = i == m->from.n_files - 1 ? 2 : 1;

        m->bytes += array ? journal.now.rows * ivl__record_row_bytes(&m->from, i)
                          : journal.now.bytes[i] * times;
    }
    status = note_provenance(m, journal.provenance, error);
    ivl__journal_free(&journal);
    return status;
}

static ivl_status survey(merge *m, ivl_error *error)
{
    uint64_t total, inputs;
    size_t capacity = 0;

    IVL__TRY(ivl__totals_read(m->from.base, &total, &inputs, error));
    for (uint64_t unit = 0; !total || unit < total; unit++) {
        bool done, begun;

        IVL__TRY(ivl__output_unit_state(&m->from, unit, &done, &begun, error));
        if (!done) {
            return missing(m, unit, begun, total, error);
        }
        if (!ivl__grow((void **)&m->units, &capacity, (size_t)unit + 1, sizeof *m->units)) {
            return no_memory(error);
        }
        IVL__TRY(add_unit(m, unit, error));
        m->n_units = unit + 1;
    }
    return IVL_OK;
}

/* ---- the place --------------------------------------------------------------------------- */

/* Further streams without a suffix of their own are told apart by their names. */
static ivl_status name_outputs(merge *m, const char *out, ivl_error *error)
{
    ivl__record_stream streams[IVL__MAX_STREAMS];
    size_t n = strlen(out);

    if (ivl__record_path_is_folder(out) || n < 5 || strcmp(out + n - 4, ".npy") != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "merge writes single files: the output '%s' must end with .npy%s", out,
                         ivl__file_kind_of(out) == IVL__FILE_FOLDER ? ", and is a folder" : "");
    }
    for (int i = 0; i < m->from.n_streams; i++) {
        streams[i] = m->from.streams[i];
        for (int j = 0; j < i; j++) {
            if (strcmp(streams[j].suffix, streams[i].suffix) == 0) {
                streams[i].suffix = streams[i].name;
            }
        }
    }
    return ivl__record_layout_init(&m->to, out, streams, m->from.n_streams, m->from.type, error);
}

static ivl_status refuse_existing(const char *path, ivl_error *error)
{
    return ivl__file_exists(path) ? ivl__fail(error, IVL_INVALID_ARGUMENT,
                                              "'%s' exists; move it away, choose another output, "
                                              "or pass --force",
                                              path)
                                  : IVL_OK;
}

/* OUT/errors.npy would have its rows in OUT/errors.jsonl, which is the errors' place. */
static ivl_status refuse_errors_name(const merge *m, ivl_error *error)
{
    size_t n = strlen(m->to.base);
    size_t name = strlen("errors");
    char *folder = ivl__path_folder(m->to.path);
    ivl__file_identity of_output, of_folder;
    ivl_status status = folder ? IVL_OK : no_memory(error);

    if (status == IVL_OK && n >= name && strcmp(m->to.base + n - name, "errors") == 0 &&
        (n == name || m->to.base[n - name - 1] == '/') &&
        ivl__file_identity_of(folder, &of_output, NULL) == IVL_OK &&
        ivl__file_identity_of(m->from.base, &of_folder, NULL) == IVL_OK &&
        of_output.device == of_folder.device && of_output.inode == of_folder.inode) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "output '%s': its rows would be in the way of the folder's own "
                           "errors.jsonl; choose another name",
                           m->to.path);
    }
    ivl__free(folder);
    return status;
}

/* With force what lies there is replaced, and an interrupted run there is given up. */
static ivl_status check_place(const merge *m, const char *record, ivl_error *error)
{
    char *journal = ivl__record_concat(record, ".part");
    ivl_status status = journal ? refuse_errors_name(m, error) : no_memory(error);

    if (status == IVL_OK && m->force) {
        status = ivl__file_remove(journal, error);
        ivl__free(journal);
        return status;
    }
    if (status == IVL_OK) {
        status = refuse_existing(journal, error);
    }
    if (status == IVL_OK) {
        status = refuse_existing(record, error);
    }
    ivl__free(journal);
    for (int i = 0; status == IVL_OK && i < m->to.n_files; i++) {
        char *path = ivl__record_file_path(&m->to, i, 0);

        status = path ? refuse_existing(path, error) : no_memory(error);
        ivl__free(path);
    }
    return status;
}

static ivl_status check_room(const merge *m, ivl_error *error)
{
    char *folder = ivl__path_folder(m->to.path);
    ivl_status status = folder ? ivl__disk_has_room(folder, m->bytes, m->to.path, error)
                               : no_memory(error);

    ivl__free(folder);
    return status;
}

/* ---- copying ----------------------------------------------------------------------------- */

static ivl_status advance(merge *m, uint64_t bytes, ivl_error *error)
{
    m->copied += bytes;
    if (m->progress && m->progress(m->user, m->copied, m->bytes)) {
        return ivl__fail(error, IVL_CANCELLED, "merging '%s' was stopped; nothing was written",
                         m->from.path);
    }
    return IVL_OK;
}

/* Whether an array is what its record and the manifest say. */
static ivl_status check_array(merge *m, int stream, uint64_t unit, int fd, const char *path,
                              ivl__npy *npy, ivl_error *error)
{
    const ivl__record_stream *wanted = &m->from.streams[stream];
    uint64_t bytes;
    size_t got;
    bool good;

    IVL__TRY(ivl__file_bytes(fd, path, &bytes, error));
    IVL__TRY(ivl__file_pread(fd, path, 0, m->chunk, 1 << 16, &got, error));
    if (ivl__npy_parse(m->chunk, got, bytes, npy, error) != IVL_OK) {
        return ivl__fail_context(error, IVL_INVALID_ARGUMENT, "'%s'", path);
    }
    good = npy->type == m->from.type && npy->rank == wanted->rank + 1 &&
           npy->shape[0] == m->units[unit].rows;
    for (int d = 0; good && d < wanted->rank; d++) {
        good = npy->shape[d + 1] == wanted->shape[d];
    }
    return good ? IVL_OK
                : ivl__fail(error, IVL_INVALID_ARGUMENT,
                            "'%s' is not the array that its record tells of (%" PRIu64 " rows)",
                            path, m->units[unit].rows);
}

static ivl_status copy_array(merge *m, int stream, uint64_t unit, int fd, const char *path,
                             ivl__record_part *to, ivl_error *error)
{
    ivl__npy npy;

    IVL__TRY(check_array(m, stream, unit, fd, path, &npy, error));
    for (uint64_t done = 0; done < npy.bytes;) {
        size_t want = npy.bytes - done < CHUNK ? (size_t)(npy.bytes - done) : CHUNK;
        size_t got;

        IVL__TRY(ivl__file_pread(fd, path, npy.offset + done, m->chunk, want, &got, error));
        if (got < want) {
            return ivl__fail(error, IVL_IO_ERROR, "'%s' shrinks while it is read", path);
        }
        IVL__TRY(ivl__record_part_add(to, m->chunk, got, error));
        IVL__TRY(advance(m, got, error));
        done += got;
    }
    return IVL_OK;
}

/* first: the number that rows or inputs of this unit begin with. */
static ivl_status copy_lines(merge *m, ivl__line_reader *reader, bool errors, uint64_t first,
                             uint64_t wanted, ivl__record_part *to, ivl_error *error)
{
    uint64_t n = 0;

    for (;; n++) {
        const char *line;
        size_t bytes;
        uint64_t input = 0;
        bool good;

        IVL__TRY(ivl__lines_next(reader, &line, &bytes, error));
        if (!line) {
            break;
        }
        good = errors ? ivl__record_error_input(line, bytes, &input) &&
                            ivl__record_renumber_error(&to->pending, line, bytes, first + input)
                      : ivl__record_renumber_row(&to->pending, line, bytes, first + n);
        if (!good) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "'%s': line %" PRIu64 " is not one that embed writes", reader->path,
                             n + 1);
        }
        IVL__TRY(ivl__record_part_added(to, error));
        IVL__TRY(advance(m, bytes, error));
    }
    return n == wanted ? IVL_OK
                       : ivl__fail(error, IVL_INVALID_ARGUMENT,
                                   "'%s' has %" PRIu64 " lines, its record says %" PRIu64,
                                   reader->path, n, wanted);
}

/* Appends what file number `file` of a unit holds. */
static ivl_status copy_unit(merge *m, int file, uint64_t unit, uint64_t row, uint64_t input,
                            ivl__record_part *to, ivl_error *error)
{
    bool errors = ivl__record_kind_of(&m->from, file) == IVL__RECORD_ERRORS;
    const unit_extent *extent = &m->units[unit];
    char *path = ivl__record_file_path(&m->from, file, unit);
    ivl__line_reader reader;
    ivl_status status;
    int fd;

    if (!path) {
        return no_memory(error);
    }
    if (file < m->from.n_streams) {
        status = ivl__file_open(path, &fd, error);
        if (status == IVL_OK) {
            status = copy_array(m, file, unit, fd, path, to, error);
            ivl__file_close(fd);
        }
        ivl__free(path);
        return status;
    }
    IVL__TRY(ivl__lines_open(&reader, path, UINT64_MAX, false, error));
    status = copy_lines(m, &reader, errors, errors ? input : row,
                        errors ? extent->inputs - extent->rows : extent->rows, to, error);
    ivl__lines_close(&reader);
    return status;
}

static ivl_status add_header(const merge *m, int stream, ivl__record_part *part, ivl_error *error)
{
    unsigned char header[IVL__NPY_HEADER_BYTES];
    uint64_t shape[5] = {m->rows};

    memcpy(shape + 1, m->to.streams[stream].shape, sizeof m->to.streams[stream].shape);
    IVL__TRY(ivl__npy_header(m->to.type, shape, m->to.streams[stream].rank + 1, header, error));
    return ivl__record_part_add(part, header, sizeof header, error);
}

/* Writes path.part whole. */
static ivl_status write_part(merge *m, int file, const char *path, ivl_error *error)
{
    ivl__record_part part;
    ivl_status status;
    uint64_t row = 0;
    uint64_t input = 0;

    IVL__TRY(ivl__record_part_open(&part, ivl__record_concat(path, ".part"), 0, error));
    status = file < m->to.n_streams ? add_header(m, file, &part, error) : IVL_OK;
    for (uint64_t unit = 0; status == IVL_OK && unit < m->n_units; unit++) {
        status = copy_unit(m, file, unit, row, input, &part, error);
        row += m->units[unit].rows;
        input += m->units[unit].inputs;
    }
    if (status == IVL_OK) {
        status = ivl__record_part_sync(&part, error);
    }
    if (status != IVL_OK) {
        ivl__file_remove(part.path, NULL);
    }
    ivl__record_part_close(&part);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------- */

/* The paths of what is written: files of the output, then errors.jsonl in the folder. */
static char *output_path(const merge *m, int i)
{
    return i < m->to.n_files ? ivl__record_file_path(&m->to, i, 0)
                             : ivl__path_join(m->from.base, "errors.jsonl");
}

static ivl_status write_parts(merge *m, ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i <= m->to.n_files; i++) {
        char *path = output_path(m, i);

        status = path ? write_part(m, i < m->to.n_files ? i : i - 1, path, error)
                      : no_memory(error);
        ivl__free(path);
    }
    return status;
}

/* Gives the names (or, after a failure, takes the parts away). */
static ivl_status settle_parts(merge *m, bool keep, ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i <= m->to.n_files; i++) {
        char *path = output_path(m, i);
        char *part = path ? ivl__record_concat(path, ".part") : NULL;

        status = part ? IVL_OK : no_memory(error);
        if (part) {
            status = keep ? ivl__file_rename(part, path, error) : ivl__file_remove(part, error);
        }
        ivl__free(path);
        ivl__free(part);
    }
    return status;
}

static ivl_status write_record(const merge *m, const char *record, ivl_error *error)
{
    json_t *object = json_pack(
        "{s:O?, s:O?, s:s, s:O?, s:O?, s:s, s:I, s:I, s:I, s:I, s:O}", "format",
        json_object_get(m->manifest, "format"), "version", json_object_get(m->manifest, "version"),
        "form", ivl__record_form_name(&m->to), "identity", json_object_get(m->manifest, "identity"),
        "streams", json_object_get(m->manifest, "streams"), "state", "merged", "units",
        (json_int_t)m->n_units, "inputs", (json_int_t)m->inputs, "rows", (json_int_t)m->rows,
        "errors", (json_int_t)m->errors, "provenances", m->provenances);
    char *dump = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
    char *text = dump ? ivl__record_concat(dump, "\n") : NULL;
    ivl_status status = text ? ivl__file_replace(record, text, strlen(text), error)
                             : no_memory(error);

    ivl__free(text);
    free(dump);
    json_decref(object);
    return status;
}

static ivl_status write_all(merge *m, const char *record, ivl_error *error)
{
    ivl_status status;

    IVL__TRY(check_place(m, record, error));
    IVL__TRY(check_room(m, error));
    status = write_parts(m, error);
    if (status == IVL_OK) {
        status = write_record(m, record, error);
    }
    if (status != IVL_OK) {
        settle_parts(m, false, NULL);
        return status;
    }
    return settle_parts(m, true, error);
}

/* Two merges into one place would mix their parts; so would a merge and a run of embed, which takes
 * the same lock. */
static ivl_status write_locked(merge *m, ivl_error *error)
{
    char *record = ivl__record_path(&m->to, 0);
    char *lock = record ? ivl__record_concat(record, ".lock") : NULL;
    ivl_status status;
    bool busy = false;
    int fd;

    status = lock ? ivl__lockfile_take(lock, false, &fd, &busy, error) : no_memory(error);
    if (status == IVL_OK && busy) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' is being written by another process (it holds '%s')", m->to.path,
                           lock);
    } else if (status == IVL_OK) {
        status = write_all(m, record, error);
        ivl__lockfile_release(lock, fd);
    }
    ivl__free(record);
    ivl__free(lock);
    return status;
}

/* Merges of one folder into several places share its errors.jsonl: one after the other. */
static ivl_status write_in_turn(merge *m, ivl_error *error)
{
    char *lock = ivl__path_join(m->from.base, "errors.jsonl.lock");
    ivl_status status;
    bool busy;
    int fd;

    status = lock ? ivl__lockfile_take(lock, true, &fd, &busy, error) : no_memory(error);
    if (status == IVL_OK) {
        status = write_locked(m, error);
        ivl__lockfile_release(lock, fd);
    }
    ivl__free(lock);
    return status;
}

static ivl_status run(merge *m, const char *out, ivl_error *error)
{
    m->provenances = json_array();
    m->chunk = ivl__malloc(CHUNK);
    if (!m->provenances || !m->chunk) {
        return no_memory(error);
    }
    IVL__TRY(name_outputs(m, out, error));
    IVL__TRY(survey(m, error));
    return write_in_turn(m, error);
}

ivl_status ivl__output_merge(const char *path, const char *out, bool force,
                             ivl__merge_progress *progress, void *user, uint64_t *failed,
                             ivl_error *error)
{
    merge m = {.force = force, .progress = progress, .user = user};
    ivl_status status = ivl__output_open(path, &m.from, &m.manifest, error);

    if (status != IVL_OK) {
        return status;
    }
    status = run(&m, out, error);
    if (status == IVL_OK && failed) {
        *failed = m.errors;
    }
    json_decref(m.manifest);
    json_decref(m.provenances);
    ivl__free(m.units);
    ivl__free(m.chunk);
    ivl__record_layout_free(&m.from);
    ivl__record_layout_free(&m.to);
    return status == IVL_BAD_INPUT
               ? ivl__fail_context(error, IVL_INVALID_ARGUMENT, "output '%s' is damaged", path)
               : status;
}
