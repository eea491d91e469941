/* csv.c - comma-separated records; see csv.h. */
#include "loader/csv.h"

#include <string.h>

void ivl__csv_begin(ivl__csv *csv, const void *data, size_t bytes)
{
    *csv = (ivl__csv){.data = data, .bytes = bytes, .next_line = 1};
    if (bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        csv->at = 3;
    }
}

void ivl__csv_free(ivl__csv *csv)
{
    ivl__text_free(&csv->text);
    csv->n = 0;
}

/* The line end at the reader's place: its length, 0 where there is none. The end of the data counts
 * as one of length 0 for the callers, which test for it first. */
static size_t line_end(const ivl__csv *csv)
{
    const char *at = csv->data + csv->at;

    if (*at == '\n') {
        return 1;
    }
    return *at == '\r' && csv->at + 1 < csv->bytes && at[1] == '\n' ? 2 : 0;
}

static void skip_empty_lines(ivl__csv *csv)
{
    size_t length;

    while (csv->at < csv->bytes && (length = line_end(csv)) != 0) {
        csv->at += length;
        csv->next_line++;
    }
}

/* Behind the opening quote, up to behind the closing one. */
static ivl_status read_quoted(ivl__csv *csv, ivl_error *error)
{
    for (;;) {
        const char *at = csv->data + csv->at;
        const char *quote = memchr(at, '"', csv->bytes - csv->at);
        size_t length;

        if (!quote) {
            return ivl__fail(error, IVL_BAD_INPUT, "line %llu: a quote is not closed",
                             (unsigned long long)csv->line);
        }
        length = (size_t)(quote - at);
        for (size_t i = 0; i < length; i++) {
            csv->next_line += at[i] == '\n';
        }
        ivl__text_add(&csv->text, at, length);
        csv->at += length + 1;
        if (csv->at == csv->bytes || csv->data[csv->at] != '"') {
            return IVL_OK;
        }
        ivl__text_add(&csv->text, "\"", 1);
        csv->at++;
    }
}

static ivl_status read_plain(ivl__csv *csv, ivl_error *error)
{
    size_t from = csv->at;

    while (csv->at < csv->bytes && csv->data[csv->at] != ',' && !line_end(csv)) {
        if (csv->data[csv->at] == '"') {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "line %llu: a quote inside a field without quotes around it",
                             (unsigned long long)csv->line);
        }
        csv->at++;
    }
    ivl__text_add(&csv->text, csv->data + from, csv->at - from);
    return IVL_OK;
}

/* One field and what ends it; *more: a comma. */
static ivl_status read_field(ivl__csv *csv, bool *more, ivl_error *error)
{
    size_t length;

    if (csv->n == IVL__CSV_MAX_FIELDS) {
        return ivl__fail(error, IVL_BAD_INPUT, "line %llu has more than %d fields",
                         (unsigned long long)csv->line, IVL__CSV_MAX_FIELDS);
    }
    csv->starts[csv->n] = csv->text.bytes;
    *more = false;
    if (csv->at < csv->bytes && csv->data[csv->at] == '"') {
        csv->at++;
        IVL__TRY(read_quoted(csv, error));
    } else {
        IVL__TRY(read_plain(csv, error));
    }
    csv->fields[csv->n].bytes = csv->text.bytes - csv->starts[csv->n];
    csv->n++;
    ivl__text_add(&csv->text, "", 1);
    if (csv->at == csv->bytes) {
        return IVL_OK;
    }
    *more = csv->data[csv->at] == ',';
    length = *more ? 1 : line_end(csv);
    if (!length) {
        return ivl__fail(error, IVL_BAD_INPUT, "line %llu: text behind a closing quote",
                         (unsigned long long)csv->line);
    }
    csv->at += length;
    csv->next_line += !*more;
    return IVL_OK;
}

ivl_status ivl__csv_next(ivl__csv *csv, bool *end, ivl_error *error)
{
    bool more = true;

    skip_empty_lines(csv);
    csv->n = 0;
    csv->line = csv->next_line;
    ivl__text_clear(&csv->text);
    *end = csv->at == csv->bytes;
    while (!*end && more) {
        IVL__TRY(read_field(csv, &more, error));
    }
    if (csv->text.failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for line %llu",
                         (unsigned long long)csv->line);
    }
    /* Only now, since the text moves as it grows. */
    for (size_t i = 0; i < csv->n; i++) {
        csv->fields[i].text = csv->text.data + csv->starts[i];
    }
    return IVL_OK;
}

int ivl__csv_column(const ivl__csv *csv, const char *name)
{
    for (size_t i = 0; i < csv->n; i++) {
        if (strcmp(csv->fields[i].text, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}
