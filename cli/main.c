/* main.c - the program: finds the command, runs it, ends with its exit code. */
#include "cli/globals.h"
#include "cli/help.h"
#include "cli/message.h"
#include "cli/signals.h"
#include "cli/trace.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In the order of --help: what is there, what to run on, what to run. */
static const cli_command *const commands[] = {
    &cli_devices,  &cli_info,       &cli_synth,    &cli_embed,  &cli_features, &cli_preprocess,
    &cli_tokenize, &cli_selftest,   &cli_verify,   &cli_status, &cli_merge,    &cli_index,
    &cli_search,   &cli_similarity, &cli_classify, &cli_eval,   NULL,
};

/* A descriptor 0 .. 2 that the caller closed would be given to the next file that is opened, and a
 * message would end up in it. The stand-in is opened the wrong way round, so that reading and
 * writing fail as they should. */
static void fill_standard_descriptors(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0) {
            return;
        }
    }
}

static const cli_command *find(const char *name)
{
    const char *names[sizeof commands / sizeof commands[0]];
    char text[200];
    size_t n = 0;

    for (; commands[n]; n++) {
        if (strcmp(commands[n]->name, name) == 0) {
            return commands[n];
        }
        names[n] = commands[n]->name;
    }
    cli_suggest(name, names, n, text, sizeof text);
    cli_usage_error(NULL, "unknown command \"%s\"%s", name, text);
    return NULL;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    const cli_command *command;
    int first = 0;
    int code = CLI_DONE;

    if (!cli_options_parse_leading(commands, argc, argv, &first, &code)) {
        return code;
    }
    if (first == argc) {
        return cli_usage_error(NULL, "a command is missing");
    }
    command = find(argv[first]);
    return command ? command->run(globals, argc - first, argv + first) : CLI_USAGE;
}

int main(int argc, char **argv)
{
    /* Room for all that --help says: its one write fails when stdout is closed, with the reason. */
    static char buffer[65536];
    const cli_globals *globals;
    int code;

    fill_standard_descriptors();
    setvbuf(stdout, buffer, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, sizeof buffer);
    globals = cli_globals_begin();
    cli_messages_begin(globals);
    cli_signals_begin();
    code = cli_close_stdout(cli_trace_end(run(globals, argc, argv)));
    cli_globals_end();
    return code;
}
