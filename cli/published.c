/* published.c - the sample table of the model card; see published.h. */
#include "cli/published.h"

#include "model/metrics.h"

#include <math.h>
#include <string.h>

const char *const cli_published_images[CLI_PUBLISHED_IMAGES] = {"image1.jpg", "image2.jpg",
                                                                "image3.jpg"};

/* "A picture of a panda" in Chinese, "a picture of two cats" in Japanese. */
const char *const cli_published_texts[CLI_PUBLISHED_TEXTS] = {
    "a photo of a red panda",
    "\xe4\xb8\x80\xe5\xbc\xa0\xe7\x86\x8a\xe7\x8c\xab\xe7\x9a\x84\xe7\x85\xa7\xe7\x89\x87",
    "\xe4\xba\x8c\xe5\x8c\xb9\xe3\x81\xae\xe7\x8c\xab\xe3\x81\xae\xe5\x86\x99\xe7\x9c\x9f"};

static const cli_published_table tables[] = {
    {"c",
     {{9.9609e-1, 5.2185e-3, 6.0070e-8},
      {2.2949e-2, 9.7656e-1, 5.9903e-6},
      {3.2932e-6, 7.4863e-5, 1.0}}},
    {"g",
     {{9.9609e-1, 3.1738e-3, 3.6322e-8},
      {8.6060e-3, 9.9219e-1, 2.8759e-6},
      {1.7583e-6, 3.1233e-5, 1.0}}},
};

const cli_published_table *cli_published_find(const char *mode)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        if (strcmp(tables[i].mode, mode) == 0) {
            return &tables[i];
        }
    }
    return NULL;
}

bool cli_published_cell_passes(const cli_published_result *result, int image, int text)
{
    /* False for what is not a number, too. */
    return fabs(result->difference[image][text]) <= CLI_PUBLISHED_BOUND;
}

/* Logarithm of the softmax, which keeps the small ones. */
static void log_softmax(double values[CLI_PUBLISHED_TEXTS])
{
    double most = values[0];
    double sum = 0.0;

    for (int t = 1; t < CLI_PUBLISHED_TEXTS; t++) {
        most = fmax(most, values[t]);
    }
    for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
        sum += exp(values[t] - most);
    }
    for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
        values[t] -= most + log(sum);
    }
}

void cli_published_compare(const cli_published_table *table, const float *images,
                           const float *texts, size_t dim, double logit_scale,
                           cli_published_result *result)
{
    *result = (cli_published_result){.n_failed = 0};
    for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
        double *row = result->log_probability[i];

        for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
            row[t] = logit_scale * ivl__dot(images + (size_t)i * dim, texts + (size_t)t * dim, dim);
        }
        log_softmax(row);
        for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
            result->difference[i][t] = row[t] - log(table->probability[i][t]);
            result->n_failed += !cli_published_cell_passes(result, i, t);
        }
    }
}
