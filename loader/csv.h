/* csv.h - comma-separated records of RFC 4180, read from memory.
 *
 * Fields may stand in double quotes and then hold commas, line ends and doubled quotes; lines end
 * with LF or CR LF; a byte order mark at the start is dropped; empty lines are no records. Text
 * behind a closing quote, a quote inside a plain field and an unclosed quote are errors.
 */
#ifndef IVL_LOADER_CSV_H
#define IVL_LOADER_CSV_H

#include "loader/json_text.h"

#include <stdint.h>

enum { IVL__CSV_MAX_FIELDS = 64 };

/* One field, NUL-terminated behind `bytes` bytes (which may hold NUL themselves). */
typedef struct ivl__csv_field {
    const char *text;
    size_t bytes;
} ivl__csv_field;

/* Fields belong to the reader until the next call. */
typedef struct ivl__csv {
    const char *data;
    size_t bytes, at;
    uint64_t line; /* where the record at hand begins, from 1 */
    uint64_t next_line;
    ivl__text text; /* the fields, unquoted */
    size_t starts[IVL__CSV_MAX_FIELDS];
    ivl__csv_field fields[IVL__CSV_MAX_FIELDS];
    size_t n;
} ivl__csv;

/* The data must outlive the reader. */
void ivl__csv_begin(ivl__csv *csv, const void *data, size_t bytes);
/* The next record in csv->fields[csv->n], or *end = true. IVL_BAD_INPUT names the line. */
ivl_status ivl__csv_next(ivl__csv *csv, bool *end, ivl_error *error);
void ivl__csv_free(ivl__csv *csv);

/* Index of the column of that name in the record at hand, -1 where there is none. */
int ivl__csv_column(const ivl__csv *csv, const char *name);

#endif
