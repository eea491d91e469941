/* published.h - the sample table of InternVL-14B's model card: which probabilities three
 * photographs give three texts, and how far others are from them.
 *
 * The card's code: CLIPImageProcessor (short side, centre crop with a floored offset), the prefix
 * "summarize:", softmax over the texts of exp(logit_scale) times the cosines, all in bf16. Its
 * figures have that type's grain, which is why they are compared as logarithms.
 */
#ifndef IVL_CLI_PUBLISHED_H
#define IVL_CLI_PUBLISHED_H

#include <stdbool.h>
#include <stddef.h>

enum { CLI_PUBLISHED_IMAGES = 3, CLI_PUBLISHED_TEXTS = 3 };

/* Largest difference of natural logarithms. A logit of up to 30 in bf16 has a grain of 1/8, so a
 * difference of two is right to 1/8; the rest is for what bf16 does on the way there. */
#define CLI_PUBLISHED_BOUND 0.2

typedef struct cli_published_table {
    const char *mode; /* "c" or "g" */
    double probability[CLI_PUBLISHED_IMAGES][CLI_PUBLISHED_TEXTS];
} cli_published_table;

/* Names of the photographs, and the texts, in the order of the tables. */
extern const char *const cli_published_images[CLI_PUBLISHED_IMAGES];
extern const char *const cli_published_texts[CLI_PUBLISHED_TEXTS];

/* NULL for other modes. */
const cli_published_table *cli_published_find(const char *mode);

/* Logarithms of what a model says. */
typedef struct cli_published_result {
    double log_probability[CLI_PUBLISHED_IMAGES][CLI_PUBLISHED_TEXTS];
    double difference[CLI_PUBLISHED_IMAGES][CLI_PUBLISHED_TEXTS]; /* from the published ones */
    int n_failed; /* cells beyond the bound, or not finite */
} cli_published_result;

bool cli_published_cell_passes(const cli_published_result *result, int image, int text);

/* Of vectors of length 1: images [3, dim], texts [3, dim]. */
void cli_published_compare(const cli_published_table *table, const float *images,
                           const float *texts, size_t dim, double logit_scale,
                           cli_published_result *result);

#endif
