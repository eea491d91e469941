/* test_contrastive.c - InternVL-C and InternVL-G in small give the recorded outputs, every array on
 * every way to compute that the device has; both forms of checkpoint give one another's bits. */
#include "runtime/gemm.h"
#include "tests/model/clip_golden.h"

static golden_array pixels;
static clip_texts texts, pair_texts;
static int pair_images[CLIP_PAIRS];
static ivl_model *model;

static int setup(void **state)
{
    if (golden_setup(state) != 0) {
        return -1;
    }
    pixels = golden_read(CLIP, "pixel_values");
    clip_read_texts(&texts);
    clip_read_pairs(&pair_texts, pair_images);
    model = golden_open_model(CLIP);
    return pixels.values ? 0 : -1;
}

static int teardown(void **state)
{
    ivl_model_free(model);
    ivl__free(pixels.values);
    return folder_remove(state);
}

static ivl_images all_images(void)
{
    return (ivl_images){
        .count = CLIP_IMAGES, .width = CLIP_SIDE, .height = CLIP_SIDE, .pixels = pixels.values};
}

/* ---- comparisons ------------------------------------------------------------------------- */

/* How far values are from a recorded array, as a share of its bound. */
static double share_of_bound(const char *name, const float *got, const char *how)
{
    golden_array want = golden_read(CLIP, name);
    golden_difference d;
    double bound;

    if (!want.values) {
        fail_msg("no recorded %s", name);
    }
    bound = golden_bound(CLIP, name);
    d = golden_compare(got, want.values, want.count);
    ivl__free(want.values);
    if (!(d.largest <= bound)) {
        fail_msg("%s: %s is off by %.3g (bound %.3g), cosine %.6f", how, name, d.largest, bound,
                 d.cosine);
    }
    return d.largest / bound;
}

static void unit_rows(const float *rows, int n, int width, float *units)
{
    for (int i = 0; i < n; i++) {
        double sum = 0;

        for (int c = 0; c < width; c++) {
            sum += (double)rows[i * width + c] * (double)rows[i * width + c];
        }
        for (int c = 0; c < width; c++) {
            units[i * width + c] = (float)((double)rows[i * width + c] / sqrt(sum));
        }
    }
}

/* Recorded cosines, times exp(logit_scale). */
static double check_logits(const char *name, const float *images, const float *units,
                           const char *how)
{
    float logits[CLIP_IMAGES * CLIP_TEXTS];
    ivl_model_info info;

    ivl_model_get_info(model, &info);
    for (int i = 0; i < CLIP_IMAGES; i++) {
        for (int t = 0; t < CLIP_TEXTS; t++) {
            double sum = 0;

            for (int c = 0; c < CLIP_EMBED; c++) {
                sum += (double)images[i * CLIP_EMBED + c] * (double)units[t * CLIP_EMBED + c];
            }
            logits[i * CLIP_TEXTS + t] = (float)(info.logit_scale * sum);
        }
    }
    return share_of_bound(name, logits, how);
}

static double check_units(const golden_outputs *o, const char *how)
{
    float c[CLIP_IMAGES * CLIP_EMBED], g[CLIP_IMAGES * CLIP_EMBED], t[CLIP_TEXTS * CLIP_EMBED];
    double worst = 0;

    unit_rows(o->taps[CLIP_IMAGE_C].data, CLIP_IMAGES, CLIP_EMBED, c);
    unit_rows(o->taps[CLIP_IMAGE_G].data, CLIP_IMAGES, CLIP_EMBED, g);
    unit_rows(o->taps[CLIP_TEXT].data, CLIP_TEXTS, CLIP_EMBED, t);
    worst = fmax(worst, share_of_bound("image_embeds_c_normalized", c, how));
    worst = fmax(worst, share_of_bound("image_embeds_g_normalized", g, how));
    worst = fmax(worst, share_of_bound("text_embeds_normalized", t, how));
    worst = fmax(worst, check_logits("logits_per_image_c", c, t, how));
    return fmax(worst, check_logits("logits_per_image_g", g, t, how));
}

/* Rows that were recorded of a tap: of image 0 alone, or of texts 0 and 1. */
static double check_rows(const golden_outputs *o, const char *how)
{
    const size_t second = (size_t)texts.offsets[1] * CLIP_HIDDEN;
    double worst = 0;
    char name[40];

    for (int i = 0; i < CLIP_LAYERS; i++) {
        snprintf(name, sizeof name, "query_layer_%d", i);
        worst = fmax(worst, share_of_bound(name, o->taps[CLIP_QUERY_0 + i].data, how));
        snprintf(name, sizeof name, "text0_layer_%d", i);
        worst = fmax(worst, share_of_bound(name, o->taps[CLIP_TEXT_0 + i].data, how));
        snprintf(name, sizeof name, "text1_layer_%d", i);
        worst = fmax(worst, share_of_bound(name, o->taps[CLIP_TEXT_0 + i].data + second, how));
    }
    worst = fmax(worst, share_of_bound("text0_final_norm", o->taps[CLIP_TEXT_ROWS].data, how));
    return fmax(worst,
                share_of_bound("text1_final_norm", o->taps[CLIP_TEXT_ROWS].data + second, how));
}

static double check_all(const golden_outputs *o, const char *how)
{
    static const struct {
        const char *name;
        int tap;
    } whole[] = {{"vision_last_hidden_state", CLIP_HIDDEN_2},
                 {"image_embeds_c", CLIP_IMAGE_C},
                 {"image_embeds_g", CLIP_IMAGE_G},
                 {"query_output", CLIP_QUERY},
                 {"text_last_token", CLIP_TEXT_LAST},
                 {"text_embeds", CLIP_TEXT}};
    double worst = 0;

    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        worst = fmax(worst, share_of_bound(whole[i].name, o->taps[whole[i].tap].data, how));
    }
    worst = fmax(worst, check_rows(o, how));
    return fmax(worst, check_units(o, how));
}

/* ---- runs -------------------------------------------------------------------------------- */

static double run_all(ivl_session *session, const char *how)
{
    const ivl_images images = all_images();
    golden_outputs o;
    double worst;

    clip_outputs_make(&o, CLIP_IMAGES, &texts.texts);
    clip_run(session, &images, &texts.texts, &o);
    worst = check_all(&o, how);
    golden_outputs_free(&o);
    return worst;
}

static void pair_pixels(float *to)
{
    const size_t image = 3 * CLIP_SIDE * CLIP_SIDE;

    for (int i = 0; i < CLIP_PAIRS; i++) {
        memcpy(to + (size_t)i * image, pixels.values + (size_t)pair_images[i] * image,
               image * sizeof(float));
    }
}

static double run_itm(ivl_session *session, const char *how)
{
    float *chosen = ivl__malloc(CLIP_PAIRS * 3 * CLIP_SIDE * CLIP_SIDE * sizeof(float));
    float logits[2 * CLIP_PAIRS];
    const ivl_images images = {
        .count = CLIP_PAIRS, .width = CLIP_SIDE, .height = CLIP_SIDE, .pixels = chosen};
    const ivl_inputs inputs = {
        .size = sizeof inputs, .images = &images, .texts = &pair_texts.texts};
    ivl_output itm = {.tap = "itm", .data = logits, .capacity = 2 * CLIP_PAIRS};
    ivl_error error = {0};

    assert_non_null(chosen);
    pair_pixels(chosen);
    assert_ok(ivl_run(session, &inputs, &itm, 1, &error), error);
    assert_int_equal(itm.dims[0], CLIP_PAIRS);
    assert_int_equal(itm.dims[2], 2);
    ivl__free(chosen);
    return share_of_bound("itm_logits", logits, how);
}

/* One backend and one attention in every residency; how many there were. */
static int exact_residencies(ivl_session_options *options)
{
    double worst = 0;
    int runs = 0;

    for (int r = IVL_RESIDENCY_MAPPED; r <= IVL_RESIDENCY_STREAM; r++) {
        ivl_session *session = NULL;
        ivl_error error = {0};
        ivl_status status;
        char how[100];

        options->residency = (ivl_residency)r;
        status = ivl_session_open(model, options, &session, &error);
        if (status == IVL_UNSUPPORTED) {
            continue;
        }
        assert_ok(status, error);
        snprintf(how, sizeof how, "gemm %s, attention %s, residency %d", options->gemm,
                 options->attention, r);
        worst = fmax(worst, run_all(session, how));
        worst = fmax(worst, run_itm(session, how));
        ivl_session_free(session);
        runs++;
    }
    if (runs) {
        printf("gemm %s, attention %s, %d residencies: at most %.2f of the bound\n", options->gemm,
               options->attention, runs, worst);
    }
    return runs;
}

/* Variant "local" takes heads of 64 and 128 only, which this model has not: GPUs choose "plain",
 * CPUs "cpu". */
static void recorded_outputs(void **state)
{
    static const char *const attentions[] = {"cpu", "plain"};
    int runs = 0;

    (void)state;
    for (size_t g = 0; ivl__gemm_backends[g]; g++) {
        for (size_t a = 0; a < 2; a++) {
            ivl_session_options options = golden_options();

            options.gemm = ivl__gemm_backends[g]->name;
            options.attention = attentions[a];
            runs += exact_residencies(&options);
        }
    }
    /* Every device has at least one backend, one variant, resident and stream. */
    assert_true(runs >= 2);
}

/* 16-bit multiplicands: a direction is kept, single elements are not. */
static void fast(void **state)
{
    static const struct {
        const char *name;
        int tap;
    } arrays[] = {{"image_embeds_c", CLIP_IMAGE_C},
                  {"image_embeds_g", CLIP_IMAGE_G},
                  {"query_output", CLIP_QUERY},
                  {"text_embeds", CLIP_TEXT}};
    ivl_session_options options = golden_options();
    const ivl_images images = all_images();
    ivl_session *session = NULL;
    ivl_error error = {0};
    golden_outputs o;

    (void)state;
    options.precision = IVL_PRECISION_FAST;
    if (ivl_session_open(model, &options, &session, &error) == IVL_UNSUPPORTED) {
        printf("no fast precision on this device\n");
        skip();
    }
    clip_outputs_make(&o, CLIP_IMAGES, &texts.texts);
    clip_run(session, &images, &texts.texts, &o);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        golden_array want = golden_read(CLIP, arrays[i].name);
        golden_difference d = golden_compare(o.taps[arrays[i].tap].data, want.values, want.count);

        printf("%s: fast, cosine %.6f\n", arrays[i].name, d.cosine);
        assert_true(d.cosine >= 0.9999);
        ivl__free(want.values);
    }
    golden_outputs_free(&o);
    ivl_session_free(session);
}

/* ---- forms of checkpoint ----------------------------------------------------------------- */

static ivl_model *synthesise(const char *arch, const char *path, const char *config,
                             const char *const *settings, size_t n)
{
    ivl_synth_options synth;
    ivl_model_options options;
    ivl_model *made = NULL;
    ivl_error error = {0};

    ivl_synth_options_init(&synth);
    ivl_model_options_init(&options);
    synth.arch = arch;
    synth.settings = settings;
    synth.n_settings = n;
    options.config = config;
    assert_ok(ivl_synth(&synth, path, &error), error);
    assert_ok(ivl_model_open(path, &options, &made, &error), error);
    return made;
}

static void embed_both(const ivl_model *of, float *image_c, float *text)
{
    ivl_session_options options = golden_options();
    const ivl_images images = all_images();
    const ivl_inputs inputs = {.size = sizeof inputs, .images = &images, .texts = &texts.texts};
    ivl_output outputs[2] = {
        {.tap = "image_c", .data = image_c, .capacity = CLIP_IMAGES * CLIP_EMBED},
        {.tap = "text", .data = text, .capacity = CLIP_TEXTS * CLIP_EMBED}};
    ivl_session *session;
    ivl_error error = {0};

    options.modes = "c,text";
    session = golden_open(of, &options);
    assert_ok(ivl_run(session, &inputs, outputs, 2, &error), error);
    ivl_session_free(session);
}

/* The .pth of InternVL-C is the 14B without QLLaMA: one seed, one tower, one text tower. */
static void both_forms(void **state)
{
    static const char *const settings[] = {
        "vision_config.hidden_size=160",       "vision_config.num_attention_heads=5",
        "vision_config.intermediate_size=208", "vision_config.num_hidden_layers=2",
        "vision_config.image_size=56",         "qllama_config.hidden_size=128",
        "qllama_config.num_attention_heads=4", "qllama_config.num_key_value_heads=4",
        "qllama_config.intermediate_size=168", "qllama_config.num_hidden_layers=4",
        "qllama_config.vocab_size=797",        "clip_embed_dim=48"};
    float c[2][CLIP_IMAGES * CLIP_EMBED], t[2][CLIP_TEXTS * CLIP_EMBED];
    ivl_model *hub, *pth;
    ivl_model_info info;

    (void)state;
    hub = synthesise("tiny-14b", in_folder("hub"), NULL, NULL, 0);
    pth = synthesise("internvl-c-13b-224", in_folder("c.pth"), CLIP "/config.json", settings,
                     sizeof settings / sizeof settings[0]);
    ivl_model_get_info(pth, &info);
    assert_string_equal(info.architecture, "InternVL-C");
    assert_int_equal(info.n_modes, 3);
    assert_string_equal(info.modes[2], "text");
    assert_int_equal(info.n_unused, 0);
    embed_both(hub, c[0], t[0]);
    embed_both(pth, c[1], t[1]);
    assert_memory_equal(c[0], c[1], sizeof c[0]);
    assert_memory_equal(t[0], t[1], sizeof t[0]);
    ivl_model_free(hub);
    ivl_model_free(pth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_outputs),
        cmocka_unit_test(fast),
        cmocka_unit_test(both_forms),
    };

    return cmocka_run_group_tests_name("contrastive", tests, setup, teardown);
}
