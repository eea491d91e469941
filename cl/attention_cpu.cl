/* attention_cpu.cl - softmax(scale q k^T) v for CPUs: explicit vectors, no local memory, no barrier.
 *
 * -DHEAD_DIM=1..256; arguments and masks: attention.h. One work-item, local size 1, per block of
 * 16 * VECTORS queries (x), head (y) and sequence (z).
 *
 * A lane of a vector is a query. Q is transposed once per work-item, [column][query], and scaled; then both
 * products are small GEMMs whose second operand is read in place, one element at a time, and broadcast:
 *   scores  S[key][query]     = sum over columns of K[key][column] Q[column][query]
 *   results O[column][query] += sum over keys    of V[key][column] P[key][query]
 * K and V are never packed, and the softmax runs down the lanes without any exchange between them. The
 * register tile is TILE keys (or columns) x VECTORS vectors. Private memory: (2 HEAD_DIM + 64) * VECTORS * 64
 * bytes, 60 KB for a head of 128: it lives in the second-level cache.
 * A lane's sums are one chain of fma each, over the columns and over the keys (attention.h): neither the
 * block nor VECTORS nor TILE changes a bit.
 * Error: as attention_plain.cl. Test: tests/op/test_attention.c.
 */
#include "attention.h"

#ifndef VECTORS
#define VECTORS 3
#endif
#ifndef TILE
#define TILE 8
#endif
#define QUERIES (16 * VECTORS)
#define COLUMNS ((HEAD_DIM + TILE - 1) / TILE * TILE)

/* s[key][vector] for the n keys of a block; rows up to a multiple of TILE are filled with copies. */
static inline void score_block(const int vectors, const float16 *queries, __global const float *k, int k_ld,
                               int n, float16 *s)
{
    for (int key = 0; key < n; key += TILE) {
        float16 acc[TILE][VECTORS];
        __global const float *rows[TILE];
        for (int t = 0; t < TILE; t++) {
            rows[t] = k + (size_t)min(key + t, n - 1) * (size_t)k_ld;
            for (int i = 0; i < vectors; i++) {
                acc[t][i] = 0.0f;
            }
        }
        for (int d = 0; d < HEAD_DIM; d++) {
            float16 x[VECTORS];
            for (int i = 0; i < vectors; i++) {
                x[i] = queries[d * VECTORS + i];
            }
            for (int t = 0; t < TILE; t++) {
                const float16 y = rows[t][d];
                for (int i = 0; i < vectors; i++) {
                    acc[t][i] = fma(y, x[i], acc[t][i]);
                }
            }
        }
        for (int t = 0; t < TILE; t++) {
            for (int i = 0; i < vectors; i++) {
                s[(key + t) * VECTORS + i] = acc[t][i];
            }
        }
    }
}

/* o[column][vector] = shrink o + sum over the n keys of a block. */
static inline void value_block(const int vectors, const float16 *p, __global const float *v, int v_ld, int n,
                               const float16 *shrink, float16 *o)
{
    for (int d = 0; d < HEAD_DIM; d += TILE) {
        float16 acc[TILE][VECTORS];
        for (int t = 0; t < TILE; t++) {
            for (int i = 0; i < vectors; i++) {
                acc[t][i] = o[(d + t) * VECTORS + i] * shrink[i];
            }
        }
        for (int key = 0; key < n; key++) {
            __global const float *row = v + (size_t)key * (size_t)v_ld;
            float16 x[VECTORS];
            for (int i = 0; i < vectors; i++) {
                x[i] = p[key * VECTORS + i];
            }
            for (int t = 0; t < TILE; t++) {
                const float16 y = row[min(d + t, HEAD_DIM - 1)];
                for (int i = 0; i < vectors; i++) {
                    acc[t][i] = fma(y, x[i], acc[t][i]);
                }
            }
        }
        for (int t = 0; t < TILE; t++) {
            for (int i = 0; i < vectors; i++) {
                o[(d + t) * VECTORS + i] = acc[t][i];
            }
        }
    }
}

/* Scores to weights, in place; `shrink` is what the new maximum does to everything before. */
static inline void softmax_block(const int vectors, float16 *s, int n, int block, const int16 *visible,
                                 bool all_visible, float16 *best, float16 *sum, float16 *shrink)
{
    for (int i = 0; i < vectors; i++) {
        float16 most = best[i];
        float16 total = 0.0f;
        for (int key = 0; key < n; key++) {
            if (!all_visible) {
                s[key * VECTORS + i] = (int16)(block + key) < visible[i] ? s[key * VECTORS + i] : (float16)(LOWEST);
            }
            most = fmax(most, s[key * VECTORS + i]);
        }
        for (int key = 0; key < n; key++) {
            const float16 p = exp_16(s[key * VECTORS + i] - most);
            s[key * VECTORS + i] = p;
            total += p;
        }
        shrink[i] = exp_16(best[i] - most);
        sum[i] = fma(sum[i], shrink[i], total);
        best[i] = most;
    }
}

/* `vectors` is a constant at each call, so that the register tiles unroll. */
static inline void attend(const int vectors, __global const float *q, int q_ld, __global const float *k, int k_ld,
                          __global const float *v, int v_ld, __global OUT *out, int out_ld, __global float *lse,
                          int heads, int n_queries, int n_keys, float scale, int mask, int prefix, int position)
{
    float16 queries[HEAD_DIM * VECTORS];
    float16 o[COLUMNS * VECTORS];
    float16 s[KEYS * VECTORS];
    float16 best[VECTORS], sum[VECTORS], shrink[VECTORS];
    int16 visible[VECTORS];
    const int n_all = visible_keys(mask, prefix, position, 0, n_keys);
    const int n_most = visible_keys(mask, prefix, position, n_queries - 1, n_keys);

    for (int i = 0; i < HEAD_DIM * VECTORS; i++) {
        queries[i] = 0.0f;
    }
    for (int i = 0; i < COLUMNS * VECTORS; i++) {
        o[i] = 0.0f;
    }
    for (int i = 0; i < vectors; i++) {
        best[i] = LOWEST;
        sum[i] = 0.0f;
        for (int lane = 0; lane < 16; lane++) {
            const int query = min(i * 16 + lane, n_queries - 1);
            ((int *)visible)[i * 16 + lane] = visible_keys(mask, prefix, position, query, n_keys);
        }
    }
    for (int query = 0; query < n_queries; query++) {
        for (int d = 0; d < HEAD_DIM; d++) {
            ((float *)queries)[d * QUERIES + query] = q[(size_t)query * (size_t)q_ld + (size_t)d] * scale;
        }
    }
    for (int block = 0; block < n_most; block += KEYS) {
        const int n = min(KEYS, n_most - block);
        score_block(vectors, queries, k + (size_t)block * (size_t)k_ld, k_ld, n, s);
        softmax_block(vectors, s, n, block, visible, block + n <= n_all, best, sum, shrink);
        value_block(vectors, s, v + (size_t)block * (size_t)v_ld, v_ld, n, shrink, o);
    }
    for (int query = 0; query < n_queries; query++) {
        const float total = ((const float *)sum)[query];
        const float inverse = total == 0.0f ? 0.0f : 1.0f / total;
        for (int d = 0; d < HEAD_DIM; d++) {
            STORE(out, (size_t)query * (size_t)out_ld + (size_t)d, ((const float *)o)[d * QUERIES + query] * inverse);
        }
#ifdef LSE
        lse[(size_t)query * (size_t)heads] = ((const float *)best)[query] + log(total);
#endif
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention_cpu(ATTENTION_ARGS)
{
    const int head = (int)get_global_id(1);
    const int kv_head = head * kv_heads / heads;
    const int sequence = (int)get_global_id(2);
    const int first = (int)get_global_id(0) * QUERIES;
    const int first_key = kv_offsets[sequence];
    const int n_keys = kv_offsets[sequence + 1] - first_key;
    const int n_queries = min(q_offsets[sequence + 1] - q_offsets[sequence] - first, QUERIES);
    if (n_queries <= 0) {
        return;
    }
    const size_t q_row = (size_t)(q_offsets[sequence] + first);
    q += q_at + q_row * (size_t)q_ld + (size_t)(head * HEAD_DIM);
    k += k_at + (size_t)first_key * (size_t)k_ld + (size_t)(kv_head * HEAD_DIM);
    v += v_at + (size_t)first_key * (size_t)v_ld + (size_t)(kv_head * HEAD_DIM);
    out += out_at + q_row * (size_t)out_ld + (size_t)(head * HEAD_DIM);
    lse += lse_at + q_row * (size_t)heads + (size_t)head;
    query_position += first;
#define ATTEND(vectors)                                                                                       \
    attend(vectors, q, q_ld, k, k_ld, v, v_ld, out, out_ld, lse, heads, n_queries, n_keys, scale, mask, prefix, \
           query_position)
    if (n_queries > 16 * (VECTORS - 1)) {
        ATTEND(VECTORS);
    } else {
#if VECTORS > 1
        for (int i = 0; i < n_queries; i += 16) {
            const size_t at = (size_t)i;
            attend(1, q + at * (size_t)q_ld, q_ld, k, k_ld, v, v_ld, out + at * (size_t)out_ld, out_ld,
                   lse + at * (size_t)heads, heads, min(16, n_queries - i), n_keys, scale, mask, prefix,
                   query_position + i);
        }
#endif
    }
}
