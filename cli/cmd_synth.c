/* cmd_synth.c - `internvl synth`: random weights in the published layout. */
#include "cli/options.h"
#include "cli/progress.h"

#include "loader/model_config.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

typedef struct request {
    ivl_synth_options synth;
    const char *output, *shard_size;
    cli_list settings;
} request;

/* Both counts are MiB. */
static int report(void *user, const char *stage, int done, int total)
{
    (void)user;
    cli_progress_update((uint64_t)done, 0, (uint64_t)total, stage);
    return cli_stop_requests() > 0;
}

static int missing_architecture(void)
{
    char names[400] = "";
    const ivl__known_architecture *known;

    for (size_t i = 0; (known = ivl__known_architecture_at(i)); i++) {
        size_t used = strlen(names);

        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known->name);
    }
    return cli_usage_error("synth", "ARCH is missing; known are %s", names);
}

/* What the options say together; CLI_DONE when there is something to do. */
static int check(request *r, const cli_arguments *arguments)
{
    if (arguments->n == 0) {
        return missing_architecture();
    }
    if (arguments->n > 1) {
        return cli_usage_error("synth", "one ARCH at a time; \"%s\" is the second",
                               arguments->items[1]);
    }
    if (!r->output || !*r->output) {
        return cli_usage_error("synth", "-o DIR is missing");
    }
    if (r->shard_size &&
        (!cli_parse_size(r->shard_size, &r->synth.shard_bytes) || r->synth.shard_bytes == 0)) {
        return cli_usage_error("synth", "--shard-size \"%s\" is no size like 5GB or 800MiB",
                               r->shard_size);
    }
    r->synth.arch = arguments->items[0];
    r->synth.settings = r->settings.items;
    r->synth.n_settings = r->settings.n;
    return CLI_DONE;
}

static bool parse(int argc, char **argv, request *r, int *code)
{
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, &r->output, "DIR",
         "folder to write, or one file of weights (.safetensors, .bin, .pth)", NULL},
        {"seed", 0, CLI_U64, &r->synth.seed, "N", "another model for each number (default: 0)",
         NULL},
        {"dtype", 0, CLI_TEXT, &r->synth.dtype, "TYPE", "bf16 (default), fp16 or fp32", NULL},
        {"layout", 0, CLI_TEXT, &r->synth.layout, "LAYOUT",
         "safetensors (default), sharded (safetensors with an index), bin or pth", NULL},
        {"naming", 0, CLI_TEXT, &r->synth.naming, "SCHEME",
         "tensor names: hub (default), pth (default of layout pth) or hf (transformers port)",
         NULL},
        {"set", 0, CLI_LIST, &r->settings, "KEY=VALUE[,...]",
         "a key of config.json; nested keys by a dot (vision_config.num_hidden_layers=2)", NULL},
        {"shard-size", 0, CLI_TEXT, &r->shard_size, "SIZE",
         "largest shard (default: 5 GB; of layout bin 10 GB)", NULL},
        {"force", 0, CLI_FLAG, &r->synth.force, NULL,
         "replace a checkpoint that synth made, or a file", NULL},
        {0}};
    cli_arguments arguments = {0};

    if (!cli_options_parse(&cli_synth, options, argc, argv, &arguments, code)) {
        return false;
    }
    *code = check(r, &arguments);
    cli_arguments_free(&arguments);
    return *code == CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    request r = {0};
    ivl_error error = {0};
    double begun = ivl__now();
    int code = CLI_DONE;

    ivl_synth_options_init(&r.synth);
    r.synth.threads = globals->threads;
    r.synth.progress = report;
    if (parse(argc, argv, &r, &code)) {
        cli_progress_begin("synth", "MiB");
        if (ivl_synth(&r.synth, r.output, &error) != IVL_OK) {
            code = cli_fail(&error);
        }
        cli_progress_end();
        if (code == CLI_DONE) {
            cli_say(IVL_LOG_INFO, "%s, seed %llu, written to '%s' in %.1f s", r.synth.arch,
                    (unsigned long long)r.synth.seed, r.output, ivl__now() - begun);
        }
    }
    cli_list_free(&r.settings);
    return code;
}

const cli_command cli_synth = {
    .name = "synth",
    .summary = "random weights in the published layout",
    .synopsis = "ARCH -o DIR [OPTIONS]",
    .examples = "internvl synth internvit-6b-224 -o vit6b\n"
                "internvl synth internvit-300m-448 -o vit300m --layout sharded --seed 3\n"
                "internvl synth internvl-c-13b-224 -o internvl_c_13b_224px.pth\n"
                "internvl synth tiny -o tiny --naming hf --dtype fp32 --set num_hidden_layers=4",
    .run = run,
};
