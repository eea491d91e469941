/* test_faults.c - every OpenCL call and every allocation may fail, once or from then on: each time
 * a status with a message, nothing left behind, and right results afterwards. */
#include "runtime/opencl.h"
#include "tests/model/clip_golden.h"

#define MODEL  "golden/vit_eps/rms"
#define LAYERS 1
#define WIDTH  32
#define SIDE   28
#define TOKENS 5
#define IMAGES 2

static golden_array pixels;

static ivl_images pictures(void)
{
    return (ivl_images){.count = IMAGES, .width = SIDE, .height = SIDE, .pixels = pixels.values};
}

static int setup(void **state)
{
    if (golden_setup(state) != 0) {
        return -1;
    }
    pixels = golden_read(MODEL, "pixel_values");
    return pixels.values ? 0 : -1;
}

static int teardown(void **state)
{
    ivl__free(pixels.values);
    return folder_remove(state);
}

/* ---- what may be left behind --------------------------------------------------------------- */

typedef struct left {
    int64_t objects, device_bytes, blocks;
} left;

static left left_now(void)
{
    return (left){ivl__cl_live_objects(), ivl__cl_live_bytes(), ivl__memory_live()};
}

static void assert_same_left(left before, const char *what, int64_t n)
{
    left after = left_now();

    if (after.objects != before.objects || after.device_bytes != before.device_bytes ||
        after.blocks != before.blocks) {
        fail_msg("%s %lld: %lld OpenCL objects, %lld device bytes, %lld blocks are left behind",
                 what, (long long)n, (long long)(after.objects - before.objects),
                 (long long)(after.device_bytes - before.device_bytes),
                 (long long)(after.blocks - before.blocks));
    }
}

/* ---- faults ------------------------------------------------------------------------------- */

/* A way to fail: OpenCL calls or host allocations, one or all from then on. */
typedef struct fault {
    const char *name;
    bool memory, forever;
    cl_int code;
} fault;

static const fault faults[] = {
    {"OpenCL call", false, false, CL_OUT_OF_RESOURCES},
    {"OpenCL calls from", false, true, CL_INVALID_COMMAND_QUEUE},
    {"allocation", true, false, 0},
    {"allocations from", true, true, 0},
};
#define N_FAULTS (sizeof faults / sizeof faults[0])

/* The n after this one: all of them with IVL_TEST_ALL_FAULTS set (minutes), else the first sixteen
 * and every thirteenth, which no repeating group of calls of a block is a multiple of. */
static int64_t next_fault_by(int64_t n, int64_t stride)
{
    return getenv("IVL_TEST_ALL_FAULTS") || n < 16 ? n + 1 : n + stride;
}

static int64_t next_fault(int64_t n)
{
    return next_fault_by(n, 13);
}

static void arm(const fault *f, int64_t n)
{
    if (f->memory) {
        ivl__memory_fail(n, f->forever);
    } else {
        ivl__cl_fail(NULL, n, f->forever, f->code);
    }
}

/* Whether the fault came about: there were more than n calls. */
static bool disarm(const fault *f, int64_t n)
{
    int64_t calls = f->memory ? ivl__memory_calls() : ivl__cl_calls();

    ivl__memory_fail(-1, false);
    ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
    return calls > n;
}

/* ---- the whole way: open, run, close -------------------------------------------------------- */

/* What is run. */
typedef struct subject {
    const char *model;
    void (*make)(golden_outputs *o);
    ivl_status (*run)(ivl_session *session, golden_outputs *o, ivl_error *error);
    int64_t stride; /* of the faults tried */
} subject;

static void make_tower(golden_outputs *o)
{
    golden_outputs_make(o, LAYERS, IMAGES, TOKENS, WIDTH);
}

static ivl_status run_tower(ivl_session *session, golden_outputs *o, ivl_error *error)
{
    ivl_images images = pictures();

    return golden_run(session, &images, o->taps, (size_t)o->n, error);
}

static const subject tower = {MODEL, make_tower, run_tower, 13};

/* Two images and two texts through everything but image-text matching. */
static const int32_t token_ids[] = {1, 463, 754, 718, 2, 1, 463, 2};
static const int32_t token_offsets[] = {0, 5, 8};
static const ivl_texts two_texts = {2, token_ids, token_offsets};

static void make_clip(golden_outputs *o)
{
    clip_outputs_make(o, 2, &two_texts);
}

static ivl_status run_clip(ivl_session *session, golden_outputs *o, ivl_error *error)
{
    static uint8_t rgb[2 * CLIP_SIDE * CLIP_SIDE * 3];
    const ivl_images images = {.count = 2, .width = CLIP_SIDE, .height = CLIP_SIDE, .rgb = rgb};
    const ivl_inputs inputs = {.size = sizeof inputs, .images = &images, .texts = &two_texts};

    return ivl_run(session, &inputs, o->taps, (size_t)o->n, error);
}

static const subject clip = {CLIP, make_clip, run_clip, 61};

static ivl_status whole_way(const subject *of, const ivl_session_options *options,
                            golden_outputs *o, ivl_error *error)
{
    ivl_model *model = NULL;
    ivl_session *session = NULL;
    ivl_status status = ivl_model_open(of->model, NULL, &model, error);

    if (status == IVL_OK) {
        status = ivl_session_open(model, options, &session, error);
    }
    if (status == IVL_OK) {
        status = of->run(session, o, error);
    }
    ivl_session_free(session);
    ivl_model_free(model);
    return status;
}

static void check_failure(const fault *f, int64_t n, ivl_status status, const ivl_error *error)
{
    if (error->status != status || !error->message[0] || strchr(error->message, '\n') ||
        status == IVL_INTERNAL || (f->memory && status != IVL_OUT_OF_MEMORY)) {
        fail_msg("%s %lld: %s: \"%s\"", f->name, (long long)n, ivl_status_name(status),
                 error->message);
    }
}

/* One fault after the other until one comes too late; how many did harm. Some do none: what a
 * device is asked and need not tell, what can be done without. Then results are what they were. */
static int64_t fail_each(const subject *of, const fault *f, const ivl_session_options *options,
                         const golden_outputs *want)
{
    int64_t harmed = 0;
    bool came = true;

    for (int64_t n = 0; came; n = next_fault_by(n, of->stride)) {
        left before;
        golden_outputs got;
        ivl_error error = {0};
        ivl_status status;

        of->make(&got);
        before = left_now();
        arm(f, n);
        status = whole_way(of, options, &got, &error);
        came = disarm(f, n);
        assert_same_left(before, f->name, n);
        if (status == IVL_OK) {
            golden_outputs_equal(&got, want, f->name);
        } else {
            check_failure(f, n, status, &error);
            harmed++;
        }
        golden_outputs_free(&got);
        assert_true(n < 20000);
    }
    return harmed;
}

static void whole_ways(const subject *of)
{
    ivl_session_options options = golden_options();
    golden_outputs want;
    ivl_error error = {0};

    options.residency = IVL_RESIDENCY_STREAM;
    of->make(&want);
    assert_ok(whole_way(of, &options, &want, &error), error);
    for (size_t i = 0; i < N_FAULTS; i++) {
        int64_t harmed = fail_each(of, &faults[i], &options, &want);

        printf("%s: %s n: %lld failures told\n", of->model, faults[i].name, (long long)harmed);
        assert_true(harmed > 20);
    }
    golden_outputs_free(&want);
}

static void from_open_to_close(void **state)
{
    (void)state;
    whole_ways(&tower);
}

static void images_and_texts(void **state)
{
    (void)state;
    whole_ways(&clip);
}

/* ---- one session ---------------------------------------------------------------------------- */

/* A run that failed leaves a session that gives the same bits as before. */
static int64_t fail_runs(const fault *f, ivl_session *session, const golden_outputs *want)
{
    ivl_images images = pictures();
    int64_t harmed = 0;
    bool came = true;

    for (int64_t n = 0; came; n = next_fault(n)) {
        ivl_error error = {0};
        ivl_status status;
        golden_outputs got;
        left before = left_now();

        golden_outputs_make(&got, LAYERS, IMAGES, TOKENS, WIDTH);
        arm(f, n);
        status = golden_run(session, &images, got.taps, (size_t)got.n, &error);
        came = disarm(f, n);
        if (status != IVL_OK) {
            check_failure(f, n, status, &error);
            harmed++;
            assert_ok(golden_run(session, &images, got.taps, (size_t)got.n, &error), error);
        }
        golden_outputs_equal(&got, want, f->name);
        golden_outputs_free(&got);
        if (ivl__cl_live_objects() > before.objects + 2) { /* an event of each slot may stay */
            fail_msg("%s %lld: a session grows by %lld OpenCL objects", f->name, (long long)n,
                     (long long)(ivl__cl_live_objects() - before.objects));
        }
    }
    return harmed;
}

static void again_in_one_session(void **state)
{
    (void)state;
    for (int r = IVL_RESIDENCY_RESIDENT; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_session_options options = golden_options();
        ivl_images images = pictures();
        left before = left_now();
        ivl_model *model = golden_open_model(MODEL);
        ivl_session *session;
        golden_outputs want;
        ivl_error error = {0};

        options.residency = (ivl_residency)r;
        options.batch = 1;
        session = golden_open(model, &options);
        golden_outputs_make(&want, LAYERS, IMAGES, TOKENS, WIDTH);
        assert_ok(golden_run(session, &images, want.taps, (size_t)want.n, &error), error);
        for (size_t i = 0; i < 3; i++) { /* the last has nothing to fail: runs allocate little */
            printf("%s n of a run: %lld failures told\n", faults[i].name,
                   (long long)fail_runs(&faults[i], session, &want));
        }
        ivl_session_free(session);
        ivl_model_free(model);
        golden_outputs_free(&want);
        assert_same_left(before, "session", r);
    }
}

/* A change of the pictures' size makes new buffers: failures there leave the old size usable. */
static void at_a_change_of_size(void **state)
{
    ivl_session_options options = golden_options();
    ivl_model *model = golden_open_model("golden/vit_ln");
    golden_array small = golden_read("golden/vit_ln/px56", "pixel_values");
    golden_array large = golden_read("golden/vit_ln/px84", "pixel_values");
    ivl_images images[2] = {{.count = 1, .width = 56, .height = 56, .pixels = small.values},
                            {.count = 1, .width = 84, .height = 84, .pixels = large.values}};
    float want[2][128];
    ivl_session *session;
    ivl_error error = {0};

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    session = golden_open(model, &options);
    for (int i = 0; i < 2; i++) {
        ivl_output output = {.tap = "pooled", .data = want[i], .capacity = 128};

        assert_ok(golden_run(session, &images[i], &output, 1, &error), error);
    }
    for (size_t f = 0; f < N_FAULTS; f++) {
        bool came = true;
        int changes = 0;

        for (int64_t n = 0; came; n = next_fault(n)) {
            float got[128];
            ivl_output output = {.tap = "pooled", .data = got, .capacity = 128};
            ivl_stats stats;
            ivl_status status;
            int size = changes++ % 2 == 0;

            assert_ok(golden_run(session, &images[!size], &output, 1, &error), error);
            assert_memory_equal(got, want[!size], sizeof got);
            arm(&faults[f], n);
            status = golden_run(session, &images[size], &output, 1, &error);
            came = disarm(&faults[f], n);
            ivl_session_get_stats(session, &stats);
            if (status != IVL_OK) {
                check_failure(&faults[f], n, status, &error);
                assert_ok(golden_run(session, &images[size], &output, 1, &error), error);
            }
            assert_memory_equal(got, want[size], sizeof got);
        }
    }
    ivl_session_free(session);
    ivl_model_free(model);
    ivl__free(small.values);
    ivl__free(large.values);
}

/* ---- less memory than told ------------------------------------------------------------------ */

static int warnings;

static void count_warnings(void *user, ivl_log_level level, const char *text)
{
    (void)user;
    warnings += level == IVL_LOG_WARNING && strstr(text, "planning for") != NULL;
}

/* Each buffer of a session may be the one that the device does not give: a smaller plan serves. */
static void smaller_plans_are_tried(void **state)
{
    ivl_session_options options = golden_options();
    ivl_images images = pictures();
    ivl_model *model = golden_open_model(MODEL);
    golden_outputs want;
    golden_outputs got;
    ivl_plan full;
    ivl_error error = {0};
    ivl_session *session;
    int smaller = 0;

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    options.batch = 16;
    session = golden_open(model, &options);
    ivl_session_get_plan(session, &full);
    golden_outputs_make(&want, LAYERS, IMAGES, TOKENS, WIDTH);
    golden_outputs_make(&got, LAYERS, IMAGES, TOKENS, WIDTH);
    assert_ok(golden_run(session, &images, want.taps, (size_t)want.n, &error), error);
    ivl_session_free(session);
    ivl_set_log(count_warnings, NULL);
    for (int64_t n = 0; n < 16; n++) {
        ivl_plan plan;
        ivl_status status;

        warnings = 0;
        ivl__cl_fail("clCreateBuffer", n, false, CL_MEM_OBJECT_ALLOCATION_FAILURE);
        status = ivl_session_open(model, &options, &session, &error);
        ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
        if (status != IVL_OK) { /* buffers that are not in a plan: the self-test's, vectors */
            assert_int_equal(status, IVL_OUT_OF_DEVICE_MEMORY);
            continue;
        }
        ivl_session_get_plan(session, &plan);
        assert_true(warnings == 0 || plan.peak_bytes <= full.peak_bytes / 4 * 3);
        smaller += warnings;
        assert_ok(golden_run(session, &images, got.taps, (size_t)got.n, &error), error);
        golden_outputs_equal(&got, &want, "a smaller plan");
        ivl_session_free(session);
    }
    ivl_set_log(NULL, NULL);
    assert_true(smaller >= 5); /* two slots, pictures, residual rows, normed rows, ... */
    golden_outputs_free(&got);
    golden_outputs_free(&want);
    ivl_model_free(model);
}

/* A driver that shares the host's memory and gives no view of a file's pages: `auto` copies the
 * weights, whoever asked for views is told. */
static void weights_are_copied_where_views_fail(void **state)
{
    ivl_session_options options = golden_options();
    ivl_images images = pictures();
    ivl_model *model = golden_open_model(MODEL);
    ivl_session *session = golden_open(model, &options);
    golden_outputs want, got;
    ivl_plan plan;
    ivl_error error = {0};
    int copied = 0;

    (void)state;
    ivl_session_get_plan(session, &plan);
    golden_outputs_make(&want, LAYERS, IMAGES, TOKENS, WIDTH);
    golden_outputs_make(&got, LAYERS, IMAGES, TOKENS, WIDTH);
    assert_ok(golden_run(session, &images, want.taps, (size_t)want.n, &error), error);
    ivl_session_free(session);
    for (int64_t n = 0; n < 16 && plan.residency == IVL_RESIDENCY_MAPPED; n++) {
        ivl_status status;
        ivl_plan other;

        options.residency = IVL_RESIDENCY_AUTO;
        ivl__cl_fail("clCreateBuffer", n, false, CL_INVALID_HOST_PTR);
        status = ivl_session_open(model, &options, &session, &error);
        ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
        if (status != IVL_OK) { /* buffers that are no views */
            continue;
        }
        ivl_session_get_plan(session, &other);
        if (other.residency == IVL_RESIDENCY_RESIDENT) {
            copied++;
            assert_int_equal(other.mapped_bytes, 0);
            assert_ok(golden_run(session, &images, got.taps, (size_t)got.n, &error), error);
            golden_outputs_equal(&got, &want, "copied weights");
        }
        ivl_session_free(session);
        if (other.residency == IVL_RESIDENCY_RESIDENT) {
            options.residency = IVL_RESIDENCY_MAPPED;
            ivl__cl_fail("clCreateBuffer", n, false, CL_INVALID_HOST_PTR);
            assert_fails(ivl_session_open(model, &options, &session, &error), IVL_DEVICE_FAILED,
                         error, "mapped weights");
            ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
        }
    }
    assert_true(copied > 0 || plan.residency != IVL_RESIDENCY_MAPPED);
    golden_outputs_free(&got);
    golden_outputs_free(&want);
    ivl_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_open_to_close),
        cmocka_unit_test(images_and_texts),
        cmocka_unit_test(again_in_one_session),
        cmocka_unit_test(at_a_change_of_size),
        cmocka_unit_test(smaller_plans_are_tried),
        cmocka_unit_test(weights_are_copied_where_views_fail),
    };

    return cmocka_run_group_tests_name("faults", tests, setup, teardown);
}
