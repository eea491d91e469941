/* vit_stages.h - InternViT's weights as the planner and the kernels want them.
 *
 * The program of the tower: stage 0 embeds, stage 1 + i is block i. A stage's tiles are its
 * matrices as stored. Vectors (norms, biases, layer scales, class embedding, position table: 0.1 %
 * of the bytes) are widened to fp32 once and stay on the device as one buffer.
 */
#ifndef IVL_MODEL_VIT_STAGES_H
#define IVL_MODEL_VIT_STAGES_H

#include "model/weight_names.h"
#include "runtime/residency.h"
#include "runtime/tensor.h"

/* Offsets into the vector buffer, in bytes; ABSENT where the model has no such vector. */
#define IVL__ABSENT UINT64_MAX

typedef struct ivl__vit_block_vectors {
    uint64_t norm1_w, norm1_b, qkv_b, q_norm, k_norm, proj_b, ls1;
    uint64_t norm2_w, norm2_b, fc1_b, fc2_b, ls2;
} ivl__vit_block_vectors;

/* A matrix of a stage: which of the stage's tiles it is made of. */
typedef struct ivl__stage_matrix {
    ivl_dtype dtype;
    int32_t rows, cols;
    int first_tile, n_tiles;
} ivl__stage_matrix;

typedef struct ivl__vit_stages {
    ivl__vit_config config;
    int grid;                  /* of the position table */
    ivl__stage_source *stages; /* [1 + layers] */
    int n_stages;
    ivl__tile_source *tiles; /* of all stages */
    ivl__stage_matrix patch;
    struct ivl__vit_block_matrices {
        ivl__stage_matrix qkv, proj, fc1, fc2;
    } * blocks;     /* [layers] */
    float *vectors; /* [vector_bytes / 4], NULL where there is no checkpoint */
    uint64_t vector_bytes;
    uint64_t class_embedding, position, patch_b;
    ivl__vit_block_vectors *block_vectors; /* [layers] */
} ivl__vit_stages;

/* weights NULL: sizes only, as if stored in bf16 (plans without a checkpoint). The weights must
 * outlive the stages. */
ivl_status ivl__vit_stages_make(const ivl__vit_config *config, const ivl__vit_weights *weights,
                                ivl__vit_stages **out, ivl_error *error);
void ivl__vit_stages_free(ivl__vit_stages *stages);

/* The weight handle of a matrix whose stage's tiles lie at spans. */
void ivl__stage_weight(const ivl__vit_stages *stages, int stage, const ivl__stage_matrix *matrix,
                       const ivl__span *spans, ivl__weight *weight);

#endif
