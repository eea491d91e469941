/* session_plan.c - from a model, options and a device to a plan. */
#include "model/session.h"

#include "model/attention_pool.h"
#include "runtime/log.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

/* Of a GPU's memory, what is left to the driver and the desktop where the user gives no budget. */
#define GPU_SHARE 0.9

/* Texts that take about as long as a picture, for the batch of sessions for texts alone. */
#define TEXTS_FOR_AN_IMAGE 16

/* ---- modes ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned mode;
} mode_names[] = {
    {"vit", IVL__MODE_VIT}, {"c", IVL__MODE_C}, {"g", IVL__MODE_G}, {"text", IVL__MODE_TEXT}};

static unsigned mode_of(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof mode_names / sizeof mode_names[0]; i++) {
        if (strlen(mode_names[i].name) == n && strncmp(mode_names[i].name, name, n) == 0) {
            return mode_names[i].mode;
        }
    }
    return 0;
}

static unsigned modes_of(const ivl_model *model)
{
    unsigned all = 0;

    for (int i = 0; i < model->n_modes; i++) {
        all |= mode_of(model->modes[i], strlen(model->modes[i]));
    }
    return all;
}

static ivl_status read_modes(ivl_session *s, ivl_error *error)
{
    const unsigned have = modes_of(s->model);
    const char *at = s->options.modes;

    s->modes = at ? 0 : have;
    while (at) {
        size_t n = strcspn(at, ",");
        unsigned mode = mode_of(at, n);

        if (!mode) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "unknown mode '%.*s'; there are vit, c, g and text", (int)n, at);
        }
        if (!(mode & have)) {
            return ivl__fail(error, IVL_UNSUPPORTED,
                             "mode '%.*s' needs parts that this checkpoint (%s) has not", (int)n,
                             at, s->model->path);
        }
        s->modes |= mode;
        at = at[n] ? at + n + 1 : NULL;
    }
    return IVL_OK;
}

/* Which modes run a stage of the others. */
static unsigned users_of(const ivl__clip_stages *c, int stage)
{
    if (stage == c->pool_c.stage) {
        return IVL__MODE_C | IVL__MODE_G;
    }
    if (stage == c->pool_g.stage || stage == c->itm_head) {
        return IVL__MODE_G;
    }
    if (stage == c->text_head) {
        return IVL__MODE_TEXT;
    }
    for (int i = 0; i < c->config.qllama.layers; i++) {
        if (stage == c->layers[i].cross) {
            return IVL__MODE_G;
        }
    }
    return IVL__MODE_G | IVL__MODE_TEXT;
}

ivl_status ivl__session_choose_stages(ivl_session *s, ivl_error *error)
{
    const ivl__stage_list *vit = &s->model->stages->list;
    const ivl__clip_stages *clip = s->model->clip;
    int n_clip = clip ? clip->list.n_stages : 0;

    IVL__TRY(read_modes(s, error));
    s->stages = ivl__calloc((size_t)(vit->n_stages + n_clip), sizeof *s->stages);
    s->clip_at = ivl__calloc((size_t)n_clip + 1, sizeof *s->clip_at);
    if (!s->stages || !s->clip_at) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of a session");
    }
    if (ivl__session_has_images(s)) {
        memcpy(s->stages, vit->stages, (size_t)vit->n_stages * sizeof *s->stages);
        s->n_stages = vit->n_stages;
    }
    for (int i = 0; i < n_clip; i++) {
        s->clip_at[i] = IVL__NO_STAGE;
        if (users_of(clip, i) & s->modes) {
            s->clip_at[i] = s->n_stages;
            s->stages[s->n_stages++] = clip->list.stages[i];
        }
    }
    return IVL_OK;
}

/* Every stage once, the embeddings of tokens, the last norm. */
int ivl__session_max_steps(const ivl_session *s)
{
    return s->n_stages + 2;
}

/* ---- device ------------------------------------------------------------------------------ */

static ivl_status pick_from(const ivl__device_info *list, size_t count,
                            const ivl_session_options *options, ivl__device_info *info,
                            ivl_error *error)
{
    int *picked = ivl__calloc(count + 1, sizeof *picked);
    size_t n = 0;
    ivl_status status;

    if (!picked) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    }
    status = ivl__device_select(list, count, options->devices, options->n_devices, picked, &n,
                                error);
    if (status == IVL_OK && n > 1) {
        status = ivl__fail(error, IVL_UNSUPPORTED,
                           "--device names %zu devices (%d: %s, %d: %s, ...); one run uses one "
                           "device, choose by index",
                           n, picked[0], list[picked[0]].name, picked[1], list[picked[1]].name);
    }
    if (status == IVL_OK) {
        *info = list[picked[0]];
    }
    ivl__free(picked);
    return status;
}

ivl_status ivl__session_pick_device(const ivl_session_options *options, ivl__device_info *info,
                                    ivl_error *error)
{
    ivl__device_info *list = NULL;
    size_t count = 0;
    ivl_status status = ivl__device_list(&list, &count, error);

    if (status == IVL_OK) {
        status = pick_from(list, count, options, info, error);
    }
    ivl__free(list);
    return status;
}

/* AUTO takes fast where the device can and gains by it, and says so; FAST where it cannot is an
 * error. */
static ivl_status open_gemm(ivl_session *s, ivl_error *error)
{
    const ivl_session_options *o = &s->options;
    ivl_error detail = {0};
    ivl_status status;

    if (o->precision == IVL_PRECISION_EXACT) {
        return ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error);
    }
    if (o->precision == IVL_PRECISION_AUTO && !ivl__gemm_fast_pays(s->device)) {
        ivl__log(IVL_LOG_VERBOSE, "precision exact: faster here than fast");
        return ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error);
    }
    status = ivl__gemm_open(s->device, o->gemm, IVL_FAST, &s->gemm, &detail);
    if (status == IVL_UNSUPPORTED && o->precision == IVL_PRECISION_AUTO) {
        ivl__log(IVL_LOG_VERBOSE, "precision exact: %s", detail.message);
        return ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error);
    }
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}

/* ---- budget ------------------------------------------------------------------------------ */

static uint64_t default_budget(const ivl__device *device)
{
    uint64_t physical = ivl__physical_memory();

    /* A CPU driver reports what happens to be free; half of the machine is a promise. */
    if (device->caps.cpu && physical) {
        return physical / 2;
    }
    return (uint64_t)(GPU_SHARE * (double)device->caps.global_mem);
}

ivl_status ivl__find_budget(const ivl__device *device, const ivl_session_options *o,
                            uint64_t *budget, bool *given, ivl_error *error)
{
    const ivl__caps *caps = &device->caps;
    uint64_t physical = ivl__physical_memory();
    uint64_t most = caps->cpu && physical ? physical : caps->global_mem;
    uint64_t found = default_budget(device);

    *given = o->device_memory_share > 0.0 || o->device_memory;
    if (*given) {
        found = o->device_memory_share > 0.0 ? (uint64_t)(o->device_memory_share * (double)most)
                                             : o->device_memory;
    }
    if (found > most) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "--device-memory %.1f GiB is more than device %d (%s) has: %.1f GiB",
                         (double)found / 0x1p30, device->info.index, device->info.name,
                         (double)most / 0x1p30);
    }
    *budget = found;
    return IVL_OK;
}

static ivl_status find_budget(const ivl_session *s, ivl__plan_request *r, ivl_error *error)
{
    IVL__TRY(ivl__find_budget(s->device, &s->options, &r->budget, &r->budget_given, error));
    if (s->most_memory && s->most_memory < r->budget) {
        r->budget = s->most_memory;
    }
    return IVL_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

/* Every weight matrix of the session, each shape and type once. The published models have a dozen
 * shapes; the table has room for all of them in several types. */
static int gemm_shapes(const ivl_session *s, ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES])
{
    int n = ivl__session_has_images(s) ? ivl__vit_gemm_shapes(s->model->stages, shapes, 0) : 0;

    return s->model->clip ? ivl__clip_gemm_shapes(s->model->clip, s->clip_at, shapes, n) : n;
}

/* Measuring keeps to the budget as well. */
static ivl_status tune(ivl_session *s, bool measure, ivl_error *error)
{
    ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES];
    const ivl__tuning_request request = {
        .shapes = shapes,
        .n_shapes = gemm_shapes(s, shapes),
        .file = s->options.tuning_file,
        .measure = measure,
    };
    ivl__plan_request budget = {0};

    IVL__TRY(find_budget(s, &budget, error));
    s->device->cl.ledger.budget = budget.budget;
    return ivl__gemm_tune(&s->gemm, &request, error);
}

/* There are no stages yet to tell of: 0 of 0. */
static bool stop_asked(void *user)
{
    const ivl_session_options *o = user;

    return o->progress && o->progress(o->progress_user, "start-up", 0, 0) != 0;
}

ivl_status ivl__session_open_device(ivl_session *s, bool measure, ivl_error *error)
{
    ivl__device_info info;
    const ivl__device_options options = {.cache_dir = s->options.cache_dir,
                                         .kernel_dir = s->options.kernel_dir,
                                         .profiling = s->options.profiling || s->options.trace,
                                         .stop = stop_asked,
                                         .stop_user = &s->options};

    IVL__TRY(ivl__session_pick_device(&s->options, &info, error));
    IVL__TRY(ivl__device_open(&info, &options, &s->device, error));
    IVL__TRY(open_gemm(s, error));
    s->gemm_open = true;
    IVL__TRY(tune(s, measure, error));
    /* Probes, self-tests and measurements have handed back what they took. */
    atomic_store(&s->device->cl.ledger.peak_bytes, atomic_load(&s->device->cl.ledger.bytes));
    return IVL_OK;
}

/* ---- plan -------------------------------------------------------------------------------- */

static void sum_stages(const ivl_session *s, uint64_t *stage_bytes, ivl__plan_request *r)
{
    for (int i = 0; i < s->n_stages; i++) {
        stage_bytes[i] = ivl__stage_copied_bytes(&s->stages[i]);
        r->copied_bytes += ivl__stage_unmappable_bytes(&s->stages[i]);
    }
    r->stage_bytes = stage_bytes;
    r->n_stages = s->n_stages;
}

/* Scratch of a picture, whatever the session does with it. */
static void image_scratch(const ivl_session *s, ivl__session_sizes *sizes)
{
    const ivl__model_config *c = &s->model->config;
    const ivl__vit_sizes *vit = &s->vit.sizes;
    const ivl__decoder_sizes *d = &sizes->decoder;
    uint64_t q = (uint64_t)c->query_tokens;
    uint64_t normed, wide;

    sizes->unit_normed = vit->normed;
    sizes->unit_wide = vit->wide;
    if (s->modes & (IVL__MODE_C | IVL__MODE_G)) {
        ivl__pool_sizes_for(c->vit.hidden, vit->tokens, s->compute.act, &normed, &wide);
        sizes->unit_normed = ivl__larger(sizes->unit_normed, normed);
        sizes->unit_wide = ivl__larger(sizes->unit_wide, wide);
    }
    if (s->modes & IVL__MODE_G) {
        ivl__pool_sizes_for(c->qllama.hidden, c->query_tokens, s->compute.act, &normed, &wide);
        normed = ivl__larger(normed, ivl__larger(d->image_normed, q * d->row_normed));
        wide = ivl__larger(wide, ivl__larger(d->image_wide, q * d->row_wide));
        sizes->unit_normed = ivl__larger(sizes->unit_normed, normed);
        sizes->unit_wide = ivl__larger(sizes->unit_wide, wide);
    }
}

/* Texts beside a picture, or a text with the picture's queries in one sequence. */
static int32_t image_text_rows(const ivl_session *s)
{
    int32_t texts = IVL__TEXTS_PER_IMAGE * s->text_tokens;
    int32_t pair = s->model->config.query_tokens + s->text_tokens;

    return texts > pair ? texts : pair;
}

static void find_sizes(ivl_session *s)
{
    const ivl__model_config *c = &s->model->config;
    ivl__session_sizes *sizes = &s->sizes;
    const bool images = ivl__session_has_images(s);
    uint64_t tokens = (uint64_t)s->text_tokens;

    *sizes = (ivl__session_sizes){0};
    if (s->modes & (IVL__MODE_G | IVL__MODE_TEXT)) {
        sizes->decoder = ivl__decoder_sizes_for(c, s->vit.sizes.tokens, s->compute.act);
    }
    if (images) {
        image_scratch(s, sizes);
    }
    if (s->modes & IVL__MODE_G) {
        sizes->unit_rows = c->query_tokens;
    }
    if (s->modes & IVL__MODE_TEXT) {
        sizes->unit_rows += images ? image_text_rows(s) : s->text_tokens;
        *(images ? &sizes->text_normed : &sizes->unit_normed) = tokens * sizes->decoder.row_normed;
        *(images ? &sizes->text_wide : &sizes->unit_wide) = tokens * sizes->decoder.row_wide;
    }
    s->decoder.max_positions = c->query_tokens + s->text_tokens;
}

int32_t ivl__session_chunk_rows(const ivl_session *s, int sub_batch)
{
    const ivl__session_sizes *z = &s->sizes;
    uint64_t sub = (uint64_t)sub_batch;
    uint64_t rows;

    if (!z->unit_rows) {
        return 0;
    }
    rows = (sub * z->unit_normed + z->text_normed) / z->decoder.row_normed;
    return (int32_t)ivl__smaller(rows, (sub * z->unit_wide + z->text_wide) / z->decoder.row_wide);
}

uint64_t ivl__session_gemm_scratch(const ivl_session *s, int sub_batch)
{
    ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES];
    int n = gemm_shapes(s, shapes);
    int32_t rows = ivl__session_has_images(s) ? sub_batch * s->vit.sizes.tokens : 0;
    int32_t chunk = ivl__session_chunk_rows(s, sub_batch);

    return ivl__gemm_scratch_of(shapes, n, &s->gemm, rows > chunk ? rows : chunk);
}

/* Small things whatever the sub-batch: flags, the first offsets, sizes rounded up. */
static uint64_t small_scratch(const ivl_session *s)
{
    return 4096 + 64 * (uint64_t)s->n_stages;
}

/* What a unit of the batch keeps until the batch is done. */
static void add_activations(const ivl_session *s, ivl__plan_request *r)
{
    const ivl__model_config *c = &s->model->config;
    const ivl__vit_sizes *vit = &s->vit.sizes;
    uint64_t rows = (uint64_t)s->sizes.unit_rows;
    uint64_t hidden = rows * (uint64_t)c->qllama.hidden * sizeof(float);

    r->image_largest = hidden;
    /* A position, and offsets and indices of at most as many sequences. */
    r->image_bytes = hidden + rows * 4 * sizeof(int32_t);
    if (ivl__session_has_images(s)) {
        r->image_bytes += vit->rows + vit->pixels + (uint64_t)c->vit.hidden * sizeof(float);
        r->image_bytes += 2 * (uint64_t)c->clip_embed_dim * sizeof(float);
        r->image_largest = ivl__larger(r->image_largest, ivl__larger(vit->rows, vit->pixels));
    }
}

/* Vectors and tables that stay. */
static uint64_t vector_bytes(const ivl_session *s)
{
    const ivl__llama_config *c = &s->model->config.qllama;
    uint64_t bytes = 0;

    if (ivl__session_has_images(s)) { /* with a resized table of positions */
        bytes += s->model->stages->list.vector_bytes + s->vit.sizes.rows;
    }
    if (s->modes & ~(unsigned)IVL__MODE_VIT) {
        bytes += s->model->clip->list.vector_bytes;
        bytes += (uint64_t)s->decoder.max_positions * (uint64_t)(c->hidden / c->heads) *
                 sizeof(float);
    }
    return bytes;
}

/* The products' scratch depends on the sub-batch, which is what the budget leaves room for: begins
 * with the largest that is useful and gives way until both agree. */
static ivl_status make_plan(ivl_session *s, ivl__plan_request *r, ivl_error *error)
{
    const ivl__session_sizes *sizes = &s->sizes;
    const uint64_t text = sizes->text_normed + sizes->text_wide;
    const bool images = ivl__session_has_images(s);
    ivl__plan plan;
    ivl_status status;

    r->vector_bytes = vector_bytes(s);
    add_activations(s, r);
    r->scratch_bytes = sizes->unit_normed + sizes->unit_wide + 3 * sizeof(int32_t);
    r->scratch_largest = ivl__larger(sizes->unit_wide, sizes->unit_normed);
    r->tokens = images ? s->vit.sizes.tokens : s->text_tokens;
    r->batch_scale = images ? 1 : TEXTS_FOR_AN_IMAGE;
    r->least_scratch = small_scratch(s) + text + ivl__session_gemm_scratch(s, 1);
    for (r->sub_batch = IVL__SUB_BATCH_ROWS(s->device->caps.cpu) / r->tokens + 1;;) {
        r->fixed_largest = ivl__session_gemm_scratch(s, r->sub_batch);
        r->fixed_scratch = small_scratch(s) + text + r->fixed_largest;
        status = ivl__plan_make(r, &plan, r->sub_batch == 1 ? error : NULL);
        if (r->sub_batch == 1 || (status == IVL_OK && plan.sub_batch == r->sub_batch)) {
            break;
        }
        r->sub_batch = status == IVL_OK ? plan.sub_batch : r->sub_batch / 2;
    }
    if (status == IVL_OK) {
        s->plan = plan;
    }
    return status;
}

ivl_status ivl__session_plan(ivl_session *s, int width, int height, bool normalized_pixels,
                             ivl_error *error)
{
    ivl__plan_request r = {
        .residency = (ivl__residency_kind)s->options.residency,
        .batch = s->options.batch,
        .cpu = s->device->caps.cpu,
        .unified = s->device->caps.unified && !s->copies,
        .max_alloc = s->device->caps.max_alloc,
        .host_memory = ivl__physical_memory(),
    };
    uint64_t *stage_bytes;
    ivl_status status;

    IVL__TRY(ivl__vit_sizes_for(&s->model->config.vit, width, height, normalized_pixels,
                                s->compute.act, &s->vit.sizes, error));
    find_sizes(s);
    IVL__TRY(find_budget(s, &r, error));
    stage_bytes = ivl__calloc((size_t)s->n_stages, sizeof *stage_bytes);
    if (!stage_bytes) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the plan");
    }
    sum_stages(s, stage_bytes, &r);
    status = make_plan(s, &r, error);
    ivl__free(stage_bytes);
    if (status == IVL_OK) {
        s->device->cl.ledger.budget = r.budget;
        s->vit.width = width;
        s->vit.height = height;
        s->vit.normalized_pixels = normalized_pixels;
        if (s->options.batch > s->plan.batch) {
            ivl__log(IVL_LOG_WARNING, "--batch %d does not fit the device budget; using %d",
                     s->options.batch, s->plan.batch);
        }
    }
    return status;
}

void ivl__session_describe_plan(const ivl_session *s, ivl_plan *plan)
{
    const ivl__plan *p = &s->plan;
    uint64_t stored = 0;
    uint64_t in_place = 0;

    for (int i = 0; i < s->n_stages; i++) {
        ivl__stage_stored_bytes(&s->stages[i], &stored, &in_place);
    }
    *plan = (ivl_plan){
        .size = sizeof *plan,
        .residency = (ivl_residency)p->residency,
        .budget = s->device->cl.ledger.budget,
        .batch = p->batch,
        .sub_batch = p->sub_batch,
        .stages = s->n_stages,
        .text_rows = (uint64_t)p->batch * (uint64_t)s->sizes.unit_rows,
        .resident_stages = p->resident_stages,
        .weight_bytes = stored,
        .resident_bytes = p->resident_bytes,
        .mapped_bytes = p->residency == IVL__MAPPED ? in_place : 0,
        .slot_bytes = IVL__STREAM_SLOTS * p->slot_bytes,
        .activation_bytes = p->activation_bytes,
        .scratch_bytes = p->scratch_bytes,
        .peak_bytes = p->peak_bytes,
        .streamed_per_pass = p->streamed_per_pass,
        .minimum_budget = p->minimum_budget,
    };
    snprintf(plan->device, sizeof plan->device, "%s", s->device->info.name);
    snprintf(plan->platform, sizeof plan->platform, "%s", s->device->info.platform);
}
