/* text_encoder.h - texts to vectors: token ids as the model gets them, packed, and the text tower.
 *
 *     cli_token_list tokens = {0};
 *     cli_token_list_add(&tokens, tokenizer, IVL__SUMMARIZE_PROMPT, text, bytes, &error);
 *     ...
 *     cli_text_vectors(encoder, &tokens, 0, tokens.n, vectors, &error);
 *
 * Rows come in the order of the texts and do not depend on what else is in a batch. The rows of a
 * batch lie one behind the other without padding, so nothing is gained by sorting them.
 */
#ifndef IVL_CLI_TEXT_ENCODER_H
#define IVL_CLI_TEXT_ENCODER_H

#include "cli/encoder.h"
#include "loader/tokenizer_spm.h"

/* Texts of one pass over the weights, at most: a pass costs as much time as its weights take to be
 * read, which this many texts outweigh on any device, and their ids stay small (5 MB). */
enum { CLI_TEXTS_PER_RUN = 16384 };

/* Token ids of texts. Zeroed to begin with. */
typedef struct cli_token_list {
    int32_t *ids;
    size_t n_ids, ids_capacity;
    size_t *ends; /* [n] behind the last id of each text */
    size_t n, capacity;
    ivl__token_ids scratch;
} cli_token_list;

/* Appends prompt + text with BOS and EOS, cut as the model's texts are. IVL_BAD_INPUT for what is
 * not UTF-8, with nothing appended. */
ivl_status cli_token_list_add(cli_token_list *list, const ivl__tokenizer_spm *tokenizer,
                              const char *prompt, const char *text, size_t bytes, ivl_error *error);
/* The ids of text i, and how many they are. */
const int32_t *cli_token_list_get(const cli_token_list *list, size_t i, size_t *n);
/* Drops the texts, keeps the memory. */
void cli_token_list_clear(cli_token_list *list);
void cli_token_list_free(cli_token_list *list);

/* Vectors of texts first .. first + n - 1 into vectors [n, embed_dim], not normalised. */
ivl_status cli_text_vectors(cli_encoder *encoder, const cli_token_list *list, size_t first,
                            size_t n, float *vectors, ivl_error *error);

#endif
