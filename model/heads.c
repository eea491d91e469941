/* heads.c - text projection and image-text matching; see heads.h. */
#include "model/heads.h"

static ivl__placed_stage placed(const ivl__decoder *d, int stage, const ivl__span *spans)
{
    return (ivl__placed_stage){&d->stages->list, d->vectors, stage, spans};
}

/* What products read: fp32 rows as they are, or rounded into normed. */
static ivl_status as_input(const ivl__compute *run, ivl__span rows, uint64_t count, ivl__span *x,
                           ivl_error *error)
{
    if (run->act == IVL_F32) {
        *x = rows;
        return IVL_OK;
    }
    *x = (ivl__span){run->normed, 0};
    return ivl__op_convert(run->device, count, rows, IVL_F32, *x, run->act, error);
}

static ivl__span hidden_at(const ivl__decoder *d, int32_t row)
{
    return (ivl__span){d->hidden,
                       (uint64_t)row * (uint64_t)d->stages->config.qllama.hidden * sizeof(float)};
}

static ivl_status last_rows(const ivl__decoder *d, const ivl__decoder_chunk *chunk, ivl__span out,
                            ivl_error *error)
{
    const int32_t h = d->stages->config.qllama.hidden;
    const ivl__weight rows = ivl__weight_of(hidden_at(d, chunk->first_row), IVL_F32, chunk->rows,
                                            h);
    const ivl__span index = {chunk->offsets, (uint64_t)(chunk->sequences + 1) * sizeof(int32_t)};
    const ivl__norm_call norm = {
        .kind = IVL__NORM_RMS,
        .rows = chunk->sequences,
        .width = h,
        .x = out,
        .x_ld = h,
        .weight = ivl__vector_at(d->vectors, d->stages->norm),
        .eps = (float)d->stages->config.qllama.eps,
        .y = out,
        .y_type = IVL_F32,
        .y_ld = h,
    };

    ivl__device_stage(d->run->device, "norm");
    IVL__TRY(ivl__op_gather_rows(d->run->device, chunk->sequences, index, &rows, out, h, error));
    return ivl__op_norm(d->run->device, &norm, error);
}

/* e = t @ P: the projection is stored in by out. */
ivl_status ivl__text_head(const ivl__decoder *d, const ivl__span *spans,
                          const ivl__decoder_chunk *chunk, ivl__text_rows *rows, ivl_error *error)
{
    const ivl__placed_stage at = placed(d, d->stages->text_head, spans);
    const uint64_t floats = (uint64_t)chunk->sequences * (uint64_t)d->stages->config.qllama.hidden;
    ivl__weight weight;
    ivl__gemm_call call = {
        .layout = IVL__GEMM_NN,
        .m = chunk->sequences,
        .x_type = d->run->act,
        .w = &weight,
        .epilogue = IVL__EPILOGUE_BIAS,
        .y_type = IVL_F32,
        .y_ld = d->stages->text_projection.cols,
    };

    rows->last = (ivl__span){d->run->wide, 0};
    rows->embeds = ivl__span_at(rows->last, floats * sizeof(float));
    IVL__TRY(last_rows(d, chunk, rows->last, error));
    IVL__TRY(as_input(d->run, rows->last, floats, &call.x, error));
    call.y = rows->embeds;
    ivl__device_stage(d->run->device, "text head");
    ivl__stage_weight(at.list, at.stage, &d->stages->text_projection, spans, &weight);
    return ivl__gemm_run(d->run->gemm, &call, error);
}

ivl_status ivl__itm_head(const ivl__decoder *d, const ivl__span *spans,
                         const ivl__decoder_chunk *chunk, ivl__span *logits, ivl_error *error)
{
    const ivl__placed_stage at = placed(d, d->stages->itm_head, spans);
    const int32_t h = d->stages->config.qllama.hidden;
    const uint64_t row = (uint64_t)h * sizeof(float);
    const ivl__span mean = {d->run->wide, 0};
    ivl__linear call = {
        .name = "itm head",
        .matrix = &d->stages->itm,
        .rows = chunk->sequences,
        .epilogue = IVL__EPILOGUE_BIAS,
        .bias = d->stages->itm_b,
        .scale = IVL__ABSENT,
        .y_type = IVL_F32,
    };

    /* The mean of the logits is the logits of the mean. */
    ivl__device_stage(d->run->device, "pool");
    for (int32_t i = 0; i < chunk->sequences; i++) {
        IVL__TRY(ivl__op_pool(d->run->device, 1, chunk->queries, h, 0, chunk->queries,
                              hidden_at(d, chunk->first_row + chunk->starts[i]),
                              ivl__span_at(mean, (uint64_t)i * row), h, error));
    }
    IVL__TRY(as_input(d->run, mean, (uint64_t)chunk->sequences * (uint64_t)h, &call.x, error));
    *logits = call.y = ivl__span_at(mean, (uint64_t)chunk->sequences * row);
    return ivl__compute_linear(d->run, &at, &call, error);
}
