/* selftest_image.c - known-answer tests of the way from pictures to token rows. */
#include "runtime/ops.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>

/* ---- patchify ---------------------------------------------------------------------------- */

/* Two pictures of 7 x 10 pixels, patches of 3 every 2: overlaps and unused borders. */
#define IMAGES 2
#define HEIGHT 7
#define WIDTH  10
#define PATCH  3
#define STRIDE 2
#define GRID_H ((HEIGHT - PATCH) / STRIDE + 1)
#define GRID_W ((WIDTH - PATCH) / STRIDE + 1)
#define PIXELS (IMAGES * HEIGHT * WIDTH * 3)
#define VALUES (IMAGES * GRID_H * GRID_W * 3 * PATCH * PATCH)

/* Where element `at` of the patch matrix comes from: order (image, py, px, channel, ky, kx). */
static void source_of(int at, int *image, int *channel, int *y, int *x)
{
    int in_patch = at % (3 * PATCH * PATCH);
    int patch = at / (3 * PATCH * PATCH);

    *image = patch / (GRID_H * GRID_W);
    *channel = in_patch / (PATCH * PATCH);
    *y = patch / GRID_W % GRID_H * STRIDE + in_patch / PATCH % PATCH;
    *x = patch % GRID_W * STRIDE + in_patch % PATCH;
}

/* fp32 divisions are correctly rounded on the host; the kernel gives the same bits (patchify.cl),
 * so the bound is that of storing them. */
static ivl_status patchify_type(ivl__trial *t, ivl__patchify_call *call, const uint8_t *rgb,
                                const float *pixels, ivl_dtype type, ivl_error *error)
{
    float got[VALUES];
    int image, channel, y, x;

    call->out_type = type;
    IVL__TRY(ivl__trial_upload(t, NULL, VALUES * ivl__dtype_bytes(type), &call->out, error));
    IVL__TRY(ivl__op_patchify(t->device, call, error));
    IVL__TRY(ivl__trial_download(t, call->out, type, VALUES, got, error));
    for (int i = 0; i < VALUES; i++) {
        float want;

        source_of(i, &image, &channel, &y, &x);
        if (call->normalized) {
            want = pixels[((image * 3 + channel) * HEIGHT + y) * WIDTH + x];
        } else {
            want = ((float)rgb[((image * HEIGHT + y) * WIDTH + x) * 3 + channel] / 255.0f -
                    call->mean[channel]) /
                   call->std[channel];
        }
        ivl__trial_check(t, (double)got[i], (double)want, ivl__trial_rounding(type, (double)want));
    }
    return IVL_OK;
}

static ivl_status patchify(ivl__trial *t, ivl_error *error)
{
    ivl__patchify_call call = {.images = IMAGES,
                               .height = HEIGHT,
                               .width = WIDTH,
                               .channels = 3,
                               .patch = PATCH,
                               .stride = STRIDE,
                               .mean = {0.485f, 0.456f, 0.406f},
                               .std = {0.229f, 0.224f, 0.225f}};
    uint8_t rgb[PIXELS];
    float pixels[PIXELS];
    ivl_dtype types[2];
    int n = ivl__trial_act_types(t->device, types);
    ivl__span at_rgb, at_pixels;

    for (int i = 0; i < PIXELS; i++) {
        rgb[i] = (uint8_t)(i * 37 + i / 256);
    }
    IVL__TRY(ivl__trial_upload(t, rgb, sizeof rgb, &at_rgb, error));
    IVL__TRY(ivl__trial_values(t, 20, 2.0f, IVL_F32, PIXELS, pixels, &at_pixels, error));
    for (int i = 0; i < 2 * n; i++) {
        call.normalized = i >= n;
        call.pixels = call.normalized ? at_pixels : at_rgb;
        IVL__TRY(patchify_type(t, &call, rgb, pixels, types[i % n], error));
    }
    return IVL_OK;
}

/* ---- token rows -------------------------------------------------------------------------- */

#define TOKENS  4
#define COLUMNS 67 /* more than one item's columns on CPUs and GPUs */

/* One addition in fp32, which every device rounds alike: bound zero. */
static ivl_status embed(ivl__trial *t, ivl_error *error)
{
    float patches[IMAGES * (TOKENS - 1) * COLUMNS], class_row[COLUMNS];
    float position[TOKENS * COLUMNS], got[IMAGES * TOKENS * COLUMNS];
    ivl__span at_patches, at_class, at_position, at_x;

    IVL__TRY(ivl__trial_values(t, 21, 1.0f, IVL_F32, IMAGES * (TOKENS - 1) * COLUMNS, patches,
                               &at_patches, error));
    IVL__TRY(ivl__trial_values(t, 22, 1.0f, IVL_F32, COLUMNS, class_row, &at_class, error));
    IVL__TRY(
        ivl__trial_values(t, 23, 0.3f, IVL_F32, TOKENS * COLUMNS, position, &at_position, error));
    IVL__TRY(ivl__trial_upload(t, NULL, sizeof got, &at_x, error));
    IVL__TRY(ivl__op_embed(t->device, IMAGES, TOKENS, COLUMNS, at_patches, at_class, at_position,
                           at_x, error));
    IVL__TRY(ivl__trial_download(t, at_x, IVL_F32, IMAGES * TOKENS * COLUMNS, got, error));
    for (int i = 0; i < IMAGES * TOKENS * COLUMNS; i++) {
        int c = i % COLUMNS;
        int token = i / COLUMNS % TOKENS;
        int image = i / COLUMNS / TOKENS;
        float from = token ? patches[(image * (TOKENS - 1) + token - 1) * COLUMNS + c]
                           : class_row[c];

        ivl__trial_check(t, (double)got[i], (double)(from + position[token * COLUMNS + c]), 0.0);
    }
    return IVL_OK;
}

/* ---- position tables --------------------------------------------------------------------- */

#define FROM_H 3
#define FROM_W 4
#define TO_H   5
#define TO_W   3
#define WIDE   5

/* Cubic convolution as its definition reads, A = -0.75. */
static double cubic(double distance)
{
    const double a = -0.75;
    double t = fabs(distance);

    if (t <= 1.0) {
        return ((a + 2) * t - (a + 3)) * t * t + 1;
    }
    return t < 2.0 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0.0;
}

static double resized(const float *table, double y, double x, int column)
{
    double sum = 0.0;

    for (int j = (int)floor(y) - 1; j <= (int)floor(y) + 2; j++) {
        for (int i = (int)floor(x) - 1; i <= (int)floor(x) + 2; i++) {
            int row = j < 0 ? 0 : j >= FROM_H ? FROM_H - 1 : j;
            int col = i < 0 ? 0 : i >= FROM_W ? FROM_W - 1 : i;

            sum += cubic(y - j) * cubic(x - i) *
                   (double)table[(1 + row * FROM_W + col) * WIDE + column];
        }
    }
    return sum;
}

/* 24 units of 2^-24 on weights whose absolute values sum to at most 2.2; values within 1. */
static ivl_status position(ivl__trial *t, ivl_error *error)
{
    float from[(1 + FROM_H * FROM_W) * WIDE], got[(1 + TO_H * TO_W) * WIDE];
    ivl__span at_from, at_to;

    IVL__TRY(ivl__trial_values(t, 24, 1.0f, IVL_F32, (1 + FROM_H * FROM_W) * WIDE, from, &at_from,
                               error));
    IVL__TRY(ivl__trial_upload(t, NULL, sizeof got, &at_to, error));
    IVL__TRY(ivl__op_position_resize(t->device, FROM_H, FROM_W, TO_H, TO_W, WIDE, at_from, at_to,
                                     error));
    IVL__TRY(ivl__trial_download(t, at_to, IVL_F32, (1 + TO_H * TO_W) * WIDE, got, error));
    for (int i = 0; i < (1 + TO_H * TO_W) * WIDE; i++) {
        int row = i / WIDE;
        double y = ((row - 1) / TO_W + 0.5) * FROM_H / TO_H - 0.5;
        double x = ((row - 1) % TO_W + 0.5) * FROM_W / TO_W - 0.5;

        ivl__trial_check(t, (double)got[i], row ? resized(from, y, x, i % WIDE) : (double)from[i],
                         row ? 24 * 2.2 * 0x1p-24 : 0.0);
    }
    return IVL_OK;
}

IVL__SELFTEST(patchify)
IVL__SELFTEST(embed)
IVL__SELFTEST(position)
