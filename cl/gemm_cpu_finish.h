/* gemm_cpu_finish.h - from finished sums to y: what the products of the CPU share.
 *
 * In: VW and its vector types (gemm_cpu_rows.h); PANEL, the columns of a row of sums; GELU.
 */
#include "gelu.h"

/* Values of the arguments `flags` (a sum) and `y_type` (as ivl_dtype of the host). */
#define HAS_BIAS     1
#define HAS_SCALE    2
#define HAS_RESIDUAL 4
#define Y_F32        0
#define Y_F16        1
#define Y_BF16       2

#if VW == 16
#define GELU_V gelu_16
#else
#define GELU_V gelu_8
#endif

typedef JOIN(uint, VW) uintv;
typedef JOIN(int, VW) intv;

/* Values p[0 .. VW - 1] of which `left` exist; the others repeat the last. */
static floatv load_vector(const __global float *p, int left)
{
    float values[VW];

    if (left >= VW) {
        return LOADV(p);
    }
    for (int c = 0; c < VW; c++) {
        values[c] = p[min(c, left - 1)];
    }
    return LOADV(values);
}

static uintv bf16_round(const floatv x)
{
    const uintv bits = JOIN(as_uint, VW)(x);
    const uintv rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;

    return select(rounded, (bits >> 16) | 0x40u, isnan(x));
}

/* `left` values to y at element `at`. */
static void store_vector(__global void *y, ulong at, int y_type, floatv value, int left)
{
    __global float *y32 = (__global float *)y + at;
    __global ushort *y16 = (__global ushort *)y + at;

    if (left >= VW) {
        if (y_type == Y_F32) {
            STOREV(value, y32);
        } else if (y_type == Y_BF16) {
            STOREV(JOIN(convert_ushort, VW)(bf16_round(value)), y16);
        } else {
            JOIN(JOIN(vstore_half, VW), _rte)(value, 0, (__global half *)y + at);
        }
    } else {
        float values[VW];
        uint rounded[VW];

        STOREV(value, values);
        STOREV(bf16_round(value), rounded);
        for (int c = 0; c < left; c++) {
            if (y_type == Y_F32) {
                y32[c] = values[c];
            } else if (y_type == Y_BF16) {
                y16[c] = (ushort)rounded[c];
            } else {
                vstore_half_rte(values[c], (size_t)c, (__global half *)y + at);
            }
        }
    }
}

/* VW columns of all rows: sums [rows][PANEL] to y, whose first element is `at`. */
static void finish(const __local float *sums, int rows, int left, int flags,
                   const __global float *bias, const __global float *scale, __global void *y,
                   ulong at, int y_ld, int y_type)
{
    const floatv b = flags & HAS_BIAS ? load_vector(bias, left) : (floatv)(0.0f);
    const floatv s = flags & HAS_SCALE ? load_vector(scale, left) : (floatv)(1.0f);

    for (int r = 0; r < rows; r++) {
        floatv value = LOADV(sums + r * PANEL);

        if (flags & HAS_BIAS) {
            value += b;
        }
#if GELU
        value = GELU_V(value);
#endif
        if (flags & HAS_SCALE) {
            value *= s;
        }
        if (flags & HAS_RESIDUAL) {
            value = load_vector((const __global float *)y + at, left) + value;
        }
        store_vector(y, at, y_type, value, left);
        at += (ulong)y_ld;
    }
}
