/* attention.h - what the attention kernels share: arguments, mask, layouts.
 *
 * Rows are packed: sequence s has the query rows q_offsets[s] .. q_offsets[s + 1] - 1 and the key rows
 * kv_offsets[s] .. kv_offsets[s + 1] - 1. Head h lies in the columns h * HEAD_DIM .. of a row of q and out,
 * kv head h * kv_heads / heads in those of k and v; rows are *_ld elements apart, *_at is the first element.
 * q, k, v fp32; out of OUT_TYPE (act.h); -DLSE: lse [queries, heads] fp32 gets the log-sum-exp.
 *
 * Every mask is a number of visible keys, counted from the sequence's first: key j is seen by query i when
 * j < visible(i). The scores are blocked by keys, 64 at a time from the first key of the sequence on, and a
 * masked key has the weight 0 exactly: a row's result depends on its own query and keys only.
 */
#include "act.h"
#include "exp.h"

#define KEYS 64 /* keys of a block */

/* Below every score, finite: infinities are left to the data. */
#define LOWEST (-1e30f)

#define ATTENTION_ARGS                                                                                    \
    __global const float *q, ulong q_at, int q_ld, __global const float *k, ulong k_at, int k_ld,         \
        __global const float *v, ulong v_at, int v_ld, __global OUT *out, ulong out_at, int out_ld,       \
        __global float *lse, ulong lse_at, __global const int *q_offsets, __global const int *kv_offsets, \
        int heads, int kv_heads, float scale, int mask, int prefix, int query_position

/* mask: 0 none, 1 causal, 2 prefix (ivl__mask_kind). */
static inline int visible_keys(int mask, int prefix, int query_position, int query, int n_keys)
{
    const int position = query + query_position;
    const int causal = mask == 2 && position < prefix ? prefix : position + 1;
    return mask == 0 ? n_keys : min(causal, n_keys);
}
