/* tokenizer.h - the tokenizer that belongs to a model. */
#ifndef IVL_CLI_TOKENIZER_H
#define IVL_CLI_TOKENIZER_H

#include "loader/json_text.h"
#include "loader/tokenizer_spm.h"

/* Opens `file` (--tokenizer), else tokenizer.model beside the checkpoint: in a model folder, or in
 * the folder of a single file. vocab_size: what the model needs; 0: any. IVL_BAD_MODEL for one that
 * is missing, unreadable or of another vocabulary. */
ivl_status cli_open_tokenizer(const char *model, const char *file, int vocab_size,
                              ivl__tokenizer_spm **tokenizer, ivl_error *error);

/* A member of an output's identity, with a comma before it: a hash of all pieces in order. */
void cli_tokenizer_identity(const ivl__tokenizer_spm *tokenizer, ivl__text *text);

#endif
