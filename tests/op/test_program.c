/* test_program.c - kernels by name, checked launches, the cache on disk, self-test and profile. */
#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/profile.h"
#include "runtime/selftest.h"
#include "tests/op/op_test.h"

#include <dirent.h>
#include <unistd.h>

static ivl__device_info chosen;
static char folder[] = "/tmp/ivl-test-program-XXXXXX";
static char last_log[2000];
static int n_logged;

static void keep_log(void *user, ivl_log_level level, const char *text)
{
    (void)user;
    if (level <= IVL_LOG_INFO) {
        snprintf(last_log, sizeof last_log, "%s", text);
        n_logged++;
    }
}

static void write_file(const char *name, const char *text)
{
    char path[300];
    ivl_error error = {0};

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(ivl__file_replace(path, text, strlen(text), &error), error);
}

/* The only file of a folder below the test's, "" when there is none. */
static int find_file(const char *sub, char *path, size_t bytes)
{
    char where[300];
    int n = 0;
    DIR *dir;

    snprintf(where, sizeof where, "%s/%s", folder, sub);
    dir = opendir(where);
    path[0] = '\0';
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            snprintf(path, bytes, "%s/%.200s", where, e->d_name);
            n++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static ivl__device *open_with(const ivl__device_options *options)
{
    ivl__device *opened = NULL;
    ivl_error error = {0};

    assert_ok(ivl__device_open(&chosen, options, &opened, &error), error);
    return opened;
}

static void kernels_are_remembered(void **state)
{
    ivl_error error = {0};
    ivl__kernel *a;
    ivl__kernel *b;
    ivl__kernel *c;

    (void)state;
    assert_ok(ivl__kernel_get(device, "probe.cl", "", "probe_language", &a, &error), error);
    assert_ok(ivl__kernel_get(device, "probe.cl", "", "probe_language", &b, &error), error);
    assert_ok(ivl__kernel_get(device, "probe.cl", "-DX=1", "probe_language", &c, &error), error);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_string_equal(a->name, "probe.cl:probe_language");
    assert_int_equal(a->required[0], 32);
    assert_int_not_equal(ivl__kernel_get(device, "probe.cl", "", "nothing", &a, &error), IVL_OK);
}

static void launches_are_checked(void **state)
{
    const size_t groups = 1;
    const size_t wrong = 16;
    const size_t right = 32;
    ivl_error error = {0};
    ivl__kernel *kernel;
    size_t too_much = (size_t)device->caps.local_mem + 1;

    (void)state;
    assert_ok(ivl__kernel_get(device, "probe.cl", "", "probe_language", &kernel, &error), error);
    assert_fails(IVL__LAUNCH(device, kernel, 1, &groups, &wrong, &error, ivl__arg_int(0)),
                 IVL_INTERNAL, error, "32 x 1 x 1");
    assert_fails(IVL__LAUNCH(device, kernel, 1, &groups, &right, &error, ivl__arg_local(too_much)),
                 IVL_UNSUPPORTED, error, "local memory");
}

static void group_limits_are_checked(void **state)
{
    const ivl__device_options options = {.kernel_dir = folder, .skip_self_test = true};
    const size_t groups[2] = {1, 1};
    size_t local[2];
    ivl_error error = {0};
    ivl__kernel *kernel;
    ivl__device *d;

    (void)state;
    write_file("common.h", "");
    write_file("one.cl", "__kernel void write_one(__global int *p) { p[get_global_id(0)] = 1; }\n");
    d = open_with(&options);
    assert_ok(ivl__kernel_get(d, "one.cl", "", "write_one", &kernel, &error), error);
    local[0] = d->caps.max_work_group;
    local[1] = 2;
    assert_fails(IVL__LAUNCH(d, kernel, 2, groups, local, &error, ivl__arg_int(0)), IVL_UNSUPPORTED,
                 error, "work-groups of");
    local[0] = d->caps.max_items[0] + 1;
    assert_fails(IVL__LAUNCH(d, kernel, 1, groups, local, &error, ivl__arg_int(0)), IVL_UNSUPPORTED,
                 error, "dimension 0");
    ivl__device_close(d);
}

static void build_logs_name_the_line(void **state)
{
    const ivl__device_options options = {.kernel_dir = folder, .skip_self_test = true};
    ivl_error error = {0};
    ivl__kernel *kernel;
    ivl__device *d = NULL;

    (void)state;
    write_file("common.h", "/* one */\n/* two */\n");
    write_file("bad.cl", "#include \"part.h\"\n__kernel void bad(__global float *p)\n{\n"
                         "    p[0] = no_such_name;\n}\n");
    write_file("part.h", "/* a */\n/* b */\n/* c */\n");
    d = open_with(&options);
    assert_fails(ivl__kernel_get(d, "bad.cl", "", "bad", &kernel, &error), IVL_DEVICE_FAILED, error,
                 "no_such_name");
    printf("%s\n", error.message);
    assert_non_null(strstr(error.message, "bad.cl"));
    assert_non_null(strstr(error.message, "CL_BUILD_PROGRAM_FAILURE"));
    /* Oclgrind numbers the lines of the text it got. */
    if (!strstr(chosen.platform, "Oclgrind")) {
        assert_non_null(strstr(error.message, "bad.cl:4"));
    }
    ivl__device_close(d);
}

/* Builds the probe with the cache in the test's folder, also on drivers that have their own. */
static void build_cached(void)
{
    const ivl__device_options options = {.cache_dir = folder, .skip_self_test = true};
    ivl__device *d = open_with(&options);
    double max_error = 1.0;
    double bound = 0.0;
    ivl_error error = {0};

    d->caps.program_cache = true;
    assert_ok(ivl__selftest_language(d, &max_error, &bound, &error), error);
    assert_true(max_error <= bound);
    ivl__device_close(d);
}

static void damaged_binaries_are_rebuilt(void **state)
{
    unsigned char *good;
    unsigned char *now;
    size_t bytes;
    size_t bytes_now;
    char path[600];
    ivl_error error = {0};

    (void)state;
    build_cached();
    assert_int_equal(find_file("programs", path, sizeof path), 1);
    assert_ok(ivl__file_read(path, 1u << 28, &good, &bytes, &error), error);
    n_logged = 0;
    build_cached(); /* from the cache */
    assert_int_equal(n_logged, 0);
    for (size_t i = 0; i < 6; i++) {
        size_t cut[6] = {0, 7, 40, 80, bytes / 2, bytes - 1};
        size_t flip[6] = {0, 8, 20, 80, bytes / 2, bytes - 1};
        unsigned char *copy = malloc(bytes);

        memcpy(copy, good, bytes);
        copy[flip[i]] ^= 0x40;
        assert_ok(ivl__file_replace(path, copy, bytes, &error), error);
        n_logged = 0;
        build_cached();
        assert_int_equal(n_logged, 1);
        assert_non_null(strstr(last_log, "damaged"));
        assert_ok(ivl__file_replace(path, good, cut[i], &error), error);
        build_cached();
        assert_int_equal(n_logged, 2);
        free(copy);
    }
    /* The rebuilt file is whole again. */
    n_logged = 0;
    build_cached();
    assert_int_equal(n_logged, 0);
    assert_ok(ivl__file_read(path, 1u << 28, &now, &bytes_now, &error), error);
    assert_true(bytes_now > 80);
    ivl__free(now);
    ivl__free(good);
}

static void unwritable_caches_do_no_harm(void **state)
{
    const ivl__device_options options = {.cache_dir = "/proc/nothing", .skip_self_test = true};
    ivl_error error = {0};
    ivl__kernel *kernel;
    ivl__device *d = open_with(&options);

    (void)state;
    d->caps.program_cache = true;
    assert_ok(ivl__kernel_get(d, "probe.cl", "", "probe_language", &kernel, &error), error);
    ivl__device_close(d);
}

static int collect_result(void *user, const ivl__selftest_result *result)
{
    printf("  %-20s %s error %.3g bound %.3g %.3f s %s\n", result->name,
           result->verdict == IVL__SELFTEST_PASSED   ? "passed"
           : result->verdict == IVL__SELFTEST_FAILED ? "FAILED"
                                                     : "skipped",
           result->max_error, result->bound, result->seconds, result->message);
    (*(int *)user)++;
    return 0;
}

static int cancel_at_once(void *user, const ivl__selftest_result *result)
{
    (void)result;
    return ++*(int *)user;
}

static void self_tests_pass(void **state)
{
    ivl_error error = {0};
    int n = 0;
    int failed = -1;

    (void)state;
    assert_ok(ivl__selftest_run(device, collect_result, &n, &failed, &error), error);
    assert_int_equal(failed, 0);
    assert_true(n > 0);
    n = 0;
    assert_fails(ivl__selftest_run(device, cancel_at_once, &n, &failed, &error), IVL_CANCELLED,
                 error, "cancelled");
    assert_int_equal(n, 1);
}

static void verdicts_are_remembered(void **state)
{
    const ivl__device_options options = {.cache_dir = folder};
    char path[600];
    ivl__device *d = open_with(&options);

    (void)state;
    ivl__device_close(d);
    assert_int_equal(find_file("devices", path, sizeof path), 1);
    n_logged = 0;
    d = open_with(&options);
    assert_string_equal(ivl__facts_get(d, "selftest.language"), "passed");
    assert_int_equal(n_logged, 0); /* nothing was tested again */
    ivl__device_close(d);
}

static void count_span(void *user, const ivl__profile_span *span)
{
    assert_true(span->end >= span->start);
    assert_true(span->end <= ivl__now() + 1.0 && span->end > ivl__now() - 600.0);
    (*(int *)user)++;
}

static void stages_are_timed(void **state)
{
    const ivl__device_options options = {.profiling = true, .skip_self_test = true};
    ivl__device *d = open_with(&options);
    const ivl__profile_stage *stages;
    double max_error = 1.0;
    double bound = 0.0;
    int spans = 0;
    ivl_error error = {0};

    (void)state;
    ivl__profile_listen(d, count_span, &spans);
    ivl__device_stage(d, "probing");
    assert_ok(ivl__selftest_language(d, &max_error, &bound, &error), error);
    ivl__device_stage(d, "again");
    assert_ok(ivl__selftest_language(d, &max_error, &bound, &error), error);
    assert_ok(ivl__profile_collect(d, &error), error);
    if (d->caps.event_times) {
        /* The bf16 probe at open ran before a stage was named. */
        size_t n = ivl__profile_stages(d, &stages);

        assert_true(n >= 2);
        assert_string_equal(stages[n - 2].name, "probing");
        assert_string_equal(stages[n - 1].name, "again");
        assert_int_equal(stages[n - 1].commands, 1);
        assert_true(stages[n - 1].seconds >= 0.0);
        assert_true(spans >= 2);
    } else {
        assert_int_equal(ivl__profile_stages(d, &stages), 0);
    }
    ivl__device_close(d);
}

static void remove_folder(void)
{
    char command[200];

    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) {
        fprintf(stderr, "cannot remove %s\n", folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_remembered),
        cmocka_unit_test(launches_are_checked),
        cmocka_unit_test(group_limits_are_checked),
        cmocka_unit_test(build_logs_name_the_line),
        cmocka_unit_test(damaged_binaries_are_rebuilt),
        cmocka_unit_test(unwritable_caches_do_no_harm),
        cmocka_unit_test(self_tests_pass),
        cmocka_unit_test(verdicts_are_remembered),
        cmocka_unit_test(stages_are_timed),
    };
    int failed;

    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    ivl_set_log(keep_log, NULL);
    op_test_choose(&chosen);
    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    op_test_close();
    return failed;
}
