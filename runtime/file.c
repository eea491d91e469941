/* file.c - open files and folders; see file.h. */
#define _DEFAULT_SOURCE
#include "runtime/file.h"

#include "runtime/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static ivl_status io_fail(ivl_error *error, const char *verb, const char *path)
{
    int code = errno;

    return ivl__fail(error, code == ENOMEM ? IVL_OUT_OF_MEMORY : IVL_IO_ERROR, "cannot %s '%s': %s",
                     verb, path, strerror(code));
}

/* ---- files ------------------------------------------------------------------------------- */

ivl_status ivl__file_open(const char *path, int *fd, ivl_error *error)
{
    struct stat st;
    int opened = open(path, O_RDONLY | O_CLOEXEC);

    if (opened < 0) {
        return io_fail(error, "open", path);
    }
    if (fstat(opened, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(opened);
        errno = EISDIR;
        return io_fail(error, "open", path);
    }
    *fd = opened;
    return IVL_OK;
}

ivl_status ivl__file_create(const char *path, int *fd, ivl_error *error)
{
    int opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    if (opened < 0) {
        return io_fail(error, "create", path);
    }
    *fd = opened;
    return IVL_OK;
}

void ivl__file_close(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

ivl_status ivl__file_pread(int fd, const char *path, uint64_t offset, void *data, size_t bytes,
                           size_t *got, ivl_error *error)
{
    unsigned char *p = data;
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = pread(fd, p + done, bytes - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return io_fail(error, "read", path);
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    *got = done;
    return IVL_OK;
}

ivl_status ivl__file_read_some(int fd, const char *path, void *data, size_t bytes, size_t *got,
                               ivl_error *error)
{
    ssize_t n;

    do {
        n = read(fd, data, bytes);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return io_fail(error, "read", path);
    }
    *got = (size_t)n;
    return IVL_OK;
}

bool ivl__file_ready(int fd, int milliseconds)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};

    /* Errors too are something that a read would tell at once. */
    return poll(&wanted, 1, milliseconds) != 0 && wanted.revents != 0;
}

ivl_status ivl__file_pwrite(int fd, const char *path, uint64_t offset, const void *data,
                            size_t bytes, ivl_error *error)
{
    const unsigned char *p = data;

    while (bytes) {
        ssize_t n = pwrite(fd, p, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return io_fail(error, "write", path);
        }
        p += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return IVL_OK;
}

ivl_status ivl__file_truncate(int fd, const char *path, uint64_t bytes, ivl_error *error)
{
    return ftruncate(fd, (off_t)bytes) == 0 ? IVL_OK : io_fail(error, "set the size of", path);
}

ivl_status ivl__file_sync(int fd, const char *path, ivl_error *error)
{
    return fsync(fd) == 0 ? IVL_OK : io_fail(error, "sync", path);
}

ivl_status ivl__file_bytes(int fd, const char *path, uint64_t *bytes, ivl_error *error)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return io_fail(error, "stat", path);
    }
    *bytes = (uint64_t)st.st_size;
    return IVL_OK;
}

ivl_status ivl__file_lock(int fd, const char *path, ivl_error *error)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        return IVL_OK;
    }
    if (errno == EWOULDBLOCK) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' is being written by another process", path);
    }
    return io_fail(error, "lock", path);
}

bool ivl__path_is_link(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

bool ivl__file_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

ivl_status ivl__file_remove(const char *path, ivl_error *error)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        return io_fail(error, "remove", path);
    }
    return IVL_OK;
}

/* Whether `path` still names the open file: its holder before may have removed it. */
static bool still_named(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

ivl_status ivl__lockfile_take(const char *path, bool wait, int *fd, bool *busy, ivl_error *error)
{
    *fd = -1;
    *busy = false;
    for (;;) {
        int opened = -1;
        int code;

        IVL__TRY(ivl__file_create(path, &opened, error));
        do {
            code = flock(opened, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0 ? 0 : errno;
        } while (code == EINTR);
        if (code == 0 && still_named(opened, path)) {
            *fd = opened;
            return IVL_OK;
        }
        close(opened);
        if (code == EWOULDBLOCK) {
            *busy = true;
            return IVL_OK;
        }
        if (code) {
            errno = code;
            return io_fail(error, "lock", path);
        }
    }
}

void ivl__lockfile_release(const char *path, int fd)
{
    if (fd >= 0) {
        unlink(path);
        close(fd);
    }
}

/* ---- folders ----------------------------------------------------------------------------- */

static ivl__entry_kind kind_of(const struct dirent *entry)
{
    switch (entry->d_type) {
    case DT_REG: return IVL__ENTRY_FILE;
    case DT_DIR: return IVL__ENTRY_FOLDER;
    case DT_LNK:
    case DT_UNKNOWN: return IVL__ENTRY_UNKNOWN;
    default: return IVL__ENTRY_OTHER;
    }
}

ivl_status ivl__folder_lock(const char *path, int *fd, ivl_error *error)
{
    ivl_status status;
    int opened;

    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return io_fail(error, "create folder", path);
    }
    opened = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) {
        return io_fail(error, "open folder", path);
    }
    status = ivl__file_lock(opened, path, error);
    if (status != IVL_OK) {
        close(opened);
        return status;
    }
    *fd = opened;
    return IVL_OK;
}

ivl_status ivl__folder_remove(const char *path, ivl_error *error)
{
    if (rmdir(path) != 0 && errno != ENOENT) {
        return io_fail(error, "remove folder", path);
    }
    return IVL_OK;
}

ivl_status ivl__folder_list(const char *path,
                            bool (*each)(void *user, const char *name, ivl__entry_kind kind),
                            void *user, ivl_error *error)
{
    DIR *folder = opendir(path);
    ivl_status status = IVL_OK;
    struct dirent *entry;

    if (!folder) {
        return io_fail(error, "open folder", path);
    }
    for (;;) {
        errno = 0;
        entry = readdir(folder);
        if (!entry) {
            status = errno ? io_fail(error, "list folder", path) : IVL_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (!each(user, entry->d_name, kind_of(entry))) {
            break;
        }
    }
    closedir(folder);
    return status;
}
