/* Published evaluations: the embedded data is whole, its figures are those of the tables. */
#include "tests/test.h"

#include "cli/suites.h"

static void embedded_suites_are_whole(void **state)
{
    cli_suites suites;
    ivl_error error = {0};
    size_t retrieval = 0;

    (void)state;
    assert_ok(cli_suites_parse(cli_suites_json, &suites, &error), error);
    for (size_t i = 0; i < suites.n; i++) {
        const cli_suite *suite = &suites.items[i];
        double value;

        retrieval += suite->retrieval;
        assert_ptr_equal(cli_suites_find(&suites, suite->name, suite->retrieval), suite);
        assert_true(cli_suite_figure(suite, "c", suite->metrics[0], &value, NULL));
    }
    /* 30 rows of the classification table, 6 of the retrieval table, 8 languages of XTD. */
    assert_int_equal(suites.n, 44);
    assert_int_equal(retrieval, 14);
    assert_null(cli_suites_find(&suites, "flickr30k", false));
    assert_null(cli_suites_find(&suites, "none", true));
    cli_suites_free(&suites);
}

static void figures_are_the_published_ones(void **state)
{
    static const struct {
        const char *suite, *mode, *metric;
        bool retrieval;
        double value; /* below 0: nothing was published */
    } cases[] = {
        {"imagenet1k", "c", "acc1", false, 0.83178},
        {"imagenet1k", "g", "acc1", false, 0.829},
        {"imagenet1k", "g", "acc5", false, -1},
        {"imagenet1k-zh", "c", "mean_per_class_recall", false, 0.64442},
        {"imagenet-r", "c", "acc5", false, 0.991833},
        {"renderedsst2", "c", "acc5", false, -1},
        {"renderedsst2", "c", "acc1", false, 0.679297},
        {"voc2007", "c", "mean_per_class_recall", false, 0.904883},
        {"flickr30k", "c", "image_retrieval_recall@1", true, 0.8166},
        {"flickr30k", "g", "text_retrieval_recall@10", true, 0.9990},
        {"coco", "g", "image_retrieval_recall@5", true, 0.813195},
        {"coco-cn", "c", "text_retrieval_recall@1", true, 0.6880},
        {"flickr30k-cn-ft-364", "g", "text_retrieval_recall@1", true, 0.9690},
        {"xtd-ko", "c", "image_retrieval_recall@10", true, 0.908},
        {"xtd-jp", "g", "text_retrieval_recall@5", true, 0.910},
    };
    cli_suites suites;
    ivl_error error = {0};

    (void)state;
    assert_ok(cli_suites_parse(cli_suites_json, &suites, &error), error);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const cli_suite *suite = cli_suites_find(&suites, cases[i].suite, cases[i].retrieval);
        const char *source = "";
        double value = -1;

        assert_non_null(suite);
        cli_suite_figure(suite, cases[i].mode, cases[i].metric, &value, &source);
        if (value != cases[i].value || (value >= 0 && !strstr(source, "OpenGVLab"))) {
            fail_msg("%s, %s, %s: %g from \"%s\"", cases[i].suite, cases[i].mode, cases[i].metric,
                     value, source);
        }
    }
    assert_false(cli_suites_find(&suites, "xtd-en", true)->clean); /* as published */
    assert_true(cli_suites_find(&suites, "coco-cn", true)->clean);
    cli_suites_free(&suites);
}

#define SUITE(rest) "{\"suites\": [{\"name\": \"a\", \"task\": \"classification\", " rest "}]}"
#define HEAD        "\"reader\": \"folders\", \"prompts\": {\"dataset\": \"d\", \"language\": \"en\"}, "
#define GOOD                                                                                  \
    HEAD "\"metrics\": [\"acc1\"], \"published\": [{\"mode\": \"c\", \"values\": {\"acc1\": " \
         "0.5}, \"source\": \"s\"}]"

static void broken_suites_are_named(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{", "suites: "},
        {SUITE("\"x\": 1"), "suite 0 (a): name, task or reader is missing"},
        {SUITE("\"reader\": \"csv\""), "reader or prompts are wrong"},
        {SUITE(HEAD "\"metrics\": [\"acc2\"]"), "metrics[0] is not known"},
        {SUITE(HEAD "\"metrics\": []"), "there are no metrics"},
        {SUITE(HEAD "\"metrics\": [\"acc1\"], \"published\": []"), "nothing was published"},
        {SUITE(HEAD "\"metrics\": [\"acc1\"], \"published\": [{\"mode\": \"x\"}]"),
         "published[0] has no mode"},
        {SUITE(HEAD "\"metrics\": [\"acc1\"], \"published\": [{\"mode\": \"c\", \"source\": "
                    "\"s\", \"values\": {\"acc1\": 83.2}}]"),
         "value from 0 to 1"},
        {"{\"suites\": [{\"name\": \"a\", \"task\": \"captions\", \"reader\": \"csv\"}]}",
         "task \"captions\" is not known"},
        {"{\"suites\": [{\"name\": \"a\", \"task\": \"retrieval\", \"reader\": \"csv\"}]}",
         "reader or clean is wrong"},
        {"{\"suites\": [{\"name\": \"a\", \"task\": \"classification\", " GOOD
         "}, {\"name\": \"a\", \"task\": \"classification\", " GOOD "}]}",
         "suite \"a\" stands there twice"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_suites suites;
        ivl_error error = {0};

        assert_fails(cli_suites_parse(cases[i].text, &suites, &error), IVL_BAD_INPUT, error,
                     cases[i].message);
        assert_null(suites.items);
        assert_null(suites.json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_suites_are_whole),
        cmocka_unit_test(figures_are_the_published_ones),
        cmocka_unit_test(broken_suites_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
