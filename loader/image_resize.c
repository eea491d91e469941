/* image_resize.c - Pillow's bicubic in fixed point; see image_resize.h.
 *
 * Source rows are taken in strips of LANES: a strip is turned so that the samples of one column
 * lie side by side, [width, 3, LANES] u8, and every weight then meets LANES independent sums,
 * which compilers turn into vector code. The resized rows go into a ring that holds what the
 * vertical pass still needs. Sums are integers, so their order does not matter.
 */
#include "loader/image_resize.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <string.h>

#define LANES 8
/* 32 bits minus 8 of the sample minus 2 of headroom for overshoot. */
#define PRECISION_BITS 22
#define ROUND          (1 << (PRECISION_BITS - 1))

/* One axis: which source samples an output sample is made of, and with which weights. */
typedef struct resize_axis {
    int32_t count;         /* outputs wanted */
    int32_t taps;          /* row length of weights */
    int32_t *first, *used; /* [count]: first source sample and their number */
    int32_t *weights;      /* [count, taps] */
} resize_axis;

/* Everything that the passes need, carved out of one block. */
typedef struct resize_plan {
    resize_axis x, y;
    int32_t ring_rows;
    unsigned char *strip;  /* [columns used, 3, LANES] u8 */
    unsigned char *ring;   /* [ring_rows, box width, 3] u8 */
    unsigned char *spread; /* [box width, 3, LANES] u8: a resized strip before it is turned back */
    double *exact;         /* [taps] weights before rounding */
} resize_plan;

void ivl__resize_scratch_free(ivl__resize_scratch *scratch)
{
    if (scratch) {
        ivl__free(scratch->block);
        scratch->block = NULL;
        scratch->bytes = 0;
    }
}

/* ---- weights ----------------------------------------------------------------------------- */

/* Keys' cubic with a = -0.5, the operations in Pillow's order. */
static double bicubic(double x)
{
    const double a = -0.5;

    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    }
    if (x < 2.0) {
        return (((x - 5) * x + 8) * x - 4) * a;
    }
    return 0.0;
}

static double axis_support(int32_t in, int64_t out)
{
    double scale = (double)in / (double)out;

    return 2.0 * (scale < 1.0 ? 1.0 : scale);
}

static int32_t axis_taps(int32_t in, int64_t out)
{
    return (int32_t)ceil(axis_support(in, out)) * 2 + 1;
}

/* Weights of the outputs begin .. begin + count - 1 of an axis of `in` samples resized to `out`. */
static void axis_fill(resize_axis *axis, int32_t in, int64_t out, int64_t begin, double *exact)
{
    const double scale = (double)in / (double)out;
    const double stretch = scale < 1.0 ? 1.0 : scale;
    const double support = axis_support(in, out);
    const double step = 1.0 / stretch;

    for (int32_t i = 0; i < axis->count; i++) {
        const double center = ((double)(begin + i) + 0.5) * scale;
        int32_t *weights = axis->weights + (size_t)i * (size_t)axis->taps;
        int32_t first = (int32_t)(center - support + 0.5);
        int32_t end = (int32_t)(center + support + 0.5);
        double sum = 0.0;

        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        for (int32_t k = 0; k < end - first; k++) {
            exact[k] = bicubic((k + first - center + 0.5) * step);
            sum += exact[k];
        }
        for (int32_t k = 0; k < end - first; k++) {
            const double weight = (sum != 0.0 ? exact[k] / sum : exact[k]) * (1 << PRECISION_BITS);

            weights[k] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        axis->first[i] = first;
        axis->used[i] = end - first;
    }
}

/* ---- inner loops ------------------------------------------------------------------------- */

static inline unsigned char clip8(int32_t sum)
{
    sum >>= PRECISION_BITS;
    return (unsigned char)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* strip [*, 3, LANES] -> out [count, 3, LANES]; `base` is the source column strip begins with. */
static inline __attribute__((always_inline)) void
horizontal_body(const unsigned char *strip, int32_t base, const resize_axis *x, unsigned char *out)
{
    for (int32_t i = 0; i < x->count; i++, out += 3 * LANES) {
        const int32_t *weights = x->weights + (size_t)i * (size_t)x->taps;
        const unsigned char *in = strip + (size_t)(x->first[i] - base) * 3 * LANES;
        int32_t sums[3 * LANES];

        for (int l = 0; l < 3 * LANES; l++) {
            sums[l] = ROUND;
        }
        for (int32_t k = 0; k < x->used[i]; k++, in += 3 * LANES) {
            const int32_t weight = weights[k];

            for (int l = 0; l < 3 * LANES; l++) {
                sums[l] += weight * in[l];
            }
        }
        for (int l = 0; l < 3 * LANES; l++) {
            out[l] = clip8(sums[l]);
        }
    }
}

/* One output row from `used` rows of the ring, beginning with row `first` of the picture. */
static inline __attribute__((always_inline)) void
vertical_body(const unsigned char *ring, int32_t ring_rows, int32_t first, int32_t used,
              const int32_t *weights, size_t samples, unsigned char *out)
{
    enum { CHUNK = 32 };

    for (size_t at = 0; at < samples; at += CHUNK) {
        const int n = samples - at < CHUNK ? (int)(samples - at) : CHUNK;
        int32_t sums[CHUNK];
        int32_t row = first % ring_rows;

        for (int l = 0; l < CHUNK; l++) {
            sums[l] = ROUND;
        }
        for (int32_t k = 0; k < used; k++) {
            const unsigned char *in = ring + (size_t)row * samples + at;
            const int32_t weight = weights[k];

            if (n == CHUNK) {
                for (int l = 0; l < CHUNK; l++) {
                    sums[l] += weight * in[l];
                }
            } else {
                for (int l = 0; l < n; l++) {
                    sums[l] += weight * in[l];
                }
            }
            row = row + 1 == ring_rows ? 0 : row + 1;
        }
        for (int l = 0; l < n; l++) {
            out[at + (size_t)l] = clip8(sums[l]);
        }
    }
}

typedef struct resize_kernels {
    void (*horizontal)(const unsigned char *, int32_t, const resize_axis *, unsigned char *);
    void (*vertical)(const unsigned char *, int32_t, int32_t, int32_t, const int32_t *, size_t,
                     unsigned char *);
} resize_kernels;

static void horizontal_plain(const unsigned char *strip, int32_t base, const resize_axis *x,
                             unsigned char *out)
{
    horizontal_body(strip, base, x, out);
}

static void vertical_plain(const unsigned char *ring, int32_t ring_rows, int32_t first,
                           int32_t used, const int32_t *weights, size_t samples, unsigned char *out)
{
    vertical_body(ring, ring_rows, first, used, weights, samples, out);
}

static const resize_kernels plain_kernels = {horizontal_plain, vertical_plain};

#if defined(__x86_64__) && defined(__GNUC__)
/* The same source for processors with a 32-bit vector multiplication. */
__attribute__((target("avx2"))) static void
horizontal_avx2(const unsigned char *strip, int32_t base, const resize_axis *x, unsigned char *out)
{
    horizontal_body(strip, base, x, out);
}

__attribute__((target("avx2"))) static void vertical_avx2(const unsigned char *ring,
                                                          int32_t ring_rows, int32_t first,
                                                          int32_t used, const int32_t *weights,
                                                          size_t samples, unsigned char *out)
{
    vertical_body(ring, ring_rows, first, used, weights, samples, out);
}

static const resize_kernels avx2_kernels = {horizontal_avx2, vertical_avx2};

static const resize_kernels *choose_kernels(void)
{
    return ivl__cpu_features_of_host().avx2_fma ? &avx2_kernels : &plain_kernels;
}
#else
static const resize_kernels *choose_kernels(void)
{
    return &plain_kernels;
}
#endif

/* ---- passes ------------------------------------------------------------------------------ */

/* `rows` rows of the picture, side by side per sample; missing lanes repeat the last row. */
static void load_strip(const unsigned char *rgb, size_t stride, int32_t rows, size_t samples,
                       unsigned char *strip)
{
    const unsigned char *row[LANES];

    for (int l = 0; l < LANES; l++) {
        row[l] = rgb + (size_t)(l < rows ? l : rows - 1) * stride;
    }
    for (size_t s = 0; s < samples; s++) {
        for (int l = 0; l < LANES; l++) {
            strip[s * LANES + (size_t)l] = row[l][s];
        }
    }
}

/* The other way, into the ring. */
static void store_strip(const unsigned char *spread, size_t samples, int32_t rows, int32_t first,
                        const resize_plan *plan)
{
    for (int32_t l = 0; l < rows; l++) {
        unsigned char *out = plan->ring + (size_t)((first + l) % plan->ring_rows) * samples;

        for (size_t s = 0; s < samples; s++) {
            out[s] = spread[s * LANES + (size_t)l];
        }
    }
}

/* Resizes the rows y .. y + rows - 1 (at most LANES) of the picture horizontally into the ring. */
static void resize_rows(const unsigned char *rgb, int32_t width, int32_t y, int32_t rows,
                        const resize_plan *plan, const resize_kernels *kernels)
{
    const size_t stride = 3 * (size_t)width;
    const int32_t base = plan->x.first[0];
    const int32_t last = plan->x.count - 1;
    const size_t columns = (size_t)(plan->x.first[last] + plan->x.used[last] - base);

    load_strip(rgb + (size_t)y * stride + 3 * (size_t)base, stride, rows, 3 * columns, plan->strip);
    kernels->horizontal(plan->strip, base, &plan->x, plan->spread);
    store_strip(plan->spread, 3 * (size_t)plan->x.count, rows, y, plan);
}

/* The same where the width does not change: the pass is left out. */
static void copy_rows(const unsigned char *rgb, int32_t width, int32_t left, int32_t y,
                      int32_t rows, const resize_plan *plan)
{
    const size_t samples = 3 * (size_t)plan->x.count;

    for (int32_t end = y + rows; y < end; y++) {
        memcpy(plan->ring + (size_t)(y % plan->ring_rows) * samples,
               rgb + 3 * ((size_t)y * (size_t)width + (size_t)left), samples);
    }
}

/* Both passes: the ring is filled as far as the next output row needs, in whole strips, so that
 * up to LANES - 1 rows are there too early; ring_rows allows for them. */
static void run(const unsigned char *rgb, int32_t width, int64_t out_width, const ivl__box *box,
                unsigned char *out, size_t out_stride, const resize_plan *plan)
{
    const resize_kernels *kernels = choose_kernels();
    const size_t samples = 3 * (size_t)box->width;
    const int32_t last = plan->y.first[box->height - 1] + plan->y.used[box->height - 1];
    int32_t done = plan->y.first[0];

    for (int32_t y = 0; y < box->height; y++, out += out_stride) {
        const int32_t end = plan->y.first[y] + plan->y.used[y];

        while (done < end) {
            const int32_t rows = last - done < LANES ? last - done : LANES;

            if (out_width == width) {
                copy_rows(rgb, width, (int32_t)box->left, done, rows, plan);
            } else {
                resize_rows(rgb, width, done, rows, plan, kernels);
            }
            done += rows;
        }
        kernels->vertical(plan->ring, plan->ring_rows, plan->y.first[y], plan->y.used[y],
                          plan->y.weights + (size_t)y * (size_t)plan->y.taps, samples, out);
    }
}

/* ---- set-up ------------------------------------------------------------------------------ */

/* Next piece of the block, 64-byte aligned; with block == NULL only counts. */
static void *carve(unsigned char *block, size_t *used, size_t bytes)
{
    void *piece = block ? block + *used : NULL;

    *used += (bytes + 63) & ~(size_t)63;
    return piece;
}

/* Sizes are far below overflow: sides <= 2^20, box sides <= 2^15, taps <= 4 x side + 3 and
 * taps x outputs <= about 4 x side + 7 x box side (checked by the caller's limits). */
static size_t carve_plan(resize_plan *plan, int32_t width, unsigned char *block)
{
    const size_t samples = 3 * (size_t)plan->x.count;
    size_t used = 0;

    for (int i = 0; i < 2; i++) {
        resize_axis *axis = i ? &plan->y : &plan->x;
        const size_t count = (size_t)axis->count;

        axis->first = carve(block, &used, count * sizeof *axis->first);
        axis->used = carve(block, &used, count * sizeof *axis->used);
        axis->weights = carve(block, &used, count * (size_t)axis->taps * sizeof *axis->weights);
    }
    plan->exact = carve(block, &used,
                        (size_t)(plan->x.taps > plan->y.taps ? plan->x.taps : plan->y.taps) *
                            sizeof *plan->exact);
    plan->strip = carve(block, &used, 3 * (size_t)width * LANES);
    plan->spread = carve(block, &used, samples * LANES);
    plan->ring = carve(block, &used, samples * (size_t)plan->ring_rows);
    return used;
}

static ivl_status check_arguments(int32_t width, int32_t height, int64_t out_width,
                                  int64_t out_height, const ivl__box *box, ivl_error *error)
{
    if (width < 1 || height < 1 || width > IVL__RESIZE_MAX_SIDE || height > IVL__RESIZE_MAX_SIDE) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "picture of %d x %d pixels cannot be resized: sides must be 1..%d", width,
                         height, IVL__RESIZE_MAX_SIDE);
    }
    if (box->width < 1 || box->height < 1 || box->width > IVL__RESIZE_MAX_OUT ||
        box->height > IVL__RESIZE_MAX_OUT || box->left < 0 || box->top < 0 ||
        box->left > out_width - box->width || box->top > out_height - box->height ||
        out_width > INT64_C(1) << 40 || out_height > INT64_C(1) << 40) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "box of %d x %d at (%lld, %lld) does not fit a picture resized to "
                         "%lld x %lld",
                         box->width, box->height, (long long)box->left, (long long)box->top,
                         (long long)out_width, (long long)out_height);
    }
    return IVL_OK;
}

ivl_status ivl__image_resize_bicubic(const unsigned char *rgb, int32_t width, int32_t height,
                                     int64_t out_width, int64_t out_height, const ivl__box *box,
                                     unsigned char *out, size_t out_stride,
                                     ivl__resize_scratch *scratch, ivl_error *error)
{
    const ivl__box all = {0, 0, (int32_t)(out_width > INT32_MAX ? 0 : out_width),
                          (int32_t)(out_height > INT32_MAX ? 0 : out_height)};
    resize_plan plan = {0};
    size_t bytes;
    ivl_status status;

    box = box ? box : &all;
    status = check_arguments(width, height, out_width, out_height, box, error);
    if (status != IVL_OK) {
        return status;
    }
    plan.x.count = box->width;
    plan.x.taps = axis_taps(width, out_width);
    plan.y.count = box->height;
    plan.y.taps = axis_taps(height, out_height);
    plan.ring_rows = plan.y.taps + LANES - 1;
    bytes = carve_plan(&plan, width, NULL);
    if (scratch->bytes < bytes) {
        unsigned char *block = ivl__malloc(bytes);

        if (!block) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory to resize (%zu bytes)", bytes);
        }
        ivl__resize_scratch_free(scratch);
        scratch->block = block;
        scratch->bytes = bytes;
    }
    carve_plan(&plan, width, scratch->block);
    axis_fill(&plan.x, width, out_width, box->left, plan.exact);
    axis_fill(&plan.y, height, out_height, box->top, plan.exact);
    run(rgb, width, out_width, box, out, out_stride, &plan);
    return IVL_OK;
}
