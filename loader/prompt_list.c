/* prompt_list.c - class names and templates; see prompt_list.h. */
#include "loader/prompt_list.h"

#include "loader/text_source.h"
#include "runtime/memory.h"

#include <string.h>

void ivl__prompt_list_free(ivl__prompt_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        ivl__free(list->items[i]);
    }
    ivl__free(list->items);
    *list = (ivl__prompt_list){0};
}

static ivl_status check_text(const char *text, size_t bytes, ivl_error *error)
{
    size_t length;

    if (bytes == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "is empty");
    }
    if (bytes > IVL__PROMPT_MAX_BYTES) {
        return ivl__fail(error, IVL_BAD_INPUT, "has %zu bytes, at most %d are read", bytes,
                         IVL__PROMPT_MAX_BYTES);
    }
    for (size_t at = 0; at < bytes; at += length) {
        length = ivl__utf8_decode(text + at, bytes - at, NULL);
        if (!length || !text[at]) {
            return ivl__fail(error, IVL_BAD_INPUT, "is not UTF-8 text at byte %zu (0x%02x)", at,
                             (unsigned)(unsigned char)text[at]);
        }
    }
    return IVL_OK;
}

ivl_status ivl__prompt_list_add(ivl__prompt_list *list, const char *text, size_t bytes,
                                ivl_error *error)
{
    char *copy;

    IVL__TRY(check_text(text, bytes, error));
    if (list->n == IVL__PROMPTS_MOST) {
        return ivl__fail(error, IVL_BAD_INPUT, "is one too many: at most %d are read",
                         IVL__PROMPTS_MOST);
    }
    copy = ivl__malloc(bytes + 1);
    if (!copy ||
        !ivl__grow((void **)&list->items, &list->capacity, list->n + 1, sizeof *list->items)) {
        ivl__free(copy);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a list of names");
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    list->items[list->n++] = copy;
    return IVL_OK;
}

/* ---- files ------------------------------------------------------------------------------- */

static void trim(const char **text, size_t *bytes)
{
    while (*bytes && (**text == ' ' || **text == '\t')) {
        ++*text;
        --*bytes;
    }
    while (*bytes && ((*text)[*bytes - 1] == ' ' || (*text)[*bytes - 1] == '\t')) {
        --*bytes;
    }
}

/* What stands behind an empty line would have another index than it seems. */
static ivl_status add_line(ivl__prompt_list *list, const ivl__text_item *item, uint64_t *empty_line,
                           ivl_error *error)
{
    const char *text = item->text;
    size_t bytes = item->bytes;
    ivl_status status;

    if (item->failed) {
        return ivl__fail(error, IVL_BAD_INPUT, "line %llu: %s", (unsigned long long)item->line,
                         item->error_text);
    }
    if (item->line == 1 && bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        bytes -= 3;
    }
    trim(&text, &bytes);
    if (bytes == 0) {
        *empty_line = *empty_line ? *empty_line : item->line;
        return IVL_OK;
    }
    if (*empty_line) {
        return ivl__fail(error, IVL_BAD_INPUT, "line %llu is empty, and more follow; remove it",
                         (unsigned long long)*empty_line);
    }
    status = ivl__prompt_list_add(list, text, bytes, error);
    return status == IVL_OK
               ? status
               : ivl__fail_context(error, status, "line %llu", (unsigned long long)item->line);
}

static ivl_status read_lines(const char *path, const char *what, ivl__prompt_list *list,
                             ivl_error *error)
{
    ivl__text_source *source = NULL;
    ivl__text_item item;
    ivl_error detail = {0};
    uint64_t empty_line = 0;
    bool end = false;
    ivl_status status = ivl__text_source_open(path, &source, &detail);

    while (status == IVL_OK) {
        status = ivl__text_source_next(source, &item, &end, &detail);
        if (status != IVL_OK || end) {
            break;
        }
        status = add_line(list, &item, &empty_line, &detail);
    }
    ivl__text_source_free(source);
    if (status == IVL_OK && list->n == 0) {
        status = ivl__fail(&detail, IVL_BAD_INPUT, "there is none");
    }
    if (status != IVL_OK) {
        ivl__prompt_list_free(list);
        return ivl__fail(error, status, "%s in '%s': %s", what, path, detail.message);
    }
    return IVL_OK;
}

ivl_status ivl__class_list_read(const char *path, ivl__prompt_list *classes, ivl_error *error)
{
    *classes = (ivl__prompt_list){0};
    return read_lines(path, "class names", classes, error);
}

ivl_status ivl__template_list_read(const char *path, ivl__prompt_list *templates, ivl_error *error)
{
    *templates = (ivl__prompt_list){0};
    IVL__TRY(read_lines(path, "templates", templates, error));
    for (size_t i = 0; i < templates->n; i++) {
        if (!ivl__template_has_place(templates->items[i])) {
            ivl_status status = ivl__fail(error, IVL_BAD_INPUT,
                                          "templates in '%s': line %zu (\"%.60s\") has no {} or "
                                          "{c} for the class name",
                                          path, i + 1, templates->items[i]);

            ivl__prompt_list_free(templates);
            return status;
        }
    }
    return IVL_OK;
}

/* ---- use --------------------------------------------------------------------------------- */

/* Length of the placeholder at the start of the text, 0 for anything else. */
static size_t place_at(const char *text)
{
    return strncmp(text, "{c}", 3) == 0 ? 3 : strncmp(text, "{}", 2) == 0 ? 2 : 0;
}

bool ivl__template_has_place(const char *prompt)
{
    const char *at = prompt;

    while ((at = strchr(at, '{')) != NULL) {
        if (place_at(at)) {
            return true;
        }
        at++;
    }
    return false;
}

void ivl__template_fill(const char *prompt, const char *name, ivl__text *out)
{
    while (*prompt) {
        size_t plain = strcspn(prompt, "{");
        size_t place;

        ivl__text_add(out, prompt, plain);
        prompt += plain;
        place = place_at(prompt);
        if (place) {
            ivl__text_puts(out, name);
            prompt += place;
        } else if (*prompt) {
            ivl__text_add(out, prompt++, 1);
        }
    }
}

int64_t ivl__class_list_find(const ivl__prompt_list *classes, const char *name)
{
    int64_t found = -1;

    for (size_t i = 0; i < classes->n; i++) {
        if (strcmp(classes->items[i], name) == 0) {
            if (found >= 0) {
                return -2;
            }
            found = (int64_t)i;
        }
    }
    return found;
}
