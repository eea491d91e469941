/* safetensors.c - reader of one safetensors file; see safetensors.h. */
#include "loader/safetensors.h"

#include "runtime/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES 100000000u

static const struct {
    const char *name;
    ivl_dtype type;
    unsigned bits;
} dtypes[] = {
    {"F32", IVL_F32, 32},      {"F16", IVL_F16, 16},          {"BF16", IVL_BF16, 16},
    {"I64", IVL_I64, 64},      {"BOOL", IVL_OTHER, 8},        {"U8", IVL_OTHER, 8},
    {"I8", IVL_OTHER, 8},      {"I16", IVL_OTHER, 16},        {"U16", IVL_OTHER, 16},
    {"I32", IVL_OTHER, 32},    {"U32", IVL_OTHER, 32},        {"F64", IVL_OTHER, 64},
    {"U64", IVL_OTHER, 64},    {"C64", IVL_OTHER, 64},        {"F8_E4M3", IVL_OTHER, 8},
    {"F8_E5M2", IVL_OTHER, 8}, {"F8_E8M0", IVL_OTHER, 8},     {"F8_E4M3FNUZ", IVL_OTHER, 8},
    {"F4", IVL_OTHER, 4},      {"F8_E5M2FNUZ", IVL_OTHER, 8}, {"F6_E2M3", IVL_OTHER, 6},
    {"F6_E3M2", IVL_OTHER, 6},
};

typedef struct tensor {
    ivl__tensor_entry entry;
    uint64_t begin, end; /* in the data section */
} tensor;

static int dtype_index(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool get_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static ivl_status parse_shape(const char *name, const json_t *shape, ivl__tensor_entry *entry,
                              ivl_error *error)
{
    size_t elements = 1;

    if (!json_is_array(shape)) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\" has no shape", name);
    }
    if (json_array_size(shape) > IVL__MAX_RANK) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\" has %zu dimensions, at most %d",
                         name, json_array_size(shape), IVL__MAX_RANK);
    }
    entry->rank = (int)json_array_size(shape);
    for (int i = 0; i < entry->rank; i++) {
        if (!get_size(json_array_get(shape, (size_t)i), &entry->shape[i])) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tensor \"%.200s\": shape has a negative size or one that is no whole "
                             "number",
                             name);
        }
        if (!ivl__mul_size(elements, (size_t)entry->shape[i], &elements)) {
            return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\": element count overflows",
                             name);
        }
    }
    entry->elements = elements;
    return IVL_OK;
}

static ivl_status parse_offsets(const char *name, const json_t *offsets, tensor *t,
                                ivl_error *error)
{
    if (!json_is_array(offsets)) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\" has no data_offsets", name);
    }
    if (json_array_size(offsets) != 2) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensor \"%.200s\": data_offsets must have two elements", name);
    }
    if (!get_size(json_array_get(offsets, 0), &t->begin) ||
        !get_size(json_array_get(offsets, 1), &t->end)) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensor \"%.200s\": data_offsets must be whole numbers, not negative",
                         name);
    }
    if (t->end < t->begin) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensor \"%.200s\": data_offsets end %llu before begin "
                         "%llu",
                         name, (unsigned long long)t->end, (unsigned long long)t->begin);
    }
    return IVL_OK;
}

static ivl_status check_bytes(const char *name, unsigned bits, const tensor *t, ivl_error *error)
{
    size_t total;

    if (!ivl__mul_size((size_t)t->entry.elements, bits, &total)) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\": size in bits overflows", name);
    }
    if (total % 8 != 0) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\" ends inside a byte", name);
    }
    if (total / 8 != t->end - t->begin) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensor \"%.200s\": shape and dtype %s need %zu bytes, offsets give %llu",
                         name, t->entry.dtype_text, total / 8,
                         (unsigned long long)(t->end - t->begin));
    }
    return IVL_OK;
}

static ivl_status parse_tensor(const char *name, const json_t *value, tensor *t, ivl_error *error)
{
    const json_t *dtype = json_object_get(value, "dtype");
    int index;

    memset(t, 0, sizeof *t);
    t->entry.name = (char *)(uintptr_t)name; /* borrowed from the JSON tree */
    if (!json_is_object(value) || !json_is_string(dtype)) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\": dtype must be a string", name);
    }
    index = dtype_index(json_string_value(dtype));
    if (index < 0) {
        return ivl__fail(error, IVL_BAD_MODEL, "unknown dtype \"%.40s\" of tensor \"%.200s\"",
                         json_string_value(dtype), name);
    }
    t->entry.dtype = dtypes[index].type;
    snprintf(t->entry.dtype_text, sizeof t->entry.dtype_text, "%s", dtypes[index].name);
    IVL__TRY(parse_shape(name, json_object_get(value, "shape"), &t->entry, error));
    IVL__TRY(parse_offsets(name, json_object_get(value, "data_offsets"), t, error));
    return check_bytes(name, dtypes[index].bits, t, error);
}

static int compare_begin(const void *a, const void *b)
{
    const tensor *x = a;
    const tensor *y = b;

    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must cover the data section: no hole, no overlap, no rest. */
static ivl_status check_cover(const tensor *tensors, size_t n, size_t data_bytes, ivl_error *error)
{
    uint64_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (tensors[i].begin != at) {
            return ivl__fail(
                error, IVL_BAD_MODEL, "tensor \"%.200s\" begins at %llu, expected %llu: %s",
                tensors[i].entry.name, (unsigned long long)tensors[i].begin, (unsigned long long)at,
                i == 0                  ? "the first tensor must begin at 0"
                : tensors[i].begin < at ? "overlap"
                                        : "hole");
        }
        at = tensors[i].end;
        if (at > data_bytes) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" ends at %llu, the file has %zu data bytes (is the "
                             "download complete?)",
                             tensors[i].entry.name, (unsigned long long)at, data_bytes);
        }
    }
    if (at != data_bytes) {
        return ivl__fail(error, IVL_BAD_MODEL, "%llu bytes after the last tensor",
                         (unsigned long long)(data_bytes - at));
    }
    return IVL_OK;
}

static ivl_status parse_tensors(json_t *header, const unsigned char *data, size_t data_offset,
                                size_t data_bytes, ivl__tensor_add_fn *add, void *user,
                                ivl_error *error)
{
    tensor *tensors = ivl__calloc(json_object_size(header) + 1, sizeof *tensors);
    ivl_status status = IVL_OK;
    const char *name;
    json_t *value;
    size_t n = 0;

    if (!tensors) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu tensors",
                         json_object_size(header));
    }
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            continue;
        }
        status = parse_tensor(name, value, &tensors[n++], error);
        if (status != IVL_OK) {
            break;
        }
    }
    if (status == IVL_OK) {
        qsort(tensors, n, sizeof *tensors, compare_begin);
        status = check_cover(tensors, n, data_bytes, error);
    }
    for (size_t i = 0; status == IVL_OK && i < n; i++) {
        ivl__tensor_entry *entry = &tensors[i].entry;

        entry->bytes = (size_t)(tensors[i].end - tensors[i].begin);
        entry->file_offset = data_offset + tensors[i].begin;
        entry->data = data + entry->file_offset;
        status = add(user, entry, error);
    }
    ivl__free(tensors);
    return status;
}

static ivl_status check_metadata(const json_t *header, ivl_error *error)
{
    const json_t *metadata = json_object_get(header, "__metadata__");
    const char *key;
    json_t *value;

    if (!metadata) {
        return IVL_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return ivl__fail(error, IVL_BAD_MODEL, "__metadata__ \"%.100s\" is not a string", key);
        }
    }
    return json_is_object(metadata)
               ? IVL_OK
               : ivl__fail(error, IVL_BAD_MODEL, "__metadata__ is not an object");
}

static ivl_status header_length(const unsigned char *data, size_t bytes, size_t *length,
                                ivl_error *error)
{
    uint64_t n = 0;

    if (bytes < 8) {
        return ivl__fail(error, IVL_BAD_MODEL, "file is %zu bytes, the header length needs 8",
                         bytes);
    }
    for (int i = 7; i >= 0; i--) {
        n = n << 8 | data[i];
    }
    if (n > MAX_HEADER_BYTES || n > bytes - 8) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "header length %llu is larger than the file (%zu bytes) or than the limit "
                         "of 100 MB; is this a complete safetensors file?",
                         (unsigned long long)n, bytes);
    }
    if (n == 0 || data[8] != '{') {
        return ivl__fail(error, IVL_BAD_MODEL, "the header is not a JSON object");
    }
    *length = (size_t)n;
    return IVL_OK;
}

ivl_status ivl__safetensors_parse(const unsigned char *data, size_t bytes, ivl__tensor_add_fn *add,
                                  void *user, ivl_error *error)
{
    json_error_t detail;
    json_t *header;
    size_t length = 0;
    ivl_status status;

    IVL__TRY(header_length(data, bytes, &length, error));
    header = json_loadb((const char *)data + 8, length, JSON_REJECT_DUPLICATES, &detail);
    if (!json_is_object(header)) {
        json_decref(header);
        return ivl__fail(error, IVL_BAD_MODEL, "the header is not valid JSON: %s", detail.text);
    }
    status = check_metadata(header, error);
    if (status == IVL_OK) {
        status = parse_tensors(header, data, 8 + length, bytes - 8 - length, add, user, error);
    }
    json_decref(header);
    return status;
}
