/* cmd_selftest.c - `internvl selftest`: every kernel against known answers, on the user's device.
 */
#include "cli/json.h"
#include "cli/options.h"

#include <stdio.h>

/* Callback state: where results go, and what there was. */
typedef struct tally {
    cli_json *json; /* NULL: lines for people */
    int passed, failed, skipped;
} tally;

static void print_line(const char *check, bool passed, bool skipped, double max_error, double bound,
                       const char *note)
{
    printf("%-7s %-24s", skipped ? "skipped" : passed ? "ok" : "FAILED", check);
    if (!skipped) {
        printf(" error %.3g, bound %.3g", max_error, bound);
    }
    printf("%s%s\n", note[0] ? skipped ? " " : ": " : "", note);
    fflush(stdout);
}

static void add_object(cli_json *json, const char *check, bool passed, bool skipped,
                       double max_error, double bound, const char *note)
{
    cli_json_line(json);
    cli_json_begin(json, NULL, '{');
    cli_json_text(json, "check", check);
    cli_json_bool(json, "passed", passed && !skipped);
    cli_json_bool(json, "skipped", skipped);
    if (skipped) {
        cli_json_null(json, "max_error");
        cli_json_null(json, "bound");
    } else {
        cli_json_real(json, "max_error", max_error);
        cli_json_real(json, "bound", bound);
    }
    cli_json_text(json, "note", note);
    cli_json_end(json, '}');
}

static int report(void *user, const char *check, bool passed, bool skipped, double max_error,
                  double bound, const char *note)
{
    tally *t = user;

    note = note ? note : "";
    if (skipped) {
        t->skipped++;
    } else if (passed) {
        t->passed++;
    } else {
        t->failed++;
    }
    if (t->json) {
        add_object(t->json, check, passed, skipped, max_error, bound, note);
    } else {
        print_line(check, passed, skipped, max_error, bound, note);
    }
    return cli_stop_requests();
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    bool as_json = false;
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &as_json, NULL, "an array of objects on stdout", NULL}, {0}};
    ivl_session_options session;
    cli_json json = {0};
    tally t = {0};
    ivl_error error = {0};
    ivl_status status;
    int code;

    if (!cli_options_parse(&cli_selftest, options, argc, argv, NULL, &code)) {
        return code;
    }
    cli_session_options(globals, &session);
    /* The numbers of two devices can be compared in exact arithmetic only. */
    if (session.precision == IVL_PRECISION_AUTO) {
        session.precision = IVL_PRECISION_EXACT;
    }
    if (as_json) {
        t.json = &json;
        cli_json_begin(&json, NULL, '[');
    }
    status = ivl_selftest(&session, report, &t, &error);
    code = CLI_DONE;
    if (as_json) {
        cli_json_end(&json, ']');
        code = cli_json_print(&json);
    }
    cli_say(IVL_LOG_INFO, "%d checks passed, %d failed, %d skipped", t.passed, t.failed, t.skipped);
    return status == IVL_OK ? code : cli_fail(&error);
}

const cli_command cli_selftest = {
    .name = "selftest",
    .summary = "every kernel against known answers on the device; the model on tiny weights",
    .synopsis = "[--json]",
    .examples = "internvl selftest\n"
                "internvl selftest --device gpu --precision fast\n"
                "internvl selftest --json",
    .run = run,
};
