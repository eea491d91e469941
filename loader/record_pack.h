/* record_pack.h - the forms whose files are made from parts at the end: .npz and .sqlite. */
#ifndef IVL_LOADER_RECORD_PACK_H
#define IVL_LOADER_RECORD_PACK_H

#include "loader/record_unit.h"

/* <file>.part; NULL when memory is short. */
char *ivl__record_part_path(const ivl__unit *unit, int file);

/* Makes OUT.sqlite (or that of another stream) from the parts, which stay. */
ivl_status ivl__sqlite_write(ivl__unit *unit, int stream, const char *path, ivl_error *error);
/* Makes the parts again: the stream's vectors and, with stream 0, the metadata. */
ivl_status ivl__sqlite_read(ivl__unit *unit, int stream, const char *path, ivl_error *error);

#endif
