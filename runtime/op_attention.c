/* op_attention.c - launcher of the attention kernels, cl/attention_*.cl.
 *
 * A variant is chosen by device, head size and precision only, never by the number of rows: a row's
 * bits must not depend on what else is in the call.
 */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <stdio.h>
#include <string.h>

#define MAX_HEAD_DIM 256
#define KEY_BLOCK    64 /* keys a turn; KEYS of cl/attention.h */

typedef struct attention_variant {
    const char *name, *file, *kernel;
    const char *defines;
    size_t queries; /* per work-group */
    int columns;    /* of the result per work-group, 0: a whole head */
    size_t items;
    size_t local_bytes;
} attention_variant;

enum { VARIANT_CPU, VARIANT_CPU_BF16, VARIANT_LOCAL, VARIANT_PLAIN, N_VARIANTS };

static const attention_variant variants[N_VARIANTS] = {
    {"cpu", "attention_cpu.cl", "attention_cpu", "", 48, 0, 1, 0},
    {"cpu-bf16", "attention_cpu.cl", "attention_cpu", " -DBF16_DOT=1", 48, 0, 1, 0},
    {"local", "attention_local.cl", "attention_local", "", 64, 64, 256, 29000},
    {"plain", "attention_plain.cl", "attention_plain", "", 1, 0, 64, 2048},
};

static bool fits(const ivl__device *device, const attention_variant *variant)
{
    return variant->items <= device->caps.max_work_group &&
           variant->local_bytes <= device->caps.local_mem;
}

static ivl_status choose_variant(const ivl__device *device, const char *name, int32_t head_dim,
                                 bool fast, const attention_variant **out, ivl_error *error)
{
    bool local_head = head_dim == 64 || head_dim == 128;
    int chosen = N_VARIANTS;

    if (name) {
        for (chosen = 0; chosen < N_VARIANTS && strcmp(variants[chosen].name, name) != 0;) {
            chosen++;
        }
    } else if (device->caps.cpu) {
        chosen = fast && device->caps.x86_bf16_dot && device->caps.x86_dot_pays ? VARIANT_CPU_BF16
                                                                                : VARIANT_CPU;
    } else {
        chosen = local_head && fits(device, &variants[VARIANT_LOCAL]) ? VARIANT_LOCAL
                                                                      : VARIANT_PLAIN;
    }
    if (chosen == N_VARIANTS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "attention: no variant '%s' (cpu, cpu-bf16, local, plain)", name);
    }
    if ((chosen == VARIANT_CPU || chosen == VARIANT_CPU_BF16) && !device->caps.cpu) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "attention: variant '%s' is made for CPUs, not for %s", name,
                         device->info.name);
    }
    if (chosen == VARIANT_CPU_BF16 && !device->caps.x86_bf16_dot) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "attention: variant 'cpu-bf16' needs vdpbf16ps, which %s has not",
                         device->info.name);
    }
    if (chosen == VARIANT_LOCAL && !local_head) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "attention: variant 'local' takes heads of 64 or 128, not %d", head_dim);
    }
    if (name && !fits(device, &variants[chosen])) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "attention: variant '%s' needs %zu work-items and %zu bytes of local "
                         "memory, the device has %zu and %llu",
                         name, variants[chosen].items, variants[chosen].local_bytes,
                         device->caps.max_work_group, (unsigned long long)device->caps.local_mem);
    }
    *out = &variants[chosen];
    return IVL_OK;
}

ivl_status ivl__op_attention_check(const ivl__device *device, const char *variant, int32_t head_dim,
                                   ivl_error *error)
{
    const attention_variant *chosen;

    return choose_variant(device, variant, head_dim, false, &chosen, error);
}

static ivl_status check_shape(const ivl__attention_call *call, ivl_error *error)
{
    int64_t width = (int64_t)call->heads * call->head_dim;
    int64_t kv_width = (int64_t)call->kv_heads * call->head_dim;

    if (call->sequences < 0 || call->max_queries < 0 || call->heads < 1 || call->kv_heads < 1 ||
        call->kv_heads > call->heads || call->heads % call->kv_heads || call->head_dim < 1) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "attention: %d sequences, %d heads on %d key heads of %d columns",
                         call->sequences, call->heads, call->kv_heads, call->head_dim);
    }
    if (call->head_dim > MAX_HEAD_DIM) {
        return ivl__fail(error, IVL_UNSUPPORTED, "attention: heads of %d columns; up to %d work",
                         call->head_dim, MAX_HEAD_DIM);
    }
    if (call->max_keys > KEY_BLOCK * IVL__MAX_TURNS) {
        return ivl__fail(error, IVL_UNSUPPORTED, "attention: %d keys; up to %d work",
                         call->max_keys, KEY_BLOCK * IVL__MAX_TURNS);
    }
    if (call->q_ld < width || call->k_ld < kv_width || call->v_ld < kv_width ||
        call->out_ld < width) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "attention: rows %d, %d, %d, %d apart are shorter than %d heads of %d",
                         call->q_ld, call->k_ld, call->v_ld, call->out_ld, call->heads,
                         call->head_dim);
    }
    if ((call->mask != IVL__MASK_NONE && call->mask != IVL__MASK_CAUSAL &&
         call->mask != IVL__MASK_PREFIX) ||
        call->query_position < 0 || call->prefix < 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "attention: mask %d, prefix %d, first query at position %d",
                         (int)call->mask, call->prefix, call->query_position);
    }
    return IVL_OK;
}

static ivl_status check_operands(const ivl__attention_call *call, ivl_error *error)
{
    const ivl__span q_offsets = {call->q_offsets, 0};
    const ivl__span kv_offsets = {call->kv_offsets, 0};
    ivl_status status = ivl__op_check_type("attention", call->out_type, error);

    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "q", call->q, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "k", call->k, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "v", call->v, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "out", call->out, ivl__dtype_bytes(call->out_type),
                                    error);
    }
    if (status == IVL_OK && call->lse.mem) {
        status = ivl__op_check_span("attention", "lse", call->lse, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "q_offsets", q_offsets, sizeof(cl_int), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("attention", "kv_offsets", kv_offsets, sizeof(cl_int), error);
    }
    return status;
}

ivl_status ivl__op_attention(ivl__device *device, const ivl__attention_call *call,
                             const char *variant, ivl_error *error)
{
    const attention_variant *chosen = NULL;
    ivl__span lse = call->lse.mem ? call->lse : call->out; /* not touched without -DLSE */
    size_t groups[3], items[3];
    char defines[80];
    ivl__kernel *kernel;
    ivl_status status = check_shape(call, error);

    if (status == IVL_OK) {
        status = check_operands(call, error);
    }
    if (status == IVL_OK) {
        status = choose_variant(device, variant, call->head_dim, call->fast, &chosen, error);
    }
    if (status != IVL_OK || call->max_queries == 0 || call->sequences == 0) {
        return status;
    }
    snprintf(defines, sizeof defines, "-DHEAD_DIM=%d -DOUT_TYPE=%d%s%s", call->head_dim,
             (int)call->out_type, chosen->defines, call->lse.mem ? " -DLSE" : "");
    status = ivl__kernel_get(device, chosen->file, defines, chosen->kernel, &kernel, error);
    if (status != IVL_OK) {
        return status;
    }
    groups[0] = ivl__ceil_div((size_t)call->max_queries, chosen->queries);
    groups[1] = (size_t)call->heads *
                (chosen->columns ? (size_t)(call->head_dim / chosen->columns) : 1);
    groups[2] = (size_t)call->sequences;
    items[0] = chosen->items;
    items[1] = items[2] = 1;
    return IVL__LAUNCH(
        device, kernel, 3, groups, items, error, IVL__ARG_F32(call->q), ivl__arg_int(call->q_ld),
        IVL__ARG_F32(call->k), ivl__arg_int(call->k_ld), IVL__ARG_F32(call->v),
        ivl__arg_int(call->v_ld), ivl__arg_mem(call->out.mem),
        ivl__arg_at(call->out, ivl__dtype_bytes(call->out_type)), ivl__arg_int(call->out_ld),
        ivl__arg_mem(lse.mem), ivl__arg_at(lse, sizeof(float)), ivl__arg_mem(call->q_offsets),
        ivl__arg_mem(call->kv_offsets), ivl__arg_int(call->heads), ivl__arg_int(call->kv_heads),
        ivl__arg_float(call->scale), ivl__arg_int((int32_t)call->mask), ivl__arg_int(call->prefix),
        ivl__arg_int(call->query_position));
}
