/* utf8.c - well-formed UTF-8; see utf8.h. */
#include "loader/utf8.h"

#include <string.h>

size_t ivl__utf8_decode(const char *s, size_t bytes, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    uint32_t value;
    size_t length;

    if (!bytes || (p[0] >= 0x80 && (p[0] < 0xc2 || p[0] > 0xf4))) {
        return 0;
    }
    length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (length > bytes) {
        return 0;
    }
    value = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : low;
    high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : high;
    for (size_t i = 1; i < length; i++) {
        if (p[i] < low || p[i] > high) {
            return 0;
        }
        value = value << 6 | (p[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    if (code) {
        *code = value;
    }
    return length;
}

size_t ivl__utf8_length(const char *s)
{
    return *s ? ivl__utf8_decode(s, strnlen(s, 4), NULL) : 1;
}

size_t ivl__utf8_prefix(const char *s, size_t bytes)
{
    size_t at = 0;
    size_t length;

    while (at < bytes && (length = ivl__utf8_decode(s + at, bytes - at, NULL)) > 0) {
        at += length;
    }
    return at;
}

size_t ivl__utf8_encode(uint32_t code, char text[4])
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    if (length == 1) {
        text[0] = (char)code;
        return 1;
    }
    for (size_t i = length - 1; i > 0; i--) {
        text[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    text[0] = (char)((0xf00u >> length & 0xf0u) | code);
    return length;
}
