/* vit.c - the forward pass of InternViT; see vit.h. */
#include "model/vit.h"

#include <math.h>

/* ---- sizes ------------------------------------------------------------------------------- */

ivl_status ivl__vit_sizes_for(const ivl__vit_config *config, int width, int height,
                              bool normalized_pixels, ivl_dtype act, ivl__vit_sizes *sizes,
                              ivl_error *error)
{
    uint64_t act_bytes = ivl__dtype_bytes(act);
    uint64_t c = (uint64_t)config->hidden;
    uint64_t patches, tokens, patch_values;

    if (width < config->patch || height < config->patch || width % config->patch != 0 ||
        height % config->patch != 0 || width > 16384 || height > 16384) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "pictures of %d x %d pixels: sides must be multiples of the patch size %d",
                         width, height, config->patch);
    }
    sizes->gw = width / config->patch;
    sizes->gh = height / config->patch;
    sizes->tokens = 1 + sizes->gw * sizes->gh;
    patches = (uint64_t)sizes->tokens - 1;
    tokens = (uint64_t)sizes->tokens;
    patch_values = (uint64_t)(config->channels * config->patch * config->patch);
    sizes->pixels = (uint64_t)width * (uint64_t)height * 3 * (normalized_pixels ? 4 : 1);
    sizes->rows = tokens * c * sizeof(float);
    sizes->normed = ivl__larger(tokens * c, patches * patch_values) * act_bytes;
    sizes->wide = ivl__larger(tokens * 3 * c * sizeof(float),
                              tokens * (uint64_t)config->mlp * act_bytes);
    return IVL_OK;
}

static int add_shape(ivl__gemm_shape *shapes, int n, const ivl__stage_matrix *matrix)
{
    return ivl__add_gemm_shape(shapes, n, matrix->rows, matrix->cols, matrix->dtype);
}

int ivl__vit_gemm_shapes(const ivl__vit_stages *stages,
                         ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES], int n)
{
    n = add_shape(shapes, n, &stages->patch);
    for (int i = 0; i < stages->config.layers; i++) {
        n = add_shape(shapes, n, &stages->blocks[i].qkv);
        n = add_shape(shapes, n, &stages->blocks[i].proj);
        n = add_shape(shapes, n, &stages->blocks[i].fc1);
        n = add_shape(shapes, n, &stages->blocks[i].fc2);
    }
    return n;
}

/* ---- steps ------------------------------------------------------------------------------- */

static ivl__span residual_at(const ivl__vit *v, int image)
{
    return (ivl__span){v->rows, (uint64_t)image * v->sizes.rows};
}

/* normed [rows, C] act = norm(x [rows, C]). */
static ivl_status norm(ivl__vit *v, ivl__span x, int rows, uint64_t weight, uint64_t bias,
                       ivl_error *error)
{
    const ivl__vit_config *config = &v->stages->config;
    const ivl__norm_call call = {
        .kind = config->layer_norm ? IVL__NORM_LAYER : IVL__NORM_RMS,
        .rows = rows,
        .width = config->hidden,
        .x = x,
        .x_ld = config->hidden,
        .weight = ivl__vector_at(v->vectors, weight),
        .bias = ivl__vector_at(v->vectors, bias),
        .eps = (float)config->eps,
        .y = {v->run->normed, 0},
        .y_type = v->run->act,
        .y_ld = config->hidden,
    };

    ivl__device_stage(v->run->device, "norm");
    return ivl__op_norm(v->run->device, &call, error);
}

/* One third of qkv [rows, 3C] in place: RMSNorm over all C channels, before the split in heads. */
static ivl_status norm_in_qkv(ivl__vit *v, int third, int rows, uint64_t weight, ivl_error *error)
{
    const ivl__vit_config *config = &v->stages->config;
    const ivl__span part = {v->run->wide,
                            (uint64_t)third * (uint64_t)config->hidden * sizeof(float)};
    const ivl__norm_call call = {
        .kind = IVL__NORM_RMS,
        .rows = rows,
        .width = config->hidden,
        .x = part,
        .x_ld = 3 * config->hidden,
        .weight = ivl__vector_at(v->vectors, weight),
        .eps = (float)config->eps,
        .y = part,
        .y_type = IVL_F32,
        .y_ld = 3 * config->hidden,
    };

    ivl__device_stage(v->run->device, "q/k norm");
    return ivl__op_norm(v->run->device, &call, error);
}

/* normed [rows, C] act = attention(qkv [rows, 3C]). */
static ivl_status attention(ivl__vit *v, int images, ivl_error *error)
{
    const ivl__vit_config *config = &v->stages->config;
    const int32_t c = config->hidden;
    const int32_t head_dim = c / config->heads;
    const ivl__span qkv = {v->run->wide, 0};
    const ivl__attention_call call = {
        .sequences = images,
        .max_queries = v->sizes.tokens,
        .max_keys = v->sizes.tokens,
        .q_offsets = v->offsets,
        .kv_offsets = v->offsets,
        .heads = config->heads,
        .kv_heads = config->heads,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
        .fast = v->run->gemm->precision == IVL_FAST,
        .mask = IVL__MASK_NONE,
        .q = qkv,
        .k = ivl__span_at(qkv, (uint64_t)c * sizeof(float)),
        .v = ivl__span_at(qkv, 2 * (uint64_t)c * sizeof(float)),
        .q_ld = 3 * c,
        .k_ld = 3 * c,
        .v_ld = 3 * c,
        .out = {v->run->normed, 0},
        .out_type = v->run->act,
        .out_ld = c,
    };

    ivl__device_stage(v->run->device, "attention");
    return ivl__op_attention(v->run->device, &call, v->run->attention, error);
}

/* y = epilogue(x [rows, in] act . matrix^T); `name` is what a profile calls it. */
static ivl_status linear(ivl__vit *v, const char *name, int stage, const ivl__stage_matrix *matrix,
                         const ivl__span *spans, cl_mem x, int rows, ivl__epilogue epilogue,
                         uint64_t bias, uint64_t scale, ivl__span y, ivl_dtype y_type,
                         ivl_error *error)
{
    const ivl__placed_stage at = {&v->stages->list, v->vectors, stage, spans};
    const ivl__linear call = {name, matrix, {x, 0}, rows, epilogue, bias, scale, y, y_type};

    return ivl__compute_linear(v->run, &at, &call, error);
}

/* ---- stages ------------------------------------------------------------------------------ */

static ivl_status embed(ivl__vit *v, const ivl__span *spans, int first, int count, ivl_error *error)
{
    const ivl__vit_config *config = &v->stages->config;
    const ivl__span wide = {v->run->wide, 0};
    const int patches = count * (v->sizes.tokens - 1);
    ivl__patchify_call patchify = {
        .images = count,
        .height = v->height,
        .width = v->width,
        .channels = config->channels,
        .patch = config->patch,
        .stride = config->patch,
        .pixels = {v->pixels, (uint64_t)first * v->sizes.pixels},
        .normalized = v->normalized_pixels,
        .out = {v->run->normed, 0},
        .out_type = v->run->act,
    };

    for (int i = 0; i < 3; i++) {
        patchify.mean[i] = v->mean[i];
        patchify.std[i] = v->std[i];
    }
    ivl__device_stage(v->run->device, "embed");
    IVL__TRY(ivl__op_patchify(v->run->device, &patchify, error));
    IVL__TRY(linear(v, "embed", 0, &v->stages->patch, spans, v->run->normed, patches,
                    IVL__EPILOGUE_BIAS, v->stages->patch_b, IVL__ABSENT, wide, IVL_F32, error));
    return ivl__op_embed(v->run->device, count, v->sizes.tokens, config->hidden, wide,
                         ivl__vector_at(v->vectors, v->stages->class_embedding), v->position,
                         residual_at(v, first), error);
}

/* x = x + ls1 * proj(attention(norm1(x))); x = x + ls2 * fc2(gelu(fc1(norm2(x)))). */
static ivl_status block(ivl__vit *v, int index, const ivl__span *spans, int first, int count,
                        ivl_error *error)
{
    const ivl__vit_stages *s = v->stages;
    const struct ivl__vit_block_matrices *m = &s->blocks[index];
    const ivl__vit_block_vectors *p = &s->block_vectors[index];
    const ivl__span x = residual_at(v, first);
    const ivl__span wide = {v->run->wide, 0};
    const int rows = count * v->sizes.tokens;
    const int stage = 1 + index;

    IVL__TRY(norm(v, x, rows, p->norm1_w, p->norm1_b, error));
    IVL__TRY(linear(v, "qkv", stage, &m->qkv, spans, v->run->normed, rows, IVL__EPILOGUE_BIAS,
                    p->qkv_b, IVL__ABSENT, wide, IVL_F32, error));
    if (s->config.qk_norm) {
        IVL__TRY(norm_in_qkv(v, 0, rows, p->q_norm, error));
        IVL__TRY(norm_in_qkv(v, 1, rows, p->k_norm, error));
    }
    IVL__TRY(attention(v, count, error));
    IVL__TRY(linear(v, "proj", stage, &m->proj, spans, v->run->normed, rows, IVL__EPILOGUE_RESIDUAL,
                    p->proj_b, p->ls1, x, IVL_F32, error));

    IVL__TRY(norm(v, x, rows, p->norm2_w, p->norm2_b, error));
    IVL__TRY(linear(v, "fc1", stage, &m->fc1, spans, v->run->normed, rows, IVL__EPILOGUE_GELU,
                    p->fc1_b, IVL__ABSENT, wide, v->run->act, error));
    return linear(v, "fc2", stage, &m->fc2, spans, v->run->wide, rows, IVL__EPILOGUE_RESIDUAL,
                  p->fc2_b, p->ls2, x, IVL_F32, error);
}

ivl_status ivl__vit_run_stage(ivl__vit *vit, int stage, const ivl__span *spans, int first,
                              int count, ivl_error *error)
{
    ivl_status status = stage == 0 ? embed(vit, spans, first, count, error)
                                   : block(vit, stage - 1, spans, first, count, error);

    if (status == IVL_OK) {
        return IVL_OK;
    }
    return stage == 0 ? ivl__fail_context(error, status, "embeddings")
                      : ivl__fail_context(error, status, "block %d", stage);
}
