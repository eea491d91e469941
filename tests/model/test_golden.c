/* test_golden.c - recorded models give the recorded outputs: every array, on every way to compute
 * that the device has, from every container. */
#include "runtime/gemm.h"
#include "tests/model/golden.h"

static const char *const attentions[] = {"cpu", "local", "plain"};
static const ivl_residency residencies[] = {IVL_RESIDENCY_MAPPED, IVL_RESIDENCY_RESIDENT,
                                            IVL_RESIDENCY_STREAM};

/* Opens a session, or answers NULL where the device cannot do what the options ask. */
static ivl_session *try_open(const ivl_model *model, const ivl_session_options *options)
{
    ivl_session *session = NULL;
    ivl_error error = {0};
    ivl_status status = ivl_session_open(model, options, &session, &error);

    if (status != IVL_OK && status != IVL_UNSUPPORTED) {
        fail_msg("gemm %s, attention %s: %s", options->gemm ? options->gemm : "auto",
                 options->attention ? options->attention : "auto", error.message);
    }
    return session;
}

typedef struct run {
    golden_array pixels;
    golden_outputs outputs;
} run;

static void run_case(ivl_session *session, const golden_case *c, run *r)
{
    int patches = (c->image / 14) * (c->image / 14);
    ivl_images images = {.width = c->image, .height = c->image};
    ivl_error error = {0};

    r->pixels = golden_read(c->data, "pixel_values");
    assert_non_null(r->pixels.values);
    images.count = (int)r->pixels.npy.shape[0];
    images.pixels = r->pixels.values;
    golden_outputs_make(&r->outputs, c->layers, images.count, 1 + patches, c->width);
    assert_ok(golden_run(session, &images, r->outputs.taps, (size_t)r->outputs.n, &error), error);
}

static void run_free(run *r)
{
    golden_outputs_free(&r->outputs);
    ivl__free(r->pixels.values);
}

/* Fails when any recorded array is missed; the answer is the largest error as a share of its bound.
 * At least `least` arrays must be recorded. */
static double check_exact(const golden_case *c, const run *r, const char *how, int least)
{
    double worst = 0;
    int seen = 0;

    for (int i = 0; i < r->outputs.n; i++) {
        golden_difference d;
        golden_array want;
        char name[32];
        double bound;

        golden_name(c, i, name);
        want = golden_read(c->data, name);
        if (!want.values) {
            continue;
        }
        seen++;
        assert_int_equal(want.count, r->outputs.taps[i].capacity);
        bound = golden_bound(c->data, name);
        d = golden_compare(r->outputs.taps[i].data, want.values, want.count);
        if (!(d.largest <= bound) || !(d.relative <= 1e-5)) {
            fail_msg("%s, %s: %s is off by %.3g (bound %.3g), by %.3g in norm (1e-5)", c->data, how,
                     name, d.largest, bound, d.relative);
        }
        worst = fmax(worst, d.largest / bound);
        ivl__free(want.values);
    }
    assert_true(seen >= least);
    return worst;
}

/* ---- exact ------------------------------------------------------------------------------- */

/* One backend and one variant in every residency; how many there were. */
static int exact_residencies(const golden_case *c, const ivl_model *model,
                             ivl_session_options *options)
{
    static const char *const names[] = {"mapped", "resident", "stream"};
    double worst = 0;
    char how[100];
    int runs = 0;

    for (size_t i = 0; i < 3; i++) {
        ivl_session *session;
        run r;

        options->residency = residencies[i];
        session = try_open(model, options);
        if (!session) {
            continue;
        }
        snprintf(how, sizeof how, "gemm %s, attention %s, %s", options->gemm, options->attention,
                 names[i]);
        run_case(session, c, &r);
        worst = fmax(worst, check_exact(c, &r, how, c->layers + 2));
        run_free(&r);
        ivl_session_free(session);
        runs++;
    }
    if (runs) {
        printf("%s: gemm %s, attention %s, %d residencies: at most %.2f of the bound\n", c->data,
               options->gemm, options->attention, runs, worst);
    }
    return runs;
}

static void exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN_CASES; i++) {
        ivl_model *model = golden_open_model(golden_cases[i].model);
        ivl_session_options options = golden_options();
        int runs = 0;

        for (size_t g = 0; ivl__gemm_backends[g]; g++) {
            options.gemm = ivl__gemm_backends[g]->name;
            for (size_t a = 0; a < 3; a++) {
                options.attention = attentions[a];
                runs += exact_residencies(&golden_cases[i], model, &options);
            }
        }
        /* Every device has at least one backend, two variants, resident and stream. */
        assert_true(runs >= 4);
        ivl_model_free(model);
    }
}

/* ---- fast -------------------------------------------------------------------------------- */

/* 16-bit multiplicands: a direction is kept, single elements are not. */
static void fast(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN_CASES; i++) {
        const golden_case *c = &golden_cases[i];
        ivl_model *model = golden_open_model(c->model);
        ivl_session_options options = golden_options();
        ivl_session *session;
        double least = 1;
        run r;

        options.precision = IVL_PRECISION_FAST;
        session = try_open(model, &options);
        if (!session) {
            ivl_model_free(model);
            printf("no fast precision on this device\n");
            skip();
        }
        run_case(session, c, &r);
        for (int t = 0; t < r.outputs.n; t++) {
            golden_array want;
            char name[32];
            golden_difference d;

            golden_name(c, t, name);
            want = golden_read(c->data, name);
            assert_non_null(want.values);
            d = golden_compare(r.outputs.taps[t].data, want.values, want.count);
            least = fmin(least, d.cosine);
            if (!(d.cosine >= 0.9999)) {
                fail_msg("%s, fast: %s has cosine %.6f", c->data, name, d.cosine);
            }
            ivl__free(want.values);
        }
        printf("%s: fast, smallest cosine %.6f\n", c->data, least);
        run_free(&r);
        ivl_session_free(session);
        ivl_model_free(model);
    }
}

/* ---- containers -------------------------------------------------------------------------- */

#define FORMATS "golden/vit_rms/formats/"

static void open_container(const char *name, ivl_model **model)
{
    char path[256];
    ivl_model_options options;
    ivl_error error = {0};
    bool bare = strncmp(name, "pth", 3) == 0;

    ivl_model_options_init(&options);
    if (bare) {
        /* Nothing tells the number of heads of a bare file of this width. */
        options.config = FORMATS "safetensors_bf16/config.json";
    }
    snprintf(path, sizeof path, FORMATS "%s%s", name, bare ? "/vit.pth" : "");
    assert_ok(ivl_model_open(path, &options, model, &error), error);
}

static void containers(void **state)
{
    static const char *const names[] = {"safetensors_bf16", "safetensors_fp16",
                                        "safetensors_fp32", "safetensors_unaligned",
                                        "sharded",          "bin",
                                        "bin_fp32",         "bin_sharded",
                                        "bin_parameters",   "bin_strided",
                                        "bin_shared",       "pth_plain",
                                        "pth_module",       "pth_model"};
    static const golden_case c = {NULL, "golden/vit_rms/formats", 2, 24, 28, 12};
    ivl_session_options options = golden_options();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        double worst = 0;
        ivl_model *model;

        open_container(names[i], &model);
        for (size_t k = 0; k < 3; k++) {
            ivl_session *session;
            run r;

            options.residency = residencies[k];
            session = try_open(model, &options);
            if (session) {
                run_case(session, &c, &r);
                worst = fmax(worst, check_exact(&c, &r, names[i], 2));
                run_free(&r);
                ivl_session_free(session);
            }
        }
        printf("%s: at most %.2f of the bound\n", names[i], worst);
        ivl_model_free(model);
    }
}

static void refused_containers(void **state)
{
    static const char *const cases[][2] = {
        {"must_fail_extra_tensor", "encoder.layers.0.attn.unexpected.weight"},
        {"must_fail_missing_tensor", "encoder.layers.1.attn.k_norm.weight"},
        {"must_fail_wrong_shape", "encoder.layers.1.mlp.fc1.weight"},
        {"bin_legacy", "bin_legacy"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        ivl_model *model = NULL;
        ivl_error error = {0};

        snprintf(path, sizeof path, FORMATS "%s", cases[i][0]);
        assert_fails(ivl_model_open(path, NULL, &model, &error), IVL_BAD_MODEL, error, cases[i][1]);
        assert_null(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact),
        cmocka_unit_test(fast),
        cmocka_unit_test(containers),
        cmocka_unit_test(refused_containers),
    };

    return cmocka_run_group_tests_name("golden", tests, golden_setup, folder_remove);
}
