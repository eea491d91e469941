/* selftest_rows.c - known-answer tests of what is done to rows: norms, pooling, GELU, changes of
 * element type, best scores, the check for finite values. Bounds as the headers of cl/ derive them.
 */
#include "runtime/ops.h"
#include "runtime/program.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>
#include <string.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* ---- norms ------------------------------------------------------------------------------- */

/* 75 columns: whole vectors and a tail; rows apart, so that a wrong stride shows. */
#define ROWS  3
#define WIDTH 75
#define LD    80
#define EPS   1e-5f

typedef struct norm_operands {
    float x[ROWS * LD], w[WIDTH], b[WIDTH];
    ivl__span at_x, at_w, at_b;
} norm_operands;

/* A sum of n terms of one sign goes through at most n/64 + 8 roundings (norm.cl); the scale takes
 * half of that and 17 U of its own, the result three roundings. A mean that is off by `shift`
 * moves every element, and the squares by at most twice as much. */
static void check_norm_row(ivl__trial *t, const norm_operands *o, const float *x, bool layer,
                           ivl_dtype type, const float *got)
{
    const double chain = WIDTH / 64 + 8;
    double mean = 0.0;
    double size = 0.0;
    double squares = 0.0;
    double scale;

    for (int i = 0; i < WIDTH; i++) {
        mean += layer ? (double)x[i] / WIDTH : 0.0;
        size += fabs((double)x[i]) / WIDTH;
    }
    for (int i = 0; i < WIDTH; i++) {
        squares += ((double)x[i] - mean) * ((double)x[i] - mean) / WIDTH;
    }
    scale = 1.0 / sqrt(squares + (double)EPS);
    for (int i = 0; i < WIDTH; i++) {
        double centred = (double)x[i] - mean;
        double gain = fabs(scale * (double)o->w[i]);
        double want = centred * scale * (double)o->w[i] + (layer ? (double)o->b[i] : 0.0);
        double shift = layer ? chain * size + 5 * fabs(mean) + fabs(centred) : 0.0;
        double bound = (fabs(centred) * (chain / 2 + 20) + 3 * shift) * gain * U + fabs(want) * U;

        ivl__trial_check(t, (double)got[i], want, bound + ivl__trial_rounding(type, want));
    }
}

static ivl_status norm_of_type(ivl__trial *t, const norm_operands *o, bool layer, ivl_dtype type,
                               ivl_error *error)
{
    float got[ROWS * LD];
    ivl__norm_call call = {.kind = layer ? IVL__NORM_LAYER : IVL__NORM_RMS,
                           .rows = ROWS,
                           .width = WIDTH,
                           .x = o->at_x,
                           .x_ld = LD,
                           .weight = o->at_w,
                           .bias = o->at_b,
                           .eps = EPS,
                           .y_type = type,
                           .y_ld = LD};

    IVL__TRY(ivl__trial_upload(t, NULL, ROWS * LD * ivl__dtype_bytes(type), &call.y, error));
    IVL__TRY(ivl__op_norm(t->device, &call, error));
    IVL__TRY(ivl__trial_download(t, call.y, type, ROWS * LD, got, error));
    for (int r = 0; r < ROWS; r++) {
        check_norm_row(t, o, o->x + r * LD, layer, type, got + r * LD);
    }
    return IVL_OK;
}

static ivl_status norm(ivl__trial *t, bool layer, ivl_error *error)
{
    norm_operands o;
    ivl_dtype types[2];
    int n = ivl__trial_act_types(t->device, types);

    IVL__TRY(ivl__trial_values(t, 1, 2.0f, IVL_F32, ROWS * LD, o.x, &o.at_x, error));
    IVL__TRY(ivl__trial_values(t, 2, 1.0f, IVL_F32, WIDTH, o.w, &o.at_w, error));
    IVL__TRY(ivl__trial_values(t, 3, 1.0f, IVL_F32, WIDTH, o.b, &o.at_b, error));
    for (int i = 0; i < n; i++) {
        IVL__TRY(norm_of_type(t, &o, layer, types[i], error));
    }
    return IVL_OK;
}

static ivl_status norm_rms(ivl__trial *t, ivl_error *error)
{
    return norm(t, false, error);
}

static ivl_status norm_layer(ivl__trial *t, ivl_error *error)
{
    return norm(t, true, error);
}

/* The sum's roundings count half under the root (3 ulp of 2 U); one division, 2.5 ulp. */
static ivl_status l2_normalize(ivl__trial *t, ivl_error *error)
{
    float x[ROWS * WIDTH], got[ROWS * WIDTH];
    ivl__span at;

    IVL__TRY(ivl__trial_values(t, 4, 3.0f, IVL_F32, ROWS * WIDTH, x, &at, error));
    IVL__TRY(ivl__op_l2_normalize(t->device, ROWS, WIDTH, at, error));
    IVL__TRY(ivl__trial_download(t, at, IVL_F32, ROWS * WIDTH, got, error));
    for (int r = 0; r < ROWS; r++) {
        double squares = 0.0;

        for (int i = 0; i < WIDTH; i++) {
            squares += (double)x[r * WIDTH + i] * (double)x[r * WIDTH + i];
        }
        for (int i = 0; i < WIDTH; i++) {
            double want = (double)x[r * WIDTH + i] / sqrt(squares);

            ivl__trial_check(t, (double)got[r * WIDTH + i], want,
                             fabs(want) * ((WIDTH / 64 + 8) / 2.0 + 11) * U);
        }
    }
    return IVL_OK;
}

/* ---- pooling ----------------------------------------------------------------------------- */

#define TOKENS    37
#define POOL_WIDE 19

/* At most 32 + rows/32 additions, each off by U of a partial sum, and a division of 2.5 ulp. */
static ivl_status pool(ivl__trial *t, ivl_error *error)
{
    static const int rows[2] = {1, TOKENS - 1};
    float x[2 * TOKENS * POOL_WIDE], got[2 * POOL_WIDE];
    ivl__span at_x, at_out;

    IVL__TRY(ivl__trial_values(t, 5, 1.0f, IVL_F32, 2 * TOKENS * POOL_WIDE, x, &at_x, error));
    for (int k = 0; k < 2; k++) {
        IVL__TRY(ivl__trial_upload(t, NULL, sizeof got, &at_out, error));
        IVL__TRY(ivl__op_pool(t->device, 2, TOKENS, POOL_WIDE, 1, rows[k], at_x, at_out, POOL_WIDE,
                              error));
        IVL__TRY(ivl__trial_download(t, at_out, IVL_F32, 2 * POOL_WIDE, got, error));
        for (int i = 0; i < 2 * POOL_WIDE; i++) {
            const float *column = x + i / POOL_WIDE * TOKENS * POOL_WIDE + i % POOL_WIDE;
            double want = 0.0;
            double size = 0.0;

            for (int r = 1; r <= rows[k]; r++) {
                want += (double)column[r * POOL_WIDE] / rows[k];
                size += fabs((double)column[r * POOL_WIDE]) / rows[k];
            }
            ivl__trial_check(t, (double)got[i], want,
                             rows[k] == 1 ? 0.0 : (34 + rows[k] / 32 + 5) * size * U);
        }
    }
    return IVL_OK;
}

/* ---- best scores ------------------------------------------------------------------------- */

#define TOPK_QUERIES 2
#define TOPK_ROWS    150
#define TOPK_BEST    5

/* Whether row a of a query's scores comes before row b. */
static bool topk_before(const float *scores, int a, int b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

/* Two chunks in two parts, of small whole numbers, so that scores are equal here and there; then
 * the k greatest of both lists. Nothing is rounded: the bound is zero. */
static ivl_status topk_variant(ivl__trial *t, const char *variant, const float *scores,
                               ivl__span at_scores, ivl_error *error)
{
    uint64_t best[TOPK_QUERIES][2 * TOPK_BEST];
    ivl__topk_call call = {.queries = TOPK_QUERIES,
                           .k = TOPK_BEST,
                           .scores_ld = TOPK_ROWS,
                           .parts = 2,
                           .variant = variant};

    for (int i = 0; i < TOPK_QUERIES * 2 * TOPK_BEST; i++) {
        best[i / (2 * TOPK_BEST)][i % (2 * TOPK_BEST)] = IVL__TOPK_NONE;
    }
    IVL__TRY(ivl__trial_upload(t, best, sizeof best, &call.best, error));
    for (int chunk = 0; chunk < 2; chunk++) {
        call.first_row = chunk ? 100 : 0;
        call.rows = chunk ? TOPK_ROWS - 100 : 100;
        call.scores = ivl__span_at(at_scores, call.first_row * sizeof(float));
        IVL__TRY(ivl__op_topk(t->device, &call, error));
    }
    IVL__TRY(ivl__cl_read(&t->device->cl, t->device->cl.compute, call.best.mem, call.best.offset,
                          best, sizeof best, 0, NULL, NULL, error));
    for (int q = 0; q < TOPK_QUERIES; q++) {
        const float *of_query = scores + q * TOPK_ROWS;

        for (int row = 0; row < TOPK_ROWS; row++) {
            int before = 0; /* rows that come first */
            int found = 0;

            for (int other = 0; other < TOPK_ROWS; other++) {
                before += topk_before(of_query, other, row);
            }
            for (int i = 0; i < 2 * TOPK_BEST; i++) {
                found += ivl__topk_row(best[q][i]) == (uint32_t)row &&
                         ivl__topk_score(best[q][i]) == of_query[row];
            }
            if (before < TOPK_BEST) {
                ivl__trial_check(t, found, 1.0, 0.0);
            }
        }
    }
    return IVL_OK;
}

static ivl_status topk(ivl__trial *t, ivl_error *error)
{
    float scores[TOPK_QUERIES * TOPK_ROWS];
    ivl__span at;

    for (int i = 0; i < TOPK_QUERIES * TOPK_ROWS; i++) {
        scores[i] = floorf(20.0f * ivl__selftest_value(9, (uint32_t)i));
    }
    IVL__TRY(ivl__trial_upload(t, scores, sizeof scores, &at, error));
    IVL__TRY(topk_variant(t, "heap", scores, at, error));
    return t->device->caps.cpu ? IVL_OK : topk_variant(t, "group", scores, at, error);
}

/* ---- finite values ----------------------------------------------------------------------- */

#define FINITE_COUNT 131 /* more than two items, the last one short */

/* Flags of: nothing wrong, a NaN in the last place, an infinity in the first. */
static ivl_status check_finite(ivl__trial *t, ivl_error *error)
{
    float x[FINITE_COUNT];

    for (int k = 0; k < 3; k++) {
        int32_t flags[3] = {0, 0, 0}; /* the neighbours must stay */
        ivl__span at_x, at_flags;

        for (int i = 0; i < FINITE_COUNT; i++) {
            x[i] = 3e38f * ivl__selftest_value(6, (uint32_t)i);
        }
        if (k > 0) {
            x[k == 1 ? FINITE_COUNT - 1 : 0] = k == 1 ? NAN : -INFINITY;
        }
        IVL__TRY(ivl__trial_upload(t, x, sizeof x, &at_x, error));
        IVL__TRY(ivl__trial_upload(t, flags, sizeof flags, &at_flags, error));
        IVL__TRY(ivl__op_check_finite(t->device, FINITE_COUNT, at_x,
                                      ivl__span_at(at_flags, sizeof(int32_t)), error));
        IVL__TRY(ivl__cl_read(&t->device->cl, t->device->cl.compute, at_flags.mem, 0, flags,
                              sizeof flags, 0, NULL, NULL, error));
        for (int i = 0; i < 3; i++) {
            ivl__trial_check(t, flags[i], i == 1 && k > 0 ? 1.0 : 0.0, 0.0);
        }
    }
    return IVL_OK;
}

/* ---- element types ----------------------------------------------------------------------- */

#define CONVERT_COUNT 53 /* vectors and a tail */

/* Widening is exact; narrowing rounds to nearest even, as the host does: the bound is zero. */
static ivl_status convert_type(ivl__trial *t, ivl_dtype type, ivl_error *error)
{
    float wide[CONVERT_COUNT], host[CONVERT_COUNT], got[CONVERT_COUNT];
    ivl__span at_wide, at_narrow, at_back;

    for (int i = 0; i < CONVERT_COUNT; i++) {
        /* Magnitudes from 2^-20 to 2^12: subnormal and normal halves. */
        wide[i] = ldexpf(ivl__selftest_value(7, (uint32_t)i), i % 33 - 20);
    }
    wide[0] = 1.0f + 0x1p-9f + 0x1p-12f; /* ties of both types, and beyond them */
    wide[1] = 1.0f + 0x1p-8f;
    wide[2] = -(1.0f + 0x1p-11f);
    for (int i = 0; i < CONVERT_COUNT; i++) {
        host[i] = type == IVL_F16 ? ivl__f16_to_float(ivl__float_to_f16(wide[i]))
                                  : ivl__bf16_to_float(ivl__float_to_bf16(wide[i]));
    }
    IVL__TRY(ivl__trial_upload(t, wide, sizeof wide, &at_wide, error));
    IVL__TRY(ivl__trial_upload(t, NULL, CONVERT_COUNT * 2, &at_narrow, error));
    IVL__TRY(ivl__trial_upload(t, NULL, sizeof wide, &at_back, error));
    IVL__TRY(ivl__op_convert(t->device, CONVERT_COUNT, at_wide, IVL_F32, at_narrow, type, error));
    IVL__TRY(ivl__op_convert(t->device, CONVERT_COUNT, at_narrow, type, at_back, IVL_F32, error));
    IVL__TRY(ivl__trial_download(t, at_back, IVL_F32, CONVERT_COUNT, got, error));
    for (int i = 0; i < CONVERT_COUNT; i++) {
        ivl__trial_check(t, (double)got[i], (double)host[i], 0.0);
    }
    return IVL_OK;
}

static ivl_status convert(ivl__trial *t, ivl_error *error)
{
    IVL__TRY(convert_type(t, IVL_BF16, error));
    return convert_type(t, IVL_F16, error);
}

/* ---- GELU -------------------------------------------------------------------------------- */

#define GELU_COUNT 256

/* 3 U |v| + 2e-9, derived in cl/gelu.h. */
static ivl_status gelu(ivl__trial *t, ivl_error *error)
{
    static const struct {
        size_t lanes;
        const char *defines;
    } widths[3] = {{1, "-DLANES=1"}, {8, "-DLANES=8"}, {16, "-DLANES=16"}};
    const size_t one = 1;
    float x[GELU_COUNT], got[GELU_COUNT];
    ivl__span at_x, at_y;
    ivl__kernel *kernel;

    IVL__TRY(ivl__trial_values(t, 8, 9.0f, IVL_F32, GELU_COUNT, x, &at_x, error));
    /* Only the kernels of CPUs take several values at once. */
    for (int w = 0; w < (t->device->caps.cpu ? 3 : 1); w++) {
        size_t groups = GELU_COUNT / widths[w].lanes;

        IVL__TRY(ivl__trial_upload(t, NULL, sizeof got, &at_y, error));
        IVL__TRY(ivl__kernel_get(t->device, "gelu_values.cl", widths[w].defines, "gelu_values",
                                 &kernel, error));
        IVL__TRY(IVL__LAUNCH(t->device, kernel, 1, &groups, &one, error, ivl__arg_mem(at_x.mem),
                             ivl__arg_mem(at_y.mem)));
        IVL__TRY(ivl__trial_download(t, at_y, IVL_F32, GELU_COUNT, got, error));
        for (int i = 0; i < GELU_COUNT; i++) {
            double v = (double)x[i];

            ivl__trial_check(t, (double)got[i], 0.5 * v * erfc(-v * 0.70710678118654752440),
                             3 * U * fabs(v) + 2e-9);
        }
    }
    return IVL_OK;
}

IVL__SELFTEST(norm_rms)
IVL__SELFTEST(norm_layer)
IVL__SELFTEST(l2_normalize)
IVL__SELFTEST(pool)
IVL__SELFTEST(topk)
IVL__SELFTEST(check_finite)
IVL__SELFTEST(convert)
IVL__SELFTEST(gelu)
