/* utf8.h - well-formed UTF-8 (Unicode, table 3-7): no overlong forms, no surrogates. */
#ifndef IVL_LOADER_UTF8_H
#define IVL_LOADER_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length of the sequence at s, of which `bytes` bytes are at hand: 1 .. 4, or 0 where there is
 * none. *code (may be NULL) becomes its code point. */
size_t ivl__utf8_decode(const char *s, size_t bytes, uint32_t *code);
/* The same for a NUL-terminated string. */
size_t ivl__utf8_length(const char *s);
/* Bytes of the well-formed text that `bytes` bytes begin with: all of them where it is UTF-8. */
size_t ivl__utf8_prefix(const char *s, size_t bytes);
/* Writes the sequence of a code point below 0x110000; its length. */
size_t ivl__utf8_encode(uint32_t code, char text[4]);

#endif
