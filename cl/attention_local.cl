/* attention_local.cl - softmax(scale q k^T) v for GPUs: 64 queries x 64 keys at a time, local memory.
 *
 * -DHEAD_DIM=64 or 128; arguments and masks: attention.h. Groups: x block of 64 queries, y head and
 * 64 of its columns, z sequence;
 * 16 x 16 work-items (one dimension, 256). Local memory: 28.3 KB, below the 32 KB that OpenCL 1.2 promises.
 *
 * An item owns 4 queries x 4 keys of the scores and 4 queries x 4 columns of the result, in
 * registers: no compiler of a GPU spills any (tests/ci/offline_compile.sh). Heads of 128 take two groups, each
 * with 64 columns of the result and all of the scores; 32 sums an item were too many for some. Q and K pass through local memory 16 columns at a time, V 16 keys at a time. Scores lie
 * transposed, [key][query], so that both products read 4 queries at once; for the softmax 4 items share a
 * query. Online softmax: running maximum and sum per query, results rescaled once per block of keys; keys that
 * none of the queries sees are not read.
 * Every score is one chain of fma over the columns, every result one over the keys (attention.h).
 * Error: as attention_plain.cl. Test: tests/op/test_attention.c.
 */
#include "attention.h"

#define ITEMS   256
#define QUERIES 64
#define COLUMNS 64                   /* of the result, a work-group */
#define PARTS   (HEAD_DIM / COLUMNS) /* work-groups a head and block of queries */
#define STEP    16            /* columns of Q and K, or keys of V, in local memory at a time */
#define LD4     (QUERIES / 4 + 1) /* float4 per row of a transposed tile, one for the banks */

/* Loads STEP columns from `column` on of 64 rows, transposed: tile[column][row]. Rows from n on are zero. */
static inline void load_transposed(__local float *tile, __global const float *rows, int ld, int n, int column,
                                   float factor)
{
    const int item = (int)get_local_id(0);
    const int row = item / 4;
    const int d = item % 4 * 4;
    float4 x = 0.0f;
    if (row < n) {
        x = vload4(0, rows + (size_t)row * (size_t)ld + (size_t)(column + d)) * factor;
    }
    tile[(d + 0) * LD4 * 4 + row] = x.x;
    tile[(d + 1) * LD4 * 4 + row] = x.y;
    tile[(d + 2) * LD4 * 4 + row] = x.z;
    tile[(d + 3) * LD4 * 4 + row] = x.w;
}

/* Loads STEP rows of V from `key` on; rows from n on are zero. */
static inline void load_values(__local float4 *tile, __global const float *v, int ld, int n, int key)
{
    for (int i = (int)get_local_id(0); i < STEP * COLUMNS / 4; i += ITEMS) {
        const int row = key + i / (COLUMNS / 4);
        tile[i] = row < n ? vload4(0, v + (size_t)row * (size_t)ld + (size_t)(i % (COLUMNS / 4) * 4))
                          : (float4)(0.0f);
    }
}

/* One row of results, where it is one of the matrix. */
static inline void store_columns(__global OUT *row, float4 x, int tx, bool there)
{
    if (!there) {
        return;
    }
    STORE4(row + tx * 4, x);
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void attention_local(ATTENTION_ARGS)
{
    /* Q and K, then V: never at the same time. */
    __local float4 arena[2 * STEP * LD4];
    __local float4 weights[KEYS * LD4]; /* [key][query] */
    __local float maxima[4 * QUERIES];
    __local float sums[4 * QUERIES];
    __local float4 factors[QUERIES / 4];
    __local float4 *tile_q = arena;
    __local float4 *tile_k = arena + STEP * LD4;
    const int item = (int)get_local_id(0);
    const int tx = item % 16;
    const int ty = item / 16;
    const int head = (int)get_group_id(1) / PARTS;
    const int part = (int)get_group_id(1) % PARTS;
    const int kv_head = head * kv_heads / heads;
    const int sequence = (int)get_group_id(2);
    const int first_key = kv_offsets[sequence];
    const int n_keys = kv_offsets[sequence + 1] - first_key;
    const int first = (int)get_group_id(0) * QUERIES;
    const int n_queries = min(q_offsets[sequence + 1] - q_offsets[sequence] - first, QUERIES);
    if (n_queries <= 0) {
        return;
    }
    const size_t q_row = (size_t)(q_offsets[sequence] + first);
    q += q_at + q_row * (size_t)q_ld + (size_t)(head * HEAD_DIM);
    k += k_at + (size_t)first_key * (size_t)k_ld + (size_t)(kv_head * HEAD_DIM);
    v += v_at + (size_t)first_key * (size_t)v_ld + (size_t)(kv_head * HEAD_DIM + part * COLUMNS);
    out += out_at + q_row * (size_t)out_ld + (size_t)(head * HEAD_DIM + part * COLUMNS);

    /* For the softmax: item = (quarter of the block's keys, query). */
    const int row = item % QUERIES;
    const int quarter = item / QUERIES;
    const int n = visible_keys(mask, prefix, query_position, first + min(row, n_queries - 1), n_keys);
    const int n_most = visible_keys(mask, prefix, query_position, first + n_queries - 1, n_keys);
    float best = LOWEST;
    float sum = 0.0f;
    float4 r0 = 0.0f, r1 = 0.0f, r2 = 0.0f, r3 = 0.0f; /* a query each */

    for (int block = 0; block < n_most; block += KEYS) {
        float4 s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f; /* a query each, 4 keys */
#pragma unroll 1 /* more only costs registers: the inner loop is long enough */
        for (int column = 0; column < HEAD_DIM; column += STEP) {
            barrier(CLK_LOCAL_MEM_FENCE);
            load_transposed((__local float *)tile_q, q, q_ld, n_queries, column, scale);
            load_transposed((__local float *)tile_k, k + (size_t)block * (size_t)k_ld, k_ld, n_most - block,
                            column, 1.0f);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int d = 0; d < STEP; d++) {
                const float4 a = tile_q[d * LD4 + ty];
                const float4 b = tile_k[d * LD4 + tx];
                s0 = fma((float4)(a.x), b, s0);
                s1 = fma((float4)(a.y), b, s1);
                s2 = fma((float4)(a.z), b, s2);
                s3 = fma((float4)(a.w), b, s3);
            }
        }
        weights[(tx * 4 + 0) * LD4 + ty] = (float4)(s0.x, s1.x, s2.x, s3.x);
        weights[(tx * 4 + 1) * LD4 + ty] = (float4)(s0.y, s1.y, s2.y, s3.y);
        weights[(tx * 4 + 2) * LD4 + ty] = (float4)(s0.z, s1.z, s2.z, s3.z);
        weights[(tx * 4 + 3) * LD4 + ty] = (float4)(s0.w, s1.w, s2.w, s3.w);
        barrier(CLK_LOCAL_MEM_FENCE);

        __local float *mine = (__local float *)weights + quarter * (KEYS / 4) * LD4 * 4 + row;
        const int n_mine = n - block - quarter * (KEYS / 4);
        float most = LOWEST;
        for (int j = 0; j < KEYS / 4; j++) {
            most = j < n_mine ? fmax(most, mine[j * LD4 * 4]) : most;
        }
        maxima[item] = most;
        barrier(CLK_LOCAL_MEM_FENCE);
        const float new_best = fmax(best, fmax(fmax(maxima[row], maxima[row + QUERIES]),
                                               fmax(maxima[row + 2 * QUERIES], maxima[row + 3 * QUERIES])));
        const float shrink = exp_1(best - new_best);
        float part = 0.0f;
        for (int j = 0; j < KEYS / 4; j++) {
            const float p = j < n_mine ? exp_1(mine[j * LD4 * 4] - new_best) : 0.0f;
            mine[j * LD4 * 4] = p;
            part += p;
        }
        sums[item] = part;
        if (quarter == 0) {
            ((__local float *)factors)[row] = shrink;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        sum = fma(sum, shrink,
                  (sums[row] + sums[row + QUERIES]) + (sums[row + 2 * QUERIES] + sums[row + 3 * QUERIES]));
        best = new_best;

        const float4 f = factors[ty];
        r0 *= f.x;
        r1 *= f.y;
        r2 *= f.z;
        r3 *= f.w;
        const int n_block = min(KEYS, n_most - block);
#pragma unroll 1
        for (int key = 0; key < n_block; key += STEP) {
            barrier(CLK_LOCAL_MEM_FENCE);
            load_values(arena, v, v_ld, n_most, block + key);
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int j = 0; j < STEP; j++) {
                const float4 p = weights[(key + j) * LD4 + ty];
                const float4 x = arena[j * (COLUMNS / 4) + tx];
                r0 = fma((float4)(p.x), x, r0);
                r1 = fma((float4)(p.y), x, r1);
                r2 = fma((float4)(p.z), x, r2);
                r3 = fma((float4)(p.w), x, r3);
            }
        }
    }

    barrier(CLK_LOCAL_MEM_FENCE);
    if (quarter == 0) {
        ((__local float *)factors)[row] = sum == 0.0f ? 0.0f : 1.0f / sum;
#ifdef LSE
        if (part == 0 && row < n_queries) {
            lse[lse_at + (q_row + (size_t)row) * (size_t)heads + (size_t)head] = best + log(sum);
        }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float4 f = factors[ty];
    out += (size_t)(ty * 4) * (size_t)out_ld;
    const int n_left = n_queries - ty * 4;
    store_columns(out, r0 * f.x, tx, n_left > 0);
    store_columns(out + out_ld, r1 * f.y, tx, n_left > 1);
    store_columns(out + 2 * (size_t)out_ld, r2 * f.z, tx, n_left > 2);
    store_columns(out + 3 * (size_t)out_ld, r3 * f.w, tx, n_left > 3);
}
