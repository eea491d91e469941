/* tokenizer.c - the tokenizer that belongs to a model; see tokenizer.h. */
#include "cli/tokenizer.h"

#include "runtime/hash.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>

static ivl_status check_vocabulary(const ivl__tokenizer_spm *tokenizer, const char *file,
                                   const char *model, int vocab_size, ivl_error *error)
{
    size_t pieces = ivl__tokenizer_spm_model(tokenizer)->n_pieces;

    if (vocab_size && pieces != (size_t)vocab_size) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "the tokenizer '%s' has %zu pieces, but the vocabulary of '%s' has %d; "
                         "give the model's own by --tokenizer FILE",
                         file, pieces, model, vocab_size);
    }
    return IVL_OK;
}

/* A tokenizer that cannot be read is an unusable model. */
static ivl_status open_file(const char *file, const char *model, int vocab_size,
                            ivl__tokenizer_spm **out, ivl_error *error)
{
    ivl__tokenizer_spm *tokenizer = NULL;
    ivl_error detail = {0};
    ivl_status status = ivl__tokenizer_spm_open(file, &tokenizer, &detail);

    if (status != IVL_OK) {
        return ivl__fail(error, status == IVL_OUT_OF_MEMORY ? status : IVL_BAD_MODEL, "%s",
                         detail.message);
    }
    status = check_vocabulary(tokenizer, file, model, vocab_size, error);
    if (status != IVL_OK) {
        ivl__tokenizer_spm_free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return IVL_OK;
}

static ivl_status open_beside(const char *folder, const char *model, int vocab_size,
                              ivl__tokenizer_spm **tokenizer, ivl_error *error)
{
    char *file = folder ? ivl__path_join(folder, "tokenizer.model") : NULL;
    ivl_status status;

    if (!file) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
    }
    status = ivl__file_kind_of(file) == IVL__FILE_MISSING
                 ? ivl__fail(error, IVL_BAD_MODEL,
                             "'%s' holds no tokenizer.model; give its file by --tokenizer FILE",
                             folder)
                 : open_file(file, model, vocab_size, tokenizer, error);
    ivl__free(file);
    return status;
}

ivl_status cli_open_tokenizer(const char *model, const char *file, int vocab_size,
                              ivl__tokenizer_spm **tokenizer, ivl_error *error)
{
    char *folder;
    ivl_status status;

    if (file) {
        return open_file(file, model, vocab_size, tokenizer, error);
    }
    if (ivl__file_kind_of(model) == IVL__FILE_FOLDER) {
        return open_beside(model, model, vocab_size, tokenizer, error);
    }
    folder = ivl__path_folder(model);
    status = open_beside(folder, model, vocab_size, tokenizer, error);
    ivl__free(folder);
    return status;
}

void cli_tokenizer_identity(const ivl__tokenizer_spm *tokenizer, ivl__text *text)
{
    const ivl__spm_model *model = ivl__tokenizer_spm_model(tokenizer);
    ivl__sha256 hash;
    char hex[65];

    ivl__sha256_init(&hash);
    for (size_t i = 0; i < model->n_pieces; i++) {
        const ivl__spm_piece *piece = &model->pieces[i];
        char numbers[64];
        int n = snprintf(numbers, sizeof numbers, "%u %.9g %d ", piece->bytes, (double)piece->score,
                         (int)piece->type);

        ivl__sha256_add(&hash, numbers, (size_t)n);
        ivl__sha256_add(&hash, piece->text, piece->bytes);
    }
    ivl__sha256_hex(&hash, hex);
    ivl__text_printf(text, ",\"tokenizer\":\"%s\"", hex);
}
