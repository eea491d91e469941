/* test_exp.c - e^x of cl/exp.h, by one lane and by sixteen, against double precision. */
#include "tests/op/op_test.h"

static void check_exponential(const char *defines, size_t lanes, size_t n, float from, float to)
{
    float *x = malloc(n * sizeof *x);
    float *y = malloc(n * sizeof *y);
    size_t groups = n / lanes;
    const size_t one = 1;
    double worst = 0.0;
    test_buffer bx, by;
    ivl__kernel *kernel;
    ivl_error error = {0};

    for (size_t i = 0; i < n; i++) {
        x[i] = i == 0 ? 0.0f : from + (to - from) * (float)i / (float)n;
    }
    x[1] = -87.5f;
    x[2] = NAN;
    x[3] = -INFINITY;
    x[4] = 88.0f;
    assert_ok(ivl__kernel_get(device, "exp_values.cl", defines, "exp_values", &kernel, &error),
              error);
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_ONLY, n * 4, "x", &bx.span.mem, &error),
              error);
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, n * 4, "y", &by.span.mem, &error),
              error);
    assert_ok(ivl__cl_write(&device->cl, device->cl.compute, bx.span.mem, 0, x, n * 4, 0, NULL,
                            NULL, &error),
              error);
    assert_ok(IVL__LAUNCH(device, kernel, 1, &groups, &one, &error, ivl__arg_mem(bx.span.mem),
                          ivl__arg_mem(by.span.mem)),
              error);
    assert_ok(ivl__cl_read(&device->cl, device->cl.compute, by.span.mem, 0, y, n * 4, 0, NULL, NULL,
                           &error),
              error);
    assert_true(y[0] == 1.0f && y[1] == 0.0f && isnan(y[2]) && y[3] == 0.0f);
    for (size_t i = 4; i < n; i++) {
        double want = exp((double)x[i]);
        int exponent;
        double error_ulp;

        frexp(want, &exponent);
        error_ulp = fabs((double)y[i] - want) / ldexp(1.0, exponent - 24);
        worst = error_ulp <= worst ? worst : error_ulp;
        if (!(error_ulp <= 1.5)) {
            fail_msg("e^%.9g is %.9g, %.2f ulp off", (double)x[i], (double)y[i], error_ulp);
        }
    }
    printf("e^x, %zu lanes, %g to %g: largest error %.3f ulp, bound 1.5\n", lanes, (double)from,
           (double)to, worst);
    test_release(&bx);
    test_release(&by);
    free(x);
    free(y);
}

static void exponential(void **state)
{
    size_t n = test_tiny() ? 160 : 1 << 18;

    (void)state;
    check_exponential("-DLANES=1", 1, n, -86.99f, 88.0f);
    check_exponential("-DLANES=16", 16, n, -86.99f, 88.0f);
    check_exponential("-DLANES=16", 16, n, -1.0f, 0.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
