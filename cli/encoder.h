/* encoder.h - a session for a command: opened late, with the choices of an interrupted run.
 *
 * Says what is used, keeps the batch within what the taps allow, shows the stage while it runs, and
 * decides after the first request to stop whether the batch at hand is worth finishing.
 */
#ifndef IVL_CLI_ENCODER_H
#define IVL_CLI_ENCODER_H

#include "cli/batch.h"
#include "cli/cli.h"

/* Called while a batch runs: where it is. */
typedef void cli_stage_fn(void *user, const char *stage);

typedef struct cli_encoder_options {
    const cli_globals *globals;
    const ivl_model *model;
    const char *modes; /* what is going to be run ("g,text"): the rest is not placed; NULL: all */
    int size;          /* side of the pictures to come */
    int batch;         /* as asked for; 0: the plan's */
    int most;          /* pictures whose results fit in host memory; 0: any */
    int most_texts;    /* not 0: modes is "text", batches are of texts and hold at most so many */
    const char *recorded;    /* provenance of an earlier run, or NULL */
    const char *const *taps; /* [n_taps] */
    int n_taps;
    bool timed; /* collect seconds by stage */
} cli_encoder_options;

typedef struct cli_encoder cli_encoder;

/* The device that the selectors name first: the one that sessions use. */
ivl_status cli_first_device(const cli_globals *globals, ivl_device *device, ivl_error *error);

/* Opens the session. The options' pointers must live as long as the encoder. */
ivl_status cli_encoder_open(const cli_encoder_options *options, cli_encoder **encoder,
                            ivl_error *error);
void cli_encoder_free(cli_encoder *encoder);

/* Width of the taps image_c, image_g and text; 0 in models that have none. */
int cli_encoder_embed_dim(const cli_encoder *encoder);
/* Pictures of one batch, or texts. */
int cli_encoder_batch(const cli_encoder *encoder);
/* JSON object: device, driver, precision, gemm, batch, program version. */
const char *cli_encoder_provenance(const cli_encoder *encoder);
const ivl_session *cli_encoder_session(const cli_encoder *encoder);

/* Whom to tell where a run is from now on; NULL: nobody. */
void cli_encoder_watch(cli_encoder *encoder, cli_stage_fn *stage, void *user);

/* Fills batch->results for batch->images and, with tap "text", as many batch->texts. */
ivl_status cli_encoder_run(cli_encoder *encoder, cli_batch *batch, ivl_error *error);
/* Do image i and text i belong together: two logits each (tap "itm") into [count, 2]. */
ivl_status cli_encoder_run_pairs(cli_encoder *encoder, const ivl_images *images,
                                 const ivl_texts *texts, float *logits, ivl_error *error);
/* Vectors of texts (tap "text", not normalised) into [texts->count, embed_dim]. */
ivl_status cli_encoder_run_texts(cli_encoder *encoder, const ivl_texts *texts, float *vectors,
                                 ivl_error *error);

#endif
