/* attention_pool.c - the pooling block; see attention_pool.h. */
#include "model/attention_pool.h"

#include <math.h>

/* Of the LayerNorms; published as the default of torch.nn.LayerNorm. */
#define POOL_EPS 1e-5f

void ivl__pool_sizes_for(int32_t width, int32_t tokens, ivl_dtype act, uint64_t *normed,
                         uint64_t *wide)
{
    *normed = (uint64_t)tokens * (uint64_t)width * ivl__dtype_bytes(act);
    *wide = (2 * (uint64_t)tokens + 2) * (uint64_t)width * sizeof(float);
}

static ivl_status norm(const ivl__compute *run, const ivl__placed_stage *at,
                       const ivl__pool_stage *p, ivl__span x, int32_t rows, uint64_t weight,
                       uint64_t bias, ivl_error *error)
{
    const ivl__norm_call call = {
        .kind = IVL__NORM_LAYER,
        .rows = rows,
        .width = p->width,
        .x = x,
        .x_ld = p->width,
        .weight = ivl__vector_at(at->vectors, weight),
        .bias = ivl__vector_at(at->vectors, bias),
        .eps = POOL_EPS,
        .y = {run->normed, 0},
        .y_type = run->act,
        .y_ld = p->width,
    };

    ivl__device_stage(run->device, "norm");
    return ivl__op_norm(run->device, &call, error);
}

static ivl_status linear(const ivl__compute *run, const ivl__placed_stage *at,
                         const ivl__stage_matrix *matrix, int32_t rows, uint64_t bias, ivl__span y,
                         ivl_error *error)
{
    const ivl__linear call = {
        .name = "pool q/k/v",
        .matrix = matrix,
        .x = {run->normed, 0},
        .rows = rows,
        .epilogue = IVL__EPILOGUE_BIAS,
        .bias = bias,
        .scale = IVL__ABSENT,
        .y = y,
        .y_type = IVL_F32,
    };

    return ivl__compute_linear(run, at, &call, error);
}

/* normed [images, D] act: one query an image. */
static ivl_status attention(const ivl__compute *run, const ivl__pool_call *call, ivl__span q,
                            ivl__span k, ivl__span v, ivl_error *error)
{
    const ivl__pool_stage *p = call->pool;
    const ivl__attention_call attention = {
        .sequences = call->images,
        .max_queries = 1,
        .max_keys = call->tokens,
        .q_offsets = call->one_offsets,
        .kv_offsets = call->kv_offsets,
        .heads = p->heads,
        .kv_heads = p->heads,
        .head_dim = p->width / p->heads,
        .scale = 1.0f / sqrtf((float)(p->width / p->heads)),
        .fast = run->gemm->precision == IVL_FAST,
        .mask = IVL__MASK_NONE,
        .q = q,
        .k = k,
        .v = v,
        .q_ld = p->width,
        .k_ld = p->width,
        .v_ld = p->width,
        .out = {run->normed, 0},
        .out_type = run->act,
        .out_ld = p->width,
    };

    ivl__device_stage(run->device, "attention");
    return ivl__op_attention(run->device, &attention, run->attention, error);
}

ivl_status ivl__pool_run(const ivl__compute *run, const ivl__placed_stage *at,
                         const ivl__pool_call *call, ivl_error *error)
{
    const ivl__pool_stage *p = call->pool;
    const int32_t rows = call->images * call->tokens;
    const uint64_t row = (uint64_t)p->width * sizeof(float);
    const ivl__span k = {run->wide, 0};
    const ivl__span v = ivl__span_at(k, (uint64_t)rows * row);
    const ivl__span mean = ivl__span_at(v, (uint64_t)rows * row);
    const ivl__span q = ivl__span_at(mean, (uint64_t)call->images * row);

    ivl__device_stage(run->device, "pool");
    IVL__TRY(ivl__op_pool(run->device, call->images, call->tokens, p->width, 0, call->tokens,
                          call->x, mean, p->width, error));
    IVL__TRY(norm(run, at, p, mean, call->images, p->norm_q_w, p->norm_q_b, error));
    IVL__TRY(linear(run, at, &p->q, call->images, p->q_b, q, error));
    IVL__TRY(norm(run, at, p, call->x, rows, p->norm_k_w, p->norm_k_b, error));
    IVL__TRY(linear(run, at, &p->k, rows, p->k_b, k, error));
    IVL__TRY(norm(run, at, p, call->x, rows, p->norm_v_w, p->norm_v_b, error));
    IVL__TRY(linear(run, at, &p->v, rows, p->v_b, v, error));
    IVL__TRY(attention(run, call, q, k, v, error));
    return linear(run, at, &p->proj, call->images, p->proj_b, call->out, error);
}
