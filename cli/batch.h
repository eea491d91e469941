/* batch.h - pictures of one shape for the device, with all that stands between them in the output.
 *
 * Events are pictures, failures and marks of units in the order of the source. The pictures' pixels
 * are moved into one block for ivl_run; results come back into one block per tap.
 */
#ifndef IVL_CLI_BATCH_H
#define IVL_CLI_BATCH_H

#include "cli/picture.h"
#include "model/internvl.h"

typedef struct cli_batch {
    cli_picture *events; /* [n_events] */
    size_t n_events, events_capacity;
    ivl_images images; /* of the pictures among the events; count may be 0 */
    void *pixels;      /* what images points to */
    ivl_texts texts;   /* the caller's: a text for each image, or none */
    size_t pixels_bytes;
    float **results;          /* [n_taps] blocks of images.count results */
    size_t *results_capacity; /* [n_taps] in floats */
    int n_taps;
    int tokens; /* of a hidden_<i> result; 0 before a run */
} cli_batch;

ivl_status cli_batch_init(cli_batch *batch, int n_taps, ivl_error *error);
void cli_batch_free(cli_batch *batch);
/* Drops the events, keeps the memory. */
void cli_batch_clear(cli_batch *batch);

/* Whether the picture can stand in one ivl_run with those of the batch; true for marks and failures
 * and for an empty batch. */
bool cli_batch_takes(const cli_batch *batch, const cli_picture *picture);
/* Takes the picture over, also when it fails. `most`: pictures that may come, for the size of the
 * block. */
ivl_status cli_batch_add(cli_batch *batch, cli_picture *picture, int most, ivl_error *error);

/* Makes room for `floats` results of one tap. */
ivl_status cli_batch_reserve(cli_batch *batch, int tap, size_t floats, ivl_error *error);

/* True for an event that has a result. */
bool cli_batch_has_result(const cli_picture *event);

#endif
