/* test_messages.c - what reaches stderr: on a terminal, in a file, as JSON, and the progress line.
 */
#include "cli/message.h"
#include "cli/progress.h"
#include "runtime/os.h"
#include "tests/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

static cli_globals globals;
static int real_stderr, master, slave;

/* stderr becomes a terminal of that width. */
static void begin(const char *term, const char *no_colour, unsigned short columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = columns};

    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    real_stderr = dup(2);
    dup2(slave, 2);
    setenv("TERM", term, 1);
    if (no_colour) {
        setenv("NO_COLOR", no_colour, 1);
    } else {
        unsetenv("NO_COLOR");
    }
    globals = (cli_globals){.threads = 1};
    cli_messages_begin(&globals);
}

/* What was written since; stderr is the real one again. */
static const char *end(void)
{
    static char text[4000];
    size_t used = 0;
    ssize_t n;

    /* A terminal may hand out a line at a time. */
    while ((n = read(master, text + used, sizeof text - 1 - used)) > 0) {
        used += (size_t)n;
    }
    dup2(real_stderr, 2);
    close(real_stderr);
    close(slave);
    close(master);
    text[used] = '\0';
    return text;
}

static void levels_are_chosen(void **state)
{
    (void)state;
    begin("dumb", NULL, 80);
    cli_say(IVL_LOG_ERROR, "a %d", 1);
    cli_say(IVL_LOG_WARNING, "b");
    cli_say(IVL_LOG_INFO, "c");
    cli_say(IVL_LOG_VERBOSE, "d");
    assert_string_equal(end(), "internvl: error: a 1\r\ninternvl: warning: b\r\ninternvl: c\r\n");
    begin("dumb", NULL, 80);
    globals.quiet = true;
    cli_say(IVL_LOG_ERROR, "a");
    cli_say(IVL_LOG_WARNING, "b");
    assert_string_equal(end(), "internvl: error: a\r\n");
    begin("dumb", NULL, 80);
    globals.verbose = true;
    cli_say(IVL_LOG_VERBOSE, "d");
    assert_string_equal(end(), "internvl: d\r\n");
}

static void messages_stay_one_printable_line(void **state)
{
    (void)state;
    begin("dumb", NULL, 80);
    cli_say(IVL_LOG_INFO, "a\nb\tc\033[0m\x7f\xff\xc2\x9b\xc3\xa9");
    assert_string_equal(end(), "internvl: a; b c\\x1b[0m\\x7f\\xff\\x9b\xc3\xa9\r\n");
}

static void colour_is_for_terminals_that_want_it(void **state)
{
    static const struct {
        const char *term, *no_colour;
        bool colour;
    } cases[] = {
        {"xterm", NULL, true}, {"xterm", "", true}, {"xterm", "1", false}, {"dumb", NULL, false}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text;

        begin(cases[i].term, cases[i].no_colour, 80);
        cli_say(IVL_LOG_ERROR, "x");
        cli_progress_begin("embed", "images");
        cli_progress_update(1, 0, 2, NULL);
        cli_progress_end();
        text = end();
        assert_int_equal(strchr(text, '\033') != NULL, cases[i].colour);
        assert_int_equal(strstr(text, "embed") != NULL, cases[i].colour);
    }
}

static void progress_is_one_live_line(void **state)
{
    const char *text;

    (void)state;
    begin("xterm", NULL, 80);
    cli_progress_begin("embed", "images");
    cli_progress_update(12, 10, 100, "block 3/49");
    cli_say(IVL_LOG_INFO, "between");
    cli_progress_update(13, 10, 100, NULL); /* too soon after the one before */
    cli_progress_end();
    text = end();
    assert_memory_equal(text, "\r\033[Kembed  12/100  12.0 %  ", 26);
    assert_non_null(strstr(text, " images/s  ETA "));
    assert_non_null(strstr(text, "  block 3/49\r\033[Kinternvl: between\r\n"));
    assert_null(strstr(text, "13/100"));
}

static void lines_are_cut_to_the_screen(void **state)
{
    const char *text;

    (void)state;
    begin("xterm", NULL, 12);
    cli_progress_begin("\xc3\xa4\xc3\xb6\xc3\xbc", "images");
    cli_progress_update(1234567, 0, 0, "stage");
    cli_progress_end();
    text = end();
    /* Eleven of twelve columns, so that the cursor does not wrap. */
    assert_string_equal(text, "\r\033[K\xc3\xa4\xc3\xb6\xc3\xbc  123456\r\033[K");
}

static void totals_may_be_unknown(void **state)
{
    const char *text;

    (void)state;
    begin("xterm", NULL, 80);
    cli_progress_begin("embed", "images");
    cli_progress_update(7, 7, 0, NULL);
    text = end();
    /* Nothing of this run is done: no rate either. */
    assert_string_equal(text, "\r\033[Kembed  7");
    cli_progress_end();
}

static void quiet_shows_no_progress(void **state)
{
    (void)state;
    begin("xterm", NULL, 80);
    globals.quiet = true;
    cli_progress_begin("embed", "images");
    cli_progress_update(1, 0, 2, NULL);
    cli_progress_end();
    assert_string_equal(end(), "");
}

static void json_lines_can_be_read(void **state)
{
    json_error_t error;
    json_t *line;

    (void)state;
    begin("xterm", NULL, 80);
    globals.log_json = true;
    cli_say(IVL_LOG_WARNING, "\"a\"\n\xff");
    assert_non_null(strstr(end(), "\\udcff\"}"));
    begin("xterm", NULL, 80);
    globals.log_json = true;
    cli_say(IVL_LOG_WARNING, "\"a\"\n");
    line = json_loads(end(), 0, &error);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(line, "message")), "\"a\"\n");
    assert_true(json_number_value(json_object_get(line, "time")) > 1.6e9);
    json_decref(line);
}

static void statuses_have_exit_codes(void **state)
{
    static const struct {
        ivl_status status;
        int code;
    } cases[] = {{IVL_OK, 0},
                 {IVL_INVALID_ARGUMENT, 2},
                 {IVL_BAD_INPUT, 3},
                 {IVL_BAD_MODEL, 4},
                 {IVL_NO_DEVICE, 5},
                 {IVL_OUT_OF_DEVICE_MEMORY, 5},
                 {IVL_UNSUPPORTED, 5},
                 {IVL_NOT_FINITE, 6},
                 {IVL_VERIFY_FAILED, 6},
                 {IVL_OUT_OF_MEMORY, 1},
                 {IVL_IO_ERROR, 1},
                 {IVL_DEVICE_FAILED, 1},
                 {IVL_INTERNAL, 1},
                 {IVL_CANCELLED, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cli_exit_code(cases[i].status), cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_chosen),
        cmocka_unit_test(messages_stay_one_printable_line),
        cmocka_unit_test(colour_is_for_terminals_that_want_it),
        cmocka_unit_test(progress_is_one_live_line),
        cmocka_unit_test(lines_are_cut_to_the_screen),
        cmocka_unit_test(totals_may_be_unknown),
        cmocka_unit_test(quiet_shows_no_progress),
        cmocka_unit_test(json_lines_can_be_read),
        cmocka_unit_test(statuses_have_exit_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
