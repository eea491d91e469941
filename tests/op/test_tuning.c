/* test_tuning.c - `--gemm auto`: who wins, what is kept, and that wrong numbers never win. */
#include "runtime/tuning.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/tuning_file.h"
#include "tests/folder.h"
#include "tests/op/op_test.h"

#include <time.h>

/* ---- log ----------------------------------------------------------------------------------- */

static int n_warnings;
static char last_warning[400];

static void keep_log(void *user, ivl_log_level level, const char *text)
{
    (void)user;
    if (level <= IVL_LOG_WARNING) {
        n_warnings++;
        snprintf(last_warning, sizeof last_warning, "%s", text);
    }
}

/* ---- races --------------------------------------------------------------------------------- */

/* Times of a pretended race; negative: wrong numbers. Its clock is the sum of what was run. */
typedef struct pretended {
    const double *probe, *later;
    int runs[8];
    double now;
} pretended;

static bool run_pretended(void *user, int candidate, bool probe, double *seconds)
{
    pretended *p = user;

    *seconds = probe ? p->probe[candidate] : p->later[candidate];
    p->runs[candidate]++;
    p->now += fabs(*seconds);
    return *seconds >= 0.0;
}

static double pretended_clock(void *user)
{
    return ((pretended *)user)->now;
}

static int winner_of(pretended *p, int n, double deadline, double *seconds)
{
    const ivl__race race = {n, run_pretended, pretended_clock, p, deadline};

    return ivl__race_winner(&race, seconds);
}

static void the_fastest_wins(void **state)
{
    static const double probe[4] = {3.0, 2.0, 4.1, 3.9};
    static const double later[4] = {1.5, 1.9, 0.1, 1.5};
    pretended p = {.probe = probe, .later = later};
    double seconds = 0.0;

    (void)state;
    /* 2 is beyond twice the leader after its probe and never runs again; of 0 and 3, equal in the
     * end, the first; 1 led after the probes. */
    assert_int_equal(winner_of(&p, 4, 1e9, &seconds), 0);
    assert_true(seconds == 1.5);
    assert_int_equal(p.runs[2], 1);
    assert_int_equal(p.runs[0], 4);
}

static void the_only_one_left_wins_at_once(void **state)
{
    static const double probe[3] = {9.0, 1.0, 2.5};
    pretended p = {.probe = probe, .later = probe};
    double seconds = 0.0;

    (void)state;
    assert_int_equal(winner_of(&p, 3, 1e9, &seconds), 1);
    assert_int_equal(p.runs[1], 1);
}

static void wrong_numbers_never_win(void **state)
{
    static const double probe[3] = {-0.1, 2.0, 2.0};
    static const double later[3] = {0.1, -0.1, 2.0};
    static const double none[3] = {-1.0, -1.0, -1.0};
    pretended p = {.probe = probe, .later = later};
    pretended q = {.probe = none, .later = none};
    double seconds = -7.0;

    (void)state;
    /* 0 is wrong from the beginning, 1 later on. */
    assert_int_equal(winner_of(&p, 3, 1e9, &seconds), 2);
    assert_int_equal(p.runs[0], 1);
    assert_int_equal(p.runs[1], 2);
    assert_int_equal(winner_of(&q, 3, 1e9, &seconds), -1);
}

static void races_end_in_time(void **state)
{
    static const double probe[3] = {4.0, 3.0, 1.0};
    static const double later[3] = {0.5, 2.0, 1.0};
    pretended p = {.probe = probe, .later = later};
    double seconds = 0.0;

    (void)state;
    /* Two probes fit; the third would begin at 7. */
    assert_int_equal(winner_of(&p, 3, 6.5, &seconds), 1);
    assert_int_equal(p.runs[2], 0);
    assert_true(seconds == 3.0);
    p = (pretended){.probe = probe, .later = later};
    assert_int_equal(winner_of(&p, 3, 0.0, &seconds), -1);
}

/* ---- files --------------------------------------------------------------------------------- */

static const ivl__gemm_tile_params some_tile = {64, 64, 16, 8, 16, 4, 4, 4, 4, 0, 1, 4};

static ivl__tuning_table some_table(void)
{
    ivl__tuning_table t = {.key = "0123456789abcdef0123456789abcdef"};
    ivl__tuning_entry a = {IVL_EXACT, {9600, 3200, IVL_BF16, &ivl__gemm_tile, some_tile}, 1.5, 64};
    ivl__tuning_entry b = {IVL_FAST, {9600, 3200, IVL_BF16, &ivl__gemm_cpu, {0}}, 2.25, 64};
    ivl__tuning_entry c = {IVL_EXACT, {77, 33, IVL_F32, &ivl__gemm_clblast, {0}}, 0.125, 3};

    assert_true(ivl__tuning_set(&t, &a) && ivl__tuning_set(&t, &b) && ivl__tuning_set(&t, &c));
    return t;
}

static void files_come_back(void **state)
{
    ivl__tuning_table t = some_table();
    ivl__tuning_table back;
    char *text = ivl__tuning_format(&t, "a device");
    const ivl__tuning_entry *e;
    ivl_error error = {0};

    (void)state;
    assert_non_null(text);
    assert_non_null(strstr(text, "# a device\n"));
    assert_non_null(strstr(text, "\nexact 9600 3200 bf16 tile 64x64x16/8x16/4x4x4/p4r0f1u4 "));
    assert_ok(ivl__tuning_parse("t", text, &back, &error), error);
    assert_false(back.edited);
    assert_string_equal(back.key, t.key);
    assert_int_equal(back.n, 3);
    e = ivl__tuning_find(&back, IVL_EXACT, 9600, 3200, IVL_BF16);
    assert_non_null(e);
    assert_ptr_equal(e->choice.backend, &ivl__gemm_tile);
    assert_memory_equal(&e->choice.tile, &some_tile, sizeof some_tile);
    assert_true(e->ms == 1.5 && e->rows == 64);
    e = ivl__tuning_find(&back, IVL_FAST, 9600, 3200, IVL_BF16);
    assert_ptr_equal(e->choice.backend, &ivl__gemm_cpu);
    assert_int_equal(e->choice.tile.mwg, 0);
    assert_null(ivl__tuning_find(&back, IVL_FAST, 77, 33, IVL_F32));
    /* A changed digit is an edit. */
    *strstr(text, "1.500") = '2';
    assert_ok(ivl__tuning_parse("t", text, &back, &error), error);
    assert_true(back.edited);
    ivl__free(text);
}

static void bad_files_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {"", "empty"},
        {"internvl-tuning 2\n", "t:1: "},
        {"\177ELF\n", "t:1: "},
        {"internvl-tuning 1\nkey abc\n", "t:2: a key"},
        {"internvl-tuning 1\n\nexact 3 4 bf16 tile\n", "t:3: "},
        {"internvl-tuning 1\nquick 3 4 bf16 tile -\n", "exact nor fast"},
        {"internvl-tuning 1\nexact 0 4 bf16 tile -\n", "positive"},
        {"internvl-tuning 1\nexact 3 4 int8 tile -\n", "fp32 nor fp16"},
        {"internvl-tuning 1\nexact 3 4 bf16 blas -\n", "no such backend"},
        {"internvl-tuning 1\nexact 3 4 bf16 tile 64x64\n", "parameters"},
        {"internvl-tuning 1\nexact 3 4 bf16 cpu 64x64x16/8x16/4x4x4/p4r0f1u4\n", "parameters"},
        {"internvl-tuning 1\nexact 3 4 bf16 cpu -\nexact 3 4 bf16 tile -\n", "t:3: there is a"},
    };
    char text[600];
    ivl__tuning_table table;
    ivl_error error = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_fails(ivl__tuning_parse("t", bad[i][0], &table, &error), IVL_BAD_INPUT, error,
                     bad[i][1]);
    }
    strcpy(text, "internvl-tuning 1\n");
    memset(text + strlen(text), 'x', 500);
    text[519] = '\0';
    assert_fails(ivl__tuning_parse("t", text, &table, &error), IVL_BAD_INPUT, error, "too long");
}

/* ---- the device ---------------------------------------------------------------------------- */

/* Backends of the test: both let `tile` work. One is slow and right, the other spoils a number at
 * the end of the last row. */
static int slow_runs, wrong_runs;

/* Four times as long as `tile`, whatever the device (a simulated one is slow itself), and 0.2 s at
 * least: beyond what a busy machine does to the fast one. */
static ivl_status run_slow(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const double start = ivl__now();
    struct timespec pause;
    double wait;

    slow_runs++;
    IVL__TRY(ivl__gemm_tile.run(gemm, call, error));
    assert_int_equal(clFinish(gemm->device->cl.compute), CL_SUCCESS);
    wait = fmax(0.2, 3.0 * (ivl__now() - start));
    pause.tv_sec = (time_t)wait;
    pause.tv_nsec = (long)((wait - (double)pause.tv_sec) * 1e9);
    nanosleep(&pause, NULL);
    return IVL_OK;
}

static ivl_status run_wrong(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const float spoiled = 3e5f;
    const size_t last = (size_t)call->m * (size_t)call->y_ld - 1;

    wrong_runs++;
    return ivl__cl_write(&gemm->device->cl, gemm->device->cl.compute, call->y.mem,
                         last * sizeof(float), &spoiled, sizeof spoiled, 0, NULL, NULL, error);
}

static ivl_status run_nearly_right(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    IVL__TRY(ivl__gemm_tile.run(gemm, call, error));
    return run_wrong(gemm, call, error);
}

static ivl__gemm open_auto(void)
{
    ivl__gemm gemm;
    ivl_error error = {0};

    assert_ok(ivl__gemm_open(device, "auto", IVL_EXACT, &gemm, &error), error);
    return gemm;
}

static const ivl__gemm_shape shapes[2] = {{96, 64, IVL_BF16}, {33, 40, IVL_F32}};

static char *kept_path(void)
{
    char key[65];
    static char path[600];

    ivl__device_key(device, "tuning-1", key);
    snprintf(path, sizeof path, "%s/tuning/%.32s.txt", folder, key);
    return path;
}

static ivl__gemm_backend slow, wrong, nearly;

/* Candidates: a wrong one that does nothing, one with a single wrong number, a slow one, `tile`. */
static ivl__tuning_request the_request(const ivl__tuning_candidate **candidates)
{
    static ivl__tuning_candidate all[4];

    slow = wrong = nearly = ivl__gemm_tile;
    slow.run = run_slow;
    slow.name = "slow";
    wrong.run = run_wrong;
    wrong.name = "wrong";
    nearly.run = run_nearly_right;
    nearly.name = "nearly";
    all[0].backend = &wrong;
    all[1].backend = &nearly;
    all[2].backend = &slow;
    all[3].backend = &ivl__gemm_tile;
    *candidates = all;
    return (ivl__tuning_request){.shapes = shapes,
                                 .n_shapes = 2,
                                 .candidates = all,
                                 .n_candidates = 4,
                                 .measure = true,
                                 .seconds = 60.0};
}

static void wrong_candidates_are_not_chosen(void **state)
{
    const ivl__tuning_candidate *candidates;
    ivl__tuning_request r = the_request(&candidates);
    ivl__gemm gemm = open_auto();
    unsigned char *text;
    size_t bytes;
    int measured;
    ivl_error error = {0};

    (void)state;
    device->options.cache_dir = folder;
    slow_runs = wrong_runs = n_warnings = 0;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 2);
    for (int i = 0; i < 2; i++) {
        assert_ptr_equal(gemm.choices[i].backend, &ivl__gemm_tile);
    }
    /* Two wrong ones, two matrices, one run each; the slow one is checked and timed once. */
    assert_int_equal(n_warnings, 4);
    assert_non_null(strstr(last_warning, "wrong numbers"));
    assert_int_equal(wrong_runs, 4);
    assert_true(slow_runs >= 4); /* more where `tile` takes longer than the delay */
    measured = slow_runs;
    assert_null(gemm.scratch);
    /* The next start reads. */
    assert_ok(ivl__file_read(kept_path(), 65536, &text, &bytes, &error), error);
    assert_non_null(strstr((char *)text, "\nexact 96 64 bf16 tile - "));
    ivl__free(text);
    ivl__gemm_close(&gemm);
    gemm = open_auto();
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 2);
    assert_int_equal(slow_runs, measured);
    ivl__gemm_close(&gemm);
    device->options.cache_dir = NULL;
}

/* Damages the kept file: it is told once, measured again and whole afterwards. */
static void check_damage(const char *text, size_t bytes, const char *message)
{
    const ivl__tuning_candidate *candidates;
    ivl__tuning_request r = the_request(&candidates);
    ivl__gemm gemm = open_auto();
    ivl__tuning_table table;
    unsigned char *now;
    ivl_error error = {0};

    r.candidates = candidates + 2; /* the right ones */
    r.n_candidates = 2;
    assert_ok(ivl__file_replace(kept_path(), text, bytes, &error), error);
    n_warnings = slow_runs = 0;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(last_warning, message));
    assert_true(slow_runs >= 4);
    assert_int_equal(gemm.n_choices, 2);
    ivl__gemm_close(&gemm);
    assert_ok(ivl__file_read(kept_path(), 65536, &now, &bytes, &error), error);
    assert_ok(ivl__tuning_parse("t", (char *)now, &table, &error), error);
    assert_false(table.edited);
    assert_int_equal(table.n, 2);
    ivl__free(now);
}

static void damaged_files_are_measured_again(void **state)
{
    ivl__tuning_table foreign = some_table();
    unsigned char *good;
    size_t bytes;
    char *text;
    ivl_error error = {0};

    (void)state;
    device->options.cache_dir = folder;
    assert_ok(ivl__file_read(kept_path(), 65536, &good, &bytes, &error), error);
    check_damage("internvl-tuning 9\n", 18, "begins with");
    check_damage("\0\377\377\377", 4, "empty");
    check_damage((char *)good, strlen("internvl-tuning 1\nkey 01"), "key");
    text = ivl__tuning_format(&foreign, "another");
    check_damage(text, strlen(text), "another device");
    ivl__free(text);
    ivl__free(good);
    device->options.cache_dir = NULL;
}

/* An edited file is used, after its choices were tried. */
static void edited_files_are_tried(void **state)
{
    const ivl__tuning_candidate *candidates;
    ivl__tuning_request r = the_request(&candidates);
    ivl__gemm gemm = open_auto();
    ivl__gemm_tile_params impossible = some_tile;
    char key[65];
    char text[600];
    char parameters[IVL__GEMM_TILE_TEXT];
    ivl_error error = {0};

    (void)state;
    device->options.cache_dir = folder;
    ivl__device_key(device, "tuning-1", key);
    snprintf(text, sizeof text,
             "internvl-tuning 1\nkey %.32s\nexact 96 64 bf16 tile -\nexact 33 40 fp32 tile -\n",
             key);
    assert_ok(ivl__file_replace(kept_path(), text, strlen(text), &error), error);
    n_warnings = slow_runs = 0;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(n_warnings, 0);
    assert_int_equal(slow_runs, 0);
    assert_int_equal(gemm.n_choices, 2);
    ivl__gemm_close(&gemm);
    /* Parameters that no device has. */
    impossible.mwg = 48;
    ivl__gemm_tile_params_text(&impossible, parameters);
    snprintf(text, sizeof text, "internvl-tuning 1\nkey %.32s\nexact 96 64 bf16 tile %s\n", key,
             parameters);
    check_damage(text, strlen(text), "cannot serve");
    device->options.cache_dir = NULL;
}

static void pinned_files_decide(void **state)
{
    ivl__tuning_request r = {.shapes = shapes, .n_shapes = 2, .measure = true};
    ivl__gemm gemm = open_auto();
    const ivl__gemm_backend *first = gemm.backend;
    ivl_error error = {0};

    (void)state;
    r.file = in_folder("pinned.txt");
    write_text("pinned.txt", "internvl-tuning 1\nexact 96 64 bf16 tile -\n");
    n_warnings = 0;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 2);
    assert_ptr_equal(gemm.choices[0].backend, &ivl__gemm_tile);
    assert_ptr_equal(gemm.choices[1].backend, first);
    assert_int_equal(n_warnings, 1); /* no key: another device's, for all we know */

    r.file = in_folder("missing.txt");
    assert_fails(ivl__gemm_tune(&gemm, &r, &error), IVL_BAD_INPUT, error, "missing.txt");
    r.file = in_folder("broken.txt");
    write_text("broken.txt", "internvl-tuning 1\nexact 96 64 bf16 tile 1x1\n");
    assert_fails(ivl__gemm_tune(&gemm, &r, &error), IVL_BAD_INPUT, error, "broken.txt:2");
    r.file = in_folder("impossible.txt");
    write_text("impossible.txt",
               "internvl-tuning 1\nexact 96 64 bf16 tile 48x64x16/8x16/4x4x4/p4r0f1u4\n");
    assert_fails(ivl__gemm_tune(&gemm, &r, &error), IVL_UNSUPPORTED, error, "impossible.txt");
    assert_non_null(strstr(error.message, "96 x 64"));
    ivl__gemm_close(&gemm);

    assert_ok(ivl__gemm_open(device, "tile", IVL_EXACT, &gemm, &error), error);
    assert_fails(ivl__gemm_tune(&gemm, &r, &error), IVL_INVALID_ARGUMENT, error, "--gemm auto");
    ivl__gemm_close(&gemm);
}

static void nothing_is_measured_without_need(void **state)
{
    const ivl__tuning_candidate *candidates;
    ivl__tuning_request r = the_request(&candidates);
    ivl__gemm gemm = open_auto();
    ivl_error error = {0};

    (void)state;
    slow_runs = wrong_runs = 0;
    /* No folder to remember in. */
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 0);
    /* One candidate. */
    device->options.cache_dir = in_folder("single");
    r.n_candidates = 1;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 0);
    /* Plans only look. */
    r.n_candidates = 4;
    r.measure = false;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 0);
    /* No time. */
    r.measure = true;
    r.seconds = 1e-9;
    assert_ok(ivl__gemm_tune(&gemm, &r, &error), error);
    assert_int_equal(gemm.n_choices, 0);
    assert_int_equal(slow_runs + wrong_runs, 0);
    device->options.cache_dir = NULL;
    ivl__gemm_close(&gemm);
}

static void candidates_fit_the_device(void **state)
{
    ivl__tuning_candidate all[IVL__TUNING_MAX_CANDIDATES];
    int n = ivl__tuning_candidates(device, IVL_EXACT, all);
    const char *reason = "";

    (void)state;
    assert_true(n >= 1);
    for (int i = 0; i < n; i++) {
        assert_true(ivl__gemm_is_candidate(device, IVL_EXACT, all[i].backend, &reason));
        assert_true(!all[i].tile.mwg || ivl__gemm_tile_params_valid(&all[i].tile, &device->caps));
    }
    if (device->caps.cpu) {
        ivl__caps caps = device->caps;

        assert_int_equal(n, 1);
        assert_ptr_equal(all[0].backend, &ivl__gemm_cpu);
        /* The same device as a GPU would have CLBlast and the parameter sets. */
        device->caps.cpu = false;
        n = ivl__tuning_candidates(device, IVL_EXACT, all);
        device->caps = caps;
        assert_true(n >= 2);
        assert_ptr_equal(all[0].backend, &ivl__gemm_tile);
        assert_ptr_equal(all[n - 1].backend, &ivl__gemm_clblast);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_wins),
        cmocka_unit_test(the_only_one_left_wins_at_once),
        cmocka_unit_test(wrong_numbers_never_win),
        cmocka_unit_test(races_end_in_time),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(candidates_fit_the_device),
        cmocka_unit_test(wrong_candidates_are_not_chosen),
        cmocka_unit_test(damaged_files_are_measured_again),
        cmocka_unit_test(edited_files_are_tried),
        cmocka_unit_test(pinned_files_decide),
        cmocka_unit_test(nothing_is_measured_without_need),
    };
    int failed;

    ivl_set_log(keep_log, NULL);
    op_test_open();
    failed = cmocka_run_group_tests(tests, folder_make, folder_remove);
    op_test_close();
    return failed;
}
