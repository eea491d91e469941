/* clip.h - a model that puts images and texts into one space: what `similarity`, `classify` and
 * `eval` open before they begin.
 */
#ifndef IVL_CLI_CLIP_H
#define IVL_CLI_CLIP_H

#include "cli/options.h"
#include "loader/tokenizer_spm.h"

typedef struct cli_clip_options {
    const char *mode, *tokenizer; /* NULL: the best there is; beside the checkpoint */
    cli_model_options model;
} cli_clip_options;

/* Appends --mode, --tokenizer, --config and --arch to a table that ends with {0}. */
void cli_clip_options_add(cli_clip_options *options, cli_option *table);
/* The mode's name; false: return *code. */
bool cli_clip_options_check(const cli_clip_options *options, const char *command, int *code);

/* Says that `what` ("--texts") needs a text tower; CLI_MODEL. */
int cli_refuse_texts(const char *command, const ivl_model_info *info, const char *what);

typedef struct cli_clip {
    ivl_model *model;
    ivl_model_info info;
    ivl__tokenizer_spm *tokenizer;
    const char *mode; /* "c" or "g" */
    const char *tap;  /* of its images */
} cli_clip;

/* Whether the model has a mode ("vit", "c", "g", "text"). */
bool cli_clip_has_mode(const ivl_model_info *info, const char *mode);

/* CLI_DONE, or the exit code of what was printed: a checkpoint without a text tower or without the
 * mode, a tokenizer that is missing or another's. */
int cli_clip_open(const char *command, const char *path, const cli_clip_options *options,
                  cli_clip *clip);
void cli_clip_close(cli_clip *clip);

#endif
