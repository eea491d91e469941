/* item.c - one input of an image command; see item.h. */
#include "loader/item.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

/* A range of a tar or an array. The range was checked against the size of the file, but the file
 * may have shrunk since. */
static ivl_status read_range(const ivl__item *item, void **data, ivl_error *error)
{
    ivl_status status;
    void *bytes;
    size_t got;

    if (item->range > IVL__ITEM_MAX_BYTES) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' is larger than %zu bytes", item->key,
                         IVL__ITEM_MAX_BYTES);
    }
    bytes = ivl__malloc((size_t)item->range);
    if (!bytes) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read '%s': no memory for %llu bytes",
                         item->key, (unsigned long long)item->range);
    }
    status = ivl__shared_file_read(item->file, item->offset, bytes, (size_t)item->range, &got,
                                   error);
    if (status == IVL_OK && got < item->range) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot read '%s': the file has shrunk", item->key);
    }
    if (status != IVL_OK) {
        ivl__free(bytes);
        return status;
    }
    *data = bytes;
    return IVL_OK;
}

ivl_status ivl__item_load(ivl__item *item, ivl_error *error)
{
    ivl_status status;
    void *data = NULL;

    if (item->kind == IVL__ITEM_FAILED) {
        return ivl__fail(error, IVL_BAD_INPUT, "%s", item->error_text);
    }
    if (item->bytes || item->tensor ||
        (item->kind != IVL__ITEM_PICTURE && item->kind != IVL__ITEM_TENSOR)) {
        return IVL_OK;
    }
    if (!item->file) {
        return ivl__file_read(item->path, IVL__ITEM_MAX_BYTES, &item->bytes, &item->n_bytes, error);
    }
    status = read_range(item, &data, error);
    if (status != IVL_OK) {
        return status;
    }
    if (item->kind == IVL__ITEM_TENSOR) {
        item->tensor = data;
    } else {
        item->bytes = data;
        item->n_bytes = (size_t)item->range;
    }
    return IVL_OK;
}

void ivl__item_free(ivl__item *item)
{
    if (!item) {
        return;
    }
    ivl__free(item->key);
    ivl__free(item->caption);
    ivl__free(item->fields);
    ivl__free(item->error_text);
    ivl__free(item->bytes);
    ivl__free(item->tensor);
    ivl__free(item->path);
    ivl__shared_file_release(item->file);
    memset(item, 0, sizeof *item);
}
