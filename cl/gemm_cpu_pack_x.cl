/* gemm_cpu_pack_x.cl - x in panels for gemm_cpu_amx.cl, once per product: pairs along K of 32 rows.
 *
 * x bf16 [m, k] (TRANSPOSED 0) or [k, m] (1) -> out [ceil(m / 32)][padded / 2][32] words, padded =
 * k rounded up to 32. Rows beyond the last repeat it, values of K beyond the last are zeros. A plain move of
 * bits; test: tests/op/test_gemm.c.
 * Grid: (panels of rows, pieces of `piece` values of K, a multiple of 32), local size 1.
 */
#ifndef TRANSPOSED
#define TRANSPOSED 0
#endif
#define LAYOUT       TRANSPOSED
#define WTYPE        2
#define BF16_DOT     1
#define PANEL        32
#define PANEL_MEMORY __global

#include "gemm_cpu_pack.h"

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_cpu_pack_x(int m, int k, const __global ushort *x, ulong x_offset, int padded, int piece,
                __global uint *out)
{
    const int row0 = (int)get_group_id(0) * PANEL;
    const int k0 = (int)get_group_id(1) * piece;
    const int depth = min(piece, k - k0);
    const size_t ld = (size_t)(TRANSPOSED ? m : k);
    const size_t at = TRANSPOSED ? (size_t)k0 * ld + (size_t)row0 : (size_t)row0 * ld + (size_t)k0;

    out += (size_t)row0 * (size_t)(padded / 2) + (size_t)k0 / 2 * PANEL;
    pack_panel(x + x_offset + at, ld, m - row0, depth, out);
    for (int i = (depth + 1) / 2 * PANEL; i < (depth + 31) / 32 * 16 * PANEL; i++) {
        out[i] = 0;
    }
}
