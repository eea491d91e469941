/* residency.h - where the weights of a program's stages are while it runs.
 *
 * Fulfils a plan: MAPPED (views of the file's pages; only tensors misaligned for their element type
 * are copied), RESIDENT (one buffer per stage, copied once), STREAM (leading stages resident, the
 * others uploaded through two slots on a queue of their own, one stage ahead of the computation).
 * A kernel sees no difference: it gets (buffer, offset) per tile in every kind.
 */
#ifndef IVL_RUNTIME_RESIDENCY_H
#define IVL_RUNTIME_RESIDENCY_H

#include "runtime/device.h"
#include "runtime/os.h"
#include "runtime/plan.h"
#include "runtime/tensor.h"

/* One row range of one stored tensor. */
typedef struct ivl__tile_source {
    const unsigned char *data; /* host bytes; in file's map, or memory that outlives the program */
    uint64_t bytes;
    int file;             /* index into the files, -1 for memory outside them */
    uint64_t file_offset; /* of data in that file */
    uint32_t element_bytes;
} ivl__tile_source;

typedef struct ivl__stage_source {
    ivl__tile_source *tiles;
    int n_tiles;
} ivl__stage_source;

/* Device bytes of a stage's tiles when they are copied one behind the other. */
uint64_t ivl__stage_copied_bytes(const ivl__stage_source *stage);
/* Of those, the ones that cannot be mapped in place. */
uint64_t ivl__stage_unmappable_bytes(const ivl__stage_source *stage);
/* Adds a stage's bytes as stored, and those of them that can be read in place. */
void ivl__stage_stored_bytes(const ivl__stage_source *stage, uint64_t *stored, uint64_t *in_place);

struct ivl__residency;
typedef struct ivl__residency ivl__residency;

typedef struct ivl__residency_counts {
    uint64_t bytes_streamed, weight_bytes_read, passes, mapped_bytes;
} ivl__residency_counts;

/* stages and maps are borrowed and must outlive it. */
ivl_status ivl__residency_open(ivl__device *device, const ivl__plan *plan,
                               const ivl__stage_source *stages, int n_stages, const ivl__map *maps,
                               int n_maps, ivl__residency **out, ivl_error *error);
void ivl__residency_close(ivl__residency *residency);
/* Whether another plan for the same stages places them as they are placed. */
bool ivl__residency_serves(const ivl__residency *residency, const ivl__plan *plan);

/* Makes the tiles of `stage` readable for kernels enqueued from now on; spans has room for its
 * tiles. `next` is the stage that will be acquired after it (-1: none): its upload begins now. */
ivl_status ivl__residency_acquire(ivl__residency *residency, int stage, int next, ivl__span *spans,
                                  ivl_error *error);
/* Everything that reads the stage has been enqueued. */
ivl_status ivl__residency_release(ivl__residency *residency, int stage, ivl_error *error);
/* Waits for uploads under way and forgets those nobody acquired; to be called when a run ends, also
 * after an error. */
void ivl__residency_settle(ivl__residency *residency);

void ivl__residency_get_counts(const ivl__residency *residency, ivl__residency_counts *counts);

#endif
