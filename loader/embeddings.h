/* embeddings.h - the rows of an `embed` output, read one after another with their keys.
 *
 * OUT/ (all units in their order) or OUT.npy with OUT.jsonl and OUT.meta.json. An output that is
 * not complete is refused, naming the unit; memory does not grow with the rows.
 */
#ifndef IVL_LOADER_EMBEDDINGS_H
#define IVL_LOADER_EMBEDDINGS_H

#include "runtime/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ivl__embeddings ivl__embeddings;

/* Strings and the identity belong to the reader. */
typedef struct ivl__embeddings_info {
    const json_t *identity; /* object */
    const char *model_id;   /* 64 hex digits */
    const char *mode;       /* of the vectors that are read: "vit", "c", "g" */
    int32_t dim;
    uint64_t rows, errors; /* errors: inputs that failed and have no row */
} ivl__embeddings_info;

/* mode: NULL where the output has vectors of one mode only. IVL_INVALID_ARGUMENT: no output that
 * can be read, not complete, damaged, or without that mode. */
ivl_status ivl__embeddings_open(const char *path, const char *mode, ivl__embeddings **embeddings,
                                ivl_error *error);
ivl__embeddings_info ivl__embeddings_get_info(const ivl__embeddings *embeddings);

/* The next row, or *row = NULL at the end. Row and key (any bytes) are valid until the next call.
 */
ivl_status ivl__embeddings_next(ivl__embeddings *embeddings, const float **row, const char **key,
                                size_t *key_bytes, ivl_error *error);
void ivl__embeddings_free(ivl__embeddings *embeddings);

#endif
