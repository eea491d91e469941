/* vit_stages.h - InternViT's weights as the planner and the kernels want them.
 *
 * The program of the tower: stage 0 embeds, stage 1 + i is block i. Vectors (norms, biases, layer
 * scales, class embedding, position table) are 0.1 % of the bytes.
 */
#ifndef IVL_MODEL_VIT_STAGES_H
#define IVL_MODEL_VIT_STAGES_H

#include "model/stage_list.h"
#include "model/weight_names.h"

typedef struct ivl__vit_block_vectors {
    uint64_t norm1_w, norm1_b, qkv_b, q_norm, k_norm, proj_b, ls1;
    uint64_t norm2_w, norm2_b, fc1_b, fc2_b, ls2;
} ivl__vit_block_vectors;

typedef struct ivl__vit_stages {
    ivl__vit_config config;
    int grid;             /* of the position table */
    ivl__stage_list list; /* [1 + layers] */
    ivl__stage_matrix patch;
    struct ivl__vit_block_matrices {
        ivl__stage_matrix qkv, proj, fc1, fc2;
    } * blocks; /* [layers] */
    uint64_t class_embedding, position, patch_b;
    ivl__vit_block_vectors *block_vectors; /* [layers] */
} ivl__vit_stages;

/* weights NULL: sizes only, as if stored in bf16 (plans without a checkpoint). The weights must
 * outlive the stages. */
ivl_status ivl__vit_stages_make(const ivl__vit_config *config, const ivl__vit_weights *weights,
                                ivl__vit_stages **out, ivl_error *error);
void ivl__vit_stages_free(ivl__vit_stages *stages);

#endif
