/* test_gemm.c - every GEMM backend that serves the device, against sums in double precision.
 *
 * Weight types x epilogues x output types x odd shapes x row tiles x offsets aligned to the element
 * only. Operands stand between NaNs, outputs are NaN before, guard bands are checked. Equal bits: a
 * row's result must not depend on M, on its position, on row tiles or on alignment.
 */
#include "runtime/gemm.h"
#include "runtime/os.h"

#include "tests/op/op_test.h"

#define U32 0x1p-24 /* unit roundoff of fp32 */

typedef struct problem {
    int32_t m, n, k;
    ivl__gemm_layout layout;
    ivl_dtype w_type, y_type;
    ivl__epilogue epilogue;
    bool bias, scale;
    int tiles;
    size_t shift;      /* elements that operands are off their alignment */
    int32_t y_gap;     /* y_ld - n */
    int32_t first_row; /* of the endless x that all problems share */
} problem;

/* ---- operands ------------------------------------------------------------------------------ */

/* Uniform in [-1, 1), a function of its arguments. */
static float value_at(uint64_t what, uint64_t row, uint64_t col)
{
    uint64_t state = what * 0x100000001b3ull + row * 0x9e3779b1ull + col;

    (void)test_random(&state);
    return test_uniform(&state);
}

static float load(ivl_dtype type, const void *data, size_t index)
{
    return ivl__dtype_load(type, data, index);
}

/* Element (row, k) of x and (col, k) of w as the device gets them. */
static float x_at(const problem *p, ivl_dtype type, int32_t row, int32_t k)
{
    uint32_t bits[1];

    test_store(type, bits, 0, value_at(1, (uint64_t)(p->first_row + row), (uint64_t)k));
    return load(type, bits, 0);
}

static float w_at(const problem *p, int32_t col, int32_t k)
{
    uint32_t bits[1];

    test_store(p->w_type, bits, 0, value_at(2, (uint64_t)col, (uint64_t)k));
    return load(p->w_type, bits, 0);
}

#define NAN_VALUES 64u /* NaNs on both sides of an operand */

/* Uploads rows x cols values between NaNs; `transposed` stores element (r, c) at [c][r]. */
static test_buffer upload_matrix(const problem *p, bool is_x, ivl_dtype type, int32_t row0,
                                 int32_t rows, int32_t cols, bool transposed)
{
    const size_t bytes = ivl__dtype_bytes(type);
    const size_t count = (size_t)rows * (size_t)cols + 2 * NAN_VALUES;
    unsigned char *data = malloc(count * bytes);
    test_buffer b;

    assert_non_null(data);
    memset(data, 0xff, count * bytes);
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t c = 0; c < cols; c++) {
            size_t at = transposed ? (size_t)c * (size_t)rows + (size_t)r
                                   : (size_t)r * (size_t)cols + (size_t)c;
            float value = is_x ? x_at(p, type, row0 + r, c) : w_at(p, row0 + r, c);

            test_store(type, data, NAN_VALUES + at, value);
        }
    }
    b = test_upload(data, count * bytes, p->shift * bytes);
    b.span.offset += NAN_VALUES * bytes;
    free(data);
    return b;
}

static test_buffer upload_vector(const problem *p, uint64_t what)
{
    float *data = malloc((size_t)p->n * sizeof *data);
    test_buffer b;

    assert_non_null(data);
    for (int32_t i = 0; i < p->n; i++) {
        data[i] = value_at(what, 0, (uint64_t)i);
    }
    b = test_upload(data, (size_t)p->n * sizeof *data, p->shift * sizeof *data);
    free(data);
    return b;
}

/* NaN, or the residual's old values; the gap behind each row stays NaN. */
static test_buffer upload_y(const problem *p)
{
    const size_t ld = (size_t)(p->n + p->y_gap);
    const size_t bytes = ivl__dtype_bytes(p->y_type);
    unsigned char *data = malloc((size_t)p->m * ld * bytes);
    test_buffer b;

    assert_non_null(data);
    memset(data, 0xff, (size_t)p->m * ld * bytes);
    for (int32_t r = 0; p->epilogue == IVL__EPILOGUE_RESIDUAL && r < p->m; r++) {
        for (int32_t c = 0; c < p->n; c++) {
            test_store(p->y_type, data, (size_t)r * ld + (size_t)c,
                       value_at(5, (uint64_t)(p->first_row + r), (uint64_t)c));
        }
    }
    b = test_upload(data, (size_t)p->m * ld * bytes, p->shift * bytes);
    free(data);
    return b;
}

typedef struct operands {
    test_buffer x, y, bias, scale, w[IVL__MAX_TILES];
    ivl__weight weight;
    ivl__gemm_call call;
} operands;

static void upload_weight(const problem *p, operands *o)
{
    const bool nt = p->layout == IVL__GEMM_NT;
    ivl__weight *w = &o->weight;

    *w = (ivl__weight){.dtype = p->w_type,
                       .rows = nt ? p->n : p->k,
                       .cols = nt ? p->k : p->n,
                       .n_tiles = nt && p->tiles > 1 ? p->tiles : 1};
    for (int i = 0; i < w->n_tiles; i++) {
        int32_t first = (int32_t)((int64_t)p->n * i / w->n_tiles);
        int32_t rows = (int32_t)((int64_t)p->n * (i + 1) / w->n_tiles) - first;

        o->w[i] = upload_matrix(p, false, p->w_type, first, rows, p->k, !nt);
        w->tiles[i] = (ivl__weight_tile){
            .data = o->w[i].span, .first_row = nt ? first : 0, .rows = nt ? rows : p->k};
    }
}

static void upload_operands(const ivl__gemm *gemm, const problem *p, operands *o)
{
    const ivl_dtype x_type = ivl__gemm_input_type(gemm);

    *o = (operands){0};
    o->x = upload_matrix(p, true, x_type, 0, p->m, p->k, p->layout == IVL__GEMM_TN);
    o->y = upload_y(p);
    upload_weight(p, o);
    if (p->bias) {
        o->bias = upload_vector(p, 3);
    }
    if (p->scale) {
        o->scale = upload_vector(p, 4);
    }
    o->call = (ivl__gemm_call){.layout = p->layout,
                               .m = p->m,
                               .x = o->x.span,
                               .x_type = x_type,
                               .w = &o->weight,
                               .epilogue = p->epilogue,
                               .bias = o->bias.span,
                               .scale = o->scale.span,
                               .y = o->y.span,
                               .y_type = p->y_type,
                               .y_ld = p->n + p->y_gap};
}

static void release_operands(operands *o)
{
    test_release(&o->x);
    test_release(&o->y);
    test_release(&o->bias);
    test_release(&o->scale);
    for (int i = 0; i < o->weight.n_tiles; i++) {
        test_release(&o->w[i]);
    }
}

/* y, rows of n + y_gap elements of y_type; the caller's to free. */
static void *run_problem(ivl__gemm *gemm, const problem *p)
{
    const size_t bytes = (size_t)p->m * (size_t)(p->n + p->y_gap) * ivl__dtype_bytes(p->y_type);
    ivl_error error = {0};
    operands o;
    void *y = malloc(bytes);

    assert_non_null(y);
    upload_operands(gemm, p, &o);
    assert_ok(ivl__gemm_reserve(gemm, ivl__gemm_scratch(gemm, p->m, p->n, p->k, p->w_type), &error),
              error);
    assert_ok(ivl__gemm_run(gemm, &o.call, &error), error);
    test_download(&o.y, y);
    release_operands(&o);
    return y;
}

/* ---- reference ----------------------------------------------------------------------------- */

/* The exact result, and how far from it fp32 arithmetic may be.
 *
 * Sum: k fused steps round once each: k u S with S = sum |x||w| (one more for orders that add
 * partial sums). `fast` rounds weights that are not bf16 to it: 2^-8 S more. The bias, the scale
 * and the residual round once each. GELU has a slope of at most 1.13, and erf is allowed 16 ulp by
 * the specification: |v| / 2 * 16 u, 4 |v| u for its argument and the products. */
static double reference(const ivl__gemm *gemm, const problem *p, int32_t row, int32_t col,
                        double *bound)
{
    const ivl_dtype x_type = ivl__gemm_input_type(gemm);
    double sum = 0.0;
    double size = 0.0;
    double v, e;

    for (int32_t k = 0; k < p->k; k++) {
        double product = (double)x_at(p, x_type, row, k) * (double)w_at(p, col, k);

        sum += product;
        size += fabs(product);
    }
    v = sum;
    e = (p->k + 1) * U32 * size;
    if (gemm->precision == IVL_FAST && p->w_type != IVL_BF16) {
        e += 0x1p-8 * size;
    }
    if (p->bias) {
        v += (double)value_at(3, 0, (uint64_t)col);
        e += U32 * (fabs(v) + e);
    }
    if (p->epilogue == IVL__EPILOGUE_GELU) {
        e = 1.13 * e + 12 * U32 * fabs(v);
        v = 0.5 * v * (1.0 + erf(v * 0.70710678118654752440));
    }
    if (p->scale) {
        double scale = (double)value_at(4, 0, (uint64_t)col);

        v *= scale;
        e = e * fabs(scale) + U32 * fabs(v);
    }
    if (p->epilogue == IVL__EPILOGUE_RESIDUAL) {
        v += (double)value_at(5, (uint64_t)(p->first_row + row), (uint64_t)col);
        e += U32 * (fabs(v) + e);
    }
    if (p->y_type == IVL_BF16) {
        e += 0x1p-8 * (fabs(v) + e);
    } else if (p->y_type == IVL_F16) {
        e += 0x1p-11 * (fabs(v) + e) + 0x1p-25;
    }
    *bound = e;
    return v;
}

static void describe(const ivl__gemm *gemm, const problem *p, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s %s %dx%dx%d layout %d w %s y %s epilogue %d%s%s tiles %d shift %zu",
             gemm->backend->name, gemm->precision == IVL_FAST ? "fast" : "exact", p->m, p->n, p->k,
             (int)p->layout, ivl__dtype_name(p->w_type), ivl__dtype_name(p->y_type),
             (int)p->epilogue, p->bias ? " bias" : "", p->scale ? " scale" : "", p->tiles,
             p->shift);
}

/* Largest error in units of its bound; fails beyond 1. */
static double check_problem(ivl__gemm *gemm, const problem *p)
{
    const int32_t ld = p->n + p->y_gap;
    char what[200];
    void *y = run_problem(gemm, p);
    double worst = 0.0;

    describe(gemm, p, what, sizeof what);
    for (int32_t r = 0; r < p->m; r++) {
        for (int32_t c = 0; c < p->n; c++) {
            double bound;
            double want = reference(gemm, p, r, c, &bound);
            double got = (double)load(p->y_type, y, (size_t)r * (size_t)ld + (size_t)c);
            double error = fabs(got - want);

            if (!(error <= bound)) {
                fail_msg("%s: [%d, %d] is %.9g, should be %.9g (error %.3g > %.3g)", what, r, c,
                         got, want, error, bound);
            }
            worst = bound > 0.0 && error / bound > worst ? error / bound : worst;
        }
        for (int32_t c = p->n; c < ld; c++) {
            float gap = load(p->y_type, y, (size_t)r * (size_t)ld + (size_t)c);

            if (!isnan(gap)) {
                fail_msg("%s: wrote behind row %d", what, r);
            }
        }
    }
    free(y);
    return worst;
}

/* ---- every backend ------------------------------------------------------------------------- */

/* CLBlast's kernels are not ours to check, and take minutes on a simulator. */
static bool is_skipped(const ivl__gemm_backend *backend)
{
    return strcmp(backend->name, "clblast") == 0 && strstr(device->info.platform, "Oclgrind");
}

static void for_each_backend(void (*test)(ivl__gemm *gemm))
{
    int served = 0;

    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        for (int precision = IVL_EXACT; precision <= IVL_FAST; precision++) {
            const ivl__gemm_backend *backend = ivl__gemm_backends[i];
            const char *reason = "left out on this device";
            ivl_error error = {0};
            ivl__gemm gemm;

            if (is_skipped(backend) ||
                !backend->available(device, (ivl_precision)precision, &reason)) {
                printf("not tested: %s %s: %s\n", backend->name,
                       precision == IVL_FAST ? "fast" : "exact", reason);
                continue;
            }
            assert_ok(
                ivl__gemm_open(device, backend->name, (ivl_precision)precision, &gemm, &error),
                error);
            test(&gemm);
            ivl__gemm_close(&gemm);
            served++;
        }
    }
    assert_true(served > 0);
}

static const ivl_dtype types[3] = {IVL_F32, IVL_F16, IVL_BF16};

static void check_shapes(ivl__gemm *gemm)
{
    static const int32_t shapes[][3] = {{1, 1, 1},      {3, 5, 7},     {17, 33, 19}, {2, 64, 32},
                                        {65, 70, 48},   {130, 67, 37}, {64, 64, 64}, {5, 260, 129},
                                        {43, 75, 1093}, {1, 83, 131},  {2, 37, 69},  {3, 129, 64},
                                        {4, 90, 101}};
    const size_t n = test_tiny() ? 4 : sizeof shapes / sizeof shapes[0];
    double worst = 0.0;

    for (size_t s = 0; s < n; s++) {
        for (size_t t = 0; t < 3; t++) {
            for (size_t shift = 0; shift < 2; shift++) {
                problem p = {.m = shapes[s][0],
                             .n = shapes[s][1],
                             .k = shapes[s][2],
                             .w_type = types[t],
                             .y_type = IVL_F32,
                             .bias = s % 2 == 0,
                             .tiles = 1,
                             .shift = shift,
                             .y_gap = (int32_t)shift * 3};
                double error = check_problem(gemm, &p);

                worst = error > worst ? error : worst;
            }
        }
    }
    printf("%s: shapes: largest error %.3f of its bound\n", gemm->backend->name, worst);
}

static void check_epilogues(ivl__gemm *gemm)
{
    const int32_t m = test_tiny() ? 3 : 35;
    const int32_t n = test_tiny() ? 9 : 77;
    double worst = 0.0;

    for (int e = IVL__EPILOGUE_BIAS; e <= IVL__EPILOGUE_RESIDUAL; e++) {
        for (int vectors = 0; vectors < 4; vectors++) {
            for (size_t y = 0; y < 3; y++) {
                problem p = {.m = m,
                             .n = n,
                             .k = 40,
                             .w_type = types[(size_t)vectors % 3],
                             .y_type = types[y],
                             .epilogue = (ivl__epilogue)e,
                             .bias = vectors & 1,
                             .scale = vectors & 2,
                             .tiles = vectors & 1 ? 3 : 1,
                             .shift = (size_t)vectors % 2,
                             .y_gap = vectors};
                double error;

                if (e == IVL__EPILOGUE_RESIDUAL ? y > 0 : p.scale) {
                    continue;
                }
                error = check_problem(gemm, &p);
                worst = error > worst ? error : worst;
            }
        }
    }
    printf("%s: epilogues: largest error %.3f of its bound\n", gemm->backend->name, worst);
}

/* `x @ P` and its like: odd sizes, few columns, one row, sums over more than a packed panel. */
static void check_layouts(ivl__gemm *gemm)
{
    static const ivl__gemm_layout layouts[2] = {IVL__GEMM_NN, IVL__GEMM_TN};
    static const int32_t shapes[][3] = {{5, 6, 20}, {67, 93, 51}, {1, 2, 65}, {3, 70, 1061}};
    const size_t n = test_tiny() ? 1 : sizeof shapes / sizeof shapes[0];

    for (size_t i = 0; i < 6 * n; i++) {
        const size_t s = i % n;
        const size_t t = i / n % 3;
        const problem p = {.m = shapes[s][0],
                           .n = shapes[s][1],
                           .k = shapes[s][2],
                           .layout = layouts[i / n / 3],
                           .w_type = types[t],
                           .y_type = types[t],
                           .epilogue = t == 0 ? IVL__EPILOGUE_RESIDUAL : IVL__EPILOGUE_BIAS,
                           .bias = t != 1,
                           .scale = t == 0,
                           .tiles = 1,
                           .shift = t};

        (void)check_problem(gemm, &p);
    }
}

static void assert_equal_rows(const char *what, const problem *a, const float *ya, int32_t row_a,
                              const problem *b, const float *yb, int32_t row_b)
{
    const float *ra = ya + (size_t)row_a * (size_t)(a->n + a->y_gap);
    const float *rb = yb + (size_t)row_b * (size_t)(b->n + b->y_gap);

    for (int32_t c = 0; c < a->n; c++) {
        if (memcmp(ra + c, rb + c, sizeof *ra) != 0) {
            fail_msg("%s: column %d of row %d is %.9g, of row %d %.9g", what, c, row_a,
                     (double)ra[c], row_b, (double)rb[c]);
        }
    }
}

static void check_equal_bits_of(ivl__gemm *gemm, ivl_dtype type)
{
    const bool tiny = test_tiny();
    const problem base = {.m = tiny ? 9 : 130,
                          .n = tiny ? 20 : 200,
                          .k = tiny ? 33 : 1301,
                          .w_type = type,
                          .y_type = IVL_F32,
                          .epilogue = IVL__EPILOGUE_GELU,
                          .bias = true,
                          .tiles = 1};
    float *y = run_problem(gemm, &base);
    problem p = base;
    float *other;

    /* One row alone, wherever it stood before. */
    for (int32_t row = 0; row < base.m; row += tiny ? 4 : 43) {
        p.m = 1;
        p.first_row = row;
        other = run_problem(gemm, &p);
        assert_equal_rows("a row alone", &base, y, row, &p, other, 0);
        free(other);
    }
    /* A few rows: for some numbers of them there is other code. */
    for (int32_t few = 2; few <= 6; few++) {
        p = base;
        p.m = few;
        p.first_row = 1;
        other = run_problem(gemm, &p);
        for (int32_t row = 0; row < few; row++) {
            assert_equal_rows("a few rows", &base, y, row + 1, &p, other, row);
        }
        free(other);
    }
    /* Another number of rows, another place, other tiles, other offsets. */
    p = base;
    p.first_row = 3;
    p.m = base.m - 4;
    p.tiles = tiny ? 2 : 7;
    p.shift = 1;
    p.y_gap = 5;
    other = run_problem(gemm, &p);
    for (int32_t row = 0; row < p.m; row++) {
        assert_equal_rows("moved rows", &base, y, row + 3, &p, other, row);
    }
    free(other);
    free(y);
}

static void check_equal_bits(ivl__gemm *gemm)
{
    for (size_t t = 0; t < (test_tiny() ? 1 : 3); t++) {
        check_equal_bits_of(gemm, types[test_tiny() ? 2 : t]);
    }
}

/* More turns than some driver's loops can take. */
static void check_long_sums(ivl__gemm *gemm)
{
    const problem p = {.m = 2,
                       .n = 3,
                       .k = 1100000,
                       .w_type = IVL_BF16,
                       .y_type = IVL_BF16,
                       .epilogue = IVL__EPILOGUE_BIAS,
                       .bias = true,
                       .tiles = 2};

    if (test_tiny() || ivl__gemm_scratch(gemm, p.m, p.n, p.k, p.w_type) > (80u << 20)) {
        printf("%s: long sums not tested (%zu bytes of scratch)\n", gemm->backend->name,
               ivl__gemm_scratch(gemm, p.m, p.n, p.k, p.w_type));
        return;
    }
    (void)check_problem(gemm, &p);
}

/* More rows than any backend takes at a time. */
static void check_many_rows(ivl__gemm *gemm)
{
    const problem p = {.m = 2100,
                       .n = 9,
                       .k = 11,
                       .w_type = IVL_BF16,
                       .y_type = IVL_F32,
                       .epilogue = IVL__EPILOGUE_RESIDUAL,
                       .bias = true,
                       .scale = true,
                       .tiles = 2};
    const problem last = {.m = 1,
                          .n = 9,
                          .k = 11,
                          .w_type = IVL_BF16,
                          .y_type = IVL_F32,
                          .epilogue = IVL__EPILOGUE_RESIDUAL,
                          .bias = true,
                          .scale = true,
                          .tiles = 1,
                          .first_row = 2099};
    float *all, *one;

    if (test_tiny()) {
        return;
    }
    (void)check_problem(gemm, &p);
    all = run_problem(gemm, &p);
    one = run_problem(gemm, &last);
    assert_equal_rows("the last of many rows", &p, all, 2099, &last, one, 0);
    free(all);
    free(one);
}

static void check_all(ivl__gemm *gemm)
{
    static const struct {
        const char *name;
        void (*check)(ivl__gemm *gemm);
    } checks[] = {{"shapes", check_shapes},       {"epilogues", check_epilogues},
                  {"layouts", check_layouts},     {"equal bits", check_equal_bits},
                  {"many rows", check_many_rows}, {"long sums", check_long_sums}};

    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        double start = ivl__now();

        checks[i].check(gemm);
        printf("%s %s: %s in %.1f s\n", gemm->backend->name,
               gemm->precision == IVL_FAST ? "fast" : "exact", checks[i].name, ivl__now() - start);
    }
}

/* CLBlast compiles for seconds whenever it is opened: everything in one go. */
static void backends_match(void **state)
{
    (void)state;
    for_each_backend(check_all);
}

/* What tiles serve (above) is served by vdpbf16ps where the processor has none, or the system does
 * not let us use them. */
static void dot_products_match(void **state)
{
    const char *reason = "";
    ivl_error error = {0};
    ivl__gemm gemm;

    (void)state;
    if (!device->caps.x86_amx_bf16) {
        printf("no tiles: vdpbf16ps has been tested above, if it is there\n");
        return;
    }
    device->caps.x86_amx_bf16 = false;
    assert_true(ivl__gemm_cpu.available(device, IVL_FAST, &reason));
    assert_ok(ivl__gemm_open(device, "cpu", IVL_FAST, &gemm, &error), error);
    assert_int_equal(ivl__gemm_scratch(&gemm, 100, 100, 100, IVL_BF16), 0);
    check_all(&gemm);
    ivl__gemm_close(&gemm);
    device->caps.x86_amx_bf16 = true;
}

/* ---- arguments ----------------------------------------------------------------------------- */

static void names_are_checked(void **state)
{
    ivl_error error = {0};
    ivl__gemm gemm;

    (void)state;
    assert_fails(ivl__gemm_open(device, "blas", IVL_EXACT, &gemm, &error), IVL_INVALID_ARGUMENT,
                 error, "auto, ");
    assert_fails(ivl__gemm_open(device, "tile", IVL_FAST, &gemm, &error), IVL_UNSUPPORTED, error,
                 "tile");
    assert_fails(ivl__gemm_open(device, "tile", (ivl_precision)7, &gemm, &error),
                 IVL_INVALID_ARGUMENT, error, "7");
    assert_ok(ivl__gemm_open(device, NULL, IVL_EXACT, &gemm, &error), error);
    assert_true(gemm.automatic);
    ivl__gemm_close(&gemm);
}

/* Each changes one thing of a call that is right. */
static void misshape(int which, ivl__gemm_call *call, ivl__weight *w)
{
    switch (which) {
    case 0: call->m = -1; break;
    case 1: call->x.mem = NULL; break;
    case 2: call->x.offset += 1; break;
    case 3: call->x_type = IVL_F16; break;
    case 4: call->y.mem = NULL; break;
    case 5: call->y_type = IVL_I64; break;
    case 6: call->y_ld = w->rows - 1; break;
    case 7: w->n_tiles = 0; break;
    case 8: w->n_tiles = IVL__MAX_TILES + 1; break;
    case 9: w->tiles[0].rows--; break;
    case 10: w->tiles[1].first_row++; break;
    case 11: w->tiles[1].data.mem = NULL; break;
    case 12: w->tiles[1].data.offset++; break;
    case 13: w->dtype = IVL_I64; break;
    case 14: call->w = NULL; break;
    case 15: call->scale = call->bias; break;
    case 16: call->bias.offset += 2; break;
    case 17: call->epilogue = (ivl__epilogue)9; break;
    case 18: call->layout = (ivl__gemm_layout)3; break;
    case 19: w->tiles[1].rows--; break;
    default:
        call->epilogue = IVL__EPILOGUE_RESIDUAL;
        call->y_type = IVL_BF16;
        break;
    }
}

static void calls_are_checked(void **state)
{
    const problem p = {
        .m = 2, .n = 6, .k = 5, .w_type = IVL_BF16, .y_type = IVL_F32, .bias = true, .tiles = 2};
    ivl_error error = {0};
    ivl__gemm gemm;
    operands o;

    (void)state;
    assert_ok(ivl__gemm_open(device, "tile", IVL_EXACT, &gemm, &error), error);
    upload_operands(&gemm, &p, &o);
    for (int which = 0; which <= 20; which++) {
        ivl__weight w = o.weight;
        ivl__gemm_call call = o.call;

        call.w = &w;
        misshape(which, &call, &w);
        if (ivl__gemm_run(&gemm, &call, &error) != IVL_INVALID_ARGUMENT ||
            !strstr(error.message, "GEMM")) {
            fail_msg("case %d was accepted, or: %s", which, error.message);
        }
    }
    o.call.layout = IVL__GEMM_NN;
    assert_fails(ivl__gemm_run(&gemm, &o.call, &error), IVL_UNSUPPORTED, error, "2 row tiles");
    o.call.layout = IVL__GEMM_NT;
    o.call.m = 0;
    assert_ok(ivl__gemm_run(&gemm, &o.call, &error), error);
    release_operands(&o);
    ivl__gemm_close(&gemm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(calls_are_checked),
        cmocka_unit_test(backends_match),
        cmocka_unit_test(dot_products_match),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
