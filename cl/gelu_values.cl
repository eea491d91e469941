/* gelu_values.cl - GELU of gelu.h for a list of values, by 1, 8 or 16 lanes: for tests only.
 *
 * x [count] fp32 -> y [count] fp32, count a multiple of -DLANES. One work-item per LANES.
 */
#include "gelu.h"

__kernel void gelu_values(__global const float *x, __global float *y)
{
    const size_t i = get_global_id(0);
#if LANES == 16
    vstore16(gelu_16(vload16(i, x)), i, y);
#elif LANES == 8
    vstore8(gelu_8(vload8(i, x)), i, y);
#else
    y[i] = gelu_1(x[i]);
#endif
}
