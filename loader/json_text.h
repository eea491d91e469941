/* json_text.h - a growing text buffer, and JSON strings of byte strings that may not be UTF-8.
 *
 * Valid UTF-8 is written as it is; each byte that belongs to no valid sequence becomes \udc80 ..
 * \udcff, Python's surrogateescape, so that os.fsencode(json.loads(...)) gives the bytes back.
 */
#ifndef IVL_LOADER_JSON_TEXT_H
#define IVL_LOADER_JSON_TEXT_H

#include "loader/utf8.h"
#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>

/* A failed append leaves `failed` set, and all later ones do nothing: check once at the end. */
typedef struct ivl__text {
    char *data; /* NUL behind `bytes` bytes once anything was appended; ivl__text_free */
    size_t bytes, capacity;
    bool failed;
} ivl__text;

void ivl__text_free(ivl__text *text);
/* Empties it and keeps the memory. */
void ivl__text_clear(ivl__text *text);
void ivl__text_add(ivl__text *text, const void *data, size_t bytes);
void ivl__text_puts(ivl__text *text, const char *string);
void ivl__text_printf(ivl__text *text, const char *format, ...) IVL__PRINTF(2, 3);
/* A JSON string with its quotes. */
void ivl__text_json(ivl__text *text, const char *string);
/* The same of bytes among which may be NUL. */
void ivl__text_json_bytes(ivl__text *text, const char *string, size_t bytes);
/* Appends the bytes that a JSON string of `bytes` bytes, quotes included, stands for: \udc80 ..
 * \udcff become the byte they were. false for anything that is no such string; bytes may then have
 * been appended. */
bool ivl__text_unquote(ivl__text *text, const char *json, size_t bytes);
/* The same escapes outside JSON: valid UTF-8 as it is, other bytes as the six characters \udcXX. */
void ivl__text_escaped(ivl__text *text, const char *string);

#endif
