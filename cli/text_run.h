/* text_run.h - lines of text to rows: `embed --texts`.
 *
 * A line is an input like a picture is one: key its number from 1, units of --unit-rows lines, a
 * line that cannot be used a recorded failure. Texts are read, tokenised and written by one thread,
 * which takes a thousandth of the device's time.
 */
#ifndef IVL_CLI_TEXT_RUN_H
#define IVL_CLI_TEXT_RUN_H

#include "cli/picture_options.h"
#include "loader/tokenizer_spm.h"

/* Texts of a batch, at most: enough rows for any device's GEMM, and for a pass over the weights to
 * be a small part of it; a crash loses no more. The plan may say less. */
enum { CLI_TEXT_BATCH = 512 };

typedef struct cli_text_run {
    const cli_globals *globals;
    const cli_picture_options *output; /* checked: where rows go, units, shards, batch, dtype */
    const char *texts;                 /* FILE, or - */
    const char *stats;                 /* --stats, or NULL */
    const char *identity;              /* JSON object */
    bool normalize;
    const ivl_model *model;
    const ivl__tokenizer_spm *tokenizer;
    double started; /* ivl__now() when the command began */
} cli_text_run;

/* Does it all; prints what happened and answers with the exit code. */
int cli_text_run_do(const cli_text_run *run);
/* What it would do. */
int cli_text_run_dry(const cli_text_run *run);

#endif
