/* decode_bmp.c - Windows and OS/2 bitmaps: 1 to 32 bits, bit masks, run-length coding.
 *
 * Our own and not stb_image's, which reads zeros past the end of the file, knows no run-length
 * coding, and scales 5-bit and 6-bit channels otherwise than Pillow (value x 255 / maximum,
 * truncated). The alpha channel is dropped; indices past the palette are black.
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <string.h>

enum { PLAIN = 0, RLE8 = 1, RLE4 = 2, MASKS = 3 };

typedef struct bmp_header {
    uint32_t offset, bits, compression;
    int32_t width, height;
    bool from_top;
    uint32_t masks[3];             /* red, green, blue; of 16 and 32 bits */
    unsigned char palette[256][3]; /* RGB; of 1, 4 and 8 bits */
} bmp_header;

static uint32_t le(const unsigned char *p, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

static bool bmp_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 2 && data[0] == 'B' && data[1] == 'M';
}

/* Size, depth and compression; *colors as the file counts them. */
static ivl_status read_geometry(const unsigned char *data, size_t bytes, bmp_header *header,
                                uint32_t *colors, ivl_error *error)
{
    int64_t width, height;
    uint32_t size = bytes < 18 ? 0 : le(data + 14, 4);

    if (size == 12 && bytes >= 26) {
        width = le(data + 18, 2);
        height = le(data + 20, 2);
        header->bits = le(data + 24, 2);
    } else if (size >= 40 && size <= 124 && bytes >= 14 + (size_t)size) {
        width = (int32_t)le(data + 18, 4);
        height = (int32_t)le(data + 22, 4);
        header->bits = le(data + 28, 2);
        header->compression = le(data + 30, 4);
        *colors = le(data + 46, 4);
    } else {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "BMP: header of %" PRIu32 " bytes is not known or cut off", size);
    }
    header->from_top = height < 0;
    if (width <= 0 || height == 0 || height == INT32_MIN) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "BMP: a picture cannot be %" PRId64 " wide and %" PRId64 " high", width,
                         height);
    }
    header->width = (int32_t)width;
    header->height = (int32_t)(height < 0 ? -height : height);
    header->offset = le(data + 10, 4);
    return IVL_OK;
}

static ivl_status check_depth(const bmp_header *header, ivl_error *error)
{
    const uint32_t bits = header->bits;
    bool good;

    switch (header->compression) {
    case PLAIN:
        good = bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32;
        break;
    case RLE8: good = bits == 8; break;
    case RLE4: good = bits == 4; break;
    case MASKS: good = bits == 16 || bits == 24 || bits == 32; break;
    default: good = false;
    }
    if (good) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_BAD_INPUT,
                     "BMP: %" PRIu32 " bits with compression %" PRIu32 " is not supported", bits,
                     header->compression);
}

/* The masks that the depth implies, or those of the file. */
static void read_masks(const unsigned char *data, size_t bytes, bmp_header *header)
{
    static const uint32_t of_16[3] = {0x7C00, 0x3E0, 0x1F};
    static const uint32_t of_32[3] = {0xFF0000, 0xFF00, 0xFF};

    memcpy(header->masks, header->bits == 16 ? of_16 : of_32, sizeof header->masks);
    if (header->compression == MASKS && bytes >= 66) {
        uint32_t masks[3] = {le(data + 54, 4), le(data + 58, 4), le(data + 62, 4)};

        if (masks[0] | masks[1] | masks[2]) {
            memcpy(header->masks, masks, sizeof masks);
        }
    }
}

static ivl_status read_header(const unsigned char *data, size_t bytes, bmp_header *header,
                              ivl_error *error)
{
    uint32_t colors = 0, size, step;
    size_t at;
    ivl_status status;

    memset(header, 0, sizeof *header);
    status = read_geometry(data, bytes, header, &colors, error);
    status = status ? status : check_depth(header, error);
    if (status != IVL_OK) {
        return status;
    }
    size = le(data + 14, 4);
    step = size == 12 ? 3 : 4;
    at = 14 + (size_t)size;
    read_masks(data, bytes, header);
    if (header->bits <= 8) {
        colors = colors ? colors : 1u << header->bits;
        colors = colors > 256 ? 256 : colors;
        if (colors * step > bytes - at) {
            return ivl__fail(error, IVL_BAD_INPUT, "BMP: palette of %" PRIu32 " colours is cut off",
                             colors);
        }
        for (uint32_t i = 0; i < colors; i++, at += step) {
            header->palette[i][0] = data[at + 2];
            header->palette[i][1] = data[at + 1];
            header->palette[i][2] = data[at];
        }
    }
    header->offset = header->offset ? header->offset : (uint32_t)at;
    if (header->offset < 14 + size || header->offset >= bytes) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "BMP: pixels begin at %" PRIu32 ", file has %zu bytes", header->offset,
                         bytes);
    }
    return IVL_OK;
}

static uint64_t row_bytes(const bmp_header *header)
{
    return ((uint64_t)header->width * header->bits + 31) / 32 * 4;
}

static ivl_status bmp_size(const unsigned char *data, size_t bytes, ivl__image_header *out,
                           ivl_error *error)
{
    bmp_header header;
    ivl_status status = read_header(data, bytes, &header, error);

    if (status != IVL_OK) {
        return status;
    }
    out->width = header.width;
    out->height = header.height;
    out->decode_bytes = ivl__rgb_bytes(header.width, header.height);
    if (header.compression == PLAIN || header.compression == MASKS) {
        /* The padding of the last row may be missing. */
        out->least_bytes = header.offset + row_bytes(&header) * (uint64_t)(header.height - 1) +
                           ((uint64_t)header.width * header.bits + 7) / 8;
    } else {
        /* A run of up to 255 pixels is 2 bytes. Moves could say less: 16 times that is let pass,
         * or a hundred bytes would have a picture of any size filled with one colour. */
        out->least_bytes = header.offset + (uint64_t)header.width * (uint64_t)header.height / 2048;
    }
    return IVL_OK;
}

/* Row y of the file, counted as the file stores them. */
static unsigned char *row_of(const bmp_header *header, const ivl__image *image, int32_t y)
{
    int32_t row = header->from_top ? y : header->height - 1 - y;

    return image->rgb + 3 * (size_t)row * (size_t)header->width;
}

static void put(const bmp_header *header, unsigned char *row, int32_t x, unsigned index)
{
    memcpy(row + 3 * (size_t)x, header->palette[index], 3);
}

/* The bits of a mask, moved down and stretched to 0..255. */
static unsigned char channel(uint32_t pixel, uint32_t mask)
{
    uint32_t value = pixel & mask;

    if (!mask) {
        return 0;
    }
    while (!(mask & 1)) {
        mask >>= 1;
        value >>= 1;
    }
    return (unsigned char)((uint64_t)value * 255 / mask);
}

static void read_row(const bmp_header *header, const unsigned char *in, unsigned char *row)
{
    const unsigned bits = header->bits;

    for (int32_t x = 0; x < header->width; x++) {
        if (bits <= 8) {
            const size_t bit = (size_t)x * bits;
            const unsigned byte = in[bit / 8];

            put(header, row, x, byte >> (8 - bits - bit % 8) & ((1u << bits) - 1));
        } else if (bits == 24) {
            row[3 * x] = in[3 * x + 2];
            row[3 * x + 1] = in[3 * x + 1];
            row[3 * x + 2] = in[3 * x];
        } else {
            uint32_t pixel = le(in + (size_t)x * (bits / 8), (int)bits / 8);

            for (int c = 0; c < 3; c++) {
                row[3 * x + c] = channel(pixel, header->masks[c]);
            }
        }
    }
}

/* Where run-length data stands, in the file and in the picture. */
typedef struct run_reader {
    const unsigned char *data;
    size_t bytes, at;
    int32_t x, y;
} run_reader;

/* `count` pixels from `in`: with `repeat` the one byte over and over, else byte after byte; what
 * is past the end of the row is dropped. */
static void put_run(const bmp_header *header, const ivl__image *image, run_reader *reader,
                    unsigned count, const unsigned char *in, bool repeat)
{
    unsigned char *row = row_of(header, image, reader->y);

    for (unsigned i = 0; i < count && reader->x < header->width; i++, reader->x++) {
        if (header->bits == 8) {
            put(header, row, reader->x, in[repeat ? 0 : i]);
        } else {
            const unsigned pair = in[repeat ? 0 : i / 2];

            put(header, row, reader->x, i % 2 ? pair & 15 : pair >> 4);
        }
    }
}

/* One code; false at the end of the bitmap or of its rows, *cut set when data is missing. */
static bool read_run(const bmp_header *header, const ivl__image *image, run_reader *reader,
                     bool *cut)
{
    const unsigned char *in = reader->data + reader->at;
    size_t left = reader->bytes - reader->at, need;

    if (left < 2) {
        *cut = true;
        return false;
    }
    if (in[0]) { /* a run */
        put_run(header, image, reader, in[0], in + 1, true);
        reader->at += 2;
        return true;
    }
    switch (in[1]) {
    case 0: /* end of the row */
        reader->x = 0;
        reader->at += 2;
        return ++reader->y < header->height;
    case 1: return false;
    case 2: /* move */
        if (left < 4) {
            break;
        }
        reader->x = in[2] > header->width - reader->x ? header->width : reader->x + in[2];
        reader->y = in[3] > header->height - reader->y ? header->height : reader->y + in[3];
        reader->at += 4;
        return reader->y < header->height;
    default: /* literal pixels, padded to 16 bits */
        need = header->bits == 8 ? in[1] : (in[1] + 1u) / 2;
        if (left < 2 + need) {
            break;
        }
        put_run(header, image, reader, in[1], in + 2, false);
        need += need & 1;
        reader->at += left < 2 + need ? left : 2 + need;
        return true;
    }
    *cut = true;
    return false;
}

static ivl_status read_runs(const bmp_header *header, const unsigned char *data, size_t bytes,
                            ivl__image *image, ivl_error *error)
{
    run_reader reader = {data, bytes, header->offset, 0, 0};
    const size_t pixels = (size_t)header->width * (size_t)header->height;
    bool cut = false;

    for (size_t i = 0; i < pixels; i++) { /* what no run touches has index 0 */
        memcpy(image->rgb + 3 * i, header->palette[0], 3);
    }
    while (read_run(header, image, &reader, &cut)) {
    }
    /* The last row may lack its end marks, nothing more. */
    if (cut && (reader.y < header->height - 1 || reader.x < header->width)) {
        return ivl__fail(error, IVL_BAD_INPUT, "BMP: file ends too early (truncated)");
    }
    return IVL_OK;
}

static ivl_status bmp_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    bmp_header header;
    ivl_status status = read_header(data, bytes, &header, error);

    (void)options;
    if (status == IVL_OK) {
        status = ivl__image_alloc(header.width, header.height, image, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    if (header.compression == RLE8 || header.compression == RLE4) {
        return read_runs(&header, data, bytes, image, error);
    }
    /* image_decode.c has compared the file with least_bytes: every row is there. */
    for (int32_t y = 0; y < header.height; y++) {
        read_row(&header, data + header.offset + (size_t)y * (size_t)row_bytes(&header),
                 row_of(&header, image, y));
    }
    return IVL_OK;
}

const ivl__codec ivl__codec_bmp = {"BMP", bmp_test, bmp_size, bmp_decode};
