/* test_record_crash.c - the process ends, or a file operation fails, anywhere: the next run gives
 * the bytes of one that was not disturbed.
 *
 * The linker sends every file operation of the writer through the __wrap_ functions below.
 */
#include "loader/npy.h"
#include "runtime/file.h"
#include "tests/unit/record_run.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *const forms[] = {"o.npy", "o.npz", "o.jsonl", "o.csv", "o.sqlite", "o/"};
enum { N_FORMS = sizeof forms / sizeof forms[0] };

/* ---- the operation that goes wrong ------------------------------------------------------- */

typedef enum mishap {
    NOTHING,
    EXIT_BEFORE, /* the process ends before the operation */
    EXIT_WITHIN, /* a write gets half of its bytes to the file; else the process ends after it */
    FAIL         /* the operation fails, and so do all later ones: a full disk */
} mishap;

static mishap what;
static int left; /* operations until then */

enum { ENDED = 9 };

static bool goes_wrong(void)
{
    if (what == NOTHING || left-- > 0) {
        return false;
    }
    if (what == EXIT_BEFORE) {
        _exit(ENDED);
    }
    return true;
}

static ivl_status fails(ivl_error *error)
{
    if (what == EXIT_WITHIN) {
        _exit(ENDED);
    }
    return ivl__fail(error, IVL_IO_ERROR, "no room (test)");
}

#define WRAPPED(name, parameters, arguments)                   \
    ivl_status __real_##name parameters;                       \
    ivl_status __wrap_##name parameters;                       \
    ivl_status __wrap_##name parameters                        \
    {                                                          \
        bool wrong = goes_wrong();                             \
                                                               \
        if (wrong && what == EXIT_WITHIN) {                    \
            __real_##name arguments;                           \
        }                                                      \
        return wrong ? fails(error) : __real_##name arguments; \
    }

WRAPPED(ivl__file_rename, (const char *from, const char *to, ivl_error *error), (from, to, error))
WRAPPED(ivl__file_remove, (const char *path, ivl_error *error), (path, error))
WRAPPED(ivl__file_sync, (int fd, const char *path, ivl_error *error), (fd, path, error))
WRAPPED(ivl__file_create, (const char *path, int *fd, ivl_error *error), (path, fd, error))
WRAPPED(ivl__file_truncate, (int fd, const char *path, uint64_t bytes, ivl_error *error),
        (fd, path, bytes, error))
WRAPPED(ivl__file_replace, (const char *path, const void *data, size_t bytes, ivl_error *error),
        (path, data, bytes, error))

ivl_status __real_ivl__file_pwrite(int fd, const char *path, uint64_t offset, const void *data,
                                   size_t bytes, ivl_error *error);
ivl_status __wrap_ivl__file_pwrite(int fd, const char *path, uint64_t offset, const void *data,
                                   size_t bytes, ivl_error *error);
ivl_status __wrap_ivl__file_pwrite(int fd, const char *path, uint64_t offset, const void *data,
                                   size_t bytes, ivl_error *error)
{
    if (!goes_wrong()) {
        return __real_ivl__file_pwrite(fd, path, offset, data, bytes, error);
    }
    __real_ivl__file_pwrite(fd, path, offset, data, bytes / 2, error);
    return fails(error);
}

/* ---- scenarios --------------------------------------------------------------------------- */

typedef struct scenario {
    const char *name;
    void (*before)(run *r);    /* what lies there */
    void (*disturbed)(run *r); /* the run that goes wrong, and the one after it */
} scenario;

static void fresh(run *r)
{
    (void)r;
}

static void must_run(run *r)
{
    ivl_error error = {0};

    assert_ok(run_it(r, &error), error);
}

static void before_append(run *r)
{
    run shorter = *r;

    shorter.sizes[2] = 1;
    must_run(&shorter);
}

static void before_retry(run *r)
{
    run worse = *r;

    worse.failing |= 1u << 1 | 1u << 7;
    must_run(&worse);
}

static void before_open_retry(run *r)
{
    run worse = *r;

    worse.failing |= 1u << 1 | 1u << 7;
    worse.stop = 10;
    must_run(&worse);
}

static void retry(run *r)
{
    r->retry = true;
}

static void before_force(run *r)
{
    run other = *r;

    other.identity = "{\"model\":\"m2\"}";
    must_run(&other);
}

static void force(run *r)
{
    r->force = true;
}

static const scenario scenarios[] = {
    {"fresh", fresh, fresh},          {"appended", before_append, fresh},
    {"retried", before_retry, retry}, {"retried while open", before_open_retry, retry},
    {"forced", before_force, force},
};

static run scenario_run(const char *path, double sync)
{
    run r = run_of(path);

    r.failing = 1u << 4;
    r.sync = sync;
    return r;
}

/* A child does the run and ends at operation n; false when it came to its end before. */
static bool crashed(run *r, int n)
{
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        ivl_error error = {0};

        left = n;
        _exit(run_it(r, &error) == IVL_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == ENDED);
    return WEXITSTATUS(status) == ENDED;
}

static bool failed(run *r, int n)
{
    ivl_error error = {0};
    ivl_status status;

    left = n;
    status = run_it(r, &error);
    if (status != IVL_OK) {
        assert_int_equal(status, IVL_IO_ERROR);
    }
    return status != IVL_OK;
}

/* Every operation of one scenario in turn. */
static int disturb(const scenario *s, const char *form, mishap how, double sync)
{
    run r = scenario_run(fresh_output("ref", form), sync);
    ivl__text wanted;
    bool hit = true;
    int n = 0;

    must_run(&r);
    wanted = tree_of(in_folder("ref"));
    for (; hit; n++) {
        char when[128];

        r = scenario_run(fresh_output("a", form), sync);
        s->before(&r);
        s->disturbed(&r);
        what = how;
        hit = how == FAIL ? failed(&r, n) : crashed(&r, n);
        what = NOTHING;
        must_run(&r);
        snprintf(when, sizeof when, "%s, operation %d, %s", s->name, n,
                 how == FAIL ? "fails" : "exit");
        assert_tree(in_folder("a"), &wanted, when);
    }
    ivl__text_free(&wanted);
    return n;
}

static void disturb_all(mishap how)
{
    for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++) {
        for (int f = 0; f < N_FORMS; f++) {
            int n = disturb(&scenarios[s], forms[f], how, f % 2 ? 0 : 1e9);

            assert_true(n > 10); /* The linker did wrap them. */
        }
    }
}

static void the_process_ends_before_any_operation(void **state)
{
    (void)state;
    disturb_all(EXIT_BEFORE);
}

static void the_process_ends_within_any_operation(void **state)
{
    (void)state;
    disturb_all(EXIT_WITHIN);
}

static void any_operation_fails(void **state)
{
    (void)state;
    disturb_all(FAIL);
}

/* ---- files that are cut ------------------------------------------------------------------ */

/* Cuts one file of an interrupted run to every length. A journal without its object is refused by
 * name; everything else is made good. */
static void cut(const char *form, const char *name, bool journal)
{
    run r = scenario_run(fresh_output("ref", form), 1e9);
    ivl__text wanted;
    uint64_t bytes = 1;
    uint64_t refused = 0;
    ivl_error error = {0};

    must_run(&r);
    wanted = tree_of(in_folder("ref"));
    for (uint64_t n = 0; n <= bytes; n++) {
        ivl_status status;
        int fd;

        r = scenario_run(fresh_output("a", form), 1e9);
        r.stop = 9;
        must_run(&r);
        assert_ok(ivl__file_create(in_folder(name), &fd, &error), error);
        assert_ok(ivl__file_bytes(fd, name, &bytes, &error), error);
        assert_true(bytes > 0);
        assert_ok(ivl__file_truncate(fd, name, n < bytes ? n : bytes, &error), error);
        ivl__file_close(fd);
        r.stop = 0;
        status = run_it(&r, &error);
        if (status != IVL_OK) {
            assert_true(journal);
            assert_int_equal(status, IVL_INVALID_ARGUMENT);
            assert_non_null(strstr(error.message, "pass --force"));
            refused++;
            r.force = true;
            must_run(&r);
        }
        assert_tree(in_folder("a"), &wanted, name);
    }
    /* The lines behind the object are there to be lost. */
    assert_true(!journal || (refused > 0 && refused + 200 < bytes));
    ivl__text_free(&wanted);
}

static void cut_files_are_made_good(void **state)
{
    (void)state;
    cut("o.npy", "a/o.npy.part", false);
    cut("o.npy", "a/o.jsonl.part", false);
    cut("o.npy", "a/o.errors.jsonl.part", false);
    cut("o.csv", "a/o.text.csv.part", false);
    cut("o.jsonl", "a/o.jsonl.part", false);
    cut("o.npy", "a/o.meta.json.part", true);
}

/* After a power cut the bytes that were not synced may be anything. */
static void unsynced_bytes_are_checked(void **state)
{
    run r = scenario_run(fresh_output("ref", "o.npy"), 1e9);
    ivl__text wanted;
    ivl_error error = {0};

    (void)state;
    must_run(&r);
    wanted = tree_of(in_folder("ref"));
    for (uint64_t row = 0; row < 8; row++) {
        const unsigned char zeros[12] = {0};
        int fd;

        r = scenario_run(fresh_output("a", "o.npy"), 1e9);
        r.stop = 9;
        must_run(&r);
        assert_ok(ivl__file_create(in_folder("a/o.npy.part"), &fd, &error), error);
        /* The first commit (two rows) is synced. */
        assert_ok(ivl__file_pwrite(fd, "o.npy.part",
                                   IVL__NPY_HEADER_BYTES + (row < 2 ? 7 : row) * 12, zeros,
                                   sizeof zeros, &error),
                  error);
        ivl__file_close(fd);
        r.stop = 0;
        must_run(&r);
        assert_tree(in_folder("a"), &wanted, "zeros behind the last sync");
    }
    ivl__text_free(&wanted);
}

/* Files that vanish are computed anew; files that somebody changed are not overwritten. */
static void finished_files_are_looked_at(void **state)
{
    (void)state;
    for (int f = 0; f < N_FORMS; f++) {
        const char *name = f == N_FORMS - 1 ? "a/o/img_emb/img_emb_000001.npy" : NULL;
        run r = scenario_run(fresh_output("a", forms[f]), 0);
        ivl__text wanted;
        ivl_error error = {0};
        char plain[32];

        snprintf(plain, sizeof plain, "a/%s", forms[f]);
        name = name ? name : plain;
        must_run(&r);
        wanted = tree_of(in_folder("a"));
        assert_int_equal(unlink(in_folder(name)), 0);
        must_run(&r);
        assert_int_equal(r.counts.damaged, 1);
        assert_tree(in_folder("a"), &wanted, name);
        ivl__text_free(&wanted);
        if (f != 1 && f != 4) { /* Packed forms keep no length. */
            FILE *file = fopen(in_folder(name), "ab");

            assert_non_null(file);
            assert_true(fputs("more", file) >= 0 && fclose(file) == 0);
            assert_fails(run_it(&r, &error), IVL_INVALID_ARGUMENT, error, "was changed since");
        }
    }
}

/* The system's own limit: files may not grow beyond a few bytes. */
static void limits_of_the_system(void **state)
{
    struct rlimit before;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (int f = 0; f < N_FORMS; f++) {
        for (rlim_t limit = 0; limit < 3000; limit = limit * 2 + 100) {
            run r = scenario_run(fresh_output("ref", forms[f]), 0);
            struct rlimit small = {limit, before.rlim_max};
            ivl_error error = {0};
            ivl__text wanted;
            ivl_status status;

            must_run(&r);
            wanted = tree_of(in_folder("ref"));
            r = scenario_run(fresh_output("a", forms[f]), 0);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
            status = run_it(&r, &error);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
            if (status != IVL_OK) {
                assert_int_equal(status, IVL_IO_ERROR);
                assert_non_null(strstr(error.message, in_folder("a/o")));
            }
            assert_true(status != IVL_OK || limit > 100);
            must_run(&r);
            assert_tree(in_folder("a"), &wanted, forms[f]);
            ivl__text_free(&wanted);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_process_ends_before_any_operation),
        cmocka_unit_test(the_process_ends_within_any_operation),
        cmocka_unit_test(any_operation_fails),
        cmocka_unit_test(cut_files_are_made_good),
        cmocka_unit_test(unsynced_bytes_are_checked),
        cmocka_unit_test(finished_files_are_looked_at),
        cmocka_unit_test(limits_of_the_system),
    };

    return cmocka_run_group_tests(tests, folder_make_fast, folder_remove);
}
