/* record_head.c - what an output is; see record_head.h. */
#include "loader/record_head.h"

#include "loader/json_text.h"
#include "loader/record_journal.h"

#include <stdlib.h>
#include <string.h>

static const char format_name[] = "internvl-output";
enum { FORMAT_VERSION = 1 };

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* Takes over `value`, which may be NULL when memory was short. */
static bool put(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static ivl_status load_object(const char *text, const char *what, json_t **json, ivl_error *error)
{
    json_error_t why;
    json_t *loaded = json_loads(text, JSON_REJECT_DUPLICATES, &why);

    if (!json_is_object(loaded)) {
        ivl_status status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                                      "output: the %s is no JSON object (%s)", what,
                                      loaded ? "another type" : why.text);

        json_decref(loaded);
        return status;
    }
    json_decref(*json);
    *json = loaded;
    return IVL_OK;
}

static json_t *stream_json(const ivl__record_layout *layout, const ivl__record_stream *stream)
{
    json_t *object = json_object();
    json_t *shape = json_array();
    bool good = object && shape;

    for (int d = 0; good && d < stream->rank; d++) {
        good = json_array_append_new(shape, json_integer((json_int_t)stream->shape[d])) == 0;
    }
    good = good && put(object, "name", json_string(stream->name)) &&
           put(object, "suffix", json_string(stream->suffix)) &&
           put(object, "type", json_string(ivl__npy_type_name(layout->type)));
    good = put(object, "shape", shape) && good;
    if (!good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

ivl_status ivl__record_head_init(ivl__record_head *head, const ivl__record_layout *layout,
                                 const char *identity, ivl_error *error)
{
    ivl_status status;

    *head = (ivl__record_head){.form = ivl__record_form_name(layout), .streams = json_array()};
    status = head->streams ? load_object(identity, "identity", &head->identity, error)
                           : no_memory(error);
    for (int i = 0; status == IVL_OK && i < layout->n_streams; i++) {
        if (json_array_append_new(head->streams, stream_json(layout, &layout->streams[i])) != 0) {
            status = no_memory(error);
        }
    }
    if (status != IVL_OK) {
        ivl__record_head_free(head);
    }
    return status;
}

ivl_status ivl__record_head_set_provenance(ivl__record_head *head, const char *provenance,
                                           ivl_error *error)
{
    return load_object(provenance ? provenance : "{}", "provenance", &head->provenance, error);
}

void ivl__record_head_free(ivl__record_head *head)
{
    json_decref(head->identity);
    json_decref(head->provenance);
    json_decref(head->streams);
    *head = (ivl__record_head){0};
}

bool ivl__record_head_write(const ivl__record_head *head, json_t *object)
{
    return put(object, "format", json_string(format_name)) &&
           put(object, "version", json_integer(FORMAT_VERSION)) &&
           put(object, "form", json_string(head->form)) &&
           json_object_set(object, "identity", head->identity) == 0 &&
           json_object_set(object, "streams", head->streams) == 0;
}

/* ---- comparing --------------------------------------------------------------------------- */

/* A value as a person should see it, not longer than a message can be. */
static void describe(ivl__text *text, const json_t *value)
{
    enum { LONGEST = 160 };
    char *dump = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    if (!value) {
        ivl__text_puts(text, "(nothing)");
    } else if (dump && strlen(dump) > LONGEST) {
        ivl__text_printf(text, "%.*s...", (int)LONGEST, dump);
    } else {
        ivl__text_puts(text, dump ? dump : "?");
    }
    free(dump);
}

typedef struct difference {
    const json_t *recorded, *wanted;
    ivl__text name; /* "size", "device.name" */
} difference;

/* Finds the first difference of two values; appends its name. Objects are compared member by
 * member in the order of the recorded one; jansson bounds their depth. */
static bool differ(const json_t *recorded, const json_t *wanted, difference *found)
{
    json_t *a = (json_t *)(uintptr_t)recorded;
    json_t *b = (json_t *)(uintptr_t)wanted;
    const char *name;
    json_t *member;
    size_t before = found->name.bytes;

    if (a && b && json_equal(a, b)) {
        return false;
    }
    if (!json_is_object(a) || !json_is_object(b)) {
        found->recorded = recorded;
        found->wanted = wanted;
        return true;
    }
    json_object_foreach(a, name, member)
    {
        ivl__text_printf(&found->name, "%s%s", before ? "." : "", name);
        if (differ(member, json_object_get(b, name), found)) {
            return true;
        }
        found->name.bytes = before;
    }
    json_object_foreach(b, name, member)
    {
        ivl__text_printf(&found->name, "%s%s", before ? "." : "", name);
        if (differ(json_object_get(a, name), member, found)) {
            return true;
        }
        found->name.bytes = before;
    }
    return false;
}

static ivl_status compare(const json_t *recorded, const json_t *wanted, const char *what,
                          const char *output, ivl_error *error)
{
    difference found = {0};
    ivl__text values = {0};
    ivl_status status = IVL_OK;

    if (differ(recorded, wanted, &found)) {
        describe(&values, found.recorded);
        ivl__text_puts(&values, ", this run has ");
        describe(&values, found.wanted);
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' was made with another %s: %s is %s; choose another "
                           "output, or pass --force to start over",
                           output, what, found.name.bytes ? found.name.data : what,
                           values.failed ? "" : values.data);
    }
    ivl__text_free(&found.name);
    ivl__text_free(&values);
    return status;
}

/* Arrays are compared one by one so that the message is about one of them. */
static ivl_status compare_streams(const json_t *recorded, const json_t *wanted, const char *output,
                                  ivl_error *error)
{
    size_t a = json_array_size(recorded);
    size_t b = json_array_size(wanted);

    for (size_t i = 0; i < a || i < b; i++) {
        IVL__TRY(compare(json_array_get(recorded, i), json_array_get(wanted, i), "array", output,
                         error));
    }
    return IVL_OK;
}

ivl_status ivl__record_head_check(const ivl__record_head *head, const json_t *recorded,
                                  const char *output, ivl_error *error)
{
    const char *format = json_string_value(json_object_get(recorded, "format"));
    const char *form = json_string_value(json_object_get(recorded, "form"));
    const json_t *identity = json_object_get(recorded, "identity");
    const json_t *streams = json_object_get(recorded, "streams");
    uint64_t version;

    if (!format || strcmp(format, format_name) != 0 || !form || !json_is_object(identity) ||
        !json_is_array(streams) || !ivl__json_u64(recorded, "version", &version)) {
        return ivl__fail(error, IVL_BAD_INPUT, "not the record of an output");
    }
    if (version != FORMAT_VERSION) {
        return ivl__fail(error, IVL_BAD_INPUT, "of version %llu (this program writes version %d)",
                         (unsigned long long)version, (int)FORMAT_VERSION);
    }
    if (strcmp(form, head->form) != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s': an output of that name and of the form %.20s is there and shares "
                         "its record; choose another name, or pass --force to take it over",
                         output, form);
    }
    IVL__TRY(compare(identity, head->identity, "identity", output, error));
    IVL__TRY(compare_streams(streams, head->streams, output, error));
    return json_is_object(json_object_get(recorded, "provenance"))
               ? IVL_OK
               : ivl__fail(error, IVL_BAD_INPUT, "not the record of an output");
}

ivl_status ivl__record_head_check_provenance(const ivl__record_head *head, const json_t *recorded,
                                             const char *output, ivl_error *error)
{
    if (!head->same_numerics || !head->provenance || json_object_size(recorded) == 0) {
        return IVL_OK;
    }
    return compare(recorded, head->provenance, "provenance", output, error);
}

/* ---- the arrays of a manifest ------------------------------------------------------------ */

static bool read_stream(const json_t *object, ivl__record_stream *stream, ivl__npy_type *type)
{
    const char *type_name = json_string_value(json_object_get(object, "type"));
    const json_t *shape = json_object_get(object, "shape");
    size_t rank = json_array_size(shape);

    stream->name = json_string_value(json_object_get(object, "name"));
    stream->suffix = json_string_value(json_object_get(object, "suffix"));
    if (!stream->name || !stream->suffix || !type_name || !json_is_array(shape) || rank > 4) {
        return false;
    }
    stream->rank = (int)rank;
    for (size_t d = 0; d < rank; d++) {
        json_int_t size = json_integer_value(json_array_get(shape, d));

        if (size <= 0) {
            return false;
        }
        stream->shape[d] = (uint64_t)size;
    }
    if (strcmp(type_name, ivl__npy_type_name(IVL__NPY_F4)) == 0) {
        *type = IVL__NPY_F4;
        return true;
    }
    *type = strcmp(type_name, ivl__npy_type_name(IVL__NPY_U1)) == 0 ? IVL__NPY_U1 : IVL__NPY_F2;
    return *type == IVL__NPY_U1 || strcmp(type_name, ivl__npy_type_name(IVL__NPY_F2)) == 0;
}

ivl_status ivl__record_head_streams(const json_t *recorded, ivl__record_stream *streams,
                                    int *n_streams, ivl__npy_type *type, ivl_error *error)
{
    const char *format = json_string_value(json_object_get(recorded, "format"));
    const json_t *list = json_object_get(recorded, "streams");
    size_t n = json_array_size(list);
    ivl__npy_type first = IVL__NPY_F4;
    uint64_t version;

    if (!format || strcmp(format, format_name) != 0 || n < 1 || n > IVL__MAX_STREAMS ||
        !ivl__json_u64(recorded, "version", &version) || version != FORMAT_VERSION) {
        return ivl__fail(error, IVL_BAD_INPUT, "not the record of an output");
    }
    for (size_t i = 0; i < n; i++) {
        streams[i] = (ivl__record_stream){0};
        if (!read_stream(json_array_get(list, i), &streams[i], type) || (i && *type != first)) {
            return ivl__fail(error, IVL_BAD_INPUT, "array %zu is not described", i);
        }
        first = *type;
    }
    *n_streams = (int)n;
    return IVL_OK;
}
