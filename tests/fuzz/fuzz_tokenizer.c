#define _GNU_SOURCE /* memmem */
/* fuzz_tokenizer.c - any bytes as tokenizer.model, and any text through a tokenizer: what is
 * accepted encodes without harm, and its ids decode to the same text. */
#include "loader/tokenizer_spm.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* With the vocabulary of the tests, which has no merge of what is not in the text. */
static void round_trip(const ivl__tokenizer_spm *tokenizer, const char *text, size_t bytes,
                       bool compare)
{
    ivl__token_ids ids = {0};
    char *back = NULL;
    size_t n = 0;

    if (ivl__tokenizer_spm_encode(tokenizer, text, bytes, &ids, NULL) == IVL_OK) {
        if (ivl__tokenizer_spm_decode(tokenizer, ids.ids, ids.n, &back, &n, NULL) != IVL_OK ||
            (compare && !memmem(text, bytes, "\xe2\x96\x81", 3) &&
             (n != bytes || memcmp(back, text, n) != 0))) {
            abort();
        }
        ivl__free(back);
    }
    ivl__token_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ivl__tokenizer_spm *known;
    ivl__tokenizer_spm *tokenizer = NULL;

    if (!known && ivl__tokenizer_spm_open("golden/tokenizer/tiny.model", &known, NULL) != IVL_OK) {
        abort();
    }
    round_trip(known, (const char *)data, size, true);
    if (ivl__tokenizer_spm_parse(data, size, &tokenizer, NULL) == IVL_OK) {
        round_trip(tokenizer, "a photo of the cat, \xe7\x8c\xab", 23, false);
        round_trip(tokenizer, (const char *)data, size, false);
        ivl__tokenizer_spm_free(tokenizer);
    }
    return 0;
}
