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
