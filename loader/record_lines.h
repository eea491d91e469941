/* record_lines.h - the text of an output: a line per row or failed input, written and read again.
 */
#ifndef IVL_LOADER_RECORD_LINES_H
#define IVL_LOADER_RECORD_LINES_H

#include "loader/json_text.h"
#include "loader/record_layout.h"

/* ---- writing ----------------------------------------------------------------------------- */

/* {"row": 0, "key": "a.jpg", "width": 640, "height": 480, "caption": "...", ...} with its line
 * feed. With a vector (n values of the layout's type) a member "vector" follows. */
void ivl__record_add_metadata(ivl__text *text, uint64_t row, const ivl__record *record,
                              const float *vector, size_t n, ivl__npy_type type);
/* key,0.25,... with its line feed. */
void ivl__record_add_table(ivl__text *text, const ivl__record *record, const float *vector,
                           size_t n, ivl__npy_type type);
/* key,v0,v1,...: the first line of a table. */
void ivl__record_add_table_header(ivl__text *text, size_t n);
/* {"key": "b.jpg", "error": "...", "input": 3}: input is the position in the unit. */
void ivl__record_add_error(ivl__text *text, const ivl__record *record, const char *message);

/* ---- reading ----------------------------------------------------------------------------- */

/* Reads a file line by line (a table: record by record; quoted line feeds belong to it). */
typedef struct ivl__line_reader {
    char *path; /* owned */
    int fd;
    uint64_t offset, end; /* of the file: what is read next, what is read at most */
    bool table;
    ivl__text buffer; /* bytes [at, buffer.bytes) are not yet given out */
    size_t at;
} ivl__line_reader;

/* Takes over path, also on failure. */
ivl_status ivl__lines_open(ivl__line_reader *reader, char *path, uint64_t end, bool table,
                           ivl_error *error);
void ivl__lines_close(ivl__line_reader *reader);
/* The next line with its line feed, valid until the next call; *line is NULL at the end. A last
 * line without line feed and lines beyond 1 GiB are IVL_BAD_INPUT. */
ivl_status ivl__lines_next(ivl__line_reader *reader, const char **line, size_t *bytes,
                           ivl_error *error);

/* Appends a line of metadata or vectors with another row number; false for any other line. */
bool ivl__record_renumber_row(ivl__text *text, const char *line, size_t bytes, uint64_t row);
/* The same for the input number of an error. */
bool ivl__record_renumber_error(ivl__text *text, const char *line, size_t bytes, uint64_t input);
/* The input number of an error. */
bool ivl__record_error_input(const char *line, size_t bytes, uint64_t *input);
/* The JSON string, quotes included, of "key" in a line of metadata. */
bool ivl__record_line_key(const char *line, size_t bytes, const char **key, size_t *n);

#endif
