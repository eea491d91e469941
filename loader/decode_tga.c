/* decode_tga.c - Targa: grey, colour and palette pictures, plain or run-length coded.
 *
 * The format has no magic number: tga_test looks at every field that can be wrong, and comes last
 * among the codecs. Alpha is dropped; indices outside the palette are black.
 */
#include "loader/image_codecs.h"

#include <inttypes.h>
#include <string.h>

#define HEADER_BYTES 18
#define FROM_RIGHT   0x10
#define FROM_TOP     0x20

typedef struct tga_header {
    int type; /* 1 palette, 2 colour, 3 grey */
    bool runs;
    int32_t width, height;
    unsigned pixel_bytes;
    uint32_t map_first, map_count, map_bytes; /* bytes of one entry */
    size_t map, data;                         /* offsets */
    unsigned flags;
} tga_header;

static uint32_t le(const unsigned char *p, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

static bool is_color_depth(unsigned bits)
{
    return bits == 15 || bits == 16 || bits == 24 || bits == 32;
}

static bool tga_test(const unsigned char *data, size_t bytes)
{
    unsigned bits;

    if (bytes < HEADER_BYTES || data[1] > 1 || (data[2] & ~11u) != 0 || (data[17] & 0xC0) != 0 ||
        le(data + 12, 2) == 0 || le(data + 14, 2) == 0 || (data[1] && !is_color_depth(data[7]))) {
        return false;
    }
    bits = data[16];
    switch (data[2] & 3) {
    case 1: return data[1] == 1 && bits == 8 && le(data + 5, 2) > 0;
    case 2: return is_color_depth(bits);
    case 3: return bits == 8 || bits == 16;
    default: return false;
    }
}

/* tga_test has seen the header. */
static void read_header(const unsigned char *data, tga_header *header)
{
    memset(header, 0, sizeof *header);
    header->type = data[2] & 3;
    header->runs = (data[2] & 8) != 0;
    header->width = (int32_t)le(data + 12, 2);
    header->height = (int32_t)le(data + 14, 2);
    header->pixel_bytes = (data[16] + 7u) / 8;
    header->flags = data[17];
    header->map = HEADER_BYTES + (size_t)data[0];
    if (data[1]) {
        header->map_first = le(data + 3, 2);
        header->map_count = le(data + 5, 2);
        header->map_bytes = (data[7] + 7u) / 8;
    }
    header->data = header->map + (size_t)header->map_count * header->map_bytes;
}

static ivl_status tga_size(const unsigned char *data, size_t bytes, ivl__image_header *out,
                           ivl_error *error)
{
    tga_header header;
    uint64_t pixels;

    (void)bytes;
    (void)error;
    read_header(data, &header);
    pixels = (uint64_t)header.width * (uint64_t)header.height;
    out->width = header.width;
    out->height = header.height;
    out->decode_bytes = 3 * pixels;
    /* A run of up to 128 pixels is a count and a pixel. */
    out->least_bytes = header.data + (header.runs ? (pixels + 127) / 128 * (1 + header.pixel_bytes)
                                                  : pixels * header.pixel_bytes);
    return IVL_OK;
}

/* Blue, green, red; 16 bits: 5 bits each, value x 255 / 31 truncated as Pillow does. */
static void read_color(const unsigned char *in, unsigned bytes, unsigned char *out)
{
    if (bytes == 2) {
        unsigned value = le(in, 2);

        for (unsigned c = 0; c < 3; c++) {
            out[c] = (unsigned char)((value >> (10 - 5 * c) & 31) * 255 / 31);
        }
    } else {
        out[0] = in[2];
        out[1] = in[1];
        out[2] = in[0];
    }
}

static void read_pixel(const tga_header *header, const unsigned char *data, const unsigned char *in,
                       unsigned char *out)
{
    if (header->type == 3) { /* a second byte would be alpha */
        memset(out, in[0], 3);
    } else if (header->type == 2) {
        read_color(in, header->pixel_bytes, out);
    } else if (in[0] < header->map_first || in[0] - header->map_first >= header->map_count) {
        memset(out, 0, 3);
    } else {
        read_color(data + header->map + (size_t)(in[0] - header->map_first) * header->map_bytes,
                   header->map_bytes, out);
    }
}

/* Pixel i of the file, counted as the file stores them. */
static unsigned char *place_of(const tga_header *header, const ivl__image *image, size_t i)
{
    size_t width = (size_t)header->width, x = i % width, y = i / width;

    x = header->flags & FROM_RIGHT ? width - 1 - x : x;
    y = header->flags & FROM_TOP ? y : (size_t)header->height - 1 - y;
    return image->rgb + 3 * (y * width + x);
}

/* Packets may run over the ends of rows. */
static ivl_status read_runs(const tga_header *header, const unsigned char *data, size_t bytes,
                            ivl__image *image, ivl_error *error)
{
    const size_t pixels = (size_t)header->width * (size_t)header->height;
    const unsigned step = header->pixel_bytes;
    size_t at = header->data;

    for (size_t i = 0; i < pixels;) {
        const size_t left = bytes - at;
        const bool repeat = left > 0 && (data[at] & 0x80) != 0;
        size_t count = left > 0 ? (data[at] & 0x7Fu) + 1 : 1;

        count = count > pixels - i ? pixels - i : count;
        if (left < 1 + (repeat ? 1 : count) * step) {
            return ivl__fail(error, IVL_BAD_INPUT, "TGA: file ends too early (truncated)");
        }
        at++;
        for (size_t k = 0; k < count; k++, i++) {
            read_pixel(header, data, data + at, place_of(header, image, i));
            at += repeat ? 0 : step;
        }
        at += repeat ? step : 0;
    }
    return IVL_OK;
}

static ivl_status tga_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    tga_header header;
    ivl_status status;

    (void)options;
    read_header(data, &header);
    status = ivl__image_alloc(header.width, header.height, image, error);
    if (status != IVL_OK) {
        return status;
    }
    if (header.runs) {
        return read_runs(&header, data, bytes, image, error);
    }
    /* image_decode.c has compared the file with least_bytes: every pixel is there. */
    for (size_t i = 0; i < (size_t)header.width * (size_t)header.height; i++) {
        read_pixel(&header, data, data + header.data + i * header.pixel_bytes,
                   place_of(&header, image, i));
    }
    return IVL_OK;
}

const ivl__codec ivl__codec_tga = {"TGA", tga_test, tga_size, tga_decode};
