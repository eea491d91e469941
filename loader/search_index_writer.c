/* search_index_writer.c - writing an index of vectors; see search_index.h.
 *
 * Rows go to path.part behind room for their header, the table and the keys to files of their own,
 * since nobody knows yet how many rows will be kept; at the end these are appended, the head and
 * the header written, and the file gets its name. Memory does not grow with the rows.
 */
#include "loader/record_layout.h"
#include "loader/record_part.h"
#include "loader/search_index.h"
#include "loader/unit_vector.h"
#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct ivl__index_writer {
    char *path, *lock_path;
    int lock;
    ivl__index_options options; /* strings and identity copied into head */
    ivl__index_head head;
    ivl__record_part rows, table, keys;
    float *row;       /* [dim] */
    uint16_t *halves; /* [dim] */
};

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for an index");
}

/* ---- open -------------------------------------------------------------------------------- */

static ivl_status check_options(const ivl__index_options *o, ivl_error *error)
{
    if (o->dim < 1 || o->dim > IVL__INDEX_MAX_DIM || o->most_rows > IVL__INDEX_MAX_ROWS ||
        (o->type != IVL__NPY_F4 && o->type != IVL__NPY_F2) || strlen(o->model_id) != 64 ||
        strlen(o->mode) >= sizeof((ivl__index_head *)0)->mode || !json_is_object(o->identity)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "an index holds up to %u rows of up to %d values of a known model, not "
                         "%" PRIu64 " of %d of '%s' (mode '%s')",
                         (unsigned)IVL__INDEX_MAX_ROWS, (int)IVL__INDEX_MAX_DIM, o->most_rows,
                         o->dim, o->model_id, o->mode);
    }
    return IVL_OK;
}

static ivl_status check_place(const ivl__index_writer *w, ivl_error *error)
{
    uint64_t need = w->options.most_rows *
                    ((uint64_t)w->options.dim * ivl__npy_type_bytes(w->options.type) +
                     sizeof(uint64_t));
    char *folder = ivl__path_folder(w->path);
    ivl_status status = folder ? IVL_OK : no_memory(error);

    if (status == IVL_OK && !w->options.force && ivl__file_exists(w->path)) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' exists; move it away, choose another output, or pass --force",
                           w->path);
    } else if (status == IVL_OK) {
        status = ivl__disk_has_room(folder, need, w->path, error);
    }
    ivl__free(folder);
    return status;
}

static ivl_status take_lock(ivl__index_writer *w, ivl_error *error)
{
    bool busy = false;

    w->lock_path = ivl__record_concat(w->path, ".lock");
    if (!w->lock_path) {
        return no_memory(error);
    }
    IVL__TRY(ivl__lockfile_take(w->lock_path, false, &w->lock, &busy, error));
    return busy ? ivl__fail(error, IVL_INVALID_ARGUMENT,
                            "'%s' is being written by another process (it holds '%s')", w->path,
                            w->lock_path)
                : IVL_OK;
}

static ivl_status open_parts(ivl__index_writer *w, ivl_error *error)
{
    IVL__TRY(
        ivl__record_part_open(&w->table, ivl__record_concat(w->path, ".table.part"), 0, error));
    IVL__TRY(ivl__record_part_open(&w->keys, ivl__record_concat(w->path, ".keys.part"), 0, error));
    return ivl__record_part_open(&w->rows, ivl__record_concat(w->path, ".part"), IVL__INDEX_ROWS_AT,
                                 error);
}

static ivl_status open_writer(ivl__index_writer *w, const char *path, ivl_error *error)
{
    const ivl__index_options *o = &w->options;

    w->path = ivl__strdup(path);
    w->row = ivl__calloc((size_t)o->dim, sizeof *w->row);
    w->halves = ivl__calloc((size_t)o->dim, sizeof *w->halves);
    w->head.identity = json_deep_copy(o->identity);
    if (!w->path || !w->row || !w->halves || !w->head.identity) {
        return no_memory(error);
    }
    json_object_del(w->head.identity, "unit_rows"); /* of the files, not of the vectors */
    w->head.dim = o->dim;
    w->head.type = o->type;
    memcpy(w->head.model_id, o->model_id, strlen(o->model_id) + 1);
    memcpy(w->head.mode, o->mode, strlen(o->mode) + 1);
    IVL__TRY(take_lock(w, error));
    IVL__TRY(check_place(w, error));
    return open_parts(w, error);
}

ivl_status ivl__index_writer_open(const char *path, const ivl__index_options *options,
                                  ivl__index_writer **writer, ivl_error *error)
{
    ivl__index_writer *w;
    ivl_status status;

    IVL__TRY(check_options(options, error));
    w = ivl__calloc(1, sizeof *w);
    if (!w) {
        return no_memory(error);
    }
    w->options = *options;
    w->lock = -1;
    status = open_writer(w, path, error);
    if (status != IVL_OK) {
        ivl__index_writer_free(w);
        return status;
    }
    *writer = w;
    return IVL_OK;
}

static void drop(ivl__record_part *part)
{
    if (part->path) {
        ivl__file_remove(part->path, NULL);
        ivl__record_part_close(part);
    }
}

void ivl__index_writer_free(ivl__index_writer *w)
{
    if (!w) {
        return;
    }
    drop(&w->rows);
    drop(&w->table);
    drop(&w->keys);
    if (w->lock >= 0) {
        ivl__lockfile_release(w->lock_path, w->lock);
    }
    ivl__index_head_free(&w->head);
    ivl__free(w->row);
    ivl__free(w->halves);
    ivl__free(w->lock_path);
    ivl__free(w->path);
    ivl__free(w);
}

/* ---- rows -------------------------------------------------------------------------------- */

static void put_le(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

/* The next entry of the table: where a key begins, or the last one ends. */
static ivl_status add_entry(ivl__index_writer *w, ivl_error *error)
{
    unsigned char entry[8];

    put_le(entry, w->head.keys_bytes, 8);
    return ivl__record_part_add(&w->table, entry, sizeof entry, error);
}

static ivl_status add_vector(ivl__index_writer *w, ivl_error *error)
{
    size_t dim = (size_t)w->head.dim;

    if (w->head.type == IVL__NPY_F4) {
        return ivl__record_part_add(&w->rows, w->row, dim * sizeof *w->row, error);
    }
    for (size_t i = 0; i < dim; i++) {
        w->halves[i] = ivl__float_to_f16(w->row[i]);
    }
    return ivl__record_part_add(&w->rows, w->halves, dim * sizeof *w->halves, error);
}

ivl_status ivl__index_writer_add(ivl__index_writer *w, const float *row, const char *key,
                                 size_t key_bytes, bool *kept, ivl_error *error)
{
    if (key_bytes > IVL__INDEX_MAX_KEY) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "the key '%.60s...' has %zu bytes; an index takes up to %d", key,
                         key_bytes, (int)IVL__INDEX_MAX_KEY);
    }
    if (w->head.rows == IVL__INDEX_MAX_ROWS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "an index holds up to %u rows",
                         (unsigned)IVL__INDEX_MAX_ROWS);
    }
    memcpy(w->row, row, (size_t)w->head.dim * sizeof *row);
    *kept = ivl__unit_vector(w->row, (size_t)w->head.dim);
    if (!*kept) {
        return IVL_OK;
    }
    IVL__TRY(add_vector(w, error));
    IVL__TRY(add_entry(w, error));
    IVL__TRY(ivl__record_part_add(&w->keys, key, key_bytes, error));
    w->head.keys_bytes += key_bytes;
    w->head.rows++;
    return IVL_OK;
}

/* ---- the end ----------------------------------------------------------------------------- */

/* Appends a finished part. */
static ivl_status append_part(ivl__index_writer *w, ivl__record_part *part, ivl_error *error)
{
    enum { CHUNK = 1 << 18 };
    unsigned char *chunk = ivl__malloc(CHUNK);
    ivl_status status = chunk ? ivl__record_part_flush(part, error) : no_memory(error);

    for (uint64_t at = 0; status == IVL_OK && at < part->written;) {
        size_t want = part->written - at < CHUNK ? (size_t)(part->written - at) : CHUNK;
        size_t got = 0;

        status = ivl__file_pread(part->fd, part->path, at, chunk, want, &got, error);
        if (status == IVL_OK && got < want) {
            status = ivl__fail(error, IVL_IO_ERROR, "'%s' shrinks while it is read", part->path);
        }
        if (status == IVL_OK) {
            status = ivl__record_part_add(&w->rows, chunk, got, error);
        }
        at += got;
    }
    ivl__free(chunk);
    return status;
}

/* rows.crc sums what was written since it was last zero. */
static ivl_status sum_up(ivl__index_writer *w, uint32_t *crc, ivl_error *error)
{
    IVL__TRY(ivl__record_part_flush(&w->rows, error));
    *crc = w->rows.crc;
    return IVL_OK;
}

static ivl_status add_head(ivl__index_writer *w, ivl_error *error)
{
    const ivl__index_head *h = &w->head;
    unsigned char tail[IVL__INDEX_TAIL_BYTES];
    json_t *object = json_pack(
        "{s:s, s:i, s:I, s:i, s:s, s:b, s:I, s:I, s:I, s:s, s:s, s:O}", "format", "internvl-index",
        "version", 1, "rows", (json_int_t)h->rows, "dim", (int)h->dim, "dtype",
        ivl__npy_type_name(h->type), "normalized", 1, "keys_bytes", (json_int_t)h->keys_bytes,
        "rows_crc32", (json_int_t)h->rows_crc, "keys_crc32", (json_int_t)h->keys_crc, "model_id",
        h->model_id, "mode", h->mode, "identity", h->identity);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    size_t bytes = text ? strlen(text) : 0;
    ivl_status status = text ? IVL_OK : no_memory(error);

    json_decref(object);
    if (status == IVL_OK && bytes > IVL__INDEX_MAX_HEAD) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "the identity of the embeddings has %zu bytes; an index takes up to %d",
                           bytes, (int)IVL__INDEX_MAX_HEAD);
    }
    if (status == IVL_OK) {
        put_le(tail, ivl__index_keys_at(h) + h->keys_bytes, 8);
        put_le(tail + 8, bytes, 4);
        put_le(tail + 12, crc32_z(0, (const Bytef *)text, bytes), 4);
        memcpy(tail + 16, "IVLINDEX", 8);
        status = ivl__record_part_add(&w->rows, text, bytes, error);
    }
    if (status == IVL_OK) {
        status = ivl__record_part_add(&w->rows, tail, sizeof tail, error);
    }
    free(text);
    return status;
}

/* NumPy's header, as long as a page. */
static ivl_status write_header(ivl__index_writer *w, ivl_error *error)
{
    unsigned char page[IVL__INDEX_ROWS_AT];
    unsigned char header[IVL__NPY_HEADER_BYTES];
    const uint64_t shape[2] = {w->head.rows, (uint64_t)w->head.dim};

    IVL__TRY(ivl__npy_header(w->head.type, shape, 2, header, error));
    memset(page, ' ', sizeof page);
    memcpy(page, header, sizeof header - 1); /* without its line feed */
    put_le(page + 8, sizeof page - 10, 2);
    page[sizeof page - 1] = '\n';
    return ivl__file_pwrite(w->rows.fd, w->rows.path, 0, page, sizeof page, error);
}

static ivl_status write_rest(ivl__index_writer *w, ivl_error *error)
{
    static const char zeros[8];
    uint64_t end = IVL__INDEX_ROWS_AT + ivl__index_rows_bytes(&w->head);

    IVL__TRY(sum_up(w, &w->head.rows_crc, error));
    IVL__TRY(ivl__record_part_add(&w->rows, zeros, (size_t)(ivl__index_table_at(&w->head) - end),
                                  error));
    IVL__TRY(ivl__record_part_flush(&w->rows, error));
    w->rows.crc = 0;
    IVL__TRY(add_entry(w, error));
    IVL__TRY(append_part(w, &w->table, error));
    IVL__TRY(append_part(w, &w->keys, error));
    IVL__TRY(sum_up(w, &w->head.keys_crc, error));
    IVL__TRY(add_head(w, error));
    IVL__TRY(write_header(w, error));
    return ivl__record_part_sync(&w->rows, error);
}

ivl_status ivl__index_writer_finish(ivl__index_writer *w, ivl_error *error)
{
    if (w->head.rows == 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "no rows for the index '%s': nothing is written", w->path);
    }
    IVL__TRY(write_rest(w, error));
    return ivl__file_rename(w->rows.path, w->path, error);
}
