/* Texts of a file: which bytes become which text, what fails alone, and how a wait is ended. */
#include "tests/folder.h"

#include "loader/text_source.h"
#include "runtime/memory.h"

typedef struct expected {
    const char *text; /* NULL: the line fails with `why` */
    size_t bytes;
    const char *why;
} expected;

#define TEXT(string)                     \
    {                                    \
        string, sizeof(string) - 1, NULL \
    }
#define FAILS(reason)   \
    {                   \
        NULL, 0, reason \
    }

static void check(const char *name, const void *data, size_t bytes, const expected *lines, size_t n)
{
    ivl__text_source *source;
    ivl__text_item item;
    ivl_error error = {0};
    bool end;

    write_file(in_folder(name), data, bytes);
    assert_ok(ivl__text_source_open(in_folder(name), &source, &error), error);
    for (size_t i = 0; i < n; i++) {
        assert_ok(ivl__text_source_next(source, &item, &end, &error), error);
        assert_false(end);
        assert_int_equal(item.line, i + 1);
        assert_int_equal(item.failed, lines[i].text == NULL);
        assert_int_equal(item.bytes, lines[i].bytes);
        if (lines[i].text) {
            assert_memory_equal(item.text, lines[i].text, lines[i].bytes);
        } else if (!strstr(item.error_text, lines[i].why)) {
            fail_msg("line %zu: '%s' does not say '%s'", i + 1, item.error_text, lines[i].why);
        }
    }
    for (int again = 0; again < 2; again++) {
        assert_ok(ivl__text_source_next(source, &item, &end, &error), error);
        assert_true(end);
    }
    ivl__text_source_free(source);
}

#define CHECK(name, content, ...)                                                         \
    do {                                                                                  \
        static const expected lines[] = {__VA_ARGS__};                                    \
        check(name, content, sizeof(content) - 1, lines, sizeof lines / sizeof lines[0]); \
    } while (0)

static void lines_are_texts(void **state)
{
    (void)state;
    check("a.txt", "", 0, NULL, 0);
    CHECK("a.txt", "one", TEXT("one"));
    CHECK("a.txt", "one\n", TEXT("one"));
    CHECK("a.txt", "\n\r\n\n", TEXT(""), TEXT(""), TEXT(""));
    CHECK("a.txt", "a\r\n b \n\rc\r", TEXT("a"), TEXT(" b "), TEXT("\rc"));
    CHECK("a.txt", "nul \0 inside\n\xe4\xb8\x80\n", TEXT("nul \0 inside"), TEXT("\xe4\xb8\x80"));
}

static void bad_lines_fail_alone(void **state)
{
    (void)state;
    CHECK("a.txt", "good\nab\xff\n\xc3\n\xed\xa0\x80\nfine", TEXT("good"),
          FAILS("not UTF-8 at byte 2 (0xff)"), FAILS("not UTF-8 at byte 0 (0xc3)"),
          FAILS("not UTF-8 at byte 0 (0xed)"), TEXT("fine"));
}

static void objects_have_a_text(void **state)
{
    (void)state;
    CHECK("a.jsonl", "{\"text\": \"two\\nlines\"}\r\n{\"n\": 1, \"text\": \"a\\u0000b\"}\n",
          TEXT("two\nlines"), TEXT("a\0b"));
    CHECK("a.jsonl",
          "{}\n[]\n{\"text\": 7}\n{\"text\"\n\n{\"text\": \"\\ud800\"}\n{\"text\": \"\"}",
          FAILS("no \"text\""), FAILS("no \"text\""), FAILS("no \"text\""), FAILS("not JSON"),
          FAILS("not JSON"), FAILS("not JSON"), TEXT(""));
}

/* Lines that cross the blocks in which a file is read, and one that is longer than any may be. */
static void lengths_do_not_matter_up_to_the_limit(void **state)
{
    const size_t sizes[] = {65534, 65535, 65536, 65537, 200000, IVL__TEXT_MAX_BYTES};
    size_t bytes = IVL__TEXT_MAX_BYTES + 8;
    char *data = ivl__malloc(bytes);

    (void)state;
    assert_non_null(data);
    memset(data, 'x', bytes);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const expected lines[] = {{data, sizes[i], NULL}, {"xx", 2, NULL}};

        data[sizes[i]] = '\n';
        check("long.txt", data, sizes[i] + 3, lines, 2);
        data[sizes[i]] = 'x';
    }
    {
        const expected lines[] = {FAILS("longer than 16 MiB"), {"xx", 2, NULL}};

        data[IVL__TEXT_MAX_BYTES + 1] = '\n';
        check("long.txt", data, IVL__TEXT_MAX_BYTES + 4, lines, 2);
    }
    ivl__free(data);
}

static int asked;

static bool stop_at_the_second_time(void)
{
    return ++asked == 2;
}

static void a_wait_can_be_ended(void **state)
{
    ivl__text_source *source;
    ivl__text_item item;
    ivl_error error = {0};
    int ends[2], standard_input;
    bool end;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    standard_input = dup(0);
    assert_int_equal(dup2(ends[0], 0), 0);
    assert_int_equal(write(ends[1], "one\ntwo", 7), 7);
    assert_ok(ivl__text_source_open("-", &source, &error), error);
    ivl__text_source_set_stop(source, stop_at_the_second_time);
    assert_ok(ivl__text_source_next(source, &item, &end, &error), error);
    assert_int_equal(item.bytes, 3);
    assert_int_equal(asked, 0);
    assert_fails(ivl__text_source_next(source, &item, &end, &error), IVL_CANCELLED, error,
                 "interrupted");
    assert_int_equal(asked, 2);
    ivl__text_source_free(source);
    assert_int_equal(dup2(standard_input, 0), 0);
    close(standard_input);
    close(ends[0]);
    close(ends[1]);
}

static void files_that_cannot_be_opened(void **state)
{
    ivl__text_source *source = NULL;
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl__text_source_open(in_folder("none.txt"), &source, &error),
                 IVL_INVALID_ARGUMENT, error, "none.txt");
    assert_fails(ivl__text_source_open(folder, &source, &error), IVL_INVALID_ARGUMENT, error,
                 folder);
    assert_null(source);
    ivl__text_source_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_texts),
        cmocka_unit_test(bad_lines_fail_alone),
        cmocka_unit_test(objects_have_a_text),
        cmocka_unit_test(lengths_do_not_matter_up_to_the_limit),
        cmocka_unit_test(a_wait_can_be_ended),
        cmocka_unit_test(files_that_cannot_be_opened),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
