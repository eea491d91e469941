/* globals.h - the options that every command takes, bound to the one cli_globals of the process. */
#ifndef IVL_CLI_GLOBALS_H
#define IVL_CLI_GLOBALS_H

#include "cli/options.h"

/* Defaults, from the environment where it says something. Called once, by main. */
const cli_globals *cli_globals_begin(void);
void cli_globals_end(void);

/* The table for the parser; --help and --version are in it as flags whose values are these. */
const cli_option *cli_globals_options(void);
extern bool cli_help_asked, cli_version_asked;

/* Turns the texts given so far into values. false: *code is CLI_USAGE, the mistake was printed. */
bool cli_globals_finish(const char *command, int *code);

#endif
