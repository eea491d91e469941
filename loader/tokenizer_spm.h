/* tokenizer_spm.h - SentencePiece BPE: texts to ids and back.
 *
 * As sentencepiece 0.1.99 (bpe_model.cc): a text becomes characters; the neighbouring pair whose
 * concatenation is a piece and has the highest score, leftmost among equals, is merged, until there
 * is none; characters that are no piece become bytes. Merges may span blanks; a text is cut only
 * between characters that no piece has side by side. Time is O(n log n) at worst, and linear where
 * such places are never far. Special-token literals ("</s>", "<unk>") in a text are plain text.
 */
#ifndef IVL_LOADER_TOKENIZER_SPM_H
#define IVL_LOADER_TOKENIZER_SPM_H

#include "loader/spm_model.h"

/* What QLLaMA's texts are given (internvl_huggingface, class InternVLTokenizer): this prefix, BOS,
 * EOS, cut to this many ids with EOS kept. */
#define IVL__SUMMARIZE_PROMPT "summarize:"
#define IVL__SUMMARIZE_TOKENS 80

/* Longest text, in bytes. Encoding takes 64 times as much memory. */
#define IVL__SPM_MAX_TEXT ((size_t)16 << 20)

typedef struct ivl__tokenizer_spm ivl__tokenizer_spm;

/* Reads tokenizer.model. IVL_BAD_MODEL names the file. */
ivl_status ivl__tokenizer_spm_open(const char *path, ivl__tokenizer_spm **tokenizer,
                                   ivl_error *error);
/* The same from memory. */
ivl_status ivl__tokenizer_spm_parse(const void *data, size_t bytes, ivl__tokenizer_spm **tokenizer,
                                    ivl_error *error);
void ivl__tokenizer_spm_free(ivl__tokenizer_spm *tokenizer);

const ivl__spm_model *ivl__tokenizer_spm_model(const ivl__tokenizer_spm *tokenizer);

/* A growing list of ids, which keeps its memory from text to text. Zeroed to begin with. */
typedef struct ivl__token_ids {
    int32_t *ids;
    size_t n, capacity;
    void *scratch; /* of the encoder */
    size_t scratch_bytes;
} ivl__token_ids;

void ivl__token_ids_free(ivl__token_ids *ids);

/* The ids of a text alone: no BOS, no EOS. The text may hold NUL bytes. IVL_BAD_INPUT for bytes
 * that are not UTF-8, with their position. One tokenizer may be used by several threads, with an
 * ivl__token_ids each. */
ivl_status ivl__tokenizer_spm_encode(const ivl__tokenizer_spm *tokenizer, const char *text,
                                     size_t bytes, ivl__token_ids *ids, ivl_error *error);

/* The ids of prefix + text with BOS and EOS, at most max_tokens (>= 2) of them, EOS last. */
ivl_status ivl__tokenizer_spm_encode_prompt(const ivl__tokenizer_spm *tokenizer, const char *prefix,
                                            const char *text, size_t bytes, size_t max_tokens,
                                            ivl__token_ids *ids, ivl_error *error);

/* The text of ids as sentencepiece decodes them: bytes joined and read as UTF-8 (U+FFFD for what
 * is none), control tokens dropped, the prefix blank removed. *text is a new block (ivl__free) of
 * *bytes bytes and a NUL. IVL_BAD_INPUT for an id outside the vocabulary. */
ivl_status ivl__tokenizer_spm_decode(const ivl__tokenizer_spm *tokenizer, const int32_t *ids,
                                     size_t n, char **text, size_t *bytes, ivl_error *error);

#endif
