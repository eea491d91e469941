/* record_unit.h - one unit of an output on the disk: found, recovered, appended to, finished.
 *
 * States on the disk, and what takes one to the next (each step may be interrupted anywhere and is
 * then finished, or begun again, by the next process that opens the unit):
 *   nothing        no journal, no record; leftover *.part count for nothing
 *   open           journal "open": *.part are valid as far as it says
 *   being closed   journal "done": *.part get their final names, the journal becomes the record
 *   done           record, no journal
 *   being reopened journal "open" and a record: final names become *.part again, the record goes
 *   retried        journal with "old": *.part became *.old and are written anew from them
 * Whoever changes a unit holds its lock, <record>.lock.
 */
#ifndef IVL_LOADER_RECORD_UNIT_H
#define IVL_LOADER_RECORD_UNIT_H

#include "loader/record_head.h"
#include "loader/record_journal.h"
#include "loader/record_lines.h"
#include "loader/record_part.h"

/* What all units of a writer share. */
typedef struct ivl__unit_context {
    const ivl__record_layout *layout;
    const ivl__record_head *head;
    bool force, retry_errors;
    double sync_seconds;
} ivl__unit_context;

/* What is still to be taken from the former files of a retried unit. */
typedef struct ivl__unit_old {
    ivl__line_reader lines[IVL__RECORD_MAX_FILES]; /* texts; errors are the last */
    int arrays[IVL__MAX_STREAMS];
    char *array_paths[IVL__MAX_STREAMS];
    uint64_t input, row; /* of the next former input and row */
    uint64_t failed;     /* next failed one; UINT64_MAX: none left */
    char *failed_line;   /* its line */
    size_t failed_bytes;
    bool open;
} ivl__unit_old;

typedef struct ivl__unit {
    const ivl__unit_context *context;
    uint64_t number;
    char *record_path, *journal_path, *lock_path;
    int lock;
    ivl__journal journal; /* how far it is (in memory: with what was not yet committed) */
    bool done;            /* as found or as finished */
    bool broken;          /* a write failed: nothing more is committed */
    bool damaged;         /* its files were not what its record said; begun anew */

    /* Writing. */
    bool writing;
    ivl__record_part parts[IVL__RECORD_MAX_FILES];
    ivl__unit_old old;
    unsigned char *row;     /* one row of float16 */
    uint64_t journal_bytes; /* of the journal that hold; 0: it is to be written whole */
    uint64_t committed;     /* inputs */
    double synced_at;

    /* For the reader side, which walks the inputs again. */
    ivl__record_state known;      /* as found: inputs before known.inputs are recorded */
    uint64_t retry_from;          /* failed ones from here on may be tried again */
    uint64_t walked, walked_hash; /* inputs seen, chain of their keys */
    ivl__line_reader failed;      /* errors of a retried unit */
    uint64_t next_failed;
    bool has_failed;
    struct ivl__unit *next;
} ivl__unit;

/* Finds unit `number` and recovers it; takes the lock unless the unit is done. `key` is the tar's
 * or NULL. IVL_INVALID_ARGUMENT: another process has it, another key, a foreign file is in the way.
 */
ivl_status ivl__unit_open(const ivl__unit_context *context, uint64_t number, const char *key,
                          ivl__unit **unit, ivl_error *error);
/* Gives the lock back; what was not committed is lost. */
void ivl__unit_free(ivl__unit *unit);

/* How many inputs (and which, by hash and last key) the unit holds, former files included. */
const ivl__record_state *ivl__unit_known(const ivl__unit *unit);
/* Takes the lock of a unit that is done and opens it for more. */
ivl_status ivl__unit_reopen(ivl__unit *unit, ivl_error *error);

/* The next input: a row per stream, or a failure (rows NULL, message given). */
ivl_status ivl__unit_add(ivl__unit *unit, const ivl__record *record, const float *const *rows,
                         const char *message, ivl_error *error);
ivl_status ivl__unit_commit(ivl__unit *unit, ivl_error *error);
/* Gives the final names; nothing when the unit is done already. */
ivl_status ivl__unit_finish(ivl__unit *unit, ivl_error *error);

/* ---- record_recover.c -------------------------------------------------------------------- */

/* Reads record or journal as JSON with the text behind it; IVL_BAD_INPUT names the file. */
ivl_status ivl__unit_read(const char *path, json_t **json, unsigned char **text, size_t *bytes,
                          size_t *used, ivl_error *error);
/* Brings what lies on the disk to "nothing", "open", "retried" or "done". */
ivl_status ivl__unit_recover(ivl__unit *unit, ivl_error *error);
/* From "being closed" to "done". */
ivl_status ivl__unit_close(ivl__unit *unit, ivl_error *error);
/* Writes the journal whole, as unit->journal says. */
ivl_status ivl__unit_write_journal(ivl__unit *unit, ivl_error *error);
/* From "open" or "done" to "retried" with nothing written yet. */
ivl_status ivl__unit_start_retry(ivl__unit *unit, ivl_error *error);
ivl_status ivl__unit_lock(ivl__unit *unit, ivl_error *error);

/* ---- record_retry.c ---------------------------------------------------------------------- */

ivl_status ivl__unit_old_open(ivl__unit *unit, ivl_error *error);
void ivl__unit_old_close(ivl__unit *unit);
/* Takes over the former inputs before `input`; *failed when `input` is one that failed (which is
 * left out then). */
ivl_status ivl__unit_old_copy(ivl__unit *unit, uint64_t input, bool *failed, ivl_error *error);

/* ---- record_pack.c ----------------------------------------------------------------------- */

/* Makes OUT.npz or OUT.sqlite from the parts of a complete unit; then they are removed. */
ivl_status ivl__unit_pack(ivl__unit *unit, ivl_error *error);
/* Makes the parts again from OUT.npz or OUT.sqlite. */
ivl_status ivl__unit_unpack(ivl__unit *unit, ivl_error *error);
/* Writes the record of a unit that was packed, with its keys for .npz. */
ivl_status ivl__unit_write_keys(ivl__unit *unit, const char *text, const char *keys_path,
                                ivl_error *error);

#endif
