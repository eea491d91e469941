/* npz_writer.h - NumPy's .npz: a zip archive of stored .npy members (zip64 where needed).
 *
 * Members are written one after another, each streamed from a finished .npy file or from memory,
 * so memory stays bounded. The archive appears under its name when it is complete. No times are
 * recorded: equal arrays give equal files.
 */
#ifndef IVL_LOADER_NPZ_WRITER_H
#define IVL_LOADER_NPZ_WRITER_H

#include "loader/npy.h"

typedef struct ivl__npz_writer ivl__npz_writer;

/* Creates path.part. */
ivl_status ivl__npz_open(const char *path, ivl__npz_writer **writer, ivl_error *error);
/* Adds the file at npy_path as it is as member `name` (without ".npy"). */
ivl_status ivl__npz_add_file(ivl__npz_writer *writer, const char *name, const char *npy_path,
                             ivl_error *error);
/* Writes the directory, syncs and renames. The writer is to be freed in any case. */
ivl_status ivl__npz_finish(ivl__npz_writer *writer, ivl_error *error);
/* Removes path.part unless finished. */
void ivl__npz_free(ivl__npz_writer *writer);

#endif
