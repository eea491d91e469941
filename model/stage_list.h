/* stage_list.h - weights of a part of the model as the planner and the kernels want them.
 *
 * A stage's tiles are its matrices as stored. Vectors (norms, biases, layer scales, small tables)
 * are widened to fp32 once and stay on the device as one buffer, in places that are multiples of 64
 * bytes.
 */
#ifndef IVL_MODEL_STAGE_LIST_H
#define IVL_MODEL_STAGE_LIST_H

#include "model/weight_map.h"
#include "runtime/residency.h"
#include "runtime/tensor.h"

/* Offsets into the vector buffer, in bytes; ABSENT where the model has no such vector. */
#define IVL__ABSENT UINT64_MAX

/* Most tiles of one stage. */
#define IVL__STAGE_TILES 6

/* A matrix of a stage: which of the stage's tiles it is made of. */
typedef struct ivl__stage_matrix {
    ivl_dtype dtype;
    int32_t rows, cols;
    int first_tile, n_tiles;
} ivl__stage_matrix;

typedef struct ivl__stage_list {
    ivl__stage_source *stages; /* [n_stages] */
    int n_stages;
    ivl__tile_source *tiles; /* of all stages */
    float *vectors;          /* [vector_bytes / 4], NULL where there is no checkpoint */
    uint64_t vector_bytes;
} ivl__stage_list;

ivl_status ivl__stage_list_init(ivl__stage_list *list, int n_stages, ivl_error *error);
/* An array of zeros too. */
void ivl__stage_list_free(ivl__stage_list *list);

/* Adds a matrix [rows, cols] to a stage; ref NULL: of a model without a checkpoint, as if stored in
 * bf16 in `parts` pieces. The tensors must outlive the list. */
ivl_status ivl__stage_add(ivl__stage_list *list, int stage, const ivl__weight_ref *ref, int parts,
                          int32_t rows, int32_t cols, ivl__stage_matrix *matrix, ivl_error *error);

/* Takes the next place for a vector of n values; IVL__ABSENT where it is not present. */
uint64_t ivl__stage_place(ivl__stage_list *list, bool present, uint64_t n);
/* Makes room for the vectors placed so far, in zeros; their number must not change any more. */
ivl_status ivl__stage_make_vectors(ivl__stage_list *list, ivl_error *error);
/* Widens a role into its place. */
void ivl__stage_widen(ivl__stage_list *list, uint64_t at, const ivl__weight_ref *ref);

/* The weight handle of a matrix whose stage's tiles lie at spans. */
void ivl__stage_weight(const ivl__stage_list *list, int stage, const ivl__stage_matrix *matrix,
                       const ivl__span *spans, ivl__weight *weight);

#endif
