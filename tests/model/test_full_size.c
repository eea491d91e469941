/* test_full_size.c - the last block of a model of full size against double precision.
 *
 * IVL_TEST_FULL_MODEL names the checkpoint (the 48-block stand-in: `internvl synth
 * internvit-6b-224 -o DIR`); without it the test is skipped, because it takes minutes and 12 GB.
 * One picture goes through the whole model once; the recorded output of the block before the last
 * is the input from which 64 outputs of the last block (four rows, sixteen columns each) are
 * computed again on the host, with the error that the device may have there (vit_reference.h).
 */
#include "model/session.h"
#include "model/vit_reference.h"
#include "tests/model/golden.h"

#define ROWS    4
#define COLUMNS 16

static float *record(ivl_session *session, int layers, int tokens, int width, float **last)
{
    const int side = session->vit.width;
    uint8_t *rgb = ivl__malloc((size_t)side * (size_t)side * 3);
    size_t n = (size_t)tokens * (size_t)width;
    float *before = ivl__malloc(n * sizeof *before);
    char names[2][32];
    ivl_images images = {.count = 1, .width = side, .height = side, .rgb = rgb};
    ivl_output outputs[2];
    ivl_error error = {0};

    *last = ivl__malloc(n * sizeof **last);
    assert_true(rgb && before && *last);
    for (int i = 0; i < side * side * 3; i++) {
        rgb[i] = (uint8_t)(128.0 + 100.0 * sin(i * 0.013) + 27.0 * sin(i * 0.37));
    }
    snprintf(names[0], sizeof names[0], "hidden_%d", layers - 1);
    snprintf(names[1], sizeof names[1], "hidden_%d", layers);
    outputs[0] = (ivl_output){.tap = names[0], .data = before, .capacity = n};
    outputs[1] = (ivl_output){.tap = names[1], .data = *last, .capacity = n};
    assert_ok(golden_run(session, &images, outputs, 2, &error), error);
    ivl__free(rgb);
    return before;
}

/* The largest error in deviations; every one of the 64 must be below the bound. */
static double compare(const ivl__vit_reference *r, int layer, const float *before,
                      const float *after)
{
    const int width = r->config->hidden;
    const int rows[ROWS] = {0, 1, r->tokens / 2, r->tokens - 1};
    size_t n = (size_t)r->tokens * (size_t)width;
    ivl__estimate *x = ivl__calloc(n, sizeof *x);
    ivl__estimate *y = ivl__calloc((size_t)ROWS * (size_t)width, sizeof *y);
    double worst = 0.0;
    double relative = 0.0;
    ivl_error error = {0};

    assert_true(x && y);
    for (size_t i = 0; i < n; i++) {
        x[i].value = (double)before[i];
    }
    assert_ok(ivl__vit_reference_block(r, layer, x, rows, ROWS, y, &error), error);
    for (int i = 0; i < ROWS; i++) {
        for (int c = 0; c < COLUMNS; c++) {
            int column = (c * (width / COLUMNS) + 7 * i) % width;
            ivl__estimate want = y[i * width + column];
            double got = (double)after[(size_t)rows[i] * (size_t)width + (size_t)column];
            double off = fabs(got - want.value) / want.deviation;

            if (!(off <= IVL__REFERENCE_DEVIATIONS)) {
                fail_msg("row %d, column %d is %.9g, should be %.9g (%.1f deviations of %.3g)",
                         rows[i], column, got, want.value, off, want.deviation);
            }
            worst = off > worst ? off : worst;
            relative = fmax(relative, fabs(got - want.value) / fabs(want.value));
        }
    }
    ivl__free(x);
    ivl__free(y);
    printf("64 outputs of block %d: largest error %.2f of %.0f deviations, %.3g of the value\n",
           layer + 1, worst, IVL__REFERENCE_DEVIATIONS, relative);
    return worst;
}

static void last_block_agrees(void **state)
{
    const char *path = getenv("IVL_TEST_FULL_MODEL");
    ivl_model *model = NULL;
    ivl_error error = {0};

    (void)state;
    if (!path) {
        print_message("skipped: IVL_TEST_FULL_MODEL names no checkpoint of full size\n");
        skip();
    }
    assert_ok(ivl_model_open(path, NULL, &model, &error), error);
    for (int p = IVL_PRECISION_EXACT; p <= IVL_PRECISION_FAST; p++) {
        ivl_session_options options = golden_options();
        ivl_session *session = NULL;
        float *before;
        float *after;
        int layers = model->config.vit.layers;
        ivl_status status;

        options.precision = (ivl_precision_choice)p;
        status = ivl_session_open(model, &options, &session, &error);
        if (status == IVL_UNSUPPORTED && p == IVL_PRECISION_FAST) {
            print_message("fast is left out: %s\n", error.message);
            continue;
        }
        assert_ok(status, error);
        before = record(session, layers, session->vit.sizes.tokens, model->config.vit.hidden,
                        &after);
        compare(&(ivl__vit_reference){.config = &model->config.vit,
                                      .weights = model->weights->vit,
                                      .tokens = session->vit.sizes.tokens,
                                      .act = session->compute.act},
                layers - 1, before, after);
        ivl__free(before);
        ivl__free(after);
        ivl_session_free(session);
    }
    ivl_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(last_block_agrees)};

    return cmocka_run_group_tests_name("full size", tests, golden_setup, folder_remove);
}
