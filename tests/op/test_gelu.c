/* test_gelu.c - GELU of cl/gelu.h against double precision, and equal bits whatever the lanes.
 *
 * Bound: 3 * 2^-24 |v| + 2e-9. With u = |v| and q = Phi(-u), the product u q inherits from log q
 * one rounding of R(u) and of the exponent (together <= 2^-24 (1 + u^2 / 2 + 0.7)), the 1.5 ulp of
 * the exponential, and the fit's 3.3e-10 (absolute); q (4 + u^2 / 2) is at most 2 (u = 0).
 * One rounding of the result, at most 2^-24 |v|, comes on top.
 */
#include "runtime/program.h"

#include "tests/op/op_test.h"

#define U32 0x1p-24

static void run_lanes(size_t lanes, const float *x, float *y, size_t n)
{
    const size_t groups = n / lanes, one = 1;
    test_buffer bx = {.bytes = n * sizeof *x};
    test_buffer by = bx;
    ivl__kernel *kernel;
    ivl_error error = {0};
    char defines[40];

    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, bx.bytes, "x", &bx.span.mem, &error),
              error);
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, by.bytes, "y", &by.span.mem, &error),
              error);
    assert_ok(ivl__cl_write(&device->cl, device->cl.compute, bx.span.mem, 0, x, bx.bytes, 0, NULL,
                            NULL, &error),
              error);
    snprintf(defines, sizeof defines, "-DLANES=%zu", lanes);
    assert_ok(ivl__kernel_get(device, "gelu_values.cl", defines, "gelu_values", &kernel, &error),
              error);
    assert_ok(IVL__LAUNCH(device, kernel, 1, &groups, &one, &error, ivl__arg_mem(bx.span.mem),
                          ivl__arg_mem(by.span.mem)),
              error);
    assert_ok(ivl__cl_read(&device->cl, device->cl.compute, by.span.mem, 0, y, by.bytes, 0, NULL,
                           NULL, &error),
              error);
    test_release(&bx);
    test_release(&by);
}

/* n values over [-10, 10], special ones first, and magnitudes down to 2^-40 in every fourth place.
 */
static void fill_values(float *x, size_t n)
{
    static const float special[] = {0.0f,  -0.0f, INFINITY, -INFINITY, NAN,   6.0f,
                                    -6.0f, 20.0f, -20.0f,   1e30f,     -1e30f};

    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(-10.0 + 20.0 * (double)i / (double)n);
        if (i % 4 == 3) {
            x[i] = ldexpf(x[i], -(int)(i / 4 % 40));
        }
    }
    memcpy(x, special, sizeof special);
}

static void gelu_matches(void **state)
{
    const size_t n = test_tiny() ? 64 : 1 << 20;
    const size_t lanes[3] = {1, 8, 16};
    /* Only the kernels of CPUs take several values at once. */
    const size_t n_lanes = device->caps.cpu ? 3 : 1;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *first = malloc(n * sizeof *y);
    double worst = 0.0;

    (void)state;
    assert_true(x && y && first);
    fill_values(x, n);
    for (size_t l = 0; l < n_lanes; l++) {
        run_lanes(lanes[l], x, l ? y : first, n);
        if (l) {
            assert_memory_equal(first, y, n * sizeof *y);
        }
    }
    assert_true(first[0] == 0.0f && first[1] == 0.0f && first[2] == INFINITY);
    assert_true(first[3] == 0.0f && isnan(first[4]));
    for (size_t i = 5; i < n; i++) {
        double v = (double)x[i];
        double want = 0.5 * v * erfc(-v * 0.70710678118654752440);
        double bound = 3 * U32 * fabs(v) + 2e-9;
        double off = fabs((double)first[i] - want);

        worst = off / bound > worst ? off / bound : worst;
        if (!(off <= bound)) {
            fail_msg("gelu(%.9g) is %.9g, should be %.9g", v, (double)first[i], want);
        }
    }
    printf("gelu, %zu values: largest error %.3f of its bound\n", n, worst);
    free(x);
    free(y);
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gelu_matches)};
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
