/* vit.h - the forward pass of InternViT on a device.
 *
 * Source: modeling_intern_vit.py of OpenGVLab/InternVL (classes InternVisionEmbeddings,
 * InternAttention, InternVisionEncoderLayer); paper section 3.2. Pre-norm blocks, q/k RMSNorm over
 * the whole width, layer scale on both branches, no final norm.
 */
#ifndef IVL_MODEL_VIT_H
#define IVL_MODEL_VIT_H

#include "model/compute.h"
#include "model/vit_stages.h"

/* Device bytes the forward pass needs, for the plan. */
typedef struct ivl__vit_sizes {
    int gh, gw, tokens;
    uint64_t pixels; /* per image */
    uint64_t rows;   /* residual stream, per image */
    uint64_t normed; /* per image of a sub-batch: norm output, attention output, patches */
    uint64_t wide;   /* per image of a sub-batch: qkv, mlp hidden, patch embeddings */
} ivl__vit_sizes;

/* IVL_BAD_INPUT when width or height is no multiple of the patch. */
ivl_status ivl__vit_sizes_for(const ivl__vit_config *config, int width, int height,
                              bool normalized_pixels, ivl_dtype act, ivl__vit_sizes *sizes,
                              ivl_error *error);
/* Adds the weight matrices of the tower to shapes, each shape and type once; at most
 * IVL__GEMM_MAX_CHOICES. The answer is their new number. */
int ivl__vit_gemm_shapes(const ivl__vit_stages *stages,
                         ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES], int n);
/* Buffers and operands of a run; everything on the device is owned by the session. */
typedef struct ivl__vit {
    const ivl__compute *run; /* normed [sub_batch * tokens, C], wide [.., max(3C f32, F act)] */
    const ivl__vit_stages *stages;
    ivl__vit_sizes sizes;
    cl_mem vectors;
    ivl__span position; /* table for the current grid */
    cl_mem offsets;     /* int32 [sub_batch + 1]: 0, tokens, 2 tokens, ... */
    cl_mem pixels;      /* [batch, ...] */
    cl_mem rows;        /* [batch, tokens, C] f32: the residual stream */
    bool normalized_pixels;
    int width, height;
    float mean[3], std[3];
} ivl__vit;

/* One stage for images first .. first + count - 1 of the batch; spans are the stage's tiles. */
ivl_status ivl__vit_run_stage(ivl__vit *vit, int stage, const ivl__span *spans, int first,
                              int count, ivl_error *error);

#endif
