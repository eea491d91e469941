/* rope.cl - rotary embedding, rotate-half, in place.
 *
 * x fp32, rows x_ld apart, heads of 2 * half_dim columns from the first on. At position p of the table,
 *   x[j], x[j + half_dim]  become  x[j] c - x[j + half_dim] s,  x[j + half_dim] c + x[j] s
 * with c = table[p][0][j] and s = table[p][1][j]; table [max_positions, 2, half_dim] fp32. positions int32
 * [rows]; a position that is none of the table makes NaN. Offsets count elements.
 * One work-item per SPAN pairs of one head (y; a head has per_head items) of a row (x).
 * Error: c and s are off by 2^-24 relative, one product and one fma round once each:
 * <= 2^-24 (2 |x c| + |x' s| + |result|). Test: tests/op/test_token.c.
 */
#define TURN(a, b, c, s, to_a, to_b)      \
    {                                     \
        to_a = fma(-(b), s, (a) * (c));   \
        to_b = fma(a, s, (b) * (c));      \
    }

__kernel void rope(__global float *x, ulong x_at, int x_ld, __global const int *positions, ulong positions_at,
                   __global const float *table, ulong table_at, int max_positions, int half_dim, int per_head,
                   int heads, ulong rows)
{
    const int head = (int)get_global_id(1) / per_head;
    const int begin = (int)get_global_id(1) % per_head * SPAN;
    const size_t row = get_global_id(0);
    if (row >= rows || head >= heads) {
        return;
    }
    const int end = min(begin + SPAN, half_dim);
    const int position = positions[positions_at + row];
    __global float *low = x + x_at + row * (size_t)x_ld + (size_t)head * 2 * (size_t)half_dim;
    __global float *high = low + half_dim;
    if (position < 0 || position >= max_positions) {
        for (int j = begin; j < end; j++) {
            low[j] = NAN;
            high[j] = NAN;
        }
        return;
    }
    __global const float *cosines = table + table_at + (size_t)position * 2 * (size_t)half_dim;
    __global const float *sines = cosines + half_dim;
    int j = begin;
#if SPAN >= 16
    for (; j + 16 <= end; j += 16) {
        const float16 a = vload16(0, low + j);
        const float16 b = vload16(0, high + j);
        const float16 c = vload16(0, cosines + j);
        const float16 s = vload16(0, sines + j);
        float16 to_a, to_b;
        TURN(a, b, c, s, to_a, to_b)
        vstore16(to_a, 0, low + j);
        vstore16(to_b, 0, high + j);
    }
#endif
    for (; j < end; j++) {
        const float a = low[j];
        const float b = high[j];
        TURN(a, b, cosines[j], sines[j], low[j], high[j])
    }
}
