/* test_search.c - the best rows of many: against sums in double precision, and equal bits whatever
 * the other queries, the chunks, the residency and the memory that is allowed. */
#include "runtime/dtype.h"
#include "runtime/opencl.h"
#include "runtime/os.h"
#include "tests/model/golden.h"

enum { ROWS = 3001, DIM = 75, QUERIES = 9, BEST = 12 };

static float *rows; /* [ROWS, DIM] of about length 1; the second half repeats rows of the first */
static uint16_t *halves;
static float queries[QUERIES][DIM];

static float next_value(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*seed >> 33) * 0x1p-30 - 1.0);
}

static int setup(void **state)
{
    uint64_t seed = 7;

    if (golden_setup(state) != 0) {
        return -1;
    }
    rows = ivl__calloc(ROWS * DIM, sizeof *rows);
    halves = ivl__calloc(ROWS * DIM, sizeof *halves);
    for (size_t i = 0; i < ROWS * DIM; i++) {
        rows[i] = i / DIM > ROWS / 2 ? rows[i - ROWS / 2 * DIM] : 0.2f * next_value(&seed);
        halves[i] = ivl__float_to_f16(rows[i]);
    }
    for (int i = 0; i < QUERIES * DIM; i++) {
        queries[i / DIM][i % DIM] = 0.2f * next_value(&seed);
    }
    return 0;
}

static int teardown(void **state)
{
    ivl__free(rows);
    ivl__free(halves);
    return folder_remove(state);
}

static ivl_vectors vectors_of(bool half)
{
    return (ivl_vectors){.size = sizeof(ivl_vectors),
                         .data = half ? (const void *)halves : rows,
                         .rows = ROWS,
                         .dim = DIM,
                         .dtype = half ? "fp16" : "fp32"};
}

static void assert_same_hits(const ivl_hit *got, const ivl_hit *want)
{
    for (int h = 0; h < QUERIES * BEST; h++) {
        assert_int_equal(got[h].row, want[h].row);
        assert_memory_equal(&got[h].score, &want[h].score, sizeof(float));
    }
}

/* Hits of all queries, searched in runs of `step`. */
static void search(const ivl_session_options *options, bool half, int step, int k, ivl_hit *hits)
{
    const ivl_vectors vectors = vectors_of(half);
    ivl_search *s = NULL;
    ivl_error error = {0};

    assert_ok(ivl_search_open(options, &vectors, &s, &error), error);
    for (int q = 0; q < QUERIES; q += step) {
        int n = QUERIES - q < step ? QUERIES - q : step;

        assert_ok(ivl_search_run(s, queries[q], n, k, hits + q * k, &error), error);
    }
    ivl_search_free(s);
}

/* A chain of DIM multiply-adds is off by at most DIM 2^-24 of the sum of magnitudes (first order;
 * 1.01 covers the rest). Rows that are no hits may be better than the last hit by twice that. */
static void check_hits(bool half, int k, const ivl_hit *hits)
{
    double worst = 0.0;

    for (int q = 0; q < QUERIES; q++) {
        const ivl_hit *of_query = hits + q * k;
        bool found[ROWS] = {false};

        for (int i = 0; i < k; i++) {
            assert_true(of_query[i].row < ROWS && !found[of_query[i].row]);
            found[of_query[i].row] = true;
            assert_true(i == 0 || of_query[i - 1].score > of_query[i].score ||
                        (of_query[i - 1].score == of_query[i].score &&
                         of_query[i - 1].row < of_query[i].row));
        }
        for (int r = 0; r < ROWS; r++) {
            double sum = 0.0;
            double size = 0.0;
            double bound;

            for (int d = 0; d < DIM; d++) {
                double w = half ? (double)ivl__f16_to_float(halves[r * DIM + d])
                                : (double)rows[r * DIM + d];

                sum += (double)queries[q][d] * w;
                size += fabs((double)queries[q][d] * w);
            }
            bound = 1.01 * DIM * 0x1p-24 * size;
            if (!found[r]) {
                assert_true(sum <= (double)of_query[k - 1].score + 2 * bound);
                continue;
            }
            for (int i = 0; i < k; i++) {
                double error = fabs((double)of_query[i].score - sum);

                if (of_query[i].row == (uint64_t)r && !(error <= bound)) {
                    fail_msg("query %d, row %d: score %.9g, should be %.9g (error %.3g > %.3g)", q,
                             r, (double)of_query[i].score, sum, error, bound);
                } else if (of_query[i].row == (uint64_t)r) {
                    worst = fmax(worst, error / bound);
                }
            }
        }
    }
    printf("%s, the %d best: largest error %.3g of its bound\n", half ? "fp16" : "fp32", k, worst);
}

static void hits_are_the_best(void **state)
{
    static ivl_hit hits[QUERIES * ROWS];
    ivl_session_options options = golden_options();

    (void)state;
    for (int half = 0; half < 2; half++) {
        search(&options, half, QUERIES, BEST, hits);
        check_hits(half, BEST, hits);
    }
    search(&options, false, QUERIES, ROWS, hits); /* all rows */
    check_hits(false, ROWS, hits);
}

/* Each row of the second half is one of the first: equal scores, the lower row comes first. */
static void equal_scores_are_in_the_order_of_rows(void **state)
{
    ivl_hit hits[QUERIES * BEST];
    ivl_session_options options = golden_options();

    (void)state;
    search(&options, false, QUERIES, BEST, hits);
    for (int i = 0; i < QUERIES * BEST; i += 2) {
        assert_true(hits[i].score == hits[i + 1].score);
        assert_int_equal(hits[i].row + ROWS / 2, hits[i + 1].row);
    }
}

static void hits_have_equal_bits(void **state)
{
    ivl_hit want[QUERIES * BEST], got[QUERIES * BEST];
    ivl_session_options options = golden_options();
    const ivl_residency residencies[] = {IVL_RESIDENCY_AUTO, IVL_RESIDENCY_STREAM};

    (void)state;
    search(&options, false, QUERIES, BEST, want);
    for (int i = 0; i < 6; i++) {
        const int step = i % 3 == 0 ? 1 : i % 3 == 1 ? 4 : QUERIES;

        options.residency = residencies[i / 3];
        memset(got, 0, sizeof got);
        search(&options, false, step, BEST, got);
        assert_same_hits(got, want);
    }
}

/* Less and less memory: smaller chunks, then fewer queries at a time, then a refusal with numbers.
 */
static void memory_changes_nothing_but_the_chunks(void **state)
{
    ivl_hit want[QUERIES * BEST], got[QUERIES * BEST];
    ivl_session_options options = golden_options();
    const ivl_vectors vectors = vectors_of(false);
    uint64_t before = UINT64_MAX;
    ivl_error error = {0};
    int runs = 0;

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    search(&options, false, QUERIES, BEST, want);
    for (uint64_t budget = 1 << 20;; budget /= 2) {
        ivl_search_info info;
        ivl_search *s = NULL;
        ivl_status status;

        options.device_memory = budget;
        assert_ok(ivl_search_open(&options, &vectors, &s, &error), error);
        status = ivl_search_run(s, queries[0], QUERIES, BEST, got, &error);
        ivl_search_get_info(s, &info);
        ivl_search_free(s);
        if (status == IVL_OUT_OF_DEVICE_MEMORY) {
            assert_non_null(strstr(error.message, "raise --device-memory"));
            break;
        }
        assert_ok(status, error);
        assert_string_equal(info.residency, "stream");
        assert_true(info.chunk_rows <= before);
        before = info.chunk_rows;
        runs++;
        assert_same_hits(got, want);
    }
    assert_true(runs >= 3 && before < ROWS / 8);
}

static void bad_calls_are_refused(void **state)
{
    ivl_session_options options = golden_options();
    ivl_vectors vectors = vectors_of(false);
    ivl_hit hits[BEST];
    ivl_search *s = NULL;
    ivl_error error = {0};
    float query[DIM] = {1.0f};
    float *copy = ivl__malloc(ROWS * DIM * sizeof *copy);

    (void)state;
    vectors.dtype = "int8";
    assert_fails(ivl_search_open(&options, &vectors, &s, &error), IVL_INVALID_ARGUMENT, error,
                 "type int8");
    vectors = vectors_of(false);
    vectors.rows = 0;
    assert_fails(ivl_search_open(&options, &vectors, &s, &error), IVL_INVALID_ARGUMENT, error,
                 "0 rows");
    vectors = vectors_of(false);
    options.precision = IVL_PRECISION_FAST;
    assert_fails(ivl_search_open(&options, &vectors, &s, &error), IVL_UNSUPPORTED, error, "fp32");
    options.precision = IVL_PRECISION_AUTO;
    /* Only 5 rows have a score. */
    assert_non_null(copy);
    memcpy(copy, rows, ROWS * DIM * sizeof *copy);
    for (int r = 5; r < ROWS; r++) {
        copy[r * DIM] = NAN;
    }
    vectors.data = copy;
    assert_ok(ivl_search_open(&options, &vectors, &s, &error), error);
    assert_ok(ivl_search_run(s, query, 1, 5, hits, &error), error);
    assert_fails(ivl_search_run(s, query, 1, 6, hits, &error), IVL_NOT_FINITE, error,
                 "only 5 of 3001 rows");
    assert_fails(ivl_search_run(s, query, 1, ROWS + 1, hits, &error), IVL_INVALID_ARGUMENT, error,
                 "3002 best of 3001");
    assert_fails(ivl_search_run(s, query, 1, 0, hits, &error), IVL_INVALID_ARGUMENT, error,
                 "0 best");
    query[3] = INFINITY;
    assert_fails(ivl_search_run(s, query, 1, 1, hits, &error), IVL_INVALID_ARGUMENT, error,
                 "query 0 is not finite");
    assert_ok(ivl_search_run(s, query, 0, 1, hits, &error), error);
    ivl_search_free(s);
    ivl_search_free(NULL);
    ivl__free(copy);
}

static int stop_at_two(void *user, const char *stage, int done, int total)
{
    int *calls = user;

    assert_string_equal(stage, "search");
    assert_true(done < total);
    return ++*calls == 2;
}

static void it_can_be_cancelled(void **state)
{
    ivl_session_options options = golden_options();
    const ivl_vectors vectors = vectors_of(false);
    ivl_hit hits[QUERIES * BEST];
    ivl_search *s = NULL;
    ivl_error error = {0};
    int calls = 0;

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    options.device_memory = 400000;
    options.progress = stop_at_two;
    options.progress_user = &calls;
    assert_ok(ivl_search_open(&options, &vectors, &s, &error), error);
    assert_fails(ivl_search_run(s, queries[0], QUERIES, BEST, hits, &error), IVL_CANCELLED, error,
                 "cancelled");
    assert_ok(ivl_search_run(s, queries[0], QUERIES, BEST, hits, &error), error);
    check_hits(false, BEST, hits);
    ivl_search_free(s);
}

/* Every call and allocation of a run fails once: a status, nothing left behind, and the same search
 * goes on afterwards. */
static void faults_leave_nothing_behind(void **state)
{
    ivl_session_options options = golden_options();
    const ivl_vectors vectors = vectors_of(false);
    ivl_hit want[QUERIES * BEST], got[QUERIES * BEST];
    ivl_search *s = NULL;
    ivl_error error = {0};
    int64_t objects, bytes, blocks, calls;

    (void)state;
    options.residency = IVL_RESIDENCY_STREAM;
    options.device_memory = 400000;
    assert_ok(ivl_search_open(&options, &vectors, &s, &error), error);
    assert_ok(ivl_search_run(s, queries[0], QUERIES, BEST, want, &error), error);
    objects = ivl__cl_live_objects();
    bytes = ivl__cl_live_bytes();
    blocks = ivl__memory_live();
    for (int kind = 0; kind < 2; kind++) {
        for (int64_t n = 0;; n++) {
            ivl_status status;

            if (kind == 0) {
                ivl__cl_fail(NULL, n, false, CL_OUT_OF_RESOURCES);
            } else {
                ivl__memory_fail(n, false);
            }
            status = ivl_search_run(s, queries[0], QUERIES, BEST, got, &error);
            calls = kind == 0 ? ivl__cl_calls() : ivl__memory_calls();
            ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
            ivl__memory_fail(-1, false);
            assert_int_equal(ivl__cl_live_objects(), objects);
            assert_int_equal(ivl__cl_live_bytes(), bytes);
            assert_int_equal(ivl__memory_live(), blocks);
            if (calls <= n) {
                assert_ok(status, error);
                assert_true(kind == 1 || n > 20);
                break;
            }
            assert_true(status != IVL_OK && error.message[0] != '\0');
        }
        assert_same_hits(got, want);
    }
    ivl_search_free(s);
}

/* A file that shrinks under the search: ivl_handle_sigbus knows the rows, and the results are
 * dropped. */
static void addresses_of_rows_are_known(void **state)
{
    const char *path = in_folder("rows");
    ivl__map map;
    char *at;
    ivl_session_options options = golden_options();
    ivl_vectors vectors = vectors_of(false);
    ivl_hit hits[BEST];
    ivl_search *s = NULL;
    ivl_error error = {0};

    (void)state;
    write_file(path, rows, (size_t)ROWS * DIM * sizeof *rows);
    assert_ok(ivl__map_open(path, &map, &error), error);
    vectors.data = map.data;
    at = (char *)(uintptr_t)map.data + 5000;
    assert_false(ivl_handle_sigbus(at));
    assert_ok(ivl_search_open(&options, &vectors, &s, &error), error);
    assert_ok(ivl_search_run(s, queries[0], 1, BEST, hits, &error), error);
    assert_true(ivl_handle_sigbus(at));
    assert_fails(ivl_search_run(s, queries[0], 1, BEST, hits, &error), IVL_IO_ERROR, error,
                 "shrank");
    ivl_search_free(s);
    assert_false(ivl_handle_sigbus(at));
    ivl__map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_are_the_best),
        cmocka_unit_test(equal_scores_are_in_the_order_of_rows),
        cmocka_unit_test(hits_have_equal_bits),
        cmocka_unit_test(memory_changes_nothing_but_the_chunks),
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(it_can_be_cancelled),
        cmocka_unit_test(faults_leave_nothing_behind),
        cmocka_unit_test(addresses_of_rows_are_known),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
