/* norm.cl - RMSNorm, LayerNorm and division by the Euclidean norm, row by row.
 *
 * x [rows, width] fp32, rows x_ld apart -> y [rows, width], rows y_ld apart, of OUT_TYPE (act.h).
 * weight, bias [width] fp32. Offsets count elements; alignment of one element is enough. x and y may be
 * the same place when y is fp32: a work-item reads an element before it writes it, and the statistics
 * are complete before the first write.
 *
 *   -DKIND=0  y = w x / sqrt(mean(x^2) + eps)
 *   -DKIND=1  y = w (x - mean) / sqrt(var + eps) + b, var by a second pass over x - mean
 *   -DKIND=2  y = x / sqrt(sum(x^2)); a row of zeros gives NaN
 *
 * norm_rows: one work-item per row, local size 1, 4 x 16 partial sums (CPUs).
 * norm_groups: one work-group of GROUP (a power of two) per row, a partial sum per item, a tree in local
 * memory, GROUP * 4 bytes.
 * Any width from 1 to 16 * 65535 (loops of one driver have no more turns), GROUP of 16 at least. The order of summation depends on the width only.
 * Error: a sum of n terms passes through n/64 + 6 (rows) or n/GROUP + 8 (groups) additions, each off by
 * 2^-24 relative; sqrt and division as the specification allows add at most 6.5 * 2^-23; the result three
 * roundings. Derived as a bound and checked in tests/op/test_norm.c.
 */
#include "act.h"

#if KIND == 1
#define NEED_MEAN 1
#else
#define NEED_MEAN 0
#endif

static inline float norm_scale(float squares, int width, float eps)
{
#if KIND == 2
    return sqrt(squares);
#else
    return 1.0f / sqrt(squares / (float)width + eps);
#endif
}

#if KIND == 0
#define NORM(x, mean, scale, w, b) ((x) * (scale) * (w))
#elif KIND == 1
#define NORM(x, mean, scale, w, b) fma(((x) - (mean)) * (scale), w, b)
#else
#define NORM(x, mean, scale, w, b) ((x) / (scale))
#endif

#ifndef GROUP

/* Lanes by name, not .lo and .hi: the same instructions, and Oclgrind 21.10 takes word 11
 * of any shuffle for uninitialised. */
static inline float sum_16(float16 v)
{
    const float8 a = (float8)(v.s0, v.s1, v.s2, v.s3, v.s4, v.s5, v.s6, v.s7) +
                     (float8)(v.s8, v.s9, v.sa, v.sb, v.sc, v.sd, v.se, v.sf);
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

/* Sum of (x - mean)^SQUARE over a row: 64 partial sums, the tail apart. */
static inline float row_sum(__global const float *x, int width, float mean, int square)
{
    float16 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    float rest = 0.0f;
    int i = 0;
    for (; i + 64 <= width; i += 64) {
        const float16 a = vload16(0, x + i) - mean;
        const float16 b = vload16(0, x + i + 16) - mean;
        const float16 c = vload16(0, x + i + 32) - mean;
        const float16 d = vload16(0, x + i + 48) - mean;
        s0 = square ? fma(a, a, s0) : s0 + a;
        s1 = square ? fma(b, b, s1) : s1 + b;
        s2 = square ? fma(c, c, s2) : s2 + c;
        s3 = square ? fma(d, d, s3) : s3 + d;
    }
    for (; i < width; i++) {
        const float a = x[i] - mean;
        rest = square ? fma(a, a, rest) : rest + a;
    }
    return sum_16((s0 + s1) + (s2 + s3)) + rest;
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
norm_rows(__global const float *x, ulong x_at, int x_ld, __global const float *weight, ulong weight_at,
          __global const float *bias, ulong bias_at, __global OUT *y, ulong y_at, int y_ld, int width,
          float eps)
{
    const size_t row = get_global_id(0);
    x += x_at + row * (size_t)x_ld;
    y += y_at + row * (size_t)y_ld;
    weight += weight_at;
    bias += bias_at;

    const float mean = NEED_MEAN ? row_sum(x, width, 0.0f, 0) / (float)width : 0.0f;
    const float scale = norm_scale(row_sum(x, width, mean, 1), width, eps);
    int i = 0;
    for (; i + 16 <= width; i += 16) {
        const float16 v = vload16(0, x + i);
        STORE16(y + i, NORM(v, mean, scale, vload16(0, weight + i), vload16(0, bias + i)));
    }
    for (; i < width; i++) {
        STORE(y, i, NORM(x[i], mean, scale, weight[i], bias[i]));
    }
}

#else

/* Sum over the work-group; every item gets it. */
static inline float group_sum(__local float *partial, float value)
{
    const int item = (int)get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE); /* the last reader of the previous sum is done */
    partial[item] = value;
    for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_size) {
            partial[item] += partial[item + half_size];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return partial[0];
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
norm_groups(__global const float *x, ulong x_at, int x_ld, __global const float *weight, ulong weight_at,
            __global const float *bias, ulong bias_at, __global OUT *y, ulong y_at, int y_ld, int width,
            float eps)
{
    __local float partial[GROUP];
    const size_t row = get_group_id(0);
    const int item = (int)get_local_id(0);
    float mean = 0.0f;
    float sum = 0.0f;
    x += x_at + row * (size_t)x_ld;
    y += y_at + row * (size_t)y_ld;
    weight += weight_at;
    bias += bias_at;

#if NEED_MEAN
    for (int i = item; i < width; i += GROUP) {
        sum += x[i];
    }
    mean = group_sum(partial, sum) / (float)width;
    sum = 0.0f;
#endif
    for (int i = item; i < width; i += GROUP) {
        const float a = x[i] - mean;
        sum = fma(a, a, sum);
    }
    const float scale = norm_scale(group_sum(partial, sum), width, eps);
    for (int i = item; i < width; i += GROUP) {
        STORE(y, i, NORM(x[i], mean, scale, weight[i], bias[i]));
    }
}

#endif
