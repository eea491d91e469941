/* npz_writer.c - NumPy's .npz; see npz_writer.h.
 *
 * The data of a member is written behind the place of its local header, which follows when the
 * checksum is known. Arrays begin on multiples of 64 bytes, so that they can be mapped.
 */
#include "loader/npz_writer.h"

#include "loader/json_text.h"
#include "loader/zip_writer.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>
#include <zlib.h>

enum { CHUNK = 1 << 18, ALIGNMENT = 64, MAX_NAME = 200 };

struct ivl__npz_writer {
    char *path, *part;
    int fd;
    uint64_t at;              /* where the next member begins */
    ivl__zip_member *members; /* names owned */
    size_t n_members, capacity;
    bool failed, finished;
};

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

static char *with_ending(const char *text, const char *ending)
{
    size_t n = strlen(text);
    size_t m = strlen(ending) + 1;
    char *joined = ivl__malloc(n + m);

    if (joined) {
        memcpy(joined, text, n);
        memcpy(joined + n, ending, m);
    }
    return joined;
}

ivl_status ivl__npz_open(const char *path, ivl__npz_writer **writer, ivl_error *error)
{
    ivl__npz_writer *w = ivl__calloc(1, sizeof *w);
    ivl_status status;

    if (!w) {
        return no_memory(error);
    }
    w->fd = -1;
    w->path = ivl__strdup(path);
    w->part = with_ending(path, ".part");
    status = w->path && w->part ? ivl__file_create(w->part, &w->fd, error) : no_memory(error);
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
    for (size_t i = 0; i < w->n_members; i++) {
        ivl__free((char *)(uintptr_t)w->members[i].name);
    }
    ivl__free(w->members);
    ivl__free(w->path);
    ivl__free(w->part);
    ivl__free(w);
}

/* ---- members ----------------------------------------------------------------------------- */

static bool is_taken(const ivl__npz_writer *w, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < w->n_members; i++) {
        const char *other = w->members[i].name;

        if (strncmp(other, name, n) == 0 && strcmp(other + n, ".npy") == 0) {
            return true;
        }
    }
    return false;
}

/* Makes room for the member's local header; *member lives until the next one. */
static ivl_status begin_member(ivl__npz_writer *w, const char *name, uint64_t bytes,
                               ivl__zip_member **member, ivl_error *error)
{
    char *full;

    if (!name[0] || strlen(name) > MAX_NAME || is_taken(w, name)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "npz: '%s' is no name for a member (too long, empty or there already)",
                         name);
    }
    full = with_ending(name, ".npy");
    if (!full ||
        !ivl__grow((void **)&w->members, &w->capacity, w->n_members + 1, sizeof *w->members)) {
        ivl__free(full);
        return no_memory(error);
    }
    *member = &w->members[w->n_members++];
    **member = (ivl__zip_member){.name = full, .bytes = bytes};
    w->at = ivl__zip_place(*member, w->at, ALIGNMENT);
    return IVL_OK;
}

static ivl_status write_text(ivl__npz_writer *w, const ivl__text *text, uint64_t at,
                             ivl_error *error)
{
    return text->failed ? no_memory(error)
                        : ivl__file_pwrite(w->fd, w->part, at, text->data, text->bytes, error);
}

static ivl_status end_member(ivl__npz_writer *w, const ivl__zip_member *member, ivl_error *error)
{
    ivl__text header = {0};
    ivl_status status;

    ivl__zip_add_local_header(&header, member);
    status = write_text(w, &header, member->header_at, error);
    ivl__text_free(&header);
    return status;
}

/* `at` is the place within the member's data. */
static ivl_status add_data(ivl__npz_writer *w, ivl__zip_member *member, uint64_t at,
                           const void *data, size_t bytes, ivl_error *error)
{
    if (bytes == 0) {
        return IVL_OK;
    }
    member->crc = (uint32_t)crc32_z(member->crc, data, bytes);
    return ivl__file_pwrite(w->fd, w->part, member->data_at + at, data, bytes, error);
}

/* Copies the open file in pieces. */
static ivl_status copy_file(ivl__npz_writer *w, ivl__zip_member *member, int fd, const char *path,
                            ivl_error *error)
{
    unsigned char *chunk = ivl__malloc(CHUNK);
    ivl_status status = chunk ? IVL_OK : no_memory(error);

    for (uint64_t done = 0; status == IVL_OK && done < member->bytes;) {
        size_t want = member->bytes - done < CHUNK ? (size_t)(member->bytes - done) : CHUNK;
        size_t got = 0;

        status = ivl__file_pread(fd, path, done, chunk, want, &got, error);
        if (status == IVL_OK && got < want) {
            status = ivl__fail(error, IVL_IO_ERROR, "'%s' shrinks while it is read", path);
        }
        if (status == IVL_OK) {
            status = add_data(w, member, done, chunk, got, error);
        }
        done += got;
    }
    ivl__free(chunk);
    return status;
}

/* The header alone is looked at: 64 KiB hold every one that is accepted. */
static ivl_status check_npy(int fd, const char *path, uint64_t bytes, ivl_error *error)
{
    size_t got = 0;
    unsigned char *header = ivl__malloc(1 << 16);
    ivl_status status = header ? ivl__file_pread(fd, path, 0, header, 1 << 16, &got, error)
                               : no_memory(error);
    ivl__npy npy;

    if (status == IVL_OK) {
        status = ivl__npy_parse(header, got, bytes, &npy, error);
        if (status != IVL_OK) {
            ivl__fail_context(error, status, "'%s'", path);
        }
    }
    ivl__free(header);
    return status;
}

static ivl_status add_open_file(ivl__npz_writer *w, const char *name, int fd, const char *path,
                                ivl_error *error)
{
    ivl__zip_member *member = NULL;
    uint64_t bytes;

    IVL__TRY(ivl__file_bytes(fd, path, &bytes, error));
    IVL__TRY(check_npy(fd, path, bytes, error));
    IVL__TRY(begin_member(w, name, bytes, &member, error));
    IVL__TRY(copy_file(w, member, fd, path, error));
    return end_member(w, member, error);
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
    ivl__text directory = {0};
    ivl_status status;

    if (w->failed) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' was not written: a member failed", w->path);
    }
    ivl__zip_add_directory(&directory, w->members, w->n_members, w->at);
    status = write_text(w, &directory, w->at, error);
    ivl__text_free(&directory);
    IVL__TRY(status);
    IVL__TRY(ivl__file_sync(w->fd, w->part, error));
    IVL__TRY(ivl__file_rename(w->part, w->path, error));
    w->finished = true;
    return IVL_OK;
}
