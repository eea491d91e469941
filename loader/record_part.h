/* record_part.h - one growing file of an output: appended through memory, cut, synced, summed. */
#ifndef IVL_LOADER_RECORD_PART_H
#define IVL_LOADER_RECORD_PART_H

#include "loader/json_text.h"
#include "runtime/status.h"

#include <stdint.h>

typedef struct ivl__record_part {
    char *path; /* owned */
    int fd;
    uint64_t written;  /* bytes of the file that count */
    ivl__text pending; /* bytes behind them, not yet written */
    uint32_t crc;      /* of what was written since the last sync */
} ivl__record_part;

/* Opens or creates the file and cuts it to `bytes`. Takes over path, also on failure. */
ivl_status ivl__record_part_open(ivl__record_part *part, char *path, uint64_t bytes,
                                 ivl_error *error);
void ivl__record_part_close(ivl__record_part *part);

/* Appends; now and then writes what has gathered. */
ivl_status ivl__record_part_add(ivl__record_part *part, const void *data, size_t bytes,
                                ivl_error *error);
/* For what was put into `pending` directly. */
ivl_status ivl__record_part_added(ivl__record_part *part, ivl_error *error);
ivl_status ivl__record_part_flush(ivl__record_part *part, ivl_error *error);
ivl_status ivl__record_part_sync(ivl__record_part *part, ivl_error *error);

/* CRC-32 of bytes [from, to) of a file; *matches is false when it has fewer or others. */
ivl_status ivl__record_part_check(const char *path, uint64_t from, uint64_t to, uint32_t crc,
                                  bool *matches, ivl_error *error);

#endif
