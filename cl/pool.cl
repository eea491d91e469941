/* pool.cl - one row per image: a token, or the mean of consecutive tokens.
 *
 * x [images, tokens, width] fp32 -> out [images, width] fp32, rows out_ld apart: row `first` of each
 * image, or the mean of rows first .. first + rows - 1. One work-item per column of an image.
 * Rows are summed in blocks of 32, then the blocks: a sum of n rows passes through at most 32 + n / 32
 * additions, error <= (34 + n / 32) * 2^-24 * mean |x|, plus the division (2.5 ulp).
 * Offsets count elements. Test: tests/op/test_pool.c.
 */
__kernel void pool(__global const float *x, ulong x_at, __global float *out, ulong out_at, int out_ld,
                   int tokens, int width, int first, int rows)
{
    const size_t column = get_global_id(0);
    const size_t image = get_global_id(1);
    if (column >= (size_t)width) {
        return;
    }
    x += x_at + (image * (size_t)tokens + (size_t)first) * (size_t)width + column;
    out += out_at + image * (size_t)out_ld + column;
    if (rows == 1) {
        out[0] = x[0];
        return;
    }
    float total = 0.0f;
    for (int block = 0; block < rows; block += 32) {
        const int end = min(block + 32, rows);
        float sum = 0.0f;
        for (int row = block; row < end; row++) {
            sum += x[(size_t)row * (size_t)width];
        }
        total += sum;
    }
    out[0] = total / (float)rows;
}
