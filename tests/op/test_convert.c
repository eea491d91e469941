/* test_convert.c - element types and the check for finite values, bit for bit. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b));
}

static float widened(ivl_dtype type, uint16_t code)
{
    return type == IVL_F16 ? ivl__f16_to_float(code) : ivl__bf16_to_float(code);
}

static void all_codes_widen(void **state)
{
    const ivl_dtype types[] = {IVL_F16, IVL_BF16};
    size_t n = test_tiny() ? 2051 : 65536;
    uint16_t *codes = malloc(n * sizeof *codes);
    float *wide = malloc(n * sizeof *wide);
    test_buffer bin, bout = test_upload(NULL, n * 4, 4);
    ivl_error error = {0};

    (void)state;
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint16_t)(i * (65536 / n) + (n == 65536 ? 0 : i % 29));
    }
    bin = test_upload(codes, n * 2, 2);
    for (int t = 0; t < 2; t++) {
        assert_ok(ivl__op_convert(device, n, bin.span, types[t], bout.span, IVL_F32, &error),
                  error);
        test_download(&bout, wide);
        for (size_t i = 0; i < n; i++) {
            assert_true(same_float(wide[i], widened(types[t], codes[i])));
        }
    }
    test_release(&bin);
    test_release(&bout);
    free(codes);
    free(wide);
}

/* Values on, just below and just above every point where rounding changes: each 16-bit code plus
 * 0, half a unit and half a unit +- 1 in the 17th bit and below. */
static void narrowing_rounds_to_nearest_even(void **state)
{
    const ivl_dtype types[] = {IVL_F16, IVL_BF16};
    size_t codes = test_tiny() ? 512 : 65536;
    size_t n = codes * 5 + 3; /* not a multiple of 16 */
    float *in = malloc(n * sizeof *in);
    uint16_t *out = malloc(n * sizeof *out);
    test_buffer bin, bout = test_upload(NULL, n * 2, 2);
    ivl_error error = {0};

    (void)state;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < n; i++) {
            uint16_t code = (uint16_t)(i / 5 * (65536 / codes));
            uint32_t bits;
            uint32_t half = types[t] == IVL_F16 ? 0x1000u : 0x8000u;
            float value = widened(types[t], code);

            memcpy(&bits, &value, 4);
            bits += i % 5 == 0   ? 0u
                    : i % 5 == 1 ? half
                    : i % 5 == 2 ? half - 1
                    : i % 5 == 3 ? half + 1
                                 : 1u;
            memcpy(&in[i], &bits, 4);
        }
        bin = test_upload(in, n * 4, 4);
        assert_ok(ivl__op_convert(device, n, bin.span, IVL_F32, bout.span, types[t], &error),
                  error);
        test_download(&bout, out);
        for (size_t i = 0; i < n; i++) {
            uint16_t want = types[t] == IVL_F16 ? ivl__float_to_f16(in[i])
                                                : ivl__float_to_bf16(in[i]);

            if (out[i] != want && !(isnan(in[i]) && isnan(widened(types[t], out[i])))) {
                fail_msg("%s of %.9g is %04x, should be %04x", ivl__dtype_name(types[t]),
                         (double)in[i], out[i], want);
            }
        }
        test_release(&bin);
    }
    test_release(&bout);
    free(in);
    free(out);
}

static int check(float *x, size_t n, int before)
{
    test_buffer bx = test_upload(x, n * 4, 4);
    test_buffer bf = test_upload(&before, 4, 4);
    ivl_error error = {0};
    int flag;

    assert_ok(ivl__op_check_finite(device, n, bx.span, bf.span, &error), error);
    test_download(&bf, &flag);
    test_release(&bx);
    test_release(&bf);
    return flag;
}

static void finite(void **state)
{
    size_t n = test_tiny() ? 131 : 100003;
    float *x = malloc(n * sizeof *x);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        x[i] = i % 2 ? 3.4e38f : -1e-45f;
    }
    assert_int_equal(check(x, n, 0), 0);
    assert_int_equal(check(x, n, 7), 7); /* untouched */
    x[n - 1] = INFINITY;
    assert_int_equal(check(x, n, 0), 1);
    x[n - 1] = 0.0f;
    x[n / 2] = NAN;
    assert_int_equal(check(x, n, 0), 1);
    x[n / 2] = 0.0f;
    x[0] = -INFINITY;
    assert_int_equal(check(x, n, 0), 1);
    assert_int_equal(check(x + 1, n - 1, 0), 0);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_codes_widen),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(finite),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
