/* shared_file.h - one open file read at offsets by many items; closed with the last of them. */
#ifndef IVL_LOADER_SHARED_FILE_H
#define IVL_LOADER_SHARED_FILE_H

#include "runtime/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ivl__shared_file ivl__shared_file;

/* Opens a regular file; the caller holds the first reference. */
ivl_status ivl__shared_file_open(const char *path, ivl__shared_file **file, ivl_error *error);
ivl__shared_file *ivl__shared_file_keep(ivl__shared_file *file);
void ivl__shared_file_release(ivl__shared_file *file);

/* Size when it was opened. */
uint64_t ivl__shared_file_bytes(const ivl__shared_file *file);
const char *ivl__shared_file_path(const ivl__shared_file *file);

/* Up to `bytes` bytes at an offset, less at the end of the file; from any thread. */
ivl_status ivl__shared_file_read(const ivl__shared_file *file, uint64_t offset, void *data,
                                 size_t bytes, size_t *got, ivl_error *error);

#endif
