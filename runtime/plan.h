/* plan.h - the weight tiler's planner: what stays on the device, what streams, how many rows at
 * once.
 *
 * A pure function of sizes, limits and wishes: no device is asked, nothing is allocated. Stages are
 * run in order, once per batch ("stage-outer, batch-inner": one pass over the weights serves the
 * whole batch); inside a stage the batch is worked off in sub-batches that share the scratch.
 */
#ifndef IVL_RUNTIME_PLAN_H
#define IVL_RUNTIME_PLAN_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum ivl__residency_kind {
    IVL__AUTO = 0,
    IVL__MAPPED = 1,
    IVL__RESIDENT = 2,
    IVL__STREAM = 3
} ivl__residency_kind;

#define IVL__STREAM_SLOTS 2

/* Rows a sub-batch should have: enough to amortise packing a weight panel on a CPU and to fill a
 * GPU, few enough that its scratch stays small. */
#define IVL__SUB_BATCH_ROWS(cpu) ((cpu) ? 1024 : 4096)

typedef struct ivl__plan_request {
    /* The program. */
    const uint64_t *stage_bytes; /* [n_stages] device bytes of a stage's tiles when copied */
    int n_stages;
    uint64_t vector_bytes;  /* kept on the device whatever happens (norms, biases, tables) */
    uint64_t copied_bytes;  /* mapped: tensors that cannot be read in place, copied instead */
    uint64_t image_bytes;   /* per image of the batch: residual rows, pixels */
    uint64_t image_largest; /* the largest single buffer of those, per image */
    uint64_t scratch_bytes; /* per image of a sub-batch */
    uint64_t scratch_largest;
    uint64_t fixed_scratch; /* whatever the sub-batch, as long as it is at most `sub_batch` */
    uint64_t fixed_largest; /* the largest single buffer of that */
    uint64_t least_scratch; /* the same for sub-batches of one, for minimum_budget */
    int tokens;             /* rows of one image */
    /* The wishes. */
    ivl__residency_kind residency;
    int batch;       /* 0: chosen here */
    int batch_scale; /* items that count as one in a batch chosen here; 0: 1 */
    int sub_batch;   /* the largest; 0: chosen here */
    /* The device. */
    bool cpu, unified;
    bool budget_given; /* by the user: then AUTO respects it even where mapping is possible */
    uint64_t budget, max_alloc;
    uint64_t host_memory; /* physical, 0 unknown */
} ivl__plan_request;

typedef struct ivl__plan {
    ivl__residency_kind residency; /* never IVL__AUTO */
    int batch, sub_batch;
    int resident_stages;       /* RESIDENT: all; STREAM: the first few; MAPPED: 0 */
    uint64_t weight_bytes;     /* of all stages */
    uint64_t resident_bytes;   /* vectors, copied tensors and resident stages */
    uint64_t slot_bytes;       /* of one slot */
    uint64_t activation_bytes; /* of the batch */
    uint64_t scratch_bytes;    /* of a sub-batch */
    uint64_t peak_bytes;
    uint64_t streamed_per_pass;
    uint64_t minimum_budget; /* the smallest budget_given that works with this residency wish */
} ivl__plan;

/* AUTO: mapped where the device reads host memory in place, unless the user's budget is smaller
 * than the weights; else resident; else streamed through slots, as many leading stages resident as
 * fit. Wishes for batch and sub-batch are upper bounds; whatever works with a budget works with a
 * larger.
 *
 * IVL_OUT_OF_DEVICE_MEMORY with the smallest possible budget where nothing fits; IVL_UNSUPPORTED
 * for mapped weights on a device that cannot read host memory in place. */
ivl_status ivl__plan_make(const ivl__plan_request *request, ivl__plan *plan, ivl_error *error);

#endif
