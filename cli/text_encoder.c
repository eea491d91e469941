/* text_encoder.c - texts to vectors; see text_encoder.h. */
#include "cli/text_encoder.h"

#include "runtime/memory.h"

#include <string.h>

/* ---- ids --------------------------------------------------------------------------------- */

ivl_status cli_token_list_add(cli_token_list *list, const ivl__tokenizer_spm *tokenizer,
                              const char *prompt, const char *text, size_t bytes, ivl_error *error)
{
    size_t n;

    IVL__TRY(ivl__tokenizer_spm_encode_prompt(tokenizer, prompt, text, bytes, IVL__SUMMARIZE_TOKENS,
                                              &list->scratch, error));
    n = list->scratch.n;
    if (!ivl__grow((void **)&list->ids, &list->ids_capacity, list->n_ids + n, sizeof *list->ids) ||
        !ivl__grow((void **)&list->ends, &list->capacity, list->n + 1, sizeof *list->ends)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu texts", list->n + 1);
    }
    memcpy(list->ids + list->n_ids, list->scratch.ids, n * sizeof *list->ids);
    list->n_ids += n;
    list->ends[list->n++] = list->n_ids;
    return IVL_OK;
}

const int32_t *cli_token_list_get(const cli_token_list *list, size_t i, size_t *n)
{
    size_t begin = i ? list->ends[i - 1] : 0;

    *n = list->ends[i] - begin;
    return list->ids + begin;
}

void cli_token_list_clear(cli_token_list *list)
{
    list->n_ids = list->n = 0;
}

void cli_token_list_free(cli_token_list *list)
{
    ivl__token_ids_free(&list->scratch);
    ivl__free(list->ids);
    ivl__free(list->ends);
    *list = (cli_token_list){0};
}

/* ---- vectors ----------------------------------------------------------------------------- */

static ivl_status run(cli_encoder *encoder, const cli_token_list *list, size_t first, size_t n,
                      int32_t *offsets, float *vectors, ivl_error *error)
{
    size_t begin = first ? list->ends[first - 1] : 0;
    const ivl_texts texts = {.count = (int)n, .ids = list->ids + begin, .offsets = offsets};

    offsets[0] = 0;
    for (size_t i = 0; i < n; i++) {
        offsets[i + 1] = (int32_t)(list->ends[first + i] - begin);
    }
    return cli_encoder_run_texts(encoder, &texts, vectors, error);
}

ivl_status cli_text_vectors(cli_encoder *encoder, const cli_token_list *list, size_t first,
                            size_t n, float *vectors, ivl_error *error)
{
    size_t most = n < CLI_TEXTS_PER_RUN ? n : CLI_TEXTS_PER_RUN;
    size_t width = (size_t)cli_encoder_embed_dim(encoder);
    int32_t *offsets = ivl__calloc(most + 1, sizeof *offsets);
    ivl_status status = IVL_OK;

    if (!offsets) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu texts", most);
    }
    for (size_t done = 0; status == IVL_OK && done < n;) {
        size_t part = n - done < most ? n - done : most;

        status = run(encoder, list, first + done, part, offsets, vectors + done * width, error);
        done += part;
    }
    ivl__free(offsets);
    return status;
}
