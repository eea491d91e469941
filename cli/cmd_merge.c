/* cmd_merge.c - `internvl merge`: the units of an output folder as single files. */
#include "cli/options.h"
#include "cli/progress.h"

#include "loader/output_status.h"
#include "runtime/os.h"

#include <inttypes.h>

typedef struct request {
    const char *folder, *output;
    bool force;
} request;

static bool report(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    cli_progress_update(done >> 20, 0, total >> 20, NULL);
    return cli_stop_requests() > 0;
}

static int check(const request *r, const cli_arguments *arguments)
{
    if (arguments->n == 0) {
        return cli_usage_error("merge", "the output folder is missing");
    }
    if (arguments->n > 1) {
        return cli_usage_error("merge", "one folder at a time; \"%s\" is the second",
                               arguments->items[1]);
    }
    return r->output && *r->output ? CLI_DONE : cli_usage_error("merge", "-o X.npy is missing");
}

static bool parse(int argc, char **argv, request *r, int *code)
{
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, &r->output, "X.npy",
         "array to write; the other files are named after it", NULL},
        {"force", 0, CLI_FLAG, &r->force, NULL, "replace what is there already", NULL},
        {0}};
    cli_arguments arguments = {0};

    if (!cli_options_parse(&cli_merge, options, argc, argv, &arguments, code)) {
        return false;
    }
    *code = check(r, &arguments);
    r->folder = arguments.n ? arguments.items[0] : NULL;
    cli_arguments_free(&arguments);
    return *code == CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    ivl_error error = {0};
    double begun = ivl__now();
    uint64_t failed = 0;
    request r = {0};
    ivl_status status;
    int code;

    (void)globals;
    if (!parse(argc, argv, &r, &code)) {
        return code;
    }
    cli_progress_begin("merge", "MiB");
    status = ivl__output_merge(r.folder, r.output, r.force, report, NULL, &failed, &error);
    cli_progress_end();
    if (status != IVL_OK) {
        return cli_fail(&error);
    }
    cli_say(IVL_LOG_INFO, "'%s' merged into '%s' in %.1f s", r.folder, r.output,
            ivl__now() - begun);
    if (!failed) {
        return CLI_DONE;
    }
    cli_say(IVL_LOG_WARNING,
            "%" PRIu64 " inputs failed and have no row; the .errors.jsonl beside '%s' lists them",
            failed, r.output);
    return CLI_SKIPPED;
}

const cli_command cli_merge = {
    .name = "merge",
    .summary = "joins the parts of an output folder",
    .synopsis = "OUT/ -o X.npy [--force]",
    .examples = "internvl merge embeddings/ -o embeddings.npy",
    .run = run,
};
