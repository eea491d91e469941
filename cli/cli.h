/* cli.h - what every command shares: exit codes, messages, global options, models, signals.
 *
 * Results go to stdout, everything for people to stderr. A command is one function in cmd_<name>.c
 * that parses its own options (options.h), does its work through internvl.h and the loader, and
 * answers with an exit code. Only this room reads the environment and installs signal handlers.
 */
#ifndef IVL_CLI_CLI_H
#define IVL_CLI_CLI_H

#include "model/internvl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,  /* bug, output cannot be written, last device lost, closed pipe */
    CLI_USAGE = 2,   /* wrong usage, no inputs at all */
    CLI_SKIPPED = 3, /* done, but some or all inputs were skipped */
    CLI_MODEL = 4,   /* model, tokenizer or checkpoint unusable */
    CLI_DEVICE = 5, /* no usable device, not enough device memory, a capability that is not there */
    CLI_VERIFY = 6, /* a verification failed, numbers that are not finite */
    CLI_INTERRUPTED = 130,
    CLI_TERMINATED = 143
} cli_exit;

/* Global options, accepted before or after the command. Strings belong to argv. Complete once the
 * command has called cli_options_parse (options.h), which reads those behind the command. */
typedef struct cli_globals {
    const char *const *devices; /* selectors, comma-separated ones split */
    size_t n_devices;
    uint64_t device_memory;     /* bytes; 0: not given */
    double device_memory_share; /* "50%" is 0.5; 0: not given */
    ivl_residency residency;
    ivl_precision_choice precision;
    const char *gemm, *tuning_file;
    int threads; /* host worker threads; never 0: the number of cores where not given */
    bool quiet, verbose, log_json;
    const char *trace;      /* Chrome trace to write, or NULL */
    const char *kernel_dir; /* developers: OpenCL C files instead of the embedded ones, or NULL */
    const char *cache_dir;  /* NULL with --no-cache; else --cache-dir or the XDG folder */
} cli_globals;

typedef struct cli_command {
    const char *name;
    const char *summary;  /* one line for `internvl --help` */
    const char *synopsis; /* "MODEL INPUT... -o OUT [OPTIONS]" */
    const char *examples; /* lines for `internvl NAME --help` */
    int (*run)(const cli_globals *globals, int argc, char **argv); /* argv[0]: the name */
} cli_command;

extern const cli_command cli_devices, cli_info, cli_synth, cli_embed, cli_features, cli_preprocess,
    cli_selftest, cli_verify, cli_status, cli_merge, cli_tokenize, cli_index, cli_search,
    cli_similarity, cli_classify, cli_eval;

/* ---- messages (message.c) ------------------------------------------------------------------ */

/* One line to stderr; respects -q, -v and --log-json, and clears a live progress bar first. Safe
 * from any thread. */
void cli_say(ivl_log_level level, const char *format, ...) IVL__PRINTF(2, 3);
/* Prints error->message as an error and returns the exit code that belongs to its status. */
int cli_fail(const ivl_error *error);
int cli_exit_code(ivl_status status);
/* Prints a usage error ("embed: ...; see internvl embed --help") and returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *format, ...) IVL__PRINTF(2, 3);
/* Closes stdout; CLI_FAILED with a message when what was written did not arrive, else `code`. */
int cli_close_stdout(int code);

/* ---- signals (signals.c) ------------------------------------------------------------------- */

/* Installed by main: SIGINT and SIGTERM are counted by a thread, SIGBUS goes to ivl_handle_sigbus,
 * SIGPIPE and SIGXFSZ are ignored (writes fail instead). */
/* How often the user asked to stop: 0, 1 (finish the batch if that is soon), 2 and more (at once).
 */
int cli_stop_requests(void);
/* CLI_INTERRUPTED or CLI_TERMINATED, by the first signal that came; CLI_DONE when none did. */
int cli_stop_code(void);

/* ---- models and sessions (open.c) ---------------------------------------------------------- */

/* The options --config and --arch of every command that takes a MODEL. */
typedef struct cli_model_options {
    const char *config, *arch;
} cli_model_options;

ivl_status cli_open_model(const char *path, const cli_model_options *options, ivl_model **model,
                          ivl_error *error);
/* Session options as the globals say; the caller adds batch, picture size and callbacks. Compiling
 * and tuning are announced through the log. */
void cli_session_options(const cli_globals *globals, ivl_session_options *options);

#endif
