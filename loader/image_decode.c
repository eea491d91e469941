/* image_decode.c - finds the codec by content, applies the limits, decodes, turns upright.
 *
 * Invariant: no codec decodes before its header passed check_header, so that nothing is
 * allocated for a picture that is over the limit or cannot be complete.
 */
#include "loader/image_decode.h"

#include "loader/exif.h"
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <string.h>

/* TGA last: it has no magic number, only a plausible header. */
static const ivl__codec *const codecs[] = {
    &ivl__codec_jpeg, &ivl__codec_png, &ivl__codec_webp, &ivl__codec_gif,
    &ivl__codec_bmp,  &ivl__codec_pnm, &ivl__codec_tga,
};

void ivl__decode_options_init(ivl__decode_options *options)
{
    memset(options, 0, sizeof *options);
    options->max_pixels = IVL__MAX_PIXELS_DEFAULT;
}

void ivl__image_free(ivl__image *image)
{
    if (image) {
        ivl__free(image->rgb);
        memset(image, 0, sizeof *image);
    }
}

ivl_status ivl__image_alloc(int32_t width, int32_t height, ivl__image *image, ivl_error *error)
{
    size_t bytes;

    if (!ivl__mul_size((size_t)width, (size_t)height, &bytes) || !ivl__mul_size(bytes, 3, &bytes) ||
        !(image->rgb = ivl__malloc(bytes))) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for a picture of %d x %d pixels",
                         width, height);
    }
    image->width = image->source_width = width;
    image->height = image->source_height = height;
    return IVL_OK;
}

static ivl_status find_codec(const unsigned char *data, size_t bytes, const ivl__codec **codec,
                             ivl_error *error)
{
    if (bytes == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "file is empty");
    }
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        if (codecs[i]->test(data, bytes)) {
            *codec = codecs[i];
            return IVL_OK;
        }
    }
    return ivl__fail(error, IVL_BAD_INPUT,
                     "not a picture in a known format (JPEG, PNG, WebP, GIF, BMP, PNM, TGA)");
}

static ivl_status check_header(const ivl__image_header *header, size_t bytes, uint64_t max_pixels,
                               ivl_error *error)
{
    if (header->width <= 0 || header->height <= 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "%s of %d x %d pixels: no picture", header->format,
                         header->width, header->height);
    }
    if ((uint64_t)header->width * (uint64_t)header->height > max_pixels) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "%s claims %d x %d pixels, over the limit of %" PRIu64
                         "; if the file is trusted, raise --max-pixels",
                         header->format, header->width, header->height, max_pixels);
    }
    if (bytes < header->least_bytes) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "%s claims %d x %d pixels but has %zu bytes, where a complete file has at "
                         "least %" PRIu64 ": truncated",
                         header->format, header->width, header->height, bytes, header->least_bytes);
    }
    return IVL_OK;
}

static ivl_status read_header(const unsigned char *data, size_t bytes,
                              const ivl__decode_options *options, const ivl__codec **codec,
                              ivl__image_header *header, ivl_error *error)
{
    ivl_status status = find_codec(data, bytes, codec, error);

    memset(header, 0, sizeof *header);
    if (status != IVL_OK) {
        return status;
    }
    header->format = (*codec)->format;
    status = (*codec)->size(data, bytes, header, error);
    return status ? status : check_header(header, bytes, options->max_pixels, error);
}

ivl_status ivl__image_size(const unsigned char *data, size_t bytes,
                           const ivl__decode_options *options, ivl__image_header *header,
                           ivl_error *error)
{
    const ivl__codec *codec;
    ivl__image_header found;
    ivl_status status = read_header(data, bytes, options, &codec, &found, error);

    if (status != IVL_OK) {
        return status;
    }
    if (options->exif) {
        int orientation = ivl__exif_orientation(data, bytes);

        if (orientation > 1) { /* turned into a second picture */
            found.decode_bytes += ivl__rgb_bytes(found.width, found.height);
        }
        if (orientation > 4) {
            int32_t width = found.width;

            found.width = found.height;
            found.height = width;
        }
    }
    *header = found;
    return IVL_OK;
}

/* Turns a picture upright. Orientations 5..8 exchange the axes; the first column of the table
 * says whether the source column runs backwards, the second whether the source row does. */
static ivl_status turn(ivl__image *image, int orientation, ivl_error *error)
{
    static const struct {
        bool flip_x, flip_y;
    } flips[9] = {{0}, {0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}, {0, 1}, {1, 1}, {1, 0}};
    const bool swap = orientation > 4;
    const int32_t w = image->width, h = image->height;
    ivl__image turned = {0};
    ivl_status status = ivl__image_alloc(swap ? h : w, swap ? w : h, &turned, error);
    unsigned char *out = turned.rgb;

    if (status != IVL_OK) {
        return status;
    }
    turned.source_width = swap ? image->source_height : image->source_width;
    turned.source_height = swap ? image->source_width : image->source_height;
    for (int32_t y = 0; y < turned.height; y++) {
        for (int32_t x = 0; x < turned.width; x++, out += 3) {
            int32_t sx = swap ? y : x;
            int32_t sy = swap ? x : y;

            sx = flips[orientation].flip_x ? w - 1 - sx : sx;
            sy = flips[orientation].flip_y ? h - 1 - sy : sy;
            memcpy(out, image->rgb + ((size_t)sy * (size_t)w + (size_t)sx) * 3, 3);
        }
    }
    ivl__image_free(image);
    *image = turned;
    return IVL_OK;
}

ivl_status ivl__image_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    const ivl__codec *codec;
    ivl__image_header header;
    ivl__image decoded = {0};
    ivl_status status = read_header(data, bytes, options, &codec, &header, error);

    if (status == IVL_OK) {
        status = codec->decode(data, bytes, options, &decoded, error);
    }
    if (status == IVL_OK && options->exif) {
        int orientation = ivl__exif_orientation(data, bytes);

        if (orientation > 1) {
            status = turn(&decoded, orientation, error);
        }
    }
    if (status != IVL_OK) {
        ivl__image_free(&decoded);
        return status;
    }
    *image = decoded;
    return IVL_OK;
}
