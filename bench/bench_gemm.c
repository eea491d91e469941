/* bench_gemm.c - matrix products of the model's shapes against the processor's peak and OpenBLAS.
 *
 * Timed, from enqueue to finish: y = x . w^T + bias by the `cpu` backend, `exact` and `fast`, w in
 * bf16 as in a checkpoint, packing included, going round three weight matrices. In the same run and
 * taking turns: register-only loops of fma, vdpbf16ps and tile products (cl/peak.cl), OpenBLAS's
 * sgemm with fp32 weights where the library is there, with --tile the backend of that name (SET:
 * its parameters as in a tuning file), and with --clblast one product by CLBlast. Not timed: first
 * runs, building kernels. Best and median GFLOP/s, and the ratio of the best to the best of fma.
 * Usage: bench_gemm
 * [--device SELECTOR] [--runs N] [--rows M] [--shape 0..3] [--clblast]
 * [--tile default|SET] [--cpu-time] [--kernels FOLDER] (instead of the embedded cl/)
 */
#include "bench/yardstick.h"
#include "runtime/gemm.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS  3
#define MAX_RUNS 200

static const int32_t shapes[4][2] = {{9600, 3200}, {3200, 3200}, {12800, 3200}, {3200, 12800}};

enum { PEAK_FMA, PEAK_DOT, PEAK_TILES, EXACT, FAST, TILE, OPENBLAS, CLBLAST, COLUMNS };
static const char *const column_names[COLUMNS] = {
    "fma peak", "vdpbf16ps peak", "amx peak", "exact", "fast", "tile", "OpenBLAS", "CLBlast"};

typedef void (*sgemm_function)(int order, int trans_a, int trans_b, int m, int n, int k,
                               float alpha, const float *a, int lda, const float *b, int ldb,
                               float beta, float *c, int ldc);

typedef struct gemm_bench {
    ivl__device *device;
    ivl__gemm gemm[COLUMNS]; /* of the three that are products on the device */
    bool on[COLUMNS];
    sgemm_function sgemm;
    bench_peak peak;
    cl_mem x32, x16, y, bias, w[WEIGHTS];
    float *host_x, *host_w[WEIGHTS], *host_y; /* OpenBLAS */
    int32_t m, n, k;
    int next; /* weight matrix of the next product */
    int runs;
    bool cpu_time;
    double rates[COLUMNS][MAX_RUNS];
} gemm_bench;

/* ---- operands ------------------------------------------------------------------------------ */

/* Uniform in [-0.5, 0.5), exact in bf16: an even multiple of 1/256. */
static float random_value(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((int)(*state >> 57) - 64) / 128.0f;
}

static ivl_status upload(gemm_bench *b, size_t count, bool half, cl_mem *out, float **keep,
                         ivl_error *error)
{
    uint64_t state = count + (half ? 1 : 0);
    float *values = ivl__calloc(count, sizeof *values);
    ivl_status status = IVL_OUT_OF_MEMORY;
    size_t bytes = count * (half ? 2 : sizeof(float));

    if (!values) {
        return ivl__fail(error, status, "no memory for %zu values", count);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = random_value(&state);
    }
    if (half) {
        uint16_t *bits = (uint16_t *)ivl__calloc(count, sizeof *bits);

        for (size_t i = 0; bits && i < count; i++) {
            bits[i] = ivl__float_to_bf16(values[i]);
        }
        status = bits ? ivl__cl_buffer(&b->device->cl, CL_MEM_READ_ONLY, bytes, "bench", out, error)
                      : ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for %zu values", count);
        if (status == IVL_OK) {
            status = ivl__cl_write(&b->device->cl, b->device->cl.compute, *out, 0, bits, bytes, 0,
                                   NULL, NULL, error);
        }
        ivl__free(bits);
    } else {
        status = ivl__cl_buffer(&b->device->cl, CL_MEM_READ_ONLY, bytes, "bench", out, error);
        if (status == IVL_OK) {
            status = ivl__cl_write(&b->device->cl, b->device->cl.compute, *out, 0, values, bytes, 0,
                                   NULL, NULL, error);
        }
    }
    if (keep) {
        *keep = values;
    } else {
        ivl__free(values);
    }
    return status;
}

static void release(gemm_bench *b)
{
    ivl__cl *cl = &b->device->cl;
    cl_mem all[] = {b->x32, b->x16, b->y, b->bias, b->w[0], b->w[1], b->w[2]};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        ivl__cl_buffer_free(cl, all[i]);
    }
    for (int i = 0; i < WEIGHTS; i++) {
        ivl__free(b->host_w[i]);
        b->host_w[i] = NULL;
        b->w[i] = NULL;
    }
    ivl__free(b->host_x);
    ivl__free(b->host_y);
    b->host_x = b->host_y = NULL;
    b->x32 = b->x16 = b->y = b->bias = NULL;
}

static ivl_status prepare(gemm_bench *b, ivl_error *error)
{
    const size_t m = (size_t)b->m, n = (size_t)b->n, k = (size_t)b->k;
    ivl_status status = upload(b, m * k, false, &b->x32, b->sgemm ? &b->host_x : NULL, error);

    if (status == IVL_OK) {
        status = upload(b, m * k, true, &b->x16, NULL, error);
    }
    if (status == IVL_OK) {
        status = upload(b, n, false, &b->bias, NULL, error);
    }
    for (int i = 0; status == IVL_OK && i < WEIGHTS; i++) {
        status = upload(b, n * k, true, &b->w[i], b->sgemm ? &b->host_w[i] : NULL, error);
    }
    if (status == IVL_OK) {
        status = ivl__cl_buffer(&b->device->cl, CL_MEM_READ_WRITE, m * n * sizeof(float), "bench",
                                &b->y, error);
    }
    b->host_y = b->sgemm ? ivl__calloc(m * n, sizeof(float)) : NULL;
    if (status == IVL_OK && b->sgemm && !b->host_y) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for the product");
    }
    return status;
}

/* ---- the candidates ------------------------------------------------------------------------ */

static ivl_status run_product(gemm_bench *b, ivl__gemm *gemm, ivl_error *error)
{
    const bool fast = gemm->precision == IVL_FAST;
    const ivl__weight w = {.dtype = IVL_BF16,
                           .rows = b->n,
                           .cols = b->k,
                           .n_tiles = 1,
                           .tiles = {{{b->w[b->next], 0}, 0, b->n}}};
    const ivl__gemm_call call = {.m = b->m,
                                 .x = {fast ? b->x16 : b->x32, 0},
                                 .x_type = fast ? IVL_BF16 : IVL_F32,
                                 .w = &w,
                                 .bias = {b->bias, 0},
                                 .y = {b->y, 0},
                                 .y_type = IVL_F32,
                                 .y_ld = b->n};
    ivl_status status = ivl__gemm_reserve(gemm, ivl__gemm_scratch(gemm, b->m, b->n, b->k, IVL_BF16),
                                          error);

    if (status == IVL_OK) {
        status = ivl__gemm_run(gemm, &call, error);
    }
    return status == IVL_OK ? ivl__cl_finish(&b->device->cl, b->device->cl.compute, error) : status;
}

/* OpenBLAS's threads go on spinning for a while; nobody else shall pay for it. */
static void let_settle(void)
{
    const double end = ivl__now() + 0.1;

    while (ivl__now() < end) {
    }
}

static ivl_status time_once(gemm_bench *b, int column, double *rate, ivl_error *error)
{
    double flops = 2.0 * b->m * b->n * b->k;
    const double start = bench_now(b->device, b->cpu_time);
    ivl_status status = IVL_OK;

    if (column <= PEAK_TILES) {
        status = bench_peak_run(&b->peak, (bench_peak_kind)(column - PEAK_FMA), &flops, error);
    } else if (column == OPENBLAS) {
        b->sgemm(101, 111, 112, b->m, b->n, b->k, 1.0f, b->host_x, b->k, b->host_w[b->next], b->k,
                 0.0f, b->host_y, b->n);
    } else {
        status = run_product(b, &b->gemm[column], error);
    }
    *rate = flops / (bench_now(b->device, b->cpu_time) - start) * 1e-9;
    b->next = (b->next + 1) % WEIGHTS;
    if (column == OPENBLAS) {
        let_settle();
    }
    return status;
}

static ivl_status measure(gemm_bench *b, ivl_error *error)
{
    ivl_status status = IVL_OK;
    double best_fma = 1.0;
    double unused;

    for (int c = 0; status == IVL_OK && c < COLUMNS; c++) {
        status = b->on[c] && c != CLBLAST ? time_once(b, c, &unused, error) : IVL_OK;
    }
    for (int r = 0; r < b->runs; r++) {
        for (int c = 0; status == IVL_OK && c < COLUMNS; c++) {
            if (b->on[c] && (c != CLBLAST || r == 0)) {
                status = time_once(b, c, &b->rates[c][r], error);
            }
        }
    }
    for (int c = 0; status == IVL_OK && c < COLUMNS; c++) {
        const int runs = c == CLBLAST ? 1 : b->runs;

        if (!b->on[c]) {
            continue;
        }
        bench_sort(b->rates[c], runs);
        best_fma = c == PEAK_FMA ? b->rates[c][runs - 1] : best_fma;
        printf("%5d x %5d x %5d  %-15s %8.1f %8.1f %7.3f\n", b->m, b->n, b->k, column_names[c],
               b->rates[c][runs - 1], b->rates[c][runs / 2], b->rates[c][runs - 1] / best_fma);
        fflush(stdout);
    }
    return status;
}

/* ---- set-up -------------------------------------------------------------------------------- */

/* The backend `tile` with one set of parameters for every shape. */
static ivl_status open_tile(gemm_bench *b, const char *set, ivl_error *error)
{
    const char *reason;
    ivl__gemm_choice choice = {.w_type = IVL_BF16, .backend = &ivl__gemm_tile};

    IVL__TRY(ivl__gemm_open(b->device, "tile", IVL_EXACT, &b->gemm[TILE], error));
    if (strcmp(set, "default") == 0) {
        return IVL_OK;
    }
    if (!ivl__gemm_tile_params_parse(set, &choice.tile)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is no set of parameters", set);
    }
    reason = ivl__gemm_tile_params_invalid(&choice.tile, &b->device->caps);
    if (reason) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s': %s", set, reason);
    }
    for (int s = 0; s < 4; s++) {
        choice.n = shapes[s][0];
        choice.k = shapes[s][1];
        ivl__gemm_choose(&b->gemm[TILE], &choice);
    }
    return IVL_OK;
}

static ivl_status open_columns(gemm_bench *b, bool clblast, const char *tile, ivl_error *error)
{
    const bool dot = b->device->caps.x86_bf16_dot;
    void *library = ivl__library_open("libopenblas.so.0");
    ivl_status status = ivl__gemm_open(b->device, "cpu", IVL_EXACT, &b->gemm[EXACT], error);

    if (library) {
        void *symbol = ivl__library_symbol(library, "cblas_sgemm");

        memcpy(&b->sgemm, &symbol, sizeof b->sgemm);
    }
    b->on[PEAK_FMA] = b->on[EXACT] = true;
    b->on[PEAK_DOT] = b->on[FAST] = dot;
    b->on[PEAK_TILES] = b->device->caps.x86_amx_bf16;
    b->on[OPENBLAS] = b->sgemm != NULL;
    b->on[CLBLAST] = clblast;
    if (status == IVL_OK && dot) {
        status = ivl__gemm_open(b->device, "cpu", IVL_FAST, &b->gemm[FAST], error);
    }
    if (status == IVL_OK && tile) {
        b->on[TILE] = true;
        status = open_tile(b, tile, error);
    }
    if (status == IVL_OK && clblast) {
        status = ivl__gemm_open(b->device, "clblast", IVL_EXACT, &b->gemm[CLBLAST], error);
    }
    return status == IVL_OK ? bench_peak_open(b->device, &b->peak, error) : status;
}

static ivl_status run_all(gemm_bench *b, int32_t only_rows, int only_shape, ivl_error *error)
{
    static const int32_t rows[2] = {257, 1025};
    ivl_status status = IVL_OK;

    printf("device: %s (%s), %d runs, %s time\n", b->device->info.name, b->device->info.platform,
           b->runs, b->cpu_time ? "processor" : "wall");
    printf("%-21s  %-15s %8s %8s %7s\n", "M x N x K", "", "best", "median", "/ fma");
    for (int s = 0; s < 4; s++) {
        for (int r = 0; status == IVL_OK && r < (only_rows ? 1 : 2); r++) {
            if (only_shape >= 0 && s != only_shape) {
                continue;
            }
            b->m = only_rows ? only_rows : rows[r];
            b->n = shapes[s][0];
            b->k = shapes[s][1];
            status = prepare(b, error);
            if (status == IVL_OK) {
                status = measure(b, error);
            }
            release(b);
        }
        b->on[CLBLAST] = false;
    }
    return status;
}

int main(int argc, char **argv)
{
    static gemm_bench b = {.runs = 9};
    const char *selector = "cpu";
    const char *kernels = NULL;
    const char *tile = NULL;
    int32_t rows = 0;
    int shape = -1;
    bool clblast = false;
    ivl_error error = {0};
    ivl_status status;

    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;

        if (strcmp(argv[i], "--clblast") == 0) {
            clblast = true;
        } else if (strcmp(argv[i], "--cpu-time") == 0) {
            b.cpu_time = true;
        } else if (strcmp(argv[i], "--device") == 0 && more) {
            selector = argv[++i];
        } else if (strcmp(argv[i], "--tile") == 0 && more) {
            tile = argv[++i];
        } else if (strcmp(argv[i], "--kernels") == 0 && more) {
            kernels = argv[++i];
        } else if (strcmp(argv[i], "--runs") == 0 && more) {
            b.runs = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--rows") == 0 && more) {
            rows = (int32_t)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--shape") == 0 && more) {
            shape = (int)strtol(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "bench_gemm: see the comment in bench/bench_gemm.c for '%s'\n",
                    argv[i]);
            return 2;
        }
    }
    if (b.runs < 1 || b.runs > MAX_RUNS || rows < 0 || rows > 65536 || shape > 3) {
        fprintf(stderr, "bench_gemm: runs 1 .. %d, rows up to 65536, shape 0 .. 3\n", MAX_RUNS);
        return 2;
    }
    status = bench_open_device(selector, kernels, &b.device, &error);
    if (status == IVL_OK) {
        status = open_columns(&b, clblast, tile, &error);
    }
    if (status == IVL_OK) {
        status = run_all(&b, rows, shape, &error);
    }
    if (status != IVL_OK) {
        fprintf(stderr, "bench_gemm: %s\n", error.message);
    }
    for (int c = 0; c < COLUMNS; c++) {
        ivl__gemm_close(&b.gemm[c]);
    }
    if (b.device) {
        bench_peak_close(&b.peak);
        ivl__device_close(b.device);
    }
    return status == IVL_OK ? 0 : 1;
}
