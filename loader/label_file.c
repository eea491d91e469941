/* label_file.c - labels of inputs; see label_file.h. */
#include "loader/label_file.h"

#include "loader/csv.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ivl__labels_free(ivl__labels *labels)
{
    for (size_t i = 0; i < labels->n; i++) {
        ivl__free(labels->items[i].key);
    }
    ivl__free(labels->items);
    *labels = (ivl__labels){0};
}

/* ---- one record -------------------------------------------------------------------------- */

static bool parse_index(const char *text, size_t n_classes, int32_t *index)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value >= n_classes) {
        return false;
    }
    *index = (int32_t)value;
    return true;
}

static ivl_status find_class(const ivl__prompt_list *classes, const char *label, int32_t *index,
                             ivl_error *error)
{
    int64_t found = ivl__class_list_find(classes, label);

    if (found >= 0) {
        *index = (int32_t)found;
        return IVL_OK;
    }
    if (found == -2) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "label \"%.80s\" is the name of several classes; give the index of one",
                         label);
    }
    if (!parse_index(label, classes->n, index)) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "label \"%.80s\" is neither the name of a class nor an index from 0 to "
                         "%zu",
                         label, classes->n - 1);
    }
    return IVL_OK;
}

static ivl_status add_record(const ivl__csv *csv, int key, int label,
                             const ivl__prompt_list *classes, ivl__labels *labels, ivl_error *error)
{
    ivl__label item = {.line = csv->line};

    if ((size_t)key >= csv->n || (size_t)label >= csv->n) {
        return ivl__fail(error, IVL_BAD_INPUT, "there are %zu fields, fewer than in the header",
                         csv->n);
    }
    if (csv->fields[key].bytes != strlen(csv->fields[key].text) ||
        csv->fields[label].bytes != strlen(csv->fields[label].text)) {
        return ivl__fail(error, IVL_BAD_INPUT, "there is a NUL byte");
    }
    IVL__TRY(find_class(classes, csv->fields[label].text, &item.index, error));
    item.key = ivl__strdup(csv->fields[key].text);
    if (!item.key || !ivl__grow((void **)&labels->items, &labels->capacity, labels->n + 1,
                                sizeof *labels->items)) {
        ivl__free(item.key);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for labels");
    }
    labels->items[labels->n++] = item;
    return IVL_OK;
}

/* ---- the file ---------------------------------------------------------------------------- */

static ivl_status read_header(ivl__csv *csv, int *key, int *label, ivl_error *error)
{
    bool end;

    IVL__TRY(ivl__csv_next(csv, &end, error));
    *key = end ? -1 : ivl__csv_column(csv, "key");
    *label = end ? -1 : ivl__csv_column(csv, "label");
    if (*key < 0 || *label < 0) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "the first line is no header with the columns key and label");
    }
    return IVL_OK;
}

static int by_key(const void *a, const void *b)
{
    const ivl__label *x = a;
    const ivl__label *y = b;
    int order = strcmp(x->key, y->key);

    return order ? order : x->line < y->line ? -1 : x->line > y->line;
}

/* Sorts, and makes one of equal ones. */
static ivl_status sort(ivl__labels *labels, ivl_error *error)
{
    size_t kept = 0;

    if (labels->n) {
        qsort(labels->items, labels->n, sizeof *labels->items, by_key);
    }
    for (size_t i = 0; i < labels->n; i++) {
        ivl__label *last = kept ? &labels->items[kept - 1] : NULL;

        if (!last || strcmp(last->key, labels->items[i].key) != 0) {
            labels->items[kept++] = labels->items[i];
            continue;
        }
        if (last->index != labels->items[i].index) {
            ivl__fail(error, IVL_BAD_INPUT,
                      "key \"%.200s\" has two labels, in line %llu and in line %llu", last->key,
                      (unsigned long long)last->line, (unsigned long long)labels->items[i].line);
            /* What follows is still owned: keep the list whole. */
            memmove(labels->items + kept, labels->items + i,
                    (labels->n - i) * sizeof *labels->items);
            labels->n -= i - kept;
            return IVL_BAD_INPUT;
        }
        ivl__free(labels->items[i].key);
    }
    labels->n = kept;
    return IVL_OK;
}

static ivl_status parse(ivl__csv *csv, const ivl__prompt_list *classes, ivl__labels *labels,
                        ivl_error *error)
{
    int key, label;

    IVL__TRY(read_header(csv, &key, &label, error));
    for (;;) {
        bool end;
        ivl_status status;

        IVL__TRY(ivl__csv_next(csv, &end, error));
        if (end) {
            return sort(labels, error);
        }
        status = add_record(csv, key, label, classes, labels, error);
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "line %llu", (unsigned long long)csv->line);
        }
    }
}

ivl_status ivl__labels_parse(const void *data, size_t bytes, const ivl__prompt_list *classes,
                             ivl__labels *labels, ivl_error *error)
{
    ivl__csv csv;
    ivl_status status;

    *labels = (ivl__labels){0};
    ivl__csv_begin(&csv, data, bytes);
    status = parse(&csv, classes, labels, error);
    ivl__csv_free(&csv);
    if (status != IVL_OK) {
        ivl__labels_free(labels);
    }
    return status;
}

ivl_status ivl__labels_read(const char *path, const ivl__prompt_list *classes, ivl__labels *labels,
                            ivl_error *error)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    ivl_status status;

    *labels = (ivl__labels){0};
    status = ivl__file_read(path, IVL__LABELS_MAX_BYTES, &data, &bytes, error);
    if (status == IVL_OK) {
        status = ivl__labels_parse(data, bytes, classes, labels, error);
        if (status != IVL_OK) {
            ivl__fail_context(error, status, "labels '%s'", path);
        }
    }
    ivl__free(data);
    return status;
}

int32_t ivl__labels_find(ivl__labels *labels, const char *key)
{
    size_t low = 0;
    size_t high = labels->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(labels->items[middle].key, key);

        if (order == 0) {
            labels->items[middle].used = true;
            return labels->items[middle].index;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}
