/* decoder.h - one LLaMA-like layer over packed rows: the text tower and QLLaMA.
 *
 * Source: modeling_qllama.py of OpenGVLab/InternVL (LlamaDecoderLayer with its cross-attention);
 * paper section 3.2. RMSNorm, rotary positions, SwiGLU; no biases. Between attention and MLP, in
 * some layers, a sequence's queries look at the tokens of its image, which the rows of texts pass
 * by. A layer's three parts are stages of their own: (attention, cross-attention, MLP).
 *
 * Rows of all sequences of a batch lie packed in one buffer. Work is done in chunks: whole
 * sequences of one kind that share the scratch.
 */
#ifndef IVL_MODEL_DECODER_H
#define IVL_MODEL_DECODER_H

#include "model/clip_stages.h"
#include "model/compute.h"

/* Sequences of one kind: queries of images, texts, or both in one (queries first) for image-text
 * matching. */
typedef struct ivl__decoder_chunk {
    int32_t first_row, rows, longest; /* of `hidden`; the longest sequence */
    int32_t sequences;
    ivl__mask_kind mask;
    int32_t queries;       /* rows in front of every sequence that look at its image; 0: none */
    int32_t first_image;   /* of the batch, for the first sequence */
    const int32_t *starts; /* host: [sequences + 1], rows relative to first_row */
    cl_mem offsets;        /* the same on the device, then the last row of every sequence */
} ivl__decoder_chunk;

/* Everything on the device is owned by the session. */
typedef struct ivl__decoder {
    const ivl__compute *run;
    const ivl__clip_stages *stages;
    cl_mem vectors;
    cl_mem hidden;    /* [rows, H] f32: the residual stream */
    cl_mem positions; /* int32 [rows]: of a row in its sequence */
    cl_mem rope;      /* [max_positions, head_dim] f32 */
    int32_t max_positions;
    cl_mem image_rows; /* [images, image_tokens, V] f32: output of the tower */
    int32_t image_tokens;
    cl_mem image_offsets; /* int32: 0, image_tokens, 2 image_tokens, ... */
    cl_mem query_offsets; /* int32: 0, Q, 2 Q, ... */
} ivl__decoder;

/* Scratch that a row of a chunk needs, and beside it an image whose tokens its queries look at. */
typedef struct ivl__decoder_sizes {
    uint64_t row_normed, row_wide;
    uint64_t image_normed, image_wide;
} ivl__decoder_sizes;
ivl__decoder_sizes ivl__decoder_sizes_for(const ivl__model_config *config, int32_t image_tokens,
                                          ivl_dtype act);

/* Adds the weight matrices of the stages that are run (stage_at[i] >= 0) to shapes, each shape and
 * type once; the answer is their new number. */
int ivl__clip_gemm_shapes(const ivl__clip_stages *stages, const int *stage_at,
                          ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES], int n);

/* x = x + o(attention(rope(qkv(norm1(x))))) */
ivl_status ivl__decoder_attention(const ivl__decoder *decoder, int layer, const ivl__span *spans,
                                  const ivl__decoder_chunk *chunk, ivl_error *error);
/* x = x + o(attention(q(norm_q(x)), kv(norm_kv(image)))), for the queries. Keys and values live
 * until the call's work is done. */
ivl_status ivl__decoder_cross(const ivl__decoder *decoder, int layer, const ivl__span *spans,
                              const ivl__decoder_chunk *chunk, ivl_error *error);
/* x = x + down(silu(gate(z)) * up(z)), z = norm2(x) */
ivl_status ivl__decoder_mlp(const ivl__decoder *decoder, int layer, const ivl__span *spans,
                            const ivl__decoder_chunk *chunk, ivl_error *error);
/* The norm after the last layer, in place. */
ivl_status ivl__decoder_final_norm(const ivl__decoder *decoder, const ivl__decoder_chunk *chunk,
                                   ivl_error *error);

#endif
