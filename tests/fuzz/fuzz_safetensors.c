/* fuzz_safetensors.c - any bytes as a safetensors file: accepted tensors lie inside it. Once
 * as it is, and once with a header length that fits, so that mutations reach the JSON. */
#include "loader/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct range {
    const uint8_t *data;
    size_t size;
} range;

static ivl_status check(void *user, const ivl__tensor_entry *entry, ivl_error *error)
{
    const range *r = user;

    (void)error;
    if (entry->file_offset > r->size || entry->bytes > r->size - entry->file_offset ||
        entry->data != r->data + entry->file_offset || entry->rank > IVL__MAX_RANK ||
        entry->owned) {
        abort();
    }
    return IVL_OK;
}

static void parse(const uint8_t *data, size_t size)
{
    range r = {data, size};
    ivl_error error;

    ivl__safetensors_parse(data, size, check, &r, &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;
    size_t end = size;

    parse(data, size);
    while (end > 8 && data[end - 1] != '}') {
        end--;
    }
    copy = end > 8 ? malloc(size) : NULL;
    if (copy) {
        memcpy(copy, data, size);
        for (size_t i = 0; i < 8; i++) {
            copy[i] = (uint8_t)((uint64_t)(end - 8) >> 8 * i);
        }
        parse(copy, size);
        free(copy);
    }
    return 0;
}
