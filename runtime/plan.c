/* plan.c - the planner; see plan.h. */
#include "runtime/plan.h"

#include <stddef.h>

#define MIB (1024.0 * 1024.0)

/* Rows a sub-batch should have: enough to amortise packing a weight panel on a CPU and to fill a
 * GPU, few enough that its scratch stays small. */
#define CPU_ROWS 1024
#define GPU_ROWS 4096

/* Images per pass when the user does not say. Weights that are read in place from memory cost
 * little per pass, so a small batch keeps latency and loss on interruption small; streamed weights
 * want every row they can get. */
#define BATCH_MAPPED   4
#define BATCH_RESIDENT 16
#define BATCH_STREAM   32

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static uint64_t sum_of(const uint64_t *values, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++) {
        sum += values[i];
    }
    return sum;
}

static uint64_t largest_of(const uint64_t *values, int n)
{
    uint64_t largest = 0;

    for (int i = 0; i < n; i++) {
        largest = values[i] > largest ? values[i] : largest;
    }
    return largest;
}

/* What must be on the device before the first image: everything but activations and scratch. */
static uint64_t base_bytes(const ivl__plan_request *r, ivl__residency_kind kind)
{
    uint64_t base = r->vector_bytes + r->fixed_scratch;

    switch (kind) {
    case IVL__MAPPED: return base + r->copied_bytes;
    case IVL__RESIDENT: return base + sum_of(r->stage_bytes, r->n_stages);
    case IVL__STREAM: return base + IVL__STREAM_SLOTS * largest_of(r->stage_bytes, r->n_stages);
    case IVL__AUTO: break;
    }
    return base;
}

static uint64_t need(const ivl__plan_request *r, ivl__residency_kind kind, int batch, int sub_batch)
{
    return base_bytes(r, kind) + (uint64_t)batch * r->image_bytes +
           (uint64_t)sub_batch * r->scratch_bytes;
}

static bool fits(const ivl__plan_request *r, ivl__residency_kind kind, int batch, int sub_batch)
{
    return need(r, kind, batch, sub_batch) <= r->budget &&
           (uint64_t)batch * r->image_largest <= r->max_alloc &&
           (uint64_t)sub_batch * r->scratch_largest <= r->max_alloc;
}

static ivl__residency_kind choose(const ivl__plan_request *r)
{
    if (r->unified && !(r->budget_given && r->budget < sum_of(r->stage_bytes, r->n_stages))) {
        return IVL__MAPPED;
    }
    return fits(r, IVL__RESIDENT, 1, 1) ? IVL__RESIDENT : IVL__STREAM;
}

static int wanted_batch(const ivl__plan_request *r, ivl__residency_kind kind)
{
    uint64_t weights = sum_of(r->stage_bytes, r->n_stages);

    if (r->batch > 0) {
        return r->batch;
    }
    switch (kind) {
    case IVL__MAPPED:
        /* A file that does not stay in memory is read from the disk on every pass. */
        return r->host_memory && weights > r->host_memory / 10 * 8 ? BATCH_STREAM : BATCH_MAPPED;
    case IVL__RESIDENT: return BATCH_RESIDENT;
    case IVL__STREAM:
    case IVL__AUTO: break;
    }
    return BATCH_STREAM;
}

/* The largest batch up to the wish, and the largest useful sub-batch, that fit together. Scratch
 * gives way first: it changes how often a kernel is launched, not how often weights move. */
static void choose_batch(const ivl__plan_request *r, ivl__plan *plan)
{
    int rows = r->cpu ? CPU_ROWS : GPU_ROWS;
    int tokens = r->tokens > 0 ? r->tokens : 1;
    int sub = (rows + tokens - 1) / tokens;

    for (plan->batch = wanted_batch(r, plan->residency); plan->batch > 1; plan->batch--) {
        if (fits(r, plan->residency, plan->batch, 1)) {
            break;
        }
    }
    for (plan->sub_batch = min_int(sub, plan->batch); plan->sub_batch > 1; plan->sub_batch--) {
        if (fits(r, plan->residency, plan->batch, plan->sub_batch)) {
            break;
        }
    }
}

/* Stages that stay, for AUTO: what is left of the budget after slots and activations. */
static void choose_residents(const ivl__plan_request *r, ivl__plan *plan)
{
    uint64_t used = need(r, IVL__STREAM, plan->batch, plan->sub_batch);

    while (plan->resident_stages < r->n_stages &&
           used + r->stage_bytes[plan->resident_stages] <= r->budget) {
        used += r->stage_bytes[plan->resident_stages++];
    }
}

static ivl_status refuse(const ivl__plan_request *r, ivl__residency_kind kind, uint64_t minimum,
                         ivl_error *error)
{
    uint64_t least = need(r, kind, 1, 1);
    uint64_t slot = largest_of(r->stage_bytes, r->n_stages);

    if (slot > r->max_alloc && kind != IVL__MAPPED) {
        return ivl__fail(
            error, IVL_OUT_OF_DEVICE_MEMORY,
            "one stage of the model has %.0f MiB of weights, the device allows buffers "
            "of %.0f MiB; use another --device",
            (double)slot / MIB, (double)r->max_alloc / MIB);
    }
    if (kind == IVL__RESIDENT && minimum < least) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "keeping the model on the device needs %.0f MiB, the budget is %.0f MiB; "
                         "use --residency stream (needs %.0f MiB) or a larger --device-memory",
                         (double)least / MIB, (double)r->budget / MIB, (double)minimum / MIB);
    }
    return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                     "the model needs at least %.0f MiB on the device, the budget is %.0f MiB; use "
                     "--device-memory %.0fMiB or more",
                     (double)least / MIB + 0.5, (double)r->budget / MIB, (double)least / MIB + 1.0);
}

ivl_status ivl__plan_make(const ivl__plan_request *r, ivl__plan *plan, ivl_error *error)
{
    uint64_t slot = largest_of(r->stage_bytes, r->n_stages);
    uint64_t stream_least = need(r, IVL__STREAM, 1, 1);
    uint64_t mapped_least = need(r, IVL__MAPPED, 1, 1);
    ivl__plan p = {.residency = r->residency};

    p.weight_bytes = sum_of(r->stage_bytes, r->n_stages);
    p.minimum_budget = r->unified && mapped_least < stream_least ? mapped_least : stream_least;
    if (p.residency == IVL__MAPPED && !r->unified) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "--residency mapped: this device cannot read host memory in place; use "
                         "resident or stream");
    }
    if (p.residency == IVL__AUTO) {
        p.residency = choose(r);
    }
    if (!fits(r, p.residency, 1, 1) || (p.residency != IVL__MAPPED && slot > r->max_alloc)) {
        return refuse(r, p.residency, p.minimum_budget, error);
    }
    choose_batch(r, &p);
    if (p.residency == IVL__STREAM) {
        p.slot_bytes = slot;
        if (r->residency == IVL__AUTO) {
            choose_residents(r, &p);
        }
    } else if (p.residency == IVL__RESIDENT) {
        p.resident_stages = r->n_stages;
    }
    p.resident_bytes = r->vector_bytes + sum_of(r->stage_bytes, p.resident_stages) +
                       (p.residency == IVL__MAPPED ? r->copied_bytes : 0);
    p.streamed_per_pass = p.residency == IVL__STREAM
                              ? p.weight_bytes - sum_of(r->stage_bytes, p.resident_stages)
                              : 0;
    p.activation_bytes = (uint64_t)p.batch * r->image_bytes;
    p.scratch_bytes = (uint64_t)p.sub_batch * r->scratch_bytes + r->fixed_scratch;
    p.peak_bytes = p.resident_bytes + IVL__STREAM_SLOTS * p.slot_bytes + p.activation_bytes +
                   p.scratch_bytes;
    *plan = p;
    return IVL_OK;
}
