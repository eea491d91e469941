/* text_source.c - texts of a file, line by line; see text_source.h. */
#include "loader/text_source.h"

#include "loader/json_text.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define CHUNK 65536u

/* How often somebody who waits asks whether to stop. */
enum { STOP_MILLISECONDS = 100 };

struct ivl__text_source {
    char *path;
    int fd;
    bool owns_fd, json, at_end;
    bool (*stop)(void); /* or NULL */
    uint64_t line;
    char *chunk; /* [CHUNK] what was read last */
    size_t used, filled;
    ivl__text text; /* the line as it is collected */
    json_t *object; /* whose "text" was handed out */
};

static bool ends_with(const char *path, const char *suffix)
{
    size_t n = strlen(path);
    size_t m = strlen(suffix);

    return n >= m && strcmp(path + n - m, suffix) == 0;
}

ivl_status ivl__text_source_open(const char *path, ivl__text_source **out, ivl_error *error)
{
    ivl__text_source *s = ivl__calloc(1, sizeof *s);
    ivl_status status = IVL_OK;
    ivl_error detail = {0};

    if (s) {
        s->path = ivl__strdup(path);
        s->chunk = ivl__malloc(CHUNK);
    }
    if (!s || !s->path || !s->chunk) {
        ivl__text_source_free(s);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a list of texts");
    }
    s->json = ends_with(path, ".jsonl");
    if (strcmp(path, "-") != 0) {
        status = ivl__file_open(path, &s->fd, &detail);
        s->owns_fd = status == IVL_OK;
    }
    if (status != IVL_OK) {
        ivl__text_source_free(s);
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "texts: %s", detail.message);
    }
    *out = s;
    return IVL_OK;
}

void ivl__text_source_free(ivl__text_source *s)
{
    if (!s) {
        return;
    }
    if (s->owns_fd) {
        ivl__file_close(s->fd);
    }
    json_decref(s->object);
    ivl__text_free(&s->text);
    ivl__free(s->chunk);
    ivl__free(s->path);
    ivl__free(s);
}

void ivl__text_source_set_stop(ivl__text_source *s, bool (*stop)(void))
{
    s->stop = stop;
}

static ivl_status wait_for_input(const ivl__text_source *s, ivl_error *error)
{
    while (s->stop && !ivl__file_ready(s->fd, STOP_MILLISECONDS)) {
        if (s->stop()) {
            return ivl__fail(error, IVL_CANCELLED, "interrupted");
        }
    }
    return IVL_OK;
}

/* Collects a line without its LF. *too_long: the rest was read and dropped. */
static ivl_status read_line(ivl__text_source *s, bool *too_long, bool *end, ivl_error *error)
{
    bool any = false;

    ivl__text_clear(&s->text);
    *too_long = false;
    while (!s->at_end) {
        const char *from;
        const char *line_end;
        size_t n;

        if (s->used == s->filled) {
            s->used = 0;
            IVL__TRY(wait_for_input(s, error));
            IVL__TRY(ivl__file_read_some(s->fd, s->path, s->chunk, CHUNK, &s->filled, error));
            s->at_end = s->filled == 0;
            continue;
        }
        any = true;
        from = s->chunk + s->used;
        line_end = memchr(from, '\n', s->filled - s->used);
        n = line_end ? (size_t)(line_end - from) : s->filled - s->used;
        *too_long = *too_long || s->text.bytes + n > IVL__TEXT_MAX_BYTES;
        if (!*too_long) {
            ivl__text_add(&s->text, from, n);
        }
        s->used += n + (line_end ? 1 : 0);
        if (line_end) {
            break;
        }
    }
    *end = !any;
    return s->text.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a line")
                          : IVL_OK;
}

static void check_utf8(ivl__text_item *item)
{
    size_t good = ivl__utf8_prefix(item->text, item->bytes);

    if (good < item->bytes) {
        snprintf(item->error_text, sizeof item->error_text,
                 "line is not UTF-8 at byte %zu (0x%02x)", good,
                 (unsigned)(unsigned char)item->text[good]);
        item->failed = true;
    }
}

static void read_object(ivl__text_source *s, ivl__text_item *item)
{
    json_error_t json_error;
    const json_t *text;

    json_decref(s->object);
    s->object = json_loadb(s->text.data ? s->text.data : "", s->text.bytes, JSON_ALLOW_NUL,
                           &json_error);
    text = json_object_get(s->object, "text");
    if (!s->object) {
        snprintf(item->error_text, sizeof item->error_text, "line is not JSON: %s",
                 json_error.text);
    } else if (!json_is_string(text)) {
        snprintf(item->error_text, sizeof item->error_text,
                 "object has no \"text\", or it is not a string");
    }
    item->failed = !json_is_string(text);
    item->text = item->failed ? "" : json_string_value(text);
    item->bytes = item->failed ? 0 : json_string_length(text);
}

ivl_status ivl__text_source_next(ivl__text_source *s, ivl__text_item *item, bool *end,
                                 ivl_error *error)
{
    bool too_long;

    *item = (ivl__text_item){.text = ""};
    IVL__TRY(read_line(s, &too_long, end, error));
    if (*end) {
        return IVL_OK;
    }
    item->line = ++s->line;
    if (too_long) {
        snprintf(item->error_text, sizeof item->error_text, "line is longer than %zu MiB",
                 IVL__TEXT_MAX_BYTES >> 20);
        item->failed = true;
        return IVL_OK;
    }
    item->text = s->text.data ? s->text.data : "";
    item->bytes = s->text.bytes;
    if (item->bytes && item->text[item->bytes - 1] == '\r') {
        item->bytes--;
    }
    if (s->json) {
        read_object(s, item);
    } else {
        check_utf8(item);
    }
    if (item->failed) {
        item->text = "";
        item->bytes = 0;
    }
    return IVL_OK;
}
