/* image_run.h - inputs to rows: the run that `embed`, `features` and `preprocess` share.
 *
 * Decoding, the device and the output work side by side: while batch k is computed, batch k+1 is
 * being decoded and batch k-1 written. Rows come in the order of the inputs, failures become
 * recorded errors, and whatever ends a run early, what was finished is in the output.
 */
#ifndef IVL_CLI_IMAGE_RUN_H
#define IVL_CLI_IMAGE_RUN_H

#include "cli/batch_writer.h"
#include "cli/cli.h"
#include "cli/picture_options.h"
#include "loader/record_writer.h"

typedef struct cli_image_run {
    const char *what; /* the command, for messages and progress */
    const cli_globals *globals;
    const cli_picture_options *pictures; /* checked and fitted */
    double started;                      /* ivl__now() when the command began */
    const char *stats;                   /* --stats, or NULL */

    /* The output. */
    const ivl__record_stream *streams;
    int n_streams;
    ivl__npy_type type;
    const char *identity; /* JSON object */
    cli_rows_fn *rows;
    void *user; /* of rows */

    /* The device: NULL and 0 where the crops themselves are the result. */
    const ivl_model *model;
    const char *const *taps;
    int n_taps;
    int most; /* pictures of a batch; 0: as the plan says */
} cli_image_run;

/* Does it all; prints what happened and answers with the exit code. */
int cli_image_run_do(const cli_image_run *run);

#endif
