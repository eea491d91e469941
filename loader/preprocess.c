/* preprocess.c - resize protocols and fp32 normalisation; see preprocess.h. */
#include "loader/preprocess.h"

#include <string.h>

/* Of every InternViT. */
const float ivl__imagenet_mean[3] = {0.485f, 0.456f, 0.406f};
const float ivl__imagenet_std[3] = {0.229f, 0.224f, 0.225f};

static const char *const resize_names[] = {
#define IVL__RESIZE_NAME(name, text) text,
    IVL__RESIZE_MAP(IVL__RESIZE_NAME)
#undef IVL__RESIZE_NAME
};

bool ivl__resize_parse(const char *text, ivl__resize *resize)
{
    for (size_t i = 0; i < sizeof resize_names / sizeof resize_names[0]; i++) {
        if (strcmp(text, resize_names[i]) == 0) {
            *resize = (ivl__resize)i;
            return true;
        }
    }
    return false;
}

const char *ivl__resize_name(ivl__resize resize)
{
    return resize_names[resize];
}

/* Half of `spare`, by the rule of the protocol. torchvision: int(round(spare / 2.0)), halves to
 * the even neighbour; CLIPImageProcessor: downwards. They differ where spare % 4 == 3. */
static int64_t center(int64_t spare, ivl__resize resize)
{
    int64_t half = spare / 2;

    return resize == IVL__RESIZE_CROP && spare % 4 == 3 ? half + 1 : half;
}

void ivl__crop_plan_make(int32_t width, int32_t height, const ivl__preprocess_options *options,
                         ivl__crop_plan *plan)
{
    const int64_t size = options->size;

    plan->resized_width = plan->resized_height = size;
    if (options->resize != IVL__RESIZE_SQUASH) {
        if (width < height) {
            plan->resized_height = size * height / width;
        } else {
            plan->resized_width = size * width / height;
        }
    }
    plan->box.left = center(plan->resized_width - size, options->resize);
    plan->box.top = center(plan->resized_height - size, options->resize);
    plan->box.width = plan->box.height = options->size;
}

ivl_status ivl__preprocess_u8(const ivl__image *image, const ivl__preprocess_options *options,
                              unsigned char *out, ivl__resize_scratch *scratch, ivl_error *error)
{
    ivl__crop_plan plan;

    if (options->size < 1 || options->size > IVL__PREPROCESS_MAX_SIZE) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "size %d is not in 1..%d", options->size,
                         IVL__PREPROCESS_MAX_SIZE);
    }
    if (image->width < 1 || image->height < 1) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "picture is empty");
    }
    ivl__crop_plan_make(image->width, image->height, options, &plan);
    return ivl__image_resize_bicubic(image->rgb, image->width, image->height, plan.resized_width,
                                     plan.resized_height, &plan.box, out, 3 * (size_t)options->size,
                                     scratch, error);
}

void ivl__normalize_chw(const unsigned char *rgb, int32_t width, int32_t height,
                        const float mean[3], const float std[3], float *out)
{
    const size_t pixels = (size_t)width * (size_t)height;

    for (int c = 0; c < 3; c++) {
        float levels[256];
        float *plane = out + (size_t)c * pixels;

        for (int v = 0; v < 256; v++) {
            float unit = (float)v / 255.0f;

            levels[v] = (unit - mean[c]) / std[c];
        }
        for (size_t i = 0; i < pixels; i++) {
            plane[i] = levels[rgb[3 * i + (size_t)c]];
        }
    }
}
