/* tuning.h - `--gemm auto`: measures who computes which weight matrix, once per device and driver.
 *
 * Candidates on GPUs are CLBlast and the shipped parameter sets of `tile`, on CPUs `cpu` alone;
 * with one candidate there is nothing to measure. Each is tried on the model's own matrices: first
 * its numbers, against sums in double precision, then its speed. What is slower than twice the
 * leader after one probe is dropped. A choice is never a matter of the number of rows.
 */
#ifndef IVL_RUNTIME_TUNING_H
#define IVL_RUNTIME_TUNING_H

#include "runtime/gemm.h"

/* ---- a race ------------------------------------------------------------------------------ */

#define IVL__TUNING_MAX_CANDIDATES 32

/* Who runs, for how long and by which clock: a pure function for tests. */
typedef struct ivl__race {
    int n;
    /* Runs a candidate; false when it failed or its numbers are wrong (it is then out). `probe` is
     * the first run of each. */
    bool (*run)(void *user, int candidate, bool probe, double *seconds);
    double (*clock)(void *user);
    void *user;
    double deadline;
} ivl__race;

/* Fastest of three runs after the probe, of equals the first; -1 when nobody came through, or not
 * even one probe fits before the deadline. *seconds is its best time. */
int ivl__race_winner(const ivl__race *race, double *seconds);

/* ---- tuning ------------------------------------------------------------------------------ */

typedef struct ivl__gemm_shape {
    int32_t n, k;
    ivl_dtype w_type;
} ivl__gemm_shape;

typedef struct ivl__tuning_candidate {
    const ivl__gemm_backend *backend;
    ivl__gemm_tile_params tile; /* of `tile` */
} ivl__tuning_candidate;

/* What `auto` may take here; the answer is their number. */
int ivl__tuning_candidates(ivl__device *device, ivl_precision precision,
                           ivl__tuning_candidate candidates[IVL__TUNING_MAX_CANDIDATES]);

typedef struct ivl__tuning_request {
    const ivl__gemm_shape *shapes;
    int n_shapes;
    const ivl__tuning_candidate *candidates; /* NULL: ivl__tuning_candidates */
    int n_candidates;
    const char *file; /* pinned; NULL: <cache_dir>/tuning/<key>.txt */
    bool measure;     /* false: only what is known already */
    double seconds;   /* time box; 0: 10 on CPUs, 30 elsewhere */
} ivl__tuning_request;

/* Fills the choices of a gemm that was opened as "auto"; must come before its scratch is sized.
 *
 * A pinned file decides alone, and matrices that it does not name are left to gemm->backend; it is
 * IVL_BAD_INPUT where it cannot be read, IVL_UNSUPPORTED where this device cannot do what it says,
 * IVL_DEVICE_FAILED where the numbers come out wrong. Without one, what is not known from the cache
 * folder is measured and kept there (without a cache folder nothing is measured). A damaged file is
 * told in the log and measured again. */
ivl_status ivl__gemm_tune(ivl__gemm *gemm, const ivl__tuning_request *request, ivl_error *error);

#endif
