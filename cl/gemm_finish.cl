/* gemm_finish.cl - the epilogue of a product whose sums a library made.
 *
 * sums [m, n] fp32, contiguous, from element sums_at on -> y [m, n] of y_type, rows y_ld apart, from
 * element y_at on; bias, scale [n] fp32. -DGELU=1, flags and types as gemm_epilogue.h says.
 * One work-item per SPAN columns of a row; every element is read and written by its own item.
 * Test: tests/op/test_gemm.c with the backend clblast.
 */
#include "gemm_epilogue.h"

__kernel void gemm_finish(__global const float *sums, ulong sums_at, int n, __global const float *bias,
                          ulong bias_at, __global const float *scale, ulong scale_at, __global void *y,
                          ulong y_at, int y_ld, int y_type, int flags)
{
    const int begin = (int)get_global_id(0) * SPAN;
    const int end = min(begin + SPAN, n);
    const ulong row = get_global_id(1);
    for (int col = begin; col < end; col++) {
        store_result(y, y_at + row * (ulong)y_ld + (ulong)col, y_type, sums[sums_at + row * (ulong)n + (ulong)col],
                     col, flags, bias + bias_at, scale + scale_at);
    }
}
