/* gemm_cpu_bf16.cl - Y = epilogue(X . W^T) on x86 CPUs by vdpbf16ps: pairs of bf16 products, fp32 sums.
 *
 * The twin of gemm_cpu.cl with x in bf16 and panels of pairs along K. The instruction is written out
 * as inline assembler: the host has checked that the processor has it and that the driver assembles
 * it (caps.x86_bf16_dot). Weights of other types are rounded to bf16 while they are packed.
 * Order of summation: one chain per output along the pairs of K, from zero; the instruction flushes
 * subnormals, rounds to nearest even after each product of a pair.
 * Bound: |sum - exact| <= K 2^-24 sum |x||w| of the rounded operands (first order, no subnormals);
 * test: tests/op/test_gemm.c.
 *
 * LAYOUT, WTYPE, PANELS, grid: as gemm_cpu.cl; VW is 16.
 */
#ifndef VW
#define LAYOUT 0
#define WTYPE  2
#define VW     16
#define PANELS 2
#define GELU   0
#endif
#define BF16_DOT 1
#define PANEL    (2 * VW)

typedef ushort xtype;

#include "gemm_cpu_pack.h"
#include "gemm_cpu_rows.h"

#define DOT(sum, a, b) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(b), "v"(a))

#if LAYOUT == 2
#define NEXT       (2 * x_step)
#define X_PAIR(p)  ((uint)(p)[0] | ((uint)(p)[x_step] << 16))
#else
#define NEXT       2
#define X_PAIR(p)  as_uint(vload2(0, p))
#endif

#define START(r)                          \
    float16 a##r = vload16(0, sums + (r)*PANEL); \
    float16 b##r = vload16(0, sums + (r)*PANEL + VW);
#define STEP_ROW(r)                                              \
    {                                                            \
        const uint16 value = (uint16)(X_PAIR(x + (size_t)(r)*x_row)); \
        DOT(a##r, value, left);                                  \
        DOT(b##r, value, right);                                 \
    }
/* The last value of an odd K has a zero beside it. */
#define LAST_ROW(r)                                              \
    {                                                            \
        const uint16 value = (uint16)((uint)x[(size_t)(r)*x_row]); \
        DOT(a##r, value, left);                                  \
        DOT(b##r, value, right);                                 \
    }
#define KEEP(r)                     \
    vstore16(a##r, 0, sums + (r)*PANEL); \
    vstore16(b##r, 0, sums + (r)*PANEL + VW);

#define SWEEP_FUNCTION(NAME, EACH)                                                             \
    static void NAME(const __global ushort *x, size_t x_row, size_t x_step, int depth,         \
                     const __local uint *panel, __local float *sums)                           \
    {                                                                                          \
        EACH(START)                                                                            \
        for (int k = 0; k < depth / 2; k++) {                                                  \
            const uint16 left = vload16(0, panel);                                             \
            const uint16 right = vload16(0, panel + VW);                                       \
            EACH(STEP_ROW)                                                                     \
            x += NEXT;                                                                         \
            panel += PANEL;                                                                    \
        }                                                                                      \
        if (depth % 2) {                                                                       \
            const uint16 left = vload16(0, panel);                                             \
            const uint16 right = vload16(0, panel + VW);                                       \
            EACH(LAST_ROW)                                                                     \
        }                                                                                      \
        EACH(KEEP)                                                                             \
    }

SWEEP_FUNCTION(sweep_12, EACH_ROWS)
SWEEP_FUNCTION(sweep_4, EACH_4)
SWEEP_FUNCTION(sweep_1, EACH_1)

#include "gemm_cpu_body.h"
