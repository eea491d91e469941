/* embeddings.c - the rows of an `embed` output with their keys; see embeddings.h. */
#include "loader/embeddings.h"

#include "loader/output_folder.h"
#include "loader/record_lines.h"
#include "loader/record_unit.h"
#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

struct ivl__embeddings {
    ivl__record_layout layout;
    json_t *record; /* manifest.json or OUT.meta.json */
    ivl__embeddings_info info;
    char mode[8];
    int stream;
    uint64_t units, next_unit;

    /* The unit that is being read. */
    bool open;
    char *array_path;
    int array;
    ivl__npy npy;
    ivl__line_reader lines;
    uint64_t unit_rows, unit_row; /* there are, were given out */

    unsigned char *chunk; /* [chunk_rows, row_bytes], rows unit_row .. of the unit */
    size_t row_bytes, chunk_rows, chunk_at, chunk_filled;
    float *row; /* [dim] */
    ivl__text key;
};

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for embeddings");
}

/* ---- finding the output ------------------------------------------------------------------ */

static ivl_status not_complete(const ivl__embeddings *e, uint64_t unit, bool begun,
                               ivl_error *error)
{
    char which[64] = "";

    if (e->layout.form == IVL__RECORD_FOLDER && e->units) {
        snprintf(which, sizeof which, ": unit %" PRIu64 " of %" PRIu64, unit, e->units);
    } else if (e->layout.form == IVL__RECORD_FOLDER) {
        snprintf(which, sizeof which, ": no run has come to the end of the inputs");
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "'%s' is not complete%s%s; run embed%s to its end first", e->layout.path,
                     which,
                     !which[0] || !e->units ? ""
                     : begun                ? " is not finished"
                                            : " is missing",
                     e->layout.form == IVL__RECORD_FOLDER ? " (all its shards)" : "");
}

/* All units must be done: an index of a part would look like one of the whole. */
static ivl_status survey_folder(ivl__embeddings *e, ivl_error *error)
{
    uint64_t inputs;

    IVL__TRY(ivl__totals_read(e->layout.base, &e->units, &inputs, error));
    if (!e->units) {
        return not_complete(e, 0, false, error);
    }
    for (uint64_t unit = 0; unit < e->units; unit++) {
        ivl__journal journal;
        bool done, begun;

        IVL__TRY(ivl__output_unit_state(&e->layout, unit, &done, &begun, error));
        if (!done) {
            return not_complete(e, unit, begun, error);
        }
        IVL__TRY(ivl__output_read_unit(&e->layout, unit, false, &journal, error));
        e->info.rows += journal.now.rows;
        e->info.errors += journal.now.errors;
        ivl__journal_free(&journal);
    }
    return IVL_OK;
}

/* "OUT" of OUT.npy; of OUT.c.npy where only OUT.meta.json is there, then *suffix is "c". */
static ivl_status find_base(const char *path, char **base, const char **suffix, ivl_error *error)
{
    size_t n = strlen(path);
    char *meta;
    char *dot;
    bool found;

    *suffix = NULL;
    *base = ivl__strdup(path);
    if (!*base) {
        return no_memory(error);
    }
    (*base)[n - 4] = '\0';
    meta = ivl__record_concat(*base, ".meta.json");
    found = !meta || ivl__file_kind_of(meta) != IVL__FILE_MISSING;
    dot = strrchr(*base, '.');
    if (!found && dot && !strchr(dot, '/')) {
        *suffix = path + (dot + 1 - *base);
        *dot = '\0';
    }
    if (!meta) {
        ivl__free(*base);
        return no_memory(error);
    }
    ivl__free(meta);
    return IVL_OK;
}

static ivl_status read_record(const char *base, const char *path, json_t **record, ivl_error *error)
{
    char *meta = ivl__record_concat(base, ".meta.json");
    unsigned char *text = NULL;
    size_t bytes, used;
    ivl_status status = meta ? ivl__unit_read(meta, record, &text, &bytes, &used, error)
                             : no_memory(error);

    if (status == IVL_IO_ERROR) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' is no output of embed that can be read: '%s' is not there", path,
                           meta);
    }
    ivl__free(text);
    ivl__free(meta);
    return status;
}

/* The layout as embed made it, by what its record says. */
static ivl_status take_layout(ivl__embeddings *e, const char *base, ivl_error *error)
{
    ivl__record_stream streams[IVL__MAX_STREAMS];
    ivl__npy_type type = IVL__NPY_F4;
    char *path = ivl__record_concat(base, ".npy");
    ivl_status status = path ? IVL_OK : no_memory(error);
    int n = 0;

    if (status == IVL_OK) {
        status = ivl__record_head_streams(e->record, streams, &n, &type, error);
    }
    if (status == IVL_OK) {
        status = ivl__record_layout_init(&e->layout, path, streams, n, type, error);
    }
    ivl__free(path);
    return status;
}

static ivl_status survey_file(ivl__embeddings *e, ivl_error *error)
{
    const char *state = json_string_value(json_object_get(e->record, "state"));
    char *record = ivl__record_path(&e->layout, 0);
    char *journal = record ? ivl__record_concat(record, ".part") : NULL;
    bool begun = journal && ivl__file_exists(journal);

    ivl__free(record);
    ivl__free(journal);
    if (!journal) {
        return no_memory(error);
    }
    e->units = 1;
    if (begun || !state || (strcmp(state, "done") != 0 && strcmp(state, "merged") != 0)) {
        return not_complete(e, 0, true, error);
    }
    if (!ivl__json_u64(e->record, "rows", &e->info.rows) ||
        !ivl__json_u64(e->record, "errors", &e->info.errors)) {
        return ivl__fail(error, IVL_BAD_INPUT, "its record does not tell how many rows there are");
    }
    return IVL_OK;
}

static ivl_status open_file(ivl__embeddings *e, const char *path, const char **suffix,
                            ivl_error *error)
{
    char *base;
    ivl_status status;

    IVL__TRY(find_base(path, &base, suffix, error));
    status = read_record(base, path, &e->record, error);
    if (status == IVL_OK) {
        status = take_layout(e, base, error);
    }
    ivl__free(base);
    IVL__TRY(status);
    return survey_file(e, error);
}

static bool has_ending(const char *path, const char *ending)
{
    size_t n = strlen(path);
    size_t m = strlen(ending);

    return n > m && strcmp(path + n - m, ending) == 0;
}

/* *suffix: of the array that the path names, else NULL. */
static ivl_status find_output(ivl__embeddings *e, const char *path, const char **suffix,
                              ivl_error *error)
{
    *suffix = NULL;
    if (ivl__file_kind_of(path) == IVL__FILE_FOLDER) {
        IVL__TRY(ivl__output_open(path, &e->layout, &e->record, error));
        return survey_folder(e, error);
    }
    if (has_ending(path, ".npy")) {
        return open_file(e, path, suffix, error);
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "'%s' cannot be read: an index is made from an output folder of embed, or "
                     "from its OUT.npy",
                     path);
}

/* ---- choosing the vectors ---------------------------------------------------------------- */

/* "c" of img_emb_c; of img_emb what the identity says, where that is one mode. */
static const char *mode_of(const ivl__embeddings *e, const ivl__record_stream *stream)
{
    const char *all = json_string_value(json_object_get(e->info.identity, "mode"));

    if (strncmp(stream->name, "img_emb_", 8) == 0) {
        return stream->name + 8;
    }
    return strcmp(stream->name, "img_emb") == 0 && all && !strchr(all, ',') ? all : NULL;
}

static ivl_status choose_stream(ivl__embeddings *e, const char *mode, ivl_error *error)
{
    ivl__text modes = {0};
    int found = -1;
    int n = 0;
    ivl_status status = IVL_OK;

    for (int i = 0; i < e->layout.n_streams; i++) {
        const char *this = mode_of(e, &e->layout.streams[i]);

        if (!this || strlen(this) >= sizeof e->mode || e->layout.streams[i].rank != 1) {
            continue;
        }
        ivl__text_printf(&modes, "%s%s", n++ ? ", " : "", this);
        if (!mode || strcmp(this, mode) == 0) {
            found = i;
        }
    }
    if (modes.failed) {
        status = no_memory(error);
    } else if (n == 0) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' holds no image vectors of embed (img_emb)", e->layout.path);
    } else if (!mode && n > 1) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' has vectors of the modes %s; choose one with --mode",
                           e->layout.path, modes.data);
    } else if (found < 0) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' has no vectors of mode %s; it has: %s", e->layout.path, mode,
                           modes.data);
    }
    ivl__text_free(&modes);
    IVL__TRY(status);
    e->stream = found;
    strcpy(e->mode, mode_of(e, &e->layout.streams[found]));
    return IVL_OK;
}

/* OUT.c.npy names its mode itself. */
static ivl_status choose(ivl__embeddings *e, const char *path, const char *mode, const char *suffix,
                         ivl_error *error)
{
    char named[8] = "";
    size_t n = suffix ? strlen(suffix) - 4 : 0;

    if (suffix && n < sizeof named) {
        memcpy(named, suffix, n);
        named[n] = '\0';
        if (mode && strcmp(mode, named) != 0) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' has no vectors of mode %s", path,
                             mode);
        }
        mode = named;
    }
    return choose_stream(e, mode, error);
}

static ivl_status take_info(ivl__embeddings *e, ivl_error *error)
{
    e->info.identity = json_object_get(e->record, "identity");
    e->info.model_id = json_string_value(json_object_get(e->info.identity, "model_id"));
    if (!json_is_object(e->info.identity) || !e->info.model_id || strlen(e->info.model_id) != 64) {
        return ivl__fail(error, IVL_BAD_INPUT, "its record names no model");
    }
    return IVL_OK;
}

static ivl_status take_shape(ivl__embeddings *e, ivl_error *error)
{
    uint64_t dim = e->layout.streams[e->stream].shape[0];

    if (dim > INT32_MAX || (e->layout.type != IVL__NPY_F4 && e->layout.type != IVL__NPY_F2)) {
        return ivl__fail(error, IVL_BAD_INPUT, "rows of %" PRIu64 " values of %s", dim,
                         ivl__npy_type_name(e->layout.type));
    }
    e->info.dim = (int32_t)dim;
    e->info.mode = e->mode;
    e->row_bytes = (size_t)ivl__record_row_bytes(&e->layout, e->stream);
    e->chunk_rows = CHUNK / e->row_bytes ? CHUNK / e->row_bytes : 1;
    e->chunk = ivl__malloc(e->chunk_rows * e->row_bytes > 1 << 16 ? e->chunk_rows * e->row_bytes
                                                                  : 1 << 16);
    e->row = ivl__calloc((size_t)dim, sizeof *e->row);
    return e->chunk && e->row ? IVL_OK : no_memory(error);
}

/* What is wrong with an output is wrong usage of the command that was given it. */
static ivl_status damaged(const char *path, ivl_status status, ivl_error *error)
{
    return status == IVL_BAD_INPUT
               ? ivl__fail_context(error, IVL_INVALID_ARGUMENT, "output '%s' is damaged", path)
               : status;
}

ivl_status ivl__embeddings_open(const char *path, const char *mode, ivl__embeddings **embeddings,
                                ivl_error *error)
{
    ivl__embeddings *e = ivl__calloc(1, sizeof *e);
    const char *suffix;
    ivl_status status;

    if (!e) {
        return no_memory(error);
    }
    status = find_output(e, path, &suffix, error);
    if (status == IVL_OK) {
        status = take_info(e, error);
    }
    if (status == IVL_OK) {
        status = choose(e, path, mode, suffix, error);
    }
    if (status == IVL_OK) {
        status = take_shape(e, error);
    }
    if (status != IVL_OK) {
        ivl__embeddings_free(e);
        return damaged(path, status, error);
    }
    *embeddings = e;
    return IVL_OK;
}

ivl__embeddings_info ivl__embeddings_get_info(const ivl__embeddings *e)
{
    return e->info;
}

/* ---- reading ----------------------------------------------------------------------------- */

static void close_unit(ivl__embeddings *e)
{
    if (e->open) {
        ivl__file_close(e->array);
        ivl__lines_close(&e->lines);
    }
    ivl__free(e->array_path);
    e->array_path = NULL;
    e->open = false;
}

void ivl__embeddings_free(ivl__embeddings *e)
{
    if (!e) {
        return;
    }
    close_unit(e);
    ivl__record_layout_free(&e->layout);
    json_decref(e->record);
    ivl__text_free(&e->key);
    ivl__free(e->chunk);
    ivl__free(e->row);
    ivl__free(e);
}

static ivl_status rows_of_unit(const ivl__embeddings *e, uint64_t unit, uint64_t *rows,
                               ivl_error *error)
{
    ivl__journal journal;

    if (e->layout.form != IVL__RECORD_FOLDER) {
        *rows = e->info.rows;
        return IVL_OK;
    }
    IVL__TRY(ivl__output_read_unit(&e->layout, unit, false, &journal, error));
    *rows = journal.now.rows;
    ivl__journal_free(&journal);
    return IVL_OK;
}

static ivl_status check_array(ivl__embeddings *e, ivl_error *error)
{
    uint64_t bytes;
    size_t got;

    IVL__TRY(ivl__file_bytes(e->array, e->array_path, &bytes, error));
    IVL__TRY(ivl__file_pread(e->array, e->array_path, 0, e->chunk, 1 << 16, &got, error));
    if (ivl__npy_parse(e->chunk, got, bytes, &e->npy, error) != IVL_OK) {
        return ivl__fail_context(error, IVL_BAD_INPUT, "'%s'", e->array_path);
    }
    if (e->npy.type != e->layout.type || e->npy.rank != 2 || e->npy.shape[0] != e->unit_rows ||
        e->npy.shape[1] != (uint64_t)e->info.dim) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "'%s' is not the array that its record tells of: %" PRIu64
                         " rows of %d values",
                         e->array_path, e->unit_rows, e->info.dim);
    }
    return IVL_OK;
}

static ivl_status open_unit(ivl__embeddings *e, ivl_error *error)
{
    uint64_t unit = e->next_unit++;
    ivl_status status;

    e->unit_row = e->chunk_at = e->chunk_filled = 0;
    IVL__TRY(rows_of_unit(e, unit, &e->unit_rows, error));
    e->array_path = ivl__record_file_path(&e->layout, e->stream, unit);
    if (!e->array_path) {
        return no_memory(error);
    }
    IVL__TRY(ivl__file_open(e->array_path, &e->array, error));
    status = ivl__lines_open(&e->lines,
                             ivl__record_file_path(&e->layout, e->layout.n_streams, unit),
                             UINT64_MAX, false, error);
    if (status != IVL_OK) {
        ivl__file_close(e->array);
        return status;
    }
    e->open = true;
    return check_array(e, error);
}

static ivl_status fill_chunk(ivl__embeddings *e, ivl_error *error)
{
    uint64_t left = e->unit_rows - e->unit_row;
    size_t rows = left < e->chunk_rows ? (size_t)left : e->chunk_rows;
    size_t got;

    IVL__TRY(ivl__file_pread(e->array, e->array_path,
                             e->npy.offset + e->unit_row * (uint64_t)e->row_bytes, e->chunk,
                             rows * e->row_bytes, &got, error));
    if (got < rows * e->row_bytes) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' shrinks while it is read", e->array_path);
    }
    e->chunk_at = 0;
    e->chunk_filled = rows;
    return IVL_OK;
}

static ivl_status next_key(ivl__embeddings *e, ivl_error *error)
{
    const char *line;
    const char *key;
    size_t bytes, n;

    IVL__TRY(ivl__lines_next(&e->lines, &line, &bytes, error));
    ivl__text_clear(&e->key);
    if (!line || !ivl__record_line_key(line, bytes, &key, &n) ||
        !ivl__text_unquote(&e->key, key, n)) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         line ? "'%s': line %" PRIu64 " is not one that embed writes"
                              : "'%s' has no line %" PRIu64,
                         e->lines.path, e->unit_row + 1);
    }
    ivl__text_add(&e->key, "", 0);
    return e->key.failed ? no_memory(error) : IVL_OK;
}

static ivl_status next_row(ivl__embeddings *e, ivl_error *error)
{
    const ivl_dtype type = e->layout.type == IVL__NPY_F2 ? IVL_F16 : IVL_F32;
    const unsigned char *at;

    if (e->chunk_at == e->chunk_filled) {
        IVL__TRY(fill_chunk(e, error));
    }
    at = e->chunk + e->chunk_at++ * e->row_bytes;
    for (size_t i = 0; i < (size_t)e->info.dim; i++) {
        e->row[i] = ivl__dtype_load(type, at, i);
    }
    IVL__TRY(next_key(e, error));
    e->unit_row++;
    return IVL_OK;
}

ivl_status ivl__embeddings_next(ivl__embeddings *e, const float **row, const char **key,
                                size_t *key_bytes, ivl_error *error)
{
    ivl_status status = IVL_OK;

    *row = NULL;
    while (status == IVL_OK && (!e->open || e->unit_row == e->unit_rows)) {
        close_unit(e);
        if (e->next_unit == e->units) {
            return IVL_OK;
        }
        status = open_unit(e, error);
    }
    if (status == IVL_OK) {
        status = next_row(e, error);
    }
    if (status != IVL_OK) {
        return damaged(e->layout.path, status, error);
    }
    *row = e->row;
    *key = e->key.data;
    *key_bytes = e->key.bytes;
    return IVL_OK;
}
