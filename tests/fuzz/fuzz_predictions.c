/* fuzz_predictions.c - any bytes as a file of predictions: the first line as its head, the others
 * as lines; indices stay inside what the head says. */
#include "loader/prediction_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const ivl__prediction_head *head, const ivl__prediction *p)
{
    uint32_t targets = !head->retrieval ? head->classes : p->by_image ? head->texts : head->images;

    for (size_t i = 0; i < p->n_top; i++) {
        if (p->top[i] >= targets) {
            abort();
        }
    }
    for (size_t i = 0; head->retrieval && i < p->n_right; i++) {
        if (p->right[i] >= targets) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    ivl__prediction_head head;
    ivl__prediction p = {0};
    bool known = false;

    while (size) {
        const char *stop = memchr(text, '\n', size);
        size_t bytes = stop ? (size_t)(stop - text) : size;

        if (!known) {
            known = ivl__prediction_parse_head(text, bytes, &head, NULL) == IVL_OK;
        } else if (ivl__prediction_parse(text, bytes, &head, &p, NULL) == IVL_OK) {
            check(&head, &p);
        }
        bytes += stop ? 1 : 0;
        text += bytes;
        size -= bytes;
    }
    ivl__prediction_free(&p);
    return 0;
}
