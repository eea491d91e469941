/* output_status.h - looking at an output folder from outside: progress, and joining its units. */
#ifndef IVL_LOADER_OUTPUT_STATUS_H
#define IVL_LOADER_OUTPUT_STATUS_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ivl__output_status {
    uint64_t units_done, units_begun; /* begun: in progress or interrupted */
    uint64_t units_total;             /* 0: not known before a run has seen all inputs */
    uint64_t inputs_total;            /* likewise */
    uint64_t rows, errors;            /* of finished and begun units */
    double rows_per_second;           /* from the times of finished units; 0: not known */
    bool complete;                    /* every unit of a known total is done */
} ivl__output_status;

/* IVL_INVALID_ARGUMENT when `path` is not an output folder. */
ivl_status ivl__output_status_read(const char *path, ivl__output_status *status, ivl_error *error);

/* Told how many bytes of how many are copied; answers true to stop. */
typedef bool ivl__merge_progress(void *user, uint64_t done, uint64_t total);

/* Joins the units in input order: X.npy (X.<suffix>.npy for further streams), X.jsonl with rows
 * renumbered, X.errors.jsonl with inputs renumbered, X.meta.json; and the errors once more as
 * <path>/errors.jsonl. Memory does not grow with the rows. Every file appears whole. Without force
 * nothing that exists is replaced but <path>/errors.jsonl. IVL_INVALID_ARGUMENT: units are missing
 * (the first is named), a file is in the way, `out` does not end with .npy, the units are damaged;
 * IVL_CANCELLED when progress (may be NULL) says so, nothing being written then. *failed (may be
 * NULL) becomes the number of recorded failures. */
ivl_status ivl__output_merge(const char *path, const char *out, bool force,
                             ivl__merge_progress *progress, void *user, uint64_t *failed,
                             ivl_error *error);

#endif
