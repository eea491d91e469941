/* bench_image.c - what a photograph costs on the host before the device sees it.
 *
 * Timed, each on its own and on one thread: decode (bytes in memory to RGB), resize (the protocol
 * `crop` to 224 or --size N), normalise (u8 to float32 CHW). Not timed: reading the file. A row
 * per file and step with the median and the extremes of the runs, and the rate in source
 * megapixels. Usage: bench_image [--size N] [--runs N] [--fast] FILE...
 */
#include "loader/preprocess.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RUNS 1000

typedef struct image_bench {
    ivl__decode_options decode;
    ivl__preprocess_options preprocess;
    ivl__resize_scratch scratch;
    int runs;
    unsigned char *crop; /* [size, size, 3] u8 */
    float *values;       /* [3, size, size] f32 */
} image_bench;

enum { STEP_DECODE, STEP_RESIZE, STEP_NORMALISE, STEPS };
static const char *const step_names[STEPS] = {"decode", "resize", "normalise"};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_row(const char *path, const char *step, const ivl__image *image, double *seconds,
                      int runs)
{
    double megapixels = image->source_width * 1e-6 * image->source_height, median;

    qsort(seconds, (size_t)runs, sizeof *seconds, compare);
    median = seconds[runs / 2];
    printf("%-40s %5d x %-5d %-9s %9.3f %9.3f %9.3f %9.1f\n", path, image->source_width,
           image->source_height, step, median * 1e3, seconds[0] * 1e3, seconds[runs - 1] * 1e3,
           megapixels / median);
}

/* One run of all steps; the seconds of each. */
static ivl_status run_once(image_bench *bench, const unsigned char *data, size_t bytes,
                           ivl__image *image, double seconds[STEPS], ivl_error *error)
{
    const int32_t size = bench->preprocess.size;
    double start = ivl__now(), decoded, resized;
    ivl_status status = ivl__image_decode(data, bytes, &bench->decode, image, error);

    if (status != IVL_OK) {
        return status;
    }
    decoded = ivl__now();
    status = ivl__preprocess_u8(image, &bench->preprocess, bench->crop, &bench->scratch, error);
    if (status != IVL_OK) {
        return status;
    }
    resized = ivl__now();
    ivl__normalize_chw(bench->crop, size, size, ivl__imagenet_mean, ivl__imagenet_std,
                       bench->values);
    seconds[STEP_DECODE] = decoded - start;
    seconds[STEP_RESIZE] = resized - decoded;
    seconds[STEP_NORMALISE] = ivl__now() - resized;
    return IVL_OK;
}

static ivl_status bench_file(image_bench *bench, const char *path, ivl_error *error)
{
    static double seconds[STEPS][MAX_RUNS];
    unsigned char *data;
    size_t bytes;
    ivl__image image = {0};
    ivl_status status = ivl__file_read(path, (size_t)1 << 30, &data, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    for (int run = -1; run < bench->runs && status == IVL_OK; run++) { /* run -1 warms up */
        double once[STEPS];

        ivl__image_free(&image);
        status = run_once(bench, data, bytes, &image, once, error);
        for (int step = 0; step < STEPS && run >= 0; step++) {
            seconds[step][run] = once[step];
        }
    }
    for (int step = 0; step < STEPS && status == IVL_OK; step++) {
        print_row(path, step_names[step], &image, seconds[step], bench->runs);
    }
    ivl__image_free(&image);
    ivl__free(data);
    return status;
}

int main(int count, char **arguments)
{
    image_bench bench = {.preprocess = {224, IVL__RESIZE_CROP}, .runs = 11};
    int first = 1, failed = 0;

    ivl__decode_options_init(&bench.decode);
    for (; first < count && strncmp(arguments[first], "--", 2) == 0; first++) {
        if (strcmp(arguments[first], "--fast") == 0) {
            bench.decode.fast = true;
        } else if (strcmp(arguments[first], "--size") == 0 && first + 1 < count) {
            bench.preprocess.size = atoi(arguments[++first]);
        } else if (strcmp(arguments[first], "--runs") == 0 && first + 1 < count) {
            bench.runs = atoi(arguments[++first]);
        } else {
            first = count;
        }
    }
    if (first >= count || bench.runs < 1 || bench.runs > MAX_RUNS || bench.preprocess.size < 1 ||
        bench.preprocess.size > IVL__PREPROCESS_MAX_SIZE) {
        fprintf(stderr, "usage: bench_image [--size N] [--runs N] [--fast] FILE...\n");
        return 2;
    }
    bench.decode.fast_side = bench.preprocess.size;
    bench.crop = ivl__calloc((size_t)bench.preprocess.size * (size_t)bench.preprocess.size, 3);
    bench.values = ivl__calloc((size_t)bench.preprocess.size * (size_t)bench.preprocess.size,
                               3 * sizeof(float));
    printf("%-40s %-13s %-9s %9s %9s %9s %9s\n", "file", "size", "step", "median ms", "min", "max",
           "MP/s");
    for (int i = first; i < count && bench.crop && bench.values; i++) {
        ivl_error error = {0};

        if (bench_file(&bench, arguments[i], &error) != IVL_OK) {
            fprintf(stderr, "%s: %s\n", arguments[i], error.message);
            failed = 1;
        }
    }
    ivl__resize_scratch_free(&bench.scratch);
    ivl__free(bench.crop);
    ivl__free(bench.values);
    return failed;
}
