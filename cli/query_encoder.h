/* query_encoder.h - texts and pictures to the queries of a search, through the model that made the
 * index, in the mode of the index.
 */
#ifndef IVL_CLI_QUERY_ENCODER_H
#define IVL_CLI_QUERY_ENCODER_H

#include "cli/picture_options.h"
#include "cli/query_list.h"
#include "loader/search_index.h"

typedef struct cli_query_options {
    cli_model_options model;
    const char *tokenizer; /* NULL: beside the checkpoint */
    const char *texts;     /* file, or NULL */
    cli_list text;         /* freed by cli_query_options_free */
    cli_picture_options pictures;
} cli_query_options;

/* Appends --text, --texts, --tokenizer, --config, --arch and what is said about pictures to a table
 * that ends with {0}. What is not given is as the index was made: see cli_encode_queries. */
void cli_query_options_add(cli_query_options *options, cli_option *table);
void cli_query_options_free(cli_query_options *options);

/* Adds --text, then the lines of --texts, then the pictures of `inputs` to the list. Pictures are
 * brought to size as those of the index were, unless the options say otherwise. CLI_DONE;
 * CLI_SKIPPED when some queries failed (named, and counted in the list); else the exit code of what
 * was printed: CLI_USAGE for another model than the index's (both ids are named). */
int cli_encode_queries(const cli_globals *globals, cli_query_options *options, const char *model,
                       const char *const *inputs, size_t n_inputs, const ivl__search_index *index,
                       cli_query_list *list);

#endif
