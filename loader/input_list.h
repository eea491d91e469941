/* input_list.h - lines of a text file or pipe, one at a time: lists of paths, texts. */
#ifndef IVL_LOADER_INPUT_LIST_H
#define IVL_LOADER_INPUT_LIST_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longer lines are cut there and reported. */
enum { IVL__LIST_MAX_LINE = 1 << 20 };

typedef struct ivl__input_list ivl__input_list;

/* path NULL: reads fd, which is not closed. separator '\n' (a CR before it is dropped, and a UTF-8
 * byte order mark at the start) or '\0'. */
ivl_status ivl__input_list_open(const char *path, int fd, char separator, ivl__input_list **list,
                                ivl_error *error);
/* The next line without its end, NUL-terminated, valid until the next call; empty ones too.
 * *complete is false when it was cut for its length. IVL_IO_ERROR when reading fails. */
ivl_status ivl__input_list_next(ivl__input_list *list, const char **line, size_t *bytes,
                                bool *complete, bool *end, ivl_error *error);
/* Number of the line last answered, from 1. */
uint64_t ivl__input_list_line(const ivl__input_list *list);
void ivl__input_list_free(ivl__input_list *list);

#endif
