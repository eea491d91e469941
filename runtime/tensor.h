/* tensor.h - operands of kernels: a place in device memory, and weights as row tiles. */
#ifndef IVL_RUNTIME_TENSOR_H
#define IVL_RUNTIME_TENSOR_H

#include "runtime/dtype.h"
#include "runtime/opencl.h"

/* A place inside a buffer. offset is in bytes and a multiple of the element size; nothing more may
 * be assumed of its alignment (published checkpoints align to 8 or 64 bytes only). mem == NULL
 * means "absent" where an operand is optional. */
typedef struct ivl__span {
    cl_mem mem;
    uint64_t offset;
} ivl__span;

static inline ivl__span ivl__span_at(ivl__span span, uint64_t bytes)
{
    span.offset += bytes;
    return span;
}

/* A matrix of weights [rows, cols], row-major, in its stored type, as row tiles in row order.
 * One tensor is one tile; split q/k/v are three; a tensor larger than a slot is several. */
typedef struct ivl__weight_tile {
    ivl__span data; /* [rows, cols] */
    int32_t first_row, rows;
} ivl__weight_tile;

#define IVL__MAX_TILES 64

typedef struct ivl__weight {
    ivl_dtype dtype; /* of all tiles: IVL_F32, IVL_F16 or IVL_BF16 */
    int32_t rows, cols;
    int n_tiles;
    ivl__weight_tile tiles[IVL__MAX_TILES];
} ivl__weight;

/* A matrix in one piece. */
static inline ivl__weight ivl__weight_of(ivl__span data, ivl_dtype dtype, int32_t rows,
                                         int32_t cols)
{
    return (ivl__weight){.dtype = dtype,
                         .rows = rows,
                         .cols = cols,
                         .n_tiles = 1,
                         .tiles = {{.data = data, .rows = rows}}};
}

#endif
