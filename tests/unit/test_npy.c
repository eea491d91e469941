/* test_npy.c - NumPy arrays: what is written can be read, what is malformed is refused. */
#include "loader/npy.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "tests/folder.h"

static void arrays_round_trip(void **state)
{
    static const float values[6] = {0, -1.5f, 3e38f, 4, 5, 6};
    uint64_t shape[2] = {2, 3};
    ivl_error error = {0};
    ivl__npy npy;
    void *data;

    (void)state;
    assert_ok(ivl__npy_write(in_folder("a.npy"), IVL__NPY_F4, shape, 2, values, &error), error);
    assert_ok(ivl__npy_read(in_folder("a.npy"), 1000, &npy, &data, &error), error);
    assert_int_equal(npy.type, IVL__NPY_F4);
    assert_int_equal(npy.rank, 2);
    assert_int_equal(npy.shape[0], 2);
    assert_int_equal(npy.shape[1], 3);
    assert_int_equal(npy.count, 6);
    assert_int_equal(npy.offset, IVL__NPY_HEADER_BYTES);
    assert_memory_equal(data, values, sizeof values);
    ivl__free(data);
}

static void shapes_of_any_rank_round_trip(void **state)
{
    uint64_t shape[IVL__NPY_MAX_RANK] = {1, 0, 3, 1, 5, 6, 7, 8};
    unsigned char header[IVL__NPY_HEADER_BYTES];
    ivl_error error = {0};
    ivl__npy npy;

    (void)state;
    for (int rank = 0; rank <= IVL__NPY_MAX_RANK; rank++) {
        assert_ok(ivl__npy_header(IVL__NPY_I8, shape, rank, header, &error), error);
        assert_ok(ivl__npy_parse(header, sizeof header, sizeof header + 8, &npy, &error), error);
        assert_int_equal(npy.rank, rank);
        assert_memory_equal(npy.shape, shape, (size_t)rank * sizeof shape[0]);
        assert_int_equal(npy.count, rank < 2);
    }
    assert_fails(ivl__npy_header(IVL__NPY_F4, shape, 9, header, &error), IVL_INVALID_ARGUMENT,
                 error, "9 dimensions");
    for (int i = 0; i < IVL__NPY_MAX_RANK; i++) {
        shape[i] = UINT64_MAX;
    }
    assert_fails(ivl__npy_header(IVL__NPY_F4, shape, 8, header, &error), IVL_INVALID_ARGUMENT,
                 error, "too long");
}

/* Parses a header text behind a version 1.0 or 2.0 preamble, with `data` bytes after it. */
static ivl_status parse(const char *text, int version, uint64_t data, ivl__npy *npy,
                        ivl_error *error)
{
    unsigned char file[512] = "\x93NUMPY";
    size_t start = version == 1 ? 10 : 12;
    size_t n = strlen(text);

    file[6] = (unsigned char)version;
    file[8] = (unsigned char)n;
    memcpy(file + start, text, n);
    return ivl__npy_parse(file, start + n, start + n + data, npy, error);
}

static void headers_of_other_writers_are_read(void **state)
{
    ivl_error error = {0};
    ivl__npy npy;

    (void)state;
    assert_ok(parse("{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }  \n", 1, 24, &npy,
                    &error),
              error);
    assert_int_equal(npy.type, IVL__NPY_F2);
    assert_ok(
        parse("{\"shape\":(2L,),\"fortran_order\":False,\"descr\":\"|u1\"}", 2, 2, &npy, &error),
        error);
    assert_int_equal(npy.type, IVL__NPY_U1);
    assert_ok(parse("{'descr': '<i4', 'fortran_order': False, 'shape': ()}", 1, 4, &npy, &error),
              error);
    assert_int_equal(npy.count, 1);
}

static void malformed_headers_are_refused(void **state)
{
#define HEAD "{'descr': '<f4', 'fortran_order': False, "
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "not a dict"},
        {"{", "not a dict"},
        {"[]", "not a dict"},
        {"{}", "lacks"},
        {HEAD "'shape': (1,)", "not a dict"},
        {HEAD "'shape': (1,)} x", "behind the dict"},
        {HEAD "'shape': (1)}", "not a tuple"},
        {HEAD "'shape': [1]}", "not a tuple"},
        {HEAD "'shape': (,)}", "not a size"},
        {HEAD "'shape': (1,,)}", "not a size"},
        {HEAD "'shape': (1.5,)}", "not a tuple"},
        {HEAD "'shape': (99999999999999999999,)}", "not a size"},
        {HEAD "'shape': (4611686018427387904, 4)}", "overflows"},
        {HEAD "'shape': (0, 4611686018427387904, 4)}", "overflows"},
        {HEAD "'shape': (1,1,1,1,1,1,1,1,1)}", "more than 8"},
        {HEAD "'shape': (3,)}", "truncated"},
        {HEAD "'shape': (1,), 'descr': '<f4'}", "there twice"},
        {HEAD "'shape': (1,), 'extra': 1}", "unknown"},
        {HEAD "'shape': (1,) 'x': 1}", "not a dict"},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", "not supported"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "structured"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", "'<f8'"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "no boolean"},
        {"{'descr': '<f4\\'', 'fortran_order': False, 'shape': (1,)}", "structured"},
    };
#undef HEAD
    ivl_error error = {0};
    ivl__npy npy;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_fails(parse(cases[i].text, 1, 8, &npy, &error), IVL_BAD_INPUT, error, cases[i].why);
        assert_fails(parse(cases[i].text, 2, 8, &npy, &error), IVL_BAD_INPUT, error, cases[i].why);
    }
    assert_fails(parse("{}", 3, 8, &npy, &error), IVL_BAD_INPUT, error, "version 3.0");
}

static void malformed_files_are_refused(void **state)
{
    static const struct {
        const char *path, *why;
    } cases[] = {
        {"golden/malformed/npy_bad_magic.npy", "not an npy"},
        {"golden/malformed/npy_big_endian.npy", "big-endian"},
        {"golden/malformed/npy_fortran.npy", "Fortran"},
        {"golden/malformed/npy_header_past_end.npy", "does not fit"},
        {"golden/malformed/npy_object.npy", "pickle"},
        {"golden/malformed/npy_shape_negative.npy", "not a size"},
        {"golden/malformed/npy_shape_overflow.npy", "overflows"},
        {"golden/malformed/npy_truncated.npy", "needs 400 data bytes"},
    };
    ivl_error error = {0};
    ivl__npy npy;
    void *data;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_fails(ivl__npy_read(cases[i].path, 1000, &npy, &data, &error), IVL_BAD_INPUT, error,
                     cases[i].why);
        assert_non_null(strstr(error.message, cases[i].path));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(arrays_round_trip),
        TEST(shapes_of_any_rank_round_trip),
        TEST(headers_of_other_writers_are_read),
        TEST(malformed_headers_are_refused),
        TEST(malformed_files_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
