/* test_output_status.c - output folders looked at: their progress, and their units joined. */
#include "loader/npy.h"
#include "loader/output_status.h"
#include "runtime/file.h"
#include "tests/unit/record_run.h"

#include <fcntl.h>

static const char *const joined[] = {"o.npy", "o.text.npy", "o.jsonl", "o.errors.jsonl"};
enum { N_JOINED = sizeof joined / sizeof joined[0] };

static void must_run(run *r)
{
    ivl_error error = {0};

    assert_ok(run_it(r, &error), error);
}

static ivl__output_status status_of(const char *path)
{
    ivl__output_status status;
    ivl_error error = {0};

    memset(&status, 0xff, sizeof status);
    assert_ok(ivl__output_status_read(path, &status, &error), error);
    return status;
}

static ivl_status merge(const char *path, const char *out, bool force, ivl_error *error)
{
    return ivl__output_merge(path, out, force, NULL, NULL, NULL, error);
}

static void assert_same_file(const char *a, const char *b)
{
    unsigned char *data_a, *data_b;
    size_t bytes_a, bytes_b;
    ivl_error error = {0};

    assert_ok(ivl__file_read(a, 1 << 20, &data_a, &bytes_a, &error), error);
    assert_ok(ivl__file_read(b, 1 << 20, &data_b, &bytes_b, &error), error);
    if (bytes_a != bytes_b || memcmp(data_a, data_b, bytes_a) != 0) {
        fail_msg("'%s' (%zu bytes) and '%s' (%zu bytes) differ", a, bytes_a, b, bytes_b);
    }
    ivl__free(data_a);
    ivl__free(data_b);
}

/* in_folder("PLACE/NAME") */
static const char *in_place(const char *place, const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", place, name);
    return in_folder(path);
}

/* The folder of `r`, and beside it what one undisturbed run writes as single files ("ref"). */
static void references(const run *r)
{
    run single = *r;

    single.path = fresh_output("ref", "o.npy");
    single.shards = 0;
    must_run(&single);
}

static void assert_merged(const char *place)
{
    for (int i = 0; i < N_JOINED; i++) {
        assert_same_file(in_place(place, joined[i]), in_place("ref", joined[i]));
    }
}

/* A complete folder a/o of three units. */
static run complete_folder(void)
{
    static char path[128]; /* that of in_folder does not last */
    run r;

    snprintf(path, sizeof path, "%s", fresh_output("a", "o/"));
    r = run_of(path);
    must_run(&r);
    return r;
}

/* ---- status ------------------------------------------------------------------------------ */

static void status_follows_the_shards(void **state)
{
    run r = run_of(fresh_output("a", "o/"));
    ivl__output_status status;

    (void)state;
    r.shards = 3;
    for (r.shard = 0; r.shard < 3; r.shard++) {
        must_run(&r);
        status = status_of(r.path);
        assert_int_equal(status.units_done, r.shard + 1);
        assert_int_equal(status.units_begun, 0);
        /* Each shard has seen all inputs. */
        assert_int_equal(status.units_total, 3);
        assert_int_equal(status.inputs_total, 12);
        assert_int_equal(status.complete, r.shard == 2);
    }
    assert_int_equal(status.rows, 9);
    assert_int_equal(status.errors, 3);
}

static void status_of_an_interrupted_run(void **state)
{
    run r = run_of(fresh_output("a", "o/"));
    ivl__output_status status;

    (void)state;
    r.stop = 7; /* Six are committed, five of them are unit 0. */
    must_run(&r);
    status = status_of(r.path);
    assert_int_equal(status.units_done, 1);
    assert_int_equal(status.units_begun, 1);
    assert_int_equal(status.units_total, 0);
    assert_int_equal(status.inputs_total, 0);
    assert_int_equal(status.rows + status.errors, 6);
    assert_int_equal(status.errors, 2);
    assert_false(status.complete);
    assert_true(status.rows_per_second == 0);
}

static void set_time(const char *name, time_t seconds)
{
    struct timespec times[2] = {{seconds, 0}, {seconds, 0}};

    assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
}

/* Units 1 and 2 (3 rows each) were finished in the 4 s after unit 0. */
static void rate_of_finished_units(void **state)
{
    run r = complete_folder();

    (void)state;
    set_time("a/o/done/000000.json", 1000);
    set_time("a/o/done/000001.json", 1001);
    set_time("a/o/done/000002.json", 1004);
    assert_true(status_of(r.path).rows_per_second == 6.0 / 4.0);
}

static void other_folders_are_refused(void **state)
{
    ivl__output_status status;
    ivl_error error = {0};
    run r = complete_folder();
    const char *path = r.path;

    (void)state;
    assert_fails(ivl__output_status_read(in_folder("none"), &status, &error), IVL_INVALID_ARGUMENT,
                 error, "is no folder");
    assert_fails(ivl__output_status_read(in_folder("a"), &status, &error), IVL_INVALID_ARGUMENT,
                 error, "manifest.json");
    assert_fails(merge(in_folder("a"), in_folder("m.npy"), false, &error), IVL_INVALID_ARGUMENT,
                 error, "manifest.json");
    write_text("a/o/totals.json", "{\"units\": -1}");
    assert_fails(ivl__output_status_read(path, &status, &error), IVL_INVALID_ARGUMENT, error,
                 "totals.json' is damaged");
    write_text("a/o/done/000001.json", "{\"unit\":");
    assert_fails(ivl__output_status_read(path, &status, &error), IVL_INVALID_ARGUMENT, error,
                 "000001.json");
    write_text("a/o/manifest.json", "{\"format\": \"other\"}");
    assert_fails(ivl__output_status_read(path, &status, &error), IVL_INVALID_ARGUMENT, error,
                 "is not an output folder");
    write_text("a/o/manifest.json", "[");
    assert_fails(merge(path, in_folder("m.npy"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "manifest.json");
}

/* ---- merge ------------------------------------------------------------------------------- */

static void merge_is_one_run(const run *like)
{
    run r = *like;
    ivl_error error = {0};

    references(&r);
    r.path = fresh_output("a", "o/");
    r.shards = 3;
    for (r.shard = 2; r.shard >= 0; r.shard--) {
        must_run(&r);
    }
    fresh_output("m", "");
    assert_ok(merge(r.path, in_folder("m/o.npy"), false, &error), error);
    assert_merged("m");
    assert_same_file(in_folder("a/o/errors.jsonl"), in_folder("ref/o.errors.jsonl"));
}

static void merges_are_one_run(void **state)
{
    run r = run_of(NULL);

    (void)state;
    merge_is_one_run(&r);
    r.type = IVL__NPY_F2;
    merge_is_one_run(&r);
    r.type = IVL__NPY_F4;
    r.sizes[1] = -1; /* a tar without pictures */
    merge_is_one_run(&r);
    r.failing = ~UINT64_C(0); /* no rows at all */
    merge_is_one_run(&r);
    r.failing = 0;
    merge_is_one_run(&r);
}

static void missing_units_are_named(void **state)
{
    run r = run_of(fresh_output("a", "o/"));
    ivl_error error = {0};
    ivl__text before;

    (void)state;
    r.stop = 7;
    must_run(&r);
    fresh_output("m", "");
    assert_fails(merge(r.path, in_folder("m/o.npy"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "unit 1 (no run has come to the end of the inputs) is not finished");
    r = complete_folder();
    assert_int_equal(unlink(in_folder("a/o/done/000001.json")), 0);
    before = tree_of(in_folder("a"));
    assert_fails(merge(r.path, in_folder("m/o.npy"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "unit 1 (of 3) is missing");
    assert_tree(in_folder("a"), &before, "a refused merge");
    ivl__text_free(&before);
    before = (ivl__text){0};
    ivl__text_add(&before, "", 0);
    assert_tree(in_folder("m"), &before, "a refused merge");
    ivl__text_free(&before);
}

static void what_exists_is_not_replaced(void **state)
{
    static const char *const names[] = {"m/o.npy",          "m/o.text.npy",  "m/o.jsonl",
                                        "m/o.errors.jsonl", "m/o.meta.json", "m/o.meta.json.part"};
    run r = complete_folder();
    ivl_error error = {0};

    (void)state;
    references(&r);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ivl__text before;

        fresh_output("m", "");
        write_text(names[i], "mine");
        before = tree_of(in_folder("m"));
        assert_fails(merge(r.path, in_folder("m/o.npy"), false, &error), IVL_INVALID_ARGUMENT,
                     error, "exists; move it away, choose another output, or pass --force");
        assert_non_null(strstr(error.message, in_folder(names[i])));
        assert_tree(in_folder("m"), &before, names[i]);
        ivl__text_free(&before);
        assert_ok(merge(r.path, in_folder("m/o.npy"), true, &error), error);
        assert_merged("m");
        assert_false(ivl__file_exists(in_folder("m/o.meta.json.part")));
    }
    /* Its own files, too, and the same bytes again. */
    assert_fails(merge(r.path, in_folder("m/o.npy"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "exists");
    assert_ok(merge(r.path, in_folder("m/o.npy"), true, &error), error);
    assert_merged("m");
}

/* embed neither takes a merge for its own run nor replaces it. */
static void embed_refuses_a_merge(void **state)
{
    run r = complete_folder();
    ivl_error error = {0};

    (void)state;
    references(&r);
    fresh_output("m", "");
    assert_ok(merge(r.path, in_folder("m/o.npy"), false, &error), error);
    r.path = in_folder("m/o.npy");
    assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "pass --force");
    assert_merged("m");
}

static void places_that_cannot_be(void **state)
{
    run r = complete_folder();
    ivl_error error = {0};

    (void)state;
    assert_fails(merge(r.path, in_folder("a"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "is a folder");
    assert_fails(merge(r.path, in_folder("m.npz"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "must end with .npy");
    assert_fails(merge(r.path, in_folder("no/such/m.npy"), false, &error), IVL_IO_ERROR, error,
                 "no/such");
    assert_fails(merge(r.path, in_folder("a/o/../o/errors.npy"), true, &error),
                 IVL_INVALID_ARGUMENT, error, "choose another name");
    assert_ok(merge(r.path, in_folder("a/o/all.npy"), false, &error), error);
    assert_true(status_of(r.path).complete);
}

static bool stop_at_once(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return ++*(int *)user == 3;
}

static bool count(void *user, uint64_t done, uint64_t total)
{
    uint64_t *last = user;

    assert_true(done > last[0] && done <= total);
    last[0] = done;
    last[1] = total;
    return false;
}

static void progress_and_cancelling(void **state)
{
    run r = complete_folder();
    ivl__text before;
    ivl_error error = {0};
    uint64_t last[2] = {0};
    uint64_t failed = 0;
    int calls = 0;

    (void)state;
    fresh_output("m", "");
    write_text("m/o.npy", "mine");
    before = tree_of(in_folder("m"));
    assert_fails(
        ivl__output_merge(r.path, in_folder("m/o.npy"), true, stop_at_once, &calls, NULL, &error),
        IVL_CANCELLED, error, "was stopped");
    assert_tree(in_folder("m"), &before, "a merge that was stopped");
    ivl__text_free(&before);
    assert_ok(ivl__output_merge(r.path, in_folder("m/o.npy"), true, count, last, &failed, &error),
              error);
    assert_int_equal(failed, status_of(r.path).errors);
    assert_true(failed > 0);
    assert_true(last[1] > 0 && last[0] == last[1]);
}

/* Files that are not what the records say: refused by name, and nothing is left behind. */
static void damaged_units_are_refused(void **state)
{
    static const struct {
        const char *name, *text, *message;
    } cases[] = {
        {"a/o/img_emb/img_emb_000001.npy", "short", "img_emb_000001.npy"},
        {"a/o/text_emb/text_emb_000002.npy", NULL, "text_emb_000002.npy"},
        {"a/o/metadata/metadata_000001.jsonl", "{\"row\": 0}\n", "its record says"},
        {"a/o/metadata/metadata_000001.jsonl", "what\nis\nthis\n", "is not one that embed writes"},
        {"a/o/errors/errors_000000.jsonl", "", "has 0 lines, its record says 2"},
        {"a/o/done/000002.json", "{}", "000002.json"},
        {"a/o/done/000002.json", "{\"unit\": 2", "000002.json"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run r = complete_folder();
        ivl_error error = {0};
        ivl__text before;
        ivl_status status;

        if (cases[i].text) {
            write_text(cases[i].name, cases[i].text);
        } else {
            assert_int_equal(unlink(in_folder(cases[i].name)), 0);
        }
        fresh_output("m", "");
        before = tree_of(in_folder("."));
        status = merge(r.path, in_folder("m/o.npy"), false, &error);
        assert_int_equal(status, cases[i].text ? IVL_INVALID_ARGUMENT : IVL_IO_ERROR);
        if (!strstr(error.message, cases[i].message)) {
            fail_msg("'%s' lacks '%s'", error.message, cases[i].message);
        }
        assert_tree(in_folder("."), &before, cases[i].name);
        ivl__text_free(&before);
    }
}

/* A record under the name of another unit. */
static void records_are_of_their_unit(void **state)
{
    run r = complete_folder();
    ivl__output_status status;
    ivl_error error = {0};

    (void)state;
    assert_int_equal(rename(in_folder("a/o/done/000002.json"), in_folder("a/o/done/000001.json")),
                     0);
    assert_fails(ivl__output_status_read(r.path, &status, &error), IVL_INVALID_ARGUMENT, error,
                 "not the record of unit 1");
    assert_fails(merge(r.path, in_folder("m.npy"), false, &error), IVL_INVALID_ARGUMENT, error,
                 "not the record of unit 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_follows_the_shards),
        cmocka_unit_test(status_of_an_interrupted_run),
        cmocka_unit_test(rate_of_finished_units),
        cmocka_unit_test(other_folders_are_refused),
        cmocka_unit_test(merges_are_one_run),
        cmocka_unit_test(missing_units_are_named),
        cmocka_unit_test(what_exists_is_not_replaced),
        cmocka_unit_test(embed_refuses_a_merge),
        cmocka_unit_test(places_that_cannot_be),
        cmocka_unit_test(progress_and_cancelling),
        cmocka_unit_test(damaged_units_are_refused),
        cmocka_unit_test(records_are_of_their_unit),
    };

    return cmocka_run_group_tests(tests, folder_make_fast, folder_remove);
}
