/* Lines of predictions: what is read, and what is refused. */
#include "tests/test.h"

#include "loader/prediction_file.h"

#define HEAD(rest) \
    "{\"format\": \"internvl predictions 1\", \"mode\": \"g\", \"model_id\": \"ab\", " rest "}"
#define CLASSIFICATION HEAD("\"task\": \"classification\", \"suite\": null, \"classes\": 3")
#define RETRIEVAL      HEAD("\"task\": \"retrieval\", \"suite\": \"coco\", \"images\": 2, \"texts\": 3")

static ivl__prediction_head read_head(const char *line)
{
    ivl__prediction_head head;
    ivl_error error = {0};

    assert_ok(ivl__prediction_parse_head(line, strlen(line), &head, &error), error);
    return head;
}

static void heads_are_read(void **state)
{
    ivl__prediction_head head = read_head(CLASSIFICATION);

    (void)state;
    assert_false(head.retrieval);
    assert_string_equal(head.suite, "");
    assert_string_equal(head.mode, "g");
    assert_string_equal(head.model_id, "ab");
    assert_int_equal(head.classes, 3);
    head = read_head(RETRIEVAL);
    assert_true(head.retrieval);
    assert_string_equal(head.suite, "coco");
    assert_int_equal(head.images, 2);
    assert_int_equal(head.texts, 3);
}

static void lines_are_read(void **state)
{
    static const char class_line[] = "{\"key\": \"a\", \"label\": 2, \"top\": [{\"index\": 1, "
                                     "\"score\": 3.5, \"class\": \"x\"}, "
                                     "{\"index\": 2}]}";
    static const char text_line[] =
        "{\"query\": \"text\", \"index\": 2, \"right\": [1], \"top\": [{\"index\": 0}]}";
    static const char image_line[] =
        "{\"query\": \"image\", \"index\": 1, \"right\": [0, 2, 1], \"top\": []}";
    ivl__prediction_head head = read_head(CLASSIFICATION);
    ivl__prediction p = {0};
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__prediction_parse(class_line, strlen(class_line), &head, &p, &error), error);
    assert_int_equal(p.label, 2);
    assert_int_equal(p.n_top, 2);
    assert_int_equal(p.top[0], 1);
    assert_int_equal(p.top[1], 2);
    head = read_head(RETRIEVAL);
    assert_ok(ivl__prediction_parse(text_line, strlen(text_line), &head, &p, &error), error);
    assert_false(p.by_image);
    assert_int_equal(p.index, 2);
    assert_int_equal(p.n_right, 1);
    assert_int_equal(p.right[0], 1);
    assert_int_equal(p.n_top, 1);
    assert_ok(ivl__prediction_parse(image_line, strlen(image_line), &head, &p, &error), error);
    assert_true(p.by_image);
    assert_int_equal(p.n_right, 3);
    assert_int_equal(p.right[1], 2);
    assert_int_equal(p.n_top, 0);
    ivl__prediction_free(&p);
}

static void broken_heads_are_refused(void **state)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"", "not valid JSON"},
        {"[]", "these are no predictions"},
        {"{\"key\": \"a\", \"label\": 2}", "these are no predictions"},
        {HEAD("\"task\": \"captions\""), "\"suite\" is missing"},
        {HEAD("\"task\": \"captions\", \"suite\": null"), "task \"captions\" is not known"},
        {HEAD("\"task\": \"classification\", \"suite\": null"), "\"classes\" is no number"},
        {HEAD("\"task\": \"classification\", \"suite\": null, \"classes\": -1"), "\"classes\""},
        {HEAD("\"task\": \"classification\", \"suite\": null, \"classes\": 16777216"),
         "from 0 to below 16777216"},
        {HEAD("\"task\": \"retrieval\", \"suite\": null, \"images\": 1.5"), "\"images\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__prediction_head head;
        ivl_error error = {0};

        assert_fails(
            ivl__prediction_parse_head(cases[i].line, strlen(cases[i].line), &head, &error),
            IVL_BAD_INPUT, error, cases[i].message);
    }
}

static void broken_lines_are_refused(void **state)
{
    static const struct {
        const char *head, *line, *message;
    } cases[] = {
        {CLASSIFICATION, "{\"label\": 1, \"top\": [", "not valid JSON"},
        {CLASSIFICATION, "{\"label\": 3, \"top\": []}", "\"label\" is no number from 0 to below 3"},
        {CLASSIFICATION, "{\"top\": []}", "\"label\""},
        {CLASSIFICATION, "{\"label\": 0}", "\"top\" is missing"},
        {CLASSIFICATION, "{\"label\": 0, \"top\": [3]}", "\"top[].index\""},
        {CLASSIFICATION, "{\"label\": 0, \"top\": [{\"index\": 3}]}", "below 3"},
        {RETRIEVAL, "{\"index\": 0, \"right\": [], \"top\": []}", "\"query\" is missing"},
        {RETRIEVAL, "{\"query\": \"word\"}", "query \"word\" is neither"},
        {RETRIEVAL, "{\"query\": \"image\", \"index\": 2}",
         "\"index\" is no number from 0 to below 2"},
        {RETRIEVAL, "{\"query\": \"text\", \"index\": 2}", "\"right\" is missing"},
        {RETRIEVAL, "{\"query\": \"text\", \"index\": 2, \"right\": [2]}", "\"right[]\""},
        {RETRIEVAL,
         "{\"query\": \"image\", \"index\": 0, \"right\": [2], \"top\": [{\"index\": 3}]}",
         "\"top[].index\""},
    };
    ivl__prediction p = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__prediction_head head = read_head(cases[i].head);
        ivl_error error = {0};

        assert_fails(ivl__prediction_parse(cases[i].line, strlen(cases[i].line), &head, &p, &error),
                     IVL_BAD_INPUT, error, cases[i].message);
    }
    ivl__prediction_free(&p);
}

static void top_is_bounded(void **state)
{
    ivl__prediction_head head = read_head(CLASSIFICATION);
    ivl__prediction p = {0};
    ivl_error error = {0};
    char line[2048];

    (void)state;
    for (int n = IVL__PREDICTION_TOP; n <= IVL__PREDICTION_TOP + 1; n++) {
        size_t used = (size_t)snprintf(line, sizeof line, "{\"label\": 0, \"top\": [");

        for (int i = 0; i < n; i++) {
            used += (size_t)snprintf(line + used, sizeof line - used, "%s{\"index\": 1}",
                                     i ? ", " : "");
        }
        snprintf(line + used, sizeof line - used, "]}");
        if (n == IVL__PREDICTION_TOP) {
            assert_ok(ivl__prediction_parse(line, strlen(line), &head, &p, &error), error);
            assert_int_equal(p.n_top, IVL__PREDICTION_TOP);
        } else {
            assert_fails(ivl__prediction_parse(line, strlen(line), &head, &p, &error),
                         IVL_BAD_INPUT, error, "at most 64");
        }
    }
    ivl__prediction_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_read),           cmocka_unit_test(lines_are_read),
        cmocka_unit_test(broken_heads_are_refused), cmocka_unit_test(broken_lines_are_refused),
        cmocka_unit_test(top_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
