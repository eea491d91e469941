/* attention_plain.cl - softmax(scale q k^T) v for any head, one work-group of 64 per query and head.
 *
 * -DHEAD_DIM=1..256; arguments and masks: attention.h. Groups: x query, y head, z sequence. Local memory:
 * HEAD_DIM + 128 floats. Meant for few queries (attention pooling, 200 or 256 wide) and as the fallback of
 * the faster kernels: an item computes the score of one key of a block, then up to 4 columns of the result.
 * Error: tests/op/test_attention.c derives a bound per call from the partial sums; typically 2e-7 of max|v|.
 */
#include "attention.h"

#define ITEMS   64
#define COLUMNS ((HEAD_DIM + ITEMS - 1) / ITEMS)

static inline float group_max(__local float *partial, float value)
{
    const int item = (int)get_local_id(0);
    partial[item] = value;
    for (int n = ITEMS / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < n) {
            partial[item] = fmax(partial[item], partial[item + n]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float result = partial[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return result;
}

static inline float group_sum(__local float *partial, float value)
{
    const int item = (int)get_local_id(0);
    partial[item] = value;
    for (int n = ITEMS / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < n) {
            partial[item] += partial[item + n];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float result = partial[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return result;
}

__kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void attention_plain(ATTENTION_ARGS)
{
    __local float query[HEAD_DIM];
    __local float weight[ITEMS];
    __local float partial[ITEMS];
    const int item = (int)get_local_id(0);
    const int row = (int)get_group_id(0);
    const int head = (int)get_group_id(1);
    const int kv_head = head * kv_heads / heads;
    const int sequence = (int)get_group_id(2);
    const int first_query = q_offsets[sequence];
    const int first_key = kv_offsets[sequence];
    if (row >= q_offsets[sequence + 1] - first_query) {
        return;
    }
    const int n = visible_keys(mask, prefix, query_position, row, kv_offsets[sequence + 1] - first_key);
    const size_t q_row = (size_t)(first_query + row);
    q += q_at + q_row * (size_t)q_ld + (size_t)(head * HEAD_DIM);
    k += k_at + (size_t)first_key * (size_t)k_ld + (size_t)(kv_head * HEAD_DIM);
    v += v_at + (size_t)first_key * (size_t)v_ld + (size_t)(kv_head * HEAD_DIM);
    out += out_at + q_row * (size_t)out_ld + (size_t)(head * HEAD_DIM);

    float acc[COLUMNS];
    float best = LOWEST;
    float sum = 0.0f;
    for (int c = 0; c < COLUMNS; c++) {
        acc[c] = 0.0f;
    }
    for (int d = item; d < HEAD_DIM; d += ITEMS) {
        query[d] = q[d] * scale;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int block = 0; block < n; block += KEYS) {
        const int key = block + item;
        const int n_block = min(KEYS, n - block);
        float score = key < n ? 0.0f : LOWEST;
        if (key < n) {
            __global const float *k_row = k + (size_t)key * (size_t)k_ld;
            for (int d = 0; d < HEAD_DIM; d++) {
                score = fma(query[d], k_row[d], score);
            }
        }
        const float new_best = fmax(best, group_max(partial, score));
        const float shrink = exp_1(best - new_best);
        const float p = key < n ? exp_1(score - new_best) : 0.0f;
        weight[item] = p;
        sum = fma(sum, shrink, group_sum(partial, p));
        best = new_best;
        for (int c = 0; c < COLUMNS; c++) {
            const int d = item + c * ITEMS;
            if (d < HEAD_DIM) {
                float a = acc[c] * shrink;
                for (int j = 0; j < n_block; j++) {
                    a = fma(weight[j], v[(size_t)(block + j) * (size_t)v_ld + (size_t)d], a);
                }
                acc[c] = a;
            }
        }
        /* The next block writes `weight` after group_max, whose barriers lie between. */
    }
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    for (int c = 0; c < COLUMNS; c++) {
        const int d = item + c * ITEMS;
        if (d < HEAD_DIM) {
            STORE(out, d, acc[c] * inverse);
        }
    }
#ifdef LSE
    if (item == 0) {
        lse[lse_at + q_row * (size_t)heads + (size_t)head] = best + log(sum);
    }
#endif
}
