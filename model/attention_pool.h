/* attention_pool.h - a picture's tokens to one vector: the pooling blocks of InternVL-C and -G.
 *
 * Source: modeling_internvl.py of OpenGVLab/InternVL, class AttentionPoolingBlock. The mean of all
 * tokens is the one query; three LayerNorms (eps 1e-5) before q, k and v; no residual, no MLP.
 */
#ifndef IVL_MODEL_ATTENTION_POOL_H
#define IVL_MODEL_ATTENTION_POOL_H

#include "model/clip_stages.h"
#include "model/compute.h"

typedef struct ivl__pool_call {
    const ivl__pool_stage *pool;
    int32_t images, tokens;
    ivl__span x;        /* [images, tokens, D] f32 */
    cl_mem one_offsets; /* int32: 0, 1, 2, ... images */
    cl_mem kv_offsets;  /* int32: 0, tokens, 2 tokens, ... */
    ivl__span out;      /* [images, E] f32 */
} ivl__pool_call;

/* Scratch per image. */
void ivl__pool_sizes_for(int32_t width, int32_t tokens, ivl_dtype act, uint64_t *normed,
                         uint64_t *wide);
ivl_status ivl__pool_run(const ivl__compute *run, const ivl__placed_stage *at,
                         const ivl__pool_call *call, ivl_error *error);

#endif
