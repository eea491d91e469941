/* exp.h - e^x by polynomial: the same bits on every device, and vectors on CPUs.
 *
 * exp_1, exp_16 of float and float16. Range x <= 88; below -87 the answer is 0 (no subnormals), so
 * that a masked score has no weight at all. exp(0) is exactly 1. NaN gives NaN.
 * Error <= 1.5 ulp for -87 <= x <= 88: x = n ln 2 + r with |r| <= 0.347, where the product with the
 * upper part of ln 2 is exact; polynomial of degree 7 (coefficients of the Cephes library's expf,
 * error 2^-26); the scaling by 2^n is exact.
 * The last choice is a select(): of `?:` LLVM makes a `not` of a vector of conditions, which Oclgrind 21.10
 * computes wrong.
 * Test: tests/op/test_exp.c.
 */
#define IVL_EXP(NAME, F, I, AS_F, AS_I)                                                       \
    static inline F NAME(const F x0)                                                          \
    {                                                                                         \
        const F x = x0 < (F)(-87.0f) ? (F)(-87.0f) : x0;                                      \
        /* Adding 1.5 * 2^23 rounds to an integer and leaves it in the lowest bits. */        \
        const F shifted = fma(x, (F)(1.44269504f), (F)(12582912.0f));                         \
        const F n = shifted - (F)(12582912.0f);                                               \
        const F high = fma(n, (F)(-0.693359375f), x);                                         \
        const F r = fma(n, (F)(2.12194440e-4f), high);                                        \
        F p = fma((F)(1.9875691500e-4f), r, (F)(1.3981999507e-3f));                           \
        p = fma(p, r, (F)(8.3334519073e-3f));                                                 \
        p = fma(p, r, (F)(4.1665795894e-2f));                                                 \
        p = fma(p, r, (F)(1.6666665459e-1f));                                                 \
        p = fma(p, r, (F)(5.0000001201e-1f));                                                 \
        p = fma(p, r * r, r) + (F)(1.0f);                                                     \
        const I scale = (AS_I(shifted) - AS_I((F)(12582912.0f)) + (I)(127)) << (I)(23);       \
        const F y = p * AS_F(scale);                                                          \
        return select(y, (F)(0.0f), isless(x0, (F)(-87.0f)));                                 \
    }
IVL_EXP(exp_1, float, int, as_float, as_int)
IVL_EXP(exp_16, float16, int16, as_float16, as_int16)
