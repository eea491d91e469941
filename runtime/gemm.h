/* gemm.h - the contract of the big matrix product: Y = epilogue(X . W^T).
 *
 * Weights keep their stored type, accumulation is fp32 (in one order per output element and
 * backend, whatever M, row position, tile split and residency: equal bits for a row wherever it
 * stands), epilogues are fused. A backend fulfils the contract for some devices; `auto` measures.
 */
#ifndef IVL_RUNTIME_GEMM_H
#define IVL_RUNTIME_GEMM_H

#include "runtime/device.h"
#include "runtime/tensor.h"

typedef enum ivl_precision {
    IVL_EXACT = 0, /* fp32 arithmetic */
    IVL_FAST = 1   /* 16-bit multiplicands (matrix units, dot products), fp32 accumulation */
} ivl_precision;

/* How the second operand lies. The model's weights are NT; `x @ P` is NN; training will want TN. */
typedef enum ivl__gemm_layout {
    IVL__GEMM_NT = 0, /* x [m, k], w [n, k] */
    IVL__GEMM_NN = 1, /* x [m, k], w [k, n] */
    IVL__GEMM_TN = 2  /* x [k, m], w [k, n] */
} ivl__gemm_layout;

typedef enum ivl__epilogue {
    IVL__EPILOGUE_BIAS = 0, /* y = xw + bias                    (bias may be absent) */
    IVL__EPILOGUE_GELU,     /* y = gelu_erf(xw + bias)          (bias may be absent) */
    IVL__EPILOGUE_RESIDUAL  /* y = y + scale * (xw + bias)      (y fp32; bias, scale may be absent)
                             */
} ivl__epilogue;

/* One product. Vectors (bias, scale) are fp32 [n]. Rows of x are contiguous ([m, k], x_type as
 * ivl__gemm_input_type says); rows of y are y_ld elements apart. */
typedef struct ivl__gemm_call {
    ivl__gemm_layout layout;
    int32_t m;
    ivl__span x;
    ivl_dtype x_type;
    const ivl__weight *w;
    ivl__epilogue epilogue;
    ivl__span bias, scale;
    ivl__span y;
    ivl_dtype y_type; /* IVL_F32, or IVL_BF16/IVL_F16 (rounded to nearest even) */
    int32_t y_ld;
} ivl__gemm_call;

struct ivl__gemm;

/* A way to fulfil the contract. */
typedef struct ivl__gemm_backend {
    const char *name; /* "cpu", "tile", "clblast": as --gemm names it */
    /* Whether it can serve this device and precision at all; the reason where not. */
    bool (*available)(ivl__device *device, ivl_precision precision, const char **reason);
    /* The type x must have: IVL_F32, or the 16-bit type of the unit. */
    ivl_dtype (*input_type)(ivl_precision precision);
    /* Bytes of device scratch a call of at most this size needs beyond its operands. */
    size_t (*scratch)(ivl__device *device, ivl_precision precision, int32_t m, int32_t n, int32_t k,
                      ivl_dtype w_type);
    ivl_status (*run)(struct ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error);
} ivl__gemm_backend;

extern const ivl__gemm_backend ivl__gemm_cpu, ivl__gemm_tile, ivl__gemm_clblast;
/* All of them, ended by NULL; the order is that of `auto`'s candidates. */
extern const ivl__gemm_backend *const ivl__gemm_backends[];

/* A backend bound to a device and a precision, with its scratch. */
typedef struct ivl__gemm {
    ivl__device *device;
    const ivl__gemm_backend *backend;
    ivl_precision precision;
    cl_mem scratch; /* of scratch_bytes, made by ivl__gemm_reserve */
    size_t scratch_bytes;
} ivl__gemm;

/* name: a backend, or "auto" / NULL. `auto` takes the pinned or remembered winner for this device,
 * driver and precision, else measures the candidates on the model's shapes (tuning.h). An unknown
 * name is IVL_INVALID_ARGUMENT listing the names; one that cannot serve is IVL_UNSUPPORTED. */
ivl_status ivl__gemm_open(ivl__device *device, const char *name, ivl_precision precision,
                          ivl__gemm *gemm, ivl_error *error);
void ivl__gemm_close(ivl__gemm *gemm);

ivl_dtype ivl__gemm_input_type(const ivl__gemm *gemm);
/* What reserve would allocate; part of the plan. */
size_t ivl__gemm_scratch(const ivl__gemm *gemm, int32_t m, int32_t n, int32_t k, ivl_dtype w_type);
ivl_status ivl__gemm_reserve(ivl__gemm *gemm, size_t bytes, ivl_error *error);

/* Checks the call (types, sizes, presence of operands), then enqueues it, tile by tile. */
ivl_status ivl__gemm_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error);

#endif
