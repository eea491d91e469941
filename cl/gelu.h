/* gelu.h - GELU with erf, v Phi(v), by polynomial: no branches, vectors on CPUs, equal bits.
 *
 * gelu_1, gelu_8, gelu_16. With u = |v| and q = Phi(-u), GELU(v) = max(v, 0) - u q, which cancels
 * nowhere. log q = -u^2 / 2 + R(u); R is a polynomial of degree 10, fitted on [0, 6] (weight u q,
 * largest error of u q 3.3e-10) and constant beyond, where u q < 6e-9. NaN stays NaN; infinities
 * give infinity and zero.
 * Error <= 3 * 2^-24 |v| + 2e-9; test: tests/op/test_gelu.c.
 */
#include "exp.h"

#define IVL_GELU(NAME, F, EXP)                                                      \
    static inline F NAME(const F v)                                                 \
    {                                                                               \
        const F size = fabs(v);                                                     \
        const F u = size > (F)(20.0f) ? (F)(20.0f) : size;                          \
        const F t = fmin(u, (F)(6.0f));                                             \
        F r = fma((F)(-3.26433340e-8f), t, (F)(8.45566516e-7f));                    \
        r = fma(r, t, (F)(-9.62128535e-6f));                                        \
        r = fma(r, t, (F)(6.15440906e-5f));                                         \
        r = fma(r, t, (F)(-2.14112075e-4f));                                        \
        r = fma(r, t, (F)(2.64503855e-5f));                                         \
        r = fma(r, t, (F)(4.79847942e-3f));                                         \
        r = fma(r, t, (F)(-3.63469835e-2f));                                        \
        r = fma(r, t, (F)(1.81694177e-1f));                                         \
        r = fma(r, t, (F)(-7.97885240e-1f));                                        \
        r = fma(r, t, (F)(-6.93147143e-1f));                                        \
        return fma(-u, EXP(fma((F)(-0.5f) * u, u, r)), fmax(v, (F)(0.0f)));         \
    }
IVL_EXP(exp_8, float8, int8, as_float8, as_int8)
IVL_GELU(gelu_1, float, exp_1)
IVL_GELU(gelu_8, float8, exp_8)
IVL_GELU(gelu_16, float16, exp_16)
