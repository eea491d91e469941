/* label_file.h - what is right for each input: a CSV file with the columns key and label.
 *
 * RFC 4180 (csv.h), a header, other columns do not matter. A label is the name of a class or its
 * index from 0; a name goes before an index. A key that stands twice must have one label.
 */
#ifndef IVL_LOADER_LABEL_FILE_H
#define IVL_LOADER_LABEL_FILE_H

#include "loader/prompt_list.h"

/* 1.3 million training images of ImageNet take 60 MB. */
#define IVL__LABELS_MAX_BYTES ((size_t)1 << 30)

typedef struct ivl__label {
    char *key;     /* as in the file, owned */
    int32_t index; /* of the class */
    bool used;     /* by ivl__labels_find */
    uint64_t line; /* of the file */
} ivl__label;

/* Sorted by key. */
typedef struct ivl__labels {
    ivl__label *items; /* [n] */
    size_t n, capacity;
} ivl__labels;

void ivl__labels_free(ivl__labels *labels);
/* IVL_BAD_INPUT names the file, the line, and an unknown or ambiguous label. */
ivl_status ivl__labels_read(const char *path, const ivl__prompt_list *classes, ivl__labels *labels,
                            ivl_error *error);
/* The same from memory. */
ivl_status ivl__labels_parse(const void *data, size_t bytes, const ivl__prompt_list *classes,
                             ivl__labels *labels, ivl_error *error);

/* Index of the class, -1 for a key without a label; remembers that the key was asked for. */
int32_t ivl__labels_find(ivl__labels *labels, const char *key);

#endif
