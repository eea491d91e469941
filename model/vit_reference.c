/* vit_reference.c - InternViT on the host in double precision; see vit_reference.h.
 *
 * Source: modeling_intern_vit.py of OpenGVLab/InternVL (InternVisionEmbeddings, InternAttention,
 * InternMLP, InternVisionEncoderLayer).
 */
#include "model/vit_reference.h"

#include "runtime/memory.h"

#include <math.h>

#define U 0x1p-24 /* unit roundoff of fp32 */

/* ---- weights ----------------------------------------------------------------------------- */

/* Element `index` of a role whose parts are row tiles. */
static double weight_at(const ivl__weight_ref *ref, uint64_t index)
{
    int part = 0;

    while (index >= ref->parts[part]->elements) {
        index -= ref->parts[part]->elements;
        part++;
    }
    return (double)ivl__dtype_load(ref->parts[part]->dtype, ref->parts[part]->data, (size_t)index);
}

static void load_row(const ivl__weight_ref *ref, uint64_t row, int n, double *out)
{
    for (int i = 0; i < n; i++) {
        out[i] = weight_at(ref, row * (uint64_t)n + (uint64_t)i);
    }
}

/* ---- steps ------------------------------------------------------------------------------- */

/* Half a unit in the last place of what is stored as `type`. */
static double storing(ivl_dtype type, double size)
{
    switch (type) {
    case IVL_BF16: return 0x1p-8 * size;
    case IVL_F16: return 0x1p-11 * size + 0x1p-25;
    default: return 0.0;
    }
}

static double square(double a)
{
    return a * a;
}

static ivl__estimate stored(const ivl__vit_reference *r, ivl__estimate v)
{
    v.deviation = hypot(v.deviation, storing(r->act, fabs(v.value)));
    return v;
}

/* RMSNorm or LayerNorm of n values.
 *
 * The mean moves by the mean of what the values are off, and by the roundings of its sum: n/64 + 8
 * steps (cl/norm.cl) of U mean |x| each. The scale s moves relatively by s^2 mean(c e) where the
 * centred values c are off by e, by half of the roundings of the sum of squares, and by 17 U of
 * sqrt and divisions (3 and 2.5 ulp). The result has three roundings. */
static void norm(const ivl__estimate *x, int n, bool layer, double eps, const ivl__weight_ref *w,
                 const ivl__weight_ref *b, ivl__estimate *y)
{
    const double steps = sqrt(n / 64 + 8.0) * U;
    double mean = 0.0;
    double size = 0.0;
    double squares = 0.0;
    double moved = 0.0;
    double turned = 0.0;
    double scale, shift, stretch;

    for (int i = 0; i < n; i++) {
        mean += layer ? x[i].value / n : 0.0;
        size += fabs(x[i].value) / n;
        moved += square(x[i].deviation / n);
    }
    for (int i = 0; i < n; i++) {
        squares += square(x[i].value - mean) / n;
        turned += square((x[i].value - mean) * x[i].deviation / n);
    }
    scale = 1.0 / sqrt(squares + eps);
    shift = layer ? moved + square(steps * size) + square(5 * U * mean) : 0.0;
    stretch = square(scale * scale) * turned + square(steps / 2) + square(17 * U);
    for (int i = 0; i < n; i++) {
        double centred = x[i].value - mean;
        double weight = weight_at(w, (uint64_t)i);

        y[i].value = centred * scale * weight + (layer ? weight_at(b, (uint64_t)i) : 0.0);
        y[i].deviation = sqrt(
            square(scale * weight) *
                (square(x[i].deviation) + shift + square(centred) * (stretch + 2 * square(U))) +
            square(U * y[i].value));
    }
}

/* x . w + bias over n terms: every partial sum rounds once, and weights of another type are rounded
 * to the unit's input type. Sums in another order have other partial sums: sqrt(n) U sum |x w| / 2
 * stands for them where it is more. */
static ivl__estimate product(const ivl__vit_reference *r, const ivl__estimate *x, const double *w,
                             int n, ivl_dtype w_type, bool has_bias, double bias)
{
    const double rounding = r->act != IVL_F32 && w_type != r->act ? storing(r->act, 1.0) : 0.0;
    double size = 0.0;
    double partials = 0.0;
    double carried = 0.0;
    ivl__estimate y = {0.0, 0.0};

    for (int i = 0; i < n; i++) {
        double term = x[i].value * w[i];

        y.value += term;
        size += fabs(term);
        partials += square(y.value);
        carried += square(x[i].deviation * w[i]) + square(rounding * term);
    }
    partials = fmax(partials, n * square(size / 2));
    y.value += has_bias ? bias : 0.0;
    y.deviation = sqrt(carried + square(U) * (partials + square(y.value)));
    return y;
}

/* y [rows, out] = x [rows, in] . w^T + bias, columns first .. first + out - 1. */
static ivl_status linear(const ivl__vit_reference *r, const ivl__estimate *x, int rows, int in,
                         const ivl__weight_ref *w, const ivl__weight_ref *bias, int first, int out,
                         ivl__estimate *y, ivl_error *error)
{
    double *row = ivl__calloc((size_t)in, sizeof *row);

    if (!row) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the reference");
    }
    for (int j = 0; j < out; j++) {
        bool has_bias = bias && bias->n_parts > 0;
        double b = has_bias ? weight_at(bias, (uint64_t)(first + j)) : 0.0;

        load_row(w, (uint64_t)(first + j), in, row);
        for (int i = 0; i < rows; i++) {
            y[(size_t)i * (size_t)out + (size_t)j] = product(r, x + (size_t)i * (size_t)in, row, in,
                                                             w->parts[0]->dtype, has_bias, b);
        }
    }
    ivl__free(row);
    return IVL_OK;
}

/* GELU has a slope of at most 1.13; 12 U |v| of its own (erf may be 16 ulp off by the
 * specification), 2e-9 by polynomial (cl/gelu.h). */
static ivl__estimate gelu(ivl__estimate v)
{
    double y = 0.5 * v.value * erfc(-v.value * 0.70710678118654752440);

    return (ivl__estimate){y, hypot(1.13 * v.deviation, 12 * U * fabs(v.value) + 2e-9)};
}

/* y + scale * v. */
static ivl__estimate add_scaled(ivl__estimate y, ivl__estimate v, double scale)
{
    double added = v.value * scale;

    return (ivl__estimate){y.value + added,
                           sqrt(square(y.deviation) + square(v.deviation * scale) +
                                square(U * added) + square(U * (y.value + added)))};
}

/* ---- attention --------------------------------------------------------------------------- */

/* Weights p [tokens] of one query, not yet divided by their sum, with relative deviations: what the
 * score may be off, and the maximum; the subtraction, e^x (3 U), and a rescaling for each block of
 * 64 keys (4 U). */
static void attention_weights(const ivl__estimate *q, const ivl__estimate *k, int tokens,
                              int stride, int head_dim, ivl__estimate *p)
{
    const double scale = (double)(1.0f / sqrtf((float)head_dim));
    const int blocks = (tokens + 63) / 64;
    double most = -INFINITY;

    for (int j = 0; j < tokens; j++) {
        const ivl__estimate *key = k + (size_t)j * (size_t)stride;
        double variance = 0.0;

        p[j].value = 0.0;
        for (int d = 0; d < head_dim; d++) {
            double term = q[d].value * scale * key[d].value;

            p[j].value += term;
            variance += square(scale * q[d].deviation * key[d].value) +
                        square(scale * q[d].value * key[d].deviation) +
                        square(U) * (square(p[j].value) + square(term));
        }
        p[j].deviation = sqrt(variance);
        most = fmax(most, p[j].value);
    }
    for (int j = 0; j < tokens; j++) {
        double below = most - p[j].value;

        p[j].value = exp(-below);
        p[j].deviation = hypot(p[j].deviation, (below + 3 + 4 * blocks) * U);
    }
}

/* One head of one query: out = sum p v / sum p. A weight that is off by the factor 1 + e moves it
 * by e p (v - out) / sum p. Every partial sum of the numerator rounds once, and up to 64 + blocks
 * partial sums and two operations of the denominator. */
static void attend(const ivl__estimate *v, const ivl__estimate *p, int tokens, int stride,
                   int head_dim, ivl__estimate *out)
{
    const int steps = 68 + (tokens + 63) / 64;
    double l = 0.0;

    for (int j = 0; j < tokens; j++) {
        l += p[j].value;
    }
    for (int d = 0; d < head_dim; d++) {
        double sum = 0.0;
        double partials = 0.0;
        double carried = 0.0;

        for (int j = 0; j < tokens; j++) {
            sum += p[j].value * v[(size_t)j * (size_t)stride + (size_t)d].value;
            partials += square(sum);
        }
        out[d].value = sum / l;
        for (int j = 0; j < tokens; j++) {
            const ivl__estimate *value = &v[(size_t)j * (size_t)stride + (size_t)d];

            carried += square(p[j].value * value->deviation) +
                       square(p[j].deviation * p[j].value * (value->value - out[d].value));
        }
        out[d].deviation = sqrt((carried + square(U) * partials) / square(l) +
                                steps * square(U * out[d].value));
    }
}

/* ---- a block ----------------------------------------------------------------------------- */

typedef struct block_rows {
    ivl__estimate *normed; /* [tokens, C] */
    ivl__estimate *q;      /* [n_rows, C] */
    ivl__estimate *kv;     /* [tokens, 2C] */
    ivl__estimate *mixed;  /* [n_rows, C]: attention's output, then norm2's */
    ivl__estimate *branch; /* [n_rows, C] */
    ivl__estimate *wide;   /* [n_rows, F] */
    ivl__estimate *p;      /* [tokens] */
} block_rows;

static bool allocate(const ivl__vit_reference *r, int n_rows, block_rows *b)
{
    size_t c = (size_t)r->config->hidden;
    size_t tokens = (size_t)r->tokens;
    size_t rows = (size_t)n_rows;

    b->normed = ivl__calloc(tokens * c, sizeof *b->normed);
    b->q = ivl__calloc(rows * c, sizeof *b->q);
    b->kv = ivl__calloc(tokens * 2 * c, sizeof *b->kv);
    b->mixed = ivl__calloc(rows * c, sizeof *b->mixed);
    b->branch = ivl__calloc(rows * c, sizeof *b->branch);
    b->wide = ivl__calloc(rows * (size_t)r->config->mlp, sizeof *b->wide);
    b->p = ivl__calloc(tokens, sizeof *b->p);
    return b->normed && b->q && b->kv && b->mixed && b->branch && b->wide && b->p;
}

static void release(block_rows *b)
{
    ivl__free(b->normed);
    ivl__free(b->q);
    ivl__free(b->kv);
    ivl__free(b->mixed);
    ivl__free(b->branch);
    ivl__free(b->wide);
    ivl__free(b->p);
}

static void norm_rows(const ivl__vit_reference *r, const ivl__estimate *x, int rows,
                      const ivl__weight_ref *w, const ivl__weight_ref *b, ivl__estimate *y)
{
    const ivl__vit_config *config = r->config;
    const int c = config->hidden;

    for (int i = 0; i < rows; i++) {
        ivl__estimate *row = y + (size_t)i * (size_t)c;

        norm(x + (size_t)i * (size_t)c, c, config->layer_norm, (double)(float)config->eps, w, b,
             row);
        for (int j = 0; j < c; j++) {
            row[j] = stored(r, row[j]);
        }
    }
}

/* q of the wanted rows, k and v of all; q and k normed over their whole width. */
static ivl_status make_qkv(const ivl__vit_reference *r, const ivl__vit_block_weights *w,
                           const int *rows, int n_rows, block_rows *b, ivl_error *error)
{
    const int c = r->config->hidden;
    const double eps = (double)(float)r->config->eps;

    IVL__TRY(linear(r, b->normed, r->tokens, c, &w->qkv_w, &w->qkv_b, c, 2 * c, b->kv, error));
    for (int i = 0; i < n_rows; i++) {
        IVL__TRY(linear(r, b->normed + (size_t)rows[i] * (size_t)c, 1, c, &w->qkv_w, &w->qkv_b, 0,
                        c, b->q + (size_t)i * (size_t)c, error));
    }
    for (int i = 0; r->config->qk_norm && i < n_rows; i++) {
        norm(b->q + (size_t)i * (size_t)c, c, false, eps, &w->q_norm, NULL,
             b->q + (size_t)i * (size_t)c);
    }
    for (int i = 0; r->config->qk_norm && i < r->tokens; i++) {
        ivl__estimate *key = b->kv + (size_t)i * (size_t)(2 * c);

        norm(key, c, false, eps, &w->k_norm, NULL, key);
    }
    return IVL_OK;
}

static void attention(const ivl__vit_reference *r, int n_rows, block_rows *b)
{
    const int c = r->config->hidden;
    const int head_dim = c / r->config->heads;

    for (int i = 0; i < n_rows; i++) {
        ivl__estimate *out = b->mixed + (size_t)i * (size_t)c;

        for (int at = 0; at < c; at += head_dim) {
            attention_weights(b->q + (size_t)i * (size_t)c + at, b->kv + at, r->tokens, 2 * c,
                              head_dim, b->p);
            attend(b->kv + c + at, b->p, r->tokens, 2 * c, head_dim, out + at);
        }
        for (int j = 0; j < c; j++) {
            out[j] = stored(r, out[j]);
        }
    }
}

static void add_branch(const ivl__vit_reference *r, int n_rows, const ivl__weight_ref *scale,
                       const ivl__estimate *branch, ivl__estimate *out)
{
    const size_t c = (size_t)r->config->hidden;

    for (size_t i = 0; i < (size_t)n_rows * c; i++) {
        out[i] = add_scaled(out[i], branch[i], weight_at(scale, i % c));
    }
}

static ivl_status run_block(const ivl__vit_reference *r, const ivl__vit_block_weights *w,
                            const ivl__estimate *x, const int *rows, int n_rows, block_rows *b,
                            ivl__estimate *out, ivl_error *error)
{
    const int c = r->config->hidden;
    const int f = r->config->mlp;

    norm_rows(r, x, r->tokens, &w->norm1_w, &w->norm1_b, b->normed);
    IVL__TRY(make_qkv(r, w, rows, n_rows, b, error));
    attention(r, n_rows, b);
    IVL__TRY(linear(r, b->mixed, n_rows, c, &w->proj_w, &w->proj_b, 0, c, b->branch, error));
    for (int i = 0; i < n_rows * c; i++) {
        out[i] = x[(size_t)rows[i / c] * (size_t)c + (size_t)(i % c)];
    }
    add_branch(r, n_rows, &w->ls1, b->branch, out);

    norm_rows(r, out, n_rows, &w->norm2_w, &w->norm2_b, b->mixed);
    IVL__TRY(linear(r, b->mixed, n_rows, c, &w->fc1_w, &w->fc1_b, 0, f, b->wide, error));
    for (int i = 0; i < n_rows * f; i++) {
        b->wide[i] = stored(r, gelu(b->wide[i]));
    }
    IVL__TRY(linear(r, b->wide, n_rows, f, &w->fc2_w, &w->fc2_b, 0, c, b->branch, error));
    add_branch(r, n_rows, &w->ls2, b->branch, out);
    return IVL_OK;
}

ivl_status ivl__vit_reference_block(const ivl__vit_reference *r, int index, const ivl__estimate *x,
                                    const int *rows, int n_rows, ivl__estimate *out,
                                    ivl_error *error)
{
    block_rows b = {0};
    ivl_status status;

    status = allocate(r, n_rows, &b)
                 ? run_block(r, &r->weights->blocks[index], x, rows, n_rows, &b, out, error)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the reference");
    release(&b);
    return status;
}

/* ---- embeddings -------------------------------------------------------------------------- */

/* One patch in the order of the weights (channel, ky, kx), normalised in fp32 as torchvision does
 * and the device does bit for bit. */
static void load_patch(const ivl__vit_reference *r, const uint8_t *rgb, int width, int py, int px,
                       const float mean[3], const float std[3], ivl__estimate *patch)
{
    const int side = r->config->patch;

    for (int i = 0; i < 3 * side * side; i++) {
        int c = i / (side * side);
        int y = py * side + i / side % side;
        int x = px * side + i % side;
        float value = ((float)rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] /
                           255.0f -
                       mean[c]) /
                      std[c];

        patch[i] = stored(r, (ivl__estimate){(double)value, 0.0});
    }
}

ivl_status ivl__vit_reference_embed(const ivl__vit_reference *r, const uint8_t *rgb, int width,
                                    int height, const float mean[3], const float std[3],
                                    ivl__estimate *x, ivl_error *error)
{
    const int c = r->config->hidden;
    const int n = 3 * r->config->patch * r->config->patch;
    const int gw = width / r->config->patch;
    ivl__estimate *patch;
    ivl_status status = IVL_OK;

    if (r->tokens != 1 + gw * (height / r->config->patch)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "a picture of %d x %d does not make %d tokens", width, height, r->tokens);
    }
    patch = ivl__calloc((size_t)n, sizeof *patch);
    if (!patch) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the reference");
    }
    for (int t = 0; status == IVL_OK && t < r->tokens; t++) {
        ivl__estimate *row = x + (size_t)t * (size_t)c;

        if (t > 0) {
            load_patch(r, rgb, width, (t - 1) / gw, (t - 1) % gw, mean, std, patch);
            status = linear(r, patch, 1, n, &r->weights->patch_w, &r->weights->patch_b, 0, c, row,
                            error);
        }
        for (int j = 0; j < c; j++) {
            ivl__estimate from = t ? row[j]
                                   : (ivl__estimate){
                                         weight_at(&r->weights->class_embedding, (uint64_t)j), 0.0};

            row[j].value = from.value + weight_at(&r->weights->position, (uint64_t)(t * c + j));
            row[j].deviation = hypot(from.deviation, U * row[j].value);
        }
    }
    ivl__free(patch);
    return status;
}
