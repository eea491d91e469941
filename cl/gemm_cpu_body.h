/* gemm_cpu_body.h - what the exact and the fast product of the CPU share: work of one item, epilogue.
 *
 * In: PANEL = 2 VW columns, and sweep_12(), sweep_4(), sweep_1(): they add `depth` values of K to
 * the sums [rows][PANEL] of so many rows. An item makes PANELS panels of columns of a block of rows:
 * it packs `chunk` values of K of its weights, sweeps all its rows, and goes on along K; partial
 * sums wait in local memory, which each thread of a CPU has for itself (its caches). One chain of
 * sums per output along k = 0 .. K - 1, whatever the chunks, blocks and tails.
 */
#include "gemm_cpu_finish.h"

/* Rows of x: r * x_row + k * x_step; offsets in elements. The host computes `block` (rows of an
 * item) and `chunk` (values of K, a multiple of 32). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_cpu(int m, int n, int k, const __global xtype *x, ulong x_offset, int x_ld,
         const __global wtype *w, ulong w_offset, int w_ld, const __global float *bias,
         ulong bias_offset, const __global float *scale, ulong scale_offset, __global void *y,
         ulong y_offset, int y_ld, int y_type, int flags, int block, int chunk,
         __local packed *panels, __local float *sums)
{
    const int col0 = (int)get_group_id(0) * PANEL * PANELS;
    const int row0 = (int)get_group_id(1) * block;
    const int rows = min(block, m - row0);
    const int used = min(PANELS, (n - col0 + PANEL - 1) / PANEL);
    const size_t x_row = LAYOUT == 2 ? 1 : (size_t)x_ld;
    const size_t x_step = LAYOUT == 2 ? (size_t)x_ld : 1;
    const size_t w_col = LAYOUT == 0 ? (size_t)w_ld : 1;
    const size_t w_step = LAYOUT == 0 ? 1 : (size_t)w_ld;
    const int panel_size = chunk * PANEL / (BF16_DOT ? 2 : 1);

    x += x_offset + (size_t)row0 * x_row;
    w += w_offset + (size_t)col0 * w_col;
    for (int i = 0; i < rows * PANEL * used; i += VW) {
        STOREV((floatv)(0.0f), sums + i);
    }
#ifdef FEW
    const int few = rows <= FEW && k <= FEW_K;

    if (few) {
        few_rows(x, x_row, rows, w, (size_t)w_ld, min(n - col0, PANEL * PANELS), k, sums);
    }
#else
    const int few = 0;
#endif
    for (int k0 = few ? k : 0; k0 < k; k0 += chunk) {
        const int depth = min(chunk, k - k0);
        const int last = k0 + depth == k; /* the weights to come are those of the next item */
        const __global wtype *coming = last ? w + (size_t)(PANEL * PANELS) * w_col
                                            : w + (size_t)(k0 + depth) * w_step;
        const int coming_depth = last ? min(chunk, k) : min(chunk, k - k0 - depth);
        const int coming_rows = clamp(n - col0 - (last ? PANEL * PANELS : 0), 0, PANEL * PANELS);
        const int sweeps = rows / ROWS;
        int r = 0;

        for (int p = 0; p < used; p++) {
            pack_panel(w + (size_t)(p * PANEL) * w_col + (size_t)k0 * w_step, (size_t)w_ld,
                       n - col0 - p * PANEL, depth, panels + p * panel_size);
        }
#define SWEEP_ONCE(R)                                                                        \
    for (int p = 0; p < used; p++) {                                                         \
        JOIN(sweep_, R)                                                                      \
        (x + (size_t)r * x_row + (size_t)k0 * x_step, x_row, x_step, depth,                  \
         panels + p * panel_size, sums + (p * rows + r) * PANEL);                            \
    }
#define SWEEP(R)                         \
    for (; r + R <= rows; r += R) {      \
        SWEEP_ONCE(R)                    \
    }
        for (int sweep = 0; sweep < sweeps; sweep++) {
            prefetch_rows(coming, (size_t)w_ld, coming_rows * sweep / sweeps,
                          coming_rows * (sweep + 1) / sweeps, coming_depth);
            SWEEP_ONCE(ROWS)
            r += ROWS;
        }
        SWEEP(4)
        SWEEP(1)
    }
    for (int p = 0; p < 2 * used; p++) {
        const int col = col0 + p * VW;

        if (col < n) {
            finish(sums + p / 2 * rows * PANEL + p % 2 * VW, rows, n - col, flags,
                   bias + bias_offset + col, scale + scale_offset + col, y,
                   y_offset + (ulong)row0 * (ulong)y_ld + (ulong)col, y_ld, y_type);
        }
    }
}
