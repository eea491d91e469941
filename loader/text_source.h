/* text_source.h - texts one after another, from strings or from a file, in bounded memory.
 *
 * A file is one text a line (UTF-8; CR before LF is stripped; an empty line is a text), or with the
 * suffix .jsonl one JSON object a line whose "text" is the text; "-" reads standard input. Each
 * line stands for itself: one that is not UTF-8, no JSON or too long is a text that failed.
 */
#ifndef IVL_LOADER_TEXT_SOURCE_H
#define IVL_LOADER_TEXT_SOURCE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest line. */
#define IVL__TEXT_MAX_BYTES ((size_t)16 << 20)

typedef struct ivl__text_source ivl__text_source;

/* One text; text belongs to the source until the next call. */
typedef struct ivl__text_item {
    uint64_t line; /* from 1 */
    const char *text;
    size_t bytes;
    bool failed; /* error_text says why; text is empty */
    char error_text[200];
} ivl__text_item;

/* IVL_INVALID_ARGUMENT for a file that cannot be opened. */
ivl_status ivl__text_source_open(const char *path, ivl__text_source **source, ivl_error *error);
/* Asked while the source waits for input that may be long in coming (a pipe, a terminal): true ends
 * the wait, and ivl__text_source_next fails with IVL_CANCELLED. */
void ivl__text_source_set_stop(ivl__text_source *source, bool (*stop)(void));
/* The next text, or *end = true. Fails only when memory is short or reading breaks off. */
ivl_status ivl__text_source_next(ivl__text_source *source, ivl__text_item *item, bool *end,
                                 ivl_error *error);
void ivl__text_source_free(ivl__text_source *source);

#endif
