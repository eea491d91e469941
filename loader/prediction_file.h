/* prediction_file.h - what an evaluation predicted, one JSON object a line: enough to compute its
 * metrics again, by this program or by a few lines of Python.
 *
 *     {"format": "internvl predictions 1", "task": "classification", "suite": "pets" or null,
 *      "mode": "g", "model_id": "..", "classes": 37}
 *     {"key": "a.jpg", "label": 3, "top": [{"index": 3, "score": 27.4}, ..]}
 *
 *     {"format": .., "task": "retrieval", .., "images": 1000, "texts": 5000}
 *     {"query": "text", "index": 0, "right": [0], "top": [..]}     top and right are images
 *     {"query": "image", "index": 0, "right": [0, 1], "top": [..]} top and right are texts
 *
 * top holds the best 5 classes, or the best 10 of the other kind, in order; fewer where there are
 * fewer. Other members are ignored.
 */
#ifndef IVL_LOADER_PREDICTION_FILE_H
#define IVL_LOADER_PREDICTION_FILE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IVL__PREDICTION_TOP = 64 };

typedef struct ivl__prediction_head {
    bool retrieval;
    char suite[64]; /* "" for none */
    char mode[8], model_id[65];
    uint32_t classes, images, texts; /* those of the task; the others are 0 */
} ivl__prediction_head;

/* Zeroed to begin with; keeps its memory from line to line. */
typedef struct ivl__prediction {
    bool by_image;  /* retrieval: the query is an image */
    uint32_t label; /* classification */
    uint32_t index; /* retrieval: of the query */
    uint32_t top[IVL__PREDICTION_TOP];
    size_t n_top;
    uint32_t *right; /* [n_right] */
    size_t n_right, right_capacity;
} ivl__prediction;

void ivl__prediction_free(ivl__prediction *prediction);

/* The first line. IVL_BAD_INPUT. */
ivl_status ivl__prediction_parse_head(const char *line, size_t bytes, ivl__prediction_head *head,
                                      ivl_error *error);
/* Any other line; every index is checked against the head. IVL_BAD_INPUT. */
ivl_status ivl__prediction_parse(const char *line, size_t bytes, const ivl__prediction_head *head,
                                 ivl__prediction *prediction, ivl_error *error);

#endif
