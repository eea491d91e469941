/* record_writer.h - rows of vectors with their metadata, written so that a crash loses one batch.
 *
 * The path decides the form:
 *   OUT.npy                  one array per stream (OUT.npy, or OUT.<suffix>.npy for streams with a
 *                            suffix), OUT.jsonl with one object a row, OUT.errors.jsonl,
 *                            OUT.meta.json
 *   OUT.npz                  the same, but the arrays as members of one archive
 *   OUT.jsonl, .csv, .sqlite key and vector per line or row (one file per stream),
 *                            OUT.errors.jsonl, OUT.meta.json
 *   OUT/ (or a folder)       units: <stream>/<stream>_%06u.npy, metadata/, errors/, done/,
 *                            manifest.json
 * The first three forms are one single unit, number 0.
 *
 * Nothing bears its final name before it is complete. Rows go to *.part; a commit appends to them,
 * syncs, and then writes a journal (the .part of the unit's done record) that says how many bytes
 * of each are valid; a rerun cuts them there and goes on. The result of any number of interrupted
 * runs equals that of one run, byte for byte, so nothing written depends on time or process.
 *
 * Two sides: the reader asks, for every event of its source and in that order, whether there is
 * anything left to do (ivl__record_writer_seen); the writer side adds what was computed. They may
 * be two threads; each side is used by one thread at a time.
 */
#ifndef IVL_LOADER_RECORD_WRITER_H
#define IVL_LOADER_RECORD_WRITER_H

#include "loader/item.h"
#include "loader/npy.h"

#include <stdbool.h>

typedef struct ivl__record_writer ivl__record_writer;

enum { IVL__MAX_STREAMS = 64 };

/* One array of the output. */
typedef struct ivl__record_stream {
    const char *name;   /* folder and file prefix in OUT/, member in .npz: "img_emb", "hidden_3" */
    const char *suffix; /* of single files: "", "c", "g", "text" */
    int rank;           /* of one row; usually 1 */
    uint64_t shape[4];  /* of one row */
} ivl__record_stream;

typedef struct ivl__record_writer_options {
    const ivl__record_stream *streams;
    int n_streams;
    ivl__npy_type
        type; /* IVL__NPY_F4, IVL__NPY_F2 or (arrays only) IVL__NPY_U1; rows are given as f32 */
    const char *identity;   /* JSON object: a rerun with another is refused */
    const char *provenance; /* JSON object: recorded, may differ between runs; NULL: {} */
    bool same_numerics;     /* provenance is identity too */
    bool force;             /* start over whatever is there */
    bool retry_errors;      /* inputs recorded as failed count as not yet seen */
    double sync_seconds;    /* a commit syncs at most this often; 0: every commit */
} ivl__record_writer_options;

/* Opens or continues an output. IVL_INVALID_ARGUMENT names the first difference of identity with
 * both values; IVL_IO_ERROR when the place cannot be written. Everything is copied. */
ivl_status ivl__record_writer_open(const char *path, const ivl__record_writer_options *options,
                                   ivl__record_writer **writer, ivl_error *error);

/* True when the output at `path` is of the folder form (units count). */
bool ivl__record_path_is_folder(const char *path);

/* The provenance (JSON object) that an earlier run recorded, so that a resumed run can use the same
 * choices; NULL on a fresh output. Belongs to the writer. */
const char *ivl__record_writer_provenance(const ivl__record_writer *writer);

/* Sets options.provenance, for runs whose choices depend on what an earlier one recorded, or that
 * may find nothing to do: to be called before the first row or error is added; the reader side may
 * be at work. With same_numerics IVL_INVALID_ARGUMENT names the first difference. */
ivl_status ivl__record_writer_set_provenance(ivl__record_writer *writer, const char *provenance,
                                             ivl_error *error);

/* ---- reader side ------------------------------------------------------------------------- */

typedef enum ivl__seen {
    IVL__SEEN_NEW,      /* compute it (and for UNIT_BEGIN and UNIT_END: pass it on) */
    IVL__SEEN_RECORDED, /* in the output already, as a row or as a failure */
    IVL__SEEN_UNIT      /* UNIT_BEGIN of a finished tar: skip the unit */
} ivl__seen;

/* To be called for every item of the source in order. IVL_INVALID_ARGUMENT when the inputs are not
 * those that the output was made from. */
ivl_status ivl__record_writer_seen(ivl__record_writer *writer, const ivl__item *item,
                                   ivl__seen *seen, ivl_error *error);

/* ---- writer side ------------------------------------------------------------------------- */

/* What identifies a row. Strings are borrowed for the call. */
typedef struct ivl__record {
    uint64_t unit, position; /* of the item */
    const char *key;
    uint64_t content;    /* of the item */
    int width, height;   /* of the picture; 0: not written */
    const char *caption; /* or NULL */
    const char *fields;  /* further JSON members, "\"pair_score\":0.25,...", or NULL */
} ivl__record;

/* Items are added in the order of the source; those that were seen before are left out. A unit is
 * begun and ended for every such event the reader passes on (UNIT_BEGIN answered NEW). */
ivl_status ivl__record_writer_begin_unit(ivl__record_writer *writer, uint64_t unit, const char *key,
                                         ivl_error *error);
/* rows[i]: one row of stream i, f32. */
ivl_status ivl__record_writer_add_row(ivl__record_writer *writer, const ivl__record *record,
                                      const float *const *rows, ivl_error *error);
ivl_status ivl__record_writer_add_error(ivl__record_writer *writer, const ivl__record *record,
                                        const char *message, ivl_error *error);
/* Makes what was added durable: call it after every batch. Rows are held in memory until then. */
ivl_status ivl__record_writer_commit(ivl__record_writer *writer, ivl_error *error);
/* Commits and gives the unit's files their final names. */
ivl_status ivl__record_writer_end_unit(ivl__record_writer *writer, uint64_t unit, ivl_error *error);
/* After the last unit of the source: records the totals (of all shards; status shows them). */
ivl_status ivl__record_writer_finish(ivl__record_writer *writer, uint64_t units, uint64_t inputs,
                                     ivl_error *error);
/* Without finish: everything committed stays for the next run. */
void ivl__record_writer_free(ivl__record_writer *writer);

typedef struct ivl__record_writer_counts {
    uint64_t rows, errors;             /* added by this run */
    uint64_t found_rows, found_errors; /* recorded by earlier runs, in the units seen so far */
    uint64_t damaged; /* units whose files were gone or cut: they are computed anew */
} ivl__record_writer_counts;

ivl__record_writer_counts ivl__record_writer_get_counts(const ivl__record_writer *writer);

#endif
