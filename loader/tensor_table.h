/* tensor_table.h - one view over all checkpoints: named tensors in mapped files.
 *
 * Opens what CLI.md calls MODEL: a folder (safetensors or torch zip, sharded by an index or not;
 * where both are there, safetensors) or one .safetensors, .bin or .pth file. Nothing is read but
 * headers; data stays in the maps. All bounds are checked once, here.
 */
#ifndef IVL_LOADER_TENSOR_TABLE_H
#define IVL_LOADER_TENSOR_TABLE_H

#include "runtime/dtype.h"
#include "runtime/os.h"
#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IVL__MAX_RANK 8

typedef struct ivl__tensor_entry {
    char *name; /* as in the file */
    ivl_dtype dtype;
    char dtype_text[16]; /* the file's own word: "BF16", "HalfStorage" */
    int rank;
    uint64_t shape[IVL__MAX_RANK];
    uint64_t elements;
    const unsigned char *data; /* contiguous, C order, of any alignment */
    size_t bytes;
    int file;             /* index into files; -1 where data is memory the table owns (tensors that
                             lie strided or deflated in the file) */
    uint64_t file_offset; /* of data in that file */
    void *owned;          /* a block that goes to the table with this entry; NULL */
} ivl__tensor_entry;

/* What the readers of single files call for every tensor. name is borrowed; on success `owned`
 * belongs to the receiver, and stays where it is for the tensors that share it. */
typedef ivl_status ivl__tensor_add_fn(void *user, const ivl__tensor_entry *entry, ivl_error *error);

typedef struct ivl__tensor_table {
    char *path;                 /* as given */
    char *folder;               /* where config.json and tokenizer.model would lie */
    ivl__tensor_entry *entries; /* sorted by name */
    size_t count;
    char **file_paths; /* [n_files] */
    ivl__map *maps;    /* [n_files] */
    int n_files;
    size_t capacity, files_capacity, maps_capacity; /* of entries and of the arrays of files */
    void **blocks; /* memory that entries with file -1 point into */
    size_t n_blocks, blocks_capacity;
} ivl__tensor_table;

/* IVL_BAD_MODEL names the file and what is wrong with it; IVL_IO_ERROR where it cannot be read. */
ivl_status ivl__tensor_table_open(const char *path, ivl__tensor_table **out, ivl_error *error);
void ivl__tensor_table_free(ivl__tensor_table *table);

/* NULL when there is none of that name. */
const ivl__tensor_entry *ivl__tensor_table_find(const ivl__tensor_table *table, const char *name);

/* IVL_BAD_MODEL naming the file when one is no longer what it was when it was opened. */
ivl_status ivl__tensor_table_check_unchanged(const ivl__tensor_table *table, ivl_error *error);

#endif
