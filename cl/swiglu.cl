/* swiglu.cl - the gate of an MLP: out = silu(gate) up, silu(g) = g / (1 + e^-g).
 *
 * gate, up [rows, width] fp32, rows gate_ld and up_ld apart -> out, rows out_ld apart, of OUT_TYPE (act.h);
 * out may be the place of gate or up where it is fp32. Offsets count elements. One work-item per SPAN columns
 * (y) of a row (x); every element alone, by the same steps wherever it stands.
 * With e = e^-|g|, which cannot overflow, silu is g / (1 + e), or g e / (1 + e) below zero. NaN stays NaN.
 * Error, U = 2^-24: e is off by 3 U (exp.h), which counts at most once in e / (1 + e); the sum rounds once, the
 * division by 2.5 ulp = 5 U, the two products once each: <= 11 U |out|. Below -87, where e is 0, silu
 * answers -0 instead of at most 1.5e-36; products below 2^-126 may become 0.
 * Test: tests/op/test_token.c.
 */
#include "act.h"
#include "exp.h"

#define IVL_SILU(NAME, F, EXP)                                              \
    static inline F NAME(const F g)                                         \
    {                                                                       \
        const F e = EXP(-fabs(g));                                          \
        const F part = select((F)(1.0f), e, isless(g, (F)(0.0f)));          \
        return g * (part / ((F)(1.0f) + e));                                \
    }
IVL_SILU(silu_1, float, exp_1)
#if SPAN >= 16
IVL_SILU(silu_16, float16, exp_16)
#endif

__kernel void swiglu(__global const float *gate, ulong gate_at, int gate_ld, __global const float *up,
                     ulong up_at, int up_ld, __global OUT *out, ulong out_at, int out_ld, int width, ulong rows)
{
    const int begin = (int)get_global_id(1) * SPAN;
    const size_t row = get_global_id(0);
    if (row >= rows || begin >= width) {
        return;
    }
    const int end = min(begin + SPAN, width);
    int i = begin;
    gate += gate_at + row * (size_t)gate_ld;
    up += up_at + row * (size_t)up_ld;
    out += out_at + row * (size_t)out_ld;
#if SPAN >= 16
    for (; i + 16 <= end; i += 16) {
        STORE16(out + i, silu_16(vload16(0, gate + i)) * vload16(0, up + i));
    }
#endif
    for (; i < end; i++) {
        STORE(out, i, silu_1(gate[i]) * up[i]);
    }
}
