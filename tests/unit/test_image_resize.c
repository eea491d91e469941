/* test_image_resize.c - the bicubic against Pillow's recorded results, boxes against the whole. */
#include "tests/unit/image_golden.h"

static void resize_square(const ivl__image *image, const char *name, json_t *entry, const char *key,
                          int32_t size)
{
    size_t bytes = 3 * (size_t)size * (size_t)size;
    unsigned char *out = ivl__malloc(bytes);
    ivl__resize_scratch scratch = {0};
    ivl_error error = {0};

    assert_non_null(out);
    assert_ok(ivl__image_resize_bicubic(image->rgb, image->width, image->height, size, size, NULL,
                                        out, 3 * (size_t)size, &scratch, &error),
              error);
    assert_digest(name, out, bytes,
                  json_string_value(json_object_get(json_object_get(entry, key), "sha256")));
    ivl__resize_scratch_free(&scratch);
    ivl__free(out);
}

static void check_squares(const char *path, const char *name, json_t *entry)
{
    ivl__image image = decode_file(path);

    resize_square(&image, name, entry, "square84", 84);
    resize_square(&image, name, entry, "square448", 448);
    ivl__image_free(&image);
}

static void golden_squares(void **state)
{
    (void)state;
    assert_int_equal(for_each_golden(false, check_squares), 51);
}

static void photograph_squares(void **state)
{
    (void)state;
    skip_without_photographs();
    assert_int_equal(for_each_golden(true, check_squares), 5);
}

/* A picture without any pattern the weights could hide behind. */
static void fill(unsigned char *rgb, size_t bytes)
{
    uint32_t seed = 12345;

    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        rgb[i] = (unsigned char)(seed >> 24);
    }
}

/* Pillow's algorithm in its plainest form: both passes over everything, int64 sums. */
static void resize_axis(const unsigned char *in, size_t in_step, int32_t n, unsigned char *out,
                        size_t out_step, int32_t m)
{
    double scale = (double)n / m, stretch = scale < 1 ? 1 : scale;

    for (int32_t i = 0; i < m; i++) {
        double center = (i + 0.5) * scale, sum = 0, weight[4096];
        int32_t first = (int32_t)(center - 2 * stretch + 0.5);
        int32_t end = (int32_t)(center + 2 * stretch + 0.5);
        int64_t total = 1 << 21;

        first = first < 0 ? 0 : first;
        end = end > n ? n : end;
        assert_true(end - first <= 4096);
        for (int32_t k = first; k < end; k++) {
            double x = (k - center + 0.5) * (1.0 / stretch);

            x = x < 0 ? -x : x;
            weight[k - first] = x < 1   ? (1.5 * x - 2.5) * x * x + 1
                                : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5
                                        : 0;
            sum += weight[k - first];
        }
        for (int32_t k = first; k < end; k++) {
            double w = weight[k - first] / sum * 4194304;

            total += (int64_t)(w < 0 ? w - 0.5 : w + 0.5) * in[(size_t)k * in_step];
        }
        total = total < 0 ? 0 : total >> 22;
        out[(size_t)i * out_step] = (unsigned char)(total > 255 ? 255 : total);
    }
}

static unsigned char *resize_reference(const unsigned char *rgb, int32_t w, int32_t h, int32_t W,
                                       int32_t H)
{
    unsigned char *middle = ivl__malloc(3 * (size_t)W * (size_t)h);
    unsigned char *out = ivl__malloc(3 * (size_t)W * (size_t)H);

    assert_true(middle && out);
    for (int32_t y = 0; y < h; y++) {
        for (size_t c = 0; c < 3; c++) {
            resize_axis(rgb + 3 * (size_t)y * (size_t)w + c, 3, w,
                        middle + 3 * (size_t)y * (size_t)W + c, 3, W);
        }
    }
    for (size_t s = 0; s < 3 * (size_t)W; s++) {
        resize_axis(middle + s, 3 * (size_t)W, h, out + s, 3 * (size_t)W, H);
    }
    ivl__free(middle);
    return out;
}

/* Sizes around strips, chunks and unchanged axes; each with the whole, a box, and a stride. */
static void odd_sizes_and_boxes(void **state)
{
    static const int32_t sizes[][4] = {
        {1, 1, 1, 1},     {1, 1, 33, 7},    {7, 9, 8, 8},       {31, 33, 31, 11},
        {31, 33, 11, 33}, {64, 64, 64, 64}, {97, 61, 13, 130},  {5, 900, 10, 9},
        {900, 5, 9, 10},  {3, 17, 200, 2},  {255, 129, 56, 56}, {40, 8, 41, 9},
    };
    ivl__resize_scratch scratch = {0};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int32_t w = sizes[i][0], h = sizes[i][1], W = sizes[i][2], H = sizes[i][3];
        unsigned char *rgb = ivl__malloc(3 * (size_t)w * (size_t)h), *expected, *out;
        size_t stride = 3 * (size_t)W + 5;
        ivl_error error = {0};

        assert_non_null(rgb);
        fill(rgb, 3 * (size_t)w * (size_t)h);
        expected = resize_reference(rgb, w, h, W, H);
        out = ivl__malloc(stride * (size_t)H);
        for (int part = 0; part < 3; part++) {
            ivl__box box = {part ? W / 3 : 0, part ? H / 2 : 0, W, H};

            box.width = part == 2 ? 1 : W - (int32_t)box.left;
            box.height = part == 2 ? 1 : H - (int32_t)box.top;
            memset(out, 0xA5, stride * (size_t)H);
            assert_ok(ivl__image_resize_bicubic(rgb, w, h, W, H, part ? &box : NULL, out, stride,
                                                &scratch, &error),
                      error);
            for (int32_t y = 0; y < box.height; y++) {
                assert_memory_equal(out + (size_t)y * stride,
                                    expected +
                                        3 * ((size_t)(y + box.top) * (size_t)W + (size_t)box.left),
                                    3 * (size_t)box.width);
                assert_int_equal(out[(size_t)y * stride + 3 * (size_t)box.width], 0xA5);
            }
        }
        ivl__free(out);
        ivl__free(expected);
        ivl__free(rgb);
    }
    ivl__resize_scratch_free(&scratch);
}

/* The longest strip: only the middle of 224 x 2^20 columns is computed, in bounded memory. */
static void extreme_shapes(void **state)
{
    const int32_t side = IVL__RESIZE_MAX_SIDE;
    unsigned char *rgb = ivl__malloc(3 * (size_t)side), out[56 * 56 * 3];
    ivl__resize_scratch scratch = {0};
    ivl__box box = {(int64_t)56 * side / 2, 0, 56, 56};
    ivl_error error = {0};

    (void)state;
    assert_non_null(rgb);
    memset(rgb, 77, 3 * (size_t)side);
    assert_ok(ivl__image_resize_bicubic(rgb, side, 1, (int64_t)56 * side, 56, &box, out, 168,
                                        &scratch, &error),
              error);
    assert_int_equal(out[0], 77);
    assert_ok(ivl__image_resize_bicubic(rgb, side, 1, 56, 56, NULL, out, 168, &scratch, &error),
              error);
    assert_int_equal(out[56 * 56 * 3 - 1], 77);
    assert_ok(ivl__image_resize_bicubic(rgb, 1, side, 56, 56, NULL, out, 168, &scratch, &error),
              error);
    assert_int_equal(out[56 * 56 * 3 - 1], 77);
    assert_true(scratch.bytes < 64 << 20);
    assert_fails(
        ivl__image_resize_bicubic(rgb, side + 1, 1, 56, 56, NULL, out, 168, &scratch, &error),
        IVL_BAD_INPUT, error, "1048577 x 1");
    box.left = (int64_t)56 * side - 55;
    assert_fails(ivl__image_resize_bicubic(rgb, side, 1, (int64_t)56 * side, 56, &box, out, 168,
                                           &scratch, &error),
                 IVL_INVALID_ARGUMENT, error, "does not fit");
    ivl__resize_scratch_free(&scratch);
    ivl__free(rgb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_squares),
        cmocka_unit_test(photograph_squares),
        cmocka_unit_test(odd_sizes_and_boxes),
        cmocka_unit_test(extreme_shapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
