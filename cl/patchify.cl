/* patchify.cl - pictures to the rows of the patch matrix.
 *
 * out [images * grid_h * grid_w, channels * patch * patch] of OUT_TYPE (act.h), element order (c, ky, kx);
 * patch (py, px) begins at pixel (py * stride, px * stride).
 *   patchify_u8:  pixels uint8 [images, height, width, channels] -> (u8 / 255 - mean) / std
 *   patchify_f32: pixels fp32 [images, channels, height, width], already normalised
 * One work-item per (row ky of a patch, patch); 1 to 3 channels; offsets count elements.
 *
 * patchify_u8 gives the correctly rounded quotients that fp32 division gives on the host, although
 * OpenCL's own division may be 2.5 ulp off: q = a * (1 / b) is corrected twice by the exact remainder
 * fma(-q, b, a) (Markstein). inv0.. are the correctly rounded 1 / std.
 * Test: tests/op/test_patchify.c, bit for bit, all 256 values.
 */
#include "act.h"

static inline float divide(float a, float b, float inverse)
{
    float q = a * inverse;
    q = fma(fma(-q, b, a), inverse, q);
    return fma(fma(-q, b, a), inverse, q);
}

#define IMAGE_ARGS                                                                                        \
    int height, int width, int channels, int patch, int stride, int grid_h, int grid_w, __global OUT *out, \
        ulong out_at, ulong work_items

/* Which patch row is this? patch_row = (image * grid_h + py) * grid_w + px. */
#define PATCH_ROW(patch_row, ky, image, y, x)                     \
    const size_t patch_row = item / (size_t)patch;                \
    const int ky = (int)(item % (size_t)patch);                   \
    const size_t px = patch_row % (size_t)grid_w;                 \
    const size_t py = patch_row / (size_t)grid_w % (size_t)grid_h; \
    const size_t image = patch_row / (size_t)grid_w / (size_t)grid_h; \
    const size_t y = py * (size_t)stride + (size_t)ky;            \
    const size_t x = px * (size_t)stride

#define PICK(c, a) ((c) == 0 ? a##0 : (c) == 1 ? a##1 : a##2)

__kernel void patchify_u8(__global const uchar *pixels, ulong pixels_at, float mean0, float mean1,
                          float mean2, float std0, float std1, float std2, float inv0, float inv1,
                          float inv2, IMAGE_ARGS)
{
    const size_t item = get_global_id(0);
    if (item >= work_items) {
        return;
    }
    PATCH_ROW(patch_row, ky, image, y, x);

    pixels += pixels_at + ((image * (size_t)height + y) * (size_t)width + x) * (size_t)channels;
    out += out_at + patch_row * (size_t)(channels * patch * patch) + (size_t)(ky * patch);
    for (int c = 0; c < channels; c++) {
        const float mean = PICK(c, mean);
        const float std = PICK(c, std);
        const float inverse = PICK(c, inv);
        for (int kx = 0; kx < patch; kx++) {
            const float value = divide((float)pixels[kx * channels + c], 255.0f, 0x1.010102p-8f);
            STORE(out, c * patch * patch + kx, divide(value - mean, std, inverse));
        }
    }
}

__kernel void patchify_f32(__global const float *pixels, ulong pixels_at, IMAGE_ARGS)
{
    const size_t item = get_global_id(0);
    if (item >= work_items) {
        return;
    }
    PATCH_ROW(patch_row, ky, image, y, x);

    out += out_at + patch_row * (size_t)(channels * patch * patch) + (size_t)(ky * patch);
    for (int c = 0; c < channels; c++) {
        __global const float *row =
            pixels + pixels_at +
            ((image * (size_t)channels + (size_t)c) * (size_t)height + y) * (size_t)width + x;
        for (int kx = 0; kx < patch; kx++) {
            STORE(out, c * patch * patch + kx, row[kx]);
        }
    }
}
