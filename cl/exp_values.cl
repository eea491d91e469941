/* exp_values.cl - e^x of exp.h for a list of values, by one lane or sixteen: for tests only.
 *
 * x [count] fp32 -> y [count] fp32, count a multiple of 16 when -DLANES=16. One work-item per LANES.
 */
#include "exp.h"

__kernel void exp_values(__global const float *x, __global float *y)
{
    const size_t i = get_global_id(0);
#if LANES == 16
    vstore16(exp_16(vload16(i, x)), i, y);
#else
    y[i] = exp_1(x[i]);
#endif
}
