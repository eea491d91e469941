/* gemm_tile.h - the parameters of the `tile` backend and their constraints, for tuning and tests.
 */
#ifndef IVL_RUNTIME_GEMM_TILE_H
#define IVL_RUNTIME_GEMM_TILE_H

#include "runtime/device.h"

/* One member of the kernel family of cl/gemm_tile.cl. None of them changes the result's bits. */
typedef struct ivl__gemm_tile_params {
    int16_t mwg, nwg, kwg; /* block of a work-group */
    int16_t mdim, ndim;    /* its items: ndim along columns (local id 0), mdim along rows */
    int16_t vwm, vwn;      /* vectors read from local memory: 1, 2, 4, 8 */
    int16_t vwk;           /* vectors read from global memory: 4, 8 */
    int16_t pad;           /* floats behind each row of local memory */
    int16_t rowwise;       /* 1: neighbouring items fetch neighbouring rows; 0: along K */
    int16_t prefetch;      /* 1: the next block is fetched before the current one is used */
    int16_t unroll;        /* of the loop over a block's K */
} ivl__gemm_tile_params;

/* NULL when the set can be built and run on a device of these limits, else the constraint that it
 * breaks. */
const char *ivl__gemm_tile_params_invalid(const ivl__gemm_tile_params *params,
                                          const ivl__caps *caps);
static inline bool ivl__gemm_tile_params_valid(const ivl__gemm_tile_params *params,
                                               const ivl__caps *caps)
{
    return !ivl__gemm_tile_params_invalid(params, caps);
}

/* Bytes of local memory a work-group takes. */
size_t ivl__gemm_tile_local_bytes(const ivl__gemm_tile_params *params);

/* "64x64x16/8x16/4x4x4/p4r0f1u4", as tuning files have it. */
#define IVL__GEMM_TILE_TEXT 96
void ivl__gemm_tile_params_text(const ivl__gemm_tile_params *params,
                                char text[IVL__GEMM_TILE_TEXT]);
bool ivl__gemm_tile_params_parse(const char *text, ivl__gemm_tile_params *params);

/* The sets shipped, candidates of `auto` in this order; n of them. */
const ivl__gemm_tile_params *ivl__gemm_tile_sets(size_t *n);
/* The first shipped set that fits the device, NULL where none does. */
const ivl__gemm_tile_params *ivl__gemm_tile_default(const ivl__device *device);

#endif
