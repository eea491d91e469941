/* tensor_writer_layout.h - what tensor_writer.c asks of each format. */
#ifndef IVL_LOADER_TENSOR_WRITER_LAYOUT_H
#define IVL_LOADER_TENSOR_WRITER_LAYOUT_H

#include "loader/json_text.h"
#include "loader/tensor_writer.h"

typedef struct ivl__layout {
    const ivl__stored_tensor *tensors; /* [n] */
    size_t n;
    uint64_t *offsets; /* [n]: where the data of each tensor begins */
    uint64_t bytes;    /* of the file */
    void *state;       /* of the format; one block */
} ivl__layout;

/* Bytes to be written at a place. */
typedef ivl_status ivl__layout_write_fn(void *user, uint64_t at, const void *data, size_t bytes,
                                        ivl_error *error);

/* plan sets offsets, bytes and state. headers writes everything that is not tensor data; crcs[i] is
 * the CRC-32 of tensor i's data, asked for only where needs_crc. */
typedef struct ivl__layout_format {
    bool needs_crc;
    ivl_status (*plan)(ivl__layout *layout, ivl_error *error);
    ivl_status (*headers)(const ivl__layout *layout, const uint32_t *crcs,
                          ivl__layout_write_fn *write, void *user, ivl_error *error);
    void (*free)(ivl__layout *layout);
} ivl__layout_format;

extern const ivl__layout_format ivl__safetensors_format, ivl__torch_format;

#endif
