/* preprocess.h - a decoded picture to the square crop that the model sees.
 *
 * The three protocols of the published code: `squash` (both sides to S, aspect ignored), `crop`
 * (short side to S, torchvision's centre crop) and `crop-floor` (the same with the offset of
 * CLIPImageProcessor). The result is 8-bit RGB; normalising happens on the device, or here for
 * those who want the numbers.
 */
#ifndef IVL_LOADER_PREPROCESS_H
#define IVL_LOADER_PREPROCESS_H

#include "loader/image_decode.h"
#include "loader/image_resize.h"

/* enum, name on the command line */
#define IVL__RESIZE_MAP(XX) \
    XX(SQUASH, "squash")    \
    XX(CROP, "crop")        \
    XX(CROP_FLOOR, "crop-floor")

typedef enum ivl__resize {
#define IVL__RESIZE_ENUM(name, text) IVL__RESIZE_##name,
    IVL__RESIZE_MAP(IVL__RESIZE_ENUM)
#undef IVL__RESIZE_ENUM
} ivl__resize;

/* Largest S; [S, S, 3] stays far below 2^31 bytes. */
#define IVL__PREPROCESS_MAX_SIZE 8192

typedef struct ivl__preprocess_options {
    int32_t size; /* S, 1..IVL__PREPROCESS_MAX_SIZE */
    ivl__resize resize;
} ivl__preprocess_options;

/* What one picture is resized to, and the part of it that is kept. */
typedef struct ivl__crop_plan {
    int64_t resized_width, resized_height;
    ivl__box box; /* [S, S] */
} ivl__crop_plan;

extern const float ivl__imagenet_mean[3];
extern const float ivl__imagenet_std[3];

/* "squash" -> IVL__RESIZE_SQUASH; false, *resize untouched, for any other text. */
bool ivl__resize_parse(const char *text, ivl__resize *resize);
const char *ivl__resize_name(ivl__resize resize);

/* The geometry alone; width and height >= 1, size >= 1. Long side = int(S x long / short)
 * truncated, exactly. The resized picture is never smaller than the box. */
void ivl__crop_plan_make(int32_t width, int32_t height, const ivl__preprocess_options *options,
                         ivl__crop_plan *plan);

/* Writes uint8 [S, S, 3] to out. */
ivl_status ivl__preprocess_u8(const ivl__image *image, const ivl__preprocess_options *options,
                              unsigned char *out, ivl__resize_scratch *scratch, ivl_error *error);

/* out [3, height, width] f32 = (u8 / 255 - mean) / std, each step rounded to fp32 as torch does:
 * bit-exact to ToTensor + Normalize. */
void ivl__normalize_chw(const unsigned char *rgb, int32_t width, int32_t height,
                        const float mean[3], const float std[3], float *out);

#endif
