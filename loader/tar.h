/* tar.h - the members of a tar archive, one after another.
 *
 * Knows ustar and v7 headers, GNU long names and base-256 sizes, and pax path and size. Offsets
 * only ever grow, so that a pipe can be behind the read function. Nothing is unpacked; names are
 * byte strings and never touch the file system.
 */
#ifndef IVL_LOADER_TAR_H
#define IVL_LOADER_TAR_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fills data from an offset; less than bytes only at the end. */
typedef ivl_status ivl__tar_read_fn(void *user, uint64_t offset, void *data, size_t bytes,
                                    size_t *got, ivl_error *error);

typedef struct ivl__tar {
    ivl__tar_read_fn *read;
    void *user;
    uint64_t file_bytes; /* UINT64_MAX: not known (a pipe) */
    uint64_t next;       /* offset of the next header */
} ivl__tar;

typedef struct ivl__tar_member {
    char *name;             /* ivl__free */
    bool regular;           /* a plain file; folders, links, devices and sparse files are not */
    uint64_t offset, bytes; /* of its data */
} ivl__tar_member;

void ivl__tar_init(ivl__tar *tar, ivl__tar_read_fn *read, void *user, uint64_t file_bytes);

/* The next member, or *end = true. IVL_BAD_INPUT when the archive is damaged: there is no way to go
 * on then. A member whose data ends behind the file is still answered if `truncated` is not NULL,
 * with *truncated = true; nothing can follow it. */
ivl_status ivl__tar_next(ivl__tar *tar, ivl__tar_member *member, bool *truncated, bool *end,
                         ivl_error *error);

#endif
