/* test_preprocess.c - the protocols and the normalisation against the published pipeline. */
#include "tests/unit/image_golden.h"

static void check_short(const ivl__image *image, const char *name, json_t *entry, const char *key,
                        int32_t size)
{
    const ivl__preprocess_options options = {size, IVL__RESIZE_CROP};
    json_t *expected = json_object_get(entry, key);
    json_t *resized = json_object_get(expected, "resized");
    json_t *corner = json_object_get(expected, "crop_left_top");
    size_t bytes = 3 * (size_t)size * (size_t)size;
    unsigned char *out = ivl__malloc(bytes);
    ivl__resize_scratch scratch = {0};
    ivl__crop_plan plan;
    ivl_error error = {0};

    assert_non_null(out);
    ivl__crop_plan_make(image->width, image->height, &options, &plan);
    assert_int_equal(plan.resized_width, json_integer_value(json_array_get(resized, 0)));
    assert_int_equal(plan.resized_height, json_integer_value(json_array_get(resized, 1)));
    assert_int_equal(plan.box.left, json_integer_value(json_array_get(corner, 0)));
    assert_int_equal(plan.box.top, json_integer_value(json_array_get(corner, 1)));
    assert_ok(ivl__preprocess_u8(image, &options, out, &scratch, &error), error);
    assert_digest(name, out, bytes, json_string_value(json_object_get(expected, "sha256")));
    ivl__resize_scratch_free(&scratch);
    ivl__free(out);
}

static void check_crops(const char *path, const char *name, json_t *entry)
{
    ivl__image image = decode_file(path);

    check_short(&image, name, entry, "short56", 56);
    check_short(&image, name, entry, "short224", 224);
    ivl__image_free(&image);
}

static void golden_crops(void **state)
{
    (void)state;
    assert_int_equal(for_each_golden(false, check_crops), 51);
}

static void photograph_crops(void **state)
{
    (void)state;
    skip_without_photographs();
    assert_int_equal(for_each_golden(true, check_crops), 5);
}

/* The photographs that come with the project: pixels and crops of 224 by Pillow 9.4.0. */
static void sample_photographs(void **state)
{
    static const struct {
        const char *file, *pixels, *crop;
    } cases[] = {
        {"astronaut.jpg", "d37dddd42572eda274e4d1c52cbee1b6a2abb061121242410d98869236e9babb",
         "bbe40603c9e2c967bab8a62a2747a438f15bba22de133afbb5ecfc9008f8d404"},
        {"camera.jpg", "dd945b5c55d2b3a97726fd483d56d5217149485c815a6222bbae6f831ecafa76",
         "0bb51f1aaadc48b9c75b6fc7b8fa91e1470982e931169a9d17bb9a750316f7a7"},
        {"chelsea.jpg", "a76287ceacd550f2ee0fb00e872fc9a9d8ea310170a965c04ea624072c289876",
         "94e636a20bcf3a6c5f1e2f573939278063c83f5eaca16cd6ca8ecea68f3870ce"},
        {"coffee.jpg", "3714114a5fce49edfe0699eb20afca8218543035dbddba7e95b313a3e65ee5a0",
         "58e8a851f6b6acd9b1db9e33aaac3388687d206b1e22700131741c7e9d92da3b"},
        {"retina.jpg", "047aa4fa8e42802eca64c2ff9592a3304111955608ec6cdd4774b63a92eec39b",
         "dc434806c9c03876f74b9b60dd3b7d615d27f6e7c0ec39d0b5cc74e98a711c1e"},
        {"rocket.jpg", "3d4435cc745752b7f9724df88c6e18817de3ce7e3d2d71c55f85f7831e68f197",
         "b89781811d257cd999ea6940132fc8a7d733543f8d9be4674fcaa20647030925"},
    };
    const ivl__preprocess_options options = {224, IVL__RESIZE_CROP};
    ivl__resize_scratch scratch = {0};
    unsigned char *out = ivl__malloc(224 * 224 * 3);

    (void)state;
    assert_non_null(out);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        ivl__image image;
        ivl_error error = {0};

        snprintf(path, sizeof path, "../docs/samples/%s", cases[i].file);
        image = decode_file(path);
        assert_digest(path, image.rgb, 3 * (size_t)image.width * (size_t)image.height,
                      cases[i].pixels);
        assert_ok(ivl__preprocess_u8(&image, &options, out, &scratch, &error), error);
        assert_digest(path, out, 224 * 224 * 3, cases[i].crop);
        ivl__image_free(&image);
    }
    ivl__resize_scratch_free(&scratch);
    ivl__free(out);
}

/* The recorded arrays themselves, and the fp32 values of two of them. */
static void golden_arrays(void **state)
{
    static const struct {
        const char *file, *array;
        int32_t size;
        ivl__resize resize;
        bool values;
    } cases[] = {
        {"c1_420.jpg", "c1_420_short56", 56, IVL__RESIZE_CROP, true},
        {"gradient.png", "gradient_short56", 56, IVL__RESIZE_CROP, true},
        {"checker.png", "checker_short56", 56, IVL__RESIZE_CROP, false},
        {"crop_115x112.png", "crop_115x112_short56", 56, IVL__RESIZE_CROP, false},
        {"three_by_two.png", "three_by_two_short56", 56, IVL__RESIZE_CROP, false},
        {"three_by_two.png", "three_by_two_square84", 84, IVL__RESIZE_SQUASH, false},
        {"c1_420.jpg", "c1_420_square84", 84, IVL__RESIZE_SQUASH, false},
        {"stripes_1x100.png", "stripes_1x100_square84", 84, IVL__RESIZE_SQUASH, false},
    };
    ivl__resize_scratch scratch = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ivl__preprocess_options options = {cases[i].size, cases[i].resize};
        size_t bytes = 3 * (size_t)cases[i].size * (size_t)cases[i].size, offset;
        unsigned char *out = ivl__malloc(bytes);
        char path[256];
        ivl__image image;
        test_file array;
        ivl_error error = {0};

        assert_non_null(out);
        snprintf(path, sizeof path, "golden/resize/input/%s", cases[i].file);
        image = decode_file(path);
        assert_ok(ivl__preprocess_u8(&image, &options, out, &scratch, &error), error);
        snprintf(path, sizeof path, "golden/resize/arrays/%s.npy", cases[i].array);
        array = read_array(path, bytes, &offset);
        assert_memory_equal(out, array.data + offset, bytes);
        ivl__free(array.data);
        if (cases[i].values) {
            float *values = ivl__malloc(bytes * sizeof *values);

            assert_non_null(values);
            ivl__normalize_chw(out, cases[i].size, cases[i].size, ivl__imagenet_mean,
                               ivl__imagenet_std, values);
            snprintf(path, sizeof path, "golden/resize/arrays/%s_pixel_values.npy", cases[i].array);
            array = read_array(path, bytes * sizeof *values, &offset);
            assert_memory_equal(values, array.data + offset, bytes * sizeof *values);
            ivl__free(array.data);
            ivl__free(values);
        }
        ivl__image_free(&image);
        ivl__free(out);
    }
    ivl__resize_scratch_free(&scratch);
}

/* int(round(spare / 2.0)) with halves to even against floor(spare / 2). */
static void centre_offsets(void **state)
{
    static const int crop[] = {0, 0, 1, 2, 2, 2, 3, 4, 4}, floors[] = {0, 0, 1, 1, 2, 2, 3, 3, 4};

    (void)state;
    for (int spare = 0; spare < 9; spare++) {
        ivl__preprocess_options options = {100, IVL__RESIZE_CROP};
        ivl__crop_plan plan;

        ivl__crop_plan_make(100 + spare, 100, &options, &plan);
        assert_int_equal(plan.box.left, crop[spare]);
        assert_int_equal(plan.box.top, 0);
        options.resize = IVL__RESIZE_CROP_FLOOR;
        ivl__crop_plan_make(100, 100 + spare, &options, &plan);
        assert_int_equal(plan.box.top, floors[spare]);
        assert_int_equal(plan.box.left, 0);
    }
}

/* The crop is the middle of the whole resized picture. */
static void crop_floor_is_one_pixel_off(void **state)
{
    const ivl__preprocess_options crop = {56, IVL__RESIZE_CROP};
    const ivl__preprocess_options floors = {56, IVL__RESIZE_CROP_FLOOR};
    ivl__image image = decode_file("golden/resize/input/crop_59x58.png");
    unsigned char a[56 * 56 * 3], b[56 * 56 * 3];
    unsigned char *source = image.rgb;
    ivl__resize_scratch scratch = {0};
    ivl_error error = {0};

    (void)state;
    /* 59 x 56 pixels of it: the short side is right already, 3 columns are spare. */
    image.height = 56;
    assert_ok(ivl__preprocess_u8(&image, &crop, a, &scratch, &error), error);
    assert_ok(ivl__preprocess_u8(&image, &floors, b, &scratch, &error), error);
    for (size_t y = 0; y < 56; y++) {
        assert_memory_equal(a + y * 168, source + (y * 59 + 2) * 3, 168);
        assert_memory_equal(b + y * 168, source + (y * 59 + 1) * 3, 168);
    }
    ivl__image_free(&image);
    ivl__resize_scratch_free(&scratch);
}

static void names_and_limits(void **state)
{
    ivl__preprocess_options options = {0, IVL__RESIZE_SQUASH};
    unsigned char rgb[3] = {0};
    ivl__image image = {1, 1, 1, 1, rgb};
    ivl__resize_scratch scratch = {0};
    ivl__resize resize = IVL__RESIZE_SQUASH;
    ivl_error error = {0};

    (void)state;
    assert_true(ivl__resize_parse("crop-floor", &resize));
    assert_int_equal(resize, IVL__RESIZE_CROP_FLOOR);
    assert_string_equal(ivl__resize_name(resize), "crop-floor");
    assert_false(ivl__resize_parse("pad", &resize));
    assert_int_equal(resize, IVL__RESIZE_CROP_FLOOR);
    assert_fails(ivl__preprocess_u8(&image, &options, rgb, &scratch, &error), IVL_INVALID_ARGUMENT,
                 error, "size 0");
    options.size = IVL__PREPROCESS_MAX_SIZE + 1;
    assert_fails(ivl__preprocess_u8(&image, &options, rgb, &scratch, &error), IVL_INVALID_ARGUMENT,
                 error, "size 8193");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_crops),     cmocka_unit_test(photograph_crops),
        cmocka_unit_test(golden_arrays),    cmocka_unit_test(sample_photographs),
        cmocka_unit_test(centre_offsets),   cmocka_unit_test(crop_floor_is_one_pixel_off),
        cmocka_unit_test(names_and_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
