/* tuning_bench.c - operands and reference for the candidates of a matrix; see tuning_bench.h. */
#include "runtime/tuning_bench.h"

#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/trial.h"

#include <math.h>

#define U       0x1p-24 /* unit roundoff of fp32 */
#define SAMPLES 3

struct ivl__tuning_bench {
    ivl__gemm *gemm;
    ivl__gemm_shape shape;
    int32_t m;
    ivl_dtype x_type;
    void *x, *w; /* host: [m, k] of x_type, [n, k] of w_type */
    float *y;    /* host: [m, n] */
    cl_mem at_x, at_w, at_y;
    int32_t rows[SAMPLES], columns[SAMPLES];
    double *want;  /* [SAMPLES * n + SAMPLES * m]: rows, then columns */
    double *bound; /* the same */
};

/* ---- reference --------------------------------------------------------------------------- */

/* K steps, and one more for orders that add partial sums, round once each: (K + 1) U sum |x w|.
 * A 16-bit unit rounds weights of another type: by 2^-8 at most. */
static void reference(const ivl__tuning_bench *b, int32_t row, int32_t column, size_t at)
{
    const int32_t k = b->shape.k;
    const bool rounds = b->x_type != IVL_F32 && b->shape.w_type != b->x_type;
    double sum = 0.0;
    double size = 0.0;

    for (int32_t i = 0; i < k; i++) {
        double x = (double)ivl__dtype_load(b->x_type, b->x, (size_t)row * (size_t)k + (size_t)i);
        double w = (double)ivl__dtype_load(b->shape.w_type, b->w,
                                           (size_t)column * (size_t)k + (size_t)i);

        sum += x * w;
        size += fabs(x * w);
    }
    b->want[at] = sum;
    b->bound[at] = ((k + 1) * U + (rounds ? 0x1p-8 : 0.0)) * size;
}

static void fill_reference(ivl__tuning_bench *b)
{
    const size_t n = (size_t)b->shape.n;
    const size_t m = (size_t)b->m;

    for (int s = 0; s < SAMPLES; s++) {
        b->rows[s] = (int32_t)((int64_t)(b->m - 1) * s / (SAMPLES - 1));
        b->columns[s] = (int32_t)((int64_t)(b->shape.n - 1) * s / (SAMPLES - 1));
        for (int32_t c = 0; c < b->shape.n; c++) {
            reference(b, b->rows[s], c, (size_t)s * n + (size_t)c);
        }
        for (int32_t r = 0; r < b->m; r++) {
            reference(b, r, b->columns[s], SAMPLES * n + (size_t)s * m + (size_t)r);
        }
    }
}

/* ---- open -------------------------------------------------------------------------------- */

static void fill(void *data, ivl_dtype type, size_t n, uint32_t stream)
{
    for (size_t i = 0; i < n; i++) {
        float value = ivl__selftest_value(stream, (uint32_t)i);

        if (type == IVL_F32) {
            ((float *)data)[i] = value;
        } else {
            ((uint16_t *)data)[i] = type == IVL_F16 ? ivl__float_to_f16(value)
                                                    : ivl__float_to_bf16(value);
        }
    }
}

static bool allocate(ivl__tuning_bench *b)
{
    const size_t m = (size_t)b->m;
    const size_t n = (size_t)b->shape.n;
    const size_t k = (size_t)b->shape.k;

    b->x = ivl__calloc(m * k, ivl__dtype_bytes(b->x_type));
    b->w = ivl__calloc(n * k, ivl__dtype_bytes(b->shape.w_type));
    b->y = ivl__calloc(m * n, sizeof *b->y);
    b->want = ivl__calloc(SAMPLES * (m + n), sizeof *b->want);
    b->bound = ivl__calloc(SAMPLES * (m + n), sizeof *b->bound);
    return b->x && b->w && b->y && b->want && b->bound;
}

static ivl_status upload(ivl__tuning_bench *b, ivl_error *error)
{
    ivl__cl *cl = &b->gemm->device->cl;
    const size_t m = (size_t)b->m;
    const size_t n = (size_t)b->shape.n;
    const size_t k = (size_t)b->shape.k;
    const size_t x_bytes = m * k * ivl__dtype_bytes(b->x_type);
    const size_t w_bytes = n * k * ivl__dtype_bytes(b->shape.w_type);

    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_ONLY, x_bytes, "tuning", &b->at_x, error));
    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_ONLY, w_bytes, "tuning", &b->at_w, error));
    IVL__TRY(
        ivl__cl_buffer(cl, CL_MEM_READ_WRITE, m * n * sizeof(float), "tuning", &b->at_y, error));
    IVL__TRY(ivl__cl_write(cl, cl->compute, b->at_x, 0, b->x, x_bytes, 0, NULL, NULL, error));
    return ivl__cl_write(cl, cl->compute, b->at_w, 0, b->w, w_bytes, 0, NULL, NULL, error);
}

ivl_status ivl__tuning_bench_open(ivl__gemm *gemm, const ivl__gemm_shape *shape, int32_t rows,
                                  ivl__tuning_bench **out, ivl_error *error)
{
    ivl__tuning_bench *b = ivl__calloc(1, sizeof *b);
    ivl_status status;

    if (!b) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for tuning");
    }
    b->gemm = gemm;
    b->shape = *shape;
    b->m = rows;
    b->x_type = ivl__gemm_input_type(gemm);
    if (allocate(b)) {
        fill(b->x, b->x_type, (size_t)rows * (size_t)shape->k, 200);
        fill(b->w, shape->w_type, (size_t)shape->n * (size_t)shape->k, 201);
        fill_reference(b);
        status = upload(b, error);
    } else {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for tuning");
    }
    if (status != IVL_OK) {
        ivl__tuning_bench_close(b);
        return status;
    }
    *out = b;
    return IVL_OK;
}

void ivl__tuning_bench_close(ivl__tuning_bench *b)
{
    ivl__cl *cl;

    if (!b) {
        return;
    }
    cl = &b->gemm->device->cl;
    (void)ivl__cl_finish(cl, cl->compute, NULL);
    ivl__cl_buffer_free(cl, b->at_x);
    ivl__cl_buffer_free(cl, b->at_w);
    ivl__cl_buffer_free(cl, b->at_y);
    ivl__free(b->x);
    ivl__free(b->w);
    ivl__free(b->y);
    ivl__free(b->want);
    ivl__free(b->bound);
    ivl__free(b);
}

/* ---- runs -------------------------------------------------------------------------------- */

static ivl_status run(ivl__tuning_bench *b, const ivl__tuning_candidate *candidate,
                      ivl_error *error)
{
    const ivl__gemm_shape *s = &b->shape;
    const ivl__gemm_choice choice = {s->n, s->k, s->w_type, candidate->backend, candidate->tile};
    const ivl__weight w = {.dtype = s->w_type,
                           .rows = s->n,
                           .cols = s->k,
                           .n_tiles = 1,
                           .tiles = {{.data = {b->at_w, 0}, .rows = s->n}}};
    const ivl__gemm_call call = {.layout = IVL__GEMM_NT,
                                 .m = b->m,
                                 .x = {b->at_x, 0},
                                 .x_type = b->x_type,
                                 .w = &w,
                                 .epilogue = IVL__EPILOGUE_BIAS,
                                 .y = {b->at_y, 0},
                                 .y_type = IVL_F32,
                                 .y_ld = s->n};
    ivl__cl *cl = &b->gemm->device->cl;

    b->gemm->n_choices = 0;
    ivl__gemm_choose(b->gemm, &choice);
    IVL__TRY(
        ivl__gemm_reserve(b->gemm, ivl__gemm_scratch(b->gemm, b->m, s->n, s->k, s->w_type), error));
    IVL__TRY(ivl__gemm_run(b->gemm, &call, error));
    return ivl__cl_finish(cl, cl->compute, error);
}

static ivl_status compare(const ivl__tuning_bench *b, int32_t row, int32_t column, size_t at,
                          ivl_error *error)
{
    double got = (double)b->y[(size_t)row * (size_t)b->shape.n + (size_t)column];

    if (fabs(got - b->want[at]) <= b->bound[at]) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_DEVICE_FAILED,
                     "wrong numbers: row %d, column %d is %.6g, should be %.6g (+-%.2g)", row,
                     column, got, b->want[at], b->bound[at]);
}

ivl_status ivl__tuning_bench_check(ivl__tuning_bench *b, const ivl__tuning_candidate *candidate,
                                   ivl_error *error)
{
    const cl_uchar nan = 0xff;
    ivl__cl *cl = &b->gemm->device->cl;
    const size_t n = (size_t)b->shape.n;
    const size_t m = (size_t)b->m;

    IVL__TRY(ivl__cl_fill(cl, cl->compute, b->at_y, &nan, 1, 0, m * n * sizeof *b->y, error));
    IVL__TRY(run(b, candidate, error));
    IVL__TRY(ivl__cl_read(cl, cl->compute, b->at_y, 0, b->y, m * n * sizeof *b->y, 0, NULL, NULL,
                          error));
    for (size_t i = 0; i < m * n; i++) {
        if (!isfinite(b->y[i])) {
            return ivl__fail(error, IVL_DEVICE_FAILED,
                             "wrong numbers: row %zu, column %zu is not finite", i / n, i % n);
        }
    }
    for (int s = 0; s < SAMPLES; s++) {
        for (int32_t c = 0; c < b->shape.n; c++) {
            IVL__TRY(compare(b, b->rows[s], c, (size_t)s * n + (size_t)c, error));
        }
        for (int32_t r = 0; r < b->m; r++) {
            IVL__TRY(compare(b, r, b->columns[s], SAMPLES * n + (size_t)s * m + (size_t)r, error));
        }
    }
    return IVL_OK;
}

ivl_status ivl__tuning_bench_time(ivl__tuning_bench *b, const ivl__tuning_candidate *candidate,
                                  double *seconds, ivl_error *error)
{
    double start = ivl__now();

    IVL__TRY(run(b, candidate, error));
    *seconds = ivl__now() - start;
    return IVL_OK;
}
