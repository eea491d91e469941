/* exif.c - finds the EXIF block of a picture file and the orientation tag in its first directory.
 *
 * Everything is read bytewise with the bounds in view; a damaged block counts as upright, since
 * a wrong thumbnail or maker note must not cost a photograph.
 */
#include "loader/exif.h"

#include <stdint.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT      3

static uint32_t read_be(const unsigned char *p, int bytes)
{
    uint32_t value = 0;

    for (int i = 0; i < bytes; i++) {
        value = value << 8 | p[i];
    }
    return value;
}

static uint32_t read_le(const unsigned char *p, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

/* A TIFF header and its first directory. */
static int tiff_orientation(const unsigned char *data, size_t bytes)
{
    uint32_t (*read)(const unsigned char *, int);
    size_t at;
    uint32_t entries;

    if (bytes < 10 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0)) {
        return 1;
    }
    read = data[0] == 'I' ? read_le : read_be;
    at = read(data + 4, 4);
    if (at > bytes - 2) {
        return 1;
    }
    entries = read(data + at, 2);
    at += 2;
    for (uint32_t i = 0; i < entries && bytes - at >= 12; i++, at += 12) {
        const unsigned char *entry = data + at;

        if (read(entry, 2) == TAG_ORIENTATION && read(entry + 2, 2) == TYPE_SHORT) {
            uint32_t value = read(entry + 8, 2);

            return value >= 1 && value <= 8 ? (int)value : 1;
        }
    }
    return 1;
}

/* The segments of a JPEG up to its first scan. */
static int jpeg_orientation(const unsigned char *data, size_t bytes)
{
    size_t at = 2;

    while (bytes - at >= 4 && data[at] == 0xFF) {
        unsigned marker = data[at + 1];
        size_t length = read_be(data + at + 2, 2);

        if (marker == 0xFF) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xDA || length < 2 || length > bytes - at - 2) {
            return 1;
        }
        if (marker == 0xE1 && length >= 8 && memcmp(data + at + 4, "Exif\0\0", 6) == 0) {
            return tiff_orientation(data + at + 10, length - 8);
        }
        at += 2 + length;
    }
    return 1;
}

/* Chunks of PNG: length (big-endian), name, data, checksum. */
static int png_orientation(const unsigned char *data, size_t bytes)
{
    size_t at = 8;

    while (bytes - at >= 12) {
        size_t length = read_be(data + at, 4);

        if (length > bytes - at - 12) {
            return 1;
        }
        if (memcmp(data + at + 4, "eXIf", 4) == 0) {
            return tiff_orientation(data + at + 8, length);
        }
        at += 12 + length;
    }
    return 1;
}

/* Chunks of RIFF: name, length (little-endian), data, padded to even. */
static int webp_orientation(const unsigned char *data, size_t bytes)
{
    size_t at = 12;

    while (bytes - at >= 8) {
        size_t length = read_le(data + at + 4, 4);

        if (length > bytes - at - 8) {
            return 1;
        }
        if (memcmp(data + at, "EXIF", 4) == 0) {
            const unsigned char *block = data + at + 8;

            /* Some writers keep the JPEG prefix. */
            if (length >= 6 && memcmp(block, "Exif\0\0", 6) == 0) {
                return tiff_orientation(block + 6, length - 6);
            }
            return tiff_orientation(block, length);
        }
        length += length & 1;
        if (length > bytes - at - 8) {
            return 1;
        }
        at += 8 + length;
    }
    return 1;
}

int ivl__exif_orientation(const unsigned char *data, size_t bytes)
{
    if (bytes >= 2 && data[0] == 0xFF && data[1] == 0xD8) {
        return jpeg_orientation(data, bytes);
    }
    if (bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) {
        return png_orientation(data, bytes);
    }
    if (bytes >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0) {
        return webp_orientation(data, bytes);
    }
    return 1;
}
