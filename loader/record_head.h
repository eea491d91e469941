/* record_head.h - what an output is: its identity, what it was made with, its arrays.
 *
 * The head is the whole of OUT/manifest.json, and the first members of OUT.meta.json (and of its
 * journal). A rerun must have the same identity and the same arrays.
 */
#ifndef IVL_LOADER_RECORD_HEAD_H
#define IVL_LOADER_RECORD_HEAD_H

#include "loader/record_layout.h"

#include <jansson.h>

typedef struct ivl__record_head {
    const char *form;   /* of the layout: X.npy and X.sqlite have the same record, X.meta.json */
    json_t *identity;   /* object */
    json_t *provenance; /* object; NULL: not known yet */
    json_t *streams;    /* array of {name, suffix, type, shape} */
    bool same_numerics;
} ivl__record_head;

/* identity: the text of a JSON object. */
ivl_status ivl__record_head_init(ivl__record_head *head, const ivl__record_layout *layout,
                                 const char *identity, ivl_error *error);
/* NULL stands for {}. */
ivl_status ivl__record_head_set_provenance(ivl__record_head *head, const char *provenance,
                                           ivl_error *error);
void ivl__record_head_free(ivl__record_head *head);

/* Adds format, version, form, identity and streams to an object. */
bool ivl__record_head_write(const ivl__record_head *head, json_t *object);

/* IVL_BAD_INPUT when `recorded` is no head, IVL_INVALID_ARGUMENT when it is another one: the
 * message names `output` and the first difference with both values. */
ivl_status ivl__record_head_check(const ivl__record_head *head, const json_t *recorded,
                                  const char *output, ivl_error *error);
/* The same for a recorded provenance; only with same_numerics, and only where both are known. */
ivl_status ivl__record_head_check_provenance(const ivl__record_head *head, const json_t *recorded,
                                             const char *output, ivl_error *error);

/* The arrays of a manifest; the names belong to the JSON. *streams has room for IVL__MAX_STREAMS.
 */
ivl_status ivl__record_head_streams(const json_t *recorded, ivl__record_stream *streams,
                                    int *n_streams, ivl__npy_type *type, ivl_error *error);

#endif
