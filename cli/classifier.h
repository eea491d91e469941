/* classifier.h - a model with the vectors of its classes: what `classify` and `eval classification`
 * do with every image.
 */
#ifndef IVL_CLI_CLASSIFIER_H
#define IVL_CLI_CLASSIFIER_H

#include "cli/clip.h"
#include "cli/prompt_options.h"

/* The protocol's scale of cosines (clip_benchmark), whatever logit_scale says. */
#define CLI_CLASS_SCALE 100.0

typedef struct cli_classifier {
    const cli_clip *clip;
    const ivl__prompt_list *classes, *templates;
    float *vectors; /* [classes, embed_dim] of length 1; made by cli_classifier_encode */
    float *scores;  /* [classes] of the image that was scored last: 100 x cosine */
} cli_classifier;

/* Makes the vectors of the classes, or finds them in the cache. */
ivl_status cli_classifier_encode(cli_classifier *classifier, const cli_globals *globals,
                                 ivl_error *error);
void cli_classifier_free(cli_classifier *classifier);

/* Scores an image's vector of length 1, and gives its best min(k, classes) classes in order. */
size_t cli_classifier_score(const cli_classifier *classifier, const float *vector, size_t k,
                            uint32_t *top);

#endif
