/* attention_cpu.cl - softmax(scale q k^T) v for CPUs: explicit vectors, no local memory, no barrier.
 *
 * -DHEAD_DIM=1..256; arguments and masks: attention.h. One work-item, local size 1, per block of
 * 16 * VECTORS queries (x), head (y) and sequence (z).
 *
 * A lane of a vector is a query. Q is transposed once per work-item, [column][query], and scaled; then both
 * products are small GEMMs whose second operand is read one word at a time and broadcast:
 *   scores  S[key][query]     = sum over columns of K[key][column] Q[column][query]
 *   results O[column][query] += sum over keys    of V[key][column] P[key][query]
 * The softmax runs down the lanes without any exchange between them. K and V are copied block by block, so
 * that rows far apart in memory do not compete for the same lines of a cache. The register tile is TILE keys
 * (or columns) x VECTORS vectors. Private memory: ((2 VECTORS + 4) HEAD_DIM + 64 VECTORS) * 64 bytes at most,
 * 92 KB for a head of 128: it lives in the second-level cache.
 *
 * -DBF16_DOT=1: vdpbf16ps by inline assembler (the host has checked caps.x86_bf16_dot). A word is then a
 * pair of bf16, of neighbouring columns in Q and K and of neighbouring keys in V and P; scaled queries,
 * keys, values and weights are rounded to nearest even, everything else is fp32.
 *
 * A lane's sums are one chain each, over the words of columns and of keys (attention.h): neither the block
 * nor VECTORS nor TILE changes a bit.
 * Error: as attention_plain.cl; with BF16_DOT four more roundings of 2^-8. Test: tests/op/test_attention.c.
 */
#include "attention.h"
#include "transpose.h"

#ifndef BF16_DOT
#define BF16_DOT 0
#endif
#define VECTORS 3
#define TILE    8
#define EACH(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)

#define QUERIES  (16 * VECTORS)
#define COLUMNS  ((HEAD_DIM + 15) / 16 * 16)
#define PER_WORD (BF16_DOT ? 2 : 1)
#define WORDS    ((HEAD_DIM + PER_WORD - 1) / PER_WORD) /* of a row of Q or K */

/* ---- words ---------------------------------------------------------------------------------- */

#if BF16_DOT
typedef uint word;
typedef uint16 word16;
#define AS_WORDS(x) as_uint16(x)
#define AS_WORD(x)  as_uint(x)
#define MULTIPLY_ADD(sum, y, x) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y))

typedef ushort ushort32 __attribute__((ext_vector_type(32)));

/* bf16 of `low`, then of `high`: 32 of them. */
static inline uint16 narrow(const float16 low, const float16 high)
{
    uint16 pairs;

    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(pairs) : "v"(high), "v"(low));
    return pairs;
}

/* Words of bf16, `even` in the lower halves. */
static inline uint16 pair(const float16 even, const float16 odd)
{
    const ushort32 both = __builtin_astype(narrow(even, odd), ushort32);

    return __builtin_astype(__builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22,
                                                    7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30,
                                                    15, 31),
                            uint16);
}

/* 16 words of a row. */
static inline uint16 load_words(__global const float *row, float scale)
{
    return narrow(vload16(0, row) * scale, vload16(1, row) * scale);
}

static inline uint load_word(__global const float *row, int i, float scale)
{
    const float odd = 2 * i + 1 < HEAD_DIM ? row[2 * i + 1] * scale : 0.0f;

    return pair((float16)(row[2 * i] * scale), (float16)(odd)).s0;
}
#else
typedef float word;
typedef float16 word16;
#define AS_WORDS(x) as_float16(x)
#define AS_WORD(x)  as_float(x)
#define MULTIPLY_ADD(sum, y, x) sum = fma(y, x, sum)

static inline float16 load_words(__global const float *row, float scale)
{
    return vload16(0, row) * scale;
}

static inline float load_word(__global const float *row, int i, float scale)
{
    return row[i] * scale;
}
#endif

/* ---- operands ------------------------------------------------------------------------------- */

/* queries[word][vector]; lanes beyond the last query repeat it. */
static inline void pack_queries(const int vectors, __global const float *q, int q_ld, int n_queries, float scale,
                                word16 *queries)
{
    for (int i = 0; i < vectors; i++) {
        int w = 0;
        for (; w + 16 <= HEAD_DIM / PER_WORD; w += 16) {
            uint16 a[16];
#pragma unroll
            for (int lane = 0; lane < 16; lane++) {
                const size_t row = (size_t)min(i * 16 + lane, n_queries - 1);
                a[lane] = as_uint16(load_words(q + row * (size_t)q_ld + w * PER_WORD, scale));
            }
            TRANSPOSE_16(a)
#pragma unroll
            for (int j = 0; j < 16; j++) {
                queries[(w + j) * VECTORS + i] = AS_WORDS(a[j]);
            }
        }
        for (; w < WORDS; w++) {
            for (int lane = 0; lane < 16; lane++) {
                const size_t row = (size_t)min(i * 16 + lane, n_queries - 1);
                ((word *)queries)[(w * VECTORS + i) * 16 + lane] = load_word(q + row * (size_t)q_ld, w, scale);
            }
        }
    }
}

/* keys[key][word], up to a whole tile: rows beyond the last repeat it. */
static inline void pack_keys(__global const float *k, int k_ld, int n, word *keys)
{
    for (int key = 0; key < (n + TILE - 1) / TILE * TILE; key++) {
        __global const float *row = k + (size_t)min(key, n - 1) * (size_t)k_ld;
        int w = 0;
        for (; w + 16 <= HEAD_DIM / PER_WORD; w += 16) {
            vstore16(load_words(row + w * PER_WORD, 1.0f), 0, keys + key * WORDS + w);
        }
        for (; w < WORDS; w++) {
            keys[key * WORDS + w] = load_word(row, w, 1.0f);
        }
    }
}

/* values[word of keys][column]; columns beyond the last and the partner of an odd last key are zero. */
static inline void pack_values(__global const float *v, int v_ld, int n, word *values)
{
    for (int key = 0; key < n; key += PER_WORD) {
        __global const float *row = v + (size_t)key * (size_t)v_ld;
        word *to = values + key / PER_WORD * COLUMNS;
        for (int d = 0; d < COLUMNS; d += 16) {
            float16 x[PER_WORD];
            for (int i = 0; i < PER_WORD; i++) {
                x[i] = 0.0f;
                if (key + i < n && d + 16 <= HEAD_DIM) {
                    x[i] = vload16(0, row + i * v_ld + d);
                } else if (key + i < n) {
                    for (int c = 0; d + c < HEAD_DIM; c++) {
                        ((float *)&x[i])[c] = row[i * v_ld + d + c];
                    }
                }
            }
#if BF16_DOT
            vstore16(pair(x[0], x[1]), 0, to + d);
#else
            vstore16(x[0], 0, to + d);
#endif
        }
    }
}

/* ---- products ------------------------------------------------------------------------------- */

/* A tile: TILE broadcast words y[t * STRIDE] times up to three vectors x[0 .. 2], for each step of a sum. */
#define TILE_ROW(t)                              \
    {                                            \
        const word16 value = (word16)(y[(t)*STRIDE]); \
        MULTIPLY_ADD(a##t, value, x0);           \
        if (vectors > 1) {                       \
            MULTIPLY_ADD(b##t, value, x1);       \
        }                                        \
        if (vectors > 2) {                       \
            MULTIPLY_ADD(c##t, value, x2);       \
        }                                        \
    }
#define TILE_STEP(x)                                            \
    {                                                           \
        const word16 x0 = (x)[0];                               \
        const word16 x1 = vectors > 1 ? (x)[1] : (word16)(0);   \
        const word16 x2 = vectors > 2 ? (x)[2] : (word16)(0);   \
        EACH(TILE_ROW)                                          \
    }
#define TILE_STORE(t)                        \
    to[(t)*VECTORS] = a##t;                  \
    if (vectors > 1) {                       \
        to[(t)*VECTORS + 1] = b##t;          \
    }                                        \
    if (vectors > 2) {                       \
        to[(t)*VECTORS + 2] = c##t;          \
    }

/* s[key][vector] for the n keys of a block, up to a whole tile. */
#define STRIDE        WORDS
#define TILE_START(t) float16 a##t = 0.0f, b##t = 0.0f, c##t = 0.0f;
static inline void score_block(const int vectors, const word16 *queries, const word *keys, int n, float16 *s)
{
    for (int key = 0; key < n; key += TILE) {
        const word *y = keys + key * WORDS;
        float16 *to = s + key * VECTORS;
        EACH(TILE_START)
        for (int w = 0; w < WORDS; w++) {
            TILE_STEP(queries + w * VECTORS)
            y++;
        }
        EACH(TILE_STORE)
    }
}
#undef STRIDE
#undef TILE_START

/* o[column][vector] = shrink o + sum over the words of a block of keys. */
#define STRIDE        1
#define TILE_START(t)                                                                              \
    float16 a##t = to[(t)*VECTORS] * shrink[0];                                                    \
    float16 b##t = vectors > 1 ? to[(t)*VECTORS + 1] * shrink[1] : (float16)(0.0f);                \
    float16 c##t = vectors > 2 ? to[(t)*VECTORS + 2] * shrink[2] : (float16)(0.0f);
static inline void value_block(const int vectors, const float16 *p, const word *values, int n,
                               const float16 *shrink, float16 *o)
{
    for (int d = 0; d < COLUMNS; d += TILE) {
        const word *y = values + d;
        float16 *to = o + d * VECTORS;
        EACH(TILE_START)
        for (int key = 0; key < (n + PER_WORD - 1) / PER_WORD; key++) {
            const word16 x[3] = {AS_WORDS(p[key * VECTORS]), AS_WORDS(p[key * VECTORS + (vectors > 1)]),
                                 AS_WORDS(p[key * VECTORS + (vectors > 2 ? 2 : 0)])};
            TILE_STEP(x)
            y += COLUMNS;
        }
        EACH(TILE_STORE)
    }
}

/* ---- softmax -------------------------------------------------------------------------------- */

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
#if BF16_DOT
        for (int key = 0; key < n; key += 2) {
            const float16 odd = key + 1 < n ? s[(key + 1) * VECTORS + i] : (float16)(0.0f);
            s[key / 2 * VECTORS + i] = as_float16(pair(s[key * VECTORS + i], odd));
        }
#endif
        shrink[i] = exp_16(best[i] - most);
        sum[i] = fma(sum[i], shrink[i], total);
        best[i] = most;
    }
}

/* Results to rows: o[column][vector] of queries, divided by their sums. */
static inline void store_results(const int vectors, const float16 *o, const float16 *sum, int n_queries,
                                 __global OUT *out, int out_ld)
{
    for (int i = 0; i < vectors; i++) {
        const float16 inverse = sum[i] == 0.0f ? (float16)(0.0f) : 1.0f / sum[i];
        const int lanes = min(16, n_queries - i * 16);
        for (int d = 0; d < COLUMNS; d += 16) {
            uint16 a[16];
#pragma unroll
            for (int j = 0; j < 16; j++) {
                a[j] = as_uint16(o[(d + j) * VECTORS + i] * inverse);
            }
            TRANSPOSE_16(a)
#pragma unroll
            for (int lane = 0; lane < 16; lane++) {
                __global OUT *to = out + (size_t)(i * 16 + lane) * (size_t)out_ld + d;
                const float16 x = as_float16(a[lane]);
                if (lane < lanes && d + 16 <= HEAD_DIM) {
                    STORE16(to, x);
                } else if (lane < lanes) {
                    for (int c = 0; d + c < HEAD_DIM; c++) {
                        STORE(to, c, ((const float *)&x)[c]);
                    }
                }
            }
        }
    }
}

/* `vectors` is a constant at each call. */
static inline void attend(const int vectors, __global const float *q, int q_ld, __global const float *k, int k_ld,
                          __global const float *v, int v_ld, __global OUT *out, int out_ld, __global float *lse,
                          int heads, int n_queries, int n_keys, float scale, int mask, int prefix, int position)
{
    word16 queries[WORDS * VECTORS];
    word rows[KEYS * COLUMNS]; /* of keys, then of values */
    float16 o[COLUMNS * VECTORS];
    float16 s[KEYS * VECTORS];
    float16 best[VECTORS], sum[VECTORS], shrink[VECTORS];
    int16 visible[VECTORS];
    const int n_all = visible_keys(mask, prefix, position, 0, n_keys);
    const int n_most = visible_keys(mask, prefix, position, n_queries - 1, n_keys);

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
    pack_queries(vectors, q, q_ld, n_queries, scale, queries);
    for (int block = 0; block < n_most; block += KEYS) {
        const int n = min(KEYS, n_most - block);
        pack_keys(k + (size_t)block * (size_t)k_ld, k_ld, n, rows);
        score_block(vectors, queries, rows, n, s);
        softmax_block(vectors, s, n, block, visible, block + n <= n_all, best, sum, shrink);
        pack_values(v + (size_t)block * (size_t)v_ld, v_ld, n, rows);
        value_block(vectors, s, rows, n, shrink, o);
    }
    store_results(vectors, o, sum, n_queries, out, out_ld);
#ifdef LSE
    for (int query = 0; query < n_queries; query++) {
        lse[(size_t)query * (size_t)heads] = ((const float *)best)[query] + log(((const float *)sum)[query]);
    }
#endif
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
    if (n_queries > 32) {
        ATTEND(3);
    } else if (n_queries > 16) {
        ATTEND(2);
    } else {
        ATTEND(1);
    }
}
