/* test_search_index.c - an index is read back as it was written, NumPy's header included; what is
 * cut off, damaged or claims more than there is, is refused with a name and numbers. */
#include "loader/search_index.h"
#include "loader/unit_vector.h"
#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"
#include "tests/folder.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

enum { ROWS = 5, DIM = 3 };

static const float vectors[ROWS][DIM] = {{3.0f, 0.0f, 4.0f},
                                         {0.0f, 0.0f, 0.0f},
                                         {-1e30f, 1e30f, 0.0f},
                                         {1.0f, NAN, 0.0f},
                                         {0.0f, -2.0f, 0.0f}};
/* Any bytes are a key, none too. */
static const char *const keys[ROWS] = {"a.jpg", "zero", "b\xff\n\"\\.png", "nan", ""};

static char id[65];
static char path[4300];

static ivl_status write_index(const ivl__index_options *options, int *kept, ivl_error *error)
{
    ivl__index_writer *writer = NULL;
    ivl_status status = ivl__index_writer_open(path, options, &writer, error);

    *kept = 0;
    for (int i = 0; status == IVL_OK && i < ROWS; i++) {
        bool good;

        status = ivl__index_writer_add(writer, vectors[i], keys[i], strlen(keys[i]), &good, error);
        *kept += status == IVL_OK && good;
    }
    if (status == IVL_OK) {
        status = ivl__index_writer_finish(writer, error);
    }
    ivl__index_writer_free(writer);
    return status;
}

static ivl__index_options options_of(ivl__npy_type type, json_t **identity)
{
    memset(id, 'a', 64);
    *identity = json_pack("{s:s, s:i}", "pool", "cls", "unit_rows", 7);
    assert_non_null(*identity);
    return (ivl__index_options){.model_id = id,
                                .mode = "vit",
                                .identity = *identity,
                                .dim = DIM,
                                .type = type,
                                .most_rows = ROWS};
}

static void make(ivl__npy_type type)
{
    json_t *identity;
    ivl__index_options options = options_of(type, &identity);
    ivl_error error = {0};
    int kept;

    options.force = true;
    assert_ok(write_index(&options, &kept, &error), error);
    assert_int_equal(kept, 3);
    json_decref(identity);
}

static void rows_and_keys_come_back(void **state)
{
    static const int rows[3] = {0, 2, 4}; /* those with a direction */

    (void)state;
    for (int half = 0; half < 2; half++) {
        ivl__search_index index;
        ivl__text key = {0};
        ivl_error error = {0};

        make(half ? IVL__NPY_F2 : IVL__NPY_F4);
        assert_ok(ivl__search_index_open(path, &index, &error), error);
        assert_int_equal(index.head.rows, 3);
        assert_int_equal(index.head.dim, DIM);
        assert_string_equal(index.head.model_id, id);
        assert_string_equal(index.head.mode, "vit");
        assert_string_equal(json_string_value(json_object_get(index.head.identity, "pool")), "cls");
        assert_null(json_object_get(index.head.identity, "unit_rows"));
        for (int i = 0; i < 3; i++) {
            float want[DIM];

            memcpy(want, vectors[rows[i]], sizeof want);
            assert_true(ivl__unit_vector(want, DIM));
            for (int d = 0; d < DIM; d++) {
                float got = ivl__dtype_load(half ? IVL_F16 : IVL_F32, index.vectors,
                                            (size_t)(i * DIM + d));

                want[d] = half ? ivl__f16_to_float(ivl__float_to_f16(want[d])) : want[d];
                assert_true(got == want[d]);
            }
            assert_ok(ivl__search_index_key(&index, (uint64_t)i, &key, &error), error);
            assert_string_equal(key.data, keys[rows[i]]);
        }
        assert_fails(ivl__search_index_key(&index, 3, &key, &error), IVL_INTERNAL, error, "row 3");
        assert_ok(ivl__search_index_check(&index, NULL, NULL, &error), error);
        ivl__text_free(&key);
        ivl__search_index_close(&index);
    }
}

/* numpy.load sees an array and stops there. */
static void it_begins_as_an_array(void **state)
{
    ivl__npy npy;
    void *data;
    ivl_error error = {0};

    (void)state;
    make(IVL__NPY_F4);
    assert_ok(ivl__npy_read(path, 1 << 20, &npy, &data, &error), error);
    assert_int_equal(npy.offset, 4096);
    assert_int_equal(npy.rank, 2);
    assert_int_equal(npy.shape[0], 3);
    assert_int_equal(npy.shape[1], DIM);
    assert_true(fabsf(((float *)data)[0] - 0.6f) < 1e-7f);
    ivl__free(data);
}

/* ---- what is refused --------------------------------------------------------------------- */

static void refuse(const unsigned char *data, size_t bytes, const char *text)
{
    ivl__search_index index;
    ivl_error error = {0};

    assert_ok(ivl__file_replace(path, data, bytes, &error), error);
    assert_fails(ivl__search_index_open(path, &index, &error), IVL_INVALID_ARGUMENT, error, text);
    assert_non_null(strstr(error.message, "x.index"));
}

static void every_cut_is_noticed(void **state)
{
    unsigned char *data;
    size_t bytes;
    ivl_error error = {0};

    (void)state;
    make(IVL__NPY_F4);
    assert_ok(ivl__file_read(path, 1 << 20, &data, &bytes, &error), error);
    for (size_t n = 0; n < bytes; n += n < 4000 ? 97 : 1) {
        refuse(data, n, "index '");
    }
    refuse(data, 4100, "the shape needs 36 data bytes, the file has 4");
    refuse(data, bytes - 1, "cut off, or no index");
    ivl__free(data);
}

static void put(unsigned char *at, uint64_t value, int n)
{
    for (int i = 0; i < n; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

/* The file with `from` in its head replaced by `to` (checksum, length and place made right). */
static void refuse_head(const unsigned char *data, size_t bytes, const char *from, const char *to,
                        const char *text)
{
    const size_t old = (size_t)data[bytes - 16] | (size_t)data[bytes - 15] << 8;
    const size_t head_at = bytes - 24 - old;
    unsigned char *other = ivl__malloc(bytes + 1000);
    const char *place;
    char *head;
    size_t n;

    assert_non_null(other);
    memcpy(other, data, bytes);
    head = (char *)other + head_at;
    head[old] = '\0';
    place = strstr(head, from);
    assert_non_null(place);
    n = (size_t)(place - head);
    memcpy(head + n, to, strlen(to));
    memcpy(head + n + strlen(to), data + head_at + n + strlen(from), old - n - strlen(from));
    n = old - strlen(from) + strlen(to);
    put((unsigned char *)head + n, head_at, 8);
    put((unsigned char *)head + n + 8, n, 4);
    put((unsigned char *)head + n + 12, crc32_z(0, (const Bytef *)head, n), 4);
    memcpy(head + n + 16, "IVLINDEX", 8);
    refuse(other, head_at + n + 24, text);
    ivl__free(other);
}

static void lying_heads_are_refused(void **state)
{
    static const char *const lies[][3] = {
        {"\"internvl-index\"", "\"internvl-output\"", "something else"},
        {"\"version\":1", "\"version\":2", "version 2; this program reads version 1"},
        {"\"version\":1", "\"version\":-1", "something else"},
        {"\"rows\":3", "\"rows\":4", "of 4 rows of 3 values"},
        {"\"rows\":3", "\"rows\":0", "missing or out of range"},
        {"\"rows\":3", "\"rows\":4294967296", "missing or out of range"},
        {"\"rows\":3", "\"rows\":\"3\"", "missing or out of range"},
        {"\"rows\":3,", "", "missing or out of range"},
        {"\"rows\":3", "\"rows\":3,\"rows\":3", "no JSON"},
        {"\"dim\":3", "\"dim\":-3", "missing or out of range"},
        {"\"dim\":3", "\"dim\":65537", "missing or out of range"},
        {"\"dim\":3", "\"dim\":9223372036854775808", "no JSON"},
        {"float32", "float16", "of 3 rows of 3 values"},
        {"float32", "uint8", "missing or out of range"},
        {"\"keys_bytes\":14", "\"keys_bytes\":13", "end at byte"},
        {"\"keys_bytes\":14", "\"keys_bytes\":562949953421312", "missing or out of range"},
        {"aaaaaaaa", "AAAAAAAA", "missing or out of range"},
        {"aaaaaaaa", "aaaaaaaaa", "missing or out of range"},
        {"\"vit\"", "\"\"", "missing or out of range"},
        {"\"vit\"", "\"vitvitvitvit\"", "missing or out of range"},
        {"\"normalized\":true", "\"normalized\":false", "missing or out of range"},
        {"{\"pool\":\"cls\"}", "[]", "missing or out of range"},
        {"{\"pool\":\"cls\"}", "{\"pool\":\"cls\"", "no JSON"},
    };
    unsigned char *data;
    size_t bytes;
    ivl_error error = {0};

    (void)state;
    make(IVL__NPY_F4);
    assert_ok(ivl__file_read(path, 1 << 20, &data, &bytes, &error), error);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        refuse_head(data, bytes, lies[i][0], lies[i][1], lies[i][2]);
    }
    data[bytes - 16]++; /* the head's length */
    refuse(data, bytes, "damaged: a head of");
    data[bytes - 16]--;
    data[bytes - 30]++; /* one of its bytes */
    refuse(data, bytes, "checksum of its head");
    refuse((const unsigned char *)"", 0, "not an npy file");
    refuse((const unsigned char *)"IVLINDEX", 8, "not an npy file");
    ivl__free(data);
}

/* Rows and keys are checked when somebody asks; a table that lies is found by the key alone. */
static void damage_is_found_by_the_checksums(void **state)
{
    unsigned char *data;
    size_t bytes;
    ivl_error error = {0};
    const size_t table = 4096 + 40; /* 36 bytes of rows, filled up */

    (void)state;
    make(IVL__NPY_F4);
    assert_ok(ivl__file_read(path, 1 << 20, &data, &bytes, &error), error);
    for (int part = 0; part < 3; part++) {
        const size_t at = part == 0 ? 4096 + 35 : part == 1 ? table + 15 : table + 4 * 8;
        ivl__search_index index;
        ivl__text key = {0};

        data[at] ^= 0x40;
        assert_ok(ivl__file_replace(path, data, bytes, &error), error);
        data[at] ^= 0x40;
        assert_ok(ivl__search_index_open(path, &index, &error), error);
        assert_fails(ivl__search_index_check(&index, NULL, NULL, &error), IVL_INVALID_ARGUMENT,
                     error, part == 0 ? "checksum of its rows is" : "checksum of its keys is");
        if (part == 1) {
            assert_fails(ivl__search_index_key(&index, 0, &key, &error), IVL_INVALID_ARGUMENT,
                         error, "the key of row 0 is bytes 0 to");
            assert_fails(ivl__search_index_key(&index, 1, &key, &error), IVL_INVALID_ARGUMENT,
                         error, "of 14");
        }
        ivl__text_free(&key);
        ivl__search_index_close(&index);
    }
    ivl__free(data);
}

static void nothing_is_lost(void **state)
{
    json_t *identity;
    ivl__index_options options = options_of(IVL__NPY_F4, &identity);
    ivl__index_writer *first, *second;
    ivl_error error = {0};
    bool kept;
    int n;
    char part[4400];

    (void)state;
    make(IVL__NPY_F4);
    assert_fails(write_index(&options, &n, &error), IVL_INVALID_ARGUMENT, error, "pass --force");
    options.force = true;
    assert_ok(ivl__index_writer_open(path, &options, &first, &error), error);
    assert_fails(ivl__index_writer_open(path, &options, &second, &error), IVL_INVALID_ARGUMENT,
                 error, "by another process");
    assert_ok(ivl__index_writer_add(first, vectors[1], "zero", 4, &kept, &error), error);
    assert_false(kept);
    assert_fails(ivl__index_writer_add(first, vectors[0], "k", (1 << 20) + 1, &kept, &error),
                 IVL_INVALID_ARGUMENT, error, "has 1048577 bytes");
    assert_fails(ivl__index_writer_finish(first, &error), IVL_INVALID_ARGUMENT, error, "no rows");
    ivl__index_writer_free(first);
    snprintf(part, sizeof part, "%s.part", path);
    assert_false(ivl__file_exists(part));
    assert_true(ivl__file_exists(path));
    options.model_id = "short";
    assert_fails(ivl__index_writer_open(path, &options, &first, &error), IVL_INVALID_ARGUMENT,
                 error, "'short'");
    json_decref(identity);
}

/* Whatever allocation fails, the call fails, nothing leaks, and the old index stays. */
static void short_memory_is_an_error(void **state)
{
    json_t *identity;
    ivl__index_options options = options_of(IVL__NPY_F4, &identity);
    int64_t live = ivl__memory_live();
    ivl_error error = {0};
    int kept;

    (void)state;
    make(IVL__NPY_F4);
    options.force = true;
    for (int64_t n = 0;; n++) {
        ivl_status status;

        ivl__memory_fail(n, false);
        status = write_index(&options, &kept, &error);
        ivl__memory_fail(-1, false);
        assert_int_equal(ivl__memory_live(), live);
        if (status == IVL_OK) {
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, IVL_OUT_OF_MEMORY);
    }
    for (int64_t n = 0;; n++) {
        ivl__search_index index = {0};
        ivl_status status;

        ivl__memory_fail(n, false);
        status = ivl__search_index_open(path, &index, &error);
        ivl__memory_fail(-1, false);
        if (status == IVL_OK) {
            ivl__search_index_close(&index);
            break;
        }
        assert_int_equal(status, IVL_OUT_OF_MEMORY);
        assert_int_equal(ivl__memory_live(), live);
    }
    json_decref(identity);
}

/* ---- JSON strings ------------------------------------------------------------------------ */

static void keys_are_unquoted(void **state)
{
    static const struct {
        const char *json, *text; /* text NULL: refused */
    } cases[] = {
        {"\"\"", ""},
        {"\"a/b.jpg\"", "a/b.jpg"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u732b\"", "A\xc3\xa9\xe7\x8c\xab"},
        {"\"\\ud83d\\uDE00!\"", "\xf0\x9f\x98\x80!"},
        {"\"x\\udcff\\udc80y\"", "x\xff\x80y"},
        {"\"\\udc7f\"", NULL},
        {"\"\\ud83d\"", NULL},
        {"\"\\ud83d\\u0041\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"\\u12g4\"", NULL},
        {"\"\\x\"", NULL},
        {"\"\\\"", NULL},
        {"\"a\"b\"", NULL},
        {"\"", NULL},
        {"a", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__text text = {0};
        bool good;

        ivl__text_add(&text, "", 0);
        good = ivl__text_unquote(&text, cases[i].json, strlen(cases[i].json));
        if (good != (cases[i].text != NULL) || (good && strcmp(text.data, cases[i].text) != 0)) {
            fail_msg("%s: %s", cases[i].json, good ? text.data : "refused");
        }
        ivl__text_free(&text);
    }
    /* What is written comes back. */
    for (int i = 0; i < ROWS; i++) {
        ivl__text quoted = {0}, text = {0};

        ivl__text_json(&quoted, keys[i]);
        ivl__text_add(&text, "", 0);
        assert_true(ivl__text_unquote(&text, quoted.data, quoted.bytes));
        assert_string_equal(text.data, keys[i]);
        ivl__text_free(&quoted);
        ivl__text_free(&text);
    }
}

static int make_folder(void **state)
{
    int failed = folder_make(state);

    snprintf(path, sizeof path, "%s/x.index", folder);
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_and_keys_come_back, make_folder, folder_remove),
        cmocka_unit_test_setup_teardown(it_begins_as_an_array, make_folder, folder_remove),
        cmocka_unit_test_setup_teardown(every_cut_is_noticed, make_folder, folder_remove),
        cmocka_unit_test_setup_teardown(lying_heads_are_refused, make_folder, folder_remove),
        cmocka_unit_test_setup_teardown(damage_is_found_by_the_checksums, make_folder,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(nothing_is_lost, make_folder, folder_remove),
        cmocka_unit_test_setup_teardown(short_memory_is_an_error, make_folder, folder_remove),
        cmocka_unit_test(keys_are_unquoted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
