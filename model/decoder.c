/* decoder.c - attention, cross-attention and MLP of a layer; see decoder.h. */
#include "model/decoder.h"

#include <math.h>

static int32_t head_dim_of(const ivl__llama_config *c)
{
    return c->hidden / c->heads;
}

/* Columns of q, k and v side by side. */
static int32_t qkv_width(const ivl__llama_config *c)
{
    return c->hidden + 2 * head_dim_of(c) * c->kv_heads;
}

ivl__decoder_sizes ivl__decoder_sizes_for(const ivl__model_config *config, int32_t image_tokens,
                                          ivl_dtype act)
{
    const ivl__llama_config *c = &config->qllama;
    uint64_t act_bytes = ivl__dtype_bytes(act);
    uint64_t h = (uint64_t)c->hidden;
    uint64_t q = (uint64_t)config->query_tokens;
    uint64_t tokens = (uint64_t)image_tokens;
    ivl__decoder_sizes sizes = {0};

    sizes.row_normed = ivl__larger(h, (uint64_t)c->mlp) * act_bytes;
    sizes.row_wide = ivl__larger((uint64_t)qkv_width(c), 2 * (uint64_t)c->mlp) * sizeof(float);
    /* The last row of a text and its embedding, at least one row a text. */
    sizes.row_wide = ivl__larger(sizes.row_wide,
                                 (h + (uint64_t)config->clip_embed_dim) * sizeof(float));
    sizes.image_normed = ivl__larger(tokens * (uint64_t)config->vit.hidden, q * h) * act_bytes;
    sizes.image_wide = (tokens * 2 * h + q * h) * sizeof(float);
    return sizes;
}

static int add_shapes(ivl__gemm_shape *shapes, int n, const ivl__stage_matrix *matrices, int count)
{
    for (int i = 0; i < count; i++) {
        n = ivl__add_gemm_shape(shapes, n, matrices[i].rows, matrices[i].cols, matrices[i].dtype);
    }
    return n;
}

static int add_pool(ivl__gemm_shape *shapes, int n, const ivl__pool_stage *p)
{
    const ivl__stage_matrix matrices[] = {p->q, p->k, p->v, p->proj};

    return add_shapes(shapes, n, matrices, 4);
}

int ivl__clip_gemm_shapes(const ivl__clip_stages *s, const int *stage_at,
                          ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES], int n)
{
    if (stage_at[s->pool_c.stage] >= 0) {
        n = add_pool(shapes, n, &s->pool_c);
    }
    for (int i = 0; i < s->config.qllama.layers; i++) {
        const ivl__decoder_layer *l = &s->layers[i];
        const ivl__stage_matrix self[] = {l->qkv, l->o, l->gate_up, l->down};
        const ivl__stage_matrix cross[] = {l->cross_q, l->cross_kv, l->cross_o};

        n = stage_at[l->attention] >= 0 ? add_shapes(shapes, n, self, 4) : n;
        n = l->cross >= 0 && stage_at[l->cross] >= 0 ? add_shapes(shapes, n, cross, 3) : n;
    }
    if (s->pool_g.stage >= 0 && stage_at[s->pool_g.stage] >= 0) {
        n = add_pool(shapes, n, &s->pool_g);
        n = add_shapes(shapes, n, &s->itm, 1);
    }
    if (stage_at[s->text_head] >= 0) { /* x @ P: the columns are what comes out */
        const ivl__stage_matrix *p = &s->text_projection;

        n = ivl__add_gemm_shape(shapes, n, p->cols, p->rows, p->dtype);
    }
    return n;
}

/* ---- steps ------------------------------------------------------------------------------- */

static ivl__span rows_at(const ivl__decoder *d, int32_t row)
{
    return (ivl__span){d->hidden,
                       (uint64_t)row * (uint64_t)d->stages->config.qllama.hidden * sizeof(float)};
}

static ivl__placed_stage placed(const ivl__decoder *d, int stage, const ivl__span *spans)
{
    return (ivl__placed_stage){&d->stages->list, d->vectors, stage, spans};
}

/* y [rows, width] = rmsnorm(x [rows, width]). */
static ivl_status norm(const ivl__decoder *d, ivl__span x, int32_t rows, int32_t width,
                       uint64_t weight, ivl__span y, ivl_dtype y_type, ivl_error *error)
{
    const ivl__norm_call call = {
        .kind = IVL__NORM_RMS,
        .rows = rows,
        .width = width,
        .x = x,
        .x_ld = width,
        .weight = ivl__vector_at(d->vectors, weight),
        .eps = (float)d->stages->config.qllama.eps,
        .y = y,
        .y_type = y_type,
        .y_ld = width,
    };

    ivl__device_stage(d->run->device, "norm");
    return ivl__op_norm(d->run->device, &call, error);
}

static ivl_status linear(const ivl__decoder *d, const char *name, const ivl__placed_stage *at,
                         const ivl__stage_matrix *matrix, ivl__span x, int32_t rows,
                         ivl__epilogue epilogue, ivl__span y, ivl_error *error)
{
    const ivl__linear call = {name,        matrix,      x, rows,   epilogue,
                              IVL__ABSENT, IVL__ABSENT, y, IVL_F32};

    return ivl__compute_linear(d->run, at, &call, error);
}

/* Queries and keys in wide [rows, qkv]. */
static ivl_status rope(const ivl__decoder *d, const ivl__decoder_chunk *chunk, ivl_error *error)
{
    const ivl__llama_config *c = &d->stages->config.qllama;
    const ivl__rope_call call = {
        .rows = chunk->rows,
        .heads = c->heads + c->kv_heads,
        .head_dim = head_dim_of(c),
        .x = {d->run->wide, 0},
        .x_ld = qkv_width(c),
        .positions = {d->positions, (uint64_t)chunk->first_row * sizeof(int32_t)},
        .table = {d->rope, 0},
        .max_positions = d->max_positions,
    };

    ivl__device_stage(d->run->device, "rope");
    return ivl__op_rope(d->run->device, &call, error);
}

/* normed [rows, H] act = attention(wide [rows, qkv]). */
static ivl_status self_attention(const ivl__decoder *d, const ivl__decoder_chunk *chunk,
                                 ivl_error *error)
{
    const ivl__llama_config *c = &d->stages->config.qllama;
    const int32_t head_dim = head_dim_of(c);
    const int32_t kv_width = head_dim * c->kv_heads;
    const ivl__span q = {d->run->wide, 0};
    const ivl__attention_call call = {
        .sequences = chunk->sequences,
        .max_queries = chunk->longest,
        .max_keys = chunk->longest,
        .q_offsets = chunk->offsets,
        .kv_offsets = chunk->offsets,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = head_dim,
        .scale = 1.0f / sqrtf((float)head_dim),
        .fast = d->run->gemm->precision == IVL_FAST,
        .mask = chunk->mask,
        .q = q,
        .k = ivl__span_at(q, (uint64_t)c->hidden * sizeof(float)),
        .v = ivl__span_at(q, (uint64_t)(c->hidden + kv_width) * sizeof(float)),
        .q_ld = qkv_width(c),
        .k_ld = qkv_width(c),
        .v_ld = qkv_width(c),
        .out = {d->run->normed, 0},
        .out_type = d->run->act,
        .out_ld = c->hidden,
    };

    ivl__device_stage(d->run->device, "attention");
    return ivl__op_attention(d->run->device, &call, d->run->attention, error);
}

/* normed [queries, H] act = attention(q [queries, H], kv [image tokens, 2H]). */
static ivl_status cross_attention(const ivl__decoder *d, const ivl__decoder_chunk *chunk,
                                  ivl__span q, ivl__span kv, ivl_error *error)
{
    const ivl__llama_config *c = &d->stages->config.qllama;
    const ivl__attention_call call = {
        .sequences = chunk->sequences,
        .max_queries = chunk->queries,
        .max_keys = d->image_tokens,
        .q_offsets = d->query_offsets,
        .kv_offsets = d->image_offsets,
        .heads = c->heads,
        .kv_heads = c->heads,
        .head_dim = head_dim_of(c),
        .scale = 1.0f / sqrtf((float)head_dim_of(c)),
        .fast = d->run->gemm->precision == IVL_FAST,
        .mask = IVL__MASK_NONE,
        .q = q,
        .k = kv,
        .v = ivl__span_at(kv, (uint64_t)c->hidden * sizeof(float)),
        .q_ld = c->hidden,
        .k_ld = 2 * c->hidden,
        .v_ld = 2 * c->hidden,
        .out = {d->run->normed, 0},
        .out_type = d->run->act,
        .out_ld = c->hidden,
    };

    ivl__device_stage(d->run->device, "attention");
    return ivl__op_attention(d->run->device, &call, d->run->attention, error);
}

/* wide [rows, 2F] to normed [rows, F] act. */
static ivl_status swiglu(const ivl__decoder *d, int32_t rows, ivl_error *error)
{
    const int32_t f = d->stages->config.qllama.mlp;
    const ivl__swiglu_call call = {
        .rows = rows,
        .width = f,
        .gate = {d->run->wide, 0},
        .up = {d->run->wide, (uint64_t)f * sizeof(float)},
        .gate_ld = 2 * f,
        .up_ld = 2 * f,
        .out = {d->run->normed, 0},
        .out_type = d->run->act,
        .out_ld = f,
    };

    ivl__device_stage(d->run->device, "swiglu");
    return ivl__op_swiglu(d->run->device, &call, error);
}

/* ---- parts of a layer -------------------------------------------------------------------- */

ivl_status ivl__decoder_attention(const ivl__decoder *d, int layer, const ivl__span *spans,
                                  const ivl__decoder_chunk *chunk, ivl_error *error)
{
    const ivl__decoder_layer *l = &d->stages->layers[layer];
    const ivl__placed_stage at = placed(d, l->attention, spans);
    const ivl__span x = rows_at(d, chunk->first_row);
    const ivl__span normed = {d->run->normed, 0}, wide = {d->run->wide, 0};
    const int32_t h = d->stages->config.qllama.hidden;

    IVL__TRY(norm(d, x, chunk->rows, h, l->norm1, normed, d->run->act, error));
    IVL__TRY(linear(d, "qkv", &at, &l->qkv, normed, chunk->rows, IVL__EPILOGUE_BIAS, wide, error));
    IVL__TRY(rope(d, chunk, error));
    IVL__TRY(self_attention(d, chunk, error));
    return linear(d, "proj", &at, &l->o, normed, chunk->rows, IVL__EPILOGUE_RESIDUAL, x, error);
}

/* Runs of rows that are queries: all of a chunk in one where there is nothing else in it. */
static int32_t query_runs(const ivl__decoder_chunk *chunk, int32_t *rows)
{
    bool only = chunk->rows == chunk->sequences * chunk->queries;

    *rows = only ? chunk->rows : chunk->queries;
    return only ? 1 : chunk->sequences;
}

ivl_status ivl__decoder_cross(const ivl__decoder *d, int layer, const ivl__span *spans,
                              const ivl__decoder_chunk *chunk, ivl_error *error)
{
    const ivl__decoder_layer *l = &d->stages->layers[layer];
    const ivl__placed_stage at = placed(d, l->cross, spans);
    const int32_t h = d->stages->config.qllama.hidden;
    const int32_t v = d->stages->config.vit.hidden;
    const int32_t tokens = chunk->sequences * d->image_tokens;
    const ivl__span image = {d->image_rows, (uint64_t)chunk->first_image *
                                                (uint64_t)d->image_tokens * (uint64_t)v *
                                                sizeof(float)};
    const ivl__span normed = {d->run->normed, 0}, kv = {d->run->wide, 0};
    const ivl__span q = ivl__span_at(kv, (uint64_t)tokens * 2 * (uint64_t)h * sizeof(float));
    const uint64_t act_row = (uint64_t)h * ivl__dtype_bytes(d->run->act);
    int32_t rows;
    int32_t runs = query_runs(chunk, &rows);

    IVL__TRY(norm(d, image, tokens, v, l->cross_norm_kv, normed, d->run->act, error));
    IVL__TRY(
        linear(d, "cross k/v", &at, &l->cross_kv, normed, tokens, IVL__EPILOGUE_BIAS, kv, error));
    for (int32_t i = 0; i < runs; i++) {
        IVL__TRY(norm(d, rows_at(d, chunk->first_row + chunk->starts[i]), rows, h, l->cross_norm_q,
                      ivl__span_at(normed, (uint64_t)(i * rows) * act_row), d->run->act, error));
    }
    IVL__TRY(
        linear(d, "cross q", &at, &l->cross_q, normed, runs * rows, IVL__EPILOGUE_BIAS, q, error));
    IVL__TRY(cross_attention(d, chunk, q, kv, error));
    for (int32_t i = 0; i < runs; i++) {
        IVL__TRY(linear(
            d, "cross proj", &at, &l->cross_o, ivl__span_at(normed, (uint64_t)(i * rows) * act_row),
            rows, IVL__EPILOGUE_RESIDUAL, rows_at(d, chunk->first_row + chunk->starts[i]), error));
    }
    return IVL_OK;
}

ivl_status ivl__decoder_mlp(const ivl__decoder *d, int layer, const ivl__span *spans,
                            const ivl__decoder_chunk *chunk, ivl_error *error)
{
    const ivl__decoder_layer *l = &d->stages->layers[layer];
    const ivl__placed_stage at = placed(d, l->mlp, spans);
    const ivl__span x = rows_at(d, chunk->first_row);
    const ivl__span normed = {d->run->normed, 0}, wide = {d->run->wide, 0};

    IVL__TRY(norm(d, x, chunk->rows, d->stages->config.qllama.hidden, l->norm2, normed, d->run->act,
                  error));
    IVL__TRY(linear(d, "gate/up", &at, &l->gate_up, normed, chunk->rows, IVL__EPILOGUE_BIAS, wide,
                    error));
    IVL__TRY(swiglu(d, chunk->rows, error));
    return linear(d, "down", &at, &l->down, normed, chunk->rows, IVL__EPILOGUE_RESIDUAL, x, error);
}

ivl_status ivl__decoder_final_norm(const ivl__decoder *d, const ivl__decoder_chunk *chunk,
                                   ivl_error *error)
{
    const ivl__span x = rows_at(d, chunk->first_row);

    return norm(d, x, chunk->rows, d->stages->config.qllama.hidden, d->stages->norm, x, IVL_F32,
                error);
}
