/* caption_clean.h - the caption cleaner of the published retrieval protocol.
 *
 * clip_benchmark, datasets/tools.py, pre_caption: lower case; each of . ! " ( ) * # : ; ~ becomes a
 * blank; two and more white spaces become one blank; blanks at both ends go; at most 50 words,
 * separated by blanks, stay. XTD's captions are not cleaned.
 */
#ifndef IVL_LOADER_CAPTION_CLEAN_H
#define IVL_LOADER_CAPTION_CLEAN_H

#include "loader/json_text.h"

enum { IVL__CAPTION_WORDS = 50 };

/* Appends the cleaned caption to `out`. Bytes that are no UTF-8 stay as they are. */
void ivl__caption_clean(const char *caption, size_t bytes, ivl__text *out);

#endif
