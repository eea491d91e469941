/* gemm_cpu.cl - Y = epilogue(X . W^T) on CPUs by fp32 FMA, weights as they lie in the checkpoint.
 *
 * Twelve rows x two vectors of sums stay in registers (six rows where vectors have 8 floats); see
 * gemm_cpu_body.h for the blocking, gemm_cpu_pack.h for the weights, gemm_cpu_few.h for up to four rows. No shape
 * is special: tails of rows, columns and K take slower code with the same arithmetic per output.
 * Order of summation: one fma() chain per output along k = 0 .. K - 1, from zero.
 * Bound: |sum - exact| <= K 2^-24 sum |x||w| (first order); test: tests/op/test_gemm.c.
 *
 * LAYOUT: 0 NT x [m, k], w [n, k]; 1 NN x [m, k], w [k, n]; 2 TN x [k, m], w [k, n].
 * WTYPE: 0 fp32, 1 fp16, 2 bf16. VW: 8 or 16 floats in a register. PANELS: panels of an item.
 * Grid: (panels of columns / PANELS, blocks of rows), local size 1.
 */
#ifndef VW
#define LAYOUT 0
#define WTYPE  2
#define VW     16
#define PANELS 2
#define GELU   0
#endif
#define BF16_DOT 0
#define PANEL    (2 * VW)

typedef float xtype;

#include "gemm_cpu_pack.h"
#include "gemm_cpu_rows.h"

#define START(r)                          \
    floatv a##r = LOADV(sums + (r)*PANEL); \
    floatv b##r = LOADV(sums + (r)*PANEL + VW);
#define STEP_ROW(r)                                      \
    {                                                    \
        const floatv value = (floatv)(x[(size_t)(r)*x_row]); \
        a##r = fma(value, left, a##r);                   \
        b##r = fma(value, right, b##r);                  \
    }
#define KEEP(r)                     \
    STOREV(a##r, sums + (r)*PANEL); \
    STOREV(b##r, sums + (r)*PANEL + VW);

#if LAYOUT == 2
#define NEXT x_step
#else
#define NEXT 1
#endif

#define TURN(EACH)                             \
    {                                          \
        const floatv left = LOADV(panel);      \
        const floatv right = LOADV(panel + VW); \
        EACH(STEP_ROW)                         \
        x += NEXT;                             \
        panel += PANEL;                        \
    }
/* Eight turns at a time: the addresses of rows and panel are computed once for them. */
#define TURNS(EACH) \
    TURN(EACH) TURN(EACH) TURN(EACH) TURN(EACH) TURN(EACH) TURN(EACH) TURN(EACH) TURN(EACH)

#define SWEEP_FUNCTION(NAME, EACH, MANY)                                                       \
    static void NAME(const __global float *x, size_t x_row, size_t x_step, int depth,          \
                     const __local float *panel, __local float *sums)                          \
    {                                                                                          \
        int k = 0;                                                                             \
                                                                                               \
        EACH(START)                                                                            \
        MANY(EACH)                                                                             \
        for (; k < depth; k++) {                                                               \
            TURN(EACH)                                                                         \
        }                                                                                      \
        EACH(KEEP)                                                                             \
    }
#define BY_EIGHT(EACH)                   \
    for (; k + 8 <= depth; k += 8) {     \
        TURNS(EACH)                      \
    }
#define BY_ONE(EACH)

SWEEP_FUNCTION(JOIN(sweep_, ROWS), EACH_ROWS, BY_EIGHT)
SWEEP_FUNCTION(sweep_4, EACH_4, BY_ONE)
SWEEP_FUNCTION(sweep_1, EACH_1, BY_ONE)

#if LAYOUT == 0
#include "gemm_cpu_few.h"
#endif
#include "gemm_cpu_body.h"
