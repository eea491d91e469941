/* fuzz_tar.c - any bytes as a tar: walked to its end as a seekable archive, headers and groups. */
#include "loader/tar.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

typedef struct bytes {
    const uint8_t *data;
    size_t size;
} bytes;

static ivl_status read_bytes(void *user, uint64_t offset, void *data, size_t n, size_t *got,
                             ivl_error *error)
{
    const bytes *b = user;
    size_t rest = offset < b->size ? b->size - (size_t)offset : 0;

    (void)error;
    *got = n < rest ? n : rest;
    if (*got) {
        memcpy(data, b->data + offset, *got);
    }
    return IVL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = {data, size};
    ivl__tar tar;
    ivl__tar_member member;
    bool truncated = false;
    bool end = false;
    ivl_error error;

    ivl__tar_init(&tar, read_bytes, &b, size);
    while (!truncated && ivl__tar_next(&tar, &member, &truncated, &end, &error) == IVL_OK && !end) {
        /* What is answered as whole lies inside the file. */
        if (!truncated && (member.offset > size || member.bytes > size - member.offset)) {
            abort();
        }
        ivl__free(member.name);
    }
    return 0;
}
