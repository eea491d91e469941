/* eval.h - what the parts of `internvl eval` share.
 *
 * An evaluation works in a folder OUT/: images.npy (vectors of length 1, with its keys and errors
 * beside it, written and resumed as `embed` does), predictions.jsonl (prediction_file.h), and
 * metrics.json. Vectors of texts are kept in the cache (group_vectors.h).
 */
#ifndef IVL_CLI_EVAL_H
#define IVL_CLI_EVAL_H

#include "cli/clip.h"
#include "cli/picture_options.h"
#include "cli/prompt_options.h"
#include "cli/suites.h"
#include "loader/json_text.h"

/* How many of the best are recorded. */
enum { CLI_EVAL_CLASSES = 5, CLI_EVAL_TARGETS = 10 };

typedef struct cli_eval_options {
    const cli_globals *globals;
    cli_picture_options pictures;
    cli_clip_options clip;
    cli_prompt_options prompts;
    const char *output, *suite_name;
    const char *folders;                                             /* classification */
    const char *annotations, *images, *names, *form, *split, *clean; /* retrieval */
    bool score_only, json;
    const cli_suite *suite; /* NULL: none */
    double started;         /* ivl__now() */
} cli_eval_options;

/* Pictures and their vectors. */
typedef struct cli_eval_images {
    char **keys; /* [n] of the inputs, in order, owned */
    size_t n, capacity;
    float *vectors;  /* [rows, embed_dim] of length 1 */
    int64_t *row_of; /* [n] row of an input, -1 where it failed */
    size_t rows;
} cli_eval_images;

/* The pictures of o->pictures.inputs: computes the vectors that OUT/images.npy does not have yet,
 * and reads them all. expected: how many there must be; 0: any. CLI_DONE, CLI_SKIPPED (some
 * failed), or the exit code of what was printed. */
int cli_eval_images_encode(cli_eval_options *options, const cli_clip *clip, size_t expected,
                           cli_eval_images *images);
void cli_eval_images_free(cli_eval_images *images);

/* The members of the first line of predictions that both tasks have, "{" included. */
void cli_eval_head(const cli_eval_options *options, const cli_clip *clip, const char *task,
                   ivl__text *text);
/* OUT/name as a new string, NULL when memory is short. */
char *cli_eval_path(const cli_eval_options *options, const char *name);
/* The tasks: everything up to predictions.jsonl. arguments: MODEL, then for classification the
 * folder. CLI_DONE, CLI_SKIPPED, or the exit code of what was printed. */
int cli_eval_classification(cli_eval_options *options, const cli_arguments *arguments);
int cli_eval_retrieval(cli_eval_options *options, const cli_arguments *arguments);

/* predictions.jsonl to metrics.json and stdout; `code` when all is well. */
int cli_eval_score(const cli_eval_options *options, bool retrieval, int code);

#endif
