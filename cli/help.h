/* help.h - what --help prints, and the names that were perhaps meant. */
#ifndef IVL_CLI_HELP_H
#define IVL_CLI_HELP_H

#include "cli/options.h"

/* To stdout. `commands` ends with NULL. */
void cli_help_overall(const cli_command *const *commands, const cli_option *globals);
void cli_help_command(const cli_command *command, const cli_option *options);

#endif
