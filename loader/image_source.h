/* image_source.h - the inputs of a command as one stream of items, in bounded memory.
 *
 * Inputs are files, folders, .tar shards, .npy arrays, {000..099} ranges, @lists and stdin, in any
 * mix (see docs: "INPUTS"). The order of items, their keys and the unit each belongs to depend on
 * the inputs alone: not on failures, threads or how many processes share the work. Memory does not
 * grow with the number of inputs; only the names of one folder per level are held, for sorting.
 */
#ifndef IVL_LOADER_IMAGE_SOURCE_H
#define IVL_LOADER_IMAGE_SOURCE_H

#include "loader/item.h"

#include <stdbool.h>

typedef struct ivl__image_source ivl__image_source;

typedef struct ivl__image_source_options {
    uint64_t unit_rows;     /* inputs per unit outside tars; 0: everything is unit 0, tars too */
    uint64_t shard, shards; /* only units u with u % shards == shard; shards 0 or 1: all */
    const char *stdin_tar;  /* name of a tar that comes on stdin, after the other inputs; NULL */
    int stdin_fd;           /* where "-", "-0" and stdin_tar read; 0 */
} ivl__image_source_options;

/* What the source has seen so far. */
typedef struct ivl__image_source_counts {
    uint64_t inputs; /* of all shards */
    uint64_t units;  /* of all shards, begun */
    uint64_t other;  /* files in folders and members of tars that are no pictures */
} ivl__image_source_counts;

/* IVL_INVALID_ARGUMENT without any input, for a list that cannot be opened, a bad range, or stdin
 * used twice. The strings must outlive the source. options may be NULL (4096 rows a unit). */
ivl_status ivl__image_source_open(const char *const *inputs, size_t n_inputs,
                                  const ivl__image_source_options *options,
                                  ivl__image_source **source, ivl_error *error);

/* The next item, or *end = true. An input that cannot be read is an item of kind FAILED; this call
 * itself fails only when memory is short or a list or stdin breaks off (IVL_IO_ERROR). Every unit
 * is framed by UNIT_BEGIN and UNIT_END. One thread at a time. */
ivl_status ivl__image_source_next(ivl__image_source *source, ivl__item *item, bool *end,
                                  ivl_error *error);

/* After a UNIT_BEGIN with a key (a tar): goes on behind that unit without opening it; no items and
 * no UNIT_END of it will come. Inputs of a tar skipped so are not counted. */
void ivl__image_source_skip_unit(ivl__image_source *source);

ivl__image_source_counts ivl__image_source_get_counts(const ivl__image_source *source);
void ivl__image_source_free(ivl__image_source *source);

/* True for names with a known picture extension, in either case (".jpg", ".PNG", ...). */
bool ivl__is_picture_name(const char *name);

#endif
