/* test_session.c - a row's bits depend on nothing but its picture and the way to compute; what a
 * session says it read and holds is what it reads and holds. */
#include "runtime/gemm.h"
#include "tests/model/golden.h"

#define N_IMAGES 5

/* The 6B-style model: hidden 256, MLP 288, 2 blocks, patch 14, stored in bf16. */
#define MODEL      "golden/vit_rms"
#define LAYERS     2
#define WIDTH      256
#define SIDE       56
#define TOKENS     17
#define PATCH_ROW  (3 * 14 * 14)
#define STAGE_0    (2ull * WIDTH * PATCH_ROW)
#define STAGE_I    (2ull * (4 * WIDTH * WIDTH + 2 * WIDTH * 288))
#define ALL_STAGES (STAGE_0 + LAYERS * STAGE_I)

static ivl_model *model;
static uint8_t pictures[N_IMAGES * 84 * 84 * 3]; /* RGB noise */

static int setup(void **state)
{
    uint64_t s = 1;

    for (size_t i = 0; i < sizeof pictures; i++) {
        s = s * 6364136223846793005ull + 1442695040888963407ull;
        pictures[i] = (uint8_t)(s >> 56);
    }
    if (golden_setup(state) != 0) {
        return -1;
    }
    model = golden_open_model(MODEL);
    return 0;
}

static int teardown(void **state)
{
    ivl_model_free(model);
    return folder_remove(state);
}

static ivl_images images_at(int first, int count, int side)
{
    return (ivl_images){.count = count,
                        .width = side,
                        .height = side,
                        .rgb = pictures + (size_t)first * (size_t)(side * side * 3)};
}

/* All taps of pictures first .. first + count - 1 in one call. */
static void run_range(ivl_session *session, int first, int count, golden_outputs *o)
{
    ivl_images images = images_at(first, count, SIDE);
    ivl_error error = {0};

    golden_outputs_make(o, LAYERS, count, TOKENS, WIDTH);
    assert_ok(golden_run(session, &images, o->taps, (size_t)o->n, &error), error);
}

static void run_all(const ivl_session_options *options, golden_outputs *o)
{
    ivl_session *session = golden_open(model, options);

    run_range(session, 0, N_IMAGES, o);
    ivl_session_free(session);
}

static void run_and_compare(const ivl_session_options *options, const golden_outputs *want,
                            const char *what)
{
    golden_outputs got;

    run_all(options, &got);
    golden_outputs_equal(&got, want, what);
    golden_outputs_free(&got);
}

/* ---- equal bits -------------------------------------------------------------------------- */

static void batches(const ivl_session_options *base, const golden_outputs *want)
{
    ivl_session_options options = *base;

    for (int batch = 1; batch <= 4; batch++) {
        options.batch = batch;
        run_and_compare(&options, want, "another batch");
    }
}

/* Each picture alone, and beside others than before: the same rows. */
static void neighbours(const ivl_session_options *options, const golden_outputs *want)
{
    ivl_session *session = golden_open(model, options);

    for (int first = 0; first < N_IMAGES; first++) {
        for (int count = 1; count <= 2 && first + count <= N_IMAGES; count++) {
            golden_outputs got;

            run_range(session, first, count, &got);
            for (int t = 0; t < got.n; t++) {
                size_t floats = got.taps[t].capacity / (size_t)count;

                if (memcmp(got.taps[t].data, want->taps[t].data + (size_t)first * floats,
                           got.taps[t].capacity * sizeof(float)) != 0) {
                    fail_msg("%d pictures from %d: %s differs", count, first, got.names[t]);
                }
            }
            golden_outputs_free(&got);
        }
    }
    ivl_session_free(session);
}

static void residencies(const ivl_session_options *base, const golden_outputs *want)
{
    ivl_session_options options = *base;
    ivl_session *session = NULL;
    ivl_error error = {0};

    for (int r = IVL_RESIDENCY_MAPPED; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_status status;

        options.residency = (ivl_residency)r;
        status = ivl_session_open(model, &options, &session, &error);
        if (status == IVL_OK) {
            ivl_session_free(session);
            options.batch = r; /* and passes that begin anew */
            run_and_compare(&options, want, "another residency");
        } else {
            assert_int_equal(r, IVL_RESIDENCY_MAPPED);
            assert_int_equal(status, IVL_UNSUPPORTED);
        }
    }
}

static void reruns(const ivl_session_options *options, const golden_outputs *want)
{
    ivl_session *session = golden_open(model, options);

    for (int i = 0; i < 3; i++) {
        golden_outputs got;

        run_range(session, 0, N_IMAGES, &got);
        golden_outputs_equal(&got, want, "a rerun");
        golden_outputs_free(&got);
    }
    ivl_session_free(session);
}

static void equal_bits_for(const ivl_session_options *options)
{
    golden_outputs want;

    run_all(options, &want);
    batches(options, &want);
    neighbours(options, &want);
    residencies(options, &want);
    reruns(options, &want);
    golden_outputs_free(&want);
}

/* Every backend with the device's attention, every attention with the device's backend. */
static void equal_bits(void **state)
{
    static const char *const attentions[] = {"cpu", "local", "plain"};
    int ways = 0;

    (void)state;
    for (int precision = IVL_PRECISION_EXACT; precision <= IVL_PRECISION_FAST; precision++) {
        for (int way = -3; way < 0 || ivl__gemm_backends[way]; way++) {
            ivl_session_options options = golden_options();
            ivl_session *session = NULL;
            ivl_error error = {0};
            ivl_status status;

            options.precision = (ivl_precision_choice)precision;
            options.attention = way < 0 ? attentions[way + 3] : NULL;
            options.gemm = way < 0 ? NULL : ivl__gemm_backends[way]->name;
            status = ivl_session_open(model, &options, &session, &error);
            if (status == IVL_UNSUPPORTED) {
                continue;
            }
            assert_ok(status, error);
            ivl_session_free(session);
            equal_bits_for(&options);
            ways++;
        }
    }
    printf("%d ways to compute\n", ways);
    assert_true(ways >= 3);
}

static void taps_alone(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    golden_outputs want;

    (void)state;
    run_range(session, 0, N_IMAGES, &want);
    for (int i = 0; i < want.n; i++) {
        golden_outputs got;
        ivl_images images = images_at(0, N_IMAGES, SIDE);
        ivl_error error = {0};

        golden_outputs_make(&got, LAYERS, N_IMAGES, TOKENS, WIDTH);
        assert_ok(golden_run(session, &images, &got.taps[i], 1, &error), error);
        assert_memory_equal(got.taps[i].data, want.taps[i].data,
                            got.taps[i].capacity * sizeof(float));
        assert_int_equal(got.taps[i].dims[0], N_IMAGES);
        assert_int_equal(got.taps[i].dims[1], i <= LAYERS ? TOKENS : 1);
        assert_int_equal(got.taps[i].dims[2], WIDTH);
        golden_outputs_free(&got);
    }
    golden_outputs_free(&want);
    ivl_session_free(session);
}

/* mean is the mean of the last block's patch tokens: a sum of 16 values of magnitude max |x| in
 * fp32, so at most 16 roundings of the largest partial sum, divided by 16 again. */
static void mean_of_patches(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    float hidden[2 * TOKENS * WIDTH];
    float mean[2 * WIDTH];
    ivl_output outputs[2] = {{.tap = "mean", .data = mean, .capacity = 2 * WIDTH},
                             {.tap = "hidden_2", .data = hidden, .capacity = 2 * TOKENS * WIDTH}};
    ivl_images images = images_at(0, 2, SIDE);
    ivl_error error = {0};

    (void)state;
    assert_ok(golden_run(session, &images, outputs, 2, &error), error);
    for (int i = 0; i < 2; i++) {
        for (int c = 0; c < WIDTH; c++) {
            double sum = 0;
            double largest = 0;

            for (int t = 1; t < TOKENS; t++) {
                double x = (double)hidden[(i * TOKENS + t) * WIDTH + c];

                sum += x;
                largest = fmax(largest, fabs(x));
            }
            assert_true(fabs((double)mean[i * WIDTH + c] - sum / 16) <= 16 * 0x1p-24 * largest);
        }
    }
    ivl_session_free(session);
}

/* ---- counts ------------------------------------------------------------------------------ */

static void check_counts(ivl_session *session, uint64_t images, uint64_t passes, uint64_t bytes)
{
    ivl_stats stats;
    ivl_plan plan;

    ivl_session_get_stats(session, &stats);
    ivl_session_get_plan(session, &plan);
    assert_int_equal(plan.weight_bytes, ALL_STAGES);
    assert_int_equal(stats.images, images);
    assert_int_equal(stats.weight_passes, passes);
    assert_int_equal(stats.weight_bytes_read, bytes);
    assert_int_equal(stats.bytes_streamed, plan.residency == IVL_RESIDENCY_STREAM ? bytes : 0);
    assert_true(plan.residency == IVL_RESIDENCY_MAPPED ? stats.mapped_bytes >= ALL_STAGES
                                                       : stats.mapped_bytes == 0);
    assert_true(stats.peak_device_memory <= plan.budget);
    assert_true(stats.peak_device_memory <= plan.peak_bytes);
}

static void counts(void **state)
{
    (void)state;
    for (int r = IVL_RESIDENCY_MAPPED; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_session_options options = golden_options();
        ivl_images images = images_at(0, 1, SIDE);
        ivl_session *session = NULL;
        ivl_error error = {0};
        golden_outputs o;

        options.residency = (ivl_residency)r;
        options.batch = 2;
        if (ivl_session_open(model, &options, &session, &error) == IVL_UNSUPPORTED) {
            assert_int_equal(r, IVL_RESIDENCY_MAPPED);
            continue;
        }
        check_counts(session, 0, 0, 0);
        run_range(session, 0, N_IMAGES, &o); /* batches of 2, 2, 1 */
        golden_outputs_free(&o);
        check_counts(session, 5, 3, 3 * ALL_STAGES);
        run_range(session, 1, 2, &o); /* one batch more */
        check_counts(session, 7, 4, 4 * ALL_STAGES);
        /* Only the stages that a tap needs. */
        assert_ok(golden_run(session, &images, &o.taps[0], 1, &error), error);
        check_counts(session, 8, 5, 4 * ALL_STAGES + STAGE_0);
        assert_ok(golden_run(session, &images, &o.taps[1], 1, &error), error);
        check_counts(session, 9, 6, 4 * ALL_STAGES + 2 * STAGE_0 + STAGE_I);
        golden_outputs_free(&o);
        ivl_session_free(session);
    }
}

/* ---- budgets ----------------------------------------------------------------------------- */

/* Budgets from the smallest upwards: equal bits in all, and never more than promised. */
static void budgets(void **state)
{
    golden_outputs want;
    ivl_session_options options = golden_options();
    bool sub_batches = false;

    (void)state;
    run_all(&options, &want);
    for (int r = IVL_RESIDENCY_AUTO; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_session *session = NULL;
        ivl_plan plan;
        ivl_error error = {0};
        uint64_t most;

        options = golden_options();
        options.residency = (ivl_residency)r;
        options.batch = N_IMAGES;
        if (ivl_plan_make(model, &options, &plan, &error) == IVL_UNSUPPORTED) {
            continue;
        }
        options.device_memory = plan.minimum_budget - 1;
        assert_fails(ivl_session_open(model, &options, &session, &error), IVL_OUT_OF_DEVICE_MEMORY,
                     error, "MiB");
        most = plan.peak_bytes > ALL_STAGES ? plan.peak_bytes : ALL_STAGES;
        for (uint64_t budget = plan.minimum_budget; budget < most + most / 6; budget += most / 6) {
            golden_outputs got;
            ivl_stats stats;

            options.device_memory = budget;
            session = golden_open(model, &options);
            run_range(session, 0, N_IMAGES, &got);
            golden_outputs_equal(&got, &want, "another budget");
            golden_outputs_free(&got);
            ivl_session_get_stats(session, &stats);
            ivl_session_get_plan(session, &plan);
            assert_int_equal(plan.budget, budget);
            assert_true(stats.peak_device_memory <= budget);
            assert_true(stats.peak_device_memory <= plan.peak_bytes);
            assert_true(plan.peak_bytes <= budget);
            sub_batches |= plan.sub_batch < plan.batch;
            ivl_session_free(session);
        }
    }
    golden_outputs_free(&want);
    assert_true(sub_batches);
}

static void budget_by_share(void **state)
{
    ivl_session_options options = golden_options();
    ivl_plan half;
    ivl_plan whole;
    ivl_error error = {0};

    (void)state;
    options.device_memory_share = 1.0;
    assert_ok(ivl_plan_make(model, &options, &whole, &error), error);
    options.device_memory_share = 0.5;
    assert_ok(ivl_plan_make(model, &options, &half, &error), error);
    assert_true(half.budget == whole.budget / 2);
    options.device_memory_share = 0;
    options.device_memory = whole.budget + 1;
    assert_fails(ivl_plan_make(model, &options, &half, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "--device-memory");
    options.device_memory = 0;
    options.device_memory_share = 1.5;
    assert_fails(ivl_plan_make(model, &options, &half, &error), IVL_INVALID_ARGUMENT, error,
                 "share");
}

/* ---- pictures of several sizes ----------------------------------------------------------- */

static void run_side(ivl_session *session, int side, float *pooled)
{
    ivl_images images = images_at(0, 2, side);
    ivl_output output = {.tap = "pooled", .data = pooled, .capacity = 2 * WIDTH};
    ivl_error error = {0};

    assert_ok(golden_run(session, &images, &output, 1, &error), error);
}

/* A session that has seen other pictures gives the same bits as a new one. */
static void changing_sizes(void **state)
{
    static const int sides[] = {56, 84, 28, 70, 84, 56};
    float want[85][2 * WIDTH];

    (void)state;
    for (int r = IVL_RESIDENCY_AUTO; r <= IVL_RESIDENCY_STREAM; r += IVL_RESIDENCY_STREAM) {
        ivl_session_options options = golden_options();
        ivl_session *session;

        options.residency = (ivl_residency)r;
        for (int i = 0; i < 4; i++) {
            session = golden_open(model, &options);
            run_side(session, sides[i], want[sides[i]]);
            ivl_session_free(session);
        }
        session = golden_open(model, &options);
        for (int i = 0; i < 6; i++) {
            float got[2 * WIDTH];
            ivl_stats stats;

            run_side(session, sides[i], got);
            assert_memory_equal(got, want[sides[i]], sizeof got);
            ivl_session_get_stats(session, &stats);
            assert_int_equal(stats.images, 2 * (i + 1));
            assert_int_equal(stats.weight_passes, i + 1);
            assert_int_equal(stats.weight_bytes_read, (unsigned)(i + 1) * ALL_STAGES);
        }
        ivl_session_free(session);
    }
}

/* Pictures too large for the budget, or of impossible sizes, leave the session usable. */
static void sizes_and_budgets(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session;
    ivl_plan small;
    ivl_plan large;
    ivl_error error = {0};
    float want[2 * WIDTH];
    float got[2 * WIDTH];
    ivl_images images = images_at(0, 2, 84);
    ivl_output output = {.tap = "pooled", .data = got, .capacity = 2 * WIDTH};

    (void)state;
    options.batch = 1;
    session = golden_open(model, &options);
    run_side(session, SIDE, want);
    ivl_session_free(session);
    options.residency = IVL_RESIDENCY_STREAM;
    assert_ok(ivl_plan_make(model, &options, &small, &error), error);
    options.width = options.height = 84;
    assert_ok(ivl_plan_make(model, &options, &large, &error), error);
    options.width = options.height = 0;
    assert_true(large.minimum_budget > small.minimum_budget);

    options.device_memory = large.minimum_budget - 1;
    session = golden_open(model, &options);
    for (int i = 0; i < 2; i++) {
        ivl_images odd = images_at(0, 1, 57);

        run_side(session, SIDE, got);
        assert_memory_equal(got, want, sizeof got);
        assert_fails(golden_run(session, &images, &output, 1, &error), IVL_OUT_OF_DEVICE_MEMORY,
                     error, "--device-memory");
        run_side(session, SIDE, got);
        assert_memory_equal(got, want, sizeof got);
        assert_fails(golden_run(session, &odd, &output, 1, &error), IVL_BAD_INPUT, error, "57");
    }
    ivl_session_free(session);
}

/* Normalised pixels are the same pictures: mean and deviation applied by the host in fp32. */
static void normalized_pixels(void **state)
{
    enum { AREA = SIDE * SIDE };
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    ivl_model_info info;
    float pixels[2 * 3 * AREA];
    float want[2 * WIDTH];
    float got[2 * WIDTH];
    ivl_images images = {.count = 2, .width = SIDE, .height = SIDE, .pixels = pixels};
    ivl_output output = {.tap = "pooled", .data = got, .capacity = 2 * WIDTH};
    ivl_error error = {0};

    (void)state;
    ivl_model_get_info(model, &info);
    for (int i = 0; i < 2 * 3 * AREA; i++) {
        int channel = i / AREA % 3;

        pixels[i] = ((float)pictures[(i / (3 * AREA) * AREA + i % AREA) * 3 + channel] / 255.0f -
                     info.mean[channel]) /
                    info.std[channel];
    }
    for (int i = 0; i < 2; i++) {
        run_side(session, SIDE, want);
        assert_ok(golden_run(session, &images, &output, 1, &error), error);
        assert_memory_equal(got, want, sizeof got);
    }
    ivl_session_free(session);
}

/* ---- progress and mistakes --------------------------------------------------------------- */

typedef struct watcher {
    int calls, stop_at, total;
    bool stop_opening;
    char last[64];
} watcher;

static int watch(void *user, const char *stage, int done, int total)
{
    watcher *w = user;

    if (total == 0) {
        /* A session is being opened. */
        assert_string_equal(stage, "start-up");
        return w->stop_opening;
    }
    assert_int_equal(done, w->calls % total);
    w->total = total;
    snprintf(w->last, sizeof w->last, "%s", stage);
    return w->calls++ == w->stop_at;
}

static void progress_and_cancelling(void **state)
{
    golden_outputs want;

    (void)state;
    for (int r = IVL_RESIDENCY_AUTO; r <= IVL_RESIDENCY_STREAM; r += IVL_RESIDENCY_STREAM) {
        ivl_session_options options = golden_options();
        watcher w = {.stop_at = -1};
        ivl_images images = images_at(0, N_IMAGES, SIDE);
        ivl_session *session;
        ivl_error error = {0};

        options.residency = (ivl_residency)r;
        options.progress = watch;
        options.progress_user = &w;
        session = golden_open(model, &options);
        run_range(session, 0, 1, &want);
        golden_outputs_free(&want);
        assert_int_equal(w.calls, LAYERS + 1);
        assert_int_equal(w.total, LAYERS + 1);
        assert_string_equal(w.last, "block 2");
        run_range(session, 0, N_IMAGES, &want);
        for (int stop = 0; stop <= LAYERS; stop++) {
            golden_outputs got;

            golden_outputs_make(&got, LAYERS, N_IMAGES, TOKENS, WIDTH);
            w = (watcher){.stop_at = stop};
            assert_fails(golden_run(session, &images, got.taps, (size_t)got.n, &error),
                         IVL_CANCELLED, error, "cancelled");
            assert_int_equal(w.calls, stop + 1);
            golden_outputs_free(&got);
            w = (watcher){.stop_at = -1};
            run_range(session, 0, N_IMAGES, &got);
            golden_outputs_equal(&got, &want, "a run after a cancelled one");
            golden_outputs_free(&got);
        }
        golden_outputs_free(&want);
        ivl_session_free(session);
    }
}

/* Without a cache folder every opening is a first use. */
static void opening_can_be_cancelled(void **state)
{
    ivl_session_options options = golden_options();
    watcher w = {.stop_at = -1, .stop_opening = true};
    ivl_session *session = NULL;
    ivl_error error = {0};

    (void)state;
    options.cache_dir = NULL;
    options.progress = watch;
    options.progress_user = &w;
    assert_fails(ivl_session_open(model, &options, &session, &error), IVL_CANCELLED, error,
                 "cancelled before self-test");
    assert_null(session);
}

static void wrong_calls(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    ivl_session *none = NULL;
    ivl_model *geometry = NULL;
    ivl_images images = images_at(0, 1, SIDE);
    float data[WIDTH];
    ivl_error error = {0};
    static const char *const taps[] = {"hidden_3",  "hidden_", "hidden_-1", "hidden_ 1",
                                       "hidden_1x", "",        "pool",      NULL};

    (void)state;
    for (size_t i = 0; i < sizeof taps / sizeof taps[0]; i++) {
        ivl_output output = {.tap = taps[i], .data = data, .capacity = WIDTH};

        assert_fails(golden_run(session, &images, &output, 1, &error), IVL_INVALID_ARGUMENT, error,
                     taps[i] ? taps[i] : "tap");
    }
    {
        ivl_output output = {.tap = "pooled", .data = data, .capacity = WIDTH - 1};

        assert_fails(golden_run(session, &images, &output, 1, &error), IVL_INVALID_ARGUMENT, error,
                     "1 x 1 x 256");
        assert_fails(golden_run(session, &images, &output, 0, &error), IVL_INVALID_ARGUMENT, error,
                     "outputs");
        images.count = 0;
        assert_fails(golden_run(session, &images, &output, 1, &error), IVL_INVALID_ARGUMENT, error,
                     "one picture");
        assert_fails(ivl_run(session, &(ivl_inputs){.images = &images}, &output, 1, &error),
                     IVL_INVALID_ARGUMENT, error, "sizeof(ivl_inputs)");
        assert_fails(ivl_run(session, NULL, &output, 1, &error), IVL_INVALID_ARGUMENT, error,
                     "inputs");
    }
    ivl_session_free(session);
    options.attention = "other";
    assert_fails(ivl_session_open(model, &options, &none, &error), IVL_INVALID_ARGUMENT, error,
                 "other");
    options.attention = NULL;
    options.gemm = "other";
    assert_fails(ivl_session_open(model, &options, &none, &error), IVL_INVALID_ARGUMENT, error,
                 "other");
    options = (ivl_session_options){0};
    assert_fails(ivl_session_open(model, &options, &none, &error), IVL_INVALID_ARGUMENT, error,
                 "ivl_session_options_init");
    assert_ok(ivl_model_open_architecture("internvit-6b-224", &geometry, &error), error);
    options = golden_options();
    assert_fails(ivl_session_open(geometry, &options, &none, &error), IVL_INVALID_ARGUMENT, error,
                 "geometry");
    ivl_model_free(geometry);
    assert_null(none);
}

/* A pinned file decides who computes a matrix; plans read it too. */
static void pinned_tuning(void **state)
{
    ivl_session_options options = golden_options();
    const char *want;
    golden_outputs o;
    ivl_session *session;
    ivl_stats stats;
    ivl_plan plan;
    ivl_error error = {0};

    (void)state;
    session = golden_open(model, &options);
    ivl_session_get_stats(session, &stats);
    want = strcmp(stats.gemm, "cpu") != 0 ? "tile+clblast" : "cpu+clblast";
    ivl_session_free(session);

    write_text("pinned.txt", "internvl-tuning 1\nexact 288 256 bf16 clblast -\n");
    options.tuning_file = in_folder("pinned.txt");
    assert_ok(ivl_plan_make(model, &options, &plan, &error), error);
    assert_true(plan.scratch_bytes > 0);
    session = golden_open(model, &options);
    run_range(session, 0, 2, &o);
    ivl_session_get_stats(session, &stats);
    assert_string_equal(stats.gemm, want);
    ivl_session_free(session);
    golden_outputs_free(&o);

    options.gemm = "tile";
    assert_fails(ivl_session_open(model, &options, &session, &error), IVL_INVALID_ARGUMENT, error,
                 "--gemm auto");
    options.gemm = NULL;
    options.tuning_file = in_folder("missing.txt");
    assert_fails(ivl_session_open(model, &options, &session, &error), IVL_BAD_INPUT, error,
                 "missing.txt");
    assert_fails(ivl_plan_make(model, &options, &plan, &error), IVL_BAD_INPUT, error,
                 "missing.txt");
}

/* A plan for the real model, from its geometry alone. */
static void plan_of_geometry(void **state)
{
    ivl_session_options options = golden_options();
    ivl_model *geometry = NULL;
    ivl_plan plan;
    ivl_error error = {0};

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    options.device_memory = 1ull << 30;
    options.batch = 1;
    assert_ok(ivl_model_open_architecture("internvit-6b-224", &geometry, &error), error);
    assert_ok(ivl_plan_make(geometry, &options, &plan, &error), error);
    assert_int_equal(plan.stages, 49);
    /* 48 blocks of 4 x 3200^2 + 2 x 3200 x 12800 weights and the patch matrix, in bf16. */
    assert_int_equal(plan.weight_bytes,
                     2 * (48 * (4ull * 3200 * 3200 + 2ull * 3200 * 12800) + 3200ull * PATCH_ROW));
    assert_int_equal(plan.slot_bytes, 4 * (4ull * 3200 * 3200 + 2ull * 3200 * 12800));
    assert_true(plan.peak_bytes <= plan.budget);
    ivl_model_free(geometry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_bits),
        cmocka_unit_test(taps_alone),
        cmocka_unit_test(mean_of_patches),
        cmocka_unit_test(counts),
        cmocka_unit_test(budgets),
        cmocka_unit_test(budget_by_share),
        cmocka_unit_test(changing_sizes),
        cmocka_unit_test(sizes_and_budgets),
        cmocka_unit_test(normalized_pixels),
        cmocka_unit_test(progress_and_cancelling),
        cmocka_unit_test(opening_can_be_cancelled),
        cmocka_unit_test(wrong_calls),
        cmocka_unit_test(plan_of_geometry),
        cmocka_unit_test(pinned_tuning),
    };

    return cmocka_run_group_tests_name("session", tests, setup, teardown);
}
