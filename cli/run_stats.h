/* run_stats.h - what a run did and how long it took: the file of --stats. */
#ifndef IVL_CLI_RUN_STATS_H
#define IVL_CLI_RUN_STATS_H

#include "cli/picture.h"
#include "model/internvl.h"

typedef struct cli_run_stats {
    uint64_t images, failed; /* of this run */
    double seconds;          /* from the first picture read to the last row written */
    double startup_seconds;  /* before that */
    double write_seconds;
    cli_picture_times times; /* summed over the threads */
    ivl_stats session;       /* all zero where no session was needed */
} cli_run_stats;

/* Replaces the file with one JSON object. */
ivl_status cli_run_stats_write(const cli_run_stats *stats, const char *path, ivl_error *error);

#endif
