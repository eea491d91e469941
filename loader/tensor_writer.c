/* tensor_writer.c - one file of tensors, written in any order; see tensor_writer.h. */
#include "loader/tensor_writer.h"

#include "loader/tensor_writer_layout.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <zlib.h>

/* A stretch of a tensor's data that was put, with its checksum. */
typedef struct piece {
    size_t index;
    uint64_t offset, bytes;
    uint32_t crc;
} piece;

struct ivl__tensor_writer {
    const ivl__layout_format *format;
    ivl__layout layout;
    char *path;
    int fd;
    ivl__mutex mutex; /* of what follows */
    uint64_t put;     /* bytes of data */
    piece *pieces;
    size_t n_pieces, capacity;
};

uint64_t ivl__stored_tensor_bytes(const ivl__stored_tensor *tensor)
{
    uint64_t bytes = ivl__dtype_bytes(tensor->dtype);

    for (int i = 0; i < tensor->rank; i++) {
        bytes *= tensor->shape[i];
    }
    return bytes;
}

ivl_status ivl__tensor_writer_new(ivl__tensor_format format, const ivl__stored_tensor *tensors,
                                  size_t n, ivl__tensor_writer **out, ivl_error *error)
{
    ivl__tensor_writer *w = ivl__calloc(1, sizeof *w);
    ivl_status status;

    if (!w) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a writer");
    }
    w->format = format == IVL__FORMAT_TORCH ? &ivl__torch_format : &ivl__safetensors_format;
    w->layout = (ivl__layout){.tensors = tensors, .n = n};
    w->fd = -1;
    ivl__mutex_init(&w->mutex);
    w->layout.offsets = ivl__calloc(n, sizeof *w->layout.offsets);
    status = w->layout.offsets
                 ? w->format->plan(&w->layout, error)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu tensors", n);
    if (status != IVL_OK) {
        ivl__tensor_writer_free(w);
        return status;
    }
    *out = w;
    return IVL_OK;
}

uint64_t ivl__tensor_writer_bytes(const ivl__tensor_writer *w)
{
    return w->layout.bytes;
}

static ivl_status reserve(ivl__tensor_writer *w, ivl_error *error)
{
    ivl_status status = ivl__file_truncate(w->fd, w->path, 0, error);

    if (status == IVL_OK) {
        /* Gaps that alignment leaves read as zeros. */
        status = ivl__file_truncate(w->fd, w->path, w->layout.bytes, error);
    }
    return status == IVL_OK
               ? status
               : ivl__fail_context(error, status, "a file of %llu bytes is not possible here",
                                   (unsigned long long)w->layout.bytes);
}

ivl_status ivl__tensor_writer_create(ivl__tensor_writer *w, const char *path, ivl_error *error)
{
    ivl_status status;

    w->path = ivl__strdup(path);
    if (!w->path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", path);
    }
    IVL__TRY(ivl__file_create(path, &w->fd, error));
    IVL__TRY(ivl__file_lock(w->fd, path, error));
    status = reserve(w, error);
    if (status != IVL_OK) {
        ivl__file_remove(path, NULL);
    }
    return status;
}

static bool add_piece(ivl__tensor_writer *w, const piece *added)
{
    bool room = true;

    ivl__mutex_lock(&w->mutex);
    w->put += added->bytes;
    if (w->format->needs_crc) {
        room = ivl__grow((void **)&w->pieces, &w->capacity, w->n_pieces + 1, sizeof *w->pieces);
        if (room) {
            w->pieces[w->n_pieces++] = *added;
        }
    }
    ivl__mutex_unlock(&w->mutex);
    return room;
}

ivl_status ivl__tensor_writer_put(ivl__tensor_writer *w, size_t index, uint64_t offset,
                                  const void *data, size_t bytes, ivl_error *error)
{
    piece added = {index, offset, bytes, 0};

    if (w->format->needs_crc) {
        added.crc = (uint32_t)crc32_z(0, data, bytes);
    }
    IVL__TRY(
        ivl__file_pwrite(w->fd, w->path, w->layout.offsets[index] + offset, data, bytes, error));
    return add_piece(w, &added)
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for checksums");
}

ivl_status ivl__tensor_writer_sync(ivl__tensor_writer *w, ivl_error *error)
{
    return ivl__file_sync(w->fd, w->path, error);
}

/* ---- the end ----------------------------------------------------------------------------- */

static int compare_pieces(const void *a, const void *b)
{
    const piece *x = a;
    const piece *y = b;

    if (x->index != y->index) {
        return x->index < y->index ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Checksums of whole tensors from those of their pieces. */
static ivl_status combine(ivl__tensor_writer *w, uint32_t *crcs, ivl_error *error)
{
    uint64_t end = 0;

    if (w->n_pieces) {
        qsort(w->pieces, w->n_pieces, sizeof *w->pieces, compare_pieces);
    }
    for (size_t i = 0; i < w->n_pieces; i++) {
        const piece *p = &w->pieces[i];

        end = i && w->pieces[i - 1].index == p->index ? end : 0;
        if (p->offset != end) {
            return ivl__fail(error, IVL_INTERNAL, "'%s': data of tensor \"%s\" overlaps", w->path,
                             w->layout.tensors[p->index].name);
        }
        crcs[p->index] = (uint32_t)crc32_combine(crcs[p->index], p->crc, (z_off_t)p->bytes);
        end += p->bytes;
    }
    return IVL_OK;
}

static ivl_status write_at(void *user, uint64_t at, const void *data, size_t bytes,
                           ivl_error *error)
{
    const ivl__tensor_writer *w = user;

    return ivl__file_pwrite(w->fd, w->path, at, data, bytes, error);
}

ivl_status ivl__tensor_writer_finish(ivl__tensor_writer *w, ivl_error *error)
{
    uint64_t expected = 0;
    uint32_t *crcs;
    ivl_status status;

    for (size_t i = 0; i < w->layout.n; i++) {
        expected += ivl__stored_tensor_bytes(&w->layout.tensors[i]);
    }
    if (w->put != expected) {
        return ivl__fail(error, IVL_INTERNAL, "'%s': %llu of %llu bytes were put", w->path,
                         (unsigned long long)w->put, (unsigned long long)expected);
    }
    crcs = ivl__calloc(w->layout.n, sizeof *crcs);
    if (!crcs) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for checksums");
    }
    status = combine(w, crcs, error);
    if (status == IVL_OK) {
        status = w->format->headers(&w->layout, crcs, write_at, w, error);
    }
    ivl__free(crcs);
    return status == IVL_OK ? ivl__file_sync(w->fd, w->path, error) : status;
}

void ivl__tensor_writer_free(ivl__tensor_writer *w)
{
    if (!w) {
        return;
    }
    ivl__file_close(w->fd);
    w->format->free(&w->layout);
    ivl__mutex_free(&w->mutex);
    ivl__free(w->layout.offsets);
    ivl__free(w->pieces);
    ivl__free(w->path);
    ivl__free(w);
}
