/* bench_block.c - whole blocks of InternViT as a session runs them, against the processor's peak.
 *
 * MODEL is any checkpoint of at least three blocks; the time goes round all of them, so that
 * weights come from memory as in a real run. `internvl synth internvit-6b-224 --set
 * num_hidden_layers=3 -o DIR` writes a small one. Timed, from enqueue to finish: one block (norms,
 * qkv, q/k norm, attention, proj, fc1, fc2, the check for non-finite rows), packing of weights
 * included; its input is the embeddings, made anew and not timed. Operations of a block are counted
 * as 2 M (4 D D + 2 D F) + 4 B N N D (M = B N rows). In the same run and taking turns: the
 * register-only loop of fma. Reported per size: best and median, the ratio to the best of fma, the
 * best of every step, the smallest cosine between the `fast` and `exact` vectors of the whole
 * model. Usage: bench_block MODEL [--device SELECTOR] [--runs N] [--size PIXELS --images N]
 * [--cpu-time]
 * [--json] [--kernels FOLDER]
 * --cpu-time counts the processor's seconds instead of the wall clock's (yardstick.h).
 */
#include "bench/yardstick.h"
#include "model/session.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RUNS  200
#define MAX_STEPS 16

enum { EXACT, FAST, PRECISIONS };
static const char *const precision_names[PRECISIONS] = {"exact", "fast"};
static const ivl_precision_choice choices[PRECISIONS] = {IVL_PRECISION_EXACT, IVL_PRECISION_FAST};

typedef struct step {
    const char *name;
    double seconds; /* the best of all runs */
} step;

/* One precision at one size. */
typedef struct block_side {
    ivl_session *session; /* NULL: the device has no such precision */
    bench_peak peak;
    double seconds[MAX_RUNS];
    step steps[MAX_STEPS];
    int n_steps;
    float *pooled; /* [images, D] */
} block_side;

typedef struct block_bench {
    const char *selector, *kernels;
    int runs;
    bool cpu_time, json;
    ivl_model *model;
    ivl_model_info info;
    int size, images, tokens;
    block_side side[PRECISIONS];
    double peak_rates[MAX_RUNS];
    int results; /* printed so far */
} block_bench;

/* ---- one size ------------------------------------------------------------------------------ */

static void close_size(block_bench *b)
{
    for (int p = 0; p < PRECISIONS; p++) {
        bench_peak_close(&b->side[p].peak);
        ivl_session_free(b->side[p].session);
        ivl__free(b->side[p].pooled);
        b->side[p] = (block_side){0};
    }
}

/* Runs the whole model once: warms up, leaves pictures and embeddings on the device. */
static ivl_status run_model(block_bench *b, block_side *side, ivl_error *error)
{
    const size_t bytes = (size_t)b->images * (size_t)b->size * (size_t)b->size * 3;
    const size_t floats = (size_t)b->images * (size_t)b->info.hidden_size;
    unsigned char *pixels = ivl__calloc(bytes, 1);
    uint32_t state = 1;
    const ivl_images images = {b->images, b->size, b->size, pixels, NULL};
    const ivl_inputs inputs = {.size = sizeof inputs, .images = &images};
    ivl_output pooled = {.tap = "pooled", .capacity = floats};
    ivl_status status = IVL_OK;

    side->pooled = ivl__calloc(floats, sizeof(float));
    pooled.data = side->pooled;
    if (!pixels || !side->pooled) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for pictures");
    }
    for (size_t i = 0; status == IVL_OK && i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (unsigned char)(state >> 24);
    }
    if (status == IVL_OK) {
        status = ivl_run(side->session, &inputs, &pooled, 1, error);
    }
    ivl__free(pixels);
    return status;
}

static ivl_status open_side(block_bench *b, int precision, ivl_error *error)
{
    block_side *side = &b->side[precision];
    ivl_session_options options;

    ivl_session_options_init(&options);
    options.devices = &b->selector;
    options.n_devices = 1;
    options.precision = choices[precision];
    options.kernel_dir = b->kernels;
    options.batch = b->images;
    options.width = options.height = b->size;
    options.profiling = true;
    IVL__TRY(ivl_session_open(b->model, &options, &side->session, error));
    IVL__TRY(bench_peak_open(side->session->device, &side->peak, error));
    IVL__TRY(run_model(b, side, error));
    b->tokens = side->session->vit.sizes.tokens;
    return IVL_OK;
}

static ivl_status open_size(block_bench *b, ivl_error *error)
{
    ivl_error detail;
    ivl_status status;

    IVL__TRY(open_side(b, EXACT, error));
    status = open_side(b, FAST, &detail);
    if (status == IVL_UNSUPPORTED) {
        fprintf(stderr, "bench_block: without fast: %s\n", detail.message);
        return IVL_OK;
    }
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}

/* ---- timing -------------------------------------------------------------------------------- */

static double now(const block_bench *b)
{
    return bench_now(b->side[EXACT].session->device, b->cpu_time);
}

static ivl_status finish(ivl_session *s, ivl_error *error)
{
    return ivl__cl_finish(&s->device->cl, s->device->cl.compute, error);
}

/* Device seconds by step since `before`. */
static void keep_best_steps(block_side *side, const double *before, int run)
{
    const ivl__profile_stage *stages;
    const size_t n = ivl__profile_stages(side->session->device, &stages);

    side->n_steps = 0;
    for (size_t i = 0; i < n && i < MAX_STEPS; i++) {
        const double seconds = stages[i].seconds - before[i];
        step *s = &side->steps[i];

        s->name = stages[i].name;
        s->seconds = run == 0 || seconds < s->seconds ? seconds : s->seconds;
        side->n_steps++;
    }
}

static ivl_status time_block(block_bench *b, block_side *side, int block, int run, ivl_error *error)
{
    ivl_session *s = side->session;
    const ivl__profile_stage *stages;
    double before[MAX_STEPS] = {0};
    double start;
    size_t n;

    IVL__TRY(ivl__session_run_stage(s, 0, block, b->images, error));
    IVL__TRY(finish(s, error));
    IVL__TRY(ivl__profile_collect(s->device, error));
    n = ivl__profile_stages(s->device, &stages);
    for (size_t i = 0; i < n && i < MAX_STEPS; i++) {
        before[i] = stages[i].seconds;
    }
    start = now(b);
    IVL__TRY(ivl__session_run_stage(s, block, 0, b->images, error));
    IVL__TRY(finish(s, error));
    side->seconds[run] = now(b) - start;
    IVL__TRY(ivl__profile_collect(s->device, error));
    keep_best_steps(side, before, run);
    return IVL_OK;
}

static ivl_status time_peak(block_bench *b, int run, ivl_error *error)
{
    double flops;
    const double start = now(b);

    IVL__TRY(bench_peak_run(&b->side[EXACT].peak, BENCH_PEAK_FMA, &flops, error));
    b->peak_rates[run] = flops / (now(b) - start);
    return IVL_OK;
}

static ivl_status measure(block_bench *b, ivl_error *error)
{
    int block = 0;

    for (int r = 0; r < b->runs; r++) {
        IVL__TRY(time_peak(b, r, error));
        for (int p = 0; p < PRECISIONS; p++) {
            if (b->side[p].session) {
                IVL__TRY(time_block(b, &b->side[p], 1 + block, r, error));
                block = (block + 1) % b->info.layers;
            }
        }
    }
    return IVL_OK;
}

/* ---- report -------------------------------------------------------------------------------- */

static double block_flops(const block_bench *b)
{
    const double n = b->tokens, m = n * b->images, d = b->info.hidden_size, f = b->info.mlp_size;

    return 2.0 * m * (4.0 * d * d + 2.0 * d * f) + 4.0 * b->images * n * n * d;
}

/* Operations of a step, by the name the model gives it; 0: none that count. */
static double step_flops(const block_bench *b, const char *name)
{
    const double n = b->tokens, m = n * b->images, d = b->info.hidden_size, f = b->info.mlp_size;
    const struct {
        const char *name;
        double flops;
    } steps[] = {{"qkv", 6.0 * m * d * d},
                 {"attention", 4.0 * b->images * n * n * d},
                 {"proj", 2.0 * m * d * d},
                 {"fc1", 2.0 * m * d * f},
                 {"fc2", 2.0 * m * d * f}};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strcmp(steps[i].name, name) == 0) {
            return steps[i].flops;
        }
    }
    return 0.0;
}

static double smallest_cosine(const block_bench *b)
{
    const int d = b->info.hidden_size;
    double least = 1.0;

    for (int i = 0; i < b->images; i++) {
        const float *x = b->side[EXACT].pooled + (size_t)i * (size_t)d;
        const float *y = b->side[FAST].pooled + (size_t)i * (size_t)d;
        double xx = 0.0, yy = 0.0, xy = 0.0;

        for (int c = 0; c < d; c++) {
            xx += (double)x[c] * (double)x[c];
            yy += (double)y[c] * (double)y[c];
            xy += (double)x[c] * (double)y[c];
        }
        least = fmin(least, xy / sqrt(xx * yy));
    }
    return least;
}

static void print_text(const block_bench *b, double peak, double peak_median)
{
    const bool fast = b->side[FAST].session != NULL;

    printf("\n%d x %d tokens (%d px), fma peak %.1f GFLOP/s (median %.1f)\n\n", b->images,
           b->tokens, b->size, peak * 1e-9, peak_median * 1e-9);
    printf("| precision | best ms | median ms | GFLOP/s | / fma peak |\n|---|---|---|---|---|\n");
    for (int p = 0; p < PRECISIONS && b->side[p].session; p++) {
        const double *t = b->side[p].seconds;

        printf("| %-5s | %8.1f | %8.1f | %6.1f | %.3f |\n", precision_names[p], t[0] * 1e3,
               t[b->runs / 2] * 1e3, block_flops(b) / t[0] * 1e-9, block_flops(b) / t[0] / peak);
    }
    printf("\n| step | exact ms | / fma peak |%s\n|---|---|---|%s\n",
           fast ? " fast ms | / fma peak |" : "", fast ? "---|---|" : "");
    for (int i = 0; i < b->side[EXACT].n_steps; i++) {
        const char *name = b->side[EXACT].steps[i].name;

        if (!(b->side[EXACT].steps[i].seconds > 0.0)) {
            continue;
        }
        printf("| %-9s |", name);
        for (int p = 0; p < PRECISIONS && b->side[p].session; p++) {
            const double seconds = b->side[p].steps[i].seconds;
            const double ratio = step_flops(b, name) / seconds / peak;

            printf(ratio > 0.0 ? " %8.2f | %.3f |" : " %8.2f |   -   |", seconds * 1e3, ratio);
        }
        printf("\n");
    }
    if (fast) {
        printf("\nsmallest cosine of fast to exact over %d blocks: %.7f\n", b->info.layers,
               smallest_cosine(b));
    }
    fflush(stdout);
}

static void print_json(block_bench *b, double peak, double peak_median)
{
    printf(
        "%s\n  {\"images\": %d, \"tokens\": %d, \"size\": %d, \"flops\": %.0f, \"fma_peak\": %.4g, "
        "\"fma_peak_median\": %.4g",
        b->results++ ? "," : "", b->images, b->tokens, b->size, block_flops(b), peak, peak_median);
    for (int p = 0; p < PRECISIONS && b->side[p].session; p++) {
        const block_side *side = &b->side[p];

        printf(",\n   \"%s\": {\"seconds\": %.5f, \"seconds_median\": %.5f, \"ratio\": %.4f, "
               "\"steps\": {",
               precision_names[p], side->seconds[0], side->seconds[b->runs / 2],
               block_flops(b) / side->seconds[0] / peak);
        for (int i = 0, printed = 0; i < side->n_steps; i++) {
            if (side->steps[i].seconds > 0.0) {
                printf("%s\"%s\": %.6f", printed++ ? ", " : "", side->steps[i].name,
                       side->steps[i].seconds);
            }
        }
        printf("}}");
    }
    if (b->side[FAST].session) {
        printf(",\n   \"cosine\": %.9f", smallest_cosine(b));
    }
    printf("}");
}

static void report(block_bench *b)
{
    bench_sort(b->peak_rates, b->runs);
    for (int p = 0; p < PRECISIONS && b->side[p].session; p++) {
        bench_sort(b->side[p].seconds, b->runs);
    }
    if (b->json) {
        print_json(b, b->peak_rates[b->runs - 1], b->peak_rates[b->runs / 2]);
    } else {
        print_text(b, b->peak_rates[b->runs - 1], b->peak_rates[b->runs / 2]);
    }
}

static void print_head(const block_bench *b)
{
    const ivl__device_info *device = &b->side[EXACT].session->device->info;

    if (b->json) {
        printf("{\"device\": \"%s\", \"platform\": \"%s\", \"driver\": \"%s\", \"dtype\": \"%s\", "
               "\"blocks\": %d, \"runs\": %d, \"clock\": \"%s\", \"results\": [",
               device->name, device->platform, device->driver, b->info.dtype, b->info.layers,
               b->runs, b->cpu_time ? "cpu" : "wall");
    } else {
        printf("%s (%s, %s); %s weights, %d blocks in turn, best of %d, %s time\n", device->name,
               device->platform, device->driver, b->info.dtype, b->info.layers, b->runs,
               b->cpu_time ? "processor" : "wall");
    }
}

/* ---- main ---------------------------------------------------------------------------------- */

static ivl_status run_size(block_bench *b, int size, int images, bool first, ivl_error *error)
{
    ivl_status status;

    b->size = size;
    b->images = images;
    status = open_size(b, error);
    if (status == IVL_OK && first) {
        print_head(b);
    }
    if (status == IVL_OK) {
        status = measure(b, error);
    }
    if (status == IVL_OK) {
        report(b);
    }
    close_size(b);
    return status;
}

static ivl_status run_all(block_bench *b, const char *path, int size, int images, ivl_error *error)
{
    static const int sizes[][2] = {{224, 1}, {448, 1}, {224, 4}};
    ivl_status status = ivl_model_open(path, NULL, &b->model, error);

    if (status != IVL_OK) {
        return status;
    }
    ivl_model_get_info(b->model, &b->info);
    if (b->info.layers < 3) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "%s has %d blocks; at least 3 are needed, or their weights stay in caches",
                         path, b->info.layers);
    }
    if (size) {
        status = run_size(b, size, images, true, error);
    }
    for (int i = 0; status == IVL_OK && !size && i < 3; i++) {
        status = run_size(b, sizes[i][0], sizes[i][1], i == 0, error);
    }
    if (b->json) {
        printf("\n]}\n");
    }
    return status;
}

static int usage(void)
{
    fprintf(
        stderr,
        "usage: bench_block MODEL [--device SELECTOR] [--runs 1..%d] [--size PIXELS --images N]\n"
        "                   [--cpu-time] [--json] [--kernels FOLDER]\n",
        MAX_RUNS);
    return 2;
}

int main(int argc, char **argv)
{
    static block_bench b = {.selector = "cpu", .runs = 9};
    const char *path = NULL;
    int size = 0;
    int images = 1;
    ivl_error error = {0};
    ivl_status status;

    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;

        if (strcmp(argv[i], "--cpu-time") == 0) {
            b.cpu_time = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            b.json = true;
        } else if (strcmp(argv[i], "--device") == 0 && more) {
            b.selector = argv[++i];
        } else if (strcmp(argv[i], "--kernels") == 0 && more) {
            b.kernels = argv[++i];
        } else if (strcmp(argv[i], "--runs") == 0 && more) {
            b.runs = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--size") == 0 && more) {
            size = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--images") == 0 && more) {
            images = (int)strtol(argv[++i], NULL, 10);
        } else if (!path && argv[i][0] != '-') {
            path = argv[i];
        } else {
            return usage();
        }
    }
    if (!path || b.runs < 1 || b.runs > MAX_RUNS || size < 0 || images < 1) {
        return usage();
    }
    status = run_all(&b, path, size, images, &error);
    if (status != IVL_OK) {
        fprintf(stderr, "bench_block: %s\n", error.message);
    }
    ivl_model_free(b.model);
    return status == IVL_OK ? 0 : 1;
}
