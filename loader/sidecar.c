/* sidecar.c - captions and metadata of webdataset members; see sidecar.h. */
#include "loader/sidecar.h"

#include "loader/json_text.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <string.h>

/* Members that a row writes itself. */
static const char *const reserved[] = {
    "row",        "key",          "width",        "height", "caption", "vector",
    "pair_score", "pair_score_c", "pair_score_g", "text",   "error",
};

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (strcmp(name, reserved[i]) == 0) {
            return true;
        }
    }
    return false;
}

static char *copy_caption(const char *text, size_t bytes)
{
    char *copy;

    while (bytes && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r')) {
        bytes--;
    }
    copy = ivl__malloc(bytes + 1);
    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

static int append_dump(const char *data, size_t bytes, void *user)
{
    ivl__text_add(user, data, bytes);
    return 0;
}

static void add_members(ivl__text *fields, json_t *object, bool drop_caption)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (drop_caption && strcmp(name, "caption") == 0) {
            continue;
        }
        if (fields->bytes) {
            ivl__text_puts(fields, ",");
        }
        /* jansson's names are valid UTF-8; a name is written like any string. */
        if (is_reserved(name)) {
            char *prefixed = ivl__malloc(strlen(name) + sizeof "sidecar_");

            if (!prefixed) {
                fields->failed = true;
                return;
            }
            memcpy(prefixed, "sidecar_", 8);
            memcpy(prefixed + 8, name, strlen(name) + 1);
            ivl__text_json(fields, prefixed);
            ivl__free(prefixed);
        } else {
            ivl__text_json(fields, name);
        }
        ivl__text_puts(fields, ":");
        if (json_dump_callback(value, append_dump, fields,
                               JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) != 0) {
            fields->failed = true;
        }
    }
}

static void add_json(ivl__text *fields, const char *json, size_t bytes, char **caption,
                     bool *failed)
{
    json_error_t why;
    json_t *object = json_loadb(json, bytes, JSON_ALLOW_NUL, &why);
    const json_t *text = json_object_get(object, "caption");
    bool taken = false;

    if (!object || !json_is_object(object)) {
        ivl__text_puts(fields, "\"sidecar_error\":");
        ivl__text_json(fields, object ? "not a JSON object" : why.text);
        json_decref(object);
        return;
    }
    if (!*caption && json_is_string(text)) {
        *caption = copy_caption(json_string_value(text), json_string_length(text));
        *failed = *caption == NULL;
        taken = true;
    } else if (*caption && json_is_string(text)) {
        taken = strcmp(*caption, json_string_value(text)) == 0;
    }
    add_members(fields, object, taken);
    json_decref(object);
}

ivl_status ivl__sidecar_read(const char *txt, size_t n_txt, const char *json, size_t n_json,
                             char **caption, char **fields, ivl_error *error)
{
    ivl__text members = {0};
    char *text = NULL;
    bool failed = false;

    if (txt) {
        text = copy_caption(txt, n_txt);
        failed = !text;
    }
    if (json && !failed) {
        add_json(&members, json, n_json, &text, &failed);
    }
    if (failed || members.failed) {
        ivl__free(text);
        ivl__text_free(&members);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read a sidecar file: out of memory");
    }
    if (members.bytes == 0) {
        ivl__text_free(&members);
    }
    *caption = text;
    *fields = members.data;
    return IVL_OK;
}
