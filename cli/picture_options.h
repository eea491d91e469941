/* picture_options.h - the options that every command with image inputs shares, and those about the
 * output that most of them have.
 *
 * Each command lists them behind its own options; what they say about the numbers in the output
 * goes into its identity.
 */
#ifndef IVL_CLI_PICTURE_OPTIONS_H
#define IVL_CLI_PICTURE_OPTIONS_H

#include "cli/options.h"
#include "cli/picture.h"
#include "loader/image_source.h"
#include "loader/json_text.h"
#include "loader/npy.h"

typedef struct cli_picture_options {
    /* resize may be NULL until cli_picture_options_fit: the command chooses when it knows. */
    const char *output, *resize, *gray16, *dtype, *shard, *stdin_tar;
    int size;  /* 0: the model's */
    int batch; /* 0: the plan's */
    uint64_t max_pixels, unit_rows;
    bool exif, fast_decode, force, retry_errors, same_numerics, nul_list;
    bool unit_rows_given;
    bool no_output; /* results do not go to -o OUT: set it before the options are added */

    /* Made by cli_picture_options_check. */
    const char **inputs; /* [n_inputs] */
    size_t n_inputs;
    ivl__image_source_options source;
    cli_picture_rules rules;
    ivl__npy_type type;
} cli_picture_options;

/* Defaults of the published protocol. */
void cli_picture_options_init(cli_picture_options *options);

/* Appends the shared options to a table that ends with {0} and has room for CLI_MOST_OPTIONS. */
void cli_picture_options_add(cli_picture_options *options, cli_option *table);

/* Checks what was given and takes the inputs over. `command` for messages; `inputs` are the
 * positionals without the model. false: return *code. */
bool cli_picture_options_check(cli_picture_options *options, const char *command,
                               const char *const *inputs, size_t n_inputs, int *code);

/* The resize where none was given and none was set before: known when the model is. */
void cli_picture_options_default_resize(cli_picture_options *options, const char *how);

/* Checks the size against the model's and fills the rules. */
bool cli_picture_options_fit(cli_picture_options *options, const char *command, int model_size,
                             int patch, int *code);

/* Members of the identity object, each with a comma before it. */
void cli_picture_options_identity(const cli_picture_options *options, ivl__text *text);

void cli_picture_options_free(cli_picture_options *options);

#endif
