/* session.c - opening a model on a device, running it, telling what was done; see internvl.h. */
#include "model/session.h"

#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/profile.h"

#include <ctype.h>
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
    const char **texts[N_STRINGS] = {&s->options.gemm, &s->options.tuning_file,
                                     &s->options.cache_dir, &s->options.kernel_dir,
                                     &s->options.attention};

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
        s->options.device_memory_share > 1.0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "session options: batch and picture size must not be negative, and a "
                         "share of the memory at most 1");
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

/* Everything whose size depends on the pictures. */
static void free_activations(ivl_session *s)
{
    free_buffer(s, &s->vit.offsets);
    free_buffer(s, &s->vit.pixels);
    free_buffer(s, &s->vit.rows);
    free_buffer(s, &s->vit.normed);
    free_buffer(s, &s->vit.wide);
    free_buffer(s, &s->pool);
    free_buffer(s, &s->position_table);
    free_buffer(s, &s->gemm.scratch);
    s->gemm.scratch_bytes = 0;
    s->ready = false;
}

static ivl_status upload_offsets(ivl_session *s, ivl_error *error)
{
    size_t n = (size_t)s->plan.sub_batch + 1;
    int32_t *offsets = ivl__calloc(n, sizeof *offsets);
    ivl_status status;

    if (!offsets) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for row offsets");
    }
    for (size_t i = 0; i < n; i++) {
        offsets[i] = (int32_t)i * s->vit.sizes.tokens;
    }
    status = make_buffer(s, n * sizeof *offsets, "row offsets", &s->vit.offsets, error);
    if (status == IVL_OK) {
        status = ivl__cl_write(&s->device->cl, s->device->cl.compute, s->vit.offsets, 0, offsets,
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

    s->vit.position = (ivl__span){s->vit.vectors, stages->position};
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

static ivl_status make_activations(ivl_session *s, ivl_error *error)
{
    const ivl__vit_sizes *sizes = &s->vit.sizes;
    uint64_t batch = (uint64_t)s->plan.batch;
    uint64_t sub = (uint64_t)s->plan.sub_batch;
    int rows = s->plan.sub_batch * sizes->tokens;

    IVL__TRY(upload_offsets(s, error));
    IVL__TRY(make_buffer(s, batch * sizes->pixels, "pictures", &s->vit.pixels, error));
    IVL__TRY(make_buffer(s, batch * sizes->rows, "residual rows", &s->vit.rows, error));
    IVL__TRY(make_buffer(s, sub * sizes->normed, "normed rows", &s->vit.normed, error));
    IVL__TRY(make_buffer(s, sub * sizes->wide, "qkv and mlp rows", &s->vit.wide, error));
    IVL__TRY(make_buffer(s, batch * (uint64_t)s->model->config.vit.hidden * sizeof(float),
                         "pooled rows", &s->pool, error));
    IVL__TRY(ivl__gemm_reserve(
        &s->gemm, (size_t)ivl__vit_gemm_scratch(s->model->stages, &s->gemm, rows), error));
    IVL__TRY(place_position(s, error));
    s->ready = true;
    return IVL_OK;
}

static ivl_status upload_vectors(ivl_session *s, ivl_error *error)
{
    const ivl__vit_stages *stages = s->model->stages;

    IVL__TRY(make_buffer(s, (uint64_t)stages->list.n_stages * sizeof(int32_t), "flags", &s->flags,
                         error));
    IVL__TRY(ivl__cl_buffer(&s->device->cl, CL_MEM_READ_ONLY, (size_t)stages->list.vector_bytes,
                            "vectors", &s->vit.vectors, error));
    return ivl__cl_write(&s->device->cl, s->device->cl.compute, s->vit.vectors, 0,
                         stages->list.vectors, (size_t)stages->list.vector_bytes, 0, NULL, NULL,
                         error);
}

static ivl_status place_weights(ivl_session *s, ivl_error *error)
{
    const ivl_model *m = s->model;

    return ivl__residency_open(s->device, &s->plan, m->stages->list.stages,
                               m->stages->list.n_stages, m->table->maps, m->table->n_files,
                               &s->residency, error);
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

/* Weights and activations where the plan says. Drivers promise more than they have, and others use
 * the device too: then other plans are tried. */
static ivl_status place(ivl_session *s, ivl_error *error)
{
    ivl_error detail = {0};
    ivl_status status;

    do {
        status = place_once(s, &detail);
    } while (status != IVL_OK && plan_again(s, status, &detail));
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}

static ivl_status open_session(ivl_session *s, bool measure, ivl_error *error)
{
    const ivl__vit_config *vit = &s->model->config.vit;
    int side = s->model->stages->grid * vit->patch;
    int width = s->options.width ? s->options.width : side;
    int height = s->options.height ? s->options.height : side;

    IVL__TRY(ivl__session_open_device(s, measure, error));
    IVL__TRY(
        ivl__op_attention_check(s->device, s->options.attention, vit->hidden / vit->heads, error));
    if (s->options.trace) {
        ivl__profile_listen(s->device, pass_span, s);
    }
    s->vit.device = s->device;
    s->vit.gemm = &s->gemm;
    s->vit.attention = s->options.attention;
    s->vit.stages = s->model->stages;
    s->options.devices = NULL; /* the caller's, and no longer needed */
    s->options.n_devices = 0;
    memcpy(s->vit.mean, s->model->config.mean, sizeof s->vit.mean);
    memcpy(s->vit.std, s->model->config.std, sizeof s->vit.std);
    return ivl__session_plan(s, width, height, false, error);
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
        status = place(s, error);
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
        free_buffer(s, &s->vit.vectors);
        free_buffer(s, &s->flags);
        if (s->gemm_open) {
            ivl__gemm_close(&s->gemm);
        }
        ivl__device_close(s->device);
    }
    for (int i = 0; i < N_STRINGS; i++) {
        ivl__free(s->strings[i]);
    }
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

/* ---- run --------------------------------------------------------------------------------- */

typedef enum tap_kind { TAP_HIDDEN, TAP_POOLED, TAP_MEAN } tap_kind;

typedef struct tap {
    tap_kind kind;
    int stage; /* whose output it needs */
    size_t floats_per_image;
    ivl_output *output;
} tap;

#define MAX_TAPS 256

static ivl_status parse_tap(const ivl_session *s, ivl_output *output, int count, tap *t,
                            ivl_error *error)
{
    int layers = s->model->config.vit.layers;
    int width = s->model->config.vit.hidden;
    char *end;
    long layer;

    if (!output->tap) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "an output without the name of a tap");
    }
    *t = (tap){.kind = TAP_POOLED, .stage = layers, .output = output};
    output->dims[0] = count;
    output->dims[1] = 1;
    output->dims[2] = width;
    if (strncmp(output->tap, "hidden_", 7) == 0) {
        layer = strtol(output->tap + 7, &end, 10);
        if (*end || !isdigit((unsigned char)output->tap[7]) || layer > layers) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "there is no '%s': this model has hidden_0 to hidden_%d", output->tap,
                             layers);
        }
        t->kind = TAP_HIDDEN;
        t->stage = (int)layer;
        output->dims[1] = s->vit.sizes.tokens;
    } else if (strcmp(output->tap, "mean") == 0) {
        t->kind = TAP_MEAN;
    } else if (strcmp(output->tap, "pooled") != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "there is no tap '%s': hidden_<i>, pooled, mean", output->tap);
    }
    t->floats_per_image = (size_t)output->dims[1] * (size_t)width;
    if (!output->data || output->capacity / t->floats_per_image < (size_t)count) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "tap '%s' needs room for %d x %d x %d floats",
                         output->tap, count, output->dims[1], width);
    }
    return IVL_OK;
}

/* Copies what a tap wants once its stage has been enqueued; ordered by the compute queue. */
static ivl_status read_tap(ivl_session *s, const tap *t, int done, int count, ivl_error *error)
{
    const ivl__vit_sizes *sizes = &s->vit.sizes;
    int width = s->model->config.vit.hidden;
    size_t bytes = (size_t)count * t->floats_per_image * sizeof(float);
    float *to = t->output->data + (size_t)done * t->floats_per_image;
    cl_mem from = s->vit.rows;

    if (t->kind != TAP_HIDDEN) {
        int first = t->kind == TAP_MEAN ? 1 : 0;
        int rows = t->kind == TAP_MEAN ? sizes->tokens - 1 : 1;

        ivl__device_stage(s->device, "pool");
        IVL__TRY(ivl__op_pool(s->device, count, sizes->tokens, width, first, rows,
                              (ivl__span){s->vit.rows, 0}, (ivl__span){s->pool, 0}, width, error));
        from = s->pool;
    }
    return ivl__cl_read(&s->device->cl, s->device->cl.compute, from, 0, to, bytes, 0, NULL, NULL,
                        error);
}

static ivl_status report(ivl_session *s, int stage, int last, ivl_error *error)
{
    char name[32];

    if (!s->options.progress) {
        return IVL_OK;
    }
    if (stage == 0) {
        snprintf(name, sizeof name, "embeddings");
    } else {
        snprintf(name, sizeof name, "block %d", stage);
    }
    if (s->options.progress(s->options.progress_user, name, stage, last + 1) != 0) {
        return ivl__fail(error, IVL_CANCELLED, "cancelled before %s", name);
    }
    return IVL_OK;
}

/* Sub-batch by sub-batch. */
ivl_status ivl__session_run_stage(ivl_session *s, int stage, int next, int count, ivl_error *error)
{
    ivl__span spans[8];
    uint64_t floats = (uint64_t)count * s->vit.sizes.rows / sizeof(float);

    IVL__TRY(ivl__residency_acquire(s->residency, stage, next, spans, error));
    for (int first = 0; first < count; first += s->plan.sub_batch) {
        int images = count - first < s->plan.sub_batch ? count - first : s->plan.sub_batch;

        IVL__TRY(ivl__vit_run_stage(&s->vit, stage, spans, first, images, error));
    }
    IVL__TRY(ivl__residency_release(s->residency, stage, error));
    ivl__device_stage(s->device, "check");
    return ivl__op_check_finite(s->device, floats, (ivl__span){s->vit.rows, 0},
                                (ivl__span){s->flags, (uint64_t)stage * sizeof(int32_t)}, error);
}

/* The host stays one stage ahead of the device, so that progress and cancellation mean something
 * and the command queue stays short. */
static ivl_status run_stages(ivl_session *s, int last, int done, int count, bool more,
                             const tap *taps, size_t n_taps, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;
    cl_event before = NULL;
    ivl_status status = IVL_OK;

    for (int stage = 0; status == IVL_OK && stage <= last; stage++) {
        int next = stage < last ? stage + 1 : more ? 0 : -1;
        cl_event after = NULL;

        status = report(s, stage, last, error);
        if (status == IVL_OK) {
            status = ivl__session_run_stage(s, stage, next, count, error);
        }
        for (size_t i = 0; status == IVL_OK && i < n_taps; i++) {
            if (taps[i].stage == stage) {
                status = read_tap(s, &taps[i], done, count, error);
            }
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

static ivl_status check_flags(ivl_session *s, int last, ivl_error *error)
{
    int32_t *flags = ivl__calloc((size_t)last + 1, sizeof *flags);
    ivl_status status;

    if (!flags) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for flags");
    }
    status = ivl__cl_read(&s->device->cl, s->device->cl.compute, s->flags, 0, flags,
                          ((size_t)last + 1) * sizeof *flags, 0, NULL, NULL, error);
    for (int i = 0; status == IVL_OK && i <= last; i++) {
        if (flags[i]) {
            status = i == 0 ? ivl__fail(error, IVL_NOT_FINITE,
                                        "the embeddings hold numbers that are not finite; are the "
                                        "pixels or the checkpoint damaged?")
                            : ivl__fail(error, IVL_NOT_FINITE,
                                        "the output of block %d (of %d) is not finite; the "
                                        "checkpoint may be damaged (try `internvl selftest`)",
                                        i, s->model->config.vit.layers);
        }
    }
    ivl__free(flags);
    return status;
}

static ivl_status upload_pixels(ivl_session *s, const ivl_images *images, int done, int count,
                                ivl_error *error)
{
    const unsigned char *all = images->rgb ? images->rgb
                                           : (const unsigned char *)(const void *)images->pixels;

    return ivl__cl_write(&s->device->cl, s->device->cl.compute, s->vit.pixels, 0,
                         all + (size_t)done * s->vit.sizes.pixels,
                         (size_t)count * s->vit.sizes.pixels, 0, NULL, NULL, error);
}

static ivl_status run_batch(ivl_session *s, const ivl_images *images, int done, int count, int last,
                            const tap *taps, size_t n_taps, ivl_error *error)
{
    const cl_int zero = 0;
    ivl__cl *cl = &s->device->cl;
    bool more = done + count < images->count;

    IVL__TRY(upload_pixels(s, images, done, count, error));
    IVL__TRY(ivl__cl_fill(cl, cl->compute, s->flags, &zero, sizeof zero, 0,
                          ((size_t)last + 1) * sizeof zero, error));
    IVL__TRY(run_stages(s, last, done, count, more, taps, n_taps, error));
    IVL__TRY(ivl__cl_finish(cl, cl->compute, error));
    IVL__TRY(ivl__profile_collect(s->device, error));
    /* A damaged file explains wrong numbers better than they do themselves. */
    IVL__TRY(ivl__model_check(s->model, error));
    return check_flags(s, last, error);
}

/* Pictures of another size or kind than the last: another plan for the activations, and the same
 * weights, placed anew only where the plan says so. */
static ivl_status fit_pictures(ivl_session *s, const ivl_images *images, ivl_error *error)
{
    bool normalized = !images->rgb;

    if (s->ready && s->vit.width == images->width && s->vit.height == images->height &&
        s->vit.normalized_pixels == normalized) {
        return IVL_OK;
    }
    free_activations(s);
    s->most_memory = 0;
    IVL__TRY(ivl__session_plan(s, images->width, images->height, normalized, error));
    return place(s, error);
}

/* What the caller gives, as this version knows it. */
static ivl_status read_inputs(const ivl_inputs *given, ivl_inputs *inputs, ivl_error *error)
{
    *inputs = (ivl_inputs){.size = sizeof *inputs};
    if (!given || given->size < sizeof given->size || given->size > sizeof *inputs) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "ivl_run: inputs of %zu bytes; their size must be sizeof(ivl_inputs)",
                         given ? given->size : 0);
    }
    memcpy(inputs, given, given->size);
    if (inputs->texts) {
        return ivl__fail(error, IVL_UNSUPPORTED, "texts are not run by this version");
    }
    if (!inputs->images || inputs->images->count < 1 ||
        (!inputs->images->rgb && !inputs->images->pixels)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "ivl_run: needs at least one picture");
    }
    return IVL_OK;
}

ivl_status ivl_run(ivl_session *s, const ivl_inputs *given, ivl_output *outputs, size_t n_outputs,
                   ivl_error *error)
{
    tap taps[MAX_TAPS];
    ivl_inputs inputs;
    const ivl_images *images;
    int last = 0;
    ivl_status status = IVL_OK;

    if (!s || !n_outputs || !outputs || n_outputs > MAX_TAPS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "ivl_run: needs a session and 1 to %d outputs", MAX_TAPS);
    }
    IVL__TRY(read_inputs(given, &inputs, error));
    images = inputs.images;
    IVL__TRY(fit_pictures(s, images, error));
    for (size_t i = 0; i < n_outputs; i++) {
        IVL__TRY(parse_tap(s, &outputs[i], images->count, &taps[i], error));
        last = taps[i].stage > last ? taps[i].stage : last;
    }
    for (int done = 0; status == IVL_OK && done < images->count; done += s->plan.batch) {
        int count = images->count - done < s->plan.batch ? images->count - done : s->plan.batch;

        status = run_batch(s, images, done, count, last, taps, n_outputs, error);
        s->images += status == IVL_OK ? (uint64_t)count : 0;
    }
    ivl__residency_settle(s->residency);
    if (status != IVL_OK) {
        (void)ivl__cl_finish(&s->device->cl, s->device->cl.compute, NULL);
    }
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
             s->gemm.precision == IVL_FAST ? ivl__dtype_name(s->vit.act) : "");
    ivl__gemm_describe(&s->gemm, stats->gemm, sizeof stats->gemm);
    snprintf(stats->residency, sizeof stats->residency, "%s", residencies[s->plan.residency]);
    for (size_t i = 0; i < n_stages && stats->n_stages < IVL_MAX_STAGES; i++) {
        int at = stats->n_stages++;

        snprintf(stats->stage_names[at], sizeof stats->stage_names[at], "%s", stages[i].name);
        stats->stage_seconds[at] = stages[i].seconds;
    }
}
