/* query_list.h - what is searched for: vectors of length 1 with their names. */
#ifndef IVL_CLI_QUERY_LIST_H
#define IVL_CLI_QUERY_LIST_H

#include "loader/json_text.h"
#include "runtime/status.h"

#include <stdint.h>

/* How a query is called in the results. */
typedef struct cli_query_name {
    char *text; /* owned, bytes as given; NULL: the number */
    size_t bytes;
    uint64_t number; /* row of --vectors */
} cli_query_name;

typedef struct cli_query_list {
    size_t dim;
    float *vectors; /* [n, dim] */
    cli_query_name *names;
    size_t n, vectors_capacity, names_capacity;
    uint64_t skipped; /* named in a message each */
} cli_query_list;

void cli_query_list_free(cli_query_list *list);

/* Adds a query; text NULL: it is called by the number. The vector may have any length; one without
 * a direction is named and counted as skipped. */
ivl_status cli_query_list_add(cli_query_list *list, const float *vector, const char *text,
                              size_t bytes, uint64_t number, ivl_error *error);
/* The rows of an array [n, dim] or [dim], float32 or float16. IVL_INVALID_ARGUMENT for others. */
ivl_status cli_query_list_add_array(cli_query_list *list, const char *path, ivl_error *error);

/* Appends a name: as a JSON value, or on one line for people. */
void cli_query_name_json(const cli_query_name *name, ivl__text *text);
void cli_query_name_plain(const cli_query_name *name, ivl__text *text);
/* The same for any bytes: control characters become blanks, what is not UTF-8 is escaped. */
void cli_plain_bytes(ivl__text *text, const char *bytes, size_t n);

#endif
