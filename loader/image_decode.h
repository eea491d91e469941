/* image_decode.h - bytes of a picture file to 8-bit RGB, the pixels Pillow's convert("RGB") gives.
 *
 * The format is found from the content, never from a name: JPEG (libjpeg-turbo), PNG (libpng),
 * WebP (libwebp), GIF (giflib), BMP, PNM and TGA (our own). Alpha is dropped, not composited;
 * colour profiles and gamma are ignored; of an animation the first frame is taken.
 * Input is hostile: a file is refused by its header before anything of the claimed size is
 * allocated, and damaged or truncated data is an error (IVL_BAD_INPUT), never a grey area.
 * All functions are reentrant.
 */
#ifndef IVL_LOADER_IMAGE_DECODE_H
#define IVL_LOADER_IMAGE_DECODE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limit Pillow applies: 2 x 1 GiB / 4 / 3 pixels. */
#define IVL__MAX_PIXELS_DEFAULT UINT64_C(178956970)

typedef struct ivl__image {
    int32_t width, height;
    /* Of the file, orientation applied; differs from width and height after a fast decode. */
    int32_t source_width, source_height;
    unsigned char *rgb; /* [height, width, 3] u8, owned; see ivl__image_free */
} ivl__image;

typedef struct ivl__decode_options {
    uint64_t max_pixels; /* width x height above this is refused */
    bool gray16_scale;   /* 16-bit grey: take the high byte instead of clipping at 255 as Pillow */
    bool exif;           /* apply the EXIF orientation of JPEG, PNG and WebP files */
    bool fast;           /* JPEG: decode at 1/2, 1/4 or 1/8 where fast_side allows it */
    int32_t fast_side;   /* the short side stays >= twice this; 0 switches fast off */
} ivl__decode_options;

/* What the header of a picture tells. */
typedef struct ivl__image_header {
    const char *format;    /* "JPEG", "PNG", ...: static text */
    int32_t width, height; /* of the file, orientation applied when asked for */
    uint64_t decode_bytes; /* upper estimate of what ivl__image_decode holds, result included */
    uint64_t least_bytes;  /* no complete file of this size is shorter; smaller ones are refused */
} ivl__image_header;

/* Pillow's behaviour: clip, no orientation, full decode, default limit. */
void ivl__decode_options_init(ivl__decode_options *options);

/* Reads the header only, so that a pipeline can budget memory before decoding. Fails like
 * ivl__image_decode for empty data, unknown formats and pictures over the pixel limit. */
ivl_status ivl__image_size(const unsigned char *data, size_t bytes,
                           const ivl__decode_options *options, ivl__image_header *header,
                           ivl_error *error);

/* Decodes the first picture of the file. IVL_BAD_INPUT for what is wrong with the file,
 * IVL_OUT_OF_MEMORY otherwise. The messages do not name the file: callers add it. */
ivl_status ivl__image_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error);

/* Frees the pixels and clears the struct; a cleared struct is fine. */
void ivl__image_free(ivl__image *image);

#endif
