/* npy_source.h - the rows of a float32 array [N, 3, H, W] as items. */
#ifndef IVL_LOADER_NPY_SOURCE_H
#define IVL_LOADER_NPY_SOURCE_H

#include "loader/item.h"

#include <stdbool.h>

typedef struct ivl__npy_source ivl__npy_source;

/* IVL_BAD_INPUT for anything but a complete float32 array of four dimensions, the second 3. */
ivl_status ivl__npy_source_open(const char *path, ivl__npy_source **source, ivl_error *error);
/* The next row; its key is "path#row". */
ivl_status ivl__npy_source_next(ivl__npy_source *source, ivl__item *item, bool *end,
                                ivl_error *error);
void ivl__npy_source_free(ivl__npy_source *source);

#endif
