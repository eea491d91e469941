/* prompt_options.h - class names and templates as the command line names them. */
#ifndef IVL_CLI_PROMPT_OPTIONS_H
#define IVL_CLI_PROMPT_OPTIONS_H

#include "cli/options.h"
#include "loader/prompt_list.h"

/* What --classes is filled into where no templates are named. */
#define CLI_DEFAULT_TEMPLATE "a photo of a {c}."

typedef struct cli_prompt_options {
    const char *classes, *templates, *prompts, *dataset, *language;
} cli_prompt_options;

/* Appends --classes, --templates, --prompts, --dataset and --language to a table that ends with
 * {0}. */
void cli_prompt_options_add(cli_prompt_options *options, cli_option *table);
/* false: return *code. */
bool cli_prompt_options_check(const cli_prompt_options *options, const char *command, int *code);
/* Reads both lists. CLI_DONE, or the exit code of what was printed. */
int cli_prompt_options_read(const cli_prompt_options *options, const char *command,
                            ivl__prompt_list *classes, ivl__prompt_list *templates);

#endif
