/* test_record_writer.c - what embed writes: every form, resumed, continued, retried and refused. */
#include "loader/npy.h"
#include "runtime/dtype.h"
#include "runtime/file.h"
#include "tests/unit/record_run.h"

static const char *const forms[] = {"o.npy", "o.npz", "o.jsonl", "o.csv", "o.sqlite", "o/"};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

static char *text_of(const char *name)
{
    static char *text;
    size_t bytes;
    ivl_error error = {0};

    ivl__free(text);
    assert_ok(ivl__file_read(in_folder(name), 1 << 20, (unsigned char **)&text, &bytes, &error),
              error);
    return text;
}

static void must_run(run *r)
{
    ivl_error error = {0};

    assert_ok(run_it(r, &error), error);
}

/* The tree of an uninterrupted run of `r` in the same form. */
static ivl__text reference(const run *r, const char *form)
{
    run whole = *r;

    whole.path = fresh_output("ref", form);
    whole.stop = 0;
    whole.retry = whole.force = false;
    must_run(&whole);
    return tree_of(in_folder("ref"));
}

/* ---- contents ---------------------------------------------------------------------------- */

static void arrays_and_lines(void **state)
{
    run r = run_of(fresh_output("a", "o.npy"));
    ivl_error error = {0};
    ivl__npy npy;
    float *data;

    (void)state;
    must_run(&r);
    assert_int_equal(r.counts.rows, 9);
    assert_int_equal(r.counts.errors, 3);
    assert_ok(ivl__npy_read(in_folder("a/o.npy"), 4096, &npy, (void **)&data, &error), error);
    assert_int_equal(npy.shape[0], 9);
    assert_int_equal(npy.shape[1], 3);
    /* Inputs 0, 2, 3, 5, ... are rows. */
    assert_true(data[0] == value_of(0, 0, 0) && data[4] == value_of(2, 0, 1));
    assert_true(data[26] == value_of(11, 0, 2));
    ivl__free(data);
    assert_ok(ivl__npy_read(in_folder("a/o.text.npy"), 4096, &npy, (void **)&data, &error), error);
    assert_int_equal(npy.rank, 3);
    assert_true(npy.shape[0] == 9 && npy.shape[1] == 1 && npy.shape[2] == 2);
    assert_true(data[17] == value_of(11, 1, 1));
    ivl__free(data);
    assert_string_equal(text_of("a/o.errors.jsonl"),
                        "{\"key\": \"k1.jpg\", \"error\": \"no \\\"picture\\\"\", \"input\": 1}\n"
                        "{\"key\": \"k4.jpg\", \"error\": \"no \\\"picture\\\"\", \"input\": 4}\n"
                        "{\"key\": \"k7.jpg\", \"error\": \"no \\\"picture\\\"\", \"input\": 7}\n");
    assert_non_null(strstr(text_of("a/o.jsonl"),
                           "{\"row\": 0, \"key\": \"a,b.jpg\"}\n"
                           "{\"row\": 1, \"key\": \"k2.jpg\", \"n\": [1, 2]}\n"
                           "{\"row\": 2, \"key\": \"say \\\"x\\\".png\", \"width\": 643, "
                           "\"height\": 480}\n"
                           "{\"row\": 3, \"key\": \"k5.jpg\", \"width\": 645, \"height\": 480, "
                           "\"caption\": \"a \\\"cat\\\"\"}\n"));
    assert_non_null(strstr(text_of("a/o.jsonl"), "\"key\": \"\\udcff\\udcfe.jpg\""));
    assert_non_null(strstr(text_of("a/o.meta.json"), "\"identity\": {\n    \"model\": \"m1\""));
}

/* The numbers behind `start` are exactly those of a row. */
static void assert_numbers(const char *text, const char *start, int input, int stream, int n)
{
    const char *at = strstr(text, start);

    assert_non_null(at);
    at += strlen(start);
    for (int k = 0; k < n; k++) {
        char *end;

        assert_true(strtof(at, &end) == value_of(input, stream, k));
        at = end + strspn(end, ", ");
    }
}

static void texts_hold_vectors(void **state)
{
    run r = run_of(fresh_output("a", "o.jsonl"));

    (void)state;
    must_run(&r);
    assert_numbers(text_of("a/o.jsonl"),
                   "{\"row\": 1, \"key\": \"k2.jpg\", \"n\": [1, 2], \"vector\": [", 2, 0, 3);
    assert_int_equal(ivl__file_kind_of(in_folder("a/o.text.jsonl")), IVL__FILE_REGULAR);
    r = run_of(fresh_output("a", "o.csv"));
    must_run(&r);
    assert_memory_equal(text_of("a/o.csv"), "key,v0,v1,v2\n\"a,b.jpg\",0,", 25);
    assert_numbers(text_of("a/o.text.csv"), "\n\"say \"\"x\"\".png\",", 3, 1, 2);
    assert_numbers(text_of("a/o.csv"), "\n\"two\nlines\",", 6, 0, 3);
}

static void halves_are_rounded_to_even(void **state)
{
    run r = run_of(fresh_output("a", "o.npy"));
    ivl_error error = {0};
    ivl__npy npy;
    uint16_t *data;

    (void)state;
    r.type = IVL__NPY_F2;
    must_run(&r);
    assert_ok(ivl__npy_read(in_folder("a/o.npy"), 4096, &npy, (void **)&data, &error), error);
    assert_int_equal(npy.type, IVL__NPY_F2);
    assert_int_equal(data[26], ivl__float_to_f16(value_of(11, 0, 2)));
    ivl__free(data);
}

static void folders_have_units(void **state)
{
    static const char *const files[] = {"img_emb/img_emb_000000.npy",
                                        "text_emb/text_emb_000002.npy",
                                        "metadata/metadata_000001.jsonl",
                                        "errors/errors_000001.jsonl",
                                        "done/000002.json",
                                        "manifest.json",
                                        "totals.json"};
    run r = run_of(fresh_output("a", "o/"));

    (void)state;
    must_run(&r);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[128];

        snprintf(name, sizeof name, "a/o/%s", files[i]);
        assert_int_equal(ivl__file_kind_of(in_folder(name)), IVL__FILE_REGULAR);
    }
    assert_non_null(strstr(text_of("a/o/metadata/metadata_000001.jsonl"), "{\"row\": 0, "));
    assert_non_null(strstr(text_of("a/o/totals.json"), "\"inputs\": 12"));
}

/* Empty outputs are outputs: no rows, all files. */
static void nothing_gives_empty_files(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(fresh_output("a", forms[f]));
        ivl__text before;

        memset(r.sizes, 0, sizeof r.sizes);
        r.sizes[0] = r.sizes[1] = -1;
        must_run(&r);
        before = tree_of(in_folder("a"));
        must_run(&r);
        assert_tree(in_folder("a"), &before, forms[f]);
        ivl__text_free(&before);
    }
}

/* ---- going on ---------------------------------------------------------------------------- */

/* A finished output is left alone, whatever its time stamps. */
static void finished_outputs_are_found(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(fresh_output("a", forms[f]));
        ivl__text before;

        must_run(&r);
        before = tree_of(in_folder("a"));
        must_run(&r);
        assert_int_equal(r.added, 0);
        assert_int_equal(r.counts.found_rows, 9);
        assert_int_equal(r.counts.found_errors, 3);
        assert_tree(in_folder("a"), &before, forms[f]);
        ivl__text_free(&before);
    }
}

/* Left after k inputs with any batch size and rhythm of syncs: at most one batch is done twice. */
static void interrupted_runs_go_on(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        for (int batch = 1; batch <= 3; batch++) {
            for (int stop = batch; stop <= 12; stop += batch + 1) {
                run r = run_of(NULL);
                ivl__text wanted;
                int added;

                r.batch = batch;
                r.sync = stop % 2 ? 0 : 1e9;
                r.type = stop % 3 ? IVL__NPY_F4 : IVL__NPY_F2;
                wanted = reference(&r, forms[f]);
                r.path = fresh_output("a", forms[f]);
                r.stop = stop;
                must_run(&r);
                added = r.added;
                r.stop = 0;
                must_run(&r);
                assert_true(added + r.added < 12 + batch);
                assert_tree(in_folder("a"), &wanted, forms[f]);
                ivl__text_free(&wanted);
            }
        }
    }
}

static void many_short_runs_equal_one(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(NULL);
        ivl__text wanted = reference(&r, forms[f]);

        r.path = fresh_output("a", forms[f]);
        r.batch = 1;
        r.stop = 1;
        do {
            must_run(&r);
        } while (r.added);
        assert_tree(in_folder("a"), &wanted, forms[f]);
        ivl__text_free(&wanted);
    }
}

static void appended_inputs_continue(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(NULL);
        ivl__text wanted;

        r.sizes[2] = 5;
        r.sizes[3] = 2;
        wanted = reference(&r, forms[f]);
        r.path = fresh_output("a", forms[f]);
        r.sizes[2] = 3;
        r.sizes[3] = 0;
        must_run(&r);
        r.sizes[2] = 5;
        r.sizes[3] = 2;
        r.stop = 1;
        must_run(&r);
        assert_int_equal(r.added, 1);
        r.stop = 0;
        must_run(&r);
        assert_int_equal(r.counts.found_rows + r.counts.rows, 13);
        assert_tree(in_folder("a"), &wanted, forms[f]);
        ivl__text_free(&wanted);
    }
}

static void failures_are_tried_again(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        for (int finished = 0; finished < 2; finished++) {
            run r = run_of(NULL);
            ivl__text wanted;

            r.failing = 1u << 4;
            wanted = reference(&r, forms[f]);
            r.path = fresh_output("a", forms[f]);
            r.failing = 1u << 1 | 1u << 4 | 1u << 7;
            r.stop = finished ? 0 : 9;
            must_run(&r);
            r.failing = 1u << 4;
            r.retry = true;
            r.batch = 1;
            r.stop = 2;
            must_run(&r);
            r.stop = 0;
            must_run(&r);
            assert_int_equal(r.counts.found_rows + r.counts.rows, 11);
            assert_tree(in_folder("a"), &wanted, forms[f]);
            ivl__text_free(&wanted);
        }
    }
}

/* A retry that was left, gone on without: what was not tried again stays as it was. */
static void an_interrupted_retry_ends_without(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(NULL);
        ivl__text wanted;

        r.failing = 1u << 4 | 1u << 7;
        wanted = reference(&r, forms[f]);
        r.path = fresh_output("a", forms[f]);
        r.failing |= 1u << 1;
        must_run(&r);
        r.failing = 0;
        r.retry = true;
        r.batch = r.stop = 1;
        must_run(&r);
        r.retry = false;
        r.stop = 0;
        must_run(&r);
        assert_int_equal(r.added, 0);
        assert_int_equal(r.counts.found_errors, 2);
        assert_tree(in_folder("a"), &wanted, forms[f]);
        ivl__text_free(&wanted);
    }
}

static void shards_share_a_folder(void **state)
{
    run r = run_of(NULL);
    ivl__text wanted = reference(&r, "o/");

    (void)state;
    r.path = fresh_output("a", "o/");
    r.shards = 2;
    r.shard = 1;
    must_run(&r);
    r.shard = 0;
    must_run(&r);
    assert_tree(in_folder("a"), &wanted, "shards");
    ivl__text_free(&wanted);
}

/* ---- refusals ---------------------------------------------------------------------------- */

static void other_identities_are_refused(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        for (int stop = 0; stop <= 6; stop += 6) {
            run r = run_of(fresh_output("a", forms[f]));
            run other = r;
            ivl_error error = {0};
            ivl__text before, wanted;

            r.stop = stop;
            must_run(&r);
            before = tree_of(in_folder("a"));
            other.identity = "{\"model\":\"m1\",\"mode\":\"c\",\"size\":224}";
            assert_fails(run_it(&other, &error), IVL_INVALID_ARGUMENT, error,
                         "mode is \"vit\", this run has \"c\"");
            other.identity = "{\"model\":\"m1\",\"mode\":\"vit\",\"size\":224,\"pool\":1}";
            assert_fails(run_it(&other, &error), IVL_INVALID_ARGUMENT, error,
                         "pool is (nothing), this run has 1");
            other = r;
            other.type = IVL__NPY_F2;
            assert_fails(run_it(&other, &error), IVL_INVALID_ARGUMENT, error,
                         "type is \"float32\", this run has \"float16\"");
            other = r;
            other.provenance = "{\"device\":\"e\"}";
            other.same_numerics = true;
            assert_fails(run_it(&other, &error), IVL_INVALID_ARGUMENT, error,
                         "device is \"d\", this run has \"e\"");
            assert_tree(in_folder("a"), &before, forms[f]);
            other.identity = "{\"model\":\"m2\"}";
            other.force = true;
            other.stop = 0;
            must_run(&other);
            wanted = reference(&other, forms[f]);
            assert_tree(in_folder("a"), &wanted, forms[f]);
            ivl__text_free(&before);
            ivl__text_free(&wanted);
        }
    }
}

static void changed_inputs_are_refused(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        run r = run_of(fresh_output("a", forms[f]));
        ivl_error error = {0};

        must_run(&r);
        r.changed = 1;
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error,
                     "input 0 of unit 0 was 'a,b.jpg', now it is 'changed.jpg'");
        r.changed = 3;
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "have changed");
        r.changed = 12;
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "was 'k11.jpg'");
        r.changed = 0;
        r.rewritten = 5;
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "have changed");
        r.rewritten = 0;
        r.sizes[2] = 2;
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "inputs, now ");
    }
}

static void changed_units_are_refused(void **state)
{
    run r = run_of(fresh_output("a", "o/"));
    ivl_error error = {0};

    (void)state;
    must_run(&r);
    r.tar = 0;
    assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error,
                 "unit 0 is a list of files, now it is 'in \\udcff.tar'");
    r.tar = 1;
    r.sizes[2] = 0;
    assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "but it has a unit 2");
    r.force = true;
    must_run(&r);
    assert_false(ivl__file_exists(in_folder("a/o/done/000002.json")));
    assert_false(ivl__file_exists(in_folder("a/o/img_emb/img_emb_000002.npy")));
}

static void foreign_files_are_kept(void **state)
{
    static const struct {
        const char *form, *file;
    } cases[] = {
        {"o.npy", "a/o.npy"},      {"o.npy", "a/o.jsonl"},          {"o.npz", "a/o.npz"},
        {"o.csv", "a/o.text.csv"}, {"o.jsonl", "a/o.errors.jsonl"}, {"o.sqlite", "a/o.sqlite"},
        {"o.npy", "a/o.meta.json"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run r = run_of(fresh_output("a", cases[i].form));
        ivl_error error = {0};

        write_text(cases[i].file, "mine");
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, in_folder(cases[i].file));
        assert_string_equal(text_of(cases[i].file), "mine");
        r.force = true;
        must_run(&r);
    }
}

static void places_that_cannot_be_written(void **state)
{
    run r = run_of(fresh_output("a", "o"));
    ivl_error error = {0};

    (void)state;
    assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "end it with .npy");
    r.path = in_folder("a/none/o.npy");
    assert_fails(run_it(&r, &error), IVL_IO_ERROR, error, "a/none'");
    write_text("a/file", "x");
    r.path = in_folder("a/file/");
    assert_fails(run_it(&r, &error), IVL_IO_ERROR, error, "a/file");
    mkdir(in_folder("a/o.jsonl"), 0777);
    r.path = in_folder("a/o.npy");
    assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "o.jsonl', a file of the output");
    /* A second process at the same unit. */
    r.path = fresh_output("a", "o/");
    {
        bool busy;
        int fd;

        r.stop = 1;
        must_run(&r);
        assert_ok(
            ivl__lockfile_take(in_folder("a/o/done/000000.json.lock"), false, &fd, &busy, &error),
            error);
        assert_false(busy);
        assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error,
                     "is being written by another process");
        ivl__lockfile_release(in_folder("a/o/done/000000.json.lock"), fd);
        must_run(&r);
    }
}

/* ---- provenance -------------------------------------------------------------------------- */

static void provenance_is_kept(void **state)
{
    run r = run_of(fresh_output("a", "o.npy"));
    ivl__record_writer_options options = {
        .streams = two_streams, .n_streams = 2, .identity = r.identity};
    ivl__record_writer *w;
    ivl_error error = {0};

    (void)state;
    r.stop = 4;
    must_run(&r);
    assert_ok(ivl__record_writer_open(r.path, &options, &w, &error), error);
    assert_string_equal(ivl__record_writer_provenance(w), "{\"device\":\"d\"}");
    ivl__record_writer_free(w);
    r.provenance = "{\"device\":\"e\"}";
    r.stop = 0;
    must_run(&r);
    assert_non_null(strstr(text_of("a/o.meta.json"), "\"provenance\": {\n    \"device\": \"e\""));
    assert_non_null(strstr(text_of("a/o.meta.json"), "\"earlier_provenance\": [\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_and_lines),
        cmocka_unit_test(texts_hold_vectors),
        cmocka_unit_test(halves_are_rounded_to_even),
        cmocka_unit_test(folders_have_units),
        cmocka_unit_test(nothing_gives_empty_files),
        cmocka_unit_test(finished_outputs_are_found),
        cmocka_unit_test(interrupted_runs_go_on),
        cmocka_unit_test(many_short_runs_equal_one),
        cmocka_unit_test(appended_inputs_continue),
        cmocka_unit_test(failures_are_tried_again),
        cmocka_unit_test(an_interrupted_retry_ends_without),
        cmocka_unit_test(shards_share_a_folder),
        cmocka_unit_test(other_identities_are_refused),
        cmocka_unit_test(changed_inputs_are_refused),
        cmocka_unit_test(changed_units_are_refused),
        cmocka_unit_test(foreign_files_are_kept),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(provenance_is_kept),
    };

    return cmocka_run_group_tests(tests, folder_make_fast, folder_remove);
}
