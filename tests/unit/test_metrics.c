/* Metrics of zero-shot classification and retrieval against recorded results and against plain
 * definitions on random scores. */
#include "tests/test.h"

#include "loader/npy.h"
#include "model/metrics.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <math.h>

#define GOLDEN "golden/zeroshot/"

static float *read_floats(const char *name, ivl__npy *npy)
{
    char path[200];
    void *data = NULL;
    ivl_error error = {0};

    snprintf(path, sizeof path, GOLDEN "%s", name);
    assert_ok(ivl__npy_read(path, 1 << 20, npy, &data, &error), error);
    assert_int_equal(npy->type, IVL__NPY_F4);
    return data;
}

static json_t *read_json(const char *path)
{
    json_error_t detail;
    json_t *root = json_load_file(path, 0, &detail);

    if (!root) {
        fail_msg("%s: %s", path, detail.text);
    }
    return root;
}

/* ---- classification ---------------------------------------------------------------------- */

/* JSON's null is NaN. */
static void same(double got, const json_t *want, const char *what)
{
    if (got != json_number_value(want)) {
        fail_msg("%s is %.17g, wanted %.17g", what, got, json_number_value(want));
    }
}

static void check_logits(const char *array, const json_t *root, const char *mode)
{
    const json_t *want = json_object_get(root, mode);
    const json_t *target = json_object_get(root, "target");
    ivl__npy npy;
    float *logits = read_floats(array, &npy);
    size_t classes = (size_t)npy.shape[1];
    uint64_t totals[6] = {0}, rights[6] = {0};
    ivl__class_counts counts = {.n_classes = classes, .totals = totals, .rights = rights};
    ivl__class_metrics m;

    assert_int_equal(classes, 6);
    for (size_t i = 0; i < (size_t)npy.shape[0]; i++) {
        const json_t *indices = json_array_get(json_object_get(want, "top5_indices"), i);
        uint32_t top[5];

        assert_int_equal(ivl__top_scores(logits + i * classes, classes, 5, top), 5);
        for (size_t k = 0; k < 5; k++) {
            assert_int_equal(top[k], json_integer_value(json_array_get(indices, k)));
        }
        ivl__class_counts_add(&counts, (uint32_t)json_integer_value(json_array_get(target, i)), top,
                              5);
    }
    m = ivl__class_metrics_of(&counts);
    assert_int_equal(m.images, 4);
    same(m.acc1, json_object_get(want, "acc1"), "acc1");
    same(m.acc5, json_object_get(want, "acc5"), "acc5");
    same(m.mean_per_class_recall, json_object_get(want, "mean_per_class_recall"), "recall");
    ivl__free(logits);
}

static void recorded_classification(void **state)
{
    json_t *root = read_json(GOLDEN "zeroshot.json");

    (void)state;
    check_logits("logits_c.npy", root, "C");
    check_logits("logits_g.npy", root, "G");
    json_decref(root);
}

/* By hand: class 0 right in 1 of 3 images, class 2 in 1 of 1, class 1 never shown. */
static void classes_count_alike(void **state)
{
    static const uint32_t tops[4][3] = {{0, 1, 2}, {1, 0, 2}, {2, 1, 0}, {2, 0, 1}};
    static const uint32_t labels[4] = {0, 0, 0, 2};
    uint64_t totals[3] = {0}, rights[3] = {0};
    ivl__class_counts counts = {.n_classes = 3, .totals = totals, .rights = rights};
    ivl__class_metrics m = ivl__class_metrics_of(&counts);

    (void)state;
    assert_true(isnan(m.acc1) && isnan(m.acc5) && isnan(m.mean_per_class_recall));
    for (int i = 0; i < 4; i++) {
        ivl__class_counts_add(&counts, labels[i], tops[i], 3);
    }
    m = ivl__class_metrics_of(&counts);
    assert_true(m.acc1 == 0.5);
    assert_true(isnan(m.acc5)); /* below five classes there is none */
    assert_true(m.mean_per_class_recall == (1.0 / 3.0 + 1.0) / 2.0);
}

/* ---- retrieval --------------------------------------------------------------------------- */

static void check_recall(const json_t *metrics, const char *direction,
                         const ivl__recall_counts *counts)
{
    for (int i = 0; i < IVL__RECALLS; i++) {
        char key[64];

        snprintf(key, sizeof key, "%s_retrieval_recall@%d", direction, (int)ivl__recall_at[i]);
        /* Recorded in fp32. */
        same((double)(float)ivl__recall_of(counts, i), json_object_get(metrics, key), key);
    }
}

static void recorded_retrieval(void **state)
{
    json_t *root = read_json(GOLDEN "retrieval.json");
    const json_t *metrics = json_object_get(root, "metrics");
    const json_t *index = json_object_get(root, "text_image_index");
    ivl__npy npy;
    float *scores = read_floats("retrieval_scores.npy", &npy);
    size_t texts = (size_t)npy.shape[0];
    size_t images = (size_t)npy.shape[1];
    ivl__recall_counts by_text = {0}, by_image = {0};
    float column[64];
    uint32_t top[10], right[64];

    (void)state;
    assert_in_range(texts, 1, 64);
    for (size_t t = 0; t < texts; t++) {
        uint32_t image = (uint32_t)json_integer_value(json_array_get(index, t));
        size_t n = ivl__top_scores(scores + t * images, images, 10, top);

        ivl__recall_counts_add(&by_text, top, n, &image, 1);
    }
    for (size_t i = 0; i < images; i++) {
        size_t n_right = 0;
        size_t n;

        for (size_t t = 0; t < texts; t++) {
            column[t] = scores[t * images + i];
            if ((size_t)json_integer_value(json_array_get(index, t)) == i) {
                right[n_right++] = (uint32_t)t;
            }
        }
        n = ivl__top_scores(column, texts, 10, top);
        ivl__recall_counts_add(&by_image, top, n, right, n_right);
    }
    check_recall(metrics, "image", &by_text);
    check_recall(metrics, "text", &by_image);
    ivl__free(scores);
    json_decref(root);
}

static void queries_without_an_answer_are_misses(void **state)
{
    static const uint32_t top[3] = {4, 7, 1};
    static const uint32_t right[2] = {9, 7};
    ivl__recall_counts counts = {0};

    (void)state;
    assert_true(isnan(ivl__recall_of(&counts, 0)));
    ivl__recall_counts_add(&counts, top, 3, right, 2);
    ivl__recall_counts_add(&counts, top, 3, right, 0);
    ivl__recall_counts_add(&counts, top, 0, right, 2);
    assert_true(ivl__recall_of(&counts, 0) == 0.0);
    assert_true(ivl__recall_of(&counts, 1) == 1.0 / 3.0);
    assert_true(ivl__recall_of(&counts, 2) == 1.0 / 3.0);
}

/* ---- scores ------------------------------------------------------------------------------ */

/* Against repeated search for the best that is left; scores of few values have many ties. */
static void top_scores_are_in_order(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 500; round++) {
        float scores[40];
        bool taken[40] = {false};
        uint32_t top[45];
        ivl__best best_list[45];
        size_t n_best = 0;
        size_t n = (size_t)round % 40;
        size_t k = (size_t)round % 45;
        size_t got;

        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            scores[i] = seed >> 28 == 15 ? NAN : (float)(seed >> 29);
        }
        got = ivl__top_scores(scores, n, k, top);
        assert_int_equal(got, n < k ? n : k);
        for (size_t place = 0; place < got; place++) {
            size_t best = n;

            for (size_t i = 0; i < n; i++) {
                bool better = best == n || scores[i] > scores[best] ||
                              (isnan(scores[best]) && !isnan(scores[i]));

                best = !taken[i] && better ? i : best;
            }
            taken[best] = true;
            assert_int_equal(top[place], best);
        }
        /* One after another, from the last to the first: the order of arrival does not matter. */
        for (size_t i = n; i-- > 0;) {
            n_best = ivl__best_add(best_list, n_best, k, scores[i], (uint32_t)i);
        }
        assert_int_equal(n_best, got);
        for (size_t place = 0; place < got; place++) {
            assert_int_equal(best_list[place].index, top[place]);
        }
    }
}

/* Integers: every product and sum is exact in double. */
static void dot_products_are_sums(void **state)
{
    float a[37], b[37];

    (void)state;
    for (size_t n = 0; n <= 37; n++) {
        double want = 0.0;

        for (size_t i = 0; i < n; i++) {
            a[i] = (float)((i * 7) % 11) - 5.0f;
            b[i] = (float)((i * 5) % 13) - 6.0f;
            want += (double)a[i] * (double)b[i];
        }
        assert_true(ivl__dot(a, b, n) == want);
    }
    a[0] = 3.0f;
    a[1] = 4.0f;
    ivl__normalize(a, 2);
    assert_true(a[0] == 0.6f && a[1] == 0.8f);
    b[0] = b[1] = 0.0f;
    ivl__normalize(b, 2);
    assert_true(b[0] == 0.0f && b[1] == 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_classification),
        cmocka_unit_test(classes_count_alike),
        cmocka_unit_test(recorded_retrieval),
        cmocka_unit_test(queries_without_an_answer_are_misses),
        cmocka_unit_test(top_scores_are_in_order),
        cmocka_unit_test(dot_products_are_sums),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
