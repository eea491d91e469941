/* pair_matcher.h - the probability that an image and a text belong together, for all pairs.
 *
 * The matching head of InternVL-G looks at image and text at once, so every pair is a run of its
 * own through the tower and QLLaMA. Its texts have no prompt.
 */
#ifndef IVL_CLI_PAIR_MATCHER_H
#define IVL_CLI_PAIR_MATCHER_H

#include "cli/text_encoder.h"

/* Zeroed to begin with; texts are added by the caller. */
typedef struct cli_pair_matcher {
    cli_token_list texts;
    float *logits; /* [pairs, 2], image by image */
    size_t n_pairs, capacity;
    /* Of one run: images as often as there are texts for them. */
    unsigned char *pixels;
    size_t pixels_capacity;
    int32_t *ids, *offsets;
    size_t ids_capacity, offsets_capacity;
} cli_pair_matcher;

/* Every image with every text. */
ivl_status cli_pair_matcher_add(cli_pair_matcher *matcher, cli_encoder *encoder,
                                const ivl_images *images, ivl_error *error);
/* The probability of the pair, images counted over all calls. */
float cli_pair_matcher_get(const cli_pair_matcher *matcher, size_t image, size_t text);
void cli_pair_matcher_free(cli_pair_matcher *matcher);

#endif
