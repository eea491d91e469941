/* npy_source.c - the rows of a float32 array [N, 3, H, W]; see npy_source.h. */
#include "loader/npy_source.h"

#include "loader/npy.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 65536, MAX_SIDE = 65535 };

struct ivl__npy_source {
    ivl__shared_file *file;
    ivl__npy npy;
    uint64_t row, row_bytes;
};

static ivl_status check_shape(const ivl__npy *npy, const char *path, ivl_error *error)
{
    if (npy->type != IVL__NPY_F4 || npy->rank != 4 || npy->shape[1] != 3) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "'%s' is %s with %d dimensions; pixel values are float32 [N, 3, H, W]",
                         path, ivl__npy_type_name(npy->type), npy->rank);
    }
    if (npy->shape[2] < 1 || npy->shape[2] > MAX_SIDE || npy->shape[3] < 1 ||
        npy->shape[3] > MAX_SIDE) {
        return ivl__fail(
            error, IVL_BAD_INPUT, "'%s': pictures of %llu x %llu (1 to %d is possible)", path,
            (unsigned long long)npy->shape[3], (unsigned long long)npy->shape[2], (int)MAX_SIDE);
    }
    return IVL_OK;
}

ivl_status ivl__npy_source_open(const char *path, ivl__npy_source **source, ivl_error *error)
{
    ivl__npy_source *s = ivl__calloc(1, sizeof *s);
    unsigned char *head = ivl__malloc(HEAD_BYTES);
    ivl_status status;
    size_t got;

    if (!s || !head) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot open '%s': out of memory", path);
        goto fail;
    }
    status = ivl__shared_file_open(path, &s->file, error);
    if (status != IVL_OK) {
        goto fail;
    }
    status = ivl__shared_file_read(s->file, 0, head, HEAD_BYTES, &got, error);
    if (status != IVL_OK) {
        goto fail;
    }
    status = ivl__npy_parse(head, got, ivl__shared_file_bytes(s->file), &s->npy, error);
    if (status != IVL_OK) {
        ivl__fail_context(error, status, "'%s'", path);
        goto fail;
    }
    status = check_shape(&s->npy, path, error);
    if (status != IVL_OK) {
        goto fail;
    }
    s->row_bytes = 4 * 3 * s->npy.shape[2] * s->npy.shape[3];
    ivl__free(head);
    *source = s;
    return IVL_OK;

fail:
    ivl__free(head);
    ivl__npy_source_free(s);
    return status;
}

ivl_status ivl__npy_source_next(ivl__npy_source *source, ivl__item *item, bool *end,
                                ivl_error *error)
{
    const char *path = ivl__shared_file_path(source->file);
    size_t room = strlen(path) + 24;

    *end = source->row == source->npy.shape[0];
    if (*end) {
        return IVL_OK;
    }
    *item = (ivl__item){.kind = IVL__ITEM_TENSOR,
                        .height = (int)source->npy.shape[2],
                        .width = (int)source->npy.shape[3],
                        .offset = source->npy.offset + source->row * source->row_bytes,
                        .range = source->row_bytes,
                        .key = ivl__malloc(room)};
    if (!item->key) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read '%s': out of memory", path);
    }
    snprintf(item->key, room, "%s#%llu", path, (unsigned long long)source->row);
    item->file = ivl__shared_file_keep(source->file);
    source->row++;
    return IVL_OK;
}

void ivl__npy_source_free(ivl__npy_source *source)
{
    if (source) {
        ivl__shared_file_release(source->file);
        ivl__free(source);
    }
}
