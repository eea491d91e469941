/* test_image_decode.c - every golden picture to the bit, every malformed one refused. */
#include "tests/unit/image_golden.h"

#include <sys/resource.h>

static void check_golden(const char *path, const char *name, json_t *entry)
{
    json_t *size = json_object_get(entry, "size");
    ivl__image image = decode_file(path);

    assert_int_equal(image.width, json_integer_value(json_array_get(size, 0)));
    assert_int_equal(image.height, json_integer_value(json_array_get(size, 1)));
    assert_int_equal(image.source_width, image.width);
    assert_digest(name, image.rgb, 3 * (size_t)image.width * (size_t)image.height,
                  json_string_value(json_object_get(entry, "rgb_sha256")));
    ivl__image_free(&image);
}

static void golden_files_decode_to_the_bit(void **state)
{
    (void)state;
    assert_int_equal(for_each_golden(false, check_golden), 51);
}

static void photographs_decode_to_the_bit(void **state)
{
    (void)state;
    skip_without_photographs();
    assert_int_equal(for_each_golden(true, check_golden), 5);
}

static void check_size(const char *path, const char *name, json_t *entry)
{
    json_t *size = json_object_get(entry, "size");
    test_file file = read_test_file(path);
    ivl__decode_options options;
    ivl__image_header header = {0};
    ivl_error error = {0};

    (void)name;
    ivl__decode_options_init(&options);
    assert_ok(ivl__image_size(file.data, file.bytes, &options, &header, &error), error);
    assert_int_equal(header.width, json_integer_value(json_array_get(size, 0)));
    assert_int_equal(header.height, json_integer_value(json_array_get(size, 1)));
    assert_in_range(header.decode_bytes, 3 * (uint64_t)header.width * (uint64_t)header.height,
                    UINT64_C(1) << 24);
    assert_true(header.least_bytes <= file.bytes);
    ivl__free(file.data);
}

static void headers_tell_the_size(void **state)
{
    (void)state;
    for_each_golden(false, check_size);
}

/* The full array beside the digest, so that a failure shows where. */
static void cmyk_and_subsampled_arrays(void **state)
{
    static const char *const names[] = {"cmyk.jpg", "odd_420.jpg", "rgba.png"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        ivl__image image;
        test_file array;
        size_t offset, bytes;

        snprintf(path, sizeof path, "golden/resize/input/%s", names[i]);
        image = decode_file(path);
        bytes = 3 * (size_t)image.width * (size_t)image.height;
        snprintf(path, sizeof path, "golden/resize/arrays/%.*s_rgb.npy",
                 (int)strcspn(names[i], "."), names[i]);
        array = read_array(path, bytes, &offset);
        assert_memory_equal(image.rgb, array.data + offset, bytes);
        ivl__free(array.data);
        ivl__image_free(&image);
    }
}

/* file, part of the message (NULL: may also be accepted) */
static const struct {
    const char *file, *text;
} malformed[] = {
    {"img_truncated.jpg", "ends too early"},
    {"img_header_only.jpg", "ends too early"},
    {"img_giant.jpg", "65500 x 65500 pixels, over the limit"},
    {"img_zero_size.jpg", "JPEG: Empty JPEG image"},
    {"img_no_huffman_tables.jpg", NULL},
    {"img_text.jpg", "not a picture"},
    {"img_zero_bytes.png", "file is empty"},
    {"img_giant.png", "2147483647 x 2147483647 pixels, over the limit"},
    {"img_bomb.png", "30000 x 30000 pixels, over the limit"},
    {"img_zero_width.png", "PNG: "},
    {"img_short_data.png", "PNG: "},
    {"img_bad_crc.png", NULL},
    {"img_bad_zlib.png", "PNG: "},
    {"img_chunk_length_huge.png", "PNG: "},
    {"img_palette_missing.png", "Missing PLTE"},
    {"img_palette_index_out_of_range.png", NULL},
    {"img_bad_filter.png", "PNG: bad adaptive filter"},
    {"img_bomb.gif", "65535 x 65535 pixels, over the limit"},
    {"img_lzw_loop.gif", "GIF: "},
    {"img_frame_outside.gif", "lies outside the screen of 4 x 4"},
    {"img_negative_height.bmp", "BMP: a picture cannot be 2 wide and -2147483648 high"},
    {"img_bad_offset.bmp", "BMP: pixels begin at"},
    {"img_huge.ppm", "PNM: "},
};

#if defined(__SANITIZE_ADDRESS__)
#define DATA_LIMIT RLIM_INFINITY /* the sanitizer's own maps count */
#else
#define DATA_LIMIT (256 << 20)
#endif

/* A reader that believed the claims would need gigabytes; this much must do. */
static void limit_memory(rlim_t *before)
{
    struct rlimit limit;

    getrlimit(RLIMIT_DATA, &limit);
    *before = limit.rlim_cur;
    if (DATA_LIMIT < limit.rlim_cur) {
        limit.rlim_cur = DATA_LIMIT;
    }
    setrlimit(RLIMIT_DATA, &limit);
}

static void restore_memory(rlim_t before)
{
    struct rlimit limit;

    getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = before;
    setrlimit(RLIMIT_DATA, &limit);
}

static void malformed_files_are_refused(void **state)
{
    ivl__decode_options options;
    rlim_t before;

    (void)state;
    ivl__decode_options_init(&options);
    limit_memory(&before);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        char path[256];
        test_file file;
        ivl__image image = {0};
        ivl_error error = {0};
        ivl_status status;

        snprintf(path, sizeof path, "golden/malformed/%s", malformed[i].file);
        file = read_test_file(path);
        status = ivl__image_decode(file.data, file.bytes, &options, &image, &error);
        ivl__free(file.data);
        if (malformed[i].text &&
            (status != IVL_BAD_INPUT || !strstr(error.message, malformed[i].text))) {
            fail_msg("%s: %s: \"%s\" (wanted \"%s\")", path, ivl_status_name(status), error.message,
                     malformed[i].text);
        }
        if (status != IVL_OK) {
            assert_null(image.rgb);
            assert_int_equal(status, IVL_BAD_INPUT);
        }
        ivl__image_free(&image);
    }
    restore_memory(before);
}

/* Every golden file cut at many places: an error or, behind the picture data, the same picture. */
static void check_cuts(const char *path, const char *name, json_t *entry)
{
    test_file file = read_test_file(path);
    ivl__image whole = decode_file(path);
    ivl__decode_options options;
    size_t step = file.bytes / 40 + 1;

    (void)name;
    (void)entry;
    ivl__decode_options_init(&options);
    for (size_t cut = 0; cut < file.bytes; cut += step) {
        unsigned char *part = ivl__malloc(cut); /* its own block: ASan sees reads past it */
        ivl__image image = {0};
        ivl_error error = {0};

        assert_non_null(part);
        memcpy(part, file.data, cut);
        if (ivl__image_decode(part, cut, &options, &image, &error) == IVL_OK) {
            assert_int_equal(image.width, whole.width);
            assert_memory_equal(image.rgb, whole.rgb,
                                3 * (size_t)whole.width * (size_t)whole.height);
        } else {
            assert_true(error.message[0] != '\0');
        }
        ivl__image_free(&image);
        ivl__free(part);
    }
    ivl__image_free(&whole);
    ivl__free(file.data);
}

static void truncated_files_give_no_other_picture(void **state)
{
    (void)state;
    for_each_golden(false, check_cuts);
}

static ivl__image decode_with(const char *path, const ivl__decode_options *options)
{
    test_file file = read_test_file(path);
    ivl__image image = {0};
    ivl_error error = {0};

    assert_ok(ivl__image_decode(file.data, file.bytes, options, &image, &error), error);
    ivl__free(file.data);
    return image;
}

/* Orientation 6: the file's rows become columns, its first row the last column. */
static void exif_orientation_is_applied_when_asked(void **state)
{
    static const char path[] = "golden/resize/input/exif_orientation6.jpg";
    test_file file = read_test_file(path);
    ivl__decode_options options;
    ivl__image plain, turned;
    ivl__image_header header = {0};
    ivl_error error = {0};

    (void)state;
    ivl__decode_options_init(&options);
    plain = decode_with(path, &options);
    options.exif = true;
    turned = decode_with(path, &options);
    assert_int_equal(turned.width, plain.height);
    assert_int_equal(turned.height, plain.width);
    for (int32_t y = 0; y < plain.height; y++) {
        for (int32_t x = 0; x < plain.width; x++) {
            assert_memory_equal(plain.rgb + 3 * (y * plain.width + x),
                                turned.rgb + 3 * (x * turned.width + turned.width - 1 - y), 3);
        }
    }
    assert_ok(ivl__image_size(file.data, file.bytes, &options, &header, &error), error);
    assert_int_equal(header.width, turned.width);
    assert_int_equal(header.height, turned.height);
    ivl__free(file.data);
    ivl__image_free(&plain);
    ivl__image_free(&turned);
}

/* All eight orientations, by patching the tag of the golden file: a mark in the corner moves as
 * the standard's table of (row 0, column 0) says. */
static void all_orientations(void **state)
{
    /* where the top left pixel of the file goes: right?, bottom? */
    static const struct {
        bool right, bottom;
    } corner[9] = {{0}, {0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}, {1, 0}, {1, 1}, {0, 1}};
    test_file file = read_test_file("golden/resize/input/exif_orientation6.jpg");
    ivl__decode_options options;
    ivl__image plain;
    size_t tag = 0;

    (void)state;
    ivl__decode_options_init(&options);
    plain = decode_with("golden/resize/input/exif_orientation6.jpg", &options);
    options.exif = true;
    for (size_t i = 0; i + 12 < file.bytes && !tag; i++) {
        if (memcmp(file.data + i, "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06", 10) == 0) {
            tag = i + 9;
        } else if (memcmp(file.data + i, "\x12\x01\x03\x00\x01\x00\x00\x00\x06", 9) == 0) {
            tag = i + 8;
        }
    }
    assert_true(tag > 0);
    for (int orientation = 1; orientation <= 8; orientation++) {
        ivl__image image = {0};
        ivl_error error = {0};
        size_t x, y;

        file.data[tag] = (unsigned char)orientation;
        assert_ok(ivl__image_decode(file.data, file.bytes, &options, &image, &error), error);
        x = corner[orientation].right ? (size_t)image.width - 1 : 0;
        y = corner[orientation].bottom ? (size_t)image.height - 1 : 0;
        assert_memory_equal(image.rgb + 3 * (y * (size_t)image.width + x), plain.rgb, 3);
        assert_int_equal(image.width, orientation > 4 ? plain.height : plain.width);
        ivl__image_free(&image);
    }
    ivl__free(file.data);
    ivl__image_free(&plain);
}

/* --gray16 scale takes the high byte, so it can differ from clipping only downwards. */
static void gray16_scales_when_asked(void **state)
{
    ivl__decode_options options;
    ivl__image clipped, scaled;
    int below = 0;

    (void)state;
    ivl__decode_options_init(&options);
    clipped = decode_with("golden/resize/input/gray_16bit.png", &options);
    options.gray16_scale = true;
    scaled = decode_with("golden/resize/input/gray_16bit.png", &options);
    for (int32_t i = 0; i < 3 * scaled.width * scaled.height; i++) {
        assert_true(scaled.rgb[i] <= clipped.rgb[i]);
        below += scaled.rgb[i] < clipped.rgb[i];
        assert_true(scaled.rgb[i] == 0 || clipped.rgb[i] == 255);
    }
    assert_true(below > 0);
    ivl__image_free(&clipped);
    ivl__image_free(&scaled);
}

static void fast_decode_keeps_twice_the_side(void **state)
{
    static const struct {
        int32_t side, width, height;
    } cases[] = {{0, 300, 211}, {106, 300, 211}, {53, 150, 106}, {26, 75, 53}, {5, 38, 27}};
    ivl__decode_options options;

    (void)state;
    ivl__decode_options_init(&options);
    options.fast = true;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__image image;

        options.fast_side = cases[i].side;
        image = decode_with("golden/resize/input/large_300x211.jpg", &options);
        assert_int_equal(image.width, cases[i].width);
        assert_int_equal(image.height, cases[i].height);
        assert_int_equal(image.source_width, 300);
        assert_int_equal(image.source_height, 211);
        ivl__image_free(&image);
    }
}

static ivl_status decode_text(const char *text, size_t bytes, ivl__image *image, ivl_error *error)
{
    ivl__decode_options options;

    ivl__decode_options_init(&options);
    return ivl__image_decode((const unsigned char *)text, bytes, &options, image, error);
}

/* Values from the format's own rules: 1 is black, value / maxval x 255 rounded half to even. */
static void pnm_of_every_kind(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        unsigned char gray[4];
    } cases[] = {
        {"P1\n# c\n2 2\n1 0\n01", 17, {0, 255, 255, 0}},
        {"P2 2 2 3 0 1\n2 3", 16, {0, 85, 170, 255}},
        {"P4 2 2 \x80\x40", 9, {0, 255, 255, 0}},
        {"P5 2 2 2 \0\1\2\1", 13, {0, 128, 255, 128}},
        {"P5 2 2 65535 \0\7\0\377\1\0\377\377", 21, {7, 255, 255, 255}},
        {"P3 2 2 1 1 1 1 0 0 0 0 0 0 1 1 1", 32, {255, 0, 0, 255}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__image image = {0};
        ivl_error error = {0};

        assert_ok(decode_text(cases[i].text, cases[i].bytes, &image, &error), error);
        for (int p = 0; p < 12; p++) {
            assert_int_equal(image.rgb[p], cases[i].gray[p / 3]);
        }
        ivl__image_free(&image);
        /* One byte less is an error, not a dark pixel. */
        assert_int_equal(decode_text(cases[i].text, cases[i].bytes - 1, &image, &error),
                         IVL_BAD_INPUT);
    }
}

/* 2 x 2, 24 bits, rows from the top, blue first; plain and run-length coded. */
static void tga_plain_and_runs(void **state)
{
    static const char plain[] = "\0\0\2\0\0\0\0\0\0\0\0\0\2\0\2\0\30\40"
                                "\1\2\3\4\5\6\7\10\11\12\13\14";
    static const char runs[] = "\0\0\12\0\0\0\0\0\0\0\0\0\2\0\2\0\30\40"
                               "\203\1\2\3";
    static const unsigned char expected[12] = {3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10};
    ivl__image image = {0};
    ivl_error error = {0};

    (void)state;
    assert_ok(decode_text(plain, sizeof plain - 1, &image, &error), error);
    assert_memory_equal(image.rgb, expected, 12);
    ivl__image_free(&image);
    assert_fails(decode_text(plain, sizeof plain - 2, &image, &error), IVL_BAD_INPUT, error,
                 "truncated");
    assert_ok(decode_text(runs, sizeof runs - 1, &image, &error), error);
    assert_memory_equal(image.rgb + 9, expected, 3);
    ivl__image_free(&image);
    assert_fails(decode_text(runs, sizeof runs - 2, &image, &error), IVL_BAD_INPUT, error,
                 "truncated");
}

/* 3 x 2, by hand: row 0 of the file is the bottom one. Header sizes, depths, masks, runs. */
static void bmp_of_every_kind(void **state)
{
#define INFO(bits, compression, colors)                                                \
    "BM\0\0\0\0\0\0\0\0" OFFSET "\x28\0\0\0\3\0\0\0\2\0\0\0\1\0" bits "\0" compression \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" colors "\0\0\0\0\0\0\0"
#define OFFSET  "\0\0\0\0"
#define PALETTE "\0\0\0\0\1\2\3\0\7\10\11\0"
    static const struct {
        const char *text;
        size_t bytes, least;   /* shorter files are refused */
        unsigned char rgb[18]; /* top row, bottom row */
    } cases[] = {
        {INFO("\x08", "\0", "\3") PALETTE "\1\2\0\0\0\1\2\0",
         74,
         73,
         {0, 0, 0, 3, 2, 1, 9, 8, 7, 3, 2, 1, 9, 8, 7, 0, 0, 0}},
        {INFO("\x04", "\0", "\3") PALETTE "\x12\0\0\0\x01\x20\0\0",
         74,
         72,
         {0, 0, 0, 3, 2, 1, 9, 8, 7, 3, 2, 1, 9, 8, 7, 0, 0, 0}},
        /* two runs a row; then three literals, padded */
        {INFO("\x08", "\1", "\3") PALETTE "\2\1\1\2\0\0\0\3\2\1\0\0\0\1",
         80,
         77,
         {9, 8, 7, 3, 2, 1, 0, 0, 0, 3, 2, 1, 3, 2, 1, 9, 8, 7}},
        /* a move leaves index 0 behind */
        {INFO("\x08", "\1", "\3") PALETTE "\0\2\1\1\2\2\0\1",
         74,
         72,
         {0, 0, 0, 9, 8, 7, 9, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
        {INFO("\x04", "\2", "\3") PALETTE "\3\x12\0\0\0\3\x21\0\0\1",
         76,
         73,
         {9, 8, 7, 3, 2, 1, 0, 0, 0, 3, 2, 1, 9, 8, 7, 3, 2, 1}},
        /* 5 bits: 31 -> 255, 1 -> 8; 6 bits of a mask: 1 -> 4 */
        {INFO("\x10", "\0", "\0") "\x1f\0\1\0\xff\x7f\0\0\0\0\0\0\0\x7c\0\0",
         70,
         68,
         {0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 8, 255, 255, 255}},
        {INFO("\x10", "\3", "\0") "\0\xf8\0\0\xe0\7\0\0\x1f\0\0\0"
                                  "\x20\0\0\0\0\0\0\0\0\0\0\xf8\0\0\0\0",
         82,
         80,
         {0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__image image = {0};
        ivl_error error = {0};
        char text[128];

        memcpy(text, cases[i].text, cases[i].bytes);
        if (text[30] == 3) {
            text[10] = 66; /* the masks stand between header and pixels */
        }
        assert_ok(decode_text(text, cases[i].bytes, &image, &error), error);
        assert_int_equal(image.width, 3);
        assert_int_equal(image.height, 2);
        assert_memory_equal(image.rgb, cases[i].rgb, 18);
        ivl__image_free(&image);
        assert_int_equal(decode_text(text, cases[i].least - 1, &image, &error), IVL_BAD_INPUT);
        text[22] = -2; /* height -2: from the top */
        memset(text + 23, -1, 3);
        assert_ok(decode_text(text, cases[i].bytes, &image, &error), error);
        assert_memory_equal(image.rgb, cases[i].rgb + 9, 9);
        ivl__image_free(&image);
    }
}

/* The seeds of the fuzzer that Pillow 12.2.0 reads; digests of its convert("RGB"). */
static void seeds_decode_as_in_pillow(void **state)
{
    static const struct {
        const char *file, *digest;
    } cases[] = {
        {"alpha_exif.webp", "cc4a52e75fa9065faa18bd0f771d38362a532d2f6e3a5d5a999126a580a22c11"},
        {"animated.webp", "f5ff9f8506a74641e7fff21fd3191d4d710ba6ca5291cb70a5ca960b482f03ba"},
        {"beyond.gif", "ba75c0c769ba656bae70191506a87251e4be584a6b46d3f0c69b955ffedb2de3"},
        {"binary.pbm", "26ee931a8470f5b8146c13dba23d23718a2ee343fcfd76e9f556aa5d1cb6141c"},
        {"bitmap.pbm", "26ee931a8470f5b8146c13dba23d23718a2ee343fcfd76e9f556aa5d1cb6141c"},
        {"cmyk_progressive.jpg",
         "dfc33227b662814eb7044e7bde9865fc83ba3f34e66b2016b499b4d2d95755cb"},
        {"exif.png", "7da691c306a0501da0e9d841e47dab5f4a9f459c3896dc0cfe22559df257aaaa"},
        {"masks16.bmp", "4da1670cfb73692531902c190db9e9ea2a2a59e34bc97bac37c13b6bc8351a93"},
        {"os2.bmp", "072c8ad1f593d776177717f6042bac0250fe309b4f087923bfad6bb53eb44239"},
        {"part.gif", "e17748348c37834e3498b4bdefde51469751ed7ec914d7f216669498bcba6b60"},
        {"plain.pgm", "7dbeaadd1a175ba5ebb938bdef86cd54ea17dd54dbcd443f0187b9e82085524e"},
        {"plain.ppm", "530f8008d3f091ad3fba191ade96e8788ddc69c566d10032d5bd1b8aacbfbf3e"},
        {"tga_gray.tga", "ad806eef8c23c74309b11a9dc95a255871ba45a856f9f63d7156f513e93b4935"},
        {"tga_gray_runs.tga", "ad806eef8c23c74309b11a9dc95a255871ba45a856f9f63d7156f513e93b4935"},
        {"tga_palette.tga", "3bbededf37e14e6bc2dffcadb9c35fb552c40f4b76e4e7b39f041049e8b09256"},
        {"tga_palette_runs.tga",
         "3bbededf37e14e6bc2dffcadb9c35fb552c40f4b76e4e7b39f041049e8b09256"},
        {"tga_rgb.tga", "7da691c306a0501da0e9d841e47dab5f4a9f459c3896dc0cfe22559df257aaaa"},
        {"tga_rgb_runs.tga", "7da691c306a0501da0e9d841e47dab5f4a9f459c3896dc0cfe22559df257aaaa"},
        {"tga_rgba.tga", "e68b41970126ae3e905def6f9fba3bc25965edcca79edc64979eab5a9069d055"},
        {"tga_rgba_runs.tga", "e68b41970126ae3e905def6f9fba3bc25965edcca79edc64979eab5a9069d055"},
        {"wide.ppm", "fe826fe652cf168088e1ad97f896e61e80cde1e06c7f1d68fcaa3476127472c8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[256];
        ivl__image image;

        snprintf(path, sizeof path, "fuzz/seeds/image/%s", cases[i].file);
        image = decode_file(path);
        assert_digest(path, image.rgb, 3 * (size_t)image.width * (size_t)image.height,
                      cases[i].digest);
        ivl__image_free(&image);
    }
}

/* Orientation 3, half a turn, in the blocks of PNG and WebP. */
static void exif_of_png_and_webp(void **state)
{
    static const char *const files[] = {"fuzz/seeds/image/exif.png",
                                        "fuzz/seeds/image/alpha_exif.webp"};
    ivl__decode_options options;

    (void)state;
    ivl__decode_options_init(&options);
    options.exif = true;
    for (int f = 0; f < 2; f++) {
        ivl__image plain = decode_file(files[f]), turned = decode_with(files[f], &options);
        int last = plain.width * plain.height - 1;

        for (int i = 0; i <= last; i++) {
            assert_memory_equal(turned.rgb + 3 * i, plain.rgb + 3 * (last - i), 3);
        }
        ivl__image_free(&plain);
        ivl__image_free(&turned);
    }
}

static void the_limit_is_an_option(void **state)
{
    test_file file = read_test_file("golden/resize/input/plain.ppm"); /* 19 x 23 */
    ivl__decode_options options;
    ivl__image image = {0};
    ivl_error error = {0};

    (void)state;
    ivl__decode_options_init(&options);
    assert_int_equal(options.max_pixels, 178956970);
    options.max_pixels = 19 * 23 - 1;
    assert_fails(ivl__image_decode(file.data, file.bytes, &options, &image, &error), IVL_BAD_INPUT,
                 error, "--max-pixels");
    options.max_pixels = 19 * 23;
    assert_ok(ivl__image_decode(file.data, file.bytes, &options, &image, &error), error);
    ivl__image_free(&image);
    ivl__free(file.data);
}

static void check_memory(const char *path, const char *name, json_t *entry)
{
    test_file file = read_test_file(path);
    const ivl__preprocess_options preprocess = {28, IVL__RESIZE_CROP};
    ivl__decode_options options;
    ivl_status status = IVL_OUT_OF_MEMORY;
    int64_t n;

    (void)name;
    (void)entry;
    ivl__decode_options_init(&options);
    options.exif = true;
    for (n = 0; n < 1000 && status != IVL_OK; n++) {
        ivl__image image = {0};
        ivl__resize_scratch scratch = {0};
        unsigned char out[28 * 28 * 3];
        ivl_error error = {0};

        ivl__memory_fail(n, true);
        status = ivl__image_decode(file.data, file.bytes, &options, &image, &error);
        if (status == IVL_OK) {
            status = ivl__preprocess_u8(&image, &preprocess, out, &scratch, &error);
        }
        ivl__memory_fail(-1, false);
        if (status != IVL_OK && status != IVL_OUT_OF_MEMORY) {
            fail_msg("%s, allocation %d: %s", path, (int)n, error.message);
        }
        ivl__image_free(&image);
        ivl__resize_scratch_free(&scratch);
    }
    assert_in_range(n, 3, 999); /* the picture and the scratch at least */
    ivl__free(file.data);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for_each_golden(false, check_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files_decode_to_the_bit),
        cmocka_unit_test(photographs_decode_to_the_bit),
        cmocka_unit_test(headers_tell_the_size),
        cmocka_unit_test(cmyk_and_subsampled_arrays),
        cmocka_unit_test(malformed_files_are_refused),
        cmocka_unit_test(truncated_files_give_no_other_picture),
        cmocka_unit_test(exif_orientation_is_applied_when_asked),
        cmocka_unit_test(all_orientations),
        cmocka_unit_test(gray16_scales_when_asked),
        cmocka_unit_test(fast_decode_keeps_twice_the_side),
        cmocka_unit_test(pnm_of_every_kind),
        cmocka_unit_test(tga_plain_and_runs),
        cmocka_unit_test(bmp_of_every_kind),
        cmocka_unit_test(seeds_decode_as_in_pillow),
        cmocka_unit_test(exif_of_png_and_webp),
        cmocka_unit_test(the_limit_is_an_option),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
