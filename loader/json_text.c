/* json_text.c - a growing text buffer and JSON strings; see json_text.h. */
#include "loader/json_text.h"

#include "runtime/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ivl__text_free(ivl__text *text)
{
    ivl__free(text->data);
    *text = (ivl__text){0};
}

void ivl__text_clear(ivl__text *text)
{
    text->bytes = 0;
    text->failed = false;
}

static bool reserve(ivl__text *text, size_t bytes)
{
    if (!text->failed && (bytes > SIZE_MAX / 4 || !ivl__grow((void **)&text->data, &text->capacity,
                                                             text->bytes + bytes + 1, 1))) {
        text->failed = true;
    }
    return !text->failed;
}

void ivl__text_add(ivl__text *text, const void *data, size_t bytes)
{
    if (reserve(text, bytes)) {
        if (bytes) {
            memcpy(text->data + text->bytes, data, bytes);
        }
        text->bytes += bytes;
        text->data[text->bytes] = '\0';
    }
}

void ivl__text_puts(ivl__text *text, const char *string)
{
    ivl__text_add(text, string, strlen(string));
}

void ivl__text_printf(ivl__text *text, const char *format, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0) {
        text->failed = true;
    } else if ((size_t)n < sizeof line) {
        ivl__text_add(text, line, (size_t)n);
    } else if (reserve(text, (size_t)n)) {
        va_start(args, format);
        vsnprintf(text->data + text->bytes, (size_t)n + 1, format, args);
        va_end(args);
        text->bytes += (size_t)n;
    }
}

void ivl__text_json_bytes(ivl__text *text, const char *string, size_t bytes)
{
    size_t length;

    ivl__text_puts(text, "\"");
    for (size_t at = 0; at < bytes; at += length) {
        unsigned char c = (unsigned char)string[at];

        length = ivl__utf8_decode(string + at, bytes - at, NULL);
        if (length == 0) {
            ivl__text_printf(text, "\\udc%02x", c);
            length = 1;
        } else if (c == '"' || c == '\\') {
            ivl__text_printf(text, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            ivl__text_printf(text, "\\u%04x", c);
        } else {
            ivl__text_add(text, string + at, length);
        }
    }
    ivl__text_puts(text, "\"");
}

void ivl__text_json(ivl__text *text, const char *string)
{
    ivl__text_json_bytes(text, string, strlen(string));
}

/* ---- reading strings --------------------------------------------------------------------- */

/* The number of four hex digits; false when there are none. */
static bool take_hex(const char *at, const char *end, uint32_t *value)
{
    *value = 0;
    if (end - at < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0) {
            return false;
        }
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

static void add_code_point(ivl__text *text, uint32_t c)
{
    unsigned char bytes[4] = {(unsigned char)c};
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (int i = n - 1; n > 1 && i > 0; i--, c >>= 6) {
        bytes[i] = (unsigned char)(0x80 | (c & 0x3f));
    }
    if (n > 1) {
        bytes[0] = (unsigned char)(lead[n] | c);
    }
    ivl__text_add(text, bytes, (size_t)n);
}

/* What stands behind "\u"; *at goes behind it. */
static bool take_unicode(ivl__text *text, const char **at, const char *end)
{
    uint32_t high, low;

    if (!take_hex(*at, end, &high)) {
        return false;
    }
    *at += 4;
    if (high >= 0xdc80 && high <= 0xdcff) {
        unsigned char byte = (unsigned char)(high & 0xff);

        ivl__text_add(text, &byte, 1);
        return true;
    }
    if (high >= 0xd800 && high <= 0xdbff) {
        if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u' || !take_hex(*at + 2, end, &low) ||
            low < 0xdc00 || low > 0xdfff) {
            return false;
        }
        *at += 6;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    } else if (high >= 0xdc00 && high <= 0xdfff) {
        return false;
    }
    add_code_point(text, high);
    return true;
}

bool ivl__text_unquote(ivl__text *text, const char *json, size_t bytes)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *end = json + bytes - 1;

    if (bytes < 2 || json[0] != '"' || *end != '"') {
        return false;
    }
    for (const char *at = json + 1; at < end;) {
        const char *letter;

        if (*at != '\\') {
            size_t n = 1;

            while (at + n < end && at[n] != '\\') {
                n++;
            }
            if (memchr(at, '"', n)) {
                return false;
            }
            ivl__text_add(text, at, n);
            at += n;
            continue;
        }
        if (++at == end) {
            return false;
        }
        letter = *at ? strchr(letters, *at) : NULL;
        if (!letter && *at != 'u') {
            return false;
        }
        at++;
        if (letter) {
            ivl__text_add(text, values + (letter - letters), 1);
        } else if (!take_unicode(text, &at, end)) {
            return false;
        }
    }
    return true;
}

void ivl__text_escaped(ivl__text *text, const char *string)
{
    for (const char *s = string; *s;) {
        size_t length = ivl__utf8_length(s);

        if (length) {
            ivl__text_add(text, s, length);
        } else {
            ivl__text_printf(text, "\\udc%02x", (unsigned char)*s);
        }
        s += length ? length : 1;
    }
}
