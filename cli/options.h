/* options.h - GNU-style options of a command, described as a table.
 *
 *     cli_option options[] = {
 *         {"output", 'o', CLI_TEXT, &o.output, "OUT", "where results go"},
 *         {"batch", 0, CLI_INT, &o.batch, "N", "images per pass (default: from the plan)"},
 *         {"layers", 0, CLI_LIST, &o.layers, "L[,L...]", "feature maps to write"},
 *         {0}};
 *     cli_arguments args = {0};
 *     if (!cli_options_parse(&cli_embed, options, argc, argv, &args, &code)) { return code; }
 *
 * Long names may be abbreviated while unambiguous, "--name=value" and "--name value" are the same,
 * "--" ends options, positionals may stand anywhere. A value may begin with a dash ("--layers -4").
 * Numbers are read strictly. The global options are read here too (globals.h). --help and --version
 * are handled here (printed to stdout, code 0); a mistake prints one line and gives code 2.
 */
#ifndef IVL_CLI_OPTIONS_H
#define IVL_CLI_OPTIONS_H

#include "cli/cli.h"

typedef enum cli_option_kind {
    CLI_FLAG,   /* bool * */
    CLI_TEXT,   /* const char ** */
    CLI_INT,    /* int *, >= 0 */
    CLI_U64,    /* uint64_t * */
    CLI_REAL,   /* double * */
    CLI_LIST,   /* cli_list *: repeated or comma-separated */
    CLI_STRINGS /* cli_list *: repeated; commas belong to the text */
} cli_option_kind;

typedef struct cli_list {
    const char **items; /* [n]; freed by cli_list_free, the strings belong to argv */
    size_t n;
} cli_list;

void cli_list_free(cli_list *list);

typedef struct cli_option {
    const char *name; /* without dashes; NULL: only the letter */
    char letter;      /* 0: none; no name and no letter end the table */
    cli_option_kind kind;
    void *value;          /* keeps its content (the default) when the option is not given */
    const char *argument; /* for --help: "N", "FILE"; NULL for flags */
    const char *help;
    bool *given; /* set to true when the option was given; may be NULL */
} cli_option;

/* Most options of one command, with the empty one at the end. */
enum { CLI_MOST_OPTIONS = 40 };

/* Appends options to a table of CLI_MOST_OPTIONS that ends with {0}. */
void cli_options_append(cli_option *table, const cli_option *more, size_t n_more);

typedef struct cli_arguments {
    const char **items; /* positionals in order; freed by cli_arguments_free */
    size_t n;
} cli_arguments;

void cli_arguments_free(cli_arguments *arguments);

/* false: return *code at once, nothing needs to be freed but the lists of the table. arguments may
 * be NULL for commands without positionals. */
bool cli_options_parse(const cli_command *command, const cli_option *options, int argc, char **argv,
                       cli_arguments *arguments, int *code);

/* What stands before the command: global options only. *used is the index of the first word that is
 * no option (argc where there is none). `commands` is for --help. */
bool cli_options_parse_leading(const cli_command *const *commands, int argc, char **argv, int *used,
                               int *code);

/* The names closest to `word` as "; did you mean a or b?", or "" when none is close. */
void cli_suggest(const char *word, const char *const *names, size_t n, char *text, size_t size);

/* "4GiB", "800MiB", "2G" (binary), "1000000": false for anything else, overflow included. */
bool cli_parse_size(const char *text, uint64_t *bytes);

#endif
