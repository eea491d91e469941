/* gemm_epilogue.h - what becomes of a finished sum x . w, and how it is stored.
 *
 * In: -DGELU=1 builds the GELU epilogue in; bias, scale, residual and the output's type are run-time
 * arguments, uniform over a launch. Vectors bias and scale are fp32 [n].
 */
#include "gelu.h"

/* Values of the arguments `flags` (a sum) and `y_type` (as ivl_dtype of the host). */
#define HAS_BIAS     1
#define HAS_SCALE    2
#define HAS_RESIDUAL 4
#define Y_F32        0
#define Y_F16        1
#define Y_BF16       2

#ifndef GELU
#define GELU 0
#endif

/* Round to nearest even; NaN stays NaN. */
static ushort bf16_from_float(float value)
{
    uint bits = as_uint(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (ushort)((bits >> 16) | 0x40u);
    }
    return (ushort)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* y[at] = epilogue(sum) for column `col`; y is the base of the buffer, `at` counts elements. */
static void store_result(__global void *y, ulong at, int y_type, float sum, int col, int flags,
                         const __global float *bias, const __global float *scale)
{
    float value = sum;

    if (flags & HAS_BIAS) {
        value += bias[col];
    }
#if GELU
    value = gelu_1(value);
#endif
    if (flags & HAS_SCALE) {
        value *= scale[col];
    }
    if (y_type == Y_F32) {
        __global float *out = (__global float *)y + at;

        *out = flags & HAS_RESIDUAL ? *out + value : value;
    } else if (y_type == Y_BF16) {
        ((__global ushort *)y)[at] = bf16_from_float(value);
    } else {
        vstore_half_rte(value, at, (__global half *)y);
    }
}
