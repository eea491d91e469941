/* classifier.c - images to classes; see classifier.h. */
#include "cli/classifier.h"

#include "cli/group_vectors.h"
#include "model/metrics.h"
#include "runtime/memory.h"

/* All templates of a class, class by class. */
static ivl_status tokenize(const cli_classifier *c, cli_token_list *list, ivl_error *error)
{
    size_t n = c->classes->n * c->templates->n;
    ivl__text text = {0};
    ivl_status status = IVL_OK;

    for (size_t i = 0; status == IVL_OK && i < n; i++) {
        ivl__text_clear(&text);
        ivl__template_fill(c->templates->items[i % c->templates->n],
                           c->classes->items[i / c->templates->n], &text);
        status = text.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a prompt")
                             : cli_token_list_add(list, c->clip->tokenizer, IVL__SUMMARIZE_PROMPT,
                                                  text.data, text.bytes, error);
    }
    ivl__text_free(&text);
    return status;
}

ivl_status cli_classifier_encode(cli_classifier *c, const cli_globals *globals, ivl_error *error)
{
    cli_token_list list = {0};
    const cli_group_request request = {.what = "classes",
                                       .globals = globals,
                                       .model = c->clip->model,
                                       .texts = &list,
                                       .per_group = c->templates->n};
    ivl_status status;

    c->scores = ivl__calloc(c->classes->n, sizeof *c->scores);
    status = c->scores ? tokenize(c, &list, error)
                       : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for scores");
    if (status == IVL_OK) {
        cli_say(IVL_LOG_INFO, "%zu classes x %zu templates", c->classes->n, c->templates->n);
        status = cli_group_vectors(&request, &c->vectors, error);
    }
    cli_token_list_free(&list);
    return status;
}

void cli_classifier_free(cli_classifier *c)
{
    ivl__free(c->vectors);
    ivl__free(c->scores);
    c->vectors = c->scores = NULL;
}

size_t cli_classifier_score(const cli_classifier *c, const float *vector, size_t k, uint32_t *top)
{
    size_t dim = (size_t)c->clip->info.embed_dim;

    for (size_t i = 0; i < c->classes->n; i++) {
        c->scores[i] = (float)(CLI_CLASS_SCALE * ivl__dot(vector, c->vectors + i * dim, dim));
    }
    return ivl__top_scores(c->scores, c->classes->n, k, top);
}
