/* decode_pnm.c - PBM, PGM and PPM, plain (P1-P3) and binary (P4-P6), maxval 1..65535.
 *
 * Our own and not stb_image's: that one knows neither the plain forms nor bitmaps, and scales
 * odd maxvals otherwise than Pillow does (value / maxval x 255 in double, half to even).
 */
#include "loader/image_codecs.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_DIGITS 10

typedef struct pnm_header {
    int kind; /* 1..6 */
    int32_t width, height, maxval;
    int channels;
    size_t data; /* offset of the first sample */
} pnm_header;

typedef struct pnm_reader {
    const unsigned char *data;
    size_t bytes, at;
} pnm_reader;

static bool is_space(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_comment(pnm_reader *reader)
{
    while (reader->at < reader->bytes && reader->data[reader->at] != '\n' &&
           reader->data[reader->at] != '\r') {
        reader->at++;
    }
}

/* Skips blanks and comments; false at the end of the file. */
static bool skip_blanks(pnm_reader *reader)
{
    while (reader->at < reader->bytes) {
        unsigned char c = reader->data[reader->at];

        if (c == '#') {
            skip_comment(reader);
        } else if (is_space(c)) {
            reader->at++;
        } else {
            return true;
        }
    }
    return false;
}

/* A decimal number and the one blank (or the end of the file) behind it. */
static bool read_number(pnm_reader *reader, int64_t *value)
{
    int64_t number = 0;
    int digits = 0;

    if (!skip_blanks(reader)) {
        return false;
    }
    for (; reader->at < reader->bytes; reader->at++, digits++) {
        unsigned char c = reader->data[reader->at];

        if (c < '0' || c > '9') {
            break;
        }
        if (digits == MAX_DIGITS) {
            return false;
        }
        number = number * 10 + (c - '0');
    }
    if (digits == 0) {
        return false;
    }
    if (reader->at < reader->bytes) {
        if (reader->data[reader->at] == '#') {
            skip_comment(reader);
        } else if (!is_space(reader->data[reader->at])) {
            return false;
        }
        reader->at += reader->at < reader->bytes;
    }
    *value = number;
    return true;
}

static bool pnm_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 3 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6' && is_space(data[2]);
}

static ivl_status read_header(const unsigned char *data, size_t bytes, pnm_header *header,
                              ivl_error *error)
{
    pnm_reader reader = {data, bytes, 2};
    int64_t width, height, maxval = 1;

    header->kind = data[1] - '0';
    header->channels = header->kind % 3 == 0 ? 3 : 1;
    if (!read_number(&reader, &width) || !read_number(&reader, &height) ||
        (header->kind % 3 != 1 && !read_number(&reader, &maxval))) {
        return ivl__fail(
            error, IVL_BAD_INPUT,
            "PNM: header is incomplete, or a number in it is missing or longer than %d digits",
            MAX_DIGITS);
    }
    if (width > INT32_MAX || height > INT32_MAX) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "PNM claims %" PRId64 " x %" PRId64 " pixels, over every limit", width,
                         height);
    }
    if (maxval < 1 || maxval > 65535) {
        return ivl__fail(error, IVL_BAD_INPUT, "PNM: maxval %" PRId64 " is not in 1..65535",
                         maxval);
    }
    header->width = (int32_t)width;
    header->height = (int32_t)height;
    header->maxval = (int32_t)maxval;
    header->data = reader.at;
    return IVL_OK;
}

/* Bytes of the shortest possible picture data; for the binary kinds the exact number. */
static uint64_t data_bytes(const pnm_header *header)
{
    uint64_t width = (uint64_t)header->width, height = (uint64_t)header->height;
    uint64_t samples = width * height * (uint64_t)header->channels;

    switch (header->kind) {
    case 1: return samples;
    case 2:
    case 3: return samples ? 2 * samples - 1 : 0; /* a digit and a blank each */
    case 4: return (width + 7) / 8 * height;
    default: return samples * (header->maxval > 255 ? 2 : 1);
    }
}

static ivl_status pnm_size(const unsigned char *data, size_t bytes, ivl__image_header *out,
                           ivl_error *error)
{
    pnm_header header = {0};
    ivl_status status = read_header(data, bytes, &header, error);

    if (status != IVL_OK) {
        return status;
    }
    out->width = header.width;
    out->height = header.height;
    out->decode_bytes = ivl__rgb_bytes(header.width, header.height);
    out->least_bytes = header.data + data_bytes(&header);
    return IVL_OK;
}

/* One sample to 8 bits. Grey of more than 8 bits becomes 16 bits first and is then clipped (or
 * its high byte taken), colour goes to 8 bits at once: both as Pillow. */
static unsigned char scale(const pnm_header *header, bool gray16_scale, unsigned value)
{
    double part = (double)value / (double)header->maxval;
    long wide;

    if (header->channels == 3 || header->maxval <= 255) {
        wide = lrint(part * 255);
    } else {
        wide = lrint(part * 65535);
        wide = gray16_scale ? wide >> 8 : wide;
    }
    return (unsigned char)(wide > 255 ? 255 : wide);
}

static ivl_status read_plain(const pnm_header *header, pnm_reader *reader, bool gray16_scale,
                             ivl__image *image, ivl_error *error)
{
    size_t samples = (size_t)header->width * (size_t)header->height * (size_t)header->channels;
    size_t repeat = header->channels == 3 ? 1 : 3;

    for (size_t i = 0; i < samples; i++) {
        int64_t value;

        if (header->kind == 1) { /* digits may stand without blanks between them */
            bool found = skip_blanks(reader);

            value = found ? reader->data[reader->at++] - '0' : -1;
        } else if (!read_number(reader, &value)) {
            value = -1;
        }
        if (value < 0 || value > header->maxval) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "PNM: sample %zu of %zu is missing or not a number up to %d", i + 1,
                             samples, header->maxval);
        }
        value = header->kind == 1 ? 1 - value : value; /* 1 is black */
        memset(image->rgb + i * repeat, scale(header, gray16_scale, (unsigned)value), repeat);
    }
    return IVL_OK;
}

static void read_bitmap(const pnm_header *header, const unsigned char *data, ivl__image *image)
{
    const size_t stride = ((size_t)header->width + 7) / 8;
    unsigned char *out = image->rgb;

    for (size_t y = 0; y < (size_t)header->height; y++, data += stride) {
        for (size_t x = 0; x < (size_t)header->width; x++, out += 3) {
            memset(out, data[x / 8] >> (7 - x % 8) & 1 ? 0 : 255, 3);
        }
    }
}

static void read_binary(const pnm_header *header, const unsigned char *data, bool gray16_scale,
                        ivl__image *image)
{
    size_t samples = (size_t)header->width * (size_t)header->height * (size_t)header->channels;
    size_t repeat = header->channels == 3 ? 1 : 3;
    size_t wide = header->maxval > 255 ? 1 : 0;

    for (size_t i = 0; i < samples; i++) {
        unsigned value = wide ? (unsigned)(data[2 * i] << 8 | data[2 * i + 1]) : data[i];
        unsigned char level = header->maxval == 255 ? (unsigned char)value
                                                    : scale(header, gray16_scale, value);

        memset(image->rgb + i * repeat, level, repeat);
    }
}

static ivl_status pnm_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    pnm_header header = {0};
    ivl_status status = read_header(data, bytes, &header, error);

    if (status == IVL_OK) {
        status = ivl__image_alloc(header.width, header.height, image, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    /* image_decode.c has compared the file with least_bytes: binary data is all there. */
    if (header.kind <= 3) {
        pnm_reader reader = {data, bytes, header.data};

        return read_plain(&header, &reader, options->gray16_scale, image, error);
    }
    if (header.kind == 4) {
        read_bitmap(&header, data + header.data, image);
    } else {
        read_binary(&header, data + header.data, options->gray16_scale, image);
    }
    return IVL_OK;
}

const ivl__codec ivl__codec_pnm = {"PNM", pnm_test, pnm_size, pnm_decode};
