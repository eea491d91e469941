/* shared_file.c - one open file read at offsets by many items; see shared_file.h. */
#include "loader/shared_file.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdatomic.h>

struct ivl__shared_file {
    atomic_int references;
    int fd;
    uint64_t bytes;
    char *path;
};

ivl_status ivl__shared_file_open(const char *path, ivl__shared_file **file, ivl_error *error)
{
    ivl__shared_file *opened;
    ivl_status status;

    if (ivl__file_kind_of(path) == IVL__FILE_OTHER) {
        return ivl__fail(error, IVL_IO_ERROR, "cannot read '%s': not a regular file", path);
    }
    opened = ivl__calloc(1, sizeof *opened);
    if (!opened || !(opened->path = ivl__strdup(path))) {
        ivl__free(opened);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot open '%s': out of memory", path);
    }
    atomic_init(&opened->references, 1);
    opened->fd = -1;
    status = ivl__file_open(path, &opened->fd, error);
    if (status == IVL_OK) {
        status = ivl__file_bytes(opened->fd, path, &opened->bytes, error);
    }
    if (status != IVL_OK) {
        ivl__shared_file_release(opened);
        return status;
    }
    *file = opened;
    return IVL_OK;
}

ivl__shared_file *ivl__shared_file_keep(ivl__shared_file *file)
{
    if (file) {
        atomic_fetch_add(&file->references, 1);
    }
    return file;
}

void ivl__shared_file_release(ivl__shared_file *file)
{
    if (file && atomic_fetch_sub(&file->references, 1) == 1) {
        ivl__file_close(file->fd);
        ivl__free(file->path);
        ivl__free(file);
    }
}

uint64_t ivl__shared_file_bytes(const ivl__shared_file *file)
{
    return file->bytes;
}

const char *ivl__shared_file_path(const ivl__shared_file *file)
{
    return file->path;
}

ivl_status ivl__shared_file_read(const ivl__shared_file *file, uint64_t offset, void *data,
                                 size_t bytes, size_t *got, ivl_error *error)
{
    return ivl__file_pread(file->fd, file->path, offset, data, bytes, got, error);
}
