/* torch_zip.h - reader of one torch.save file (torch >= 1.6): a zip of data.pkl and storages.
 *
 * Stored members are used in place; deflated ones (re-packed files) are inflated into memory and
 * tensors that are not contiguous are gathered, both within a bound that follows the bytes of the
 * file. The central directory is read by our own code; zlib does inflate alone.
 */
#ifndef IVL_LOADER_TORCH_ZIP_H
#define IVL_LOADER_TORCH_ZIP_H

#include "loader/tensor_table.h"

/* Calls add for every tensor, in the order of the pickle. Entries have file 0, or -1 and data in
 * `owned` memory. IVL_BAD_MODEL says what is wrong; the caller puts the file's name before it. */
ivl_status ivl__torch_zip_parse(const unsigned char *data, size_t bytes, ivl__tensor_add_fn *add,
                                void *user, ivl_error *error);

#endif
