/* bench_search.c - an exact search: many queries against the processor's multiply-add peak, one
 * query against the rate at which it reads.
 *
 * The index is made-up rows of length 1 in memory, page by page as a mapped file would be, and is
 * read in place. Timed is ivl_search_run: upload of the queries, all products, best scores, their
 * download and order. Operations are counted as 2 rows dim queries. In the same run and taking
 * turns: the register-only loop of fma, and a kernel that only reads the same rows in place.
 * Reported: best and median of the runs, and the ratios of the best to the best yardstick.
 * Usage: bench_search [--rows N] [--dim D] [--queries Q] [-k K] [--f16] [--device SELECTOR]
 * [--runs N] [--cpu-time] [--json]
 * Sizes of the published figure: 1,000,000 rows of 768 values (3 GB), 1,000 queries. --cpu-time
 * counts the processor's seconds instead of the wall clock's (yardstick.h).
 */
#include "bench/yardstick.h"
#include "model/internvl.h"
#include "runtime/dtype.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RUNS 100
#define PAGE     4096u

enum { MANY, ONE, PEAK, READ, SIDES };

typedef struct search_bench {
    uint64_t rows;
    int dim, queries, k, runs;
    bool half, cpu_time, json;
    const char *selector;
    void *block;         /* holds data, which begins on a page */
    unsigned char *data; /* [rows, dim] */
    size_t bytes;
    float *x; /* [queries, dim] */
    ivl_hit *hits;
    ivl_search *search;
    ivl__device *device; /* of the yardsticks */
    bench_peak peak;
    double seconds[SIDES][MAX_RUNS];
    double flops, read; /* of the yardsticks' last run */
} search_bench;

/* ---- rows -------------------------------------------------------------------------------- */

/* Uniform values: rows of a fixed length up to a few per cent, which is all the same to the time.
 */
static float next_value(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 33) * 0x1p-30 - 1.0);
}

static void fill(search_bench *b)
{
    const float scale = sqrtf(3.0f / (float)b->dim);
    const size_t n = (size_t)b->rows * (size_t)b->dim;
    uint64_t state = 1;

    for (size_t i = 0; i < n; i++) {
        const float value = scale * next_value(&state);

        if (b->half) {
            const uint16_t bits = ivl__float_to_f16(value);

            memcpy(b->data + i * sizeof bits, &bits, sizeof bits);
        } else {
            memcpy(b->data + i * sizeof value, &value, sizeof value);
        }
    }
    for (size_t i = 0; i < (size_t)b->queries * (size_t)b->dim; i++) {
        b->x[i] = scale * next_value(&state);
    }
}

static ivl_status prepare(search_bench *b, ivl_error *error)
{
    ivl_vectors vectors = {
        .size = sizeof vectors, .rows = b->rows, .dim = b->dim, .dtype = b->half ? "fp16" : "fp32"};
    ivl_session_options options;

    b->bytes = (size_t)b->rows * (size_t)b->dim * (b->half ? 2 : sizeof(float));
    b->block = ivl__malloc(b->bytes + 2 * PAGE);
    b->x = ivl__calloc((size_t)b->queries * (size_t)b->dim, sizeof *b->x);
    b->hits = ivl__calloc((size_t)b->queries * (size_t)b->k, sizeof *b->hits);
    if (!b->block || !b->x || !b->hits) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for %.1f GB of rows",
                         (double)b->bytes * 1e-9);
    }
    b->data = (unsigned char *)b->block + (PAGE - (uintptr_t)b->block % PAGE) % PAGE;
    fill(b);
    vectors.data = b->data;
    ivl_session_options_init(&options);
    options.devices = &b->selector;
    options.n_devices = 1;
    IVL__TRY(bench_open_device(b->selector, NULL, &b->device, error));
    IVL__TRY(bench_peak_open(b->device, &b->peak, error));
    return ivl_search_open(&options, &vectors, &b->search, error);
}

static void release(search_bench *b)
{
    ivl_search_free(b->search);
    bench_peak_close(&b->peak);
    if (b->device) {
        ivl__device_close(b->device);
    }
    ivl__free(b->block);
    ivl__free(b->x);
    ivl__free(b->hits);
}

/* ---- measuring --------------------------------------------------------------------------- */

static ivl_status run_side(search_bench *b, int side, ivl_error *error)
{
    switch (side) {
    case MANY: return ivl_search_run(b->search, b->x, b->queries, b->k, b->hits, error);
    case ONE: return ivl_search_run(b->search, b->x, 1, b->k, b->hits, error);
    case PEAK: return bench_peak_run(&b->peak, BENCH_PEAK_FMA, &b->flops, error);
    default: return bench_read_run(&b->peak, b->data, b->bytes, &b->read, error);
    }
}

/* The first turn warms up. */
static ivl_status measure(search_bench *b, ivl_error *error)
{
    for (int run = -1; run < b->runs; run++) {
        for (int side = 0; side < SIDES; side++) {
            const double begun = bench_now(b->device, b->cpu_time);

            IVL__TRY(run_side(b, side, error));
            if (run >= 0) {
                b->seconds[side][run] = bench_now(b->device, b->cpu_time) - begun;
            }
        }
    }
    for (int side = 0; side < SIDES; side++) {
        bench_sort(b->seconds[side], b->runs);
    }
    return IVL_OK;
}

static void report(const search_bench *b)
{
    const double work[SIDES] = {2.0 * (double)b->rows * b->dim * b->queries, (double)b->bytes,
                                b->flops, b->read};
    double rates[SIDES];

    for (int side = 0; side < SIDES; side++) {
        rates[side] = work[side] / b->seconds[side][0];
    }
    if (b->json) {
        printf("{\"device\": \"%s\", \"rows\": %llu, \"dim\": %d, \"dtype\": \"%s\", \"k\": %d, "
               "\"runs\": %d, \"clock\": \"%s\",\n \"queries\": %d, \"seconds\": %.4f, "
               "\"seconds_median\": %.4f, \"fma_peak\": %.4g, \"ratio\": %.4f,\n \"one_seconds\": "
               "%.4f, \"one_seconds_median\": %.4f, \"read_peak\": %.4g, \"one_ratio\": %.4f}\n",
               b->device->info.name, (unsigned long long)b->rows, b->dim, b->half ? "f16" : "f32",
               b->k, b->runs, b->cpu_time ? "cpu" : "wall", b->queries, b->seconds[MANY][0],
               b->seconds[MANY][b->runs / 2], rates[PEAK], rates[MANY] / rates[PEAK],
               b->seconds[ONE][0], b->seconds[ONE][b->runs / 2], rates[READ],
               rates[ONE] / rates[READ]);
        return;
    }
    printf("%s; %llu rows of %d values (%s), the %d best, best of %d, %s time\n\n",
           b->device->info.name, (unsigned long long)b->rows, b->dim, b->half ? "f16" : "f32", b->k,
           b->runs, b->cpu_time ? "processor" : "wall");
    printf(
        "| queries | best s | median s | rate | yardstick | ratio |\n|---|---|---|---|---|---|\n");
    printf("| %d | %.3f | %.3f | %.1f GFLOP/s | fma %.1f GFLOP/s | %.3f |\n", b->queries,
           b->seconds[MANY][0], b->seconds[MANY][b->runs / 2], rates[MANY] * 1e-9,
           rates[PEAK] * 1e-9, rates[MANY] / rates[PEAK]);
    printf("| 1 | %.4f | %.4f | %.2f GB/s | reading %.2f GB/s | %.3f |\n", b->seconds[ONE][0],
           b->seconds[ONE][b->runs / 2], rates[ONE] * 1e-9, rates[READ] * 1e-9,
           rates[ONE] / rates[READ]);
}

/* ---- main -------------------------------------------------------------------------------- */

static int usage(void)
{
    fprintf(stderr,
            "usage: bench_search [--rows N] [--dim D] [--queries Q] [-k K] [--f16] [--device "
            "SELECTOR]\n                    [--runs 1..%d] [--cpu-time] [--json]\n",
            MAX_RUNS);
    return 2;
}

static bool take_number(search_bench *b, const char *name, const char *text)
{
    const long value = strtol(text, NULL, 10);

    if (strcmp(name, "--rows") == 0) {
        b->rows = (uint64_t)value;
    } else if (strcmp(name, "--dim") == 0) {
        b->dim = (int)value;
    } else if (strcmp(name, "--queries") == 0) {
        b->queries = (int)value;
    } else if (strcmp(name, "-k") == 0) {
        b->k = (int)value;
    } else if (strcmp(name, "--runs") == 0) {
        b->runs = (int)value;
    } else {
        return false;
    }
    return value >= 1;
}

int main(int argc, char **argv)
{
    static search_bench b = {
        .rows = 1000000, .dim = 768, .queries = 1000, .k = 10, .runs = 5, .selector = "cpu"};
    ivl_error error = {0};
    ivl_status status;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cpu-time") == 0) {
            b.cpu_time = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            b.json = true;
        } else if (strcmp(argv[i], "--f16") == 0) {
            b.half = true;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            b.selector = argv[++i];
        } else if (i + 1 < argc && take_number(&b, argv[i], argv[i + 1])) {
            i++;
        } else {
            return usage();
        }
    }
    if (b.runs > MAX_RUNS || (uint64_t)b.k > b.rows) {
        return usage();
    }
    status = prepare(&b, &error);
    if (status == IVL_OK) {
        status = measure(&b, &error);
    }
    if (status == IVL_OK) {
        report(&b);
    } else {
        fprintf(stderr, "bench_search: %s\n", error.message);
    }
    release(&b);
    return status == IVL_OK ? 0 : 1;
}
