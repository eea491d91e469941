/* session.c - opening a model on a device, running it, telling what was done; see internvl.h. */
#include "model/session.h"

#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ivl_session_options_init(ivl_session_options *options)
{
    *options = (ivl_session_options){.size = sizeof *options};
}

#define N_STRINGS (int)(sizeof((ivl_session *)0)->strings / sizeof(char *))

/* ---- open -------------------------------------------------------------------------------- */

static void pass_span(void *user, const ivl__profile_span *span)
{
    const ivl_session *s = user;
    const ivl_trace_span out = {
        .queue = span->queue == IVL__QUEUE_UPLOAD ? "upload" : "compute",
        .stage = span->stage,
        .name = span->name,
        .start = span->start,
        .end = span->end,
    };

    s->options.trace(s->options.trace_user, &out);
}

/* Strings the options point to belong to the caller and may go after the call. */
static ivl_status copy_options(ivl_session *s, const ivl_session_options *options, ivl_error *error)
{
    const char **texts[N_STRINGS] = {&s->options.gemm,      &s->options.tuning_file,
                                     &s->options.cache_dir, &s->options.kernel_dir,
                                     &s->options.attention, &s->options.modes};

    /* A caller that was built before an option existed has a smaller struct. */
    ivl_session_options_init(&s->options);
    if (options->size < sizeof options->size || options->size > sizeof *options) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "session options of %zu bytes: fill them with ivl_session_options_init",
                         options->size);
    }
    memcpy(&s->options, options, options->size);
    s->options.size = sizeof s->options;
    for (int i = 0; i < N_STRINGS; i++) {
        if (*texts[i]) {
            s->strings[i] = ivl__strdup(*texts[i]);
            if (!s->strings[i]) {
                return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a session");
            }
            *texts[i] = s->strings[i];
        }
    }
    if (s->options.batch < 0 || s->options.width < 0 || s->options.height < 0 ||
        s->options.text_tokens < 0 || s->options.text_tokens > IVL__MAX_TEXT_TOKENS ||
        s->options.device_memory_share > 1.0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "session options: batch and picture size must not be negative, texts have "
                         "at most %d tokens, and a share of the memory is at most 1",
                         IVL__MAX_TEXT_TOKENS);
    }
    return IVL_OK;
}

static ivl_status make_buffer(ivl_session *s, uint64_t bytes, const char *what, cl_mem *out,
                              ivl_error *error)
{
    IVL__TRY(ivl__cl_buffer(&s->device->cl, CL_MEM_READ_WRITE, (size_t)bytes, what, out, error));
    /* Many drivers give memory at first use: better to learn here that there is none. */
    return ivl__cl_buffer_touch(&s->device->cl, *out, (size_t)bytes, what, error);
}

static void free_buffer(ivl_session *s, cl_mem *buffer)
{
    ivl__cl_buffer_free(&s->device->cl, *buffer);
    *buffer = NULL;
}

/* Everything whose size depends on the pictures and texts. */
static void free_activations(ivl_session *s)
{
    cl_mem *const buffers[] = {&s->image_offsets, &s->query_offsets,  &s->one_offsets,
                               &s->vit.pixels,    &s->vit.rows,       &s->compute.normed,
                               &s->compute.wide,  &s->pool,           &s->position_table,
                               &s->gemm.scratch,  &s->decoder.hidden, &s->decoder.positions,
                               &s->decoder.rope,  &s->embeds_c,       &s->embeds_g};

    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        free_buffer(s, buffers[i]);
    }
    s->gemm.scratch_bytes = 0;
    s->ready = false;
}

/* int32: 0, step, 2 step, ... for a sub-batch. */
static ivl_status upload_offsets(ivl_session *s, int32_t step, cl_mem *buffer, ivl_error *error)
{
    size_t n = (size_t)s->plan.sub_batch + 1;
    int32_t *offsets = ivl__calloc(n, sizeof *offsets);
    ivl_status status;

    if (!offsets) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for row offsets");
    }
    for (size_t i = 0; i < n; i++) {
        offsets[i] = (int32_t)i * step;
    }
    status = make_buffer(s, n * sizeof *offsets, "row offsets", buffer, error);
    if (status == IVL_OK) {
        status = ivl__cl_write(&s->device->cl, s->device->cl.compute, *buffer, 0, offsets,
                               n * sizeof *offsets, 0, NULL, NULL, error);
    }
    ivl__free(offsets);
    return status;
}

/* The position table for the current grid: the model's own, or resized once. */
static ivl_status place_position(ivl_session *s, ivl_error *error)
{
    const ivl__vit_stages *stages = s->model->stages;
    const ivl__vit_sizes *sizes = &s->vit.sizes;

    s->vit.position = (ivl__span){s->vit_vectors, stages->position};
    if (sizes->gh == stages->grid && sizes->gw == stages->grid) {
        return IVL_OK;
    }
    IVL__TRY(make_buffer(s, sizes->rows, "position table", &s->position_table, error));
    IVL__TRY(ivl__op_position_resize(s->device, stages->grid, stages->grid, sizes->gh, sizes->gw,
                                     stages->config.hidden, s->vit.position,
                                     (ivl__span){s->position_table, 0}, error));
    s->vit.position = (ivl__span){s->position_table, 0};
    return IVL_OK;
}

/* Everything that pictures need. */
static ivl_status make_image_buffers(ivl_session *s, ivl_error *error)
{
    const ivl__vit_sizes *sizes = &s->vit.sizes;
    uint64_t batch = (uint64_t)s->plan.batch;

    IVL__TRY(upload_offsets(s, sizes->tokens, &s->image_offsets, error));
    IVL__TRY(make_buffer(s, batch * sizes->pixels, "pictures", &s->vit.pixels, error));
    IVL__TRY(make_buffer(s, batch * sizes->rows, "residual rows", &s->vit.rows, error));
    IVL__TRY(make_buffer(s, batch * (uint64_t)s->model->config.vit.hidden * sizeof(float),
                         "pooled rows", &s->pool, error));
    if (s->modes & (IVL__MODE_C | IVL__MODE_G)) {
        uint64_t bytes = batch * (uint64_t)s->model->config.clip_embed_dim * sizeof(float);

        IVL__TRY(upload_offsets(s, 1, &s->one_offsets, error));
        IVL__TRY(make_buffer(s, bytes, "embeddings", &s->embeds_c, error));
        IVL__TRY(make_buffer(s, bytes, "embeddings", &s->embeds_g, error));
    }
    s->vit.offsets = s->image_offsets;
    return place_position(s, error);
}

static ivl_status upload_rope(ivl_session *s, ivl_error *error)
{
    const ivl__llama_config *c = &s->model->config.qllama;
    int32_t head_dim = c->hidden / c->heads;
    size_t bytes = (size_t)s->decoder.max_positions * (size_t)head_dim * sizeof(float);
    float *table = ivl__malloc(bytes);
    ivl_status status;

    if (!table) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for rotary positions");
    }
    ivl__rope_table(s->decoder.max_positions, head_dim, c->rope_theta, table);
    status = make_buffer(s, bytes, "rotary positions", &s->decoder.rope, error);
    if (status == IVL_OK) {
        status = ivl__cl_write(&s->device->cl, s->device->cl.compute, s->decoder.rope, 0, table,
                               bytes, 0, NULL, NULL, error);
    }
    ivl__free(table);
    return status;
}

/* Everything that queries and texts need. */
static ivl_status make_decoder_buffers(ivl_session *s, ivl_error *error)
{
    uint64_t rows = (uint64_t)s->plan.batch * (uint64_t)s->sizes.unit_rows;
    uint64_t row_bytes = (uint64_t)s->model->config.qllama.hidden * sizeof(float);

    IVL__TRY(make_buffer(s, rows * row_bytes, "rows of tokens", &s->decoder.hidden, error));
    IVL__TRY(make_buffer(s, rows * sizeof(int32_t), "positions", &s->decoder.positions, error));
    if (s->modes & IVL__MODE_G) {
        IVL__TRY(upload_offsets(s, s->model->config.query_tokens, &s->query_offsets, error));
    }
    s->decoder.image_rows = s->vit.rows;
    s->decoder.image_tokens = s->vit.sizes.tokens;
    s->decoder.image_offsets = s->image_offsets;
    s->decoder.query_offsets = s->query_offsets;
    return upload_rope(s, error);
}

static ivl_status make_activations(ivl_session *s, ivl_error *error)
{
    const ivl__session_sizes *sizes = &s->sizes;
    uint64_t sub = (uint64_t)s->plan.sub_batch;

    s->compute.normed_bytes = sub * sizes->unit_normed + sizes->text_normed;
    s->compute.wide_bytes = sub * sizes->unit_wide + sizes->text_wide;
    IVL__TRY(make_buffer(s, s->compute.normed_bytes, "normed rows", &s->compute.normed, error));
    IVL__TRY(make_buffer(s, s->compute.wide_bytes, "qkv and mlp rows", &s->compute.wide, error));
    if (ivl__session_has_images(s)) {
        IVL__TRY(make_image_buffers(s, error));
    }
    if (sizes->unit_rows) {
        IVL__TRY(make_decoder_buffers(s, error));
    }
    IVL__TRY(ivl__gemm_reserve(&s->gemm, (size_t)ivl__session_gemm_scratch(s, s->plan.sub_batch),
                               error));
    s->ready = true;
    return IVL_OK;
}

static ivl_status upload_list(ivl_session *s, const ivl__stage_list *list, cl_mem *buffer,
                              ivl_error *error)
{
    IVL__TRY(ivl__cl_buffer(&s->device->cl, CL_MEM_READ_ONLY, (size_t)list->vector_bytes, "vectors",
                            buffer, error));
    return ivl__cl_write(&s->device->cl, s->device->cl.compute, *buffer, 0, list->vectors,
                         (size_t)list->vector_bytes, 0, NULL, NULL, error);
}

static ivl_status upload_vectors(ivl_session *s, ivl_error *error)
{
    IVL__TRY(make_buffer(s, (uint64_t)ivl__session_max_steps(s) * sizeof(int32_t), "flags",
                         &s->flags, error));
    if (ivl__session_has_images(s)) {
        IVL__TRY(upload_list(s, &s->model->stages->list, &s->vit_vectors, error));
        s->vit.vectors = s->vit_vectors;
    }
    if (s->modes & ~(unsigned)IVL__MODE_VIT) {
        IVL__TRY(upload_list(s, &s->model->clip->list, &s->clip_vectors, error));
        s->decoder.vectors = s->clip_vectors;
    }
    return IVL_OK;
}

static ivl_status place_weights(ivl_session *s, ivl_error *error)
{
    const ivl_model *m = s->model;

    return ivl__residency_open(s->device, &s->plan, s->stages, s->n_stages, m->table->maps,
                               m->table->n_files, &s->residency, error);
}

/* What is given back before other places are taken, and what it had counted. */
static void remove_weights(ivl_session *s)
{
    ivl__residency_counts counts = {0};

    if (s->residency) {
        ivl__residency_get_counts(s->residency, &counts);
    }
    s->earlier.bytes_streamed += counts.bytes_streamed;
    s->earlier.weight_bytes_read += counts.weight_bytes_read;
    s->earlier.passes += counts.passes;
    ivl__residency_close(s->residency);
    s->residency = NULL;
}

/* ---- less memory than the driver told ---------------------------------------------------------
 */

/* A share of what did not fit that is tried next. */
#define NEXT_BUDGET 0.75

static ivl_status place_once(ivl_session *s, ivl_error *error)
{
    if (!s->residency || !ivl__residency_serves(s->residency, &s->plan)) {
        remove_weights(s);
        IVL__TRY(place_weights(s, error));
    }
    return make_activations(s, error);
}

/* Another plan, below what the device did not give; false where there is none. */
static bool plan_smaller(ivl_session *s, const ivl_error *why)
{
    const uint64_t before = s->plan.peak_bytes;
    ivl_error detail = {0};

    free_activations(s);
    s->most_memory = (uint64_t)(NEXT_BUDGET * (double)before);
    if (ivl__session_plan(s, s->vit.width, s->vit.height, s->vit.normalized_pixels, &detail) !=
        IVL_OK) {
        return false;
    }
    ivl__log(IVL_LOG_WARNING, "%s; planning for %.0f instead of %.0f MiB", why->message,
             (double)s->plan.peak_bytes / 0x1p20, (double)before / 0x1p20);
    return true;
}

/* Some drivers share memory with the host and still refuse to pin the pages of a file: where nobody
 * asked for views, a plan without them. */
static bool plan_copies(ivl_session *s, ivl_status status, const ivl_error *why)
{
    ivl_error detail = {0};

    if (status == IVL_OUT_OF_MEMORY || s->residency || s->plan.residency != IVL__MAPPED ||
        s->options.residency != IVL_RESIDENCY_AUTO) {
        return false;
    }
    s->copies = true;
    if (ivl__session_plan(s, s->vit.width, s->vit.height, s->vit.normalized_pixels, &detail) !=
        IVL_OK) {
        return false;
    }
    ivl__log(IVL_LOG_WARNING, "weights are copied, the driver does not read them in place: %s",
             why->message);
    return true;
}

static bool plan_again(ivl_session *s, ivl_status status, const ivl_error *why)
{
    return plan_copies(s, status, why) ||
           (status == IVL_OUT_OF_DEVICE_MEMORY && plan_smaller(s, why));
}

ivl_status ivl__session_place(ivl_session *s, ivl_error *error)
{
    ivl_error detail = {0};
    ivl_status status;

    do {
        status = place_once(s, &detail);
    } while (status != IVL_OK && plan_again(s, status, &detail));
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}

static ivl_status check_attention(const ivl_session *s, ivl_error *error)
{
    const ivl__model_config *c = &s->model->config;
    const char *variant = s->options.attention;

    if (ivl__session_has_images(s)) {
        IVL__TRY(ivl__op_attention_check(s->device, variant, c->vit.hidden / c->vit.heads, error));
    }
    if (s->sizes.unit_rows) {
        IVL__TRY(
            ivl__op_attention_check(s->device, variant, c->qllama.hidden / c->qllama.heads, error));
    }
    if (s->modes & (IVL__MODE_C | IVL__MODE_G)) {
        IVL__TRY(
            ivl__op_attention_check(s->device, variant, c->vit.hidden / c->attn_pool_heads, error));
    }
    return s->modes & IVL__MODE_G
               ? ivl__op_attention_check(s->device, variant, c->qllama.hidden / c->attn_pool_heads,
                                         error)
               : IVL_OK;
}

static ivl_status open_session(ivl_session *s, bool measure, ivl_error *error)
{
    int side = s->model->stages->grid * s->model->config.vit.patch;
    int width = s->options.width ? s->options.width : side;
    int height = s->options.height ? s->options.height : side;

    IVL__TRY(ivl__session_choose_stages(s, error));
    IVL__TRY(ivl__session_open_device(s, measure, error));
    if (s->options.trace) {
        ivl__profile_listen(s->device, pass_span, s);
    }
    s->compute = (ivl__compute){.device = s->device,
                                .gemm = &s->gemm,
                                .act = ivl__gemm_input_type(&s->gemm),
                                .attention = s->options.attention};
    s->vit.run = &s->compute;
    s->vit.stages = s->model->stages;
    s->decoder.run = &s->compute;
    s->decoder.stages = s->model->clip;
    s->text_tokens = s->options.text_tokens ? s->options.text_tokens : IVL__TEXT_TOKENS;
    s->options.devices = NULL; /* the caller's, and no longer needed */
    s->options.n_devices = 0;
    memcpy(s->vit.mean, s->model->config.mean, sizeof s->vit.mean);
    memcpy(s->vit.std, s->model->config.std, sizeof s->vit.std);
    IVL__TRY(ivl__session_plan(s, width, height, false, error));
    return check_attention(s, error);
}

static ivl_session *new_session(const ivl_model *model, const ivl_session_options *options,
                                ivl_status *status, ivl_error *error)
{
    ivl_session_options defaults;
    ivl_session *s = ivl__calloc(1, sizeof *s);

    if (!s) {
        *status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a session");
        return NULL;
    }
    ivl_session_options_init(&defaults);
    s->model = model;
    *status = copy_options(s, options ? options : &defaults, error);
    return s;
}

ivl_status ivl_session_open(const ivl_model *model, const ivl_session_options *options,
                            ivl_session **out, ivl_error *error)
{
    ivl_status status = ivl__model_check(model, error);
    ivl_session *s;

    if (status != IVL_OK) {
        return status;
    }
    s = new_session(model, options, &status, error);
    if (status == IVL_OK) {
        status = open_session(s, true, error);
    }
    if (status == IVL_OK) {
        status = upload_vectors(s, error);
    }
    if (status == IVL_OK) {
        status = ivl__session_place(s, error);
    }
    if (status != IVL_OK) {
        ivl_session_free(s);
        return status;
    }
    *out = s;
    return IVL_OK;
}

void ivl_session_free(ivl_session *s)
{
    if (!s) {
        return;
    }
    if (s->device) {
        ivl__residency_close(s->residency);
        free_activations(s);
        free_buffer(s, &s->vit_vectors);
        free_buffer(s, &s->clip_vectors);
        free_buffer(s, &s->flags);
        if (s->gemm_open) {
            ivl__gemm_close(&s->gemm);
        }
        ivl__device_close(s->device);
    }
    for (int i = 0; i < N_STRINGS; i++) {
        ivl__free(s->strings[i]);
    }
    ivl__free(s->stages);
    ivl__free(s->clip_at);
    ivl__free(s);
}

void ivl_session_get_plan(const ivl_session *s, ivl_plan *plan)
{
    ivl__session_describe_plan(s, plan);
}

ivl_status ivl_plan_make(const ivl_model *model, const ivl_session_options *options, ivl_plan *plan,
                         ivl_error *error)
{
    ivl_status status;
    ivl_session *s = new_session(model, options, &status, error);

    if (status == IVL_OK) {
        status = open_session(s, false, error);
    }
    if (status == IVL_OK) {
        ivl__session_describe_plan(s, plan);
    }
    ivl_session_free(s);
    return status;
}

/* ---- stats ------------------------------------------------------------------------------- */

void ivl_session_get_stats(const ivl_session *s, ivl_stats *stats)
{
    const ivl__profile_stage *stages;
    size_t n_stages = ivl__profile_stages(s->device, &stages);
    double upload;
    double hidden;
    static const char *const residencies[] = {"auto", "mapped", "resident", "stream"};
    ivl__residency_counts counts = {0};

    if (s->residency) {
        ivl__residency_get_counts(s->residency, &counts);
    }
    ivl__profile_overlap(s->device, &upload, &hidden);
    *stats = (ivl_stats){
        .size = sizeof *stats,
        .images = s->images,
        .texts = s->texts,
        .bytes_streamed = s->earlier.bytes_streamed + counts.bytes_streamed,
        .weight_bytes_read = s->earlier.weight_bytes_read + counts.weight_bytes_read,
        .weight_passes = s->earlier.passes + counts.passes,
        .mapped_bytes = counts.mapped_bytes,
        .peak_device_memory = (uint64_t)atomic_load(&s->device->cl.ledger.peak_bytes),
        .overlap = upload > 0.0 ? hidden / upload : 0.0,
        .batch = s->plan.batch,
    };
    snprintf(stats->device, sizeof stats->device, "%s", s->device->info.name);
    snprintf(stats->platform, sizeof stats->platform, "%s", s->device->info.platform);
    snprintf(stats->driver, sizeof stats->driver, "%s", s->device->info.driver);
    snprintf(stats->precision, sizeof stats->precision, "%s%s",
             s->gemm.precision == IVL_FAST ? "fast:" : "exact",
             s->gemm.precision == IVL_FAST ? ivl__dtype_name(s->compute.act) : "");
    ivl__gemm_describe(&s->gemm, stats->gemm, sizeof stats->gemm);
    snprintf(stats->residency, sizeof stats->residency, "%s", residencies[s->plan.residency]);
    for (size_t i = 0; i < n_stages && stats->n_stages < IVL_MAX_STAGES; i++) {
        int at = stats->n_stages++;

        snprintf(stats->stage_names[at], sizeof stats->stage_names[at], "%s", stages[i].name);
        stats->stage_seconds[at] = stages[i].seconds;
    }
}

/* ---- other inputs than planned for --------------------------------------------------------- */

ivl_status ivl__session_fit(ivl_session *s, const ivl_images *images, int32_t text_tokens,
                            ivl_error *error)
{
    int width = images ? images->width : s->vit.width;
    int height = images ? images->height : s->vit.height;
    bool normalized = images ? !images->rgb : s->vit.normalized_pixels;

    if (s->ready && s->vit.width == width && s->vit.height == height &&
        s->vit.normalized_pixels == normalized && text_tokens <= s->text_tokens) {
        return IVL_OK;
    }
    free_activations(s);
    s->most_memory = 0;
    s->text_tokens = text_tokens > s->text_tokens ? text_tokens : s->text_tokens;
    IVL__TRY(ivl__session_plan(s, width, height, normalized, error));
    return ivl__session_place(s, error);
}
