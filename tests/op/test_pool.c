/* test_pool.c - one row per image: a token as it is, or a mean. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

static void check_mean(int images, int tokens, int width, int first, int rows)
{
    size_t n = (size_t)(images * tokens * width);
    int out_ld = width + 3;
    size_t n_out = (size_t)((images - 1) * out_ld + width);
    float *x = malloc(n * sizeof *x);
    float *out = malloc(n_out * sizeof *out);
    double *want = malloc((size_t)width * sizeof *want);
    uint64_t seed = n;
    test_buffer bx, bout = test_upload(NULL, n_out * 4, 4);
    ivl_error error = {0};
    char what[80];

    for (size_t i = 0; i < n; i++) {
        x[i] = 0.5f + test_uniform(&seed);
    }
    bx = test_upload(x, n * 4, 8);
    assert_ok(ivl__op_pool(device, images, tokens, width, first, rows, bx.span, bout.span, out_ld,
                           &error),
              error);
    test_download(&bout, out);
    for (int i = 0; i < images; i++) {
        /* At most 32 + rows/32 additions, each 2^-24 of a partial sum of |x| <= 1.5; division 2.5
         * ulp. One row is copied. */
        double bound = rows == 1 ? 0.0 : (34 + rows / 32 + 5) * 1.5 * 0x1p-24;

        for (int c = 0; c < width; c++) {
            want[c] = 0.0;
            for (int r = first; r < first + rows; r++) {
                want[c] += (double)x[(i * tokens + r) * width + c] / rows;
            }
        }
        snprintf(what, sizeof what, "mean of %d rows, image %d", rows, i);
        test_compare(what, out + i * out_ld, want, (size_t)width, bound);
    }
    test_release(&bx);
    test_release(&bout);
    free(x);
    free(out);
    free(want);
}

static void means_are_accurate(void **state)
{
    (void)state;
    check_mean(2, 5, 7, 0, 1);
    check_mean(2, 5, 7, 3, 1);
    check_mean(1, 4, 1, 1, 3);
    check_mean(2, 35, 19, 0, 35);
    if (!test_tiny()) {
        check_mean(2, 257, 320, 1, 256);
        check_mean(1, 1025, 65, 0, 1025);
    }
}

static void bad_calls_are_refused(void **state)
{
    test_buffer b = test_upload(NULL, 64, 0);
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl__op_pool(device, 1, 4, 2, 2, 3, b.span, b.span, 2, &error),
                 IVL_INVALID_ARGUMENT, error, "3 rows from row 2");
    assert_fails(ivl__op_pool(device, 1, 4, 2, 0, 1, b.span, b.span, 1, &error),
                 IVL_INVALID_ARGUMENT, error, "1 apart");
    /* Loops of more than 65,535 turns are cut short by one driver. */
    assert_fails(ivl__op_pool(device, 1, 1 << 22, 2, 0, 1 << 22, b.span, b.span, 2, &error),
                 IVL_UNSUPPORTED, error, "4194304 rows");
    test_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_accurate),
        cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
