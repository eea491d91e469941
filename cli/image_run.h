/* image_run.h - inputs to rows: the run that every command with pictures shares.
 *
 * Decoding, the device and the output work side by side: while batch k is computed, batch k+1 is
 * being decoded and batch k-1 written. Rows come in the order of the inputs, failures become
 * recorded errors, and whatever ends a run early, what was finished is in the output.
 */
#ifndef IVL_CLI_IMAGE_RUN_H
#define IVL_CLI_IMAGE_RUN_H

#include "cli/batch_writer.h"
#include "cli/cli.h"
#include "cli/encoder.h"
#include "cli/picture_options.h"
#include "loader/record_writer.h"

typedef struct cli_image_run {
    const char *what; /* the command, for messages and progress */
    const cli_globals *globals;
    const cli_picture_options *pictures; /* checked and fitted */
    double started;                      /* ivl__now() when the command began */
    const char *stats;                   /* --stats, or NULL */

    /* Where results go: a function, in the order of the inputs, .. */
    cli_take_fn *take;
    /* .. which may prepare itself when the encoder is open and nothing has been read; NULL. */
    ivl_status (*ready)(void *user, cli_encoder *encoder, ivl_error *error);
    /* .. and may look at each batch when it is computed, on the computing thread; NULL. */
    ivl_status (*computed)(void *user, cli_encoder *encoder, const cli_batch *batch,
                           ivl_error *error);
    /* .. or an output, take being NULL. */
    const ivl__record_stream *streams;
    int n_streams;
    ivl__npy_type type;
    const char *identity; /* JSON object */
    cli_rows_fn *rows;
    cli_fields_fn *fields; /* or NULL */
    void *user;            /* of all these functions */

    /* The device: NULL and 0 where the crops themselves are the result. */
    const ivl_model *model;
    const char *modes; /* as cli_encoder_options has it */
    const char *const *taps;
    int n_taps;
    /* Called before a batch is computed, for its texts (batch->texts) where the taps need some, on
     * the computing thread; NULL. */
    ivl_status (*texts)(void *user, cli_batch *batch, ivl_error *error);
    int most; /* pictures of a batch; 0: as the plan says */
} cli_image_run;

/* Whether the inputs can be begun with: a list that is not there is told before anything is done.
 */
ivl_status cli_image_run_check(const cli_picture_options *pictures, ivl_error *error);

/* Does it all; prints what happened and answers with the exit code. */
int cli_image_run_do(const cli_image_run *run);

#endif
