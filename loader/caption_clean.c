/* caption_clean.c - captions as the published protocol gives them to the model; see
 * caption_clean.h. */
#include "loader/caption_clean.h"

#include "loader/lower_case.h"

#include <string.h>

/* What `\s` of Python's re matches in text. */
static bool is_white(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

/* The code point at the start, cleaned; a byte that belongs to none is U+10FFFF + byte, which no
 * text has. */
static size_t read_code(const char *at, size_t bytes, uint32_t *code)
{
    size_t length = ivl__utf8_decode(at, bytes, code);

    if (!length) {
        *code = 0x10ffffu + (unsigned char)*at;
        return 1;
    }
    *code = ivl__lower_case(*code);
    if (*code < 0x80 && *code && strchr(".!\"()*#:;~", (int)*code)) {
        *code = ' ';
    }
    return length;
}

static void write_code(ivl__text *out, uint32_t code)
{
    char text[4];

    if (code > 0x10ffffu) {
        text[0] = (char)(code - 0x10ffffu);
        ivl__text_add(out, text, 1);
    } else {
        ivl__text_add(out, text, ivl__utf8_encode(code, text));
    }
}

/* White space is written when the character behind it comes, so that none stands at the end. A
 * single one stays what it is, unless it is at the end of the text. */
void ivl__caption_clean(const char *caption, size_t bytes, ivl__text *out)
{
    size_t start = out->bytes;
    uint32_t white = 0; /* the first of the run at hand */
    size_t run = 0;
    int words = 1;
    uint32_t code;

    for (size_t at = 0; at < bytes;) {
        at += read_code(caption + at, bytes - at, &code);
        if (is_white(code)) {
            white = run++ ? ' ' : code;
            continue;
        }
        if (run && !(out->bytes == start && white == ' ')) {
            words += white == ' ';
            if (words > IVL__CAPTION_WORDS) {
                return;
            }
            write_code(out, white);
        }
        run = 0;
        write_code(out, code);
    }
    /* Of what ends a text, Python's rstrip takes line feeds and strip(' ') blanks; others stay. */
    if (run && white != ' ' && white != '\n') {
        write_code(out, white);
    }
}
