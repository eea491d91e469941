/* file.h - open files and folders: positioned reads, appended writes, listings.
 *
 * The part of the operating system that sources and writers need beside os.h. Messages name the
 * path and what the system said.
 */
#ifndef IVL_RUNTIME_FILE_H
#define IVL_RUNTIME_FILE_H

#include "runtime/os.h"

/* Opens for reading; regular files and pipes, not folders. */
ivl_status ivl__file_open(const char *path, int *fd, ivl_error *error);
/* Opens for reading and writing, created when missing. */
ivl_status ivl__file_create(const char *path, int *fd, ivl_error *error);
void ivl__file_close(int fd);

/* Up to `bytes` bytes at an offset; less only at the end of the file. */
ivl_status ivl__file_pread(int fd, const char *path, uint64_t offset, void *data, size_t bytes,
                           size_t *got, ivl_error *error);
/* What a file or pipe has at hand, at least one byte; 0 only at its end. */
ivl_status ivl__file_read_some(int fd, const char *path, void *data, size_t bytes, size_t *got,
                               ivl_error *error);
/* Whether such a read would not wait, after waiting for it at most so long. */
bool ivl__file_ready(int fd, int milliseconds);
ivl_status ivl__file_pwrite(int fd, const char *path, uint64_t offset, const void *data,
                            size_t bytes, ivl_error *error);
ivl_status ivl__file_truncate(int fd, const char *path, uint64_t bytes, ivl_error *error);
ivl_status ivl__file_sync(int fd, const char *path, ivl_error *error);
ivl_status ivl__file_bytes(int fd, const char *path, uint64_t *bytes, ivl_error *error);

/* Claims an open file for this process until it is closed; IVL_IO_ERROR when another has it. */
ivl_status ivl__file_lock(int fd, const char *path, ivl_error *error);

bool ivl__file_exists(const char *path);
bool ivl__path_is_link(const char *path);
/* A missing file is fine. */
ivl_status ivl__file_remove(const char *path, ivl_error *error);
/* Takes the lock that the file at `path` stands for: held while the descriptor is open, lost when
 * the process ends in any way. With wait = false a lock of another holder sets *busy and *fd is -1.
 */
ivl_status ivl__lockfile_take(const char *path, bool wait, int *fd, bool *busy, ivl_error *error);
/* Removes the file and gives the lock back; fd < 0 is fine. */
void ivl__lockfile_release(const char *path, int fd);

/* ---- folders ----------------------------------------------------------------------------- */

typedef enum ivl__entry_kind {
    IVL__ENTRY_FILE,
    IVL__ENTRY_FOLDER,
    IVL__ENTRY_UNKNOWN, /* a symbolic link, or the file system does not tell */
    IVL__ENTRY_OTHER
} ivl__entry_kind;

/* Creates the folder unless it is there and claims it as ivl__file_lock does; close with
 * ivl__file_close. */
ivl_status ivl__folder_lock(const char *path, int *fd, ivl_error *error);
/* An empty one; a missing one is fine. */
ivl_status ivl__folder_remove(const char *path, ivl_error *error);

/* Calls `each` for every entry but . and .. in the order of the file system, until it answers
 * false. */
ivl_status ivl__folder_list(const char *path,
                            bool (*each)(void *user, const char *name, ivl__entry_kind kind),
                            void *user, ivl_error *error);

#endif
