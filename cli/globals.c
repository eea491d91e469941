/* globals.c - the global options: their table, their values, their defaults; see globals.h. */
#include "cli/globals.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More threads than any host has cores only take memory. */
#define MAX_THREADS 1024

bool cli_help_asked, cli_version_asked;

static cli_globals globals;
static char *default_cache; /* the XDG folder */

/* As given, before cli_globals_finish has read them. */
static struct {
    cli_list devices;
    const char *memory, *residency, *precision, *cache_dir;
    bool no_cache, threads_given;
} given;

static const cli_option table[] = {
    {"device", 'd', CLI_LIST, &given.devices, "SEL",
     "auto (default: fastest usable GPU, else CPU), an index of `internvl devices`, gpu, cpu, all, "
     "pci:03:00.0, or part of a platform or device name; repeatable",
     NULL},
    {"device-memory", 0, CLI_TEXT, &given.memory, "SIZE",
     "budget for everything on the device: 4GiB, 800MiB, 50% (default: what the device has; on "
     "CPUs half of physical memory)",
     NULL},
    {"residency", 0, CLI_TEXT, &given.residency, "R",
     "auto (default), mapped (weights are views of the file), resident (copied once), stream "
     "(uploaded through slots in every pass)",
     NULL},
    {"precision", 0, CLI_TEXT, &given.precision, "P",
     "exact (fp32 arithmetic) or fast (16-bit multiplicands, fp32 sums); default: fast where the "
     "device has it",
     NULL},
    {"gemm", 0, CLI_TEXT, &globals.gemm, "B",
     "matrix multiplication: auto (default), clblast, or tile, cpu of our own", NULL},
    {"tuning", 0, CLI_TEXT, &globals.tuning_file, "FILE", "pinned tuning file", NULL},
    {"threads", 0, CLI_INT, &globals.threads, "N",
     "host threads that decode, resize and read (default: one per processor)",
     &given.threads_given},
    {"quiet", 'q', CLI_FLAG, &globals.quiet, NULL, "nothing but errors", NULL},
    {"verbose", 'v', CLI_FLAG, &globals.verbose, NULL, "every decision and timing", NULL},
    {"log-json", 0, CLI_FLAG, &globals.log_json, NULL, "messages as JSON lines on stderr", NULL},
    {"trace", 0, CLI_TEXT, &globals.trace, "FILE.json",
     "timeline in Chrome's trace format: queues, tiles, kernels, threads", NULL},
    {"no-cache", 0, CLI_FLAG, &given.no_cache, NULL, "keep no compiled programs, no tuning", NULL},
    {"cache-dir", 0, CLI_TEXT, &given.cache_dir, "DIR",
     "where those are kept (default: $XDG_CACHE_HOME/internvl or ~/.cache/internvl)", NULL},
    {"kernel-dir", 0, CLI_TEXT, &globals.kernel_dir, "DIR",
     "for developers: OpenCL C files of this folder instead of the embedded ones", NULL},
    {"help", 'h', CLI_FLAG, &cli_help_asked, NULL, "this help; of a command, with examples", NULL},
    {"version", 0, CLI_FLAG, &cli_version_asked, NULL, "the version", NULL},
    {0}};

const cli_option *cli_globals_options(void)
{
    return table;
}

const cli_globals *cli_globals_begin(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");

    /* The XDG specification: a relative path is to be ignored. */
    if (xdg && xdg[0] == '/') {
        default_cache = ivl__path_join(xdg, "internvl");
    } else if (home && home[0] == '/') {
        default_cache = ivl__path_join(home, ".cache/internvl");
    }
    globals.cache_dir = default_cache;
    globals.threads = ivl__cpu_count();
    return &globals;
}

void cli_globals_end(void)
{
    cli_list_free(&given.devices);
    ivl__free(default_cache);
    default_cache = NULL;
}

/* "50%"; only shares in (0, 100]. */
static bool parse_share(const char *text, double *share)
{
    char *end;
    double value = strtod(text, &end);

    if (!strchr("0123456789.", text[0]) || strcmp(end, "%") != 0 || !(value > 0.0) ||
        value > 100.0) {
        return false;
    }
    *share = value / 100.0;
    return true;
}

static bool finish_memory(const char *command)
{
    globals.device_memory = 0;
    globals.device_memory_share = 0.0;
    if (!given.memory || parse_share(given.memory, &globals.device_memory_share) ||
        (cli_parse_size(given.memory, &globals.device_memory) && globals.device_memory)) {
        return true;
    }
    cli_usage_error(command,
                    "--device-memory %s is no budget; give a size above 0 such as 4GiB, 800MiB or "
                    "a number of bytes, or a share above 0%% and up to 100%%",
                    given.memory);
    return false;
}

/* The index of `text` in the list that ends with NULL, -1 with an error printed. */
static int choose(const char *command, const char *option, const char *text,
                  const char *const *names, const char *list)
{
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            return i;
        }
    }
    cli_usage_error(command, "--%s %s is unknown; there are %s", option, text, list);
    return -1;
}

static bool finish_choices(const char *command)
{
    static const char *const residencies[] = {"auto", "mapped", "resident", "stream", NULL};
    static const char *const precisions[] = {"auto", "exact", "fast", NULL};
    int residency = 0;
    int precision = 0;

    if (given.residency) {
        residency = choose(command, "residency", given.residency, residencies,
                           "auto, mapped, resident and stream");
    }
    if (residency >= 0 && given.precision) {
        precision = choose(command, "precision", given.precision, precisions,
                           "auto, exact and fast");
    }
    if (residency < 0 || precision < 0) {
        return false;
    }
    globals.residency = (ivl_residency)residency;
    globals.precision = (ivl_precision_choice)precision;
    return true;
}

static bool finish_rest(const char *command)
{
    if (given.threads_given && (globals.threads < 1 || globals.threads > MAX_THREADS)) {
        cli_usage_error(command, "--threads %d is outside of 1 .. %d", globals.threads,
                        MAX_THREADS);
        return false;
    }
    if (globals.quiet && globals.verbose) {
        cli_usage_error(command, "--quiet and --verbose exclude each other");
        return false;
    }
    if (given.no_cache && given.cache_dir) {
        cli_usage_error(command, "--no-cache and --cache-dir exclude each other");
        return false;
    }
    if (given.cache_dir && !given.cache_dir[0]) {
        cli_usage_error(command, "--cache-dir needs the name of a folder");
        return false;
    }
    globals.cache_dir = given.no_cache ? NULL : given.cache_dir ? given.cache_dir : default_cache;
    if (globals.trace && !globals.trace[0]) {
        cli_usage_error(command, "--trace needs the name of a file");
        return false;
    }
    globals.devices = given.devices.items;
    globals.n_devices = given.devices.n;
    return true;
}

bool cli_globals_finish(const char *command, int *code)
{
    if (finish_memory(command) && finish_choices(command) && finish_rest(command)) {
        return true;
    }
    *code = CLI_USAGE;
    return false;
}
