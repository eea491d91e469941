/* test_image_source.c - the order, keys and units of inputs, and that memory stays bounded. */
#include "loader/image_source.h"
#include "loader/input_list.h"
#include "loader/npy.h"
#include "loader/path_range.h"
#include "runtime/memory.h"
#include "tests/folder.h"
#include "tests/tar_builder.h"

#include <fcntl.h>

/* ---- what came out, as one text ---------------------------------------------------------- */

static char trace[65536];

static void trace_add(const char *format, ...) IVL__PRINTF(1, 2);

static void trace_add(const char *format, ...)
{
    size_t used = strlen(trace);
    va_list args;

    va_start(args, format);
    vsnprintf(trace + used, sizeof trace - used, format, args);
    va_end(args);
}

/* Keys below the test's folder lose its name. */
static const char *short_key(const char *key)
{
    size_t n = strlen(folder);

    return strncmp(key, folder, n) == 0 ? key + n + 1 : key;
}

static void trace_item(ivl__item *item)
{
    ivl_error error = {0};

    switch (item->kind) {
    case IVL__ITEM_UNIT_BEGIN:
        trace_add("[%d%s%s ", (int)item->unit, item->key ? ":" : "",
                  item->key ? short_key(item->key) : "");
        return;
    case IVL__ITEM_UNIT_END: trace_add("]%d ", (int)item->position); return;
    case IVL__ITEM_FAILED: trace_add("!%s ", short_key(item->key)); return;
    case IVL__ITEM_TENSOR:
    case IVL__ITEM_PICTURE: break;
    }
    trace_add("%s", short_key(item->key));
    if (ivl__item_load(item, &error) != IVL_OK) {
        trace_add("?");
    } else if (item->kind == IVL__ITEM_TENSOR) {
        trace_add("=%dx%d:%g", item->height, item->width, (double)item->tensor[0]);
    } else if (item->n_bytes) {
        trace_add("=%.*s", (int)item->n_bytes, (char *)item->bytes);
    }
    trace_add("%s%s%s%s ", item->caption ? "<" : "", item->caption ? item->caption : "",
              item->fields ? "|" : "", item->fields ? item->fields : "");
}

/* Walks a source to its end; skips the unit of a tar whose name contains `skip`. */
static const char *walk(const char *const *inputs, size_t n, ivl__image_source_options options,
                        const char *skip)
{
    ivl__image_source *source;
    ivl_error error = {0};
    ivl__item item = {0};
    bool end = false;

    trace[0] = '\0';
    assert_ok(ivl__image_source_open(inputs, n, &options, &source, &error), error);
    for (;;) {
        assert_ok(ivl__image_source_next(source, &item, &end, &error), error);
        if (end) {
            break;
        }
        trace_item(&item);
        if (skip && item.kind == IVL__ITEM_UNIT_BEGIN && item.key && strstr(item.key, skip)) {
            ivl__image_source_skip_unit(source);
        }
        ivl__item_free(&item);
    }
    ivl__image_source_free(source);
    return trace;
}

static const char *walk_one(const char *input)
{
    return walk(&input, 1, (ivl__image_source_options){0}, NULL);
}

/* ---- files, folders, lists, ranges ------------------------------------------------------- */

static void folders_are_walked_in_byte_order(void **state)
{
    const char *input = in_folder("p");
    const char *slashed = in_folder("p//");

    (void)state;
    mkdir(in_folder("p"), 0777);
    mkdir(in_folder("p/b"), 0777);
    write_text("p/a.jpg", "1");
    write_text("p/b/z.PNG", "2");
    write_text("p/b/.x.webp", "3");
    write_text("p/b.gif", "4");
    write_text("p/Z.jpeg", "5");
    write_text("p/notes.txt", "");
    write_text("p/\xff.bmp", "6");
    assert_string_equal(walk_one(input),
                        "[0 p/Z.jpeg=5 p/a.jpg=1 p/b/.x.webp=3 p/b/z.PNG=2 p/b.gif=4 "
                        "p/\xff.bmp=6 ]6 ");
    assert_string_equal(walk_one(slashed),
                        "[0 p/Z.jpeg=5 p/a.jpg=1 p/b/.x.webp=3 p/b/z.PNG=2 p/b.gif=4 "
                        "p/\xff.bmp=6 ]6 ");
}

static void loops_end_and_folders_count_once(void **state)
{
    (void)state;
    mkdir(in_folder("p"), 0777);
    mkdir(in_folder("q"), 0777);
    write_text("p/a.jpg", "1");
    write_text("q/c.jpg", "2");
    assert_int_equal(symlink("..", in_folder("p/up")), 0);
    assert_int_equal(symlink("a.jpg", in_folder("p/link.jpg")), 0);
    assert_int_equal(symlink("nowhere", in_folder("p/broken.jpg")), 0);
    assert_int_equal(symlink("../q", in_folder("p/q1")), 0);
    assert_int_equal(symlink("../q", in_folder("p/q2")), 0);
    assert_string_equal(walk_one(in_folder("p")),
                        "[0 p/a.jpg=1 p/broken.jpg? p/link.jpg=1 p/q1/c.jpg=2 ]4 ");
}

static void other_files_are_counted(void **state)
{
    const char *input = in_folder("p");
    ivl__image_source *source;
    ivl_error error = {0};
    ivl__item item;
    bool end = false;

    (void)state;
    mkdir(input, 0777);
    write_text("p/readme", "");
    write_text("p/a.tar", "");
    assert_ok(ivl__image_source_open(&input, 1, NULL, &source, &error), error);
    assert_ok(ivl__image_source_next(source, &item, &end, &error), error);
    assert_true(end);
    assert_int_equal(ivl__image_source_get_counts(source).other, 2);
    assert_int_equal(ivl__image_source_get_counts(source).inputs, 0);
    ivl__image_source_free(source);
}

static void lists_take_both_line_ends(void **state)
{
    char text[512];
    char input[128];

    (void)state;
    mkdir(in_folder("p"), 0777);
    write_text("p/a.jpg", "1");
    write_text("p/b {1..2}.jpg", "2");
    snprintf(text, sizeof text,
             "\xef\xbb\xbf%s/p/a.jpg\r\n\r\n\n%s/p/b {1..2}.jpg\n%s/p\r\nmissing", folder, folder,
             folder);
    write_text("list", text);
    snprintf(input, sizeof input, "@%s/list", folder);
    assert_string_equal(walk_one(input), "[0 p/a.jpg=1 p/b {1..2}.jpg=2 p/a.jpg=1 "
                                         "p/b {1..2}.jpg=2 missing? ]5 ");
}

static void long_lines_are_cut(void **state)
{
    size_t bytes = IVL__LIST_MAX_LINE + 200000;
    char *text = malloc(bytes + 8);
    ivl__input_list *list;
    ivl_error error = {0};
    const char *line;
    size_t length;
    bool complete, end;

    (void)state;
    memset(text, 'x', bytes);
    memcpy(text + bytes, "\nab\n", 4);
    write_file(in_folder("list"), text, bytes + 4);
    free(text);
    assert_ok(ivl__input_list_open(in_folder("list"), -1, '\n', &list, &error), error);
    assert_ok(ivl__input_list_next(list, &line, &length, &complete, &end, &error), error);
    assert_false(complete);
    assert_int_equal(length, IVL__LIST_MAX_LINE);
    assert_int_equal(strlen(line), IVL__LIST_MAX_LINE);
    assert_ok(ivl__input_list_next(list, &line, &length, &complete, &end, &error), error);
    assert_true(complete);
    assert_string_equal(line, "ab");
    assert_int_equal(ivl__input_list_line(list), 2);
    assert_ok(ivl__input_list_next(list, &line, &length, &complete, &end, &error), error);
    assert_true(end);
    ivl__input_list_free(list);
}

static void stdin_gives_paths(void **state)
{
    const char *nul = "-0";
    const char *lines = "-";
    const char *both[] = {"-", "-0"};
    ivl__image_source_options options = {.unit_rows = 2};
    ivl__image_source *source;
    ivl_error error = {0};
    int fd;

    (void)state;
    write_file(in_folder("in"), "a\nb\0c\0", 6);
    fd = options.stdin_fd = open(in_folder("in"), O_RDONLY);
    assert_string_equal(walk(&nul, 1, options, NULL), "[0 a\nb? c? ]2 ");
    lseek(fd, 0, SEEK_SET);
    assert_string_equal(walk(&lines, 1, options, NULL), "[0 a? !(list) ]2 ");
    close(fd);
    assert_fails(ivl__image_source_open(both, 2, NULL, &source, &error), IVL_INVALID_ARGUMENT,
                 error, "named 2 times");
    assert_fails(ivl__image_source_open(both, 0, NULL, &source, &error), IVL_INVALID_ARGUMENT,
                 error, "no inputs");
}

static void ranges_expand_like_a_shell(void **state)
{
    ivl_error error = {0};
    uint64_t count;
    char *path;

    (void)state;
    assert_string_equal(walk_one("x{08..11}.jpg"), "[0 x08.jpg? x09.jpg? x10.jpg? x11.jpg? ]4 ");
    assert_string_equal(walk_one("{1..0}{a}{2..3}"), "[0 1{a}2? 1{a}3? 0{a}2? 0{a}3? ]4 ");
    assert_false(ivl__path_has_range("a{1..}{..2}{1...2}{x..y}"));
    assert_ok(ivl__path_range_count("{000000000000000000..999999999999999998}", &count, &error),
              error);
    assert_int_equal(count, 999999999999999999);
    path = ivl__path_range_at("a{000000000000000000..999999999999999998}.tar", 999999999999999998);
    assert_string_equal(path, "a999999999999999998.tar");
    ivl__free(path);
    assert_fails(ivl__path_range_count("{1..999999999999}{1..999999999999}", &count, &error),
                 IVL_INVALID_ARGUMENT, error, "2^63");
}

static void missing_list_is_wrong_usage(void **state)
{
    const char *input = "@/nowhere/list";
    ivl__image_source *source;
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl__image_source_open(&input, 1, NULL, &source, &error), IVL_INVALID_ARGUMENT,
                 error, "/nowhere/list");
}

/* ---- tars -------------------------------------------------------------------------------- */

static FILE *tar_open(const char *name)
{
    FILE *file = fopen(in_folder(name), "wb");

    assert_non_null(file);
    return file;
}

static void tars_group_members(void **state)
{
    FILE *file = tar_open("s.tar");
    char pipe_name[] = "s.tar";
    ivl__image_source_options options = {.unit_rows = 10, .stdin_tar = pipe_name};
    const char *expected =
        "[0:s.tar s.tar/d/a.jpg=A<one|\"n\":1,\"sidecar_key\":\"k\" s.tar/b.left.png=L<both "
        "s.tar/b.right.png=R<right s.tar/c.gif=C|\"sidecar_error\":\"not a JSON object\" "
        "s.tar/e.jpg<json text|\"u\":[1.5] ]5 ";

    (void)state;
    tar_header(file, "d/", '5', 0, NULL);
    tar_member(file, "./d/a.jpg", "A");
    tar_member(file, "./d/a.json", "{\"n\": 1, \"caption\": \"one\", \"key\": \"k\"}");
    tar_member(file, "./d/a.txt", "one\r\n");
    tar_member(file, "b.left.png", "L");
    tar_member(file, "b.right.png", "R");
    tar_member(file, "b.right.txt", "right");
    tar_member(file, "b.txt", "both");
    tar_header(file, "c.jpg", '2', 0, NULL);
    tar_member(file, "c.json", "[1]");
    tar_member(file, "c.gif", "C");
    tar_member(file, "c.cls", "7");
    tar_member(file, ".hidden.jpg", "x");
    tar_member(file, "e.json", "{\"caption\": \"json text\", \"u\": [1.5]}");
    tar_member(file, "e.jpg", "");
    tar_end(file);
    fclose(file);
    {
        const char *input = in_folder("s.tar");

        assert_string_equal(walk(&input, 1, (ivl__image_source_options){.unit_rows = 10}, NULL),
                            expected);
    }
    options.stdin_fd = open(in_folder("s.tar"), O_RDONLY);
    assert_string_equal(walk(NULL, 0, options, NULL), expected);
    close(options.stdin_fd);
}

static void tars_know_long_names(void **state)
{
    char name[300];
    char expected[700];
    FILE *file = tar_open("s.tar");

    (void)state;
    memset(name, 'n', sizeof name);
    strcpy(name + 250, ".jpg");
    tar_long_member(file, name, "1");
    name[0] = 'p';
    tar_pax_member(file, name, "2");
    fclose(file); /* without an end mark */
    name[0] = 'n';
    snprintf(expected, sizeof expected, "[0 s.tar/%s=1 s.tar/p%s=2 ]2 ", name, name + 1);
    assert_string_equal(walk_one(in_folder("s.tar")), expected);
}

static void damaged_tars_fail_as_one_input(void **state)
{
    FILE *file = tar_open("cut.tar");
    char list[512], input[128];

    (void)state;
    tar_member(file, "a.jpg", "1");
    tar_header(file, "b.jpg", '0', 5000, NULL);
    tar_data(file, "short", 5);
    fclose(file);
    file = tar_open("bad.tar");
    tar_member(file, "a.jpg", "1");
    fwrite("garbage", 1, 7, file);
    tar_end(file);
    fclose(file);
    file = tar_open("huge.tar");
    tar_header(file, "h.jpg", '0', 0, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    fclose(file);
    file = tar_open("neg.tar");
    tar_header(file, "h.jpg", '0', 0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    fclose(file);
    file = tar_open("pax.tar");
    tar_header(file, "x", 'x', 12, NULL);
    tar_data(file, "99 path=abc\n", 12);
    tar_member(file, "a.jpg", "1");
    fclose(file);
    file = tar_open("long.tar");
    tar_header(file, "x", 'L', 1u << 30, NULL);
    fclose(file);
    write_text("empty.tar", "");
    write_text("text.tar", "this is no tar at all");
    file = tar_open("zero.tar");
    tar_end(file);
    fclose(file);
    list[0] = '\0';
    for (int i = 0; i < 10; i++) {
        static const char *const names[] = {"cut",  "bad",   "huge", "neg",  "pax",
                                            "long", "empty", "text", "zero", "missing"};

        snprintf(list + strlen(list), sizeof list - strlen(list), "%s/%s.tar\n", folder, names[i]);
    }
    write_text("list", list);
    snprintf(input, sizeof input, "@%s/list", folder);
    assert_string_equal(walk_one(input),
                        "[0 cut.tar/a.jpg=1 !cut.tar/b.jpg bad.tar/a.jpg=1 !bad.tar !huge.tar "
                        "!neg.tar !pax.tar !long.tar !empty.tar !text.tar !missing.tar ]11 ");
}

/* ---- arrays ------------------------------------------------------------------------------ */

static void arrays_give_tensors(void **state)
{
    uint64_t shape[4] = {2, 3, 4, 5};
    uint64_t wrong[4] = {2, 1, 4, 5};
    float values[120];
    ivl_error error = {0};

    (void)state;
    for (int i = 0; i < 120; i++) {
        values[i] = (float)i;
    }
    assert_ok(ivl__npy_write(in_folder("x.npy"), IVL__NPY_F4, shape, 4, values, &error), error);
    assert_ok(ivl__npy_write(in_folder("w.npy"), IVL__NPY_F4, wrong, 4, values, &error), error);
    assert_string_equal(walk_one(in_folder("x.npy")), "[0 x.npy#0=4x5:0 x.npy#1=4x5:60 ]2 ");
    assert_string_equal(walk_one(in_folder("w.npy")), "[0 !w.npy ]1 ");
    assert_string_equal(walk_one("golden/malformed/npy_truncated.npy"),
                        "[0 !golden/malformed/npy_truncated.npy ]1 ");
}

/* ---- units ------------------------------------------------------------------------------- */

static void units_depend_on_inputs_alone(void **state)
{
    const char *inputs[5];
    ivl__image_source_options options = {.unit_rows = 2};
    FILE *file = tar_open("s.tar");

    (void)state;
    tar_member(file, "a.jpg", "");
    tar_member(file, "b.jpg", "");
    tar_member(file, "c.jpg", "");
    tar_end(file);
    fclose(file);
    inputs[0] = "m{1..3}.jpg";
    inputs[1] = in_folder("s.tar");
    inputs[2] = in_folder("none.tar");
    inputs[3] = "m4.jpg";
    inputs[4] = "m{5..7}.jpg";
    assert_string_equal(walk(inputs, 5, options, NULL),
                        "[0 m1.jpg? m2.jpg? ]2 [1 m3.jpg? ]1 [2:s.tar s.tar/a.jpg s.tar/b.jpg "
                        "s.tar/c.jpg ]3 [3:none.tar !none.tar ]1 [4 m4.jpg? m5.jpg? ]2 "
                        "[5 m6.jpg? m7.jpg? ]2 ");
    assert_string_equal(walk(inputs, 5, options, "s.tar"),
                        "[0 m1.jpg? m2.jpg? ]2 [1 m3.jpg? ]1 [2:s.tar [3:none.tar !none.tar ]1 "
                        "[4 m4.jpg? m5.jpg? ]2 [5 m6.jpg? m7.jpg? ]2 ");
    options.shards = 2;
    assert_string_equal(walk(inputs, 5, options, NULL),
                        "[0 m1.jpg? m2.jpg? ]2 [2:s.tar s.tar/a.jpg s.tar/b.jpg s.tar/c.jpg ]3 "
                        "[4 m4.jpg? m5.jpg? ]2 ");
    options.shard = 1;
    assert_string_equal(walk(inputs, 5, options, NULL),
                        "[1 m3.jpg? ]1 [3:none.tar !none.tar ]1 [5 m6.jpg? m7.jpg? ]2 ");
}

/* ---- memory ------------------------------------------------------------------------------ */

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;

    if (!file || fscanf(file, "%*d %ld", &pages) != 1) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static uint64_t count_items(const char *input, long *growth_kib)
{
    ivl__image_source *source;
    ivl_error error = {0};
    ivl__item item;
    uint64_t n = 0;
    bool end = false;
    long before = resident_kib();

    assert_ok(ivl__image_source_open(&input, 1, NULL, &source, &error), error);
    for (;;) {
        assert_ok(ivl__image_source_next(source, &item, &end, &error), error);
        if (end) {
            break;
        }
        n += item.kind == IVL__ITEM_PICTURE;
        ivl__item_free(&item);
    }
    *growth_kib = resident_kib() - before;
    ivl__image_source_free(source);
    return n;
}

/* What may be held: a list buffer (two chunks of 64 KiB), or one group of a tar (here two names),
 * and what malloc keeps: 1 MiB is several times that, and far below the 24 MB of a million names.
 */
#if defined(__SANITIZE_ADDRESS__)
enum { GROWTH_LIMIT_KIB = 1 << 20 }; /* the sanitizer keeps freed blocks in quarantine */
#else
enum { GROWTH_LIMIT_KIB = 1024 };
#endif

static void a_million_paths_take_no_memory(void **state)
{
    char input[128];
    FILE *file = fopen(in_folder("list"), "wb");
    long growth;

    (void)state;
    for (int i = 0; i < 1000000; i++) {
        fprintf(file, "/nowhere/%07d.jpg\n", i);
    }
    fclose(file);
    snprintf(input, sizeof input, "@%s/list", folder);
    assert_int_equal(count_items(input, &growth), 1000000);
    print_message("1,000,000 paths: %ld KiB\n", growth);
    assert_true(growth < GROWTH_LIMIT_KIB);
}

static void a_large_tar_takes_no_memory(void **state)
{
    FILE *file = tar_open("s.tar");
    char name[32];
    long growth;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        snprintf(name, sizeof name, "%06d.jpg", i);
        tar_member(file, name, "x");
    }
    tar_end(file);
    fclose(file);
    assert_int_equal(count_items(in_folder("s.tar"), &growth), 200000);
    print_message("200,000 members: %ld KiB\n", growth);
    assert_true(growth < GROWTH_LIMIT_KIB);
    file = tar_open("t.tar");
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "same.%06d.jpg", i);
        tar_member(file, name, "x");
    }
    fclose(file);
    assert_int_equal(count_items(in_folder("t.tar"), &growth), 20000);
    assert_true(growth < GROWTH_LIMIT_KIB);
}

/* Fails each allocation in turn: no crash, no leak (the sanitizer looks), no wrong answer. */
static void every_allocation_may_fail(void **state)
{
    const char *inputs[4];
    char list[128];
    uint64_t shape[4] = {1, 3, 1, 1};
    float pixel[3] = {0};
    ivl_error error = {0};
    FILE *file = tar_open("s.tar");

    (void)state;
    tar_member(file, "a.jpg", "1");
    tar_member(file, "a.txt", "t");
    tar_member(file, "a.json", "{\"k\": 1, \"row\": 2}");
    tar_pax_member(file, "q.jpg", "2");
    tar_header(file, "b.jpg", '0', 5000, NULL);
    fclose(file);
    mkdir(in_folder("p"), 0777);
    mkdir(in_folder("p/d"), 0777);
    write_text("p/d/x.jpg", "1");
    assert_ok(ivl__npy_write(in_folder("x.npy"), IVL__NPY_F4, shape, 4, pixel, &error), error);
    write_text("list", "a.jpg\nb{1..2}.jpg\n");
    snprintf(list, sizeof list, "@%s/list", folder);
    inputs[0] = in_folder("s.tar");
    inputs[1] = in_folder("p");
    inputs[2] = list;
    inputs[3] = in_folder("x.npy");
    for (int n = 0;; n++) {
        ivl__image_source *source = NULL;
        ivl__item item = {0};
        bool end = false;
        int items = 0;
        ivl_status status;

        ivl__memory_fail(n, false);
        status = ivl__image_source_open(inputs, 4, NULL, &source, &error);
        while (status == IVL_OK) {
            status = ivl__image_source_next(source, &item, &end, &error);
            if (status != IVL_OK || end) {
                break;
            }
            items += item.kind <= IVL__ITEM_FAILED;
            ivl__item_free(&item);
        }
        ivl__image_source_free(source);
        if (ivl__memory_calls() <= n) {
            ivl__memory_fail(-1, false);
            assert_int_equal(status, IVL_OK);
            assert_int_equal(items, 7);
            break;
        }
        ivl__memory_fail(-1, false);
        assert_int_equal(status, IVL_OUT_OF_MEMORY);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(folders_are_walked_in_byte_order),
        TEST(loops_end_and_folders_count_once),
        TEST(other_files_are_counted),
        TEST(lists_take_both_line_ends),
        TEST(long_lines_are_cut),
        TEST(stdin_gives_paths),
        TEST(ranges_expand_like_a_shell),
        TEST(missing_list_is_wrong_usage),
        TEST(tars_group_members),
        TEST(tars_know_long_names),
        TEST(damaged_tars_fail_as_one_input),
        TEST(arrays_give_tensors),
        TEST(units_depend_on_inputs_alone),
        TEST(a_million_paths_take_no_memory),
        TEST(a_large_tar_takes_no_memory),
        TEST(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
