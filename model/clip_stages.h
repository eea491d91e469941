/* clip_stages.h - weights of the text tower, QLLaMA and the heads as the planner and the kernels
 * want them.
 *
 * In the order in which a run of everything needs them: the pooling block of C; of every decoder
 * layer its attention, in some layers the cross-attention (which texts pass by), its MLP; the
 * pooling block of G; the heads of texts and of image-text matching. Tokens' embeddings are no
 * stage: a run needs a few rows of that table, which the host reads from the file.
 */
#ifndef IVL_MODEL_CLIP_STAGES_H
#define IVL_MODEL_CLIP_STAGES_H

#include "model/clip_weights.h"
#include "model/stage_list.h"

/* A stage that the model has not. */
#define IVL__NO_STAGE (-1)

typedef struct ivl__pool_stage {
    int stage;
    int32_t width, heads, embed; /* D, heads, E */
    ivl__stage_matrix q, k, v, proj;
    uint64_t norm_q_w, norm_q_b, norm_k_w, norm_k_b, norm_v_w, norm_v_b;
    uint64_t q_b, k_b, v_b, proj_b;
} ivl__pool_stage;

typedef struct ivl__decoder_layer {
    int attention, cross, mlp; /* stages; cross may be IVL__NO_STAGE */
    ivl__stage_matrix qkv, o, gate_up, down;
    uint64_t norm1, norm2;
    ivl__stage_matrix cross_q, cross_kv, cross_o;
    uint64_t cross_norm_q, cross_norm_kv;
} ivl__decoder_layer;

typedef struct ivl__clip_stages {
    ivl__model_config config;
    ivl__stage_list list;
    const ivl__tensor_entry *embed; /* [T, H]; NULL where there is no checkpoint */
    ivl__pool_stage pool_c, pool_g; /* pool_g.stage may be IVL__NO_STAGE */
    ivl__decoder_layer *layers;     /* [config.qllama.layers] */
    uint64_t norm;                  /* after the last layer */
    uint64_t query_tokens;          /* [Q, H] f32 */
    int text_head, itm_head;        /* stages; itm_head may be IVL__NO_STAGE */
    ivl__stage_matrix text_projection, itm;
    uint64_t itm_b;
} ivl__clip_stages;

/* Of IVL__ARCH_14B and IVL__ARCH_C_13B. weights NULL: sizes only, as if stored in bf16. The weights
 * must outlive the stages. */
ivl_status ivl__clip_stages_make(const ivl__model_config *config, const ivl__clip_weights *weights,
                                 ivl__clip_stages **out, ivl_error *error);
void ivl__clip_stages_free(ivl__clip_stages *stages);

#endif
