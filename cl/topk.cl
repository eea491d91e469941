/* topk.cl - the k best scores of each query, kept while chunks of scores go by.
 *
 * scores [queries, rows] fp32, rows scores_ld apart: those of the index rows first_row, first_row + 1, ...
 * best [queries, parts, k] ulong: part p of a query sees columns p * part .. of every chunk and keeps its own k
 * best. An entry is a key: the score as an unsigned number that grows with it, above the row's complement; so
 * keys are distinct, and of equal scores the lower row is the greater key. What is kept is a set of the greatest
 * keys: it depends neither on chunks nor on parts nor on the kernel. NONE is an entry nobody has taken yet. A NaN
 * never gets in; -0 counts as 0. No rounding: the result is exact.
 *
 *   topk_heap   an item (local size 1) per part: a heap in global memory, its least key at the root. Any k. The part
 *               of a chunk has at most 16 * 65,535 columns.
 *   topk_group  GROUP items per part: entries sorted downwards; what beats the k-th goes to a pool in local memory
 *               of `size` >= k + 4 * GROUP keys, a power of two, which is sorted when it is full. 8 bytes a key.
 *
 * Grid: (parts, queries) groups. Offsets count elements. Test: tests/op/test_topk.c.
 */
#ifndef GROUP
#define GROUP 256
#endif
#define EACH  4 /* columns of an item between two looks at the pool */
#define STRIP (GROUP * EACH)
#define NONE  0x007fffff00000000UL /* minus infinity, of no row */

static ulong key_of(float score, uint row)
{
    const uint bits = as_uint(score) == 0x80000000u ? 0u : as_uint(score);
    const uint ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;

    return (ulong)ordered << 32 | (ulong)~row;
}

static float score_of(ulong key)
{
    const uint ordered = (uint)(key >> 32);

    return as_float(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

/* ---- heap ----------------------------------------------------------------------------------- */

static void replace_least(__global ulong *heap, int k, ulong key)
{
    int at = 0;

    for (int child = 1; child < k; child = 2 * at + 1) {
        if (child + 1 < k && heap[child + 1] < heap[child]) {
            child++;
        }
        if (heap[child] >= key) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

/* The columns begin .. end - 1, one by one; the answer is the score of the heap's least key. */
static float offer(const __global float *scores, int begin, int end, uint first_row,
                   __global ulong *heap, int k)
{
    for (int i = begin; i < end; i++) {
        const ulong key = key_of(scores[i], first_row + (uint)i);

        if (key > heap[0] && !isnan(scores[i])) {
            replace_least(heap, k, key);
        }
    }
    return score_of(heap[0]);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
topk_heap(int rows, uint first_row, const __global float *scores, ulong scores_at, int scores_ld,
          __global ulong *best, ulong best_at, int k, int part)
{
    const size_t query = get_global_id(1);
    const int begin = (int)get_global_id(0) * part;
    const int end = min(begin + part, rows);
    int i = begin;

    scores += scores_at + query * (size_t)scores_ld;
    best += best_at + (query * get_global_size(0) + get_global_id(0)) * (size_t)k;
    float bar = score_of(best[0]);
    for (; i + 16 <= end; i += 16) {
        if (any(vload16(0, scores + i) >= (float16)(bar))) {
            bar = offer(scores, i, i + 16, first_row, best, k);
        }
    }
    offer(scores, i, end, first_row, best, k);
}

/* ---- group ---------------------------------------------------------------------------------- */

/* Bitonic, downwards. Begins and ends with a barrier. */
static void sort_pool(__local ulong *pool, int size)
{
    for (int width = 2; width <= size; width *= 2) {
        for (int step = width / 2; step > 0; step /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = (int)get_local_id(0); i < size / 2; i += GROUP) {
                const int a = 2 * i - (i & (step - 1));
                const ulong left = pool[a];
                const ulong right = pool[a + step];

                if ((left < right) == ((a & width) == 0)) {
                    pool[a] = right;
                    pool[a + step] = left;
                }
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
topk_group(int rows, uint first_row, const __global float *scores, ulong scores_at, int scores_ld,
           __global ulong *best, ulong best_at, int k, int part, __local ulong *pool, int size)
{
    const size_t query = get_group_id(1);
    const int item = (int)get_local_id(0);
    const int begin = (int)get_group_id(0) * part;
    const int end = min(begin + part, rows);
    __local int used;

    scores += scores_at + query * (size_t)scores_ld;
    best += best_at + (query * get_num_groups(0) + get_group_id(0)) * (size_t)k;
    for (int i = item; i < size; i += GROUP) {
        pool[i] = i < k ? best[i] : NONE;
    }
    if (item == 0) {
        used = k;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    ulong bar = pool[k - 1];
    for (int at = begin; at < end; at += STRIP) {
        const int filled = used;

        barrier(CLK_LOCAL_MEM_FENCE); /* nobody counts on before all have read */
        if (filled > size - STRIP) {
            sort_pool(pool, size);
            bar = pool[k - 1];
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = k + item; i < size; i += GROUP) {
                pool[i] = NONE;
            }
            if (item == 0) {
                used = k;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        for (int e = 0; e < EACH; e++) {
            const int i = at + e * GROUP + item;

            if (i < end) {
                const float score = scores[i];
                const ulong key = key_of(score, first_row + (uint)i);

                if (key > bar && !isnan(score)) {
                    pool[atomic_inc(&used)] = key;
                }
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    /* Nothing new: nothing to sort. (Around this one a condition breaks PoCL's work-item loops.) */
    sort_pool(pool, used > k ? size : 1);
    for (int i = item; i < k; i += GROUP) {
        best[i] = pool[i];
    }
}
