/* batch_writer.h - finished batches to the output, on a thread of its own.
 *
 * The output is a record writer, or a function that gets every picture in order.
 *
 * Two batches go round: while one is written the other is filled and computed. Everything that was
 * submitted is committed, whatever happens to the batches after it.
 */
#ifndef IVL_CLI_BATCH_WRITER_H
#define IVL_CLI_BATCH_WRITER_H

#include "cli/batch.h"
#include "loader/json_text.h"
#include "loader/record_writer.h"

typedef struct cli_batch_writer cli_batch_writer;

/* The rows of result `index` of a batch, one per stream of the writer; valid until the next call.
 * Called by the writing thread. */
typedef void cli_rows_fn(void *user, const cli_batch *batch, int index, const float **rows);

/* Appends members to the metadata of that row: "\"pair_score\": 0.25". Called after rows. */
typedef void cli_fields_fn(void *user, const cli_batch *batch, int index, ivl__text *fields);

/* Takes one picture: result `index` of the batch, or a failed one (picture->failure), for which the
 * index means nothing. Called by the writing thread. */
typedef ivl_status cli_take_fn(void *user, const cli_batch *batch, const cli_picture *picture,
                               int index, ivl_error *error);

typedef struct cli_batch_writer_options {
    ivl__record_writer *writer; /* NULL: take gets the pictures */
    int n_taps;
    cli_rows_fn *rows;     /* with a writer */
    cli_fields_fn *fields; /* with a writer, or NULL */
    cli_take_fn *take;     /* without */
    void *user;
} cli_batch_writer_options;

ivl_status cli_batch_writer_open(const cli_batch_writer_options *options, cli_batch_writer **writer,
                                 ivl_error *error);

/* An empty batch; waits for one. Fails with what went wrong with the output. */
ivl_status cli_batch_writer_take(cli_batch_writer *writer, cli_batch **batch, ivl_error *error);
/* Gives a batch of cli_batch_writer_take back to be written. */
void cli_batch_writer_submit(cli_batch_writer *writer, cli_batch *batch);
/* Waits until everything submitted is committed. */
ivl_status cli_batch_writer_drain(cli_batch_writer *writer, ivl_error *error);

typedef struct cli_batch_writer_counts {
    uint64_t rows, errors; /* written by this run */
    double seconds;        /* spent writing */
    double last_write;     /* ivl__now() when the last batch was committed */
} cli_batch_writer_counts;

cli_batch_writer_counts cli_batch_writer_get_counts(cli_batch_writer *writer);

/* Drains first. */
void cli_batch_writer_free(cli_batch_writer *writer);

#endif
