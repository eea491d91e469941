/* compute.h - what every forward pass is given: a device, its products, scratch that all share; and
 * the step that all are made of. */
#ifndef IVL_MODEL_COMPUTE_H
#define IVL_MODEL_COMPUTE_H

#include "model/stage_list.h"
#include "runtime/gemm.h"
#include "runtime/ops.h"
#include "runtime/profile.h"
#include "runtime/tuning.h"

typedef struct ivl__compute {
    ivl__device *device;
    ivl__gemm *gemm;
    ivl_dtype act;         /* what products take: fp32, or the 16-bit type of the unit */
    const char *attention; /* variant, NULL: by the device */
    /* Scratch of a sub-batch, free between steps. */
    cl_mem normed; /* act: outputs of norms, attention and activations, which products read */
    cl_mem wide;   /* mostly f32: outputs of products */
    uint64_t normed_bytes, wide_bytes;
} ivl__compute;

/* Tiles of a stage where it is, and the vectors of its list. */
typedef struct ivl__placed_stage {
    const ivl__stage_list *list;
    cl_mem vectors;
    int stage; /* index in list */
    const ivl__span *spans;
} ivl__placed_stage;

/* A vector by its place; absent for IVL__ABSENT. */
ivl__span ivl__vector_at(cl_mem vectors, uint64_t place);

/* y = epilogue(x [rows, in] act . matrix^T), rows of y as wide as the matrix has rows. */
typedef struct ivl__linear {
    const char *name; /* what a profile calls it */
    const ivl__stage_matrix *matrix;
    ivl__span x;
    int32_t rows;
    ivl__epilogue epilogue;
    uint64_t bias, scale; /* places of vectors, or IVL__ABSENT */
    ivl__span y;
    ivl_dtype y_type;
} ivl__linear;
ivl_status ivl__compute_linear(const ivl__compute *compute, const ivl__placed_stage *at,
                               const ivl__linear *call, ivl_error *error);

/* Adds the shape of a matrix [n, k] to shapes unless it is there; the answer is the new number, at
 * most IVL__GEMM_MAX_CHOICES. */
int ivl__add_gemm_shape(ivl__gemm_shape *shapes, int n_shapes, int32_t n, int32_t k,
                        ivl_dtype dtype);

/* The scratch of the largest of these products at this many rows. */
uint64_t ivl__gemm_scratch_of(const ivl__gemm_shape *shapes, int n, const ivl__gemm *gemm,
                              int32_t rows);

static inline uint64_t ivl__larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t ivl__smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
