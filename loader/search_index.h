/* search_index.h - one file of vectors of length 1 with their keys, made from embeddings.
 *
 * Little-endian:
 *   0       4,096 bytes   header of a .npy file, filled up with blanks: [rows, dim] float32 or
 * float16 4,096   rows          [rows, dim], each of length 1; on a page, so that devices can read
 * it in place table   uint64        [rows + 1] offsets into the keys, at the next multiple of 8
 *   keys    bytes         the key of row i is keys[table[i] .. table[i + 1])
 *   head    JSON object
 * {"format":"internvl-index","version":1,"rows":..,"dim":..,"dtype":"float32",
 *                          "normalized":true,"keys_bytes":..,"rows_crc32":..,"keys_crc32":..,
 *                          "model_id":"<64 hex>","mode":"g","identity":{..}}
 *   tail    24 bytes      uint64 place of the head, uint32 its bytes, uint32 its CRC-32, "IVLINDEX"
 *
 * So NumPy reads the vectors: numpy.load("photos.index", mmap_mode="r"). rows_crc32 is that of the
 * rows, keys_crc32 that of table and keys. `identity` is that of the embeddings. A head of another
 * version is refused, members that are not known are skipped.
 *
 * The file is hostile input: what is accepted lies inside the file, and a table that lies is found
 * when a key is asked for.
 */
#ifndef IVL_LOADER_SEARCH_INDEX_H
#define IVL_LOADER_SEARCH_INDEX_H

#include "loader/json_text.h"
#include "loader/npy.h"
#include "runtime/os.h"

#include <jansson.h>

enum {
    IVL__INDEX_ROWS_AT = 4096,
    IVL__INDEX_TAIL_BYTES = 24,
    IVL__INDEX_MAX_HEAD = 1 << 20,
    IVL__INDEX_MAX_DIM = 65536,
    IVL__INDEX_MAX_KEY = 1 << 20
};
/* The best scores of a search number rows by 32 bits. */
#define IVL__INDEX_MAX_ROWS 0xffffffffu

typedef struct ivl__index_head {
    uint64_t rows;
    int32_t dim;
    ivl__npy_type type; /* IVL__NPY_F4 or IVL__NPY_F2 */
    uint64_t keys_bytes;
    uint32_t rows_crc, keys_crc;
    char model_id[65], mode[8];
    json_t *identity; /* object, owned */
} ivl__index_head;

/* Bytes of the rows; places of the table and of the keys in the file. */
uint64_t ivl__index_rows_bytes(const ivl__index_head *head);
uint64_t ivl__index_table_at(const ivl__index_head *head);
uint64_t ivl__index_keys_at(const ivl__index_head *head);

/* Takes the head out of a file's first bytes (IVL__INDEX_ROWS_AT, or all of a shorter file) and its
 * last ones (IVL__INDEX_MAX_HEAD + IVL__INDEX_TAIL_BYTES, or all). IVL_BAD_INPUT says what is
 * wrong, with the numbers, without a name. */
ivl_status ivl__index_parse(const unsigned char *front, size_t front_bytes,
                            const unsigned char *back, size_t back_bytes, uint64_t file_bytes,
                            ivl__index_head *head, ivl_error *error);
void ivl__index_head_free(ivl__index_head *head);

/* ---- reading ----------------------------------------------------------------------------- */

typedef struct ivl__search_index {
    char *path;
    ivl__map map;
    const void *vectors; /* [rows, dim], in the map, at the beginning of a page */
    ivl__index_head head;
} ivl__search_index;

/* IVL_INVALID_ARGUMENT names a file that is no index, is cut off or damaged; IVL_IO_ERROR. */
ivl_status ivl__search_index_open(const char *path, ivl__search_index *index, ivl_error *error);
void ivl__search_index_close(ivl__search_index *index);

/* Replaces the text by the key (any bytes) of a row. IVL_INVALID_ARGUMENT: the table is damaged. */
ivl_status ivl__search_index_key(const ivl__search_index *index, uint64_t row, ivl__text *key,
                                 ivl_error *error);

/* Told how many bytes of how many are done; answers true to stop. */
typedef bool ivl__index_progress(void *user, uint64_t done, uint64_t total);

/* Reads everything and compares the checksums. IVL_INVALID_ARGUMENT says which does not hold;
 * IVL_CANCELLED. */
ivl_status ivl__search_index_check(const ivl__search_index *index, ivl__index_progress *progress,
                                   void *user, ivl_error *error);

/* ---- writing ----------------------------------------------------------------------------- */

typedef struct ivl__index_writer ivl__index_writer;

typedef struct ivl__index_options {
    const char *model_id, *mode;
    const json_t *identity; /* of the embeddings */
    int32_t dim;
    ivl__npy_type type;
    uint64_t most_rows; /* that may come: their space is looked for */
    bool force;         /* replace what is there */
} ivl__index_options;

/* Everything is written as path.part (keys and table as further .part files) and gets its name at
 * the end. IVL_INVALID_ARGUMENT: something is there already, or another process is writing it;
 * IVL_IO_ERROR: no space. */
ivl_status ivl__index_writer_open(const char *path, const ivl__index_options *options,
                                  ivl__index_writer **writer, ivl_error *error);
/* Adds a row (of dim values, any length) unless it has no direction (*kept). */
ivl_status ivl__index_writer_add(ivl__index_writer *writer, const float *row, const char *key,
                                 size_t key_bytes, bool *kept, ivl_error *error);
ivl_status ivl__index_writer_finish(ivl__index_writer *writer, ivl_error *error);
/* Without finish: what was written is removed. */
void ivl__index_writer_free(ivl__index_writer *writer);

#endif
