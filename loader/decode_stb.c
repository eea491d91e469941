/* decode_stb.c - BMP and TGA by stb_image, compiled here and nowhere else.
 *
 * stb_image reads zeros past the end of the data. It is therefore fed through callbacks that
 * notice when it asks for more than there is, and sizes are computed from the header before.
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <string.h>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_BMP
#define STBI_ONLY_TGA
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_ASSERT(x)             ((void)0)
#define STBI_MALLOC(bytes)         ivl__malloc(bytes)
#define STBI_REALLOC(block, bytes) ivl__realloc(block, bytes)
#define STBI_FREE(block)           ivl__free(block)
#if defined(__GNUC__) /* its switched-off entry points; reported at the end of the file */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include <stb_image.h>

typedef struct stb_source {
    const unsigned char *data;
    size_t bytes, at;
    bool past_end;
} stb_source;

static int on_read(void *user, char *out, int wanted)
{
    stb_source *source = user;
    size_t bytes = wanted > 0 ? (size_t)wanted : 0;

    if (source->at == source->bytes && bytes > 0) {
        source->past_end = true;
    }
    if (bytes > source->bytes - source->at) {
        bytes = source->bytes - source->at;
    }
    memcpy(out, source->data + source->at, bytes);
    source->at += bytes;
    return (int)bytes;
}

static void on_skip(void *user, int bytes)
{
    stb_source *source = user;

    if (bytes < 0 || (size_t)bytes > source->bytes - source->at) {
        source->past_end = true;
        source->at = source->bytes;
    } else {
        source->at += (size_t)bytes;
    }
}

static int on_end(void *user)
{
    const stb_source *source = user;

    return source->at == source->bytes;
}

static ivl_status stb_decode(const char *format, const unsigned char *data, size_t bytes,
                             ivl__image *image, ivl_error *error)
{
    static const stbi_io_callbacks callbacks = {on_read, on_skip, on_end};
    stb_source source = {data, bytes, 0, false};
    int width = 0, height = 0, channels = 0;
    unsigned char *rgb = stbi_load_from_callbacks(&callbacks, &source, &width, &height, &channels,
                                                  3);

    if (!rgb) {
        const char *reason = stbi_failure_reason();

        if (reason && strcmp(reason, "outofmem") == 0) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "%s: no memory for the decoder", format);
        }
        return ivl__fail(error, IVL_BAD_INPUT, "%s: %s", format, reason ? reason : "damaged");
    }
    if (source.past_end) {
        ivl__free(rgb);
        return ivl__fail(error, IVL_BAD_INPUT, "%s: file ends too early (truncated)", format);
    }
    image->rgb = rgb;
    image->width = image->source_width = width;
    image->height = image->source_height = height;
    return IVL_OK;
}

static uint32_t le(const unsigned char *p, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

/* ---- BMP --------------------------------------------------------------------------------- */

static bool bmp_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 2 && data[0] == 'B' && data[1] == 'M';
}

static ivl_status bmp_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                           ivl_error *error)
{
    uint32_t size, offset, bits;
    int64_t width, height;

    if (bytes < 26) {
        return ivl__fail(error, IVL_BAD_INPUT, "BMP: %zu bytes are less than a header", bytes);
    }
    offset = le(data + 10, 4);
    size = le(data + 14, 4);
    if (size == 12) {
        width = le(data + 18, 2);
        height = le(data + 20, 2);
        bits = le(data + 24, 2);
    } else {
        if (size < 40 || size > 124 || bytes < 14 + (size_t)size) {
            return ivl__fail(error, IVL_BAD_INPUT, "BMP: header of %u bytes is not known", size);
        }
        if (le(data + 30, 4) == 1 || le(data + 30, 4) == 2) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "BMP: run-length compression is not supported; save it plain");
        }
        width = (int32_t)le(data + 18, 4);
        height = (int32_t)le(data + 22, 4);
        bits = le(data + 28, 2);
        height = height < 0 ? -height : height; /* negative: rows run from the top */
    }
    if (width <= 0 || height <= 0 || height > INT32_MAX) {
        return ivl__fail(error, IVL_BAD_INPUT, "BMP: width %lld, height %lld", (long long)width,
                         (long long)(int32_t)le(data + 22, 4));
    }
    if (offset >= bytes) {
        return ivl__fail(error, IVL_BAD_INPUT, "BMP: pixels begin at %u, file has %zu bytes",
                         offset, bytes);
    }
    header->width = (int32_t)width;
    header->height = (int32_t)height;
    header->decode_bytes = ivl__rgb_bytes(header->width, header->height);
    header->least_bytes = offset + ((uint64_t)width * bits + 31) / 32 * 4 * (uint64_t)(height - 1) +
                          ((uint64_t)width * bits + 7) / 8;
    return IVL_OK;
}

static ivl_status bmp_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    (void)options;
    return stb_decode("BMP", data, bytes, image, error);
}

const ivl__codec ivl__codec_bmp = {"BMP", bmp_test, bmp_size, bmp_decode};

/* ---- TGA --------------------------------------------------------------------------------- */

static bool is_color_depth(unsigned bits)
{
    return bits == 15 || bits == 16 || bits == 24 || bits == 32;
}

/* The format has no magic number; every field that can be wrong is looked at. */
static bool tga_test(const unsigned char *data, size_t bytes)
{
    unsigned map, type, bits;

    if (bytes < 18 || data[1] > 1 || (data[17] & 0xC0) != 0) {
        return false;
    }
    map = data[1];
    type = data[2] & 7u;
    bits = data[16];
    if ((data[2] & ~15u) != 0 || le(data + 12, 2) == 0 || le(data + 14, 2) == 0) {
        return false;
    }
    switch (type) {
    case 1: return map == 1 && bits == 8 && is_color_depth(data[7]) && le(data + 5, 2) > 0;
    case 2: return is_color_depth(bits);
    case 3: return map == 0 && (bits == 8 || bits == 16);
    default: return false;
    }
}

static ivl_status tga_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                           ivl_error *error)
{
    uint64_t pixels, pixel_bytes = (data[16] + 7u) / 8;

    (void)bytes;
    (void)error;
    header->width = (int32_t)le(data + 12, 2);
    header->height = (int32_t)le(data + 14, 2);
    pixels = (uint64_t)header->width * (uint64_t)header->height;
    /* stb_image converts from a picture of up to 4 channels to a second one. */
    header->decode_bytes = 7 * pixels;
    header->least_bytes = UINT64_C(18) + data[0];
    if (data[1]) {
        header->least_bytes += le(data + 5, 2) * ((data[7] + 7u) / 8);
    }
    /* A run is 1 + pixel_bytes for up to 128 pixels. */
    header->least_bytes += data[2] & 8 ? (pixels + 127) / 128 * (1 + pixel_bytes)
                                       : pixels * pixel_bytes;
    return IVL_OK;
}

static ivl_status tga_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    (void)options;
    return stb_decode("TGA", data, bytes, image, error);
}

const ivl__codec ivl__codec_tga = {"TGA", tga_test, tga_size, tga_decode};
