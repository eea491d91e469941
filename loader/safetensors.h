/* safetensors.h - reader of one safetensors file.
 *
 * Layout: u64 little-endian N, N bytes of JSON {name: {dtype, shape, data_offsets}, __metadata__},
 * raw data. Strict: every check of the reference reader, and no duplicate keys, no dimension limit
 * beyond IVL__MAX_RANK, header that begins with '{'.
 */
#ifndef IVL_LOADER_SAFETENSORS_H
#define IVL_LOADER_SAFETENSORS_H

#include "loader/tensor_table.h"

/* Calls add for every tensor, in no particular order. Entries have file 0. IVL_BAD_MODEL says what
 * is wrong; the caller puts the file's name before it. */
ivl_status ivl__safetensors_parse(const unsigned char *data, size_t bytes, ivl__tensor_add_fn *add,
                                  void *user, ivl_error *error);

#endif
