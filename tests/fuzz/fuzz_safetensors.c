/* fuzz_safetensors.c - any bytes as a safetensors file: accepted tensors lie inside it. */
#include "loader/safetensors.h"

#include <stdlib.h>

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    range r = {data, size};
    ivl_error error;

    ivl__safetensors_parse(data, size, check, &r, &error);
    return 0;
}
