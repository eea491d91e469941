/* test_options.c - the parser of command lines: values of every kind, abbreviations, lists, sizes.
 */
#include "cli/globals.h"
#include "cli/message.h"
#include "tests/test.h"

#define MAX_WORDS 16

/* A command line that may be written to, as argv may. */
typedef struct line {
    char text[400];
    char *argv[MAX_WORDS];
    int argc;
} line;

/* Words are separated by '|', so that they may be empty. */
static void make_line(line *l, const char *words)
{
    char *at = l->text;

    assert_true(strlen(words) < sizeof l->text);
    strcpy(l->text, words);
    l->argc = 0;
    while (at) {
        char *end = strchr(at, '|');

        assert_true(l->argc < MAX_WORDS);
        l->argv[l->argc++] = at;
        if (end) {
            *end++ = '\0';
        }
        at = end;
    }
}

static struct {
    bool patches, null, batch_given;
    const char *output;
    int batch;
    uint64_t seed;
    double below;
    cli_list layers;
} o;

static const cli_option options[] = {{"patches", 0, CLI_FLAG, &o.patches, NULL, "", NULL},
                                     {NULL, '0', CLI_FLAG, &o.null, NULL, "", NULL},
                                     {"output", 'o', CLI_TEXT, &o.output, "OUT", "", NULL},
                                     {"batch", 0, CLI_INT, &o.batch, "N", "", &o.batch_given},
                                     {"seed", 0, CLI_U64, &o.seed, "N", "", NULL},
                                     {"fail-below", 0, CLI_REAL, &o.below, "R", "", NULL},
                                     {"layers", 0, CLI_LIST, &o.layers, "L[,L...]", "", NULL},
                                     {"resize", 0, CLI_TEXT, &o.output, "R", "", NULL},
                                     {0}};

static int no_run(const cli_globals *globals, int argc, char **argv)
{
    (void)globals;
    (void)argc;
    (void)argv;
    return CLI_DONE;
}

static const cli_command command = {"test", "", "", "", no_run};

static bool parse(line *l, const char *words, cli_arguments *arguments, int *code)
{
    cli_list_free(&o.layers);
    memset(&o, 0, sizeof o);
    o.batch = -7; /* a default */
    make_line(l, words);
    return cli_options_parse(&command, options, l->argc, l->argv, arguments, code);
}

static void values_of_every_kind(void **state)
{
    cli_arguments arguments = {0};
    line l;
    int code;

    (void)state;
    assert_true(parse(&l,
                      "test|a|-o|out|--batch=12|--seed|18446744073709551615|--fail-below|-0.5|-0|b|"
                      "--patches",
                      &arguments, &code));
    assert_int_equal(arguments.n, 2);
    assert_string_equal(arguments.items[0], "a");
    assert_string_equal(arguments.items[1], "b");
    assert_string_equal(o.output, "out");
    assert_int_equal(o.batch, 12);
    assert_true(o.batch_given);
    assert_true(o.seed == UINT64_MAX);
    assert_true(o.below == -0.5);
    assert_true(o.null && o.patches);
    cli_arguments_free(&arguments);
}

static void what_is_not_given_stays(void **state)
{
    cli_arguments arguments = {0};
    line l;
    int code;

    (void)state;
    assert_true(parse(&l, "test", &arguments, &code));
    assert_int_equal(arguments.n, 0);
    assert_int_equal(o.batch, -7);
    assert_false(o.batch_given);
    assert_null(o.output);
}

static void spellings_mean_the_same(void **state)
{
    static const char *const lines[] = {"test|-oX",        "test|-o|X",     "test|--output=X",
                                        "test|--output|X", "test|--out=X",  "test|-0oX",
                                        "test|-qoX",       "test|--o=Y|-oX"};
    line l;
    int code;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_true(parse(&l, lines[i], NULL, &code));
        assert_string_equal(o.output, "X");
    }
    /* A value may look like an option, and may be empty. */
    assert_true(parse(&l, "test|--output|--batch", NULL, &code));
    assert_string_equal(o.output, "--batch");
    assert_true(parse(&l, "test|--output=", NULL, &code));
    assert_string_equal(o.output, "");
    assert_true(parse(&l, "test|--output=a=b", NULL, &code));
    assert_string_equal(o.output, "a=b");
}

static void lists_are_repeated_or_split(void **state)
{
    static const char *const want[] = {"-4", "0", "", "7", ""};
    line l;
    int code;

    (void)state;
    assert_true(parse(&l, "test|--layers|-4,0|--layers=,7,", NULL, &code));
    assert_int_equal(o.layers.n, 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(o.layers.items[i], want[i]);
    }
}

static void two_dashes_end_options(void **state)
{
    cli_arguments arguments = {0};
    line l;
    int code;

    (void)state;
    assert_true(parse(&l, "test|-|--|-|--patches|--", &arguments, &code));
    assert_int_equal(arguments.n, 4);
    assert_string_equal(arguments.items[0], "-");
    assert_string_equal(arguments.items[1], "-");
    assert_string_equal(arguments.items[2], "--patches");
    assert_string_equal(arguments.items[3], "--");
    assert_false(o.patches);
    cli_arguments_free(&arguments);
}

/* The messages go to stderr; what they say is tested with the program itself (tests/cli/). */
static void mistakes_are_usage_errors(void **state)
{
    static const char *const lines[] = {"test|--nothing",
                                        "test|-x",
                                        "test|--output",
                                        "test|-o",
                                        "test|--patches=1",
                                        "test|--batch|-1",
                                        "test|--batch|x",
                                        "test|--batch|",
                                        "test|--batch|2147483648",
                                        "test|--batch|0x10",
                                        "test|--batch| 1",
                                        "test|--batch|1 ",
                                        "test|--seed|-1",
                                        "test|--seed|1.0",
                                        "test|--seed|18446744073709551616",
                                        "test|--fail-below|x",
                                        "test|--fail-below|nan",
                                        "test|--fail-below|1e999",
                                        "test|--fail-below|inf",
                                        "test|--fail-below|",
                                        "test|--fail-below|1x",
                                        "test|--res=squash",
                                        "test|--=x",
                                        "test|a|--threads|0",
                                        "test|--device-memory|0",
                                        "test|--p"};
    line l;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        cli_arguments arguments = {0};
        int code = -1;

        if (parse(&l, lines[i], &arguments, &code) || code != CLI_USAGE) {
            fail_msg("%s was taken (code %d)", lines[i], code);
        }
        assert_null(arguments.items);
        /* Values of globals stay with the process: put them right for the lines that follow. */
        assert_true(parse(&l, "test|--threads|1|--device-memory|1", &arguments, &code));
    }
    assert_false(parse(&l, "test|positional", NULL, &(int){0}));
}

static void sizes_are_strict(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1000000", 1000000},
                {"4GiB", 4ull << 30},
                {"800MiB", 800ull << 20},
                {"2G", 2ull << 30},
                {"2g", 2ull << 30},
                {"1KiB", 1024},
                {"3Tib", 3ull << 40},
                {"18446744073709551615", UINT64_MAX},
                {"17179869183GiB", 17179869183ull << 30}};
    static const char *const bad[] = {"",
                                      "G",
                                      "4GB",
                                      "4 GiB",
                                      "4GiBs",
                                      "-1",
                                      "+1",
                                      "1.5GiB",
                                      "0x10",
                                      "1e9",
                                      "4i",
                                      "4iB",
                                      "18446744073709551616",
                                      "17179869184GiB",
                                      "99999999999999999999999999"};
    uint64_t bytes;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(cli_parse_size(good[i].text, &bytes));
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bytes = 77;
        if (cli_parse_size(bad[i], &bytes) || bytes != 77) {
            fail_msg("\"%s\" was taken as a size", bad[i]);
        }
    }
}

static void close_names_are_suggested(void **state)
{
    static const char *const names[] = {"devices", "info", "embed", "merge"};
    char text[100];

    (void)state;
    cli_suggest("devcies", names, 4, text, sizeof text);
    assert_string_equal(text, "; did you mean devices?");
    cli_suggest("emb", names, 4, text, sizeof text);
    assert_string_equal(text, "; did you mean embed?");
    cli_suggest("inof", names, 4, text, sizeof text);
    assert_string_equal(text, "; did you mean info?");
    cli_suggest("mbege", names, 4, text, sizeof text);
    assert_string_equal(text, "; did you mean merge?");
    cli_suggest("x", names, 4, text, sizeof text);
    assert_string_equal(text, "");
    cli_suggest("", names, 4, text, sizeof text);
    assert_string_equal(text, "");
    /* Never past the end, whatever the room. */
    for (size_t size = 1; size < 30; size++) {
        memset(text, 'x', sizeof text);
        cli_suggest("devcies", names, 4, text, size);
        assert_true(strlen(text) < size);
        assert_int_equal(text[size], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind),    cmocka_unit_test(what_is_not_given_stays),
        cmocka_unit_test(spellings_mean_the_same), cmocka_unit_test(lists_are_repeated_or_split),
        cmocka_unit_test(two_dashes_end_options),  cmocka_unit_test(mistakes_are_usage_errors),
        cmocka_unit_test(sizes_are_strict),        cmocka_unit_test(close_names_are_suggested),
    };
    int failed;

    cli_messages_begin(cli_globals_begin());
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    cli_list_free(&o.layers);
    cli_globals_end();
    return failed;
}
