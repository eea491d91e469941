/* fuzz_torch.c - any bytes as a torch checkpoint, and where the first byte is PROTO as a bare
 * pickle: accepted tensors lie inside the file or in memory of their own, all of which can be read.
 */
#include "loader/torch_pickle.h"
#include "loader/torch_zip.h"
#include "runtime/memory.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct range {
    const uint8_t *data;
    size_t size;
    void *blocks[256];
    size_t n;
    unsigned sum;
} range;

static ivl_status check(void *user, const ivl__tensor_entry *entry, ivl_error *error)
{
    range *r = user;

    if (r->n == 256) {
        return ivl__fail(error, IVL_UNSUPPORTED, "enough for one run");
    }
    if (entry->owned) {
        r->blocks[r->n++] = entry->owned;
    }
    if (entry->file >= 0 &&
        (entry->file_offset > r->size || entry->bytes > r->size - entry->file_offset ||
         entry->data != r->data + entry->file_offset)) {
        abort();
    }
    for (size_t i = 0; i < entry->bytes; i += 64) {
        r->sum += entry->data[i];
    }
    if (entry->bytes) {
        r->sum += entry->data[entry->bytes - 1];
    }
    return IVL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    range r = {.data = data, .size = size};
    ivl__pickle pickle = {0};
    ivl_error error;

    if (size && data[0] == 0x80) {
        if (ivl__pickle_parse(data, size, &pickle, &error) == IVL_OK) {
            ivl__pickle_free(&pickle);
        }
        return 0;
    }
    ivl__torch_zip_parse(data, size, check, &r, &error);
    for (size_t i = 0; i < r.n; i++) {
        ivl__free(r.blocks[i]);
    }
    return 0;
}
