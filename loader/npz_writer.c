/* npz_writer.c - NumPy's .npz; see npz_writer.h.
 *
 * Zip as in APPNOTE 6.3: local header, data, ..., central directory, end record. Sizes are known
 * before the data, the checksum after it: it is patched in. Sizes and offsets that 32 bits do not
 * hold are 0xffffffff and stand in a zip64 extra field.
 */
#include "loader/npz_writer.h"

#include "loader/json_text.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>
#include <zlib.h>

enum {
    LOCAL_BYTES = 30,
    CHUNK = 1 << 18,
    VERSION_PLAIN = 20,
    VERSION_ZIP64 = 45,
    DATE_1980 = 0x21, /* 1 January 1980, the format's zero */
    MAX_NAME = 200
};

#define FULL32 0xffffffffu

struct ivl__npz_writer {
    char *path, *part;
    int fd;
    uint64_t at; /* bytes written */
    uint64_t members;
    ivl__text directory;
    bool failed, finished;
};

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

ivl_status ivl__npz_open(const char *path, ivl__npz_writer **writer, ivl_error *error)
{
    ivl__npz_writer *w = ivl__calloc(1, sizeof *w);
    size_t n = strlen(path);
    ivl_status status;

    if (!w) {
        return no_memory(error);
    }
    w->fd = -1;
    w->path = ivl__strdup(path);
    w->part = ivl__malloc(n + sizeof ".part");
    if (!w->path || !w->part) {
        ivl__free(w->part);
        ivl__free(w->path);
        ivl__free(w);
        return no_memory(error);
    }
    memcpy(w->part, path, n);
    memcpy(w->part + n, ".part", sizeof ".part");
    status = ivl__file_create(w->part, &w->fd, error);
    if (status == IVL_OK) {
        status = ivl__file_truncate(w->fd, w->part, 0, error);
    }
    if (status != IVL_OK) {
        ivl__npz_free(w);
        return status;
    }
    *writer = w;
    return IVL_OK;
}

void ivl__npz_free(ivl__npz_writer *w)
{
    if (!w) {
        return;
    }
    if (w->fd >= 0) {
        ivl__file_close(w->fd);
        if (!w->finished) {
            ivl__file_remove(w->part, NULL);
        }
    }
    ivl__text_free(&w->directory);
    ivl__free(w->path);
    ivl__free(w->part);
    ivl__free(w);
}

/* ---- fields ------------------------------------------------------------------------------ */

static void put(ivl__text *text, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        char byte = (char)(unsigned char)(value >> (8 * i) & 0xffu);

        ivl__text_add(text, &byte, 1);
    }
}

static uint64_t low32(uint64_t value)
{
    return value < FULL32 ? value : FULL32;
}

/* The fields that local header and directory entry share, from "version needed" on. */
static void put_common(ivl__text *text, const char *name, uint64_t bytes, uint32_t crc,
                       size_t extra, bool zip64)
{
    put(text, zip64 ? VERSION_ZIP64 : VERSION_PLAIN, 2);
    put(text, 0, 2); /* flags */
    put(text, 0, 2); /* stored */
    put(text, 0, 2); /* time */
    put(text, DATE_1980, 2);
    put(text, crc, 4);
    put(text, low32(bytes), 4);
    put(text, low32(bytes), 4);
    put(text, strlen(name) + strlen(".npy"), 2);
    put(text, extra, 2);
}

static void put_name(ivl__text *text, const char *name)
{
    ivl__text_puts(text, name);
    ivl__text_puts(text, ".npy");
}

static void put_local(ivl__text *text, const char *name, uint64_t bytes)
{
    bool zip64 = bytes >= FULL32;

    put(text, 0x04034b50u, 4);
    put_common(text, name, bytes, 0, zip64 ? 20 : 0, zip64);
    put_name(text, name);
    if (zip64) {
        put(text, 1, 2);
        put(text, 16, 2);
        put(text, bytes, 8);
        put(text, bytes, 8);
    }
}

static void put_entry(ivl__text *text, const char *name, uint64_t bytes, uint32_t crc,
                      uint64_t offset)
{
    size_t extra = (bytes >= FULL32 ? 16u : 0u) + (offset >= FULL32 ? 8u : 0u);

    put(text, 0x02014b50u, 4);
    put(text, VERSION_ZIP64 | 3 << 8, 2); /* made on Unix: the permissions below count */
    put_common(text, name, bytes, crc, extra ? extra + 4 : 0, extra > 0);
    put(text, 0, 2);                       /* comment */
    put(text, 0, 2);                       /* disk */
    put(text, 0, 2);                       /* internal attributes */
    put(text, (uint64_t)0100644 << 16, 4); /* a regular file, rw-r--r-- */
    put(text, low32(offset), 4);
    put_name(text, name);
    if (extra) {
        put(text, 1, 2);
        put(text, extra, 2);
        if (bytes >= FULL32) {
            put(text, bytes, 8);
            put(text, bytes, 8);
        }
        if (offset >= FULL32) {
            put(text, offset, 8);
        }
    }
}

static void put_end(ivl__text *text, uint64_t members, uint64_t directory, uint64_t offset)
{
    if (members >= 0xffffu || directory >= FULL32 || offset >= FULL32) {
        put(text, 0x06064b50u, 4);
        put(text, 44, 8); /* bytes that follow */
        put(text, VERSION_ZIP64 | 3 << 8, 2);
        put(text, VERSION_ZIP64, 2);
        put(text, 0, 4);
        put(text, 0, 4);
        put(text, members, 8);
        put(text, members, 8);
        put(text, directory, 8);
        put(text, offset, 8);
        put(text, 0x07064b50u, 4);
        put(text, 0, 4);
        put(text, offset + directory, 8);
        put(text, 1, 4);
    }
    put(text, 0x06054b50u, 4);
    put(text, 0, 2);
    put(text, 0, 2);
    put(text, members < 0xffffu ? members : 0xffffu, 2);
    put(text, members < 0xffffu ? members : 0xffffu, 2);
    put(text, low32(directory), 4);
    put(text, low32(offset), 4);
    put(text, 0, 2);
}

/* ---- members ----------------------------------------------------------------------------- */

static ivl_status write_text(ivl__npz_writer *w, const ivl__text *text, ivl_error *error)
{
    if (text->failed) {
        return no_memory(error);
    }
    IVL__TRY(ivl__file_pwrite(w->fd, w->part, w->at, text->data, text->bytes, error));
    w->at += text->bytes;
    return IVL_OK;
}

static ivl_status begin_member(ivl__npz_writer *w, const char *name, uint64_t bytes,
                               ivl_error *error)
{
    ivl__text local = {0};
    ivl_status status;

    if (!name[0] || strlen(name) > MAX_NAME) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "npz: '%s' is no name of a member", name);
    }
    put_local(&local, name, bytes);
    status = write_text(w, &local, error);
    ivl__text_free(&local);
    return status;
}

/* `start` is where its local header begins. */
static ivl_status end_member(ivl__npz_writer *w, const char *name, uint64_t start, uint64_t bytes,
                             uint32_t crc, ivl_error *error)
{
    enum { CRC_AT = 14 };
    unsigned char field[4];

    for (int i = 0; i < 4; i++) {
        field[i] = (unsigned char)(crc >> (8 * i) & 0xffu);
    }
    IVL__TRY(ivl__file_pwrite(w->fd, w->part, start + CRC_AT, field, sizeof field, error));
    put_entry(&w->directory, name, bytes, crc, start);
    w->members++;
    return w->directory.failed ? no_memory(error) : IVL_OK;
}

static ivl_status add_data(ivl__npz_writer *w, uint32_t *crc, const void *data, size_t bytes,
                           ivl_error *error)
{
    if (bytes) {
        IVL__TRY(ivl__file_pwrite(w->fd, w->part, w->at, data, bytes, error));
        *crc = (uint32_t)crc32_z(*crc, data, bytes);
        w->at += bytes;
    }
    return IVL_OK;
}

static ivl_status add(ivl__npz_writer *w, const char *name, ivl__npy_type type,
                      const uint64_t *shape, int rank, const void *data, ivl_error *error)
{
    unsigned char header[IVL__NPY_HEADER_BYTES];
    size_t bytes = ivl__npy_type_bytes(type);
    uint64_t start = w->at;
    uint32_t crc = 0;

    IVL__TRY(ivl__npy_header(type, shape, rank, header, error));
    for (int i = 0; i < rank; i++) {
        if (shape[i] > SIZE_MAX || !ivl__mul_size(bytes, (size_t)shape[i], &bytes)) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "npz: the shape of '%s' overflows", name);
        }
    }
    IVL__TRY(begin_member(w, name, bytes + sizeof header, error));
    IVL__TRY(add_data(w, &crc, header, sizeof header, error));
    IVL__TRY(add_data(w, &crc, data, bytes, error));
    return end_member(w, name, start, bytes + sizeof header, crc, error);
}

/* Copies the open file in pieces. */
static ivl_status copy_file(ivl__npz_writer *w, int fd, const char *path, uint64_t bytes,
                            uint32_t *crc, ivl_error *error)
{
    unsigned char *chunk = ivl__malloc(CHUNK);
    ivl_status status = chunk ? IVL_OK : no_memory(error);

    for (uint64_t done = 0; status == IVL_OK && done < bytes;) {
        size_t want = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
        size_t got = 0;

        status = ivl__file_pread(fd, path, done, chunk, want, &got, error);
        if (status == IVL_OK && got < want) {
            status = ivl__fail(error, IVL_IO_ERROR, "'%s' shrinks while it is read", path);
        }
        if (status == IVL_OK) {
            status = add_data(w, crc, chunk, got, error);
        }
        done += got;
    }
    ivl__free(chunk);
    return status;
}

static ivl_status add_open_file(ivl__npz_writer *w, const char *name, int fd, const char *path,
                                ivl_error *error)
{
    unsigned char header[IVL__NPY_HEADER_BYTES];
    uint64_t start = w->at;
    uint64_t bytes;
    uint32_t crc = 0;
    size_t got;

    IVL__TRY(ivl__file_bytes(fd, path, &bytes, error));
    IVL__TRY(ivl__file_pread(fd, path, 0, header, sizeof header, &got, error));
    if (got < 6 || memcmp(header, "\x93NUMPY", 6) != 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' is no .npy file", path);
    }
    IVL__TRY(begin_member(w, name, bytes, error));
    IVL__TRY(copy_file(w, fd, path, bytes, &crc, error));
    return end_member(w, name, start, bytes, crc, error);
}

ivl_status ivl__npz_add(ivl__npz_writer *w, const char *name, ivl__npy_type type,
                        const uint64_t *shape, int rank, const void *data, ivl_error *error)
{
    ivl_status status = add(w, name, type, shape, rank, data, error);

    w->failed = w->failed || status != IVL_OK;
    return status;
}

ivl_status ivl__npz_add_file(ivl__npz_writer *w, const char *name, const char *npy_path,
                             ivl_error *error)
{
    int fd = -1;
    ivl_status status = ivl__file_open(npy_path, &fd, error);

    if (status == IVL_OK) {
        status = add_open_file(w, name, fd, npy_path, error);
        ivl__file_close(fd);
    }
    w->failed = w->failed || status != IVL_OK;
    return status;
}

ivl_status ivl__npz_finish(ivl__npz_writer *w, ivl_error *error)
{
    uint64_t offset = w->at;
    uint64_t bytes = w->directory.bytes;

    if (w->failed) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' was not written: a member failed", w->path);
    }
    put_end(&w->directory, w->members, bytes, offset);
    IVL__TRY(write_text(w, &w->directory, error));
    IVL__TRY(ivl__file_sync(w->fd, w->part, error));
    IVL__TRY(ivl__file_rename(w->part, w->path, error));
    w->finished = true;
    return IVL_OK;
}
