/* bench_tokenizer.c - megabytes of text per second through the SentencePiece tokenizer, one core.
 *
 * Timed: encoding in memory, of every line on its own and of growing pieces of the text as one
 * (linear or not?). Not timed: reading files. Median of the runs.
 * Usage: bench_tokenizer tokenizer.model TEXT [RUNS]
 */
#include "loader/tokenizer_spm.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RUNS  101
#define MAX_BYTES ((size_t)16 << 20)

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static ivl_status encode_lines(const ivl__tokenizer_spm *tokenizer, const char *text, size_t bytes,
                               ivl__token_ids *ids, size_t *tokens, ivl_error *error)
{
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end ? (size_t)(end - text) - at : bytes - at;

        IVL__TRY(ivl__tokenizer_spm_encode(tokenizer, text + at, length, ids, error));
        *tokens += ids->n;
        at += length + 1;
    }
    return IVL_OK;
}

static ivl_status measure(const ivl__tokenizer_spm *tokenizer, const char *what, const char *text,
                          size_t bytes, bool lines, int runs, ivl_error *error)
{
    double seconds[MAX_RUNS];
    ivl__token_ids ids = {0};
    ivl_status status = IVL_OK;
    size_t tokens = 0;

    for (int run = -1; status == IVL_OK && run < runs; run++) { /* run -1 warms up */
        double start = ivl__now();

        tokens = 0;
        if (lines) {
            status = encode_lines(tokenizer, text, bytes, &ids, &tokens, error);
        } else {
            status = ivl__tokenizer_spm_encode(tokenizer, text, bytes, &ids, error);
            tokens = ids.n;
        }
        seconds[run < 0 ? 0 : run] = ivl__now() - start;
    }
    if (status == IVL_OK) {
        qsort(seconds, (size_t)runs, sizeof *seconds, compare);
        printf("%-10s %9zu bytes %9zu tokens %9.3f ms %7.1f MB/s\n", what, bytes, tokens,
               seconds[runs / 2] * 1e3, (double)bytes / seconds[runs / 2] / 1e6);
    }
    ivl__token_ids_free(&ids);
    return status;
}

int main(int count, char **arguments)
{
    int runs = count > 3 ? atoi(arguments[3]) : 11;
    ivl__tokenizer_spm *tokenizer = NULL;
    unsigned char *text = NULL;
    size_t bytes = 0;
    ivl_error error = {0};
    ivl_status status;

    if (count < 3 || runs < 1 || runs > MAX_RUNS) {
        fprintf(stderr, "usage: bench_tokenizer tokenizer.model TEXT [RUNS]\n");
        return 2;
    }
    status = ivl__tokenizer_spm_open(arguments[1], &tokenizer, &error);
    if (status == IVL_OK) {
        status = ivl__file_read(arguments[2], MAX_BYTES, &text, &bytes, &error);
    }
    if (status == IVL_OK) {
        status = measure(tokenizer, "lines", (char *)text, bytes, true, runs, &error);
    }
    for (size_t part = 1000; status == IVL_OK && part < 10 * bytes; part *= 10) {
        size_t n = part < bytes ? part : bytes;

        while (n > 0 && (text[n - 1] & 0x80)) { /* not in the middle of a character */
            n--;
        }
        status = measure(tokenizer, "one text", (char *)text, n, false, runs, &error);
    }
    if (status != IVL_OK) {
        fprintf(stderr, "%s\n", error.message);
    }
    ivl__tokenizer_spm_free(tokenizer);
    ivl__free(text);
    return status != IVL_OK;
}
