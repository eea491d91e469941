/* npy.h - NumPy's array file, read from memory and written row by row.
 *
 * Format: "\x93NUMPY", version 1.0 or 2.0, little-endian header length (2 or 4 bytes), a Python
 * dict literal, data in C order. Reader and writer know f4, f2, u1, i4 and i8, little-endian.
 */
#ifndef IVL_LOADER_NPY_H
#define IVL_LOADER_NPY_H

#include "runtime/status.h"

#include <stddef.h>
#include <stdint.h>

enum { IVL__NPY_MAX_RANK = 8, IVL__NPY_HEADER_BYTES = 192 };

typedef enum ivl__npy_type {
    IVL__NPY_F4,
    IVL__NPY_F2,
    IVL__NPY_U1,
    IVL__NPY_I4,
    IVL__NPY_I8
} ivl__npy_type;

typedef struct ivl__npy {
    ivl__npy_type type;
    int rank;
    uint64_t shape[IVL__NPY_MAX_RANK];
    uint64_t count;  /* elements */
    uint64_t offset; /* of the data in the file */
    uint64_t bytes;  /* of the data */
} ivl__npy;

size_t ivl__npy_type_bytes(ivl__npy_type type);
const char *ivl__npy_type_name(ivl__npy_type type); /* "float32", ... */

/* Parses the header at `data`, of which n_bytes are at hand (64 KiB are always enough for a file
 * this reader accepts), of a file of file_bytes. Fails with IVL_BAD_INPUT unless the whole array
 * lies inside the file. */
ivl_status ivl__npy_parse(const void *data, size_t n_bytes, uint64_t file_bytes, ivl__npy *npy,
                          ivl_error *error);

/* Writes a header of exactly IVL__NPY_HEADER_BYTES, whatever the shape, so that the row count can
 * be patched in place when it is known. IVL_INVALID_ARGUMENT for rank > IVL__NPY_MAX_RANK. */
ivl_status ivl__npy_header(ivl__npy_type type, const uint64_t *shape, int rank,
                           unsigned char header[IVL__NPY_HEADER_BYTES], ivl_error *error);

/* Writes a whole array at once: path.part, then rename. data is in host order (little-endian). */
ivl_status ivl__npy_write(const char *path, ivl__npy_type type, const uint64_t *shape, int rank,
                          const void *data, ivl_error *error);

/* Reads a whole file: *data is a new block (ivl__free) of npy->bytes bytes, aligned. Files beyond
 * max_bytes are refused. */
ivl_status ivl__npy_read(const char *path, size_t max_bytes, ivl__npy *npy, void **data,
                         ivl_error *error);

#endif
