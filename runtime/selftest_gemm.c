/* selftest_gemm.c - known-answer tests of the matrix products, one per backend and precision.
 *
 * Odd shapes, all weight types, every epilogue, row tiles. The sums are short, so that an error in
 * one element stands out of the bound.
 */
#include "runtime/gemm.h"
#include "runtime/memory.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* M: blocks of rows and a rest; N: panels and a rest; K: no multiple of anything. */
#define M     29
#define N     71
#define K     53
#define SPLIT 40 /* first row of the second tile */

typedef struct product {
    ivl__gemm_layout layout;
    ivl_dtype w_type;
    ivl__epilogue epilogue;
    bool tiles;
} product;

typedef struct operands {
    float x[M * K], w[N * K], bias[N], scale[N], y[M * N], got[M * N];
    ivl__weight weight;
    ivl__gemm_call call;
} operands;

static double x_at(const operands *o, const product *p, int row, int k)
{
    return (double)o->x[p->layout == IVL__GEMM_TN ? k * M + row : row * K + k];
}

static double w_at(const operands *o, const product *p, int column, int k)
{
    return (double)o->w[p->layout == IVL__GEMM_NT ? column * K + k : k * N + column];
}

/* K steps round once each: (K + 1) U sum |x w|; `fast` rounds weights that are not bf16 to it.
 * Bias, scale and residual round once each. GELU has a slope of at most 1.13 and 12 U |v| of its
 * own (erf may be 16 ulp off by the specification). */
static void check_element(ivl__trial *t, const operands *o, const product *p, bool fast, int row,
                          int column)
{
    double v = 0.0;
    double size = 0.0;
    double e;

    for (int k = 0; k < K; k++) {
        double term = x_at(o, p, row, k) * w_at(o, p, column, k);

        v += term;
        size += fabs(term);
    }
    e = ((K + 1) * U + (fast && p->w_type != IVL_BF16 ? 0x1p-8 : 0.0)) * size;
    v += (double)o->bias[column];
    e += U * (fabs(v) + e);
    if (p->epilogue == IVL__EPILOGUE_GELU) {
        e = 1.13 * e + 12 * U * fabs(v);
        v = 0.5 * v * erfc(-v * 0.70710678118654752440);
    } else if (p->epilogue == IVL__EPILOGUE_RESIDUAL) {
        v *= (double)o->scale[column];
        e = e * fabs((double)o->scale[column]) + U * fabs(v);
        v += (double)o->y[row * N + column];
        e += U * (fabs(v) + e);
    }
    ivl__trial_check(t, (double)o->got[row * N + column], v, e);
}

static void fill_weight(operands *o, const product *p, ivl__span at)
{
    const uint64_t row_bytes = K * ivl__dtype_bytes(p->w_type);
    const bool nt = p->layout == IVL__GEMM_NT;
    ivl__weight *w = &o->weight;

    *w = (ivl__weight){
        .dtype = p->w_type, .rows = nt ? N : K, .cols = nt ? K : N, .n_tiles = p->tiles ? 2 : 1};
    w->tiles[0] = (ivl__weight_tile){.data = at, .rows = p->tiles ? SPLIT : w->rows};
    w->tiles[1] = (ivl__weight_tile){
        .data = ivl__span_at(at, SPLIT * row_bytes), .first_row = SPLIT, .rows = N - SPLIT};
}

static ivl_status run_product(ivl__trial *t, ivl__gemm *gemm, operands *o, const product *p,
                              ivl_error *error)
{
    const ivl_dtype x_type = ivl__gemm_input_type(gemm);
    const bool residual = p->epilogue == IVL__EPILOGUE_RESIDUAL;
    ivl__gemm_call *call = &o->call;
    ivl__span w, scale;

    *call = (ivl__gemm_call){.layout = p->layout,
                             .m = M,
                             .x_type = x_type,
                             .w = &o->weight,
                             .epilogue = p->epilogue,
                             .y_type = IVL_F32,
                             .y_ld = N};
    IVL__TRY(ivl__trial_values(t, 40, 1.0f, x_type, M * K, o->x, &call->x, error));
    IVL__TRY(ivl__trial_values(t, 41, 1.0f, p->w_type, N * K, o->w, &w, error));
    IVL__TRY(ivl__trial_values(t, 42, 1.0f, IVL_F32, N, o->bias, &call->bias, error));
    IVL__TRY(ivl__trial_values(t, 43, 1.0f, IVL_F32, N, o->scale, &scale, error));
    if (residual) {
        call->scale = scale;
        IVL__TRY(ivl__trial_values(t, 44, 1.0f, IVL_F32, M * N, o->y, &call->y, error));
    } else {
        IVL__TRY(ivl__trial_upload(t, NULL, sizeof o->y, &call->y, error));
    }
    fill_weight(o, p, w);
    IVL__TRY(ivl__gemm_reserve(gemm, ivl__gemm_scratch(gemm, M, N, K, p->w_type), error));
    IVL__TRY(ivl__gemm_run(gemm, call, error));
    return ivl__trial_download(t, call->y, IVL_F32, M * N, o->got, error);
}

static ivl_status run_products(ivl__trial *t, ivl__gemm *gemm, operands *o, const product *products,
                               int n, ivl_error *error)
{
    for (int i = 0; i < n; i++) {
        IVL__TRY(run_product(t, gemm, o, &products[i], error));
        for (int at = 0; at < M * N; at++) {
            check_element(t, o, &products[i], gemm->precision == IVL_FAST, at / N, at % N);
        }
    }
    return IVL_OK;
}

static ivl_status test_backend(ivl__trial *t, const ivl__gemm_backend *backend,
                               ivl_precision precision, const product *products, int n,
                               ivl_error *error)
{
    ivl__gemm gemm;
    operands *o;
    ivl_status status = ivl__gemm_open(t->device, backend->name, precision, &gemm, error);

    if (status != IVL_OK) {
        return status;
    }
    o = ivl__calloc(1, sizeof *o);
    status = o ? run_products(t, &gemm, o, products, n, error)
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a self-test");
    ivl__gemm_close(&gemm);
    ivl__free(o);
    return status;
}

/* ---- tests ------------------------------------------------------------------------------- */

/* What the released models run. Each line is a kernel of its own, and compiling them is most of a
 * first start: the others are left to the `selftest` command. */
static const product model_products[] = {
    {IVL__GEMM_NT, IVL_BF16, IVL__EPILOGUE_RESIDUAL, true},
    {IVL__GEMM_NT, IVL_BF16, IVL__EPILOGUE_GELU, false},
    {IVL__GEMM_NN, IVL_BF16, IVL__EPILOGUE_BIAS, false},
};

static const product other_products[] = {
    {IVL__GEMM_NT, IVL_F16, IVL__EPILOGUE_BIAS, false},
    {IVL__GEMM_NT, IVL_F32, IVL__EPILOGUE_BIAS, true},
    {IVL__GEMM_TN, IVL_F32, IVL__EPILOGUE_RESIDUAL, false},
};

#define N_MODEL ((int)(sizeof model_products / sizeof model_products[0]))
#define N_OTHER ((int)(sizeof other_products / sizeof other_products[0]))

/* vdpbf16ps also where the backend would take tiles. */
static ivl_status test_dot(ivl__trial *t, const product *products, int n, ivl_error *error)
{
    const bool tiles = t->device->caps.x86_amx_bf16;
    ivl_status status;

    t->device->caps.x86_amx_bf16 = false;
    status = test_backend(t, &ivl__gemm_cpu, IVL_FAST, products, n, error);
    t->device->caps.x86_amx_bf16 = tiles;
    return status;
}

static ivl_status test_tiles(ivl__trial *t, const product *products, int n, ivl_error *error)
{
    if (!t->device->caps.x86_amx_bf16) {
        return ivl__fail(error, IVL_UNSUPPORTED, "the device has no tiles of bf16 (AMX)");
    }
    return test_backend(t, &ivl__gemm_cpu, IVL_FAST, products, n, error);
}

static ivl_status test_exact(ivl__trial *t, const product *products, int n, ivl_error *error)
{
    return test_backend(t, &ivl__gemm_cpu, IVL_EXACT, products, n, error);
}

static ivl_status test_tile(ivl__trial *t, const product *products, int n, ivl_error *error)
{
    return test_backend(t, &ivl__gemm_tile, IVL_EXACT, products, n, error);
}

#define PRODUCT_TEST(name, test)                                       \
    static ivl_status name(ivl__trial *t, ivl_error *error)            \
    {                                                                  \
        return test(t, model_products, N_MODEL, error);                \
    }                                                                  \
    static ivl_status name##_variants(ivl__trial *t, ivl_error *error) \
    {                                                                  \
        return test(t, other_products, N_OTHER, error);                \
    }                                                                  \
    IVL__SELFTEST(name)                                                \
    IVL__SELFTEST(name##_variants)

PRODUCT_TEST(gemm_cpu, test_exact)
PRODUCT_TEST(gemm_cpu_fast, test_dot)
PRODUCT_TEST(gemm_cpu_amx, test_tiles)
PRODUCT_TEST(gemm_tile, test_tile)

/* One kernel of CLBlast's serves all types: one test. */
static ivl_status gemm_clblast(ivl__trial *t, ivl_error *error)
{
    if (t->device->info.software) {
        return ivl__fail(error, IVL_UNSUPPORTED, "CLBlast takes minutes on a simulator");
    }
    IVL__TRY(test_backend(t, &ivl__gemm_clblast, IVL_EXACT, model_products, N_MODEL, error));
    return test_backend(t, &ivl__gemm_clblast, IVL_EXACT, other_products, N_OTHER, error);
}

IVL__SELFTEST(gemm_clblast)
