/* record_layout.h - which files an output consists of: the form of its path, and every name.
 *
 * A unit has `n_files` files, in this order: one per stream, then (but for .jsonl and .csv, whose
 * lines carry the keys themselves) the metadata, then the errors. While a unit is in progress each
 * is called <name>.part; <record>.part is its journal. An .npz or .sqlite is packed from such files
 * when the unit is complete; the packed ones never get a name of their own.
 */
#ifndef IVL_LOADER_RECORD_LAYOUT_H
#define IVL_LOADER_RECORD_LAYOUT_H

#include "loader/record_writer.h"

typedef enum ivl__record_form {
    IVL__RECORD_FOLDER,
    IVL__RECORD_NPY,
    IVL__RECORD_NPZ,
    IVL__RECORD_JSONL,
    IVL__RECORD_CSV,
    IVL__RECORD_SQLITE
} ivl__record_form;

typedef enum ivl__record_kind {
    IVL__RECORD_ARRAY,    /* .npy: header, rows */
    IVL__RECORD_METADATA, /* a JSON object per row */
    IVL__RECORD_VECTORS,  /* the same with the member "vector" */
    IVL__RECORD_TABLE,    /* CSV: a header line, key and vector per record */
    IVL__RECORD_ERRORS    /* a JSON object per failed input */
} ivl__record_kind;

enum { IVL__RECORD_MAX_FILES = IVL__MAX_STREAMS + 2 };

typedef struct ivl__record_layout {
    ivl__record_form form;
    char *path;                  /* as given */
    char *base;                  /* without .npy ..., or the folder without slashes at its end */
    ivl__record_stream *streams; /* [n_streams], names owned */
    uint64_t *elements;          /* [n_streams] of one row */
    int n_streams, n_files;
    ivl__npy_type type;
} ivl__record_layout;

/* IVL_INVALID_ARGUMENT for a path without a known ending, and for streams that cannot be. */
ivl_status ivl__record_layout_init(ivl__record_layout *layout, const char *path,
                                   const ivl__record_stream *streams, int n_streams,
                                   ivl__npy_type type, ivl_error *error);
void ivl__record_layout_free(ivl__record_layout *layout);

/* "npy", "sqlite", ..., "folder". */
const char *ivl__record_form_name(const ivl__record_layout *layout);
ivl__record_kind ivl__record_kind_of(const ivl__record_layout *layout, int file);
/* Whether the file is only material for the .npz or .sqlite. */
bool ivl__record_is_packed(const ivl__record_layout *layout, int file);
/* Bytes of one row in an array. */
uint64_t ivl__record_row_bytes(const ivl__record_layout *layout, int stream);

/* New strings (ivl__free), NULL when memory is short. */
char *ivl__record_file_path(const ivl__record_layout *layout, int file, uint64_t unit);
/* The done record of a unit: done/%06u.json or OUT.meta.json. */
char *ivl__record_path(const ivl__record_layout *layout, uint64_t unit);
/* OUT.npz, or the OUT.sqlite of one stream. */
char *ivl__record_packed_path(const ivl__record_layout *layout, int stream);
/* "a" and "b" in one. */
char *ivl__record_concat(const char *a, const char *b);

#endif
