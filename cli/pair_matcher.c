/* pair_matcher.c - image-text matching; see pair_matcher.h. */
#include "cli/pair_matcher.h"

#include "runtime/memory.h"

#include <math.h>
#include <string.h>

/* Pictures are copied for each pair: this many at a time bound the copies (at 224 px 10 MB). */
enum { PAIRS_PER_RUN = 64 };

void cli_pair_matcher_free(cli_pair_matcher *m)
{
    cli_token_list_free(&m->texts);
    ivl__free(m->logits);
    ivl__free(m->pixels);
    ivl__free(m->ids);
    ivl__free(m->offsets);
    *m = (cli_pair_matcher){0};
}

static bool reserve(cli_pair_matcher *m, size_t n, size_t picture_bytes)
{
    return ivl__grow((void **)&m->pixels, &m->pixels_capacity, n * picture_bytes, 1) &&
           ivl__grow((void **)&m->ids, &m->ids_capacity, n * IVL__SUMMARIZE_TOKENS,
                     sizeof *m->ids) &&
           ivl__grow((void **)&m->offsets, &m->offsets_capacity, n + 1, sizeof *m->offsets) &&
           ivl__grow((void **)&m->logits, &m->capacity, 2 * (m->n_pairs + n), sizeof *m->logits);
}

/* Pair i is image i / texts with text i % texts. */
static void fill(cli_pair_matcher *m, const unsigned char *pictures, size_t picture_bytes,
                 size_t first, size_t n)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        size_t length;
        const int32_t *ids = cli_token_list_get(&m->texts, (first + i) % m->texts.n, &length);

        memcpy(m->pixels + i * picture_bytes, pictures + (first + i) / m->texts.n * picture_bytes,
               picture_bytes);
        memcpy(m->ids + used, ids, length * sizeof *ids);
        m->offsets[i] = (int32_t)used;
        used += length;
    }
    m->offsets[n] = (int32_t)used;
}

static ivl_status run(cli_pair_matcher *m, cli_encoder *encoder, const ivl_images *given,
                      size_t first, size_t n, ivl_error *error)
{
    const bool bytes = given->rgb != NULL;
    const void *pictures = bytes ? (const void *)given->rgb : (const void *)given->pixels;
    size_t picture_bytes = (size_t)given->width * (size_t)given->height * 3 *
                           (bytes ? 1 : sizeof(float));
    ivl_images images = {.count = (int)n, .width = given->width, .height = given->height};
    ivl_texts texts = {.count = (int)n};

    if (!reserve(m, n, picture_bytes)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu pairs", m->n_pairs + n);
    }
    fill(m, pictures, picture_bytes, first, n);
    images.rgb = bytes ? m->pixels : NULL;
    images.pixels = bytes ? NULL : (const float *)(const void *)m->pixels;
    texts.ids = m->ids;
    texts.offsets = m->offsets;
    IVL__TRY(cli_encoder_run_pairs(encoder, &images, &texts, m->logits + 2 * m->n_pairs, error));
    m->n_pairs += n;
    return IVL_OK;
}

ivl_status cli_pair_matcher_add(cli_pair_matcher *m, cli_encoder *encoder, const ivl_images *images,
                                ivl_error *error)
{
    size_t pairs = (size_t)images->count * m->texts.n;

    for (size_t done = 0; done < pairs; done += PAIRS_PER_RUN) {
        size_t n = pairs - done < PAIRS_PER_RUN ? pairs - done : PAIRS_PER_RUN;

        IVL__TRY(run(m, encoder, images, done, n, error));
    }
    return IVL_OK;
}

/* Softmax of two logits; class 1 is a match. */
float cli_pair_matcher_get(const cli_pair_matcher *m, size_t image, size_t text)
{
    const float *logits = m->logits + 2 * (image * m->texts.n + text);

    return (float)(1.0 / (1.0 + exp((double)logits[0] - (double)logits[1])));
}
