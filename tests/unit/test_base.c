/* test_base.c - status, memory, hash, dtype and os: the ground everything stands on. */
#include "runtime/dtype.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "tests/test.h"

#include <math.h>
#include <unistd.h>

static void errors_carry_context(void **state)
{
    ivl_error error = {0};

    (void)state;
    assert_int_equal(ivl__fail(&error, IVL_BAD_MODEL, "tensor %d", 7), IVL_BAD_MODEL);
    assert_int_equal(ivl__fail_context(&error, error.status, "file '%s'", "a"), IVL_BAD_MODEL);
    assert_string_equal(error.message, "file 'a': tensor 7");
    assert_int_equal(ivl__fail(NULL, IVL_IO_ERROR, "x"), IVL_IO_ERROR);
    assert_string_equal(ivl_status_name(IVL_BAD_MODEL), "IVL_BAD_MODEL");
}

static void sizes_do_not_wrap(void **state)
{
    size_t out = 5;

    (void)state;
    assert_false(ivl__mul_size(SIZE_MAX / 2, 3, &out));
    assert_false(ivl__add_size(SIZE_MAX, 1, &out));
    assert_int_equal(out, 5);
    assert_null(ivl__calloc(SIZE_MAX / 2, 3));
}

static void nth_allocation_fails(void **state)
{
    (void)state;
    ivl__memory_fail(1, false);
    for (int i = 0; i < 3; i++) {
        void *block = ivl__malloc(1);

        assert_int_equal(block == NULL, i == 1);
        ivl__free(block);
    }
    assert_int_equal(ivl__memory_calls(), 3);
    ivl__memory_fail(-1, false);
}

/* FIPS 180-4 examples: one block, two blocks, and one million letters. */
static void sha256_known_answers(void **state)
{
    ivl__sha256 hash;
    char hex[65];

    (void)state;
    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, "abc", 3);
    ivl__sha256_hex(&hash, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56);
    ivl__sha256_hex(&hash, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    ivl__sha256_init(&hash);
    for (int i = 0; i < 1000000; i++) {
        ivl__sha256_add(&hash, "a", 1);
    }
    ivl__sha256_hex(&hash, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Every 16-bit code survives widening and rounding back. */
static void half_types_round_trip(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 65536; code++) {
        float bf = ivl__bf16_to_float((uint16_t)code);
        float fp = ivl__f16_to_float((uint16_t)code);

        if (!isnan(bf)) {
            assert_int_equal(ivl__float_to_bf16(bf), code);
        }
        if (!isnan(fp)) {
            assert_int_equal(ivl__float_to_f16(fp), code);
        }
    }
    assert_int_equal(ivl__float_to_f16(65520.0f), 0x7c00);
    assert_int_equal(ivl__float_to_f16(65519.0f), 0x7bff);
    assert_int_equal(ivl__float_to_f16(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(ivl__float_to_f16(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01);
    assert_int_equal(ivl__float_to_bf16(1.0f + 0x1p-8f), 0x3f80);
}

static void files_appear_whole(void **state)
{
    char folder[] = "/tmp/ivl_test_XXXXXX";
    char path[64], missing[64];
    ivl_error error = {0};
    unsigned char *data;
    size_t bytes;
    ivl__map map;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
    snprintf(missing, sizeof missing, "%s/no/f", folder);
    assert_ok(ivl__file_replace(path, "hello", 5, &error), error);
    assert_ok(ivl__file_read(path, 100, &data, &bytes, &error), error);
    assert_int_equal(bytes, 5);
    assert_string_equal((char *)data, "hello");
    ivl__free(data);
    assert_fails(ivl__file_read(path, 4, &data, &bytes, &error), IVL_BAD_INPUT, error, "larger");
    assert_fails(ivl__file_replace(missing, "x", 1, &error), IVL_IO_ERROR, error, "No such file");
    assert_ok(ivl__map_open(path, &map, &error), error);
    assert_memory_equal(map.data, "hello", 5);
    assert_true(ivl__map_unchanged(&map));
    assert_int_equal(truncate(path, 2), 0);
    assert_false(ivl__map_unchanged(&map));
    ivl__map_close(&map);
    assert_fails(ivl__map_open(folder, &map, &error), IVL_IO_ERROR, error, "not a regular file");
    unlink(path);
    rmdir(folder);
}

static void sizes_are_readable(void **state)
{
    ivl__size_buffer text;

    (void)state;
    assert_string_equal(ivl__size_text(0, text), "0 bytes");
    assert_string_equal(ivl__size_text(1023, text), "1023 bytes");
    assert_string_equal(ivl__size_text(1536, text), "1.5 KiB");
    assert_string_equal(ivl__size_text((uint64_t)11 << 30, text), "11.0 GiB");
    assert_string_equal(ivl__size_text(UINT64_MAX, text), "16777216.0 TiB");
}

static void room_on_a_disk(void **state)
{
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__disk_has_room("/", 0, "out", &error), error);
    assert_fails(ivl__disk_has_room("/", UINT64_MAX, "out", &error), IVL_IO_ERROR, error,
                 "'out' needs 16777216.0 TiB, but ");
    assert_fails(ivl__disk_has_room("/no/such", 0, "out", &error), IVL_IO_ERROR, error, "/no/such");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_carry_context),  cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(nth_allocation_fails),  cmocka_unit_test(sha256_known_answers),
        cmocka_unit_test(half_types_round_trip), cmocka_unit_test(files_appear_whole),
        cmocka_unit_test(sizes_are_readable),    cmocka_unit_test(room_on_a_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
