/* image_resize.h - bicubic resize of 8-bit RGB, bit for bit the one of Pillow 9.4 to 12.2.
 *
 * Kernel a = -0.5 stretched by the scale (antialiasing), weights rounded to 22 fractional bits,
 * horizontal pass first into 8 bits, then the vertical one. That is Pillow 9.4 always; 12.2 turns
 * the order round for pictures more than 100 times as tall as wide, 13 for many more. Published
 * results were made with the order here. PyTorch's bicubic is another one.
 */
#ifndef IVL_LOADER_IMAGE_RESIZE_H
#define IVL_LOADER_IMAGE_RESIZE_H

#include "runtime/status.h"

#include <stddef.h>
#include <stdint.h>

/* Longest source side that is accepted; it bounds the scratch memory whatever
 * the file says (a PNG may claim 178,956,970 x 1 pixels). */
#define IVL__RESIZE_MAX_SIDE 1048576
/* Longest side of the part that is written. */
#define IVL__RESIZE_MAX_OUT 32768

/* A part of the resized picture. 64 bits: the long side of an extreme shape may be
 * 224 x 1048576 wide although only its middle is wanted. */
typedef struct ivl__box {
    int64_t left, top;
    int32_t width, height;
} ivl__box;

/* Memory kept between calls; one per thread, zero-initialised. */
typedef struct ivl__resize_scratch {
    void *block;
    size_t bytes;
} ivl__resize_scratch;

void ivl__resize_scratch_free(ivl__resize_scratch *scratch);

/* Resizes rgb [height, width, 3] to out_height x out_width and writes the part `box` of the
 * result (NULL: all of it) to out [box.height, box.width, 3], rows `out_stride` bytes apart.
 * The box must lie inside the result; what lies outside the box is not computed, and no value
 * inside depends on it. */
ivl_status ivl__image_resize_bicubic(const unsigned char *rgb, int32_t width, int32_t height,
                                     int64_t out_width, int64_t out_height, const ivl__box *box,
                                     unsigned char *out, size_t out_stride,
                                     ivl__resize_scratch *scratch, ivl_error *error);

#endif
