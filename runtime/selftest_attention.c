/* selftest_attention.c - known-answer tests of every variant of attention. */
#include "runtime/memory.h"
#include "runtime/ops.h"
#include "runtime/selftest.h"
#include "runtime/trial.h"

#include <math.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* Two sequences, one of more keys than a block of 64 has; two heads. */
#define HEADS      2
#define MAX_DIM    128
#define N_ROWS     72
#define FIRST_ROWS 67
#define MAX_WIDE   (HEADS * MAX_DIM)

typedef struct operands {
    int head_dim;
    float q[N_ROWS * MAX_WIDE], k[N_ROWS * MAX_WIDE], v[N_ROWS * MAX_WIDE];
    float got[N_ROWS * MAX_WIDE];
} operands;

/* Scores of one query against n keys, and the largest error one of them may have, in units of U:
 * a chain of fma, each off by its partial sum, and q rounded when it was scaled. */
static double scores(const operands *o, float scale, int query, int first, int n, int column,
                     double *s, double *most)
{
    const int wide = HEADS * o->head_dim;
    double worst = 0.0;

    *most = -INFINITY;
    for (int j = 0; j < n; j++) {
        double partial = 0.0;
        double error = 0.0;

        for (int d = column; d < column + o->head_dim; d++) {
            double product = (double)o->q[query * wide + d] * (double)scale *
                             (double)o->k[(first + j) * wide + d];

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
 */
static void check_head(ivl__trial *t, const operands *o, float scale, int query, int first, int n,
                       int column, ivl_dtype type)
{
    const int wide = HEADS * o->head_dim;
    const int blocks = (n + 63) / 64;
    double s[N_ROWS], most;
    double worst = scores(o, scale, query, first, n, column, s, &most);
    double spread = 0.0;
    double l = 0.0;

    for (int j = 0; j < n; j++) {
        spread = fmax(spread, most - s[j]);
        s[j] = exp(s[j] - most);
        l += s[j];
    }
    worst = (worst + spread + 3 + 4 * blocks) * U;
    for (int d = column; d < column + o->head_dim; d++) {
        double sum = 0.0;
        double partials = 0.0;
        double want, bound;

        for (int j = 0; j < n; j++) {
            sum += s[j] * (double)o->v[(first + j) * wide + d];
            partials += fabs(sum);
        }
        want = sum / l;
        bound = 2 * worst * (1.0 + fabs(want)) + U * partials / l +
                (64 + blocks + 4) * U * fabs(want);
        ivl__trial_check(t, (double)o->got[query * wide + d], want,
                         bound + ivl__trial_rounding(type, fabs(want) + bound));
    }
}

static ivl_status run_variant(ivl__trial *t, operands *o, const char *variant,
                              ivl__attention_call *call, ivl_error *error)
{
    const int32_t offsets[3] = {0, FIRST_ROWS, N_ROWS};
    const size_t n = (size_t)(N_ROWS * call->q_ld);
    ivl__span at_offsets;

    IVL__TRY(ivl__trial_values(t, 30, 3.0f, IVL_F32, n, o->q, &call->q, error));
    IVL__TRY(ivl__trial_values(t, 31, 1.0f, IVL_F32, n, o->k, &call->k, error));
    IVL__TRY(ivl__trial_values(t, 32, 1.0f, IVL_F32, n, o->v, &call->v, error));
    IVL__TRY(ivl__trial_upload(t, offsets, sizeof offsets, &at_offsets, error));
    IVL__TRY(ivl__trial_upload(t, NULL, n * ivl__dtype_bytes(call->out_type), &call->out, error));
    call->q_offsets = at_offsets.mem;
    call->kv_offsets = at_offsets.mem;
    IVL__TRY(ivl__op_attention(t->device, call, variant, error));
    return ivl__trial_download(t, call->out, call->out_type, n, o->got, error);
}

static ivl_status check_variant(ivl__trial *t, operands *o, const char *variant, int head_dim,
                                ivl_dtype type, ivl_error *error)
{
    ivl__attention_call call = {.sequences = 2,
                                .max_queries = FIRST_ROWS,
                                .max_keys = FIRST_ROWS,
                                .heads = HEADS,
                                .kv_heads = HEADS,
                                .head_dim = head_dim,
                                .scale = 1.0f / sqrtf((float)head_dim),
                                .mask = IVL__MASK_NONE,
                                .q_ld = HEADS * head_dim,
                                .k_ld = HEADS * head_dim,
                                .v_ld = HEADS * head_dim,
                                .out_type = type,
                                .out_ld = HEADS * head_dim};

    o->head_dim = head_dim;
    IVL__TRY(run_variant(t, o, variant, &call, error));
    for (int row = 0; row < N_ROWS; row++) {
        int first = row < FIRST_ROWS ? 0 : FIRST_ROWS;
        int keys = row < FIRST_ROWS ? FIRST_ROWS : N_ROWS - FIRST_ROWS;

        for (int head = 0; head < HEADS; head++) {
            check_head(t, o, call.scale, row, first, keys, head * head_dim, type);
        }
    }
    return IVL_OK;
}

/* The head sizes that the models have, and for the general variant one that none has. */
static ivl_status variant_test(ivl__trial *t, const char *variant, const int *head_dims, int n,
                               ivl_error *error)
{
    ivl_dtype types[2];
    int n_types = ivl__trial_act_types(t->device, types);
    operands *o = ivl__calloc(1, sizeof *o);
    ivl_status status = IVL_OK;

    if (!o) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a self-test");
    }
    for (int i = 0; status == IVL_OK && i < n; i++) {
        for (int k = 0; status == IVL_OK && k < n_types; k++) {
            status = check_variant(t, o, variant, head_dims[i], types[k], error);
        }
    }
    ivl__free(o);
    return status;
}

static ivl_status attention_cpu(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[2] = {64, 128};

    IVL__TRY(ivl__op_attention_check(t->device, "cpu", head_dims[0], error));
    return variant_test(t, "cpu", head_dims, 2, error);
}

static ivl_status attention_local(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[2] = {64, 128};

    IVL__TRY(ivl__op_attention_check(t->device, "local", head_dims[0], error));
    return variant_test(t, "local", head_dims, 2, error);
}

static ivl_status attention_plain(ivl__trial *t, ivl_error *error)
{
    static const int head_dims[1] = {40};

    return variant_test(t, "plain", head_dims, 1, error);
}

IVL__SELFTEST(attention_cpu)
IVL__SELFTEST(attention_local)
IVL__SELFTEST(attention_plain)
