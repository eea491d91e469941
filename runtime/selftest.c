/* selftest.c - runs the known-answer tests and remembers their verdicts; see selftest.h. */
#include "runtime/selftest.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/program.h"
#include "runtime/selftest_list.h"
#include "runtime/trial.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef enum where { ANY, CPU, GPU } where;
typedef enum kind { BASELINE, OPTIONAL, SPARE } kind;

#define DECLARE(name)                                                                      \
    ivl_status ivl__selftest_##name(ivl__device *device, double *max_error, double *bound, \
                                    ivl_error *error);
#define DECLARE_BASELINE(name, place)         DECLARE(name)
#define DECLARE_OPTIONAL(name, place, member) DECLARE(name)
IVL__SELFTEST_LIST(DECLARE_BASELINE, DECLARE_OPTIONAL, DECLARE)

typedef struct selftest {
    const char *name;
    ivl_status (*run)(ivl__device *, double *, double *, ivl_error *);
    kind kind;
    where where;
    size_t member; /* of ivl__caps, of an optional unit */
} selftest;

#define BASELINE_ENTRY(name, place) {#name, ivl__selftest_##name, BASELINE, place, 0},
#define OPTIONAL_ENTRY(name, place, member) \
    {#name, ivl__selftest_##name, OPTIONAL, place, offsetof(ivl__caps, member)},
#define SPARE_ENTRY(name) {#name, ivl__selftest_##name, SPARE, ANY, 0},

static const selftest tests[] = {IVL__SELFTEST_LIST(BASELINE_ENTRY, OPTIONAL_ENTRY, SPARE_ENTRY)};

#define N_TESTS (sizeof tests / sizeof tests[0])

/* What a test means on this device: kernels made for another kind of device are spare here. */
static kind kind_on(const ivl__device *device, const selftest *test)
{
    bool here = test->where == ANY || (test->where == CPU) == device->caps.cpu;

    return here ? test->kind : SPARE;
}

static bool *switch_of(ivl__device *device, const selftest *test)
{
    return (bool *)((char *)&device->caps + test->member);
}

static void switch_off(ivl__device *device, const selftest *test)
{
    *switch_of(device, test) = false;
}

/* ---- running ----------------------------------------------------------------------------- */

static void judge(ivl__selftest_result *result, ivl_status status, char *message, size_t room)
{
    result->message = message;
    if (status == IVL_UNSUPPORTED) {
        result->verdict = IVL__SELFTEST_SKIPPED;
    } else if (status != IVL_OK) {
        result->verdict = IVL__SELFTEST_FAILED;
    } else if (!(result->max_error <= result->bound)) {
        result->verdict = IVL__SELFTEST_FAILED;
        snprintf(message, room, "error %.3g, allowed %.3g", result->max_error, result->bound);
    } else {
        result->verdict = IVL__SELFTEST_PASSED;
        message[0] = '\0';
    }
}

static ivl_status run_one(ivl__device *device, const selftest *test, ivl__selftest_result *result,
                          ivl_error *detail)
{
    double start = ivl__now();
    ivl_status status;

    *result = (ivl__selftest_result){.name = test->name,
                                     .baseline = kind_on(device, test) == BASELINE};
    if (test->kind == OPTIONAL && !*switch_of(device, test)) {
        status = ivl__fail(detail, IVL_UNSUPPORTED, "the device does not have it");
    } else {
        status = test->run(device, &result->max_error, &result->bound, detail);
    }
    judge(result, status, detail->message, sizeof detail->message);
    result->seconds = ivl__now() - start;
    if (result->verdict == IVL__SELFTEST_FAILED && test->kind == OPTIONAL) {
        switch_off(device, test);
        ivl__log(IVL_LOG_WARNING, "%s (driver %s): %s fails its self-test and is not used: %s",
                 device->info.name, device->info.driver, test->name, result->message);
    }
    return status;
}

ivl_status ivl__selftest_run(ivl__device *device, ivl__selftest_fn *fn, void *user, int *n_failed,
                             ivl_error *error)
{
    int failed = 0;

    for (size_t i = 0; i < N_TESTS; i++) {
        ivl__selftest_result result;
        ivl_error detail = {0};

        if (run_one(device, &tests[i], &result, &detail) == IVL_OUT_OF_MEMORY) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "self-test %s: %s", tests[i].name,
                             detail.message);
        }
        failed += result.verdict == IVL__SELFTEST_FAILED;
        if (fn && fn(user, &result)) {
            return ivl__fail(error, IVL_CANCELLED, "the self-test was cancelled after %s",
                             tests[i].name);
        }
    }
    *n_failed = failed;
    return IVL_OK;
}

/* ---- at open ----------------------------------------------------------------------------- */

/* The remembered verdict of one test: true when there is nothing to run. A baseline failure is not
 * remembered: the next start looks again. */
static bool remembered(ivl__device *device, const selftest *test)
{
    char name[48];
    const char *value;

    snprintf(name, sizeof name, "selftest.%s", test->name);
    value = ivl__facts_get(device, name);
    if (value && strcmp(value, "failed") == 0 && test->kind == OPTIONAL) {
        switch_off(device, test);
        return true;
    }
    return value && (strcmp(value, "passed") == 0 || strcmp(value, "skipped") == 0);
}

static ivl_status remember(ivl__device *device, const selftest *test, ivl__selftest_verdict verdict,
                           ivl_error *error)
{
    static const char *const words[] = {"passed", "failed", "skipped"};
    char name[48];

    snprintf(name, sizeof name, "selftest.%s", test->name);
    return ivl__facts_set(device, name, words[verdict], error);
}

ivl_status ivl__selftest_at_open(ivl__device *device, ivl_error *error)
{
    double start = ivl__now();
    ivl_status status = IVL_OK;
    int ran = 0;

    for (size_t i = 0; status == IVL_OK && i < N_TESTS; i++) {
        const selftest *test = &tests[i];
        ivl__selftest_result result;
        ivl_error detail = {0};

        if (kind_on(device, test) == SPARE || remembered(device, test)) {
            continue;
        }
        if (!ran++) {
            ivl__log(IVL_LOG_INFO, "first use of %s (driver %s): testing its kernels",
                     device->info.name, device->info.driver);
        }
        if (ivl__device_stopped(device)) {
            status = ivl__fail(error, IVL_CANCELLED, "cancelled before self-test %s", test->name);
            break;
        }
        status = run_one(device, test, &result, &detail);
        if (status == IVL_OUT_OF_MEMORY) {
            status = ivl__fail(error, status, "self-test %s: %s", test->name, detail.message);
        } else if (result.verdict == IVL__SELFTEST_FAILED && result.baseline) {
            status = ivl__fail(error, IVL_DEVICE_FAILED,
                               "%s (%s, driver %s) is refused: kernel %s fails its self-test: %s",
                               device->info.name, device->info.platform, device->info.driver,
                               test->name, result.message);
        } else {
            status = remember(device, test, result.verdict, error);
        }
    }
    if (ran) {
        ivl__log(IVL_LOG_VERBOSE, "%d kernel tests in %.2f s", ran, ivl__now() - start);
    }
    return status;
}

/* ---- the language itself ----------------------------------------------------------------- */

#define ITEMS   64
#define WORKERS 32

typedef struct language_case {
    float in[ITEMS], got[4 * ITEMS];
    uint16_t bits[ITEMS + 1], halves[ITEMS];
    double want[4 * ITEMS];
} language_case;

/* Every result is exact in fp32, so the bound is zero. */
static void fill_language_case(language_case *c)
{
    memset(c, 0, sizeof *c);
    for (int i = 0; i < ITEMS; i++) {
        c->in[i] = 1.0f + (float)i * 0x1p-15f;
        c->bits[i] = (uint16_t)(0x3f80 + 3 * i);
        c->want[ITEMS + i] = (double)ivl__bf16_to_float(c->bits[i]);
        /* Normal halves 1 + i/1024, then subnormal ones. */
        c->halves[i] = (uint16_t)(i < WORKERS ? 0x3c00 + i : i - WORKERS);
        c->want[2 * ITEMS + i] = i < WORKERS ? 1.0 + i / 1024.0 : (i - WORKERS) * 0x1p-24;
        c->want[3 * ITEMS + i] = (double)c->in[i] * (double)c->in[i] - 1.0;
    }
    for (int i = 0; i < ITEMS; i++) {
        for (int j = 0; j < WORKERS; j++) {
            c->want[i] += (double)c->in[i / WORKERS * WORKERS + j];
        }
    }
}

static ivl_status language(ivl__trial *t, ivl_error *error)
{
    const size_t groups = ITEMS / WORKERS;
    const size_t local = WORKERS;
    language_case c;
    ivl__span in, bits, halves, out;
    ivl__kernel *kernel;

    fill_language_case(&c);
    IVL__TRY(ivl__kernel_get(t->device, "probe.cl", "", "probe_language", &kernel, error));
    IVL__TRY(ivl__trial_upload(t, c.in, sizeof c.in, &in, error));
    IVL__TRY(ivl__trial_upload(t, c.bits, sizeof c.bits, &bits, error));
    IVL__TRY(ivl__trial_upload(t, c.halves, sizeof c.halves, &halves, error));
    IVL__TRY(ivl__trial_upload(t, NULL, sizeof c.got, &out, error));
    IVL__TRY(IVL__LAUNCH(t->device, kernel, 1, &groups, &local, error, ivl__arg_mem(in.mem),
                         ivl__arg_mem(bits.mem), ivl__arg_mem(halves.mem), ivl__arg_mem(out.mem),
                         ivl__arg_local(WORKERS * sizeof(float))));
    IVL__TRY(ivl__trial_download(t, out, IVL_F32, 4 * ITEMS, c.got, error));
    for (int i = 0; i < 4 * ITEMS; i++) {
        ivl__trial_check(t, (double)c.got[i], c.want[i], 0.0);
    }
    return IVL_OK;
}

IVL__SELFTEST(language)
