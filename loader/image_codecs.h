/* image_codecs.h - what the files decode_*.c offer to image_decode.c; nobody else includes it.
 *
 * A codec's `size` fills width, height, decode_bytes and least_bytes from the header, unlimited
 * and unoriented; its `decode` is called only when image_decode.c has accepted that header.
 */
#ifndef IVL_LOADER_IMAGE_CODECS_H
#define IVL_LOADER_IMAGE_CODECS_H

#include "loader/image_decode.h"

typedef struct ivl__codec {
    const char *format;
    bool (*test)(const unsigned char *data, size_t bytes);
    ivl_status (*size)(const unsigned char *data, size_t bytes, ivl__image_header *header,
                       ivl_error *error);
    ivl_status (*decode)(const unsigned char *data, size_t bytes,
                         const ivl__decode_options *options, ivl__image *image, ivl_error *error);
} ivl__codec;

extern const ivl__codec ivl__codec_jpeg, ivl__codec_png, ivl__codec_webp, ivl__codec_gif,
    ivl__codec_pnm, ivl__codec_bmp, ivl__codec_tga;

/* Allocates [height, width, 3] (not cleared) and fills the struct; the sizes are > 0. */
ivl_status ivl__image_alloc(int32_t width, int32_t height, ivl__image *image, ivl_error *error);

/* Memory of an 8-bit RGB picture. */
static inline uint64_t ivl__rgb_bytes(int32_t width, int32_t height)
{
    return 3 * (uint64_t)width * (uint64_t)height;
}

#endif
