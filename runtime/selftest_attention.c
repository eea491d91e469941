/* selftest_attention.c - known-answer tests of every variant of attention, with every mask. */
#include "runtime/memory.h"
#include "runtime/ops.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>
#include <string.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* Two sequences, one of more keys than a block of 64 has; two heads. */
#define HEADS      2
#define MAX_DIM    256
#define N_ROWS     72
#define FIRST_ROWS 67
#define LD         (HEADS * MAX_DIM)
#define N_VALUES   (N_ROWS * LD)
#define PREFIX     3

typedef struct operands {
    float q[N_VALUES], k[N_VALUES], v[N_VALUES], got[N_VALUES];
    bool narrow; /* multiplicands are rounded to bf16 */
    ivl__attention_call call;
} operands;

static double rounded(const operands *o, float x)
{
    return (double)(o->narrow ? ivl__bf16_to_float(ivl__float_to_bf16(x)) : x);
}

/* Keys that query `i` of a sequence of `n` sees; ops.h. */
static int visible(const operands *o, int i, int n)
{
    switch (o->call.mask) {
    case IVL__MASK_CAUSAL: return i + 1;
    case IVL__MASK_PREFIX: return i >= PREFIX ? i + 1 : n < PREFIX ? n : PREFIX;
    default: return n;
    }
}

/* Scores of one query row against n rows of keys, and the largest error one of them may have, in
 * units of U: a chain of fma, each off by its partial sum, and q rounded when it was scaled. */
static double scores(const operands *o, const float *q, const float *k, int n, double *s,
                     double *most)
{
    double worst = 0.0;

    *most = -INFINITY;
    for (int j = 0; j < n; j++) {
        double partial = 0.0;
        double error = 0.0;

        for (int d = 0; d < o->call.head_dim; d++) {
            double scaled = o->narrow ? rounded(o, q[d] * o->call.scale)
                                      : (double)q[d] * (double)o->call.scale;
            double product = scaled * rounded(o, k[j * LD + d]);

            partial += product;
            error += fabs(partial) + fabs(product);
        }
        s[j] = partial;
        *most = fmax(*most, partial);
        worst = fmax(worst, error);
    }
    return worst;
}

/* To first order in U: subtracting the maximum, e^x (3 U) and one rescaling a block (4 U) add to a
 * weight's relative error E; numerator and denominator have it both: 2 E max |v - o|. Their own
 * sums add U sum |partial| / l and, in the longest chain of the kernels, (64 + blocks + 4) U |o|.
 * With bf16 multiplicands the reference rounds all of them but the weights: 2^-8 sum |p v| / l. */
static void check_head(ivl__trial *t, const operands *o, const float *q, const float *k,
                       const float *v, int n, const float *got)
{
    const int blocks = (n + 63) / 64;
    double s[N_ROWS], most;
    double worst = scores(o, q, k, n, s, &most);
    double spread = 0.0;
    double l = 0.0;

    for (int j = 0; j < n; j++) {
        spread = fmax(spread, most - s[j]);
        s[j] = exp(s[j] - most);
        l += s[j];
    }
    worst = (worst + spread + 3 + 4 * blocks) * U;
    for (int d = 0; d < o->call.head_dim; d++) {
        double sum = 0.0;
        double partials = 0.0;
        double sizes = 0.0;
        double want, bound;

        for (int j = 0; j < n; j++) {
            double product = s[j] * rounded(o, v[j * LD + d]);

            sum += product;
            sizes += fabs(product);
            partials += fabs(sum);
        }
        want = sum / l;
        bound = 2 * worst * (1.0 + fabs(want)) + U * partials / l +
                (64 + blocks + 4) * U * fabs(want) + (o->narrow ? 0x1p-8 * sizes / l : 0.0);
        ivl__trial_check(t, (double)got[d], want,
                         bound + ivl__trial_rounding(o->call.out_type, fabs(want) + bound));
    }
}

static void check_rows(ivl__trial *t, const operands *o)
{
    const int dim = o->call.head_dim;

    for (int row = 0; row < N_ROWS; row++) {
        const int first = row < FIRST_ROWS ? 0 : FIRST_ROWS;
        const int keys = row < FIRST_ROWS ? FIRST_ROWS : N_ROWS - FIRST_ROWS;

        for (int head = 0; head < HEADS; head++) {
            const int at = first * LD + head * o->call.kv_heads / HEADS * dim;

            check_head(t, o, o->q + row * LD + head * dim, o->k + at, o->v + at,
                       visible(o, row - first, keys), o->got + row * LD + head * dim);
        }
    }
}

static ivl_status run_call(ivl__trial *t, operands *o, const char *variant, ivl__mask_kind mask,
                           ivl_error *error)
{
    ivl__attention_call *call = &o->call;

    call->mask = mask;
    call->kv_heads = mask == IVL__MASK_CAUSAL ? 1 : HEADS;
    IVL__TRY(ivl__op_attention(t->device, call, variant, error));
    IVL__TRY(ivl__trial_download(t, call->out, call->out_type, N_VALUES, o->got, error));
    check_rows(t, o);
    return IVL_OK;
}

/* The result has the type that the models ask of the variant; another is another kernel to compile.
 */
static ivl_status run_head(ivl__trial *t, operands *o, const char *variant, int head_dim,
                           ivl_error *error)
{
    o->call.head_dim = head_dim;
    o->call.scale = 1.0f / sqrtf((float)head_dim);
    o->call.out_type = o->narrow ? IVL_BF16 : IVL_F32;
    IVL__TRY(ivl__trial_upload(t, NULL, N_VALUES * ivl__dtype_bytes(o->call.out_type), &o->call.out,
                               error));
    IVL__TRY(run_call(t, o, variant, IVL__MASK_NONE, error));
    IVL__TRY(run_call(t, o, variant, IVL__MASK_CAUSAL, error));
    return run_call(t, o, variant, IVL__MASK_PREFIX, error);
}

static ivl_status upload(ivl__trial *t, operands *o, ivl_error *error)
{
    static const int32_t offsets[3] = {0, FIRST_ROWS, N_ROWS};
    ivl__span at_offsets;

    o->call = (ivl__attention_call){.sequences = 2,
                                    .max_queries = FIRST_ROWS,
                                    .max_keys = FIRST_ROWS,
                                    .heads = HEADS,
                                    .prefix = PREFIX,
                                    .q_ld = LD,
                                    .k_ld = LD,
                                    .v_ld = LD,
                                    .out_ld = LD};
    IVL__TRY(ivl__trial_values(t, 30, 3.0f, IVL_F32, N_VALUES, o->q, &o->call.q, error));
    IVL__TRY(ivl__trial_values(t, 31, 1.0f, IVL_F32, N_VALUES, o->k, &o->call.k, error));
    IVL__TRY(ivl__trial_values(t, 32, 1.0f, IVL_F32, N_VALUES, o->v, &o->call.v, error));
    IVL__TRY(ivl__trial_upload(t, offsets, sizeof offsets, &at_offsets, error));
    o->call.q_offsets = o->call.kv_offsets = at_offsets.mem;
    return IVL_OK;
}

/* Head sizes that the models have. */
static ivl_status variant_test(ivl__trial *t, const char *variant, const int *head_dims, int n,
                               ivl_error *error)
{
    operands *o;
    ivl_status status = ivl__op_attention_check(t->device, variant, head_dims[0], error);

    if (status != IVL_OK) {
        return status;
    }
    o = ivl__calloc(1, sizeof *o);
    if (!o) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a self-test");
    }
    o->narrow = strcmp(variant, "cpu-bf16") == 0;
    status = upload(t, o, error);
    for (int i = 0; status == IVL_OK && i < n; i++) {
        status = run_head(t, o, variant, head_dims[i], error);
    }
    ivl__free(o);
    return status;
}

static ivl_status attention_cpu(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[3] = {64, 128, 200};

    return variant_test(t, "cpu", head_dims, 3, error);
}

static ivl_status attention_cpu_fast(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[3] = {64, 128, 200};

    return variant_test(t, "cpu-bf16", head_dims, 3, error);
}

static ivl_status attention_local(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[2] = {64, 128};

    return variant_test(t, "local", head_dims, 2, error);
}

static ivl_status attention_plain(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[2] = {200, 256};

    return variant_test(t, "plain", head_dims, 2, error);
}

IVL__SELFTEST(attention_cpu)
IVL__SELFTEST(attention_cpu_fast)
IVL__SELFTEST(attention_local)
IVL__SELFTEST(attention_plain)
