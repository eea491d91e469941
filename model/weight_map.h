/* weight_map.h - tensors of a checkpoint, taken one by one by the parts that run them.
 *
 * Strict: what a part needs and is missing or misshapen is an error that names it, and so is, when
 * all have taken theirs, a tensor that is left in the namespace of a part that runs. Known other
 * parts are counted as unused; anything else is an error.
 */
#ifndef IVL_MODEL_WEIGHT_MAP_H
#define IVL_MODEL_WEIGHT_MAP_H

#include "loader/tensor_table.h"

/* A role: one tensor, or several as row tiles in this order (q, k and v). n_parts 0: absent. */
typedef struct ivl__weight_ref {
    const ivl__tensor_entry *parts[3];
    int n_parts;
} ivl__weight_ref;

typedef struct ivl__weight_map {
    const ivl__tensor_table *table;
    bool *used; /* [table->count] */
} ivl__weight_map;

ivl_status ivl__weight_map_open(const ivl__tensor_table *table, ivl__weight_map *map,
                                ivl_error *error);
void ivl__weight_map_close(ivl__weight_map *map);

/* Takes the tensor of that name as the next part of a role. Extents of 1 in front count for nothing
 * ([1, 1, C] is [C]); a first extent of 0 fits any above 1. All parts have one type: bf16, fp16 or
 * fp32. */
ivl_status ivl__weight_take(ivl__weight_map *map, const char *name, const uint64_t *shape, int rank,
                            ivl__weight_ref *ref, ivl_error *error);

typedef struct ivl__unused_tensors {
    const char *prefix;
    int tensors;
    uint64_t bytes;
} ivl__unused_tensors;

#define IVL__MAX_UNUSED 24

typedef struct ivl__unused_list {
    ivl__unused_tensors items[IVL__MAX_UNUSED];
    int n;
} ivl__unused_list;

/* What nobody has taken. spaces [n_spaces]: the namespaces of the parts that run, prefixes that end
 * with a dot or whole names; NULL entries are skipped. */
ivl_status ivl__weight_map_rest(const ivl__weight_map *map, const char *const *spaces, int n_spaces,
                                ivl__unused_list *unused, ivl_error *error);

#endif
