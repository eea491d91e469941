/* test_position.c - token rows with positions, and position tables for other grids. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

static void check_embed(int images, int tokens, int width)
{
    size_t w = (size_t)width;
    size_t n = (size_t)(images * tokens) * w;
    size_t n_patches = (size_t)(images * (tokens - 1)) * w;
    float *patches = test_values(n_patches, 1, 0.0f, 1.0f);
    float *class_row = test_values(w, 2, 0.0f, 1.0f);
    float *position = test_values((size_t)tokens * w, 3, 0.0f, 1.0f);
    float *x = malloc(n * sizeof *x);
    test_buffer bp = test_upload(patches, (n_patches ? n_patches : 1) * 4, 4);
    test_buffer bc = test_upload(class_row, w * 4, 8);
    test_buffer bt = test_upload(position, (size_t)tokens * w * 4, 12);
    test_buffer bx = test_upload(NULL, n * 4, 4);
    ivl_error error = {0};

    assert_ok(
        ivl__op_embed(device, images, tokens, width, bp.span, bc.span, bt.span, bx.span, &error),
        error);
    test_download(&bx, x);
    for (size_t i = 0; i < n; i++) {
        size_t c = i % w;
        size_t t = i / w % (size_t)tokens;
        size_t image = i / w / (size_t)tokens;
        float from = t ? patches[(image * (size_t)(tokens - 1) + t - 1) * w + c] : class_row[c];
        float want = from + position[t * w + c];

        assert_memory_equal(&x[i], &want, 4);
    }
    test_release(&bp);
    test_release(&bc);
    test_release(&bt);
    test_release(&bx);
    free(patches);
    free(class_row);
    free(position);
    free(x);
}

static void embed(void **state)
{
    (void)state;
    check_embed(1, 1, 1);
    check_embed(2, 5, 24);
    check_embed(3, 4, 65);
    if (!test_tiny()) {
        check_embed(2, 257, 320);
    }
}

/* The cubic convolution as its definition reads. */
static double kernel(double t)
{
    const double a = -0.75;

    t = fabs(t);
    if (t <= 1.0) {
        return (a + 2) * t * t * t - (a + 3) * t * t + 1;
    }
    return t < 2.0 ? a * t * t * t - 5 * a * t * t + 8 * a * t - 4 * a : 0.0;
}

static double resized(const float *table, int h, int w, int width, double y, double x, int c)
{
    double sum = 0.0;

    for (int j = (int)floor(y) - 1; j <= (int)floor(y) + 2; j++) {
        for (int i = (int)floor(x) - 1; i <= (int)floor(x) + 2; i++) {
            int row = j < 0 ? 0 : j >= h ? h - 1 : j;
            int column = i < 0 ? 0 : i >= w ? w - 1 : i;

            sum += kernel(y - j) * kernel(x - i) *
                   (double)table[(1 + row * w + column) * width + c];
        }
    }
    return sum;
}

static float *resize(const float *from, int from_h, int from_w, int to_h, int to_w, int width)
{
    size_t n_from = (size_t)(1 + from_h * from_w) * (size_t)width;
    size_t n_to = (size_t)(1 + to_h * to_w) * (size_t)width;
    float *to = malloc(n_to * sizeof *to);
    test_buffer bf = test_upload(from, n_from * 4, 4);
    test_buffer bt = test_upload(NULL, n_to * 4, 8);
    ivl_error error = {0};

    assert_ok(ivl__op_position_resize(device, from_h, from_w, to_h, to_w, width, bf.span, bt.span,
                                      &error),
              error);
    test_download(&bt, to);
    test_release(&bf);
    test_release(&bt);
    return to;
}

static void check_resize(int from_h, int from_w, int to_h, int to_w, int width)
{
    float *from = test_values((size_t)(1 + from_h * from_w) * (size_t)width, 9, 0.0f, 1.0f);
    float *to = resize(from, from_h, from_w, to_h, to_w, width);
    size_t n = (size_t)(1 + to_h * to_w) * (size_t)width;
    double *want = malloc(n * sizeof *want);
    char what[80];

    for (int row = 0; row <= to_h * to_w; row++) {
        double y = ((row - 1) / to_w + 0.5) * from_h / to_h - 0.5;
        double x = ((row - 1) % to_w + 0.5) * from_w / to_w - 0.5;

        for (int c = 0; c < width; c++) {
            want[row * width + c] = row ? resized(from, from_h, from_w, width, y, x, c)
                                        : (double)from[c];
        }
    }
    snprintf(what, sizeof what, "positions %dx%d -> %dx%d", from_h, from_w, to_h, to_w);
    /* 24 units of 2^-24 on weights whose absolute values sum to at most 2.2; |from| <= 1. */
    test_compare(what, to, want, n, 24 * 2.2 * 0x1p-24);
    if (from_h == to_h && from_w == to_w) {
        assert_memory_equal(to, from, n * 4);
    }
    free(from);
    free(to);
    free(want);
}

static void tables_are_resized(void **state)
{
    (void)state;
    check_resize(1, 1, 2, 3, 1);
    check_resize(2, 2, 2, 2, 5);
    check_resize(4, 4, 6, 6, 3);
    check_resize(3, 5, 2, 7, 4);
    if (!test_tiny()) {
        check_resize(16, 16, 32, 32, 65);
        check_resize(32, 32, 26, 26, 8);
        check_resize(32, 32, 16, 24, 128);
    }
}

/* The fp32 array behind the header of an .npy file of n elements. */
static float *read_npy(const char *path, size_t n)
{
    FILE *file = fopen(path, "rb");
    float *x = malloc(n * sizeof *x);

    if (!file) {
        fail_msg("cannot open %s", path);
    }
    assert_int_equal(fseek(file, -(long)(n * sizeof *x), SEEK_END), 0);
    assert_int_equal(fread(x, sizeof *x, n, file), n);
    fclose(file);
    return x;
}

/* What torch makes of the 4x4 table of the golden model vit_ln for 84 pixels. */
static void torch_agrees(void **state)
{
    float *from = read_npy("golden/vit_ln/px56/position_table.npy", 17 * 128);
    float *expected = read_npy("golden/vit_ln/px84/position_table.npy", 37 * 128);
    float *to = resize(from, 4, 4, 6, 6, 128);
    double want[37 * 128];

    (void)state;
    for (int i = 0; i < 37 * 128; i++) {
        want[i] = (double)expected[i];
    }
    /* The golden README's rule, 8 * max_abs_err = 8 * 5.9e-7 (fp64_errors.json). */
    test_compare("torch's table", to, want, 37 * 128, 8 * 5.9e-7);
    free(from);
    free(expected);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embed),
        cmocka_unit_test(tables_are_resized),
        cmocka_unit_test(torch_agrees),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
