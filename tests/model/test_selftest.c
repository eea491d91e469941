/* test_selftest.c - the self-test passes on a sound device, and tells damaged kernels.
 *
 * Kernels are damaged in a copy of cl/ that the device reads instead of its own.
 */
#include "model/model.h"
#include "model/vit_reference.h"
#include "runtime/file.h"
#include "runtime/os.h"
#include "runtime/selftest.h"
#include "tests/model/golden.h"

/* ---- damaged kernels --------------------------------------------------------------------- */

/* Copies cl/ to <folder>/<name> with `from` replaced by `to` in `file`, which must be there. */
static const char *damaged_kernels(const char *name, const char *file, const char *from,
                                   const char *to)
{
    const char *target = in_folder(name);
    DIR *list = opendir("../cl");
    struct dirent *entry;
    bool found = false;

    assert_non_null(list);
    assert_int_equal(mkdir(target, 0700), 0);
    while ((entry = readdir(list))) {
        char path[600];
        unsigned char *text;
        size_t bytes;
        char *at;
        ivl_error error = {0};

        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof path, "../cl/%s", entry->d_name);
        assert_ok(ivl__file_read(path, 1u << 20, &text, &bytes, &error), error);
        snprintf(path, sizeof path, "%s/%s", target, entry->d_name);
        at = strcmp(entry->d_name, file) == 0 ? strstr((char *)text, from) : NULL;
        if (at) {
            assert_int_equal(strlen(from), strlen(to));
            memcpy(at, to, strlen(to));
            found = true;
        }
        write_file(path, text, bytes);
        ivl__free(text);
    }
    closedir(list);
    assert_true(found);
    return target;
}

/* ---- reports ----------------------------------------------------------------------------- */

typedef struct reports {
    int passed, skipped, failed;
    char first_failed[64];
    bool rms, layer;
} reports;

static int collect(void *user, const char *check, bool passed, bool skipped, double max_error,
                   double bound, const char *note)
{
    reports *r = user;

    printf("  %-24s %s %.3g of %.3g %s\n", check,
           passed    ? "passed"
           : skipped ? "skipped"
                     : "FAILED",
           max_error, bound, note);
    assert_false(passed && !(max_error <= bound));
    r->passed += passed;
    r->skipped += skipped;
    r->failed += !passed && !skipped;
    if (!passed && !skipped && !r->first_failed[0]) {
        snprintf(r->first_failed, sizeof r->first_failed, "%s", check);
    }
    r->rms = r->rms || (passed && strcmp(check, "model_rms") == 0);
    r->layer = r->layer || (passed && strcmp(check, "model_layer") == 0);
    return 0;
}

static void sound_devices_pass(void **state)
{
    ivl_session_options options = golden_options();
    reports r = {0};
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl_selftest(&options, collect, &r, &error), error);
    assert_true(r.rms && r.layer);
    assert_true(r.passed >= 12);
    assert_int_equal(r.failed, 0);
}

static void fast_models_pass(void **state)
{
    ivl_session_options options = golden_options();
    reports r = {0};
    ivl_error error = {0};
    ivl_status status;

    (void)state;
    options.precision = IVL_PRECISION_FAST;
    status = ivl_selftest(&options, collect, &r, &error);
    if (status == IVL_UNSUPPORTED) {
        printf("fast models not tested: %s\n", error.message);
        return;
    }
    assert_ok(status, error);
    assert_true(r.rms && r.layer);
}

/* A weight of the norms that is ignored: the norm and both models are wrong, the session is
 * refused, and the message names the kernel. */
static void damaged_baselines_refuse_the_device(void **state)
{
    ivl_session_options options = golden_options();
    ivl_model *model = golden_open_model("golden/vit_rms/formats/safetensors_bf16");
    ivl_session *session = NULL;
    reports r = {0};
    ivl_error error = {0};

    (void)state;
    options.kernel_dir = damaged_kernels("norm", "norm.cl", "((x) * (scale) * (w))",
                                         "((x) * (scale) + (w))");
    assert_fails(ivl_selftest(&options, collect, &r, &error), IVL_VERIFY_FAILED, error, "failed");
    assert_string_equal(r.first_failed, "norm_rms");
    assert_false(r.rms);
    assert_true(r.layer);
    assert_fails(ivl_session_open(model, &options, &session, &error), IVL_DEVICE_FAILED, error,
                 "norm_rms");
    assert_null(session);
    ivl_model_free(model);
}

/* A wrong `fast` unit is switched off: sessions run exact. */
static void damaged_units_are_switched_off(void **state)
{
    ivl_session_options options = golden_options();
    ivl_model *model = golden_open_model("golden/vit_rms/formats/safetensors_bf16");
    ivl_session *session;
    ivl_stats stats;
    ivl_error error = {0};

    (void)state;
    options.precision = IVL_PRECISION_AUTO;
    session = golden_open(model, &options);
    ivl_session_get_stats(session, &stats);
    ivl_session_free(session);
    if (strcmp(stats.precision, "fast:bf16") != 0) {
        printf("the device has no unit to damage\n");
        ivl_model_free(model);
        return;
    }
    options.kernel_dir = damaged_kernels("fast", "gemm_cpu_bf16.cl", "__asm__(\"vdpbf16ps",
                                         "__asm__(\"vaddps   ");
    session = golden_open(model, &options);
    ivl_session_get_stats(session, &stats);
    assert_string_equal(stats.precision, "exact");
    ivl_session_free(session);
    options.precision = IVL_PRECISION_FAST;
    assert_fails(ivl_session_open(model, &options, &session, &error), IVL_UNSUPPORTED, error,
                 "fast");
    ivl_model_free(model);
}

/* Wrong tiles are switched off alone: `fast` goes on by dot products. */
static void damaged_tiles_give_way(void **state)
{
    ivl_session_options options = golden_options();
    ivl_model *model;
    ivl_session *session;
    reports r = {0};
    ivl_error error = {0};
    ivl_status status;

    (void)state;
    options.precision = IVL_PRECISION_FAST;
    options.kernel_dir = damaged_kernels("tiles", "gemm_cpu_amx.cl", "tdpbf16ps %%tmm7, %%tmm5",
                                         "tdpbf16ps %%tmm7, %%tmm4");
    status = ivl_selftest(&options, collect, &r, &error);
    if (status == IVL_UNSUPPORTED || ivl__cpu_allow_amx()) {
        printf("the device has no tiles to damage\n");
        return;
    }
    assert_fails(status, IVL_VERIFY_FAILED, error, "failed");
    assert_string_equal(r.first_failed, "gemm_cpu_amx");
    assert_true(r.rms && r.layer);
    model = golden_open_model("golden/vit_rms/formats/safetensors_bf16");
    session = golden_open(model, &options);
    ivl_session_free(session);
    ivl_model_free(model);
}

static void wrong_options_are_told(void **state)
{
    static const char *const nothing[] = {"no such device"};
    ivl_session_options options = golden_options();
    ivl_error error = {0};

    (void)state;
    options.gemm = "blas";
    assert_fails(ivl_selftest(&options, NULL, NULL, &error), IVL_INVALID_ARGUMENT, error, "blas");
    options.devices = nothing;
    options.n_devices = 1;
    assert_fails(ivl_selftest(&options, NULL, NULL, &error), IVL_NO_DEVICE, error,
                 "no such device");
}

/* The reference itself against the published implementation: block by block from the recorded
 * input. The recorded arrays are fp32 runs with a known error against float64. */
static void check_reference(const golden_case *c)
{
    ivl_model *model = golden_open_model(c->model);
    golden_array in = golden_read(c->data, "embeddings");
    ivl__vit_reference r = {&model->config.vit, model->weights->vit, (int)in.npy.shape[1], IVL_F32};
    size_t n = (size_t)r.tokens * (size_t)c->width;
    ivl__estimate *x = ivl__calloc(2 * n, sizeof *x);
    int *rows = ivl__calloc((size_t)r.tokens, sizeof *rows);
    ivl_error error = {0};

    for (size_t i = 0; i < n; i++) {
        x[i].value = (double)in.values[i];
    }
    for (int i = 0; i < r.tokens; i++) {
        rows[i] = r.tokens - 1 - i; /* any rows in any order */
    }
    for (int block = 0; block < c->layers; block++) {
        ivl__estimate *from = x + (block % 2 ? n : 0);
        ivl__estimate *to = x + (block % 2 ? 0 : n);
        ivl__estimate *reversed = ivl__calloc(n, sizeof *reversed);
        golden_array want;
        char name[32];
        double worst = 0.0;
        double reach = 0.0;

        assert_ok(ivl__vit_reference_block(&r, block, from, rows, r.tokens, reversed, &error),
                  error);
        for (size_t i = 0; i < n; i++) {
            to[i] = reversed[(size_t)rows[i / (size_t)c->width] * (size_t)c->width +
                             i % (size_t)c->width];
        }
        golden_name(c, block + 1, name);
        want = golden_read(c->data, name);
        for (size_t i = 0; i < n; i++) {
            double difference = fabs(to[i].value - (double)want.values[i]);

            worst = fmax(worst, difference);
            reach = fmax(reach, difference / to[i].deviation);
        }
        printf("%s %s: %.3g, bound %.3g; at most %.2f deviations\n", c->data, name, worst,
               golden_bound(c->data, name), reach);
        /* That run was fp32 as well, from the same input. */
        assert_true(reach <= IVL__REFERENCE_DEVIATIONS);
        assert_true(worst <= golden_bound(c->data, name));
        ivl__free(want.values);
        ivl__free(reversed);
    }
    ivl__free(x);
    ivl__free(rows);
    ivl__free(in.values);
    ivl_model_free(model);
}

static void reference_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_GOLDEN_CASES; i++) {
        check_reference(&golden_cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_right),
        cmocka_unit_test(sound_devices_pass),
        cmocka_unit_test(fast_models_pass),
        cmocka_unit_test(damaged_baselines_refuse_the_device),
        cmocka_unit_test(damaged_units_are_switched_off),
        cmocka_unit_test(damaged_tiles_give_way),
        cmocka_unit_test(wrong_options_are_told),
    };

    return cmocka_run_group_tests_name("selftest", tests, golden_setup, folder_remove);
}
