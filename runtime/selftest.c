/* selftest.c - runs the known-answer tests and remembers their verdicts; see selftest.h. */
#include "runtime/selftest.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/program.h"
#include "runtime/selftest_list.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define DECLARE_BASELINE(name)                                                             \
    ivl_status ivl__selftest_##name(ivl__device *device, double *max_error, double *bound, \
                                    ivl_error *error);
#define DECLARE_OPTIONAL(name, member) DECLARE_BASELINE(name)
IVL__SELFTEST_LIST(DECLARE_BASELINE, DECLARE_OPTIONAL)

typedef struct selftest {
    const char *name;
    ivl_status (*run)(ivl__device *, double *, double *, ivl_error *);
    bool baseline;
    size_t member; /* of ivl__caps, of an optional unit */
} selftest;

#define BASELINE_ENTRY(name) {#name, ivl__selftest_##name, true, 0},
#define OPTIONAL_ENTRY(name, member) \
    {#name, ivl__selftest_##name, false, offsetof(ivl__caps, member)},

static const selftest tests[] = {IVL__SELFTEST_LIST(BASELINE_ENTRY, OPTIONAL_ENTRY)};

#define N_TESTS (sizeof tests / sizeof tests[0])

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

    *result = (ivl__selftest_result){.name = test->name, .baseline = test->baseline};
    if (!test->baseline && !*switch_of(device, test)) {
        status = ivl__fail(detail, IVL_UNSUPPORTED, "the device does not have it");
    } else {
        status = test->run(device, &result->max_error, &result->bound, detail);
    }
    judge(result, status, detail->message, sizeof detail->message);
    result->seconds = ivl__now() - start;
    if (result->verdict == IVL__SELFTEST_FAILED && !test->baseline) {
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
        if (fn) {
            fn(user, &result);
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
    if (value && strcmp(value, "failed") == 0 && !test->baseline) {
        switch_off(device, test);
        return true;
    }
    return value && strcmp(value, "passed") == 0;
}

static ivl_status remember(ivl__device *device, const selftest *test, bool passed, ivl_error *error)
{
    char name[48];

    snprintf(name, sizeof name, "selftest.%s", test->name);
    return ivl__facts_set(device, name, passed ? "passed" : "failed", error);
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

        if (remembered(device, test)) {
            continue;
        }
        if (!ran++) {
            ivl__log(IVL_LOG_INFO, "first use of %s (driver %s): testing its kernels",
                     device->info.name, device->info.driver);
        }
        status = run_one(device, test, &result, &detail);
        if (status == IVL_OUT_OF_MEMORY) {
            status = ivl__fail(error, status, "self-test %s: %s", test->name, detail.message);
        } else if (result.verdict == IVL__SELFTEST_FAILED && test->baseline) {
            status = ivl__fail(error, IVL_DEVICE_FAILED,
                               "%s (%s, driver %s) is refused: kernel %s fails its self-test: %s",
                               device->info.name, device->info.platform, device->info.driver,
                               test->name, result.message);
        } else {
            status = result.verdict == IVL__SELFTEST_SKIPPED
                         ? IVL_OK
                         : remember(device, test, result.verdict == IVL__SELFTEST_PASSED, error);
        }
    }
    if (ran) {
        ivl__log(IVL_LOG_VERBOSE, "%d kernel tests in %.2f s", ran, ivl__now() - start);
    }
    return status;
}

/* ---- for writers of tests ---------------------------------------------------------------- */

float ivl__selftest_value(uint32_t stream, uint32_t index)
{
    uint64_t z = ((uint64_t)stream << 32 | index) * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;

    /* The finaliser of splitmix64. */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

ivl_status ivl__selftest_buffer(ivl__device *device, const void *data, size_t bytes, cl_mem *out,
                                ivl_error *error)
{
    const cl_uchar nan = 0xff;
    ivl__cl *cl = &device->cl;
    cl_mem made = NULL;
    ivl_status status = ivl__cl_buffer(cl, CL_MEM_READ_WRITE, bytes, "self-test", &made, error);

    if (status == IVL_OK && data) {
        status = ivl__cl_write(cl, cl->compute, made, 0, data, bytes, 0, NULL, NULL, error);
    } else if (status == IVL_OK) {
        status = ivl__cl_fill(cl, cl->compute, made, &nan, 1, 0, bytes, error);
    }
    if (status != IVL_OK) {
        ivl__cl_buffer_free(cl, made);
        return status;
    }
    *out = made;
    return IVL_OK;
}

ivl_status ivl__selftest_compare(ivl__device *device, cl_mem buffer, const double *want, size_t n,
                                 double *max_error, ivl_error *error)
{
    float part[256];
    double worst = 0.0;

    for (size_t at = 0; at < n; at += 256) {
        size_t count = n - at < 256 ? n - at : 256;
        ivl_status status = ivl__cl_read(&device->cl, device->cl.compute, buffer,
                                         at * sizeof(float), part, count * sizeof(float), 0, NULL,
                                         NULL, error);

        if (status != IVL_OK) {
            return status;
        }
        for (size_t i = 0; i < count; i++) {
            double difference = fabs((double)part[i] - want[at + i]);

            worst = isfinite(difference) ? fmax(worst, difference) : INFINITY;
        }
    }
    *max_error = worst;
    return IVL_OK;
}

/* ---- the language itself ----------------------------------------------------------------- */

#define ITEMS 64
#define GROUP 32

typedef struct language_case {
    float in[ITEMS];
    uint16_t bits[ITEMS + 1], halves[ITEMS];
    double want[4 * ITEMS];
} language_case;

/* Every result is exact in fp32, so the bound is zero. */
static void fill_language_case(language_case *c)
{
    memset(c, 0, sizeof *c);
    for (int i = 0; i < ITEMS; i++) {
        uint32_t widened = (uint32_t)(0x3f80 + 3 * i) << 16;
        float bf16;

        c->in[i] = 1.0f + (float)i * 0x1p-15f;
        c->bits[i] = (uint16_t)(widened >> 16);
        memcpy(&bf16, &widened, sizeof bf16);
        c->want[ITEMS + i] = (double)bf16;
        /* Normal halves 1 + i/1024, then subnormal ones. */
        c->halves[i] = (uint16_t)(i < GROUP ? 0x3c00 + i : i - GROUP);
        c->want[2 * ITEMS + i] = i < GROUP ? 1.0 + i / 1024.0 : (i - GROUP) * 0x1p-24;
        c->want[3 * ITEMS + i] = (double)c->in[i] * (double)c->in[i] - 1.0;
    }
    for (int i = 0; i < ITEMS; i++) {
        for (int j = 0; j < GROUP; j++) {
            c->want[i] += (double)c->in[i / GROUP * GROUP + j];
        }
    }
}

ivl_status ivl__selftest_language(ivl__device *device, double *max_error, double *bound,
                                  ivl_error *error)
{
    const size_t groups = ITEMS / GROUP;
    const size_t local = GROUP;
    language_case c;
    cl_mem in = NULL;
    cl_mem bits = NULL;
    cl_mem halves = NULL;
    cl_mem out = NULL;
    ivl__kernel *kernel;
    ivl_status status = ivl__kernel_get(device, "probe.cl", "", "probe_language", &kernel, error);

    fill_language_case(&c);
    *bound = 0.0;
    if (status == IVL_OK) {
        status = ivl__selftest_buffer(device, c.in, sizeof c.in, &in, error);
    }
    if (status == IVL_OK) {
        status = ivl__selftest_buffer(device, c.bits, sizeof c.bits, &bits, error);
    }
    if (status == IVL_OK) {
        status = ivl__selftest_buffer(device, c.halves, sizeof c.halves, &halves, error);
    }
    if (status == IVL_OK) {
        status = ivl__selftest_buffer(device, NULL, 4 * ITEMS * sizeof(float), &out, error);
    }
    if (status == IVL_OK) {
        status = IVL__LAUNCH(device, kernel, 1, &groups, &local, error, ivl__arg_mem(in),
                             ivl__arg_mem(bits), ivl__arg_mem(halves), ivl__arg_mem(out),
                             ivl__arg_local(GROUP * sizeof(float)));
    }
    if (status == IVL_OK) {
        status = ivl__selftest_compare(device, out, c.want, 4 * ITEMS, max_error, error);
    }
    ivl__cl_buffer_free(&device->cl, out);
    ivl__cl_buffer_free(&device->cl, halves);
    ivl__cl_buffer_free(&device->cl, bits);
    ivl__cl_buffer_free(&device->cl, in);
    return status;
}
