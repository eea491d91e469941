/* plan.c - the planner; see plan.h. */
#include "runtime/plan.h"

#include <math.h>
#include <stddef.h>

#define MIB (1024.0 * 1024.0)

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

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
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
        largest = max_u64(largest, values[i]);
    }
    return largest;
}

/* What weights take on the device: everything but activations, scratch and vectors. */
static uint64_t placed_bytes(const ivl__plan_request *r, ivl__residency_kind kind)
{
    switch (kind) {
    case IVL__MAPPED: return r->copied_bytes;
    case IVL__RESIDENT: return sum_of(r->stage_bytes, r->n_stages);
    case IVL__STREAM: return IVL__STREAM_SLOTS * largest_of(r->stage_bytes, r->n_stages);
    case IVL__AUTO: break;
    }
    return 0;
}

static uint64_t need(const ivl__plan_request *r, ivl__residency_kind kind, int batch, int sub_batch)
{
    return r->vector_bytes + placed_bytes(r, kind) + r->fixed_scratch +
           (uint64_t)batch * r->image_bytes + (uint64_t)sub_batch * r->scratch_bytes;
}

/* Stages are copied into one buffer each. */
static bool stages_fit(const ivl__plan_request *r)
{
    return largest_of(r->stage_bytes, r->n_stages) <= r->max_alloc;
}

static bool buffers_fit(const ivl__plan_request *r, ivl__residency_kind kind, int batch,
                        int sub_batch)
{
    return (uint64_t)batch * r->image_largest <= r->max_alloc &&
           (uint64_t)sub_batch * r->scratch_largest <= r->max_alloc &&
           r->fixed_largest <= r->max_alloc && (kind == IVL__MAPPED || stages_fit(r));
}

static bool fits(const ivl__plan_request *r, ivl__residency_kind kind, int batch, int sub_batch)
{
    return need(r, kind, batch, sub_batch) <= r->budget && buffers_fit(r, kind, batch, sub_batch);
}

/* ---- residency --------------------------------------------------------------------------- */

static ivl__residency_kind choose(const ivl__plan_request *r)
{
    bool small = r->budget_given && r->budget < sum_of(r->stage_bytes, r->n_stages);

    if (r->unified && !small && fits(r, IVL__MAPPED, 1, 1)) {
        return IVL__MAPPED;
    }
    return fits(r, IVL__RESIDENT, 1, 1) ? IVL__RESIDENT : IVL__STREAM;
}

static uint64_t least_need(const ivl__plan_request *r, ivl__residency_kind kind)
{
    return need(r, kind, 1, 1) - r->fixed_scratch + r->least_scratch;
}

static uint64_t minimum_budget(const ivl__plan_request *r)
{
    uint64_t weights = sum_of(r->stage_bytes, r->n_stages);
    uint64_t minimum = UINT64_MAX;

    if (r->residency != IVL__AUTO) {
        return least_need(r, r->residency);
    }
    if (r->unified) {
        minimum = max_u64(weights, least_need(r, IVL__MAPPED));
    }
    if (stages_fit(r) || !r->unified) {
        minimum = min_u64(minimum, least_need(r, IVL__RESIDENT));
        minimum = min_u64(minimum, least_need(r, IVL__STREAM));
    }
    return minimum;
}

/* ---- batch ------------------------------------------------------------------------------- */

static int usual_batch(const ivl__plan_request *r, ivl__residency_kind kind)
{
    uint64_t weights = sum_of(r->stage_bytes, r->n_stages);

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

static int wanted_batch(const ivl__plan_request *r, ivl__residency_kind kind)
{
    if (r->batch > 0) {
        return r->batch;
    }
    return usual_batch(r, kind) * (r->batch_scale > 0 ? r->batch_scale : 1);
}

/* The largest batch up to the wish that fits with sub-batches of one; one image does. */
static int fitting_batch(const ivl__plan_request *r, ivl__residency_kind kind)
{
    uint64_t batch = (uint64_t)wanted_batch(r, kind);

    if (r->image_bytes) {
        batch = min_u64(batch, (r->budget - need(r, kind, 0, 1)) / r->image_bytes);
    }
    if (r->image_largest) {
        batch = min_u64(batch, r->max_alloc / r->image_largest);
    }
    return (int)batch;
}

/* The largest batch up to the wish, and the largest useful sub-batch, that fit together. Scratch
 * gives way first: it changes how often a kernel is launched, not how often weights move. */
static void choose_batch(const ivl__plan_request *r, ivl__plan *plan)
{
    int rows = IVL__SUB_BATCH_ROWS(r->cpu);
    int tokens = r->tokens > 0 ? r->tokens : 1;
    int sub = (rows + tokens - 1) / tokens;

    if (r->sub_batch > 0) {
        sub = min_int(sub, r->sub_batch);
    }
    plan->batch = fitting_batch(r, plan->residency);
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

/* ---- the plan ---------------------------------------------------------------------------- */

static ivl_status refuse_buffer(const ivl__plan_request *r, ivl__residency_kind kind,
                                ivl_error *error)
{
    uint64_t slot = largest_of(r->stage_bytes, r->n_stages);
    uint64_t picture = max_u64(r->image_largest, r->scratch_largest);

    if (kind != IVL__MAPPED && !stages_fit(r)) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "one stage of the model has %.0f MiB of weights, the device allows "
                         "buffers of %.0f MiB; use %s",
                         (double)slot / MIB, (double)r->max_alloc / MIB,
                         r->unified ? "--residency mapped" : "another --device");
    }
    if (r->fixed_largest > r->max_alloc) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "the matrix products need a scratch buffer of %.0f MiB, the device allows "
                         "%.0f MiB; use another --gemm or another --device",
                         (double)r->fixed_largest / MIB, (double)r->max_alloc / MIB);
    }
    return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                     "one picture of this size needs a buffer of %.0f MiB, the device allows "
                     "%.0f MiB; use smaller pictures or another --device",
                     (double)picture / MIB, (double)r->max_alloc / MIB);
}

static ivl_status refuse(const ivl__plan_request *r, ivl__residency_kind kind, ivl_error *error)
{
    uint64_t least = minimum_budget(r);
    uint64_t stream = least_need(r, IVL__STREAM);

    if (!buffers_fit(r, kind, 1, 1)) {
        return refuse_buffer(r, kind, error);
    }
    if (kind == IVL__RESIDENT && stream < least) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "keeping the model on the device needs %.0f MiB, the budget is %.0f MiB; "
                         "use --residency stream (needs %.0f MiB) or a larger --device-memory",
                         ceil((double)least / MIB), (double)r->budget / MIB,
                         ceil((double)stream / MIB));
    }
    return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                     "the model needs at least %.1f MiB on the device, the budget is %.1f MiB; use "
                     "--device-memory %.0fMiB or more",
                     (double)least / MIB, (double)r->budget / MIB, ceil((double)least / MIB));
}

static void add_up(const ivl__plan_request *r, ivl__plan *p)
{
    uint64_t resident = sum_of(r->stage_bytes, p->resident_stages);

    p->weight_bytes = sum_of(r->stage_bytes, r->n_stages);
    p->resident_bytes = r->vector_bytes + resident;
    if (p->residency == IVL__MAPPED) {
        p->resident_bytes += r->copied_bytes;
    } else if (p->residency == IVL__STREAM) {
        p->slot_bytes = largest_of(r->stage_bytes, r->n_stages);
        p->streamed_per_pass = p->weight_bytes - resident;
    }
    p->activation_bytes = (uint64_t)p->batch * r->image_bytes;
    p->scratch_bytes = (uint64_t)p->sub_batch * r->scratch_bytes + r->fixed_scratch;
    p->peak_bytes = p->resident_bytes + IVL__STREAM_SLOTS * p->slot_bytes + p->activation_bytes +
                    p->scratch_bytes;
}

ivl_status ivl__plan_make(const ivl__plan_request *r, ivl__plan *plan, ivl_error *error)
{
    ivl__plan p = {.residency = r->residency, .minimum_budget = minimum_budget(r)};

    if (p.residency == IVL__MAPPED && !r->unified) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "--residency mapped: this device cannot read host memory in place; use "
                         "resident or stream");
    }
    if (p.residency == IVL__AUTO) {
        p.residency = choose(r);
    }
    if (!fits(r, p.residency, 1, 1)) {
        return refuse(r, p.residency, error);
    }
    choose_batch(r, &p);
    if (p.residency == IVL__RESIDENT) {
        p.resident_stages = r->n_stages;
    } else if (p.residency == IVL__STREAM && r->residency == IVL__AUTO) {
        choose_residents(r, &p);
    }
    add_up(r, &p);
    *plan = p;
    return IVL_OK;
}
