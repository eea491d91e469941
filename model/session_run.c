/* session_run.c - a call as passes over the weights, a pass as steps over stages.
 *
 * The stage is the outer loop, images and texts the inner one: each step makes one stage's weights
 * readable, does its work on every row of the pass in pieces that share scratch, and goes on.
 */
#include "model/attention_pool.h"
#include "model/heads.h"
#include "model/steps.h"

#include "runtime/memory.h"

/* A call under way. */
typedef struct run {
    ivl_session *s;
    ivl__request request;
    ivl__pass pass;
    ivl__step *steps; /* [n_steps] of the pass */
    int n_steps;
} run;

/* ---- progress ---------------------------------------------------------------------------- */

static ivl_status report(const run *r, int index, ivl_error *error)
{
    const ivl_session_options *o = &r->s->options;
    char name[IVL__STEP_NAME];

    if (!o->progress) {
        return IVL_OK;
    }
    ivl__step_name(&r->steps[index], name);
    if (o->progress(o->progress_user, name, index, r->n_steps) != 0) {
        return ivl__fail(error, IVL_CANCELLED, "cancelled before %s", name);
    }
    return IVL_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* `rows` rows of a tap, from row `first` of its output on. */
static ivl_status read_rows(ivl_session *s, const ivl__tap *t, size_t first, size_t rows,
                            ivl__span from, ivl_error *error)
{
    return ivl__cl_read(&s->device->cl, s->device->cl.compute, from.mem, (size_t)from.offset,
                        ivl__tap_row(t, first), rows * t->floats * sizeof(float), 0, NULL, NULL,
                        error);
}

/* CLS rows, or the mean of the patch rows. */
static ivl_status read_pooled(run *r, const ivl__tap *t, ivl_error *error)
{
    ivl_session *s = r->s;
    const int width = s->model->config.vit.hidden;
    const int first = t->kind == IVL__TAP_MEAN ? 1 : 0;
    const int rows = t->kind == IVL__TAP_MEAN ? s->vit.sizes.tokens - 1 : 1;
    const ivl__span pool = {s->pool, 0};

    ivl__device_stage(s->device, "pool");
    IVL__TRY(ivl__op_pool(s->device, r->pass.images, s->vit.sizes.tokens, width, first, rows,
                          (ivl__span){s->vit.rows, 0}, pool, width, error));
    return read_rows(s, t, (size_t)r->pass.first_image, (size_t)r->pass.images, pool, error);
}

static ivl__span hidden_at(const ivl_session *s, int32_t row)
{
    return (ivl__span){s->decoder.hidden,
                       (uint64_t)row * (uint64_t)s->model->config.qllama.hidden * sizeof(float)};
}

static ivl_status read_queries(run *r, const ivl__tap *t, ivl_error *error)
{
    return read_rows(r->s, t, (size_t)r->pass.first_image, (size_t)r->pass.images,
                     hidden_at(r->s, r->pass.of[IVL__ROWS_QUERIES].first_row), error);
}

static ivl_status read_text_rows(run *r, const ivl__tap *t, ivl_error *error)
{
    const struct ivl__pass_rows *texts = &r->pass.of[IVL__ROWS_TEXTS];

    return read_rows(r->s, t, (size_t)r->request.texts->offsets[r->pass.first_text],
                     (size_t)texts->rows, hidden_at(r->s, texts->first_row), error);
}

/* What a tap wants once its step has been enqueued; ordered by the compute queue. Heads read their
 * taps themselves, chunk by chunk. */
static ivl_status read_tap(run *r, const ivl__step *step, const ivl__tap *t, ivl_error *error)
{
    ivl_session *s = r->s;
    const int last = s->model->config.vit.layers;
    const size_t first = (size_t)r->pass.first_image, images = (size_t)r->pass.images;

    switch (t->kind) {
    case IVL__TAP_HIDDEN:
        return step->kind == IVL__STEP_TOWER && step->index == t->layer
                   ? read_rows(s, t, first, images, (ivl__span){s->vit.rows, 0}, error)
                   : IVL_OK;
    case IVL__TAP_POOLED:
    case IVL__TAP_MEAN:
        return step->kind == IVL__STEP_TOWER && step->index == last ? read_pooled(r, t, error)
                                                                    : IVL_OK;
    case IVL__TAP_IMAGE_C:
        return step->kind == IVL__STEP_POOL_C
                   ? read_rows(s, t, first, images, (ivl__span){s->embeds_c, 0}, error)
                   : IVL_OK;
    case IVL__TAP_IMAGE_G:
        return step->kind == IVL__STEP_POOL_G
                   ? read_rows(s, t, first, images, (ivl__span){s->embeds_g, 0}, error)
                   : IVL_OK;
    case IVL__TAP_QUERY_LAYER:
        return step->kind == IVL__STEP_MLP && step->index == t->layer && images
                   ? read_queries(r, t, error)
                   : IVL_OK;
    case IVL__TAP_QUERY:
        return step->kind == IVL__STEP_NORM && images ? read_queries(r, t, error) : IVL_OK;
    case IVL__TAP_TEXT_LAYER:
        return step->kind == IVL__STEP_MLP && step->index == t->layer && r->pass.texts
                   ? read_text_rows(r, t, error)
                   : IVL_OK;
    case IVL__TAP_TEXT_ROWS:
    case IVL__TAP_TEXT_LAST:
    case IVL__TAP_TEXT:
    case IVL__TAP_ITM: break;
    }
    return IVL_OK;
}

/* ---- work -------------------------------------------------------------------------------- */

static ivl__span flag_of(const ivl_session *s, int step)
{
    return (ivl__span){s->flags, (uint64_t)step * sizeof(int32_t)};
}

static ivl_status check(ivl_session *s, int step, ivl__span x, uint64_t floats, ivl_error *error)
{
    ivl__device_stage(s->device, "check");
    return ivl__op_check_finite(s->device, floats, x, flag_of(s, step), error);
}

static ivl_status run_tower(ivl_session *s, int stage, int count, const ivl__span *spans,
                            ivl_error *error)
{
    for (int first = 0; first < count; first += s->plan.sub_batch) {
        int images = count - first < s->plan.sub_batch ? count - first : s->plan.sub_batch;

        IVL__TRY(ivl__vit_run_stage(&s->vit, stage, spans, first, images, error));
    }
    return IVL_OK;
}

/* Rows of images [images, tokens, D] to embeddings [images, E], sub-batch by sub-batch. */
static ivl_status run_pool(run *r, const ivl__pool_stage *pool, const ivl__span *spans, ivl__span x,
                           int32_t tokens, cl_mem kv_offsets, cl_mem out, ivl_error *error)
{
    ivl_session *s = r->s;
    const ivl__placed_stage at = {&s->model->clip->list, s->clip_vectors, pool->stage, spans};
    const uint64_t image_bytes = (uint64_t)tokens * (uint64_t)pool->width * sizeof(float);
    ivl__pool_call call = {
        .pool = pool, .tokens = tokens, .one_offsets = s->one_offsets, .kv_offsets = kv_offsets};

    for (int first = 0; first < r->pass.images; first += s->plan.sub_batch) {
        const int left = r->pass.images - first;

        call.images = left < s->plan.sub_batch ? left : s->plan.sub_batch;
        call.x = ivl__span_at(x, (uint64_t)first * image_bytes);
        call.out = (ivl__span){out, (uint64_t)first * (uint64_t)pool->embed * sizeof(float)};
        IVL__TRY(ivl__pool_run(&s->compute, &at, &call, error));
    }
    return IVL_OK;
}

/* e_G = a / |a| + b / |b|, a from the tower's tokens and b from the queries. */
static ivl_status sum_units(run *r, ivl_error *error)
{
    ivl_session *s = r->s;
    const int32_t images = r->pass.images, width = s->model->config.clip_embed_dim;
    const ivl__span c = {s->embeds_c, 0}, g = {s->embeds_g, 0};
    const ivl__add_rows_call sum = {.rows = images,
                                    .width = width,
                                    .x = c,
                                    .x_ld = width,
                                    .x_rows = images,
                                    .y = g,
                                    .y_ld = width};

    ivl__device_stage(s->device, "pool");
    IVL__TRY(ivl__op_l2_normalize(s->device, images, width, c, error));
    IVL__TRY(ivl__op_l2_normalize(s->device, images, width, g, error));
    return ivl__op_add_rows(s->device, &sum, error);
}

static ivl_status run_layer(run *r, const ivl__step *step, const ivl__span *spans, ivl_error *error)
{
    const ivl__decoder *d = &r->s->decoder;

    for (int kind = 0; kind < IVL__ROWS_KINDS; kind++) {
        const struct ivl__pass_rows *of = &r->pass.of[kind];
        const bool skipped = step->index >= ivl__pass_layers(r->s, &r->request, &r->pass,
                                                             (ivl__rows_kind)kind) ||
                             (step->kind == IVL__STEP_CROSS && kind == IVL__ROWS_TEXTS);

        for (int i = 0; !skipped && i < of->n_chunks; i++) {
            const ivl__decoder_chunk *chunk = &r->pass.chunks[of->first_chunk + i];

            IVL__TRY(step->kind == IVL__STEP_ATTENTION
                         ? ivl__decoder_attention(d, step->index, spans, chunk, error)
                     : step->kind == IVL__STEP_CROSS
                         ? ivl__decoder_cross(d, step->index, spans, chunk, error)
                         : ivl__decoder_mlp(d, step->index, spans, chunk, error));
        }
    }
    return IVL_OK;
}

static ivl_status run_norm(run *r, ivl_error *error)
{
    for (int i = 0; i < r->pass.of[IVL__ROWS_TEXTS].first_chunk; i++) {
        IVL__TRY(ivl__decoder_final_norm(&r->s->decoder, &r->pass.chunks[i], error));
    }
    return IVL_OK;
}

static bool is_asked(const run *r, ivl__tap_kind kind)
{
    for (int i = 0; i < r->request.n_taps; i++) {
        if (r->request.taps[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static ivl_status read_text_chunk(run *r, const ivl__decoder_chunk *chunk, int first,
                                  const ivl__text_rows *rows, ivl_error *error)
{
    const size_t text = (size_t)(r->pass.first_text + first);
    const size_t token = (size_t)r->request.texts->offsets[text];
    const size_t n = (size_t)chunk->sequences;

    if (is_asked(r, IVL__TAP_TEXT_ROWS)) {
        IVL__TRY(ivl__decoder_final_norm(&r->s->decoder, chunk, error));
    }
    for (int i = 0; i < r->request.n_taps; i++) {
        const ivl__tap *t = &r->request.taps[i];

        if (t->kind == IVL__TAP_TEXT) {
            IVL__TRY(read_rows(r->s, t, text, n, rows->embeds, error));
        } else if (t->kind == IVL__TAP_TEXT_LAST) {
            IVL__TRY(read_rows(r->s, t, text, n, rows->last, error));
        } else if (t->kind == IVL__TAP_TEXT_ROWS) {
            IVL__TRY(read_rows(r->s, t, token, (size_t)chunk->rows,
                               hidden_at(r->s, chunk->first_row), error));
        }
    }
    return IVL_OK;
}

static ivl_status run_text_head(run *r, int index, const ivl__span *spans, ivl_error *error)
{
    const struct ivl__pass_rows *of = &r->pass.of[IVL__ROWS_TEXTS];
    const uint64_t width = (uint64_t)r->s->model->config.clip_embed_dim;

    for (int i = of->first_chunk; i < of->first_chunk + of->n_chunks; i++) {
        const ivl__decoder_chunk *chunk = &r->pass.chunks[i];
        ivl__text_rows rows;

        IVL__TRY(ivl__text_head(&r->s->decoder, spans, chunk, &rows, error));
        IVL__TRY(check(r->s, index, rows.embeds, (uint64_t)chunk->sequences * width, error));
        IVL__TRY(read_text_chunk(r, chunk, r->pass.first_sequence[i], &rows, error));
    }
    return IVL_OK;
}

static ivl_status run_itm_head(run *r, int index, const ivl__span *spans, ivl_error *error)
{
    const struct ivl__pass_rows *of = &r->pass.of[IVL__ROWS_PAIRS];

    for (int i = of->first_chunk; i < of->first_chunk + of->n_chunks; i++) {
        const ivl__decoder_chunk *chunk = &r->pass.chunks[i];
        const size_t first = (size_t)(r->pass.first_image + r->pass.first_sequence[i]);
        ivl__span logits;

        IVL__TRY(ivl__itm_head(&r->s->decoder, spans, chunk, &logits, error));
        IVL__TRY(check(r->s, index, logits, 2 * (uint64_t)chunk->sequences, error));
        for (int t = 0; t < r->request.n_taps; t++) {
            if (r->request.taps[t].kind == IVL__TAP_ITM) {
                IVL__TRY(read_rows(r->s, &r->request.taps[t], first, (size_t)chunk->sequences,
                                   logits, error));
            }
        }
    }
    return IVL_OK;
}

static ivl_status check_hidden(run *r, int index, ivl_error *error)
{
    return check(r->s, index, hidden_at(r->s, 0),
                 (uint64_t)r->pass.rows * (uint64_t)r->s->model->config.qllama.hidden, error);
}

static ivl_status check_embeds(run *r, int index, cl_mem embeds, ivl_error *error)
{
    return check(r->s, index, (ivl__span){embeds, 0},
                 (uint64_t)r->pass.images * (uint64_t)r->s->model->config.clip_embed_dim, error);
}

static ivl_status check_tower(ivl_session *s, int index, int images, ivl_error *error)
{
    return check(s, index, (ivl__span){s->vit.rows, 0},
                 (uint64_t)images * s->vit.sizes.rows / sizeof(float), error);
}

/* What the step computes, and the flag that tells whether it is finite. */
static ivl_status work(run *r, int index, const ivl__span *spans, ivl_error *error)
{
    ivl_session *s = r->s;
    const ivl__step *step = &r->steps[index];
    const ivl__clip_stages *clip = s->model->clip;

    switch (step->kind) {
    case IVL__STEP_TOWER:
        IVL__TRY(run_tower(s, step->index, r->pass.images, spans, error));
        return check_tower(s, index, r->pass.images, error);
    case IVL__STEP_POOL_C:
        IVL__TRY(run_pool(r, &clip->pool_c, spans, (ivl__span){s->vit.rows, 0}, s->vit.sizes.tokens,
                          s->image_offsets, s->embeds_c, error));
        return check_embeds(r, index, s->embeds_c, error);
    case IVL__STEP_EMBED:
        IVL__TRY(ivl__pass_embed(s, &r->request, &r->pass, error));
        return check_hidden(r, index, error);
    case IVL__STEP_ATTENTION:
    case IVL__STEP_CROSS: return run_layer(r, step, spans, error);
    case IVL__STEP_MLP:
        IVL__TRY(run_layer(r, step, spans, error));
        return check_hidden(r, index, error);
    case IVL__STEP_NORM: return run_norm(r, error);
    case IVL__STEP_POOL_G:
        IVL__TRY(run_pool(r, &clip->pool_g, spans, hidden_at(s, 0), s->model->config.query_tokens,
                          s->query_offsets, s->embeds_g, error));
        IVL__TRY(sum_units(r, error));
        return check_embeds(r, index, s->embeds_g, error);
    case IVL__STEP_TEXT_HEAD: return run_text_head(r, index, spans, error);
    case IVL__STEP_ITM_HEAD: return run_itm_head(r, index, spans, error);
    }
    return IVL_OK;
}

/* `next` is the session's stage that follows, or -1. */
static ivl_status run_step(run *r, int index, int next, ivl_error *error)
{
    const ivl__step *step = &r->steps[index];
    ivl__span spans[IVL__STAGE_TILES];

    if (step->stage >= 0) {
        IVL__TRY(ivl__residency_acquire(r->s->residency, step->stage, next, spans, error));
    }
    IVL__TRY(work(r, index, spans, error));
    if (step->stage >= 0) {
        IVL__TRY(ivl__residency_release(r->s->residency, step->stage, error));
    }
    for (int i = 0; i < r->request.n_taps; i++) {
        IVL__TRY(read_tap(r, step, &r->request.taps[i], error));
    }
    return IVL_OK;
}

ivl_status ivl__session_run_stage(ivl_session *s, int stage, int next, int count, ivl_error *error)
{
    ivl__span spans[IVL__STAGE_TILES];

    IVL__TRY(ivl__residency_acquire(s->residency, stage, next, spans, error));
    IVL__TRY(run_tower(s, stage, count, spans, error));
    IVL__TRY(ivl__residency_release(s->residency, stage, error));
    return check_tower(s, stage, count, error);
}

/* ---- a pass ------------------------------------------------------------------------------ */

/* The stage that the next pass begins with; -1: there is none. */
static int first_of_next_pass(const run *r)
{
    const ivl__request *q = &r->request;
    int images = r->pass.first_image + r->pass.images;
    int texts = r->pass.first_text + r->pass.texts;

    if (q->images && images < q->images->count) {
        return 0;
    }
    return q->text_layers && texts < q->texts->count
               ? r->s->clip_at[r->s->model->clip->layers[0].attention]
               : -1;
}

static int next_stage(const run *r, int index)
{
    while (++index < r->n_steps) {
        if (r->steps[index].stage >= 0) {
            return r->steps[index].stage;
        }
    }
    return first_of_next_pass(r);
}

/* The host stays one step ahead of the device, so that progress and cancellation mean something
 * and the command queue stays short. */
static ivl_status run_steps(run *r, ivl_error *error)
{
    ivl__cl *cl = &r->s->device->cl;
    cl_event before = NULL;
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < r->n_steps; i++) {
        cl_event after = NULL;

        status = report(r, i, error);
        if (status == IVL_OK) {
            status = run_step(r, i, next_stage(r, i), error);
        }
        if (status == IVL_OK) {
            status = ivl__cl_marker(cl, cl->compute, &after, error);
        }
        if (status == IVL_OK) {
            status = ivl__cl_flush(cl, cl->compute, error);
        }
        if (status == IVL_OK && before) {
            status = ivl__cl_wait(cl, before, error);
        }
        ivl__cl_event_free(cl, before);
        before = after;
    }
    ivl__cl_event_free(cl, before);
    return status;
}

static ivl_status fail_not_finite(const run *r, int index, ivl_error *error)
{
    const ivl__step *step = &r->steps[index];
    char name[IVL__STEP_NAME];

    if (step->kind == IVL__STEP_TOWER && step->index == 0) {
        return ivl__fail(error, IVL_NOT_FINITE,
                         "the embeddings hold numbers that are not finite; are the pixels or the "
                         "checkpoint damaged?");
    }
    ivl__step_name(step, name);
    return ivl__fail(error, IVL_NOT_FINITE,
                     "the output of %s (of %d) is not finite; the checkpoint may be damaged (try "
                     "`internvl selftest`)",
                     name,
                     step->kind == IVL__STEP_TOWER ? r->s->model->config.vit.layers
                                                   : r->s->model->config.qllama.layers);
}

static ivl_status check_flags(run *r, ivl_error *error)
{
    ivl_session *s = r->s;
    int32_t *flags = ivl__calloc((size_t)r->n_steps, sizeof *flags);
    ivl_status status;

    if (!flags) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for flags");
    }
    status = ivl__cl_read(&s->device->cl, s->device->cl.compute, s->flags, 0, flags,
                          (size_t)r->n_steps * sizeof *flags, 0, NULL, NULL, error);
    for (int i = 0; status == IVL_OK && i < r->n_steps; i++) {
        status = flags[i] ? fail_not_finite(r, i, error) : IVL_OK;
    }
    ivl__free(flags);
    return status;
}

static ivl_status upload_pixels(run *r, ivl_error *error)
{
    ivl_session *s = r->s;
    const ivl_images *images = r->request.images;
    const unsigned char *all = images->rgb ? images->rgb
                                           : (const unsigned char *)(const void *)images->pixels;

    return ivl__cl_write(&s->device->cl, s->device->cl.compute, s->vit.pixels, 0,
                         all + (size_t)r->pass.first_image * s->vit.sizes.pixels,
                         (size_t)r->pass.images * s->vit.sizes.pixels, 0, NULL, NULL, error);
}

static ivl_status run_pass(run *r, ivl_error *error)
{
    const cl_int zero = 0;
    ivl__cl *cl = &r->s->device->cl;

    if (r->pass.images) {
        IVL__TRY(upload_pixels(r, error));
    }
    r->n_steps = ivl__steps_list(r->s, &r->request, &r->pass, r->steps);
    IVL__TRY(ivl__cl_fill(cl, cl->compute, r->s->flags, &zero, sizeof zero, 0,
                          (size_t)r->n_steps * sizeof zero, error));
    IVL__TRY(run_steps(r, error));
    IVL__TRY(ivl__cl_finish(cl, cl->compute, error));
    IVL__TRY(ivl__profile_collect(r->s->device, error));
    /* A damaged file explains wrong numbers better than they do themselves. */
    IVL__TRY(ivl__model_check(r->s->model, error));
    return check_flags(r, error);
}

/* ---- a call ------------------------------------------------------------------------------ */

static ivl_status run_passes(run *r, ivl_error *error)
{
    ivl_session *s = r->s;
    const ivl__request *q = &r->request;
    const int images = q->images ? q->images->count : 0;
    const int texts = q->text_layers ? q->texts->count : 0;
    int done_images = 0, done_texts = 0;
    ivl_status status = IVL_OK;

    while (status == IVL_OK && (done_images < images || done_texts < texts)) {
        status = ivl__pass_open(s, q, done_images, done_texts, &r->pass, error);
        if (status == IVL_OK) {
            status = run_pass(r, error);
        }
        if (status == IVL_OK) {
            done_images += r->pass.images;
            done_texts += r->pass.texts;
            s->images += (uint64_t)r->pass.images;
            s->texts += (uint64_t)r->pass.texts;
        } else {
            /* Commands may still read what the pass owns. */
            (void)ivl__cl_finish(&s->device->cl, s->device->cl.compute, NULL);
        }
        ivl__pass_close(s, &r->pass);
    }
    return status;
}

static ivl_status run_call(run *r, const ivl_inputs *inputs, ivl_output *outputs, size_t n_outputs,
                           ivl_error *error)
{
    ivl_session *s = r->s;
    ivl_status status;

    IVL__TRY(ivl__request_make(s, inputs, outputs, n_outputs, &r->request, error));
    IVL__TRY(ivl__session_fit(s, r->request.images, r->request.longest, error));
    r->steps = ivl__calloc((size_t)ivl__session_max_steps(s), sizeof *r->steps);
    if (!r->steps) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the steps of a run");
    }
    status = run_passes(r, error);
    ivl__residency_settle(s->residency);
    ivl__free(r->steps);
    return status;
}

ivl_status ivl_run(ivl_session *s, const ivl_inputs *inputs, ivl_output *outputs, size_t n_outputs,
                   ivl_error *error)
{
    run *r;
    ivl_status status;

    if (!s || !n_outputs || !outputs || n_outputs > IVL__MAX_TAPS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "ivl_run: needs a session and 1 to %d outputs", IVL__MAX_TAPS);
    }
    r = ivl__calloc(1, sizeof *r);
    if (!r) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a run");
    }
    r->s = s;
    status = run_call(r, inputs, outputs, n_outputs, error);
    ivl__free(r);
    return status;
}
