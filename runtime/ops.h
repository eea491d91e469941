/* ops.h - every operation of the models that is not a matrix product, as launchers.
 *
 * Operands are fp32 unless a type is named; "act" outputs are fp32 or the 16-bit input type of the
 * GEMM that follows (rounded to nearest even). Rows are packed [total_tokens, C]. Everything is
 * enqueued on the device's compute queue; nothing waits. A row's result never depends on other
 * rows, on their number or on its position.
 */
#ifndef IVL_RUNTIME_OPS_H
#define IVL_RUNTIME_OPS_H

#include "runtime/device.h"
#include "runtime/tensor.h"

typedef enum ivl__norm_kind {
    IVL__NORM_RMS = 0,  /* w * x / sqrt(mean(x^2) + eps) */
    IVL__NORM_LAYER = 1 /* (x - mean) / sqrt(var + eps) * w + b, biased variance */
} ivl__norm_kind;

/* y[r] = norm(x[r]) for `rows` rows of `width`, x_ld / y_ld elements apart. bias: layer norm only.
 * x and y may be the same place when both are fp32 (q/k norm in the qkv buffer). */
typedef struct ivl__norm_call {
    ivl__norm_kind kind;
    int32_t rows, width;
    ivl__span x;
    int32_t x_ld;
    ivl__span weight, bias; /* fp32 [width] */
    float eps;
    ivl__span y;
    ivl_dtype y_type;
    int32_t y_ld;
    const char *variant; /* NULL: by capability; "rows" or "groups" for tests and bench */
} ivl__norm_call;
ivl_status ivl__op_norm(ivl__device *device, const ivl__norm_call *call, ivl_error *error);

typedef enum ivl__mask_kind {
    IVL__MASK_NONE = 0,
    IVL__MASK_CAUSAL,
    IVL__MASK_PREFIX
} ivl__mask_kind;

/* out = softmax(scale * q k^T + mask) v, per sequence and head, fp32 throughout; with `fast`, where
 * the device has a unit for it, both products take multiplicands rounded to 16 bits. Sequence s has
 * the query rows q_offsets[s] .. q_offsets[s+1]-1 and the key rows kv_offsets[s] ..
 * kv_offsets[s+1]-1 (int32 buffers of n + 1 entries; the same buffer where both agree). Head h lies
 * in the columns h*head_dim .. of a row; kv head h*kv_heads/heads. IVL__MASK_CAUSAL: query i sees
 * keys 0 .. i + query_position; IVL__MASK_PREFIX: as causal, and the first `prefix` rows see each
 * other. What is not built yet answers IVL_UNSUPPORTED. */
typedef struct ivl__attention_call {
    int32_t sequences, max_queries, max_keys; /* the longest of each */
    cl_mem q_offsets, kv_offsets;
    int32_t heads, kv_heads, head_dim;
    float scale;
    bool fast;
    ivl__mask_kind mask;
    int32_t prefix, query_position;
    ivl__span q, k, v; /* fp32 */
    int32_t q_ld, k_ld, v_ld;
    ivl__span out; /* [queries, heads * head_dim], rows out_ld apart */
    ivl_dtype out_type;
    int32_t out_ld;
    ivl__span lse; /* optional log-sum-exp [queries, heads] fp32 */
} ivl__attention_call;
/* variant: NULL (chosen by capability), or by name ("cpu", "cpu-bf16", "local", "plain") for tests
 * and bench. The check tells beforehand whether the variant exists and takes such heads. */
ivl_status ivl__op_attention_check(const ivl__device *device, const char *variant, int32_t head_dim,
                                   ivl_error *error);
ivl_status ivl__op_attention(ivl__device *device, const ivl__attention_call *call,
                             const char *variant, ivl_error *error);

/* Pictures to rows of the patch matrix: out [images * gh * gw, channels * patch_h * patch_w] (act),
 * element order (c, ky, kx), gh = (height - patch) / stride + 1. */
typedef struct ivl__patchify_call {
    int32_t images, height, width, channels, patch, stride;
    ivl__span pixels; /* uint8 [images, height, width, 3], or fp32 [images, 3, height, width] */
    bool normalized;  /* pixels are fp32 and already normalised */
    float mean[3], std[3]; /* uint8: (u8 / 255 - mean) / std in fp32, as torchvision */
    ivl__span out;
    ivl_dtype out_type;
} ivl__patchify_call;
ivl_status ivl__op_patchify(ivl__device *device, const ivl__patchify_call *call, ivl_error *error);

/* x[i, 0] = class + position[0]; x[i, 1 + t] = patches[i, t] + position[1 + t].
 * patches [images, tokens - 1, width], x [images, tokens, width]. */
ivl_status ivl__op_embed(ivl__device *device, int32_t images, int32_t tokens, int32_t width,
                         ivl__span patches, ivl__span class_embedding, ivl__span position,
                         ivl__span x, ivl_error *error);

/* Position table [1 + from_h * from_w, width] to [1 + to_h * to_w, width]: torch's bicubic
 * (A = -0.75, align_corners false, no antialias); row 0 is copied. */
ivl_status ivl__op_position_resize(ivl__device *device, int32_t from_h, int32_t from_w,
                                   int32_t to_h, int32_t to_w, int32_t width, ivl__span from,
                                   ivl__span to, ivl_error *error);

/* out[r] = table[index[r]], widened to fp32: embeddings of tokens (a stored matrix in row tiles),
 * query tokens for every picture, the last tokens of texts (table: fp32 rows as one tile, see
 * ivl__weight_of). index int32 [rows]; one that is no row of the table gives a row of NaN. out rows
 * out_ld apart, none of them in the table. */
ivl_status ivl__op_gather_rows(ivl__device *device, int32_t rows, ivl__span index,
                               const ivl__weight *table, ivl__span out, int32_t out_ld,
                               ivl_error *error);

/* y[r] += x[index[r]], fp32, one rounding. index int32 [rows] (absent: index[r] = r); a negative
 * one leaves the row as it is, one from x_rows on makes it NaN. No row of y lies in x. */
typedef struct ivl__add_rows_call {
    int32_t rows, width;
    ivl__span x; /* [x_rows, width], rows x_ld apart */
    int32_t x_ld, x_rows;
    ivl__span index;
    ivl__span y; /* [rows, width], rows y_ld apart */
    int32_t y_ld;
} ivl__add_rows_call;
ivl_status ivl__op_add_rows(ivl__device *device, const ivl__add_rows_call *call, ivl_error *error);

/* Rotary embedding, rotate-half, in place. In every head of a row at position p, for j < d/2 and
 * the angle a = p theta^(-2j/d): x[j], x[j + d/2] become x[j] cos a - x[j + d/2] sin a,
 * x[j + d/2] cos a + x[j] sin a. q and k side by side in one buffer are one call with the heads of
 * both. */
typedef struct ivl__rope_call {
    int32_t rows, heads, head_dim; /* head_dim is even */
    ivl__span x;                   /* fp32 [rows, heads * head_dim], rows x_ld apart */
    int32_t x_ld;
    ivl__span positions; /* int32 [rows]; one that is not in the table gives a row of NaN */
    ivl__span table;     /* fp32 [max_positions, head_dim], filled by ivl__rope_table */
    int32_t max_positions;
} ivl__rope_call;
ivl_status ivl__op_rope(ivl__device *device, const ivl__rope_call *call, ivl_error *error);

/* Host: table [max_positions, head_dim], of position p the head_dim / 2 cosines, then the sines,
 * computed in double precision and rounded once. */
void ivl__rope_table(int32_t max_positions, int32_t head_dim, double theta, float *table);

/* out = silu(gate) * up, silu(g) = g / (1 + e^-g). out may be the place of gate or up where it is
 * fp32 with their ld. */
typedef struct ivl__swiglu_call {
    int32_t rows, width;
    ivl__span gate, up; /* fp32 [rows, width], rows gate_ld and up_ld apart */
    int32_t gate_ld, up_ld;
    ivl__span out; /* act [rows, width], rows out_ld apart */
    ivl_dtype out_type;
    int32_t out_ld;
} ivl__swiglu_call;
ivl_status ivl__op_swiglu(ivl__device *device, const ivl__swiglu_call *call, ivl_error *error);

/* out[i] = x[i, first] (rows == 1), or the mean of rows first .. first + rows - 1 of image i.
 * x [images, tokens, width]; out rows out_ld apart. */
ivl_status ivl__op_pool(ivl__device *device, int32_t images, int32_t tokens, int32_t width,
                        int32_t first, int32_t rows, ivl__span x, ivl__span out, int32_t out_ld,
                        ivl_error *error);

/* Divides each of `rows` rows by its Euclidean norm, in place. */
ivl_status ivl__op_l2_normalize(ivl__device *device, int32_t rows, int32_t width, ivl__span x,
                                ivl_error *error);

/* An entry of a list of best scores: greater for a greater score and, of equal scores, for the
 * lower row (cl/topk.cl). */
#define IVL__TOPK_NONE     0x007fffff00000000u
#define IVL__TOPK_MAX_ROWS 0xffffffffu

static inline uint32_t ivl__topk_row(uint64_t key)
{
    return ~(uint32_t)key;
}

static inline float ivl__topk_score(uint64_t key)
{
    const uint32_t ordered = (uint32_t)(key >> 32);
    const uint32_t bits = ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered;
    float score;

    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Puts the scores of a chunk of rows into the lists of the k best of each query and part, where
 * they are good enough. Lists begin as IVL__TOPK_NONE; which entries they hold in the end depends
 * neither on the chunks, nor on the parts (a query's result is the k greatest of all its parts'),
 * nor on the variant; their order means nothing to the caller, and every chunk of a list goes to
 * one variant. A NaN is never among them. */
typedef struct ivl__topk_call {
    int32_t queries, rows, k;
    ivl__span scores; /* fp32 [queries, rows], rows scores_ld apart */
    int32_t scores_ld;
    uint32_t first_row;  /* number of the row that column 0 belongs to */
    int32_t parts;       /* that share a query's columns, so that few queries keep a device busy */
    ivl__span best;      /* uint64 [queries, parts, k] */
    const char *variant; /* NULL: by capability; "heap" or "group" for tests and bench */
} ivl__topk_call;
ivl_status ivl__op_topk(ivl__device *device, const ivl__topk_call *call, ivl_error *error);

/* flag[0] (int32) becomes 1 if any of `count` fp32 values is not finite; else it is untouched. */
ivl_status ivl__op_check_finite(ivl__device *device, uint64_t count, ivl__span x, ivl__span flag,
                                ivl_error *error);

/* Matrix [rows, cols] of a 16-bit or fp32 type to fp32 (or fp32 to a 16-bit type). For backends
 * that need it; the models themselves never hold a widened copy. */
ivl_status ivl__op_convert(ivl__device *device, uint64_t count, ivl__span from, ivl_dtype from_type,
                           ivl__span to, ivl_dtype to_type, ivl_error *error);

#endif
