/* gemm_cpu_few.h - few rows of the CPU's exact product: weights go through registers once, without a panel.
 *
 * With a handful of rows the product is bound by the reading of weights; packing them first would cost as much
 * again. 16 rows of W x STEP values of K are transposed in registers and multiplied there. The arithmetic is that
 * of the sweeps: one fma() chain per output along k = 0 .. K - 1, from zero; equal bits. Layout NT.
 */
#define FEW   4        /* rows */
#define FEW_K 1000000 /* values of K: fewer turns than a driver's loops may have */

#if PAIRS
#define FEW_STEP(r, i)                                                                       \
    sum[r] = fma((float16)(at[(size_t)(r)*x_row + 2 * (i)]), as_float16(a[i] << 16), sum[r]); \
    sum[r] = fma((float16)(at[(size_t)(r)*x_row + 2 * (i) + 1]), as_float16(a[i] & 0xffff0000u), sum[r]);
#else
#define FEW_STEP(r, i) \
    sum[r] = fma((float16)(at[(size_t)(r)*x_row + (i)]), as_float16(a[i]), sum[r]);
#endif

/* 16 columns (rows of w, ld apart; those from `left` on repeat the last) of R rows of x to sums, whose rows are
 * PANEL apart. */
#define FEW_FUNCTION(R)                                                                             \
    static void few_##R(const __global float *x, size_t x_row, const __global wtype *w, size_t ld,  \
                        int left, int depth, __local float *sums)                                   \
    {                                                                                               \
        float16 sum[R];                                                                             \
        int k = 0;                                                                                  \
                                                                                                    \
        _Pragma("unroll") for (int r = 0; r < R; r++) { sum[r] = (float16)(0.0f); }                 \
        for (; k + STEP <= depth; k += STEP) {                                                      \
            const __global float *at = x + k;                                                       \
            uint16 a[16];                                                                           \
                                                                                                    \
            _Pragma("unroll") for (int c = 0; c < 16; c++) {                                        \
                a[c] = load_words(w + (size_t)min(c, left - 1) * ld + k);                           \
            }                                                                                       \
            TRANSPOSE_16(a)                                                                         \
            _Pragma("unroll") for (int i = 0; i < 16; i++) {                                        \
                _Pragma("unroll") for (int r = 0; r < R; r++) { FEW_STEP(r, i) }                    \
            }                                                                                       \
        }                                                                                           \
        for (; k < depth; k++) {                                                                    \
            float column[16];                                                                       \
                                                                                                    \
            for (int c = 0; c < 16; c++) {                                                          \
                column[c] = WIDE(w + (size_t)min(c, left - 1) * ld + k);                            \
            }                                                                                       \
            for (int r = 0; r < R; r++) {                                                           \
                sum[r] = fma((float16)(x[(size_t)r * x_row + k]), vload16(0, column), sum[r]);      \
            }                                                                                       \
        }                                                                                           \
        for (int r = 0; r < R; r++) {                                                               \
            vstore16(sum[r], 0, sums + r * PANEL);                                                  \
        }                                                                                           \
    }
FEW_FUNCTION(1)
FEW_FUNCTION(2)
FEW_FUNCTION(4)

/* All columns of an item, for at most FEW rows: sums [panels][rows][PANEL]. */
static void few_rows(const __global float *x, size_t x_row, int rows, const __global wtype *w, size_t ld,
                     int columns, int depth, __local float *sums)
{
    for (int c = 0; c < columns; c += 16) {
        __local float *to = sums + c / PANEL * rows * PANEL + c % PANEL;
        const __global wtype *from = w + (size_t)c * ld;
        int r = 0;

        if (rows == 4) {
            few_4(x, x_row, from, ld, columns - c, depth, to);
            r = 4;
        } else if (rows >= 2) {
            few_2(x, x_row, from, ld, columns - c, depth, to);
            r = 2;
        }
        if (r < rows) {
            few_1(x + (size_t)r * x_row, x_row, from, ld, columns - c, depth, to + r * PANEL);
        }
    }
}
