/* shard.h - the pictures of one webdataset tar.
 *
 * Members that follow each other and share the path up to the first dot of the file name are one
 * group; its pictures are items, its .txt and .json their caption and metadata. Only one group is
 * held at a time, and no more than a few hundred members of it.
 */
#ifndef IVL_LOADER_SHARD_H
#define IVL_LOADER_SHARD_H

#include "loader/item.h"

#include <stdbool.h>

typedef struct ivl__shard ivl__shard;

/* name stands before the member in keys. path: the file; or NULL, and the tar comes through fd (not
 * closed), when pictures are read at once instead of by ivl__item_load. */
ivl_status ivl__shard_open(const char *name, const char *path, int fd, ivl__shard **shard,
                           ivl_error *error);
/* The next picture (key, caption, fields and place; the caller numbers it) or a FAILED item for
 * what is damaged, after which *end follows. Fails only when memory is short. */
ivl_status ivl__shard_next(ivl__shard *shard, ivl__item *item, bool *end, ivl_error *error);
/* Members so far that are neither pictures nor their sidecars. */
uint64_t ivl__shard_other(const ivl__shard *shard);
void ivl__shard_free(ivl__shard *shard);

#endif
