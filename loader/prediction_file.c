/* prediction_file.c - lines of predictions; see prediction_file.h. */
#include "loader/prediction_file.h"

#include "runtime/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define FORMAT "internvl predictions 1"

void ivl__prediction_free(ivl__prediction *prediction)
{
    ivl__free(prediction->right);
    *prediction = (ivl__prediction){0};
}

static ivl_status load(const char *line, size_t bytes, json_t **root, ivl_error *error)
{
    json_error_t detail;

    *root = json_loadb(line, bytes, 0, &detail);
    if (!*root) {
        return ivl__fail(error, IVL_BAD_INPUT, "not valid JSON: %s", detail.text);
    }
    return IVL_OK;
}

/* A number from 0 to limit - 1. */
static ivl_status get_index(const json_t *value, const char *key, uint64_t limit, uint32_t *out,
                            ivl_error *error)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) >= limit) {
        return ivl__fail(error, IVL_BAD_INPUT, "\"%s\" is no number from 0 to below %llu", key,
                         (unsigned long long)limit);
    }
    *out = (uint32_t)json_integer_value(value);
    return IVL_OK;
}

static ivl_status get_text(const json_t *root, const char *key, char *out, size_t size,
                           ivl_error *error)
{
    const char *text = json_string_value(json_object_get(root, key));

    if (!text || strlen(text) >= size) {
        return ivl__fail(error, IVL_BAD_INPUT, "\"%s\" is missing, or no text below %zu bytes", key,
                         size);
    }
    snprintf(out, size, "%s", text);
    return IVL_OK;
}

/* ---- the first line ---------------------------------------------------------------------- */

static ivl_status read_head(const json_t *root, ivl__prediction_head *head, ivl_error *error)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    char task[16];
    ivl__prediction_head h = {0};

    if (!format || strcmp(format, FORMAT) != 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "these are no predictions (\"%s\")", FORMAT);
    }
    IVL__TRY(get_text(root, "task", task, sizeof task, error));
    IVL__TRY(get_text(root, "mode", h.mode, sizeof h.mode, error));
    IVL__TRY(get_text(root, "model_id", h.model_id, sizeof h.model_id, error));
    if (!json_is_null(json_object_get(root, "suite"))) {
        IVL__TRY(get_text(root, "suite", h.suite, sizeof h.suite, error));
    }
    h.retrieval = strcmp(task, "retrieval") == 0;
    if (h.retrieval) {
        IVL__TRY(
            get_index(json_object_get(root, "images"), "images", UINT32_MAX, &h.images, error));
        IVL__TRY(get_index(json_object_get(root, "texts"), "texts", UINT32_MAX, &h.texts, error));
    } else if (strcmp(task, "classification") == 0) {
        /* The counts of the classes are an array. */
        IVL__TRY(
            get_index(json_object_get(root, "classes"), "classes", 1u << 24, &h.classes, error));
    } else {
        return ivl__fail(error, IVL_BAD_INPUT, "task \"%s\" is not known", task);
    }
    *head = h;
    return IVL_OK;
}

ivl_status ivl__prediction_parse_head(const char *line, size_t bytes, ivl__prediction_head *head,
                                      ivl_error *error)
{
    json_t *root;
    ivl_status status;

    IVL__TRY(load(line, bytes, &root, error));
    status = read_head(root, head, error);
    json_decref(root);
    return status;
}

/* ---- the others -------------------------------------------------------------------------- */

static ivl_status read_top(const json_t *root, uint64_t limit, ivl__prediction *p, ivl_error *error)
{
    const json_t *top = json_object_get(root, "top");

    p->n_top = 0;
    if (!json_is_array(top) || json_array_size(top) > IVL__PREDICTION_TOP) {
        return ivl__fail(error, IVL_BAD_INPUT, "\"top\" is missing, or no list of at most %d",
                         IVL__PREDICTION_TOP);
    }
    for (size_t i = 0; i < json_array_size(top); i++) {
        IVL__TRY(get_index(json_object_get(json_array_get(top, i), "index"), "top[].index", limit,
                           &p->top[i], error));
        p->n_top++;
    }
    return IVL_OK;
}

static ivl_status read_right(const json_t *root, uint64_t limit, ivl__prediction *p,
                             ivl_error *error)
{
    const json_t *right = json_object_get(root, "right");
    size_t n = json_array_size(right);

    p->n_right = 0;
    if (!json_is_array(right)) {
        return ivl__fail(error, IVL_BAD_INPUT, "\"right\" is missing, or no list");
    }
    if (n && !ivl__grow((void **)&p->right, &p->right_capacity, n, sizeof *p->right)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a line of predictions");
    }
    for (size_t i = 0; i < n; i++) {
        IVL__TRY(get_index(json_array_get(right, i), "right[]", limit, &p->right[i], error));
        p->n_right++;
    }
    return IVL_OK;
}

static ivl_status read_query(const json_t *root, const ivl__prediction_head *head,
                             ivl__prediction *p, ivl_error *error)
{
    char query[8];
    uint32_t own, other;

    IVL__TRY(get_text(root, "query", query, sizeof query, error));
    p->by_image = strcmp(query, "image") == 0;
    if (!p->by_image && strcmp(query, "text") != 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "query \"%s\" is neither text nor image", query);
    }
    own = p->by_image ? head->images : head->texts;
    other = p->by_image ? head->texts : head->images;
    IVL__TRY(get_index(json_object_get(root, "index"), "index", own, &p->index, error));
    IVL__TRY(read_right(root, other, p, error));
    return read_top(root, other, p, error);
}

static ivl_status read_line(const json_t *root, const ivl__prediction_head *head,
                            ivl__prediction *p, ivl_error *error)
{
    if (head->retrieval) {
        return read_query(root, head, p, error);
    }
    IVL__TRY(get_index(json_object_get(root, "label"), "label", head->classes, &p->label, error));
    return read_top(root, head->classes, p, error);
}

ivl_status ivl__prediction_parse(const char *line, size_t bytes, const ivl__prediction_head *head,
                                 ivl__prediction *prediction, ivl_error *error)
{
    json_t *root;
    ivl_status status;

    IVL__TRY(load(line, bytes, &root, error));
    status = read_line(root, head, prediction, error);
    json_decref(root);
    return status;
}
