/* test_attention.c - every variant of attention against double precision, and bit for bit against
 * itself in other company. */
#include "runtime/ops.h"
#include "tests/op/op_test.h"

#define U             0x1p-24 /* unit roundoff of fp32 */
#define MAX_SEQUENCES 6

typedef struct attention_case {
    int sequences;
    int queries[MAX_SEQUENCES], keys[MAX_SEQUENCES];
    int heads, kv_heads, head_dim;
    ivl__mask_kind mask;
    int prefix, query_position;
    size_t shift; /* bytes before every operand */
} attention_case;

static const attention_case cases[] = {
    {1, {1}, {1}, 1, 1, 12, IVL__MASK_NONE, 0, 0, 0},
    {2, {5, 3}, {5, 3}, 2, 2, 12, IVL__MASK_NONE, 0, 0, 4},
    {1, {7}, {7}, 2, 1, 64, IVL__MASK_CAUSAL, 0, 0, 12},
    {1, {9}, {9}, 1, 1, 17, IVL__MASK_PREFIX, 4, 0, 4},
    {3, {1, 0, 2}, {66, 3, 1}, 2, 2, 64, IVL__MASK_NONE, 0, 0, 8},
    {2, {1, 2}, {3, 2}, 4, 2, 8, IVL__MASK_CAUSAL, 0, 0, 4},
    {2, {5, 6}, {5, 6}, 3, 1, 10, IVL__MASK_PREFIX, 3, 0, 8},
    /* not for tiny runs */
    {1, {17}, {17}, 2, 2, 128, IVL__MASK_NONE, 0, 0, 0},
    {2, {257, 65}, {257, 65}, 2, 2, 128, IVL__MASK_NONE, 0, 0, 4},
    {1, {577}, {577}, 2, 2, 64, IVL__MASK_NONE, 0, 0, 8},
    {1, {1025}, {1025}, 1, 1, 128, IVL__MASK_NONE, 0, 0, 4},
    {2, {1, 1}, {257, 1025}, 2, 2, 200, IVL__MASK_NONE, 0, 0, 4},
    {1, {33}, {127}, 2, 2, 256, IVL__MASK_NONE, 0, 0, 0},
    {2, {130, 49}, {130, 49}, 4, 2, 128, IVL__MASK_CAUSAL, 0, 0, 4},
    {1, {70}, {200}, 2, 1, 64, IVL__MASK_CAUSAL, 0, 130, 4},
    {2, {129, 20}, {129, 20}, 2, 2, 64, IVL__MASK_PREFIX, 96, 0, 0},
    {2, {129, 20}, {129, 20}, 2, 2, 32, IVL__MASK_PREFIX, 96, 0, 0},
    /* Queries into pictures, one query into a picture. */
    {3, {96, 96, 0}, {257, 257, 257}, 2, 2, 128, IVL__MASK_NONE, 0, 0, 4},
    {2, {96, 7}, {257, 1}, 4, 1, 10, IVL__MASK_NONE, 0, 0, 0},
    {3, {1, 1, 1}, {257, 257, 37}, 3, 3, 256, IVL__MASK_NONE, 0, 0, 8},
    {2, {1, 1}, {257, 65}, 4, 2, 8, IVL__MASK_NONE, 0, 0, 4},
    /* Texts of every length, alone and after the queries. */
    {6, {3, 80, 17, 48, 49, 64}, {3, 80, 17, 48, 49, 64}, 2, 2, 128, IVL__MASK_CAUSAL, 0, 0, 4},
    {6, {12, 5, 80, 16, 33, 65}, {12, 5, 80, 16, 33, 65}, 4, 2, 10, IVL__MASK_CAUSAL, 0, 0, 0},
    {3, {66, 3, 31}, {66, 3, 31}, 2, 1, 200, IVL__MASK_CAUSAL, 0, 0, 12},
    {3, {20, 65, 3}, {20, 65, 3}, 2, 1, 256, IVL__MASK_CAUSAL, 0, 0, 4},
    {4, {101, 176, 99, 130}, {101, 176, 99, 130}, 2, 2, 128, IVL__MASK_PREFIX, 96, 0, 8},
    {2, {101, 130}, {101, 130}, 2, 2, 200, IVL__MASK_PREFIX, 96, 0, 8},
    {3, {9, 13, 6}, {9, 13, 6}, 4, 4, 8, IVL__MASK_PREFIX, 6, 0, 4},
    /* The next token of sequences that are cached, and a query before the end of the prefix. */
    {2, {1, 1}, {81, 81}, 2, 2, 128, IVL__MASK_CAUSAL, 0, 80, 4},
    {2, {5, 2}, {75, 72}, 2, 2, 64, IVL__MASK_PREFIX, 70, 67, 0},
};

static size_t n_cases(void)
{
    return test_tiny() ? 7 : sizeof cases / sizeof cases[0];
}

static const char *const names[] = {"cpu", "cpu-bf16", "local", "plain"};
#define N_NAMES (sizeof names / sizeof names[0])

static bool narrow(const char *variant)
{
    return strcmp(variant, "cpu-bf16") == 0;
}

/* Whether the device has the variant, and by itself would take it for some call: those of CPUs are
 * not tried on GPUs. */
static bool applies(const char *variant, int head_dim)
{
    return ivl__op_attention_check(device, variant, head_dim, NULL) == IVL_OK;
}

static float to_bf16(float x)
{
    return ivl__bf16_to_float(ivl__float_to_bf16(x));
}

/* The operands of a case on the device: q, k and v in one matrix, as the model has them. */
typedef struct attention_data {
    int q_offsets[MAX_SEQUENCES + 1], kv_offsets[MAX_SEQUENCES + 1];
    int q_ld, kv_ld, out_ld;
    size_t n_q, n_kv, n_out, n_lse;
    float *q, *k, *v;
    test_buffer bq, bk, bv, bo, bl, bqo, bko;
    ivl__attention_call call;
} attention_data;

static void set_up(const attention_case *c, attention_data *d)
{
    int most_q = 0;
    int most_k = 0;

    memset(d, 0, sizeof *d);
    for (int s = 0; s < c->sequences; s++) {
        d->q_offsets[s + 1] = d->q_offsets[s] + c->queries[s];
        d->kv_offsets[s + 1] = d->kv_offsets[s] + c->keys[s];
        most_q = c->queries[s] > most_q ? c->queries[s] : most_q;
        most_k = c->keys[s] > most_k ? c->keys[s] : most_k;
    }
    d->q_ld = c->heads * c->head_dim + 3;
    d->kv_ld = c->kv_heads * c->head_dim + 5;
    d->out_ld = c->heads * c->head_dim + 1;
    d->n_q = (size_t)(d->q_offsets[c->sequences] * d->q_ld);
    d->n_kv = (size_t)(d->kv_offsets[c->sequences] * d->kv_ld);
    d->n_out = (size_t)(d->q_offsets[c->sequences] * d->out_ld);
    d->n_lse = (size_t)(d->q_offsets[c->sequences] * c->heads);
    d->q = test_values(d->n_q, 1, 0.0f, 3.0f);
    d->k = test_values(d->n_kv, 2, 0.0f, 1.0f);
    d->v = test_values(d->n_kv, 3, 0.0f, 1.0f);
    d->bq = test_upload(d->q, d->n_q * 4, c->shift);
    d->bk = test_upload(d->k, d->n_kv * 4, c->shift);
    d->bv = test_upload(d->v, d->n_kv * 4, c->shift);
    d->bo = test_upload(NULL, d->n_out * 4, c->shift);
    d->bl = test_upload(NULL, d->n_lse * 4, c->shift);
    d->call = (ivl__attention_call){.sequences = c->sequences,
                                    .max_queries = most_q,
                                    .max_keys = most_k,
                                    .heads = c->heads,
                                    .kv_heads = c->kv_heads,
                                    .head_dim = c->head_dim,
                                    .scale = (float)(1.0 / sqrt(c->head_dim)),
                                    .mask = c->mask,
                                    .prefix = c->prefix,
                                    .query_position = c->query_position,
                                    .q = d->bq.span,
                                    .k = d->bk.span,
                                    .v = d->bv.span,
                                    .q_ld = d->q_ld,
                                    .k_ld = d->kv_ld,
                                    .v_ld = d->kv_ld,
                                    .out = d->bo.span,
                                    .out_ld = d->out_ld,
                                    .lse = d->bl.span};
}

/* The offsets are buffers of their own: no guard band before the first entry. */
static void upload_offsets(const attention_case *c, attention_data *d)
{
    size_t bytes = (size_t)(c->sequences + 1) * sizeof(int);
    ivl_error error = {0};

    for (int i = 0; i < 2; i++) {
        test_buffer *b = i ? &d->bko : &d->bqo;

        assert_ok(
            ivl__cl_buffer(&device->cl, CL_MEM_READ_ONLY, bytes, "offsets", &b->span.mem, &error),
            error);
        assert_ok(ivl__cl_write(&device->cl, device->cl.compute, b->span.mem, 0,
                                i ? d->kv_offsets : d->q_offsets, bytes, 0, NULL, NULL, &error),
                  error);
    }
    d->call.q_offsets = d->bqo.span.mem;
    d->call.kv_offsets = d->bko.span.mem;
}

/* Changed operands to new buffers. */
static void upload_again(attention_data *d, size_t shift)
{
    test_release(&d->bq);
    test_release(&d->bk);
    test_release(&d->bv);
    d->bq = test_upload(d->q, d->n_q * 4, shift);
    d->bk = test_upload(d->k, d->n_kv * 4, shift);
    d->bv = test_upload(d->v, d->n_kv * 4, shift);
    d->call.q = d->bq.span;
    d->call.k = d->bk.span;
    d->call.v = d->bv.span;
}

static void tear_down(attention_data *d)
{
    test_buffer *buffers[] = {&d->bq, &d->bk, &d->bv, &d->bo, &d->bl, &d->bqo, &d->bko};

    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        test_release(buffers[i]);
    }
    free(d->q);
    free(d->k);
    free(d->v);
}

static int visible(const attention_case *c, int query, int keys)
{
    int position = query + c->query_position;
    int n = position + 1;

    if (c->mask == IVL__MASK_NONE) {
        return keys;
    }
    if (c->mask == IVL__MASK_PREFIX && position < c->prefix) {
        n = c->prefix;
    }
    return n < keys ? n : keys;
}

static double operand(bool bf16, float x)
{
    return (double)(bf16 ? to_bf16(x) : x);
}

/* One row of one head in double precision, and a bound of the fp32 result's error: a running error
 * analysis, first order in U.
 *
 * A score is a chain of fma: each step is off by U |partial sum|; q was rounded when it was scaled:
 * U sum |q k|. Subtracting the maximum: U |s - max|. e^x: 1.5 ulp = 3 U relative; the products with
 * rescaling factors, at most one a block: 4 U each (its own e^x and the product). Together E, the
 * relative error of a weight. Numerator and denominator each have it: 2 E max |v - o|. Their own
 * sums: U sum |partial numerator| / l, and (16 + keys/4 + blocks) U |o| for the partial sums of l
 * in the longest chain of the three kernels (64 per block: keys <= 64 * blocks), then 1/l and the
 * last product 4 U |o|.
 *
 * With bf16 multiplicands the reference takes scaled queries, keys and values rounded as the kernel
 * does, so that only the rounding of the weights is left: half a unit in the last of 8 bits, 2^-8
 * relative, sum |weight v| 2^-8. Their sum l is taken before they are rounded. */
static double reference_row(const attention_case *c, bool bf16, const float *q, const float *k,
                            const float *v, int ld, int n, float scale, double *out, double *lse)
{
    double s[2048], most = -INFINITY, l = 0.0, weight_error = 0.0, bound = 0.0;
    double scaled[256];
    int blocks = (n + 63) / 64;

    for (int d = 0; d < c->head_dim; d++) {
        scaled[d] = bf16 ? (double)to_bf16(q[d] * scale) : (double)q[d] * (double)scale;
    }
    for (int j = 0; j < n; j++) {
        s[j] = 0.0;
        for (int d = 0; d < c->head_dim; d++) {
            s[j] += scaled[d] * operand(bf16, k[j * ld + d]);
        }
        most = s[j] > most ? s[j] : most;
    }
    for (int j = 0; j < n; j++) {
        double partial = 0.0, error = 0.0, e;

        for (int d = 0; d < c->head_dim; d++) {
            double product = scaled[d] * operand(bf16, k[j * ld + d]);

            partial += product;
            error += fabs(partial) + fabs(product);
        }
        e = (error + (most - s[j]) + 3 + 4 * blocks) * U;
        weight_error = e > weight_error ? e : weight_error;
        s[j] = exp(s[j] - most);
        l += s[j];
    }
    for (int d = 0; d < c->head_dim; d++) {
        double sum = 0.0, partials = 0.0, sizes = 0.0, e;

        for (int j = 0; j < n; j++) {
            double product = s[j] * operand(bf16, v[j * ld + d]);

            sum += product;
            sizes += fabs(product);
            partials += fabs(sum);
        }
        out[d] = sum / l;
        e = 2 * weight_error * (1.0 + fabs(out[d])) + U * partials / l +
            (64 + blocks + 4) * U * fabs(out[d]) + (bf16 ? 0x1p-8 * sizes / l : 0.0);
        bound = e > bound ? e : bound;
    }
    *lse = most + log(l);
    return bound;
}

static void compare_with_reference(const attention_case *c, const attention_data *d,
                                   const char *variant, const float *out, const float *lse)
{
    double want[256], want_lse, bound, worst = 0.0, worst_bound = 0.0;

    for (int s = 0; s < c->sequences; s++) {
        for (int i = 0; i < c->queries[s]; i++) {
            for (int h = 0; h < c->heads; h++) {
                int row = d->q_offsets[s] + i;
                int column = h * c->kv_heads / c->heads * c->head_dim;
                const float *k = d->k + d->kv_offsets[s] * d->kv_ld + column;
                const float *v = d->v + d->kv_offsets[s] * d->kv_ld + column;
                const float *got = out + row * d->out_ld + h * c->head_dim;

                bound = reference_row(c, narrow(variant), d->q + row * d->q_ld + h * c->head_dim, k,
                                      v, d->kv_ld, visible(c, i, c->keys[s]), d->call.scale, want,
                                      &want_lse);
                for (int e = 0; e < c->head_dim; e++) {
                    double error = fabs((double)got[e] - want[e]);

                    worst = error <= worst ? worst : error;
                    if (!(error <= bound)) {
                        fail_msg("%s: sequence %d query %d head %d column %d: %.9g, should be %.9g "
                                 "(bound %.3g)",
                                 variant, s, i, h, e, (double)got[e], want[e], bound);
                    }
                }
                worst_bound = bound > worst_bound ? bound : worst_bound;
                /* The log-sum-exp moves as the weights do: within the bound of a row of ones, plus
                 * its own rounding and log's 3 ulp. */
                assert_true(fabs((double)lse[row * c->heads + h] - want_lse) <=
                            bound + 8 * U * (1 + fabs(want_lse)));
            }
        }
    }
    printf("%s, %d of %d, head %d, mask %d: largest error %.3g, largest bound %.3g\n", variant,
           c->queries[0], c->keys[0], c->head_dim, (int)c->mask, worst, worst_bound);
}

static void check_case(const attention_case *c, const char *variant)
{
    attention_data d;
    ivl_error error = {0};
    float *out, *lse;

    set_up(c, &d);
    upload_offsets(c, &d);
    out = malloc(d.n_out * sizeof *out);
    lse = malloc(d.n_lse * sizeof *lse);
    assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
    test_download(&d.bo, out);
    test_download(&d.bl, lse);
    compare_with_reference(c, &d, variant, out, lse);
    for (int row = 0; row < d.q_offsets[c->sequences]; row++) {
        assert_true(
            isnan(out[row * d.out_ld + c->heads * c->head_dim])); /* between the rows: untouched */
    }
    free(out);
    free(lse);
    tear_down(&d);
}

static void variants_are_accurate(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_cases(); i++) {
        for (int v = 0; v < (int)N_NAMES; v++) {
            if (applies(names[v], cases[i].head_dim)) {
                check_case(&cases[i], names[v]);
            }
        }
    }
}

/* A row computed alone (query_position keeps its mask), or as the last of two sequences, has the
 * bits it has among all the others. */
static void check_company(const char *variant, ivl__mask_kind mask)
{
    const int n = test_tiny() ? 18 : 150;
    const attention_case all = {2, {n, 3}, {n, 5}, 1, 1, 64, mask, 2, 0, 4};
    const int rows[] = {0, 1, n / 2, n - 1};
    attention_data d;
    ivl_error error = {0};
    float *out, *again;
    int one[] = {0, 1};

    set_up(&all, &d);
    upload_offsets(&all, &d);
    out = malloc(d.n_out * sizeof *out);
    again = malloc(d.n_out * sizeof *again);
    assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
    test_download(&d.bo, out);
    assert_ok(ivl__cl_write(&device->cl, device->cl.compute, d.call.q_offsets, 0, one, sizeof one,
                            0, NULL, NULL, &error),
              error);
    d.call.sequences = 1;
    d.call.max_queries = 1;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        d.call.q = ivl__span_at(d.bq.span, (uint64_t)rows[i] * (uint64_t)d.q_ld * 4);
        d.call.query_position = rows[i];
        assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
        test_download(&d.bo, again);
        assert_memory_equal(again, out + rows[i] * d.out_ld, 64 * sizeof *out);
    }
    free(out);
    free(again);
    tear_down(&d);
}

/* Sequences of unequal lengths in one pack have the bits that each of them has alone. */
static void check_sequences(const char *variant, const attention_case *all)
{
    attention_data d, alone;
    ivl_error error = {0};
    float *out, *again;

    set_up(all, &d);
    upload_offsets(all, &d);
    out = malloc(d.n_out * sizeof *out);
    again = malloc(d.n_out * sizeof *again);
    assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
    test_download(&d.bo, out);
    for (int s = 0; s < all->sequences; s++) {
        attention_case one = *all;
        const size_t q_at = (size_t)(d.q_offsets[s] * d.q_ld);
        const size_t kv_at = (size_t)(d.kv_offsets[s] * d.kv_ld);
        const float *want = out + d.q_offsets[s] * d.out_ld;

        one.sequences = 1;
        one.queries[0] = all->queries[s];
        one.keys[0] = all->keys[s];
        set_up(&one, &alone);
        upload_offsets(&one, &alone);
        memcpy(alone.q, d.q + q_at, alone.n_q * sizeof *alone.q);
        memcpy(alone.k, d.k + kv_at, alone.n_kv * sizeof *alone.k);
        memcpy(alone.v, d.v + kv_at, alone.n_kv * sizeof *alone.v);
        upload_again(&alone, 0);
        assert_ok(ivl__op_attention(device, &alone.call, variant, &error), error);
        test_download(&alone.bo, again);
        for (int r = 0; r < one.queries[0]; r++) {
            assert_memory_equal(again + r * d.out_ld, want + r * d.out_ld,
                                (size_t)(all->heads * all->head_dim) * sizeof *out);
        }
        tear_down(&alone);
    }
    free(out);
    free(again);
    tear_down(&d);
}

static void sequences_do_not_see_each_other(void **state)
{
    static const attention_case packs[] = {
        {3, {3, 5, 1}, {3, 5, 1}, 2, 1, 8, IVL__MASK_CAUSAL, 0, 0, 4},
        /* not for tiny runs */
        {5, {3, 80, 17, 49, 64}, {3, 80, 17, 49, 64}, 2, 1, 128, IVL__MASK_CAUSAL, 0, 0, 4},
        {3, {101, 176, 99}, {101, 176, 99}, 2, 2, 64, IVL__MASK_PREFIX, 96, 0, 0},
        {3, {96, 1, 96}, {257, 65, 130}, 2, 2, 200, IVL__MASK_NONE, 0, 0, 4},
        {3, {1, 1, 1}, {257, 65, 130}, 2, 1, 256, IVL__MASK_NONE, 0, 0, 4},
    };
    size_t n = test_tiny() ? 1 : sizeof packs / sizeof packs[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int v = 0; v < (int)N_NAMES; v++) {
            if (applies(names[v], packs[i].head_dim)) {
                check_sequences(names[v], &packs[i]);
            }
        }
    }
}

static void bits_do_not_depend_on_company(void **state)
{
    (void)state;
    for (int v = 0; v < (int)N_NAMES; v++) {
        if (applies(names[v], 64)) {
            check_company(names[v], IVL__MASK_NONE);
            check_company(names[v], IVL__MASK_CAUSAL);
            check_company(names[v], IVL__MASK_PREFIX);
        }
    }
}

/* Rows of NaN before, between and after sequences, and in the keys that a mask or an end hides from
 * all their queries: none of them may enter. */
static void check_rubbish(const char *variant, const attention_case *c)
{
    attention_data d;
    ivl_error error = {0};
    float *out, *again;

    set_up(c, &d);
    upload_offsets(c, &d);
    out = malloc(d.n_out * sizeof *out);
    again = malloc(d.n_out * sizeof *again);
    assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
    test_download(&d.bo, out);
    for (int s = 0; s < c->sequences; s++) {
        const int seen = s == 1 ? visible(c, c->queries[1] - 1, c->keys[1]) : 0;
        const int first = (d.kv_offsets[s] + seen) * d.kv_ld;

        for (int i = d.q_offsets[s] * d.q_ld; s != 1 && i < d.q_offsets[s + 1] * d.q_ld; i++) {
            d.q[i] = NAN;
        }
        for (int i = first; i < d.kv_offsets[s + 1] * d.kv_ld; i++) {
            d.k[i] = d.v[i] = NAN;
        }
    }
    upload_again(&d, c->shift);
    assert_ok(ivl__op_attention(device, &d.call, variant, &error), error);
    test_download(&d.bo, again);
    for (int row = d.q_offsets[1]; row < d.q_offsets[2]; row++) {
        assert_memory_equal(again + row * d.out_ld, out + row * d.out_ld,
                            (size_t)(c->heads * c->head_dim) * sizeof *out);
    }
    free(out);
    free(again);
    tear_down(&d);
}

static void rubbish_does_not_enter(void **state)
{
    static const attention_case packs[] = {
        {3, {2, 3, 2}, {2, 9, 3}, 2, 1, 8, IVL__MASK_CAUSAL, 0, 2, 4},
        /* not for tiny runs */
        {3, {2, 30, 20}, {65, 90, 3}, 2, 1, 64, IVL__MASK_CAUSAL, 0, 40, 4},
        {3, {2, 50, 20}, {65, 131, 3}, 2, 2, 128, IVL__MASK_PREFIX, 67, 0, 0},
        {3, {60, 96, 20}, {65, 257, 3}, 2, 2, 200, IVL__MASK_NONE, 0, 0, 0},
    };
    size_t n = test_tiny() ? 1 : sizeof packs / sizeof packs[0];

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (int v = 0; v < (int)N_NAMES; v++) {
            if (applies(names[v], packs[i].head_dim)) {
                check_rubbish(names[v], &packs[i]);
            }
        }
    }
}

/* 16-bit results are the fp32 results rounded to nearest even. */
static void types_agree(void **state)
{
    const attention_case c = {
        1, {test_tiny() ? 3 : 33}, {test_tiny() ? 3 : 33}, 2, 2, 64, IVL__MASK_NONE, 0, 0, 4};
    const ivl_dtype types[] = {IVL_F16, IVL_BF16};
    attention_data d;
    ivl_error error = {0};
    float *out;
    uint16_t *narrow;

    (void)state;
    set_up(&c, &d);
    upload_offsets(&c, &d);
    out = malloc(d.n_out * sizeof *out);
    narrow = malloc(d.n_out * sizeof *out);
    for (int v = 0; v < (int)N_NAMES; v++) {
        if (!applies(names[v], 64)) {
            continue;
        }
        d.call.out_type = IVL_F32;
        assert_ok(ivl__op_attention(device, &d.call, names[v], &error), error);
        test_download(&d.bo, out);
        for (int t = 0; t < 2; t++) {
            d.call.out_type = types[t];
            assert_ok(ivl__op_attention(device, &d.call, names[v], &error), error);
            test_download(&d.bo, narrow);
            for (int i = 0; i < c.queries[0] * d.out_ld; i++) {
                float exact = out[i];

                if (i % d.out_ld < c.heads * c.head_dim) {
                    assert_int_equal(narrow[i],
                                     t ? ivl__float_to_bf16(exact) : ivl__float_to_f16(exact));
                }
            }
        }
    }
    free(out);
    free(narrow);
    tear_down(&d);
}

/* Scores beyond the range of e^x, and NaN, which must come out and not be hidden by the maximum. */
static void extreme_scores(void **state)
{
    const attention_case c = {1, {2}, {3}, 1, 1, 64, IVL__MASK_NONE, 0, 0, 0};
    ivl_error error = {0};

    (void)state;
    for (int v = 0; v < (int)N_NAMES; v++) {
        attention_data d;
        float out[2 * 65];

        if (!applies(names[v], 64)) {
            continue;
        }
        set_up(&c, &d);
        upload_offsets(&c, &d);
        for (int i = 0; i < 64; i++) {
            d.q[i] = 1e4f;
            d.q[d.q_ld + i] = i == 7 ? NAN : 1.0f;
            d.k[i] = -1.0f;
            d.k[d.kv_ld + i] = 1.0f;
            d.k[2 * d.kv_ld + i] = 0.0f;
        }
        upload_again(&d, 0);
        assert_ok(ivl__op_attention(device, &d.call, names[v], &error), error);
        test_download(&d.bo, out);
        for (int i = 0; i < 64; i++) {
            /* all weight on the middle key */
            assert_true((double)out[i] == operand(narrow(names[v]), d.v[d.kv_ld + i]));
            assert_true(isnan(out[65 + i]));
        }
        tear_down(&d);
    }
}

static void bad_calls_are_refused(void **state)
{
    const attention_case c = {1, {1}, {1}, 2, 2, 4, IVL__MASK_NONE, 0, 0, 0};
    attention_data d;
    ivl_error error = {0};

    (void)state;
    set_up(&c, &d);
    upload_offsets(&c, &d);
    assert_fails(ivl__op_attention(device, &d.call, "local", &error), IVL_UNSUPPORTED, error,
                 "64 or 128");
    assert_fails(ivl__op_attention(device, &d.call, "best", &error), IVL_INVALID_ARGUMENT, error,
                 "'best'");
    d.call.kv_heads = 3;
    assert_fails(ivl__op_attention(device, &d.call, NULL, &error), IVL_INVALID_ARGUMENT, error,
                 "3 key heads");
    d.call.kv_heads = 2;
    d.call.head_dim = 300;
    assert_fails(ivl__op_attention(device, &d.call, NULL, &error), IVL_UNSUPPORTED, error,
                 "300 columns");
    d.call.head_dim = 4;
    d.call.k_ld = 7;
    assert_fails(ivl__op_attention(device, &d.call, NULL, &error), IVL_INVALID_ARGUMENT, error,
                 "shorter");
    d.call.k_ld = d.kv_ld;
    d.call.max_keys = 64 * 65535 + 1;
    assert_fails(ivl__op_attention(device, &d.call, NULL, &error), IVL_UNSUPPORTED, error,
                 "4194241 keys");
    tear_down(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_are_accurate),
        cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(rubbish_does_not_enter),
        cmocka_unit_test(types_agree),
        cmocka_unit_test(extreme_scores),
        cmocka_unit_test(bad_calls_are_refused),
    };
    int failed;

    op_test_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
