/* test_topk.c - the best scores of each query: what a sort of all scores gives, whatever the
 * chunks, the parts and the kernel. Nothing is rounded, so every comparison is for equality. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

#include <stdlib.h>

typedef struct topk_case {
    int queries, rows, k, parts, chunk, gap; /* gap: columns between the rows of scores */
    int levels;                              /* scores are one of so many values */
} topk_case;

/* The order of the definition, without the kernel's keys. */
typedef struct entry {
    float score;
    uint32_t row;
} entry;

static int compare(const void *a, const void *b)
{
    const entry *x = a, *y = b;

    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return (x->row > y->row) - (x->row < y->row);
}

static float *make_scores(const topk_case *c)
{
    size_t n = (size_t)c->queries * (size_t)(c->rows + c->gap);
    float *scores = malloc(n * sizeof *scores);
    uint64_t seed = n + (uint64_t)c->k;

    assert_non_null(scores);
    for (size_t i = 0; i < n; i++) {
        scores[i] = floorf(test_uniform(&seed) * (float)c->levels) / (float)c->levels;
    }
    scores[0] = NAN;
    scores[1] = -0.0f;
    scores[(size_t)c->rows / 2] = 0.0f;
    scores[(size_t)c->rows - 1] = 3e38f;
    return scores;
}

/* The k best by a sort; the answer is how many there are. */
static int sort_all(const topk_case *c, const float *scores, uint32_t first, entry *all)
{
    int n = 0;

    for (int i = 0; i < c->rows; i++) {
        if (!isnan(scores[i])) {
            all[n++] = (entry){scores[i], first + (uint32_t)i};
        }
    }
    qsort(all, (size_t)n, sizeof *all, compare);
    return n < c->k ? n : c->k;
}

static void check_query(const topk_case *c, const float *scores, uint32_t first,
                        const uint64_t *best)
{
    entry *want = malloc((size_t)c->rows * sizeof *want);
    entry *got = malloc((size_t)c->parts * (size_t)c->k * sizeof *got);
    int n = sort_all(c, scores, first, want);
    int n_got = 0;

    for (int i = 0; i < c->parts * c->k; i++) {
        if (best[i] != IVL__TOPK_NONE) {
            got[n_got++] = (entry){ivl__topk_score(best[i]), ivl__topk_row(best[i])};
        }
    }
    qsort(got, (size_t)n_got, sizeof *got, compare);
    assert_true(n_got >= n);
    for (int i = 0; i < n; i++) {
        if (got[i].row != want[i].row || !(got[i].score == want[i].score)) {
            fail_msg("place %d is row %u (%g), should be row %u (%g)", i, got[i].row,
                     (double)got[i].score, want[i].row, (double)want[i].score);
        }
    }
    free(want);
    free(got);
}

static void check_case(const topk_case *c, const char *variant, uint32_t first)
{
    size_t n_best = (size_t)c->queries * (size_t)c->parts * (size_t)c->k;
    size_t n_scores = (size_t)c->queries * (size_t)(c->rows + c->gap);
    float *scores = make_scores(c);
    uint64_t *best = malloc(n_best * sizeof *best);
    test_buffer in, out;
    ivl_error error = {0};

    for (size_t i = 0; i < n_best; i++) {
        best[i] = IVL__TOPK_NONE;
    }
    in = test_upload(scores, n_scores * sizeof *scores, 4);
    out = test_upload(best, n_best * sizeof *best, 8);
    for (int at = 0; at < c->rows; at += c->chunk) {
        const ivl__topk_call call = {
            .queries = c->queries,
            .rows = c->chunk < c->rows - at ? c->chunk : c->rows - at,
            .k = c->k,
            .scores = ivl__span_at(in.span, (uint64_t)at * sizeof(float)),
            .scores_ld = c->rows + c->gap,
            .first_row = first + (uint32_t)at,
            .parts = c->parts,
            .best = out.span,
            .variant = variant,
        };
        assert_ok(ivl__op_topk(device, &call, &error), error);
    }
    test_download(&out, best);
    for (int q = 0; q < c->queries; q++) {
        check_query(c, scores + (size_t)q * (size_t)(c->rows + c->gap), first,
                    best + (size_t)q * (size_t)c->parts * (size_t)c->k);
    }
    printf("%s: %d queries, the %d best of %d in %d parts, chunks of %d: equal\n",
           variant ? variant : "default", c->queries, c->k, c->rows, c->parts, c->chunk);
    test_release(&in);
    test_release(&out);
    free(scores);
    free(best);
}

static void best_are_those_of_a_sort(void **state)
{
    static const topk_case tiny[] = {
        {2, 37, 1, 1, 37, 0, 1000}, {1, 50, 7, 2, 33, 3, 5}, {3, 20, 40, 1, 7, 1, 1000}};
    static const topk_case full[] = {
        {3, 1, 1, 1, 1, 0, 4},            /* the NaN alone: nothing is found */
        {5, 1000, 10, 1, 1000, 0, 65536}, /* all at once */
        {4, 5003, 10, 3, 1024, 5, 65536}, /* chunks and parts */
        {2, 4097, 64, 5, 4097, 1, 3},     /* mostly equal scores: the lower rows win */
        {2, 6000, 1000, 1, 2500, 0, 100}, /* a pool that is sorted again and again */
        {1, 3000, 700, 7, 999, 0, 65536},
        {1, 3000, 3000, 1, 1111, 0, 50}, /* all rows */
        {1, 5000, 2999, 2, 5000, 0, 65536},
    };
    const topk_case *cases = test_tiny() ? tiny : full;
    size_t n = test_tiny() ? sizeof tiny / sizeof *tiny : sizeof full / sizeof *full;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        check_case(&cases[i], "heap", 0);
        /* Whether local memory has room for the pool, see cl/topk.cl. */
        if (((uint64_t)cases[i].k + 1024) * 2 * 8 <= device->caps.local_mem) {
            check_case(&cases[i], "group", 0);
        }
    }
    check_case(&cases[1], NULL, 4294960000u); /* rows near the last that there can be */
}

/* Rising scores are the worst case: every one is better than all before. */
static void rising_scores_are_kept(void **state)
{
    static const char *const variants[] = {"heap", "group"};
    const int n = test_tiny() ? 70 : 9000, k = test_tiny() ? 3 : 100;
    float *scores = malloc((size_t)n * sizeof *scores);
    uint64_t *best = malloc((size_t)k * sizeof *best);
    ivl_error error = {0};

    (void)state;
    for (int v = 0; v < 2; v++) {
        test_buffer in, out;
        uint64_t sum = 0;

        for (int i = 0; i < n; i++) {
            scores[i] = (float)(i - n / 2);
        }
        for (int i = 0; i < k; i++) {
            best[i] = IVL__TOPK_NONE;
        }
        in = test_upload(scores, (size_t)n * sizeof *scores, 0);
        out = test_upload(best, (size_t)k * sizeof *best, 0);
        assert_ok(ivl__op_topk(device,
                               &(ivl__topk_call){.queries = 1,
                                                 .rows = n,
                                                 .k = k,
                                                 .scores = in.span,
                                                 .scores_ld = n,
                                                 .parts = 1,
                                                 .best = out.span,
                                                 .variant = variants[v]},
                               &error),
                  error);
        test_download(&out, best);
        for (int i = 0; i < k; i++) {
            assert_true(ivl__topk_row(best[i]) >= (uint32_t)(n - k));
            sum += ivl__topk_row(best[i]);
        }
        assert_int_equal(sum, (uint64_t)k * (uint64_t)(2 * n - k - 1) / 2);
        test_release(&in);
        test_release(&out);
    }
    free(scores);
    free(best);
}

static void bad_calls_are_refused(void **state)
{
    test_buffer b = test_upload(NULL, 64, 0);
    ivl_error error = {0};
    ivl__topk_call good = {.queries = 1,
                           .rows = 8,
                           .k = 2,
                           .scores = b.span,
                           .scores_ld = 8,
                           .parts = 1,
                           .best = b.span};
    ivl__topk_call call = good;

    (void)state;
    call.k = 0;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_INVALID_ARGUMENT, error, "0 best");
    call = good;
    call.scores_ld = 7;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_INVALID_ARGUMENT, error, "7 apart");
    call = good;
    call.variant = "quick";
    assert_fails(ivl__op_topk(device, &call, &error), IVL_INVALID_ARGUMENT, error, "'quick'");
    call = good;
    call.first_row = 0xfffffff8u;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_UNSUPPORTED, error, "rows below");
    call = good;
    call.rows = call.scores_ld = 1 << 21;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_UNSUPPORTED, error, "2097152 scores");
    call = good;
    call.variant = "group";
    call.k = 1 << 28;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_UNSUPPORTED, error, "local memory");
    call = good;
    call.best.offset = 4;
    assert_fails(ivl__op_topk(device, &call, &error), IVL_INVALID_ARGUMENT, error, "'best'");
    test_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_are_those_of_a_sort),
        cmocka_unit_test(rising_scores_are_kept),
        cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
