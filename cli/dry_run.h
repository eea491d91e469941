/* dry_run.h - what a run would do: items, bytes, space, time. Writes nothing. */
#ifndef IVL_CLI_DRY_RUN_H
#define IVL_CLI_DRY_RUN_H

#include "cli/image_run.h"

/* Counts the inputs, compares the bytes they become with the free space, and measures the pace on
 * one launch of grey pictures. Prints to stdout, answers with the exit code. */
int cli_dry_run(const cli_image_run *run);

#endif
