/* output_folder.h - an output folder that is looked at, not written: what it is, and its units. */
#ifndef IVL_LOADER_OUTPUT_FOLDER_H
#define IVL_LOADER_OUTPUT_FOLDER_H

#include "loader/record_journal.h"
#include "loader/record_manifest.h"

/* IVL_INVALID_ARGUMENT when `path` is no output folder. The manifest is to be released, the layout
 * to be freed. */
ivl_status ivl__output_open(const char *path, ivl__record_layout *layout, json_t **manifest,
                            ivl_error *error);
/* The record of a unit, or (open) its journal as far as its last line says. IVL_IO_ERROR when there
 * is none. */
ivl_status ivl__output_read_unit(const ivl__record_layout *layout, uint64_t unit, bool open,
                                 ivl__journal *journal, ivl_error *error);
/* Whether a unit is finished, or begun (its journal is there). */
ivl_status ivl__output_unit_state(const ivl__record_layout *layout, uint64_t unit, bool *done,
                                  bool *begun, ivl_error *error);

#endif
