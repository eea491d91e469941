/* spm_model.h - a SentencePiece model file (tokenizer.model): the pieces and the flags that matter.
 *
 * Source: sentencepiece_model.proto of SentencePiece. A protocol buffer of which four wire types
 * and a dozen fields are read; the rest is skipped. Only what InternVL's LLaMA tokenizers are made
 * of is accepted: model type BPE, identity normaliser, byte fallback, no user-defined and no unused
 * pieces. Anything else is refused by name, since it would give other ids.
 */
#ifndef IVL_LOADER_SPM_MODEL_H
#define IVL_LOADER_SPM_MODEL_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers of the file. */
typedef enum ivl__spm_type {
    IVL__SPM_NORMAL = 1,
    IVL__SPM_UNKNOWN = 2,
    IVL__SPM_CONTROL = 3,
    IVL__SPM_USER_DEFINED = 4,
    IVL__SPM_UNUSED = 5,
    IVL__SPM_BYTE = 6
} ivl__spm_type;

typedef struct ivl__spm_piece {
    const char *text; /* UTF-8, not NUL-terminated; inside the model's copy of the file */
    uint32_t bytes;
    float score;
    ivl__spm_type type;
} ivl__spm_piece;

typedef struct ivl__spm_model {
    unsigned char *file;
    ivl__spm_piece *pieces; /* [n_pieces], the index is the id */
    size_t n_pieces, capacity;
    bool add_dummy_prefix;
    int32_t unk_id, bos_id, eos_id;
    int32_t byte_ids[256]; /* of the pieces <0x00> .. <0xFF> */
} ivl__spm_model;

/* Files beyond this are no tokenizer: the largest published one has 1.5 MB. */
#define IVL__SPM_MAX_BYTES ((size_t)64 << 20)

/* Takes a copy of the bytes. IVL_BAD_MODEL says what is wrong. */
ivl_status ivl__spm_model_parse(const void *data, size_t bytes, ivl__spm_model **model,
                                ivl_error *error);
void ivl__spm_model_free(ivl__spm_model *model);

#endif
