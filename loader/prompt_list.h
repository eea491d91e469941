/* prompt_list.h - class names and prompt templates: lists of short texts, one a line of a file.
 *
 * The index of a class is its place in the file. Names may stand twice: the published lists of
 * ImageNet do ("missile", "sunglasses"), and such classes keep an index each; only a label that
 * names one of them is ambiguous. A template holds {c} or {} where the name goes, once or more
 * often; other braces are plain text.
 */
#ifndef IVL_LOADER_PROMPT_LIST_H
#define IVL_LOADER_PROMPT_LIST_H

#include "loader/json_text.h"

#include <stdint.h>

/* The largest published lists have 1000 classes and 80 templates. */
enum { IVL__PROMPTS_MOST = 1 << 20, IVL__PROMPT_MAX_BYTES = 1 << 16 };

typedef struct ivl__prompt_list {
    char **items; /* [n] UTF-8, owned */
    size_t n, capacity;
} ivl__prompt_list;

void ivl__prompt_list_free(ivl__prompt_list *list);
/* Appends a copy. IVL_BAD_INPUT for an empty or a long text, NUL bytes and what is not UTF-8. */
ivl_status ivl__prompt_list_add(ivl__prompt_list *list, const char *text, size_t bytes,
                                ivl_error *error);

/* Lines of a file ("-": standard input): blanks around a name are dropped, empty lines may only
 * stand at the end. IVL_BAD_INPUT names file and line, also for a file without any. On failure the
 * list is empty. */
ivl_status ivl__class_list_read(const char *path, ivl__prompt_list *classes, ivl_error *error);
/* The same, and every line has a placeholder. */
ivl_status ivl__template_list_read(const char *path, ivl__prompt_list *templates, ivl_error *error);

bool ivl__template_has_place(const char *prompt);
/* Appends the template with the name in its places. */
void ivl__template_fill(const char *prompt, const char *name, ivl__text *out);

/* Index of the only class of this name; -1: there is none, -2: there are several. */
int64_t ivl__class_list_find(const ivl__prompt_list *classes, const char *name);

#endif
