/* cmd_status.c - `internvl status`: how far an output folder is. */
#include "cli/json.h"
#include "cli/options.h"

#include "loader/output_status.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct request {
    const char *folder;
    bool json;
} request;

/* Seconds until all inputs are done at the rate so far; < 0 when nothing can be said. */
static double seconds_left(const ivl__output_status *status)
{
    uint64_t done = status->rows + status->errors;

    if (status->complete) {
        return 0;
    }
    return status->rows_per_second > 0 && status->inputs_total > done
               ? (double)(status->inputs_total - done) / status->rows_per_second
               : -1;
}

static int print_json(const ivl__output_status *status)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '{');
    cli_json_bool(&json, "complete", status->complete);
    cli_json_u64(&json, "units_done", status->units_done);
    cli_json_u64(&json, "units_begun", status->units_begun);
    if (status->units_total) {
        cli_json_u64(&json, "units_total", status->units_total);
        cli_json_u64(&json, "inputs_total", status->inputs_total);
    } else {
        cli_json_null(&json, "units_total");
        cli_json_null(&json, "inputs_total");
    }
    cli_json_u64(&json, "rows", status->rows);
    cli_json_u64(&json, "errors", status->errors);
    if (status->rows_per_second > 0) {
        cli_json_real(&json, "rows_per_second", status->rows_per_second);
    } else {
        cli_json_null(&json, "rows_per_second");
    }
    if (seconds_left(status) >= 0) {
        cli_json_real(&json, "seconds_left", seconds_left(status));
    } else {
        cli_json_null(&json, "seconds_left");
    }
    cli_json_end(&json, '}');
    return cli_json_print(&json);
}

static void print_table(const ivl__output_status *status)
{
    uint64_t inputs = status->rows + status->errors;
    double left = seconds_left(status);

    printf("state   %s\n", status->complete      ? "complete"
                           : status->units_total ? "not complete"
                                                 : "not complete; no run has seen all inputs yet");
    printf("units   %" PRIu64, status->units_done);
    if (status->units_total) {
        printf(" of %" PRIu64, status->units_total);
    }
    printf(" done");
    if (status->units_begun) {
        printf(", %" PRIu64 " begun", status->units_begun);
    }
    printf("\ninputs  %" PRIu64, inputs);
    if (status->inputs_total) {
        printf(" of %" PRIu64 " (%.1f %%)", status->inputs_total,
               100 * (double)inputs / (double)status->inputs_total);
    }
    printf("\nrows    %" PRIu64 "\nfailed  %" PRIu64 "\n", status->rows, status->errors);
    if (status->rows_per_second > 0) {
        printf("rate    %.3g rows/s\n", status->rows_per_second);
    }
    if (left > 0) {
        printf("left    %.0f:%02.0f:%02.0f at this rate\n", (double)((uint64_t)left / 3600),
               (double)((uint64_t)left / 60 % 60), (double)((uint64_t)left % 60));
    }
}

static bool parse(int argc, char **argv, request *r, int *code)
{
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &r->json, NULL, "print JSON instead of a table", NULL}, {0}};
    cli_arguments arguments = {0};

    if (!cli_options_parse(&cli_status, options, argc, argv, &arguments, code)) {
        return false;
    }
    *code = arguments.n == 1 ? CLI_DONE
            : arguments.n ? cli_usage_error("status", "one folder at a time; \"%s\" is the second",
                                            arguments.items[1])
                          : cli_usage_error("status", "the output folder is missing");
    r->folder = arguments.n ? arguments.items[0] : NULL;
    cli_arguments_free(&arguments);
    return *code == CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    ivl__output_status status;
    ivl_error error = {0};
    request r = {0};
    int code;

    (void)globals;
    if (!parse(argc, argv, &r, &code)) {
        return code;
    }
    if (ivl__output_status_read(r.folder, &status, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (r.json) {
        return print_json(&status);
    }
    print_table(&status);
    return CLI_DONE;
}

const cli_command cli_status = {
    .name = "status",
    .summary = "progress of an output folder",
    .synopsis = "OUT/ [--json]",
    .examples = "internvl status embeddings/\n"
                "watch -n 10 internvl status embeddings/\n"
                "internvl status embeddings/ --json | jq .complete",
    .run = run,
};
