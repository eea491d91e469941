/* embed.cl - patch rows to the token rows of the first block: class token in front, positions added.
 *
 * x [images, tokens, width] fp32: row 0 = class + position[0], row 1 + t = patches[t] + position[1 + t].
 * patches [images, tokens - 1, width], position [tokens, width], class_row [width]; offsets count
 * elements. One work-item per SPAN columns of a row; one rounding per element.
 * Test: tests/op/test_position.c, embed, bit for bit.
 */
__kernel void embed(__global const float *patches, ulong patches_at, __global const float *class_row,
                    ulong class_at, __global const float *position, ulong position_at, __global float *x,
                    ulong x_at, int tokens, int width, ulong rows)
{
    const int begin = (int)get_global_id(1) * SPAN;
    const size_t row = get_global_id(0);
    if (row >= rows || begin >= width) {
        return;
    }
    const int end = min(begin + SPAN, width);
    const size_t image = row / (size_t)tokens;
    const size_t token = row % (size_t)tokens;
    __global const float *from =
        token == 0 ? class_row + class_at
                   : patches + patches_at + (row - image - 1) * (size_t)width;
    position += position_at + token * (size_t)width;
    x += x_at + row * (size_t)width;
    for (int i = begin; i < end; i++) {
        x[i] = from[i] + position[i];
    }
}
