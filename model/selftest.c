/* selftest.c - the public self-test: every kernel, and the model family on built-in tiny weights.
 *
 * Two tiny InternViTs, one of each kind that was published (RMSNorm with q/k norm; LayerNorm with
 * biases), go through the steps of vit.c on the device and are compared with vit_reference.c after
 * every stage.
 */
#include "runtime/selftest.h"
#include "model/session.h"
#include "model/vit_reference.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/trial.h"

#include <math.h>
#include <string.h>

#define LAYERS  2
#define IMAGES  2
#define TENSORS (4 + LAYERS * 14)

/* ---- tiny weights ------------------------------------------------------------------------ */

typedef struct tiny_model {
    ivl__vit_config config;
    ivl__vit_weights weights;
    ivl__vit_block_weights blocks[LAYERS];
    ivl__tensor_entry entries[TENSORS];
    void *data[TENSORS];
    int n;
    bool failed; /* memory */
} tiny_model;

/* n values, middle + spread * [-1, 1), as a tensor of its own. */
static void add_tensor(tiny_model *m, ivl__weight_ref *ref, ivl_dtype dtype, int n, float middle,
                       float spread)
{
    static char name[] = "built in";
    ivl__tensor_entry *entry = &m->entries[m->n];
    size_t bytes = ivl__dtype_bytes(dtype);
    unsigned char *data = ivl__calloc((size_t)n, bytes);

    if (!data) {
        m->failed = true;
        return;
    }
    for (int i = 0; i < n; i++) {
        float value = middle + spread * ivl__selftest_value(100 + (uint32_t)m->n, (uint32_t)i);
        uint16_t half = dtype == IVL_F16 ? ivl__float_to_f16(value) : ivl__float_to_bf16(value);

        memcpy(data + (size_t)i * bytes, dtype == IVL_F32 ? (const void *)&value : &half, bytes);
    }
    *entry = (ivl__tensor_entry){.name = name,
                                 .dtype = dtype,
                                 .rank = 1,
                                 .shape = {(uint64_t)n},
                                 .elements = (uint64_t)n,
                                 .data = data,
                                 .bytes = (size_t)n * bytes,
                                 .file = -1};
    *ref = (ivl__weight_ref){.parts = {entry}, .n_parts = 1};
    m->data[m->n++] = data;
}

/* Uniform rows whose products keep the size of what they multiply. */
static void add_matrix(tiny_model *m, ivl__weight_ref *ref, ivl_dtype dtype, int rows, int cols)
{
    add_tensor(m, ref, dtype, rows * cols, 0.0f, sqrtf(3.0f / (float)cols));
}

static void add_block(tiny_model *m, ivl__vit_block_weights *b, ivl_dtype dtype)
{
    const ivl__vit_config *config = &m->config;
    const int c = config->hidden;

    add_tensor(m, &b->norm1_w, dtype, c, 1.0f, 0.3f);
    add_tensor(m, &b->norm2_w, dtype, c, 1.0f, 0.3f);
    add_matrix(m, &b->qkv_w, dtype, 3 * c, c);
    add_matrix(m, &b->proj_w, dtype, c, c);
    add_tensor(m, &b->proj_b, dtype, c, 0.0f, 0.2f);
    add_tensor(m, &b->ls1, dtype, c, 0.5f, 0.3f);
    add_matrix(m, &b->fc1_w, dtype, config->mlp, c);
    add_tensor(m, &b->fc1_b, dtype, config->mlp, 0.0f, 0.2f);
    add_matrix(m, &b->fc2_w, dtype, c, config->mlp);
    add_tensor(m, &b->fc2_b, dtype, c, 0.0f, 0.2f);
    add_tensor(m, &b->ls2, dtype, c, 0.5f, 0.3f);
    if (config->layer_norm) {
        add_tensor(m, &b->norm1_b, dtype, c, 0.0f, 0.2f);
        add_tensor(m, &b->norm2_b, dtype, c, 0.0f, 0.2f);
    }
    if (config->qkv_bias) {
        add_tensor(m, &b->qkv_b, dtype, 3 * c, 0.0f, 0.2f);
    }
    if (config->qk_norm) {
        add_tensor(m, &b->q_norm, dtype, c, 1.0f, 0.3f);
        add_tensor(m, &b->k_norm, dtype, c, 1.0f, 0.3f);
    }
}

static void make_model(tiny_model *m, const ivl__vit_config *config, ivl_dtype dtype)
{
    const int grid = config->image / config->patch;
    const int c = config->hidden;

    *m = (tiny_model){.config = *config};
    m->weights = (ivl__vit_weights){.blocks = m->blocks, .n_blocks = LAYERS, .grid = grid};
    add_tensor(m, &m->weights.class_embedding, dtype, c, 0.0f, 1.0f);
    add_tensor(m, &m->weights.position, dtype, (1 + grid * grid) * c, 0.0f, 0.5f);
    add_matrix(m, &m->weights.patch_w, dtype, c, 3 * config->patch * config->patch);
    add_tensor(m, &m->weights.patch_b, dtype, c, 0.0f, 0.2f);
    for (int i = 0; i < LAYERS; i++) {
        add_block(m, &m->blocks[i], dtype);
    }
}

static void free_model(tiny_model *m)
{
    for (int i = 0; i < m->n; i++) {
        ivl__free(m->data[i]);
    }
}

/* ---- the device's side ------------------------------------------------------------------- */

/* What a check of the family is given. */
typedef struct family_check {
    const char *name;
    ivl__vit_config config;
    ivl_dtype dtype;
    const char *gemm;
    ivl_precision precision;
} family_check;

static const float mean[3] = {0.485f, 0.456f, 0.406f};
static const float deviation[3] = {0.229f, 0.224f, 0.225f};

static void fill_pictures(uint8_t *rgb, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rgb[i] = (uint8_t)(128.0f + 127.0f * ivl__selftest_value(99, (uint32_t)i));
    }
}

/* Everything a run needs except the weights of its stages, which come stage by stage. */
static ivl_status place(ivl__trial *t, ivl__compute *run, ivl__vit *v,
                        const ivl__vit_stages *stages, const uint8_t *rgb, ivl_error *error)
{
    ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES];
    int n;
    const int32_t offsets[IMAGES + 1] = {0, v->sizes.tokens, 2 * v->sizes.tokens};
    ivl__span vectors, at_offsets, pixels, rows, normed, wide;

    IVL__TRY(ivl__trial_upload(t, stages->list.vectors, (size_t)stages->list.vector_bytes, &vectors,
                               error));
    IVL__TRY(ivl__trial_upload(t, offsets, sizeof offsets, &at_offsets, error));
    IVL__TRY(ivl__trial_upload(t, rgb, IMAGES * (size_t)v->sizes.pixels, &pixels, error));
    IVL__TRY(ivl__trial_upload(t, NULL, IMAGES * (size_t)v->sizes.rows, &rows, error));
    IVL__TRY(ivl__trial_upload(t, NULL, IMAGES * (size_t)v->sizes.normed, &normed, error));
    IVL__TRY(ivl__trial_upload(t, NULL, IMAGES * (size_t)v->sizes.wide, &wide, error));
    v->vectors = vectors.mem;
    v->position = (ivl__span){vectors.mem, stages->position};
    v->offsets = at_offsets.mem;
    v->pixels = pixels.mem;
    v->rows = rows.mem;
    run->normed = normed.mem;
    run->wide = wide.mem;
    n = ivl__vit_gemm_shapes(stages, shapes, 0);
    return ivl__gemm_reserve(
        run->gemm, (size_t)ivl__gemm_scratch_of(shapes, n, run->gemm, IMAGES * v->sizes.tokens),
        error);
}

static ivl_status run_stage(ivl__trial *t, ivl__vit *v, const ivl__vit_stages *stages, int stage,
                            ivl_error *error)
{
    ivl__span spans[8];

    for (int i = 0; i < stages->list.stages[stage].n_tiles; i++) {
        const ivl__tile_source *tile = &stages->list.stages[stage].tiles[i];

        IVL__TRY(ivl__trial_upload(t, tile->data, (size_t)tile->bytes, &spans[i], error));
    }
    return ivl__vit_run_stage(v, stage, spans, 0, IMAGES, error);
}

/* ---- comparison -------------------------------------------------------------------------- */

typedef struct comparison {
    ivl__estimate *x, *y; /* [images, tokens, C]: before and after a stage */
    float *got;
    uint8_t *rgb; /* [images, height, width, 3] */
    int *all;     /* 0 .. tokens - 1 */
} comparison;

static bool allocate(comparison *c, const ivl__vit_sizes *sizes, int hidden)
{
    size_t n = (size_t)IMAGES * (size_t)sizes->tokens * (size_t)hidden;

    c->x = ivl__calloc(n, sizeof *c->x);
    c->y = ivl__calloc(n, sizeof *c->y);
    c->got = ivl__calloc(n, sizeof *c->got);
    c->rgb = ivl__calloc(IMAGES, (size_t)sizes->pixels);
    c->all = ivl__calloc((size_t)sizes->tokens, sizeof *c->all);
    if (!c->x || !c->y || !c->got || !c->rgb || !c->all) {
        return false;
    }
    for (int i = 0; i < sizes->tokens; i++) {
        c->all[i] = i;
    }
    fill_pictures(c->rgb, IMAGES * (size_t)sizes->pixels);
    return true;
}

static void release(comparison *c)
{
    ivl__free(c->x);
    ivl__free(c->y);
    ivl__free(c->got);
    ivl__free(c->rgb);
    ivl__free(c->all);
}

static ivl_status reference_stage(const ivl__vit_reference *r, const ivl__vit *v, int stage,
                                  comparison *c, ivl_error *error)
{
    const size_t n = (size_t)r->tokens * (size_t)r->config->hidden;
    ivl__estimate *before = c->x;

    for (size_t i = 0; i < IMAGES; i++) {
        if (stage == 0) {
            IVL__TRY(ivl__vit_reference_embed(r, c->rgb + i * v->sizes.pixels, v->width, v->height,
                                              v->mean, v->std, c->y + i * n, error));
        } else {
            IVL__TRY(ivl__vit_reference_block(r, stage - 1, c->x + i * n, c->all, r->tokens,
                                              c->y + i * n, error));
        }
    }
    c->x = c->y;
    c->y = before;
    return IVL_OK;
}

static ivl_status compare_stages(ivl__trial *t, ivl__compute *run, ivl__vit *v,
                                 const ivl__vit_stages *stages, const ivl__vit_reference *r,
                                 comparison *c, ivl_error *error)
{
    const size_t n = (size_t)IMAGES * (size_t)r->tokens * (size_t)r->config->hidden;

    IVL__TRY(place(t, run, v, stages, c->rgb, error));
    for (int stage = 0; stage < stages->list.n_stages; stage++) {
        IVL__TRY(run_stage(t, v, stages, stage, error));
        IVL__TRY(ivl__trial_download(t, (ivl__span){v->rows, 0}, IVL_F32, n, c->got, error));
        IVL__TRY(reference_stage(r, v, stage, c, error));
        for (size_t i = 0; i < n; i++) {
            ivl__trial_check(t, (double)c->got[i], c->x[i].value,
                             IVL__REFERENCE_DEVIATIONS * c->x[i].deviation);
        }
    }
    return IVL_OK;
}

static ivl_status run_tiny(ivl__trial *t, const tiny_model *m, ivl__gemm *gemm, ivl_error *error)
{
    const int side = m->config.image;
    ivl__compute run = {.device = t->device, .gemm = gemm, .act = ivl__gemm_input_type(gemm)};
    ivl__vit v = {.run = &run, .width = side, .height = side};
    ivl__vit_reference r = {.config = &m->config, .weights = &m->weights, .act = run.act};
    ivl__vit_stages *stages = NULL;
    comparison c = {0};
    ivl_status status;

    memcpy(v.mean, mean, sizeof mean);
    memcpy(v.std, deviation, sizeof deviation);
    IVL__TRY(ivl__vit_sizes_for(&m->config, side, side, false, run.act, &v.sizes, error));
    IVL__TRY(ivl__vit_stages_make(&m->config, &m->weights, &stages, error));
    v.stages = stages;
    r.tokens = v.sizes.tokens;
    status = allocate(&c, &v.sizes, m->config.hidden)
                 ? compare_stages(t, &run, &v, stages, &r, &c, error)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the self-test");
    release(&c);
    ivl__vit_stages_free(stages);
    return status;
}

static ivl_status family_trial(ivl__trial *t, ivl_error *error)
{
    const family_check *check = t->user;
    ivl__gemm gemm;
    tiny_model *m;
    ivl_status status = ivl__gemm_open(t->device, check->gemm, check->precision, &gemm, error);

    if (status != IVL_OK) {
        return status;
    }
    m = ivl__calloc(1, sizeof *m);
    if (m) {
        make_model(m, &check->config, check->dtype);
    }
    status = m && !m->failed
                 ? run_tiny(t, m, &gemm, error)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the self-test");
    ivl__gemm_close(&gemm);
    if (m) {
        free_model(m);
    }
    ivl__free(m);
    return status;
}

/* ---- the public test --------------------------------------------------------------------- */

typedef struct run {
    ivl_selftest_fn *report;
    void *user;
    int failed;
} run;

/* Non-zero: the caller cancels. */
static int tell(run *r, const char *check, ivl__selftest_verdict verdict, double max_error,
                double bound, const char *note)
{
    r->failed += verdict == IVL__SELFTEST_FAILED;
    return r->report ? r->report(r->user, check, verdict == IVL__SELFTEST_PASSED,
                                 verdict == IVL__SELFTEST_SKIPPED, max_error, bound, note)
                     : 0;
}

static int tell_kernel(void *user, const ivl__selftest_result *result)
{
    return tell(user, result->name, result->verdict, result->max_error, result->bound,
                result->message);
}

/* Heads of 64 as the 300M model has, and of 16, which no kernel is specialised for. */
static const family_check family[] = {
    {.name = "model_rms",
     .config = {.hidden = 128,
                .layers = LAYERS,
                .heads = 2,
                .mlp = 200,
                .patch = 4,
                .image = 16,
                .channels = 3,
                .qk_norm = true,
                .eps = 1e-6},
     .dtype = IVL_BF16},
    {.name = "model_layer",
     .config = {.hidden = 48,
                .layers = LAYERS,
                .heads = 3,
                .mlp = 100,
                .patch = 5,
                .image = 20,
                .channels = 3,
                .qkv_bias = true,
                .layer_norm = true,
                .eps = 1e-6},
     .dtype = IVL_F32},
};

static ivl_status check_family(ivl__device *device, const ivl_session_options *options, run *r,
                               ivl_error *error)
{
    for (size_t i = 0; i < sizeof family / sizeof family[0]; i++) {
        family_check check = family[i];
        double max_error = 0.0;
        double bound = 0.0;
        ivl_error detail = {0};
        ivl_status status;

        check.gemm = options->gemm;
        check.precision = options->precision == IVL_PRECISION_FAST ? IVL_FAST : IVL_EXACT;
        status = ivl__trial_run(device, family_trial, &check, &max_error, &bound, &detail);
        if (status == IVL_OUT_OF_MEMORY || status == IVL_INVALID_ARGUMENT ||
            status == IVL_UNSUPPORTED) {
            return ivl__fail(error, status, "%s", detail.message);
        }
        if (tell(r, check.name,
                 status == IVL_OK && max_error <= bound ? IVL__SELFTEST_PASSED
                                                        : IVL__SELFTEST_FAILED,
                 max_error, bound, detail.message)) {
            return ivl__fail(error, IVL_CANCELLED, "the self-test was cancelled after %s",
                             check.name);
        }
    }
    return IVL_OK;
}

ivl_status ivl_selftest(const ivl_session_options *options, ivl_selftest_fn *report, void *user,
                        ivl_error *error)
{
    ivl_session_options defaults;
    ivl__device_options device_options = {.skip_self_test = true};
    ivl__device_info info;
    ivl__device *device = NULL;
    run r = {.report = report, .user = user};
    int kernels_failed = 0;
    ivl_status status;

    ivl_session_options_init(&defaults);
    options = options ? options : &defaults;
    device_options.cache_dir = options->cache_dir;
    device_options.kernel_dir = options->kernel_dir;
    IVL__TRY(ivl__session_pick_device(options, &info, error));
    IVL__TRY(ivl__device_open(&info, &device_options, &device, error));
    ivl__log(IVL_LOG_INFO, "testing the kernels on %s (%s, driver %s)", info.name, info.platform,
             info.driver);
    status = ivl__selftest_run(device, tell_kernel, &r, &kernels_failed, error);
    if (status == IVL_OK) {
        status = check_family(device, options, &r, error);
    }
    ivl__device_close(device);
    if (status == IVL_OK && r.failed) {
        return ivl__fail(error, IVL_VERIFY_FAILED, "%d of the checks failed on %s (driver %s)",
                         r.failed, info.name, info.driver);
    }
    return status;
}
