/* tensor_writer.h - one file of tensors in a published format, written in any order.
 *
 *     ivl__tensor_writer_new(IVL__FORMAT_SAFETENSORS, tensors, n, &writer, error)   layout
 *     ivl__tensor_writer_create(writer, path, error)                                 file
 *     ivl__tensor_writer_put(writer, i, offset, data, bytes, error)                  any thread
 *     ivl__tensor_writer_finish(writer, error)                                       headers, sync
 *
 * The layout, and with it the size of the file, is known before anything is written, so that large
 * tensors can be made in pieces by several threads. Equal tensors give equal files.
 */
#ifndef IVL_LOADER_TENSOR_WRITER_H
#define IVL_LOADER_TENSOR_WRITER_H

#include "loader/tensor_table.h"

typedef enum ivl__tensor_format {
    IVL__FORMAT_SAFETENSORS,
    IVL__FORMAT_TORCH /* the zip of torch.save: a dictionary of tensors, one storage each */
} ivl__tensor_format;

/* Contiguous, C order. dtype: F32, F16, BF16 or I64. */
typedef struct ivl__stored_tensor {
    const char *name; /* printable ASCII */
    ivl_dtype dtype;
    int rank;
    uint64_t shape[IVL__MAX_RANK];
} ivl__stored_tensor;

/* Bytes of its data. */
uint64_t ivl__stored_tensor_bytes(const ivl__stored_tensor *tensor);

typedef struct ivl__tensor_writer ivl__tensor_writer;

/* tensors stay the caller's and must outlive the writer. */
ivl_status ivl__tensor_writer_new(ivl__tensor_format format, const ivl__stored_tensor *tensors,
                                  size_t n, ivl__tensor_writer **writer, ivl_error *error);
/* Of the whole file. */
uint64_t ivl__tensor_writer_bytes(const ivl__tensor_writer *writer);

/* Creates the file, or empties it; fails when another process is writing it. Whatever else goes
 * wrong removes it. */
ivl_status ivl__tensor_writer_create(ivl__tensor_writer *writer, const char *path,
                                     ivl_error *error);
/* Bytes [offset, offset + bytes) of the data of tensor `index`; every byte once. Thread-safe. */
ivl_status ivl__tensor_writer_put(ivl__tensor_writer *writer, size_t index, uint64_t offset,
                                  const void *data, size_t bytes, ivl_error *error);
/* Waits until what was put is on the disk, so that little is left to wait for at the end. */
ivl_status ivl__tensor_writer_sync(ivl__tensor_writer *writer, ivl_error *error);
/* Writes the headers and syncs. IVL_INTERNAL when not all data was put. */
ivl_status ivl__tensor_writer_finish(ivl__tensor_writer *writer, ivl_error *error);
/* Closes the file and leaves it where it is. */
void ivl__tensor_writer_free(ivl__tensor_writer *writer);

#endif
