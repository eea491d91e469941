/* query_list.c - what is searched for; see query_list.h. */
#include "cli/query_list.h"

#include "cli/cli.h"
#include "loader/npy.h"
#include "loader/unit_vector.h"
#include "runtime/dtype.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <string.h>

/* Arrays of queries are held in memory. */
#define MOST_ARRAY_BYTES ((size_t)4 << 30)

void cli_query_list_free(cli_query_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        ivl__free(list->names[i].text);
    }
    ivl__free(list->names);
    ivl__free(list->vectors);
    *list = (cli_query_list){0};
}

/* ---- names ------------------------------------------------------------------------------- */

void cli_query_name_json(const cli_query_name *name, ivl__text *text)
{
    if (name->text) {
        ivl__text_json_bytes(text, name->text, name->bytes);
    } else {
        ivl__text_printf(text, "%" PRIu64, name->number);
    }
}

void cli_plain_bytes(ivl__text *text, const char *bytes, size_t n)
{
    size_t length;

    for (size_t at = 0; at < n; at += length) {
        unsigned char c = (unsigned char)bytes[at];

        length = ivl__utf8_decode(bytes + at, n - at, NULL);
        if (length == 0) {
            ivl__text_printf(text, "\\udc%02x", c);
            length = 1;
        } else if (c < 0x20 || c == 0x7f) {
            ivl__text_puts(text, " ");
        } else {
            ivl__text_add(text, bytes + at, length);
        }
    }
}

void cli_query_name_plain(const cli_query_name *name, ivl__text *text)
{
    if (name->text) {
        cli_plain_bytes(text, name->text, name->bytes);
    } else {
        ivl__text_printf(text, "row %" PRIu64, name->number);
    }
}

/* ---- queries ----------------------------------------------------------------------------- */

static void tell_skipped(cli_query_list *list, const cli_query_name *name)
{
    ivl__text text = {0};

    cli_query_name_plain(name, &text);
    cli_say(IVL_LOG_WARNING,
            "skipped query %s: its vector has no direction (all zero, or not finite)",
            text.failed || !text.data ? "" : text.data);
    ivl__text_free(&text);
    list->skipped++;
}

ivl_status cli_query_list_add(cli_query_list *list, const float *vector, const char *text,
                              size_t bytes, uint64_t number, ivl_error *error)
{
    cli_query_name name = {
        .text = text ? ivl__malloc(bytes + 1) : NULL, .bytes = bytes, .number = number};
    float *at;

    if ((text && !name.text) ||
        !ivl__grow((void **)&list->names, &list->names_capacity, list->n + 1, sizeof name) ||
        !ivl__grow((void **)&list->vectors, &list->vectors_capacity, (list->n + 1) * list->dim,
                   sizeof *vector)) {
        ivl__free(name.text);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu queries", list->n + 1);
    }
    if (text) {
        memcpy(name.text, text, bytes);
        name.text[bytes] = '\0';
    }
    at = list->vectors + list->n * list->dim;
    memcpy(at, vector, list->dim * sizeof *vector);
    if (ivl__unit_vector(at, list->dim)) {
        list->names[list->n++] = name;
    } else {
        tell_skipped(list, &name);
        ivl__free(name.text);
    }
    return IVL_OK;
}

static ivl_status check_array(const cli_query_list *list, const char *path, const ivl__npy *npy,
                              ivl_error *error)
{
    if ((npy->type != IVL__NPY_F4 && npy->type != IVL__NPY_F2) ||
        (npy->rank != 1 && npy->rank != 2)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' holds no queries: an array [n, %zu] or [%zu] of float32 or float16 "
                         "is wanted, it is %s of rank %d",
                         path, list->dim, list->dim, ivl__npy_type_name(npy->type), npy->rank);
    }
    if (npy->shape[npy->rank - 1] != list->dim) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' has vectors of %" PRIu64 " values, the index has vectors of %zu",
                         path, npy->shape[npy->rank - 1], list->dim);
    }
    return IVL_OK;
}

static ivl_status add_rows(cli_query_list *list, const ivl__npy *npy, const void *data,
                           ivl_error *error)
{
    const ivl_dtype type = npy->type == IVL__NPY_F2 ? IVL_F16 : IVL_F32;
    const uint64_t n = npy->rank == 1 ? 1 : npy->shape[0];
    float *row = ivl__calloc(list->dim, sizeof *row);
    ivl_status status = row ? IVL_OK
                            : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a query");

    for (uint64_t i = 0; status == IVL_OK && i < n; i++) {
        for (size_t d = 0; d < list->dim; d++) {
            row[d] = ivl__dtype_load(type, data, (size_t)i * list->dim + d);
        }
        status = cli_query_list_add(list, row, NULL, 0, i, error);
    }
    ivl__free(row);
    return status;
}

ivl_status cli_query_list_add_array(cli_query_list *list, const char *path, ivl_error *error)
{
    void *data;
    ivl__npy npy;
    ivl_status status = ivl__npy_read(path, MOST_ARRAY_BYTES, &npy, &data, error);

    if (status == IVL_BAD_INPUT || status == IVL_IO_ERROR) {
        return ivl__fail_context(error, IVL_INVALID_ARGUMENT, "--vectors");
    }
    IVL__TRY(status);
    status = check_array(list, path, &npy, error);
    if (status == IVL_OK) {
        status = add_rows(list, &npy, data, error);
    }
    ivl__free(data);
    return status;
}
