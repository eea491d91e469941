/* input_list.c - lines of a text file or pipe; see input_list.h. */
#include "loader/input_list.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>

enum { CHUNK = 65536 };

struct ivl__input_list {
    char *path;
    int fd;
    bool owned;
    char separator;
    char *buffer; /* [capacity], bytes from..to are not yet handed out */
    size_t capacity, from, to;
    bool ended;
    uint64_t line;
};

ivl_status ivl__input_list_open(const char *path, int fd, char separator, ivl__input_list **list,
                                ivl_error *error)
{
    ivl__input_list *l = ivl__calloc(1, sizeof *l);
    ivl_status status;

    if (!l || !(l->path = ivl__strdup(path ? path : "standard input"))) {
        ivl__free(l);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot open a list: out of memory");
    }
    l->fd = fd;
    l->separator = separator;
    if (path) {
        status = ivl__file_open(path, &l->fd, error);
        if (status != IVL_OK) {
            ivl__free(l->path);
            ivl__free(l);
            return status;
        }
        l->owned = true;
    }
    *list = l;
    return IVL_OK;
}

/* Reads one more chunk behind what is held. */
static ivl_status fill(ivl__input_list *l, ivl_error *error)
{
    ivl_status status;
    size_t got;

    if (l->from) {
        memmove(l->buffer, l->buffer + l->from, l->to - l->from);
        l->to -= l->from;
        l->from = 0;
    }
    if (!ivl__grow((void **)&l->buffer, &l->capacity, l->to + CHUNK + 1, 1)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read '%s': out of memory", l->path);
    }
    status = ivl__file_read_some(l->fd, l->path, l->buffer + l->to, CHUNK, &got, error);
    if (status == IVL_OK) {
        l->ended = got == 0;
        l->to += got;
    }
    return status;
}

/* The line at the start of the buffer is too long: keeps what fits and reads over the rest. */
static ivl_status cut_line(ivl__input_list *l, ivl_error *error)
{
    for (;;) {
        char *stop = memchr(l->buffer + IVL__LIST_MAX_LINE, l->separator,
                            l->to - IVL__LIST_MAX_LINE);
        ivl_status status;

        if (stop || l->ended) {
            l->from = stop ? (size_t)(stop - l->buffer) + 1 : l->to;
            l->buffer[IVL__LIST_MAX_LINE] = '\0';
            l->line++;
            return IVL_OK;
        }
        l->to = IVL__LIST_MAX_LINE;
        status = fill(l, error);
        if (status != IVL_OK) {
            return status;
        }
    }
}

static void hand_out(ivl__input_list *l, size_t length, const char **line, size_t *bytes)
{
    char *start = l->buffer + l->from;

    if (l->separator == '\n' && length && start[length - 1] == '\r') {
        length--;
    }
    if (l->line++ == 0 && l->separator == '\n' && length >= 3 &&
        memcmp(start, "\xef\xbb\xbf", 3) == 0) {
        start += 3;
        length -= 3;
    }
    start[length] = '\0';
    *line = start;
    *bytes = length;
}

ivl_status ivl__input_list_next(ivl__input_list *l, const char **line, size_t *bytes,
                                bool *complete, bool *end, ivl_error *error)
{
    size_t searched = 0;
    ivl_status status;

    *end = false;
    *complete = true;
    for (;;) {
        size_t held = l->to - l->from;
        char *stop = held > searched
                         ? memchr(l->buffer + l->from + searched, l->separator, held - searched)
                         : NULL;

        if (stop || (l->ended && held)) {
            size_t length = stop ? (size_t)(stop - l->buffer) - l->from : held;

            hand_out(l, length, line, bytes);
            l->from += length + (stop ? 1 : 0);
            return IVL_OK;
        }
        if (l->ended) {
            *end = true;
            return IVL_OK;
        }
        if (held > IVL__LIST_MAX_LINE && l->from == 0) {
            *complete = false;
            *bytes = IVL__LIST_MAX_LINE;
            status = cut_line(l, error);
            *line = l->buffer; /* which may have moved */
            return status;
        }
        searched = held;
        status = fill(l, error);
        if (status != IVL_OK) {
            return status;
        }
    }
}

uint64_t ivl__input_list_line(const ivl__input_list *list)
{
    return list->line;
}

void ivl__input_list_free(ivl__input_list *list)
{
    if (!list) {
        return;
    }
    if (list->owned) {
        ivl__file_close(list->fd);
    }
    ivl__free(list->buffer);
    ivl__free(list->path);
    ivl__free(list);
}
