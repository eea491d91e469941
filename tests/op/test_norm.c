/* test_norm.c - RMSNorm, LayerNorm and unit length against double precision, in both variants. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

#define U 0x1p-24 /* unit roundoff of fp32 */

typedef struct norm_case {
    int rows, width, x_ld, y_ld;
    size_t x_shift, y_shift;
} norm_case;

static const norm_case cases[] = {
    {1, 1, 1, 1, 0, 0},          {3, 2, 5, 3, 4, 4},          {5, 24, 24, 24, 4, 2},
    {2, 63, 70, 64, 12, 6},      {3, 65, 65, 66, 0, 2},       {2, 257, 257, 257, 4, 4},
    {7, 1024, 1024, 1024, 0, 0}, {5, 3200, 9600, 3200, 8, 2}, {2, 12800, 12800, 12800, 4, 4},
};

static size_t n_cases(void)
{
    return test_tiny() ? 5 : sizeof cases / sizeof cases[0];
}

/* y in double precision, and the bound of its error.
 *
 * A sum of n terms of one sign, in 64 (rows) or 256 (groups) partial sums, is off by at most
 * (n/64 + 8) U relative. The scale 1/sqrt(.) takes half of that, and sqrt, two divisions (3 and 2.5
 * ulp of 2 U) and the addition of eps: 17 U more. Then three roundings of the result. For layer
 * norm the mean is off by (n/64 + 8) U mean|x| + 5 U |mean|, which shifts every element. */
static double reference(int kind, const float *x, const float *w, const float *b, int n, double eps,
                        double *y)
{
    double chain = n / 64 + 8;
    double mean = 0.0;
    double size = 0.0;
    double squares = 0.0;
    double bound = 0.0;

    for (int i = 0; i < n; i++) {
        mean += x[i] / (double)n;
        size += fabs((double)x[i]) / n;
    }
    mean = kind == IVL__NORM_LAYER ? mean : 0.0;
    for (int i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean) / n;
    }
    for (int i = 0; i < n; i++) {
        double scale = 1.0 / sqrt(squares + eps);
        double gain = fabs(scale * (double)w[i]);
        double shift = kind == IVL__NORM_LAYER ? (chain * size + 5 * fabs(mean) + fabs(x[i] - mean))
                                               : 0.0;
        double error;

        y[i] = (x[i] - mean) * scale * (double)w[i] +
               (kind == IVL__NORM_LAYER ? (double)b[i] : 0.0);
        /* The shift also enters the squares, at most as 2 |x - mean| shift / var. */
        error = fabs(x[i] - mean) * gain * (chain / 2 + 17 + 3) * U + 3 * shift * gain * U +
                fabs(y[i]) * U;
        bound = error > bound ? error : bound;
    }
    return bound;
}

static void check_norm(ivl__norm_kind kind, const char *variant, const norm_case *c, float mean)
{
    size_t n_x = (size_t)c->rows * (size_t)c->x_ld;
    size_t n_y = (size_t)(c->rows - 1) * (size_t)c->y_ld + (size_t)c->width;
    size_t width = (size_t)c->width;
    float *x = test_values(n_x, 1, mean, 2.0f);
    float *w = test_values(width, 2, 1.0f, 0.5f);
    float *b = test_values(width, 3, 0.0f, 1.0f);
    double *want = malloc(width * sizeof *want);
    float *y = malloc(n_y * sizeof *y);
    test_buffer bx = test_upload(x, n_x * 4, c->x_shift & ~3u);
    test_buffer bw = test_upload(w, width * 4, 4);
    test_buffer bb = test_upload(b, width * 4, 8);
    test_buffer by = test_upload(NULL, n_y * 4, c->y_shift & ~3u);
    ivl__norm_call call = {kind,    c->rows, c->width, bx.span, c->x_ld, bw.span,
                           bb.span, 1e-6f,   by.span,  IVL_F32, c->y_ld, variant};
    ivl_error error = {0};
    char what[100];

    assert_ok(ivl__op_norm(device, &call, &error), error);
    test_download(&by, y);
    for (int r = 0; r < c->rows; r++) {
        double bound = reference((int)kind, x + (size_t)r * (size_t)c->x_ld, w, b, c->width, 1e-6,
                                 want);

        snprintf(what, sizeof what, "%s %s width %d row %d",
                 kind == IVL__NORM_RMS ? "rms" : "layer", variant, c->width, r);
        test_compare(what, y + (size_t)r * (size_t)c->y_ld, want, width, bound);
        for (size_t i = width; i < (size_t)c->y_ld && r + 1 < c->rows; i++) {
            assert_true(
                isnan(y[(size_t)r * (size_t)c->y_ld + i])); /* between the rows: untouched */
        }
    }
    test_release(&bx);
    test_release(&bw);
    test_release(&bb);
    test_release(&by);
    free(x);
    free(w);
    free(b);
    free(want);
    free(y);
}

static void norms_are_accurate(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_cases(); i++) {
        check_norm(IVL__NORM_RMS, "rows", &cases[i], 0.0f);
        check_norm(IVL__NORM_RMS, "groups", &cases[i], 0.0f);
        check_norm(IVL__NORM_LAYER, "rows", &cases[i], 0.5f);
        check_norm(IVL__NORM_LAYER, "groups", &cases[i], 0.5f);
    }
}

/* The variance of values far from zero: a one-pass formula loses every digit here. */
static void large_means_are_harmless(void **state)
{
    static const norm_case c = {2, 320, 320, 320, 0, 0};

    (void)state;
    check_norm(IVL__NORM_LAYER, "rows", &c, 300.0f);
    check_norm(IVL__NORM_LAYER, "groups", &c, 300.0f);
}

static uint16_t to_16(ivl_dtype type, float x)
{
    return type == IVL_F16 ? ivl__float_to_f16(x) : ivl__float_to_bf16(x);
}

/* 16-bit outputs are the fp32 result, rounded to nearest even; in place equals out of place; a row
 * alone equals the row among others. All bit for bit. */
static void types_places_and_positions_agree(const char *variant, int width)
{
    enum { ROWS = 3 };
    const ivl_dtype types[] = {IVL_F16, IVL_BF16};
    size_t n = (size_t)width * ROWS;
    float *x = test_values(n, 7, 0.0f, 3.0f);
    float *w = test_values((size_t)width, 8, 1.0f, 0.5f);
    float *y = malloc(n * sizeof *y);
    float *again = malloc(n * sizeof *again);
    uint16_t *half = malloc(n * sizeof *half);
    test_buffer bx = test_upload(x, n * 4, 4);
    test_buffer bw = test_upload(w, (size_t)width * 4, 0);
    test_buffer by = test_upload(NULL, n * 4, 0);
    test_buffer bh = test_upload(NULL, n * 2, 2);
    ivl__norm_call call = {.rows = ROWS,
                           .width = width,
                           .x = bx.span,
                           .x_ld = width,
                           .weight = bw.span,
                           .eps = 1e-6f,
                           .y = by.span,
                           .y_ld = width,
                           .variant = variant};
    ivl_error error = {0};

    assert_ok(ivl__op_norm(device, &call, &error), error);
    test_download(&by, y);
    for (int t = 0; t < 2; t++) {
        call.y = bh.span;
        call.y_type = types[t];
        assert_ok(ivl__op_norm(device, &call, &error), error);
        test_download(&bh, half);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(half[i], to_16(types[t], y[i]));
        }
    }
    call.y_type = IVL_F32;
    call.y = by.span;
    call.rows = 1;
    call.x = ivl__span_at(bx.span, (uint64_t)width * 8);
    assert_ok(ivl__op_norm(device, &call, &error), error);
    test_download(&by, again);
    assert_memory_equal(again, y + 2 * width, (size_t)width * 4);
    call.rows = ROWS;
    call.x = call.y = bx.span;
    assert_ok(ivl__op_norm(device, &call, &error), error);
    test_download(&bx, again);
    assert_memory_equal(again, y, n * 4);
    test_release(&bx);
    test_release(&bw);
    test_release(&by);
    test_release(&bh);
    free(x);
    free(w);
    free(y);
    free(again);
    free(half);
}

static void bits_do_not_depend_on_surroundings(void **state)
{
    (void)state;
    types_places_and_positions_agree("rows", test_tiny() ? 19 : 3200);
    types_places_and_positions_agree("groups", test_tiny() ? 19 : 3200);
}

/* x / sqrt(sum x^2): the sum as above, halved, then sqrt (3 ulp) and division (2.5 ulp). */
static void unit_length(void **state)
{
    enum { ROWS = 3 };
    const int width = test_tiny() ? 9 : 768;
    size_t n = (size_t)width * ROWS;
    float *x = test_values(n, 5, 0.1f, 1.0f);
    double *want = malloc(n * sizeof *want);
    test_buffer bx = test_upload(x, n * 4, 4);
    ivl_error error = {0};

    (void)state;
    for (int r = 0; r < ROWS; r++) {
        double squares = 0.0;

        for (int i = 0; i < width; i++) {
            squares += (double)x[r * width + i] * (double)x[r * width + i];
        }
        for (int i = 0; i < width; i++) {
            want[r * width + i] = x[r * width + i] / sqrt(squares);
        }
    }
    assert_ok(ivl__op_l2_normalize(device, ROWS, width, bx.span, &error), error);
    test_download(&bx, x);
    test_compare("unit length", x, want, n, ((width / 64 + 8) / 2.0 + 11) * U);
    test_release(&bx);
    free(x);
    free(want);
}

static void bad_calls_are_refused(void **state)
{
    test_buffer b = test_upload(NULL, 64, 0);
    ivl__norm_call call = {
        .rows = 1, .width = 8, .x = b.span, .x_ld = 4, .weight = b.span, .y = b.span, .y_ld = 8};
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl__op_norm(device, &call, &error), IVL_INVALID_ARGUMENT, error, "4 and 8 apart");
    call.x_ld = 8;
    call.x.offset += 2;
    assert_fails(ivl__op_norm(device, &call, &error), IVL_INVALID_ARGUMENT, error, "operand 'x'");
    call.x.offset -= 2;
    call.kind = IVL__NORM_LAYER;
    assert_fails(ivl__op_norm(device, &call, &error), IVL_INVALID_ARGUMENT, error, "'bias'");
    call.kind = IVL__NORM_RMS;
    call.variant = "best";
    assert_fails(ivl__op_norm(device, &call, &error), IVL_INVALID_ARGUMENT, error, "'best'");
    call.variant = NULL;
    call.width = call.x_ld = call.y_ld = 16 * 65535 + 1;
    assert_fails(ivl__op_norm(device, &call, &error), IVL_INVALID_ARGUMENT, error, "1048561");
    test_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_accurate),
        cmocka_unit_test(large_means_are_harmless),
        cmocka_unit_test(bits_do_not_depend_on_surroundings),
        cmocka_unit_test(unit_length),
        cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
