/* image_golden.h - what the tests of pictures share: files, digests, arrays, the expected values.
 *
 * Pictures of the golden data named "data/..." lie in the folder IVL_TEST_DATA points to.
 */
#ifndef IVL_TESTS_IMAGE_GOLDEN_H
#define IVL_TESTS_IMAGE_GOLDEN_H

#include "loader/preprocess.h"
#include "runtime/hash.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "tests/test.h"

#include <jansson.h>

typedef struct test_file {
    unsigned char *data;
    size_t bytes;
} test_file;

static inline test_file read_test_file(const char *path)
{
    test_file file = {0};
    ivl_error error = {0};

    assert_ok(ivl__file_read(path, 1 << 26, &file.data, &file.bytes, &error), error);
    return file;
}

static inline void assert_digest(const char *what, const void *data, size_t bytes,
                                 const char *expected)
{
    ivl__sha256 hash;
    char hex[65];

    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, data, bytes);
    ivl__sha256_hex(&hash, hex);
    if (strcmp(hex, expected) != 0) {
        fail_msg("%s: sha256 %s, expected %s", what, hex, expected);
    }
}

/* The payload of a .npy file, which must have the given size. */
static inline test_file read_array(const char *path, size_t payload, size_t *offset)
{
    test_file file = read_test_file(path);

    *offset = 10 + (size_t)(file.data[8] | file.data[9] << 8);
    assert_int_equal(file.bytes - *offset, payload);
    return file;
}

static inline json_t *load_expected(void)
{
    json_t *root = json_load_file("golden/resize/expected.json", 0, NULL);

    assert_non_null(root);
    return root;
}

/* Calls check(path, name, entry) for every picture of the kind wanted; their number. */
static inline int for_each_golden(bool photographs,
                                  void (*check)(const char *, const char *, json_t *))
{
    json_t *root = load_expected(), *entry;
    const char *name, *folder = getenv("IVL_TEST_DATA");
    int count = 0;

    json_object_foreach(json_object_get(root, "files"), name, entry)
    {
        char path[4096];
        bool photograph = strncmp(name, "data/", 5) == 0;

        if (photograph != photographs) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s", photograph ? folder : "golden/resize",
                 name + (photograph ? 5 : 0));
        check(path, name, entry);
        count++;
    }
    json_decref(root);
    return count;
}

static inline void skip_without_photographs(void)
{
    if (!getenv("IVL_TEST_DATA")) {
        print_message("skipped: IVL_TEST_DATA does not name the folder with the photographs\n");
        skip();
    }
}

static inline ivl__image decode_file(const char *path)
{
    test_file file = read_test_file(path);
    ivl__decode_options options;
    ivl__image image = {0};
    ivl_error error = {0};
    ivl_status status;

    ivl__decode_options_init(&options);
    status = ivl__image_decode(file.data, file.bytes, &options, &image, &error);
    ivl__free(file.data);
    if (status != IVL_OK) {
        fail_msg("%s: %s", path, error.message);
    }
    return image;
}

#endif
