/* gemm.h - the contract of the big matrix product: Y = epilogue(X . W^T).
 *
 * Weights keep their stored type, accumulation is fp32 (in one order per output element and
 * backend, whatever M, row position, tile split and residency: equal bits for a row wherever it
 * stands), epilogues are fused. A backend fulfils the contract for some devices; `auto` measures.
 */
#ifndef IVL_RUNTIME_GEMM_H
#define IVL_RUNTIME_GEMM_H

#include "runtime/device.h"
#include "runtime/gemm_tile.h"
#include "runtime/tensor.h"

typedef enum ivl_precision {
    IVL_EXACT = 0, /* fp32 arithmetic */
    IVL_FAST = 1   /* 16-bit multiplicands (matrix units, dot products), fp32 accumulation */
} ivl_precision;

/* How the second operand lies. The model's weights are NT; `x @ P` is NN; training will want TN.
 * NN and TN take weights of one row tile: splitting their rows would split the sum. */
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
    /* Drops what run keeps beyond the device's programs; NULL where there is nothing. */
    void (*close)(struct ivl__gemm *gemm);
} ivl__gemm_backend;

extern const ivl__gemm_backend ivl__gemm_cpu, ivl__gemm_tile, ivl__gemm_clblast;
/* All of them, ended by NULL; the order is that of `auto`'s candidates. */
extern const ivl__gemm_backend *const ivl__gemm_backends[];

/* Who computes a weight matrix. Never a matter of M: rows of a batch of one and of a batch of a
 * hundred must have equal bits. */
typedef struct ivl__gemm_choice {
    int32_t n, k;
    ivl_dtype w_type;
    const ivl__gemm_backend *backend;
    ivl__gemm_tile_params tile; /* of `tile`; all zero: its default */
} ivl__gemm_choice;

#define IVL__GEMM_MAX_CHOICES 64

/* A device and a precision with the backends chosen for its weights, and their scratch. */
typedef struct ivl__gemm {
    ivl__device *device;
    const ivl__gemm_backend *backend; /* of weights without a choice of their own */
    ivl_precision precision;
    cl_mem scratch; /* of scratch_bytes, made by ivl__gemm_reserve */
    size_t scratch_bytes;
    bool automatic;    /* opened as "auto": ivl__gemm_tune may choose */
    bool library_used; /* `clblast` has something to drop */
    ivl__gemm_choice choices[IVL__GEMM_MAX_CHOICES];
    int n_choices;
} ivl__gemm;

/* name: a backend, or "auto" / NULL. `auto` starts with the first backend that fits the device;
 * ivl__gemm_tune (tuning.h) then chooses per weight matrix. CLBlast is taken on GPUs only and
 * `tile` on CPUs only if nothing else fits, unless asked for by name. An unknown name is
 * IVL_INVALID_ARGUMENT listing the names; one that cannot serve is IVL_UNSUPPORTED. */
ivl_status ivl__gemm_open(ivl__device *device, const char *name, ivl_precision precision,
                          ivl__gemm *gemm, ivl_error *error);
void ivl__gemm_close(ivl__gemm *gemm);

/* Whether `fast` is worth its rounding: false where the only unit that serves it was measured to be
 * no faster than fp32 FMA (vdpbf16ps on some processors). */
bool ivl__gemm_fast_pays(const ivl__device *device);
/* Whether `auto` may take this backend here; *reason says why not. */
bool ivl__gemm_is_candidate(ivl__device *device, ivl_precision precision,
                            const ivl__gemm_backend *backend, const char **reason);
/* The choice for a call's weights; NULL where there is none and gemm->backend serves. */
const ivl__gemm_choice *ivl__gemm_choice_for(const ivl__gemm *gemm, const ivl__gemm_call *call);
/* Sets or replaces the choice for choice->(n, k, w_type); what does not fit in any more is left to
 * gemm->backend. */
void ivl__gemm_choose(ivl__gemm *gemm, const ivl__gemm_choice *choice);

/* Who computes, for people: "cpu", or "tile+clblast" where matrices have different ones. */
void ivl__gemm_describe(const ivl__gemm *gemm, char *text, size_t bytes);

ivl_dtype ivl__gemm_input_type(const ivl__gemm *gemm);
/* What reserve would allocate; part of the plan. */
size_t ivl__gemm_scratch(const ivl__gemm *gemm, int32_t m, int32_t n, int32_t k, ivl_dtype w_type);
ivl_status ivl__gemm_reserve(ivl__gemm *gemm, size_t bytes, ivl_error *error);

/* Checks the call (types, sizes, presence of operands, scratch), then enqueues it, tile by tile.
 * m == 0 is a success that does nothing. */
ivl_status ivl__gemm_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error);

#endif
