/* dry_run.h - what a run would do: items, bytes, space, time. Writes nothing. */
#ifndef IVL_CLI_DRY_RUN_H
#define IVL_CLI_DRY_RUN_H

#include "cli/image_run.h"

/* Counts the inputs, compares the bytes they become with the free space, and measures the pace on
 * one launch of grey pictures. Prints to stdout, answers with the exit code. */
int cli_dry_run(const cli_image_run *run);

/* What a dry run of any inputs prints. */
typedef struct cli_dry_run_work {
    const char *output;
    uint64_t items, row_bytes; /* of one item over all arrays */
    const char *unit;          /* "images" */
    const char *note;          /* behind the pace, or NULL */
    /* Seconds of one item, 0 where it cannot be told; NULL: nothing runs on a device. */
    ivl_status (*measure)(void *user, double *seconds_each, ivl_error *error);
    void *user;
} cli_dry_run_work;

int cli_dry_run_report(const cli_dry_run_work *work);

#endif
