/* position.cl - a table of positions for another grid: torch's bicubic interpolation.
 *
 * from [1 + from_h * from_w, width] fp32 -> to [1 + to_h * to_w, width] fp32; row 0 is copied.
 * Cubic convolution with A = -0.75, align_corners = False, no antialias, taps clamped to the border.
 * Not the bicubic of pictures (A = -0.5, antialiased). One work-item per SPAN columns of a row; offsets
 * count elements.
 * The source coordinate ((d + 1/2) from / to - 1/2) is taken apart exactly in integers; its fraction t,
 * and with it a weight (7 roundings), is off by a few 2^-24: error <= 24 * 2^-24 * (sum of |weight| <= 2.2)
 * * max |from|. from == to gives the table itself, bit for bit.
 * Test: tests/op/test_position.c.
 */

/* Weights of the taps -1, 0, 1, 2 at fraction t. */
static inline void cubic(float t, float w[4])
{
    const float a = -0.75f;
    const float t1 = t + 1.0f;
    const float s = 1.0f - t;
    const float s1 = s + 1.0f;
    w[0] = fma(fma(fma(a, t1, -5.0f * a), t1, 8.0f * a), t1, -4.0f * a);
    w[1] = fma(fma(a + 2.0f, t, -(a + 3.0f)) * t, t, 1.0f);
    w[2] = fma(fma(a + 2.0f, s, -(a + 3.0f)) * s, s, 1.0f);
    w[3] = fma(fma(fma(a, s1, -5.0f * a), s1, 8.0f * a), s1, -4.0f * a);
}

/* Taps and weights of output d of `to` on an axis of `from`. The coordinate is
 * ((2 d + 1) from - to) / (2 to); its floor may be -1. */
static inline void axis(int d, int from, int to, int taps[4], float w[4])
{
    const int numerator = (2 * d + 1) * from - to;
    const int below = numerator < 0 ? -1 : numerator / (2 * to);
    cubic((float)(numerator - below * 2 * to) / (float)(2 * to), w);
    for (int i = 0; i < 4; i++) {
        taps[i] = clamp(below - 1 + i, 0, from - 1);
    }
}

__kernel void position_resize(__global const float *from, ulong from_at, __global float *to, ulong to_at,
                              int from_h, int from_w, int to_h, int to_w, int width)
{
    const int begin = (int)get_global_id(1) * SPAN;
    const int row = (int)get_global_id(0);
    if (begin >= width || row > to_h * to_w) {
        return;
    }
    const int end = min(begin + SPAN, width);
    from += from_at;
    to += to_at + (size_t)row * (size_t)width;
    if (row == 0) {
        for (int i = begin; i < end; i++) {
            to[i] = from[i];
        }
        return;
    }
    int ys[4], xs[4];
    float wy[4], wx[4];
    axis((row - 1) / to_w, from_h, to_h, ys, wy);
    axis((row - 1) % to_w, from_w, to_w, xs, wx);
    for (int i = begin; i < end; i++) {
        float sum = 0.0f;
        for (int j = 0; j < 4; j++) {
            float line = 0.0f;
            for (int k = 0; k < 4; k++) {
                line = fma(wx[k], from[(size_t)(1 + ys[j] * from_w + xs[k]) * (size_t)width + (size_t)i], line);
            }
            sum = fma(wy[j], line, sum);
        }
        to[i] = sum;
    }
}
