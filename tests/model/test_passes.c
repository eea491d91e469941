/* test_passes.c - images and texts in one run: a row's bits depend on nothing but its image or
 * text, one pass over the weights serves the whole batch, budgets hold, and what is wrong is named.
 */
#include "runtime/file.h"
#include "runtime/gemm.h"
#include "tests/model/clip_golden.h"

#define IMAGE_BYTES (3 * CLIP_SIDE * CLIP_SIDE)

static uint8_t pictures[CLIP_IMAGES * IMAGE_BYTES]; /* RGB noise */
static clip_texts texts;
static ivl_model *model;

static int setup(void **state)
{
    uint64_t s = 1;

    for (size_t i = 0; i < sizeof pictures; i++) {
        pictures[i] = (uint8_t)test_random(&s);
    }
    if (golden_setup(state) != 0) {
        return -1;
    }
    clip_read_texts(&texts);
    model = golden_open_model(CLIP);
    return 0;
}

static int teardown(void **state)
{
    ivl_model_free(model);
    return folder_remove(state);
}

static ivl_images images_at(int first, int count)
{
    return (ivl_images){.count = count,
                        .width = CLIP_SIDE,
                        .height = CLIP_SIDE,
                        .rgb = pictures + (size_t)first * IMAGE_BYTES};
}

/* Texts first .. first + count - 1. */
static void texts_at(int first, int count, clip_texts *some)
{
    memset(some, 0, sizeof *some);
    some->texts.offsets = some->offsets;
    for (int i = first; i < first + count; i++) {
        clip_add_text(some, texts.ids + texts.offsets[i], texts.offsets[i + 1] - texts.offsets[i],
                      0);
    }
}

static void run_everything(ivl_session *session, golden_outputs *o)
{
    const ivl_images images = images_at(0, CLIP_IMAGES);

    clip_outputs_make(o, CLIP_IMAGES, &texts.texts);
    clip_run(session, &images, &texts.texts, o);
}

static void run_and_compare(const ivl_session_options *options, const golden_outputs *want,
                            const char *what)
{
    ivl_session *session = golden_open(model, options);
    golden_outputs got;

    run_everything(session, &got);
    golden_outputs_equal(&got, want, what);
    golden_outputs_free(&got);
    ivl_session_free(session);
}

/* ---- equal bits -------------------------------------------------------------------------- */

/* Which row of the whole run a tap begins with for this image and text. */
static size_t first_row(int tap, int image, int text)
{
    if (tap < CLIP_TEXT_0) {
        return (size_t)image;
    }
    return tap <= CLIP_TEXT_ROWS ? (size_t)texts.offsets[text] : (size_t)text;
}

static void compare_part(const golden_outputs *got, const golden_outputs *want, int image,
                         int n_images, int text, int n_texts, const char *what)
{
    const size_t tokens = (size_t)(texts.offsets[text + n_texts] - texts.offsets[text]);

    for (int t = 0; t < CLIP_TAPS; t++) {
        size_t rows = t < CLIP_TEXT_0       ? (size_t)n_images
                      : t <= CLIP_TEXT_ROWS ? tokens
                                            : (size_t)n_texts;
        size_t width = rows ? got->taps[t].capacity / rows : 0;

        if (memcmp(got->taps[t].data, want->taps[t].data + first_row(t, image, text) * width,
                   got->taps[t].capacity * sizeof(float)) != 0) {
            fail_msg("%s: %d images from %d, %d texts from %d: %s differs", what, n_images, image,
                     n_texts, text, got->names[t]);
        }
    }
}

static void part(ivl_session *session, const golden_outputs *want, int image, int n_images,
                 int text, int n_texts)
{
    const ivl_images images = images_at(image, n_images);
    golden_outputs got;
    clip_texts some;

    texts_at(text, n_texts, &some);
    clip_outputs_make(&got, n_images, &some.texts);
    clip_run(session, n_images ? &images : NULL, n_texts ? &some.texts : NULL, &got);
    compare_part(&got, want, image, n_images, text, n_texts, "other neighbours");
    golden_outputs_free(&got);
}

/* Alone, and beside others than before: the same rows. */
static void neighbours(void **state)
{
    (void)state;
    for (int way = -1; way < 0 || ivl__gemm_backends[way]; way++) {
        ivl_session_options options = golden_options();
        ivl_session *session = NULL;
        ivl_error error = {0};
        golden_outputs want;

        options.precision = way < 0 ? IVL_PRECISION_FAST : IVL_PRECISION_EXACT;
        options.gemm = way < 0 ? NULL : ivl__gemm_backends[way]->name;
        if (ivl_session_open(model, &options, &session, &error) == IVL_UNSUPPORTED) {
            continue;
        }
        run_everything(session, &want);
        for (int i = 0; i < CLIP_TEXTS; i++) {
            part(session, &want, 0, 0, i, 1);
        }
        for (int i = 0; i < CLIP_IMAGES; i++) {
            part(session, &want, i, 1, 0, 0);
        }
        part(session, &want, 1, 2, 3, 5);
        part(session, &want, 0, 0, 6, 4);
        part(session, &want, 2, 2, 7, 1);
        golden_outputs_free(&want);
        ivl_session_free(session);
    }
}

static void batches_and_residencies(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    golden_outputs want, again;

    (void)state;
    run_everything(session, &want);
    run_everything(session, &again);
    golden_outputs_equal(&again, &want, "a rerun");
    golden_outputs_free(&again);
    ivl_session_free(session);
    for (int batch = 1; batch <= 3; batch++) {
        options.batch = batch;
        run_and_compare(&options, &want, "another batch");
    }
    for (int r = IVL_RESIDENCY_MAPPED; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_plan plan;
        ivl_error error = {0};

        options = golden_options();
        options.residency = (ivl_residency)r;
        options.batch = r;
        if (ivl_plan_make(model, &options, &plan, &error) != IVL_UNSUPPORTED) {
            run_and_compare(&options, &want, "another residency");
        }
    }
    golden_outputs_free(&want);
}

/* A tap that is asked for twice gives the same twice. */
static void twice(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    const ivl_images images = images_at(0, 2);
    golden_outputs a, b;
    clip_texts some;

    (void)state;
    texts_at(0, 2, &some);
    clip_outputs_make(&a, 2, &some.texts);
    clip_outputs_make(&b, 2, &some.texts);
    for (int i = 0; i < CLIP_TAPS; i++) {
        ivl_output outputs[2] = {a.taps[i], b.taps[i]};
        ivl_error error = {0};

        assert_ok(ivl_run(session,
                          &(ivl_inputs){
                              .size = sizeof(ivl_inputs), .images = &images, .texts = &some.texts},
                          outputs, 2, &error),
                  error);
    }
    golden_outputs_equal(&a, &b, "a second time");
    golden_outputs_free(&a);
    golden_outputs_free(&b);
    ivl_session_free(session);
}

/* Image i with text i, in passes of other sizes. */
static void pairs(void **state)
{
    float want[2 * CLIP_IMAGES];

    (void)state;
    for (int batch = 0; batch <= 3; batch++) {
        ivl_session_options options = golden_options();
        const ivl_images images = images_at(0, CLIP_IMAGES);
        float got[2 * CLIP_IMAGES];
        ivl_output itm = {.tap = "itm", .data = batch ? got : want, .capacity = 2 * CLIP_IMAGES};
        ivl_session *session;
        ivl_error error = {0};
        clip_texts some;

        texts_at(0, CLIP_IMAGES, &some);
        options.batch = batch;
        options.residency = batch == 2 ? IVL_RESIDENCY_STREAM : IVL_RESIDENCY_AUTO;
        session = golden_open(model, &options);
        assert_ok(ivl_run(session,
                          &(ivl_inputs){
                              .size = sizeof(ivl_inputs), .images = &images, .texts = &some.texts},
                          &itm, 1, &error),
                  error);
        ivl_session_free(session);
        if (batch) {
            assert_memory_equal(got, want, sizeof want);
        }
    }
}

/* ---- plans ------------------------------------------------------------------------------- */

/* Budgets from the smallest upwards: equal bits in all, and never more than promised. */
static void budgets(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    golden_outputs want;
    bool sub_batches = false;

    (void)state;
    run_everything(session, &want);
    ivl_session_free(session);
    for (int r = IVL_RESIDENCY_AUTO; r <= IVL_RESIDENCY_STREAM; r += IVL_RESIDENCY_STREAM) {
        ivl_plan plan;
        ivl_error error = {0};

        options = golden_options();
        options.residency = (ivl_residency)r;
        options.batch = CLIP_IMAGES;
        assert_ok(ivl_plan_make(model, &options, &plan, &error), error);
        options.device_memory = plan.minimum_budget - 1;
        assert_fails(ivl_session_open(model, &options, &session, &error), IVL_OUT_OF_DEVICE_MEMORY,
                     error, "MiB");
        for (int step = 0; step <= 3; step++) {
            uint64_t most = plan.peak_bytes > plan.weight_bytes ? plan.peak_bytes
                                                                : plan.weight_bytes;
            golden_outputs got;
            ivl_stats stats;
            ivl_plan used;

            options.device_memory = plan.minimum_budget +
                                    (uint64_t)step * (most - plan.minimum_budget) / 3;
            session = golden_open(model, &options);
            run_everything(session, &got);
            golden_outputs_equal(&got, &want, "another budget");
            golden_outputs_free(&got);
            ivl_session_get_stats(session, &stats);
            ivl_session_get_plan(session, &used);
            assert_true(stats.peak_device_memory <= used.peak_bytes);
            assert_true(used.peak_bytes <= options.device_memory);
            sub_batches |= used.sub_batch < used.batch;
            ivl_session_free(session);
        }
    }
    golden_outputs_free(&want);
    assert_true(sub_batches);
}

/* Eight images and 64 texts of the longest kind in one batch: each tile of the weights is read
 * once, in every residency. */
static void one_pass(void **state)
{
    enum { IMAGES = 8, TEXTS = 64, LENGTH = 80 };
    static float g[IMAGES * CLIP_EMBED], c[IMAGES * CLIP_EMBED], t[TEXTS * CLIP_EMBED];
    int32_t *ids = ivl__calloc(TEXTS * LENGTH, sizeof *ids);
    uint8_t *rgb = ivl__calloc(IMAGES, IMAGE_BYTES);
    int32_t offsets[TEXTS + 1];
    const ivl_texts many = {.count = TEXTS, .ids = ids, .offsets = offsets};
    const ivl_images images = {
        .count = IMAGES, .width = CLIP_SIDE, .height = CLIP_SIDE, .rgb = rgb};
    const ivl_inputs inputs = {.size = sizeof inputs, .images = &images, .texts = &many};

    (void)state;
    assert_non_null(ids);
    assert_non_null(rgb);
    for (int i = 0; i < TEXTS * LENGTH; i++) {
        ids[i] = 3 + i % 790;
    }
    for (int i = 0; i <= TEXTS; i++) {
        offsets[i] = i * LENGTH;
    }
    for (int r = IVL_RESIDENCY_AUTO; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_output outputs[] = {{.tap = "image_c", .data = c, .capacity = IMAGES * CLIP_EMBED},
                                {.tap = "image_g", .data = g, .capacity = IMAGES * CLIP_EMBED},
                                {.tap = "text", .data = t, .capacity = TEXTS * CLIP_EMBED}};
        ivl_session_options options = golden_options();
        ivl_session *session = NULL;
        ivl_error error = {0};
        ivl_stats stats;
        ivl_plan plan;

        options.residency = (ivl_residency)r;
        options.batch = IMAGES;
        if (ivl_session_open(model, &options, &session, &error) == IVL_UNSUPPORTED) {
            continue;
        }
        assert_ok(ivl_run(session, &inputs, outputs, 3, &error), error);
        ivl_session_get_stats(session, &stats);
        ivl_session_get_plan(session, &plan);
        assert_int_equal(stats.images, IMAGES);
        assert_int_equal(stats.texts, TEXTS);
        assert_int_equal(stats.weight_passes, 1);
        /* All but the head of image-text matching: [2, 128] in bf16. */
        assert_int_equal(stats.weight_bytes_read, plan.weight_bytes - 2 * 128 * 2);
        ivl_session_free(session);
    }
    ivl__free(ids);
    ivl__free(rgb);
}

/* A session for texts alone has a place for nothing else, and takes longer texts than planned. */
static void texts_alone(void **state)
{
    ivl_session_options options = golden_options();
    ivl_session *session;
    ivl_plan all, few;
    ivl_error error = {0};
    float want[CLIP_EMBED], got[CLIP_EMBED], image[CLIP_EMBED];
    int32_t ids[200];
    const int32_t offsets[2] = {0, 200};
    const ivl_texts one = {.count = 1, .ids = ids, .offsets = offsets};
    const ivl_inputs inputs = {.size = sizeof inputs, .texts = &one};
    ivl_output text = {.tap = "text", .data = want, .capacity = CLIP_EMBED};
    ivl_output image_c = {.tap = "image_c", .data = image, .capacity = CLIP_EMBED};

    (void)state;
    for (int i = 0; i < 200; i++) {
        ids[i] = 3 + i;
    }
    options.residency = IVL_RESIDENCY_STREAM;
    assert_ok(ivl_plan_make(model, &options, &all, &error), error);
    session = golden_open(model, &options);
    assert_ok(ivl_run(session, &inputs, &text, 1, &error), error);
    ivl_session_free(session);
    options.modes = "text";
    session = golden_open(model, &options);
    ivl_session_get_plan(session, &few);
    assert_true(few.weight_bytes < all.weight_bytes);
    assert_true(few.minimum_budget < all.minimum_budget);
    text.data = got;
    assert_ok(ivl_run(session, &inputs, &text, 1, &error), error);
    assert_memory_equal(got, want, sizeof want);
    assert_fails(ivl_run(session, &inputs, &image_c, 1, &error), IVL_UNSUPPORTED, error, "image_c");
    ivl_session_free(session);
}

/* The real model on small devices, from its geometry alone. A slot holds the largest stage: gate,
 * up and down projections of a layer, 3 x 4096 x 11008 in bf16. */
static void plans_of_the_14b(void **state)
{
    static const uint64_t budgets_mib[] = {1024, 4096, 16384};
    ivl_model *geometry = NULL;
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl_model_open_architecture("internvl-14b-224", &geometry, &error), error);
    for (size_t i = 0; i < 3; i++) {
        ivl_session_options options = golden_options();
        ivl_plan plan;
        ivl_status status;

        options.device_memory = budgets_mib[i] << 20;
        options.batch = 8;
        options.residency = IVL_RESIDENCY_STREAM;
        status = ivl_plan_make(geometry, &options, &plan, &error);
        if (i && status == IVL_OUT_OF_DEVICE_MEMORY) {
            continue; /* more than this machine has */
        }
        assert_ok(status, error);
        /* 49 of the tower, 3 for every second of 32 layers and 2 for the others, 4 heads. */
        assert_int_equal(plan.stages, 49 + 16 * 5 + 4);
        assert_int_equal(plan.batch, 8);
        assert_int_equal(plan.text_rows, 8 * (96 + 8 * 80));
        assert_int_equal(plan.slot_bytes, 2 * 2 * 3ull * 4096 * 11008);
        assert_true(plan.peak_bytes <= plan.budget);
        options.device_memory = plan.minimum_budget;
        assert_ok(ivl_plan_make(geometry, &options, &plan, &error), error);
        assert_true(plan.peak_bytes <= plan.minimum_budget);
    }
    ivl_model_free(geometry);
}

/* ---- what is wrong ----------------------------------------------------------------------- */

static void refused(ivl_session *session, const ivl_images *images, const ivl_texts *given,
                    const char *tap, ivl_status status, const char *words)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .images = images, .texts = given};
    float data[2 * CLIP_EMBED];
    ivl_output output = {.tap = tap, .data = data, .capacity = 2 * CLIP_EMBED};
    ivl_error error = {0};

    assert_fails(ivl_run(session, &inputs, &output, 1, &error), status, error, words);
}

static void wrong_calls(void **state)
{
    static const int32_t ids[] = {1, 5, 797, -1, 2};
    static const int32_t whole[] = {0, 5}, good[] = {0, 2}, empty[] = {0, 0}, late[] = {1, 2},
                         two[] = {0, 1, 2};
    ivl_session_options options = golden_options();
    ivl_session *session = golden_open(model, &options);
    const ivl_images image = images_at(0, 1);
    ivl_texts some = {.count = 1, .ids = ids, .offsets = whole};
    ivl_model *tower = golden_open_model("golden/vit_rms");
    ivl_session *none = NULL;
    ivl_error error = {0};

    (void)state;
    refused(session, NULL, &some, "text", IVL_BAD_INPUT, "token 797, the model knows 0 to 796");
    some.offsets = empty;
    refused(session, NULL, &some, "text", IVL_BAD_INPUT, "text 0 has 0 tokens");
    some.offsets = late;
    refused(session, NULL, &some, "text", IVL_INVALID_ARGUMENT, "begin with 0");
    some.offsets = good;
    refused(session, &image, NULL, "text", IVL_INVALID_ARGUMENT, "at least one text");
    refused(session, NULL, &some, "image_g", IVL_INVALID_ARGUMENT, "at least one picture");
    refused(session, &image, &some, "text_4", IVL_INVALID_ARGUMENT, "text_0 to text_3");
    refused(session, &image, &some, "query_", IVL_INVALID_ARGUMENT, "query_0 to query_3");
    some = (ivl_texts){.count = 2, .ids = ids, .offsets = two};
    refused(session, &image, &some, "itm", IVL_INVALID_ARGUMENT, "1 images and 2 texts");
    ivl_session_free(session);
    options.modes = "c,other";
    assert_fails(ivl_session_open(model, &options, &none, &error), IVL_INVALID_ARGUMENT, error,
                 "other");
    options.modes = "text";
    assert_fails(ivl_session_open(tower, &options, &none, &error), IVL_UNSUPPORTED, error, "text");
    options.modes = "vit";
    session = golden_open(model, &options);
    refused(session, &image, NULL, "image_c", IVL_UNSUPPORTED, "mode");
    ivl_session_free(session);
    ivl_model_free(tower);
}

/* ---- changed checkpoints ----------------------------------------------------------------- */

static char *find(unsigned char *bytes, size_t n, const char *text)
{
    const size_t length = strlen(text);

    for (size_t i = 0; i + length <= n; i++) {
        if (memcmp(bytes + i, text, length) == 0) {
            return (char *)bytes + i;
        }
    }
    fail_msg("the recorded checkpoint has no %s", text);
    return NULL;
}

/* The recorded checkpoint in the folder, with `from` in its header replaced by as many bytes, or a
 * tensor's values by infinities. */
static void write_changed(const char *from, const char *to, const char *infinite)
{
    ivl_error error = {0};
    unsigned char *bytes;
    size_t n;
    FILE *file;

    assert_ok(ivl__file_read(CLIP "/model.safetensors", 64u << 20, &bytes, &n, &error), error);
    if (from) {
        char *at = find(bytes, n, from);

        assert_int_equal(strlen(from), strlen(to));
        memcpy(at, to, strlen(to));
    }
    if (infinite) {
        char *at = find(bytes, n, infinite);
        unsigned long long header = 0, begin = 0;

        memcpy(&header, bytes, 8);
        at = strstr(at, "\"data_offsets\":[");
        begin = strtoull(at + 16, NULL, 10);
        memcpy(bytes + 8 + header + begin, "\x80\x7f", 2);
    }
    file = fopen(in_folder("changed.safetensors"), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    ivl__free(bytes);
}

static ivl_status open_changed(ivl_model **changed, ivl_error *error)
{
    ivl_model_options options;

    ivl_model_options_init(&options);
    options.config = CLIP "/config.json";
    return ivl_model_open(in_folder("changed.safetensors"), &options, changed, error);
}

static void strict(void **state)
{
    ivl_model *changed = NULL;
    ivl_error error = {0};

    (void)state;
    write_changed("\"itm_head.bias\"", "\"itm_head.bies\"", NULL);
    assert_fails(open_changed(&changed, &error), IVL_BAD_MODEL, error,
                 "\"itm_head.bias\" is missing");
    write_changed("\"qllama.lm_head.weight\"", "\"qllama.model.unknown_\"", NULL);
    assert_fails(open_changed(&changed, &error), IVL_BAD_MODEL, error,
                 "\"qllama.model.unknown_\" is unexpected");
    write_changed("\"shape\":[1,96,128]", "\"shape\":[1,128,96]", NULL);
    assert_fails(open_changed(&changed, &error), IVL_BAD_MODEL, error,
                 "\"query_tokens\" has shape 1 x 128 x 96");
}

/* The step whose output is not finite is named. */
static void not_finite(void **state)
{
    static const struct {
        const char *tensor, *tap, *words;
    } cases[] = {{"\"qllama.model.layers.2.mlp.down_proj.weight\"", "text", "output of layer 2"},
                 {"\"clip_projector.cross_attn.proj.weight\"", "image_c", "pooling block of C"},
                 {"\"clip_projector2.cross_attn.proj.weight\"", "image_g", "pooling block of G"},
                 {"\"text_projection\"", "text", "text embeddings"}};
    ivl_session_options options = golden_options();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ivl_images image = images_at(0, 1);
        ivl_model *changed = NULL;
        ivl_session *session;
        ivl_error error = {0};
        clip_texts some;

        texts_at(0, 1, &some);
        write_changed(NULL, NULL, cases[i].tensor);
        assert_ok(open_changed(&changed, &error), error);
        session = golden_open(changed, &options);
        refused(session, &image, &some.texts, cases[i].tap, IVL_NOT_FINITE, cases[i].words);
        ivl_session_free(session);
        ivl_model_free(changed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours),  cmocka_unit_test(batches_and_residencies),
        cmocka_unit_test(twice),       cmocka_unit_test(pairs),
        cmocka_unit_test(budgets),     cmocka_unit_test(one_pass),
        cmocka_unit_test(texts_alone), cmocka_unit_test(plans_of_the_14b),
        cmocka_unit_test(wrong_calls), cmocka_unit_test(strict),
        cmocka_unit_test(not_finite),
    };

    return cmocka_run_group_tests_name("passes", tests, setup, teardown);
}
