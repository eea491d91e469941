/* encoder.c - a session for a command; see encoder.h. */
#include "cli/encoder.h"

#include "loader/json_text.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* A batch that is expected to end within this is finished when the user asks to stop. */
#define FINISH_SECONDS 10.0

struct cli_encoder {
    cli_encoder_options options;
    ivl_session *session;
    ivl_output *outputs; /* [n_taps] */
    int batch, hidden_size, embed_dim;
    ivl__text provenance;
    double batch_started;
    int stages_done, stages_total; /* of the batch that runs */
    cli_stage_fn *stage;           /* NULL: nobody watches */
    void *stage_user;
};

/* ---- progress and stopping --------------------------------------------------------------- */

/* By the pace of the stages so far. Before the first one ends there is no pace yet; before the
 * first batch there is nothing to finish. */
static bool ends_soon(const cli_encoder *e)
{
    double spent = ivl__now() - e->batch_started;

    if (e->stages_done == 0) {
        return e->batch_started > 0.0;
    }
    return spent / e->stages_done * (e->stages_total - e->stages_done) <= FINISH_SECONDS;
}

static int at_stage(void *user, const char *stage, int done, int total)
{
    cli_encoder *e = user;
    char text[64];

    e->stages_done = done;
    e->stages_total = total;
    if (cli_stop_requests() > 1 || (cli_stop_requests() == 1 && !ends_soon(e))) {
        return 1;
    }
    if (e->stage) {
        snprintf(text, sizeof text, "%s, %d/%d", stage, done + 1, total);
        e->stage(e->stage_user, text);
    }
    return 0;
}

/* ---- choices of an earlier run ----------------------------------------------------------- */

ivl_status cli_first_device(const cli_globals *globals, ivl_device *device, ivl_error *error)
{
    enum { MOST = 64 };
    ivl_device *devices = NULL;
    ivl_unserved_gpu *unserved = NULL;
    size_t n, n_unserved, n_picked = 0;
    int picked[MOST];
    ivl_status status;

    IVL__TRY(ivl_devices_list(&devices, &n, &unserved, &n_unserved, error));
    status = ivl_devices_select(globals->devices, globals->n_devices, picked, MOST, &n_picked,
                                error);
    if (status == IVL_OK && (n_picked == 0 || (size_t)picked[0] >= n)) {
        status = ivl__fail(error, IVL_NO_DEVICE, "no usable OpenCL device; see `internvl devices`");
    }
    if (status == IVL_OK) {
        *device = devices[picked[0]];
    }
    ivl_devices_free(devices, unserved);
    return status;
}

static bool same_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value && strcmp(value, text) == 0;
}

/* What the user does not say is done as the earlier run on this device did it, so that its rows and
 * those to come are computed alike and nothing is measured again. `recorded` keeps the strings. */
static ivl_status apply_recorded(const cli_encoder_options *o, const json_t *recorded,
                                 ivl_session_options *session, ivl_error *error)
{
    const char *precision = json_string_value(json_object_get(recorded, "precision"));
    const char *gemm = json_string_value(json_object_get(recorded, "gemm"));
    const json_t *batch = json_object_get(recorded, "batch");
    ivl_device device;

    IVL__TRY(cli_first_device(o->globals, &device, error));
    if (!same_text(recorded, "device", device.name) ||
        !same_text(recorded, "driver", device.driver)) {
        return IVL_OK;
    }
    if (session->precision == IVL_PRECISION_AUTO && precision) {
        session->precision = strcmp(precision, "exact") == 0 ? IVL_PRECISION_EXACT
                                                             : IVL_PRECISION_FAST;
    }
    /* Several backends ("tile+clblast") are a tuning's choice, which is kept beside the programs;
     * a file that is given decides itself. */
    if (gemm && !strchr(gemm, '+') && !session->tuning_file &&
        (!session->gemm || strcmp(session->gemm, "auto") == 0)) {
        session->gemm = gemm;
    }
    if (session->batch == 0 && json_is_integer(batch) && json_integer_value(batch) > 0 &&
        json_integer_value(batch) <= 65536) {
        session->batch = (int)json_integer_value(batch);
    }
    cli_say(IVL_LOG_VERBOSE, "as the earlier run on this device: precision %s, gemm %s, batch %d",
            precision ? precision : "-", gemm ? gemm : "-", session->batch);
    return IVL_OK;
}

/* ---- open and free ----------------------------------------------------------------------- */

/* Then nothing but the tower has to have a place. */
static bool of_tower_alone(const cli_encoder_options *o)
{
    bool alone = o->n_taps > 0;

    for (int i = 0; i < o->n_taps; i++) {
        alone = alone && (strncmp(o->taps[i], "hidden_", 7) == 0 ||
                          strcmp(o->taps[i], "pooled") == 0 || strcmp(o->taps[i], "mean") == 0);
    }
    return alone;
}

static ivl_status open_session(cli_encoder *e, ivl_error *error)
{
    const cli_encoder_options *o = &e->options;
    json_t *recorded = o->recorded ? json_loads(o->recorded, 0, NULL) : NULL;
    ivl_session_options options;
    ivl_status status = IVL_OK;

    cli_session_options(o->globals, &options);
    options.batch = o->batch;
    options.width = options.height = o->size;
    options.modes = o->modes ? o->modes : of_tower_alone(o) ? "vit" : NULL;
    options.profiling = options.profiling || o->timed;
    options.progress = at_stage;
    options.progress_user = e;
    if (json_object_size(recorded) > 0) {
        status = apply_recorded(o, recorded, &options, error);
    }
    if (status == IVL_OK) {
        status = ivl_session_open(o->model, &options, &e->session, error);
    }
    json_decref(recorded);
    return status;
}

static void tell_plan(const ivl_stats *used, const ivl_plan *plan, int batch)
{
    cli_say(IVL_LOG_INFO, "%s: precision %s, gemm %s, %s, batch %d (%.0f MiB on the device)",
            used->device, used->precision, used->gemm, used->residency, batch,
            (double)plan->peak_bytes / 0x1p20);
}

static ivl_status describe(cli_encoder *e, ivl_error *error)
{
    ivl_stats used;
    ivl_plan plan;
    ivl__text *t = &e->provenance;

    ivl_session_get_stats(e->session, &used);
    ivl_session_get_plan(e->session, &plan);
    e->batch = e->options.most && e->options.most < plan.batch ? e->options.most : plan.batch;
    if (e->options.most_texts && e->batch > e->options.most_texts) {
        e->batch = e->options.most_texts;
    }
    ivl__text_puts(t, "{\"device\":");
    ivl__text_json(t, used.device);
    ivl__text_puts(t, ",\"platform\":");
    ivl__text_json(t, used.platform);
    ivl__text_puts(t, ",\"driver\":");
    ivl__text_json(t, used.driver);
    ivl__text_puts(t, ",\"precision\":");
    ivl__text_json(t, used.precision);
    ivl__text_puts(t, ",\"gemm\":");
    ivl__text_json(t, used.gemm);
    ivl__text_printf(t, ",\"batch\":%d,\"version\":", e->batch);
    ivl__text_json(t, ivl_version());
    ivl__text_puts(t, "}");
    if (t->failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a description of the run");
    }
    tell_plan(&used, &plan, e->batch);
    return IVL_OK;
}

ivl_status cli_encoder_open(const cli_encoder_options *options, cli_encoder **out, ivl_error *error)
{
    cli_encoder *e = ivl__calloc(1, sizeof *e);
    ivl_model_info info;
    ivl_status status = IVL_OK;

    if (!e) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for an encoder");
    }
    e->options = *options;
    ivl_model_get_info(options->model, &info);
    e->hidden_size = info.hidden_size;
    e->embed_dim = info.embed_dim;
    e->outputs = ivl__calloc((size_t)options->n_taps, sizeof *e->outputs);
    if (!e->outputs) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for an encoder");
    }
    if (status == IVL_OK) {
        status = open_session(e, error);
    }
    if (status == IVL_OK) {
        status = describe(e, error);
    }
    if (status != IVL_OK) {
        cli_encoder_free(e);
        return status;
    }
    *out = e;
    return IVL_OK;
}

void cli_encoder_free(cli_encoder *e)
{
    if (!e) {
        return;
    }
    ivl_session_free(e->session);
    ivl__text_free(&e->provenance);
    ivl__free(e->outputs);
    ivl__free(e);
}

int cli_encoder_embed_dim(const cli_encoder *e)
{
    return e->embed_dim;
}

int cli_encoder_batch(const cli_encoder *e)
{
    return e->batch;
}

const char *cli_encoder_provenance(const cli_encoder *e)
{
    return e->provenance.data;
}

const ivl_session *cli_encoder_session(const cli_encoder *e)
{
    return e->session;
}

/* ---- run --------------------------------------------------------------------------------- */

void cli_encoder_watch(cli_encoder *e, cli_stage_fn *stage, void *user)
{
    e->stage = stage;
    e->stage_user = user;
}

static void begin_run(cli_encoder *e)
{
    e->batch_started = ivl__now();
    e->stages_done = 0;
}

/* Of one row of a tap. */
static size_t tap_width(const cli_encoder *e, const char *tap)
{
    bool embedding = strcmp(tap, "image_c") == 0 || strcmp(tap, "image_g") == 0 ||
                     strcmp(tap, "text") == 0;

    return (size_t)(embedding ? e->embed_dim : e->hidden_size);
}

/* Tokens of a picture of this size, CLS included. */
static size_t tokens_of(const cli_encoder *e, const ivl_images *images)
{
    ivl_model_info info;

    ivl_model_get_info(e->options.model, &info);
    return (size_t)(images->width / info.patch_size) * (size_t)(images->height / info.patch_size) +
           1;
}

ivl_status cli_encoder_run(cli_encoder *e, cli_batch *batch, ivl_error *error)
{
    const ivl_inputs inputs = {.size = sizeof inputs,
                               .images = &batch->images,
                               .texts = batch->texts.count ? &batch->texts : NULL};
    size_t tokens = tokens_of(e, &batch->images);
    size_t count = (size_t)batch->images.count;

    batch->tokens = (int)tokens;
    for (int i = 0; i < e->options.n_taps; i++) {
        const char *tap = e->options.taps[i];
        size_t rows = strncmp(tap, "hidden_", 7) == 0 ? tokens : 1;
        size_t floats;

        if (!ivl__mul_size(count * rows, tap_width(e, tap), &floats)) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "results of %s are too large", tap);
        }
        IVL__TRY(cli_batch_reserve(batch, i, floats, error));
        e->outputs[i] = (ivl_output){
            .tap = tap, .data = batch->results[i], .capacity = batch->results_capacity[i]};
    }
    begin_run(e);
    return ivl_run(e->session, &inputs, e->outputs, (size_t)e->options.n_taps, error);
}

ivl_status cli_encoder_run_texts(cli_encoder *e, const ivl_texts *texts, float *vectors,
                                 ivl_error *error)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .texts = texts};
    ivl_output output = {
        .tap = "text", .data = vectors, .capacity = (size_t)texts->count * (size_t)e->embed_dim};

    begin_run(e);
    return ivl_run(e->session, &inputs, &output, 1, error);
}

ivl_status cli_encoder_run_pairs(cli_encoder *e, const ivl_images *images, const ivl_texts *texts,
                                 float *logits, ivl_error *error)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .images = images, .texts = texts};
    ivl_output output = {.tap = "itm", .data = logits, .capacity = (size_t)texts->count * 2};

    begin_run(e);
    return ivl_run(e->session, &inputs, &output, 1, error);
}
