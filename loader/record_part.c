/* record_part.c - one growing file of an output; see record_part.h. */
#include "loader/record_part.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <zlib.h>

/* What gathers in memory before it is written without being asked. */
enum { PENDING_BYTES = 4 << 20 };

ivl_status ivl__record_part_open(ivl__record_part *part, char *path, uint64_t bytes,
                                 ivl_error *error)
{
    ivl_status status;

    *part = (ivl__record_part){.path = path, .fd = -1, .written = bytes};
    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    status = ivl__file_create(path, &part->fd, error);
    if (status == IVL_OK) {
        status = ivl__file_truncate(part->fd, path, bytes, error);
    }
    if (status != IVL_OK) {
        ivl__record_part_close(part);
    }
    return status;
}

void ivl__record_part_close(ivl__record_part *part)
{
    if (part->path) {
        ivl__file_close(part->fd);
    }
    ivl__text_free(&part->pending);
    ivl__free(part->path);
    *part = (ivl__record_part){.fd = -1};
}

ivl_status ivl__record_part_added(ivl__record_part *part, ivl_error *error)
{
    if (part->pending.failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for rows of '%s'", part->path);
    }
    return part->pending.bytes >= PENDING_BYTES ? ivl__record_part_flush(part, error) : IVL_OK;
}

ivl_status ivl__record_part_add(ivl__record_part *part, const void *data, size_t bytes,
                                ivl_error *error)
{
    ivl__text_add(&part->pending, data, bytes);
    return ivl__record_part_added(part, error);
}

ivl_status ivl__record_part_flush(ivl__record_part *part, ivl_error *error)
{
    if (part->pending.bytes == 0) {
        return IVL_OK;
    }
    IVL__TRY(ivl__file_pwrite(part->fd, part->path, part->written, part->pending.data,
                              part->pending.bytes, error));
    part->crc = (uint32_t)crc32_z(part->crc, (const Bytef *)part->pending.data,
                                  part->pending.bytes);
    part->written += part->pending.bytes;
    ivl__text_clear(&part->pending);
    return IVL_OK;
}

ivl_status ivl__record_part_sync(ivl__record_part *part, ivl_error *error)
{
    IVL__TRY(ivl__record_part_flush(part, error));
    IVL__TRY(ivl__file_sync(part->fd, part->path, error));
    part->crc = 0;
    return IVL_OK;
}

ivl_status ivl__record_part_check(const char *path, uint64_t from, uint64_t to, uint32_t crc,
                                  bool *matches, ivl_error *error)
{
    enum { CHUNK = 1 << 18 };
    unsigned char *chunk;
    uint32_t sum = 0;
    ivl_status status = IVL_OK;
    int fd;

    *matches = false;
    if (from > to) {
        return IVL_OK;
    }
    IVL__TRY(ivl__file_open(path, &fd, error));
    chunk = ivl__malloc(CHUNK);
    if (!chunk) {
        ivl__file_close(fd);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory to read '%s'", path);
    }
    while (status == IVL_OK && from < to) {
        size_t want = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
        size_t got = 0;

        status = ivl__file_pread(fd, path, from, chunk, want, &got, error);
        if (got < want) {
            break;
        }
        sum = (uint32_t)crc32_z(sum, chunk, got);
        from += got;
    }
    *matches = status == IVL_OK && from == to && sum == crc;
    ivl__free(chunk);
    ivl__file_close(fd);
    return status;
}
