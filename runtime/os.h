/* os.h - everything the project asks of the operating system (Linux and other POSIX).
 *
 * The only place for mmap, threads, clocks, renames, locks and dlopen. Paths are byte strings as
 * the system gives them; they need not be UTF-8.
 */
#ifndef IVL_RUNTIME_OS_H
#define IVL_RUNTIME_OS_H

#include "runtime/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- files ------------------------------------------------------------------------------- */

/* What tells whether a file is still the one that was opened. */
typedef struct ivl__file_identity {
    uint64_t device, inode, bytes;
    int64_t mtime_ns;
} ivl__file_identity;

/* A whole file mapped read-only and shared. bytes == 0 has data == NULL. */
typedef struct ivl__map {
    const unsigned char *data;
    size_t bytes;
    int fd;
    ivl__file_identity identity;
} ivl__map;

/* Fails with IVL_IO_ERROR naming the path (also for directories, devices and pipes). */
ivl_status ivl__map_open(const char *path, ivl__map *map, ivl_error *error);
void ivl__map_close(ivl__map *map);
/* True while the mapped file still has the size, time and inode it had when it was opened. */
bool ivl__map_unchanged(const ivl__map *map);

/* Puts a zero page under the page of `addr` after a SIGBUS; async-signal-safe. */
bool ivl__map_patch(void *addr);

typedef enum ivl__file_kind {
    IVL__FILE_MISSING,
    IVL__FILE_REGULAR,
    IVL__FILE_FOLDER,
    IVL__FILE_OTHER /* pipe, device, socket */
} ivl__file_kind;

ivl__file_kind ivl__file_kind_of(const char *path);
/* Whether this process may read and write it. */
bool ivl__path_usable(const char *path);
ivl_status ivl__file_identity_of(const char *path, ivl__file_identity *identity, ivl_error *error);

/* Reads a whole file of at most max_bytes into a new block (ivl__free) with a NUL behind it. */
ivl_status ivl__file_read(const char *path, size_t max_bytes, unsigned char **data, size_t *bytes,
                          ivl_error *error);
/* Writes to a temporary path.*.part, syncs and renames: the file appears whole or not at all. */
ivl_status ivl__file_replace(const char *path, const void *data, size_t bytes, ivl_error *error);
/* Loops over short writes and EINTR. */
ivl_status ivl__fd_write(int fd, const char *path, const void *data, size_t bytes,
                         ivl_error *error);
/* rename(2) and an fsync of the folder. */
ivl_status ivl__file_rename(const char *from, const char *to, ivl_error *error);
/* mkdir -p. */
ivl_status ivl__folder_create(const char *path, ivl_error *error);
/* Bytes an ordinary user may still write to the file system of `path` (which must exist). */
ivl_status ivl__disk_free(const char *path, uint64_t *bytes, ivl_error *error);
/* IVL_IO_ERROR when `what` (the name of an output) does not fit there. */
ivl_status ivl__disk_has_room(const char *path, uint64_t bytes, const char *what, ivl_error *error);

/* Joins with one '/'; NULL when memory is short. */
char *ivl__path_join(const char *folder, const char *name);
/* A new string up to the last '/', "." where there is none. */
char *ivl__path_folder(const char *path);

/* ---- machine ----------------------------------------------------------------------------- */

/* Seconds on a clock that never goes back. */
double ivl__now(void);
/* Processors this process may use (affinity respected), at least 1. */
int ivl__cpu_count(void);
/* Physical memory in bytes (or the cgroup's limit where smaller), 0 when unknown. */
uint64_t ivl__physical_memory(void);
/* Processor features that OpenCL drivers do not tell; all false elsewhere than on x86-64. */
typedef struct ivl__cpu_features {
    bool avx2_fma, avx512f, avx512_bf16;
    bool amx_bf16; /* tiles of bf16, and the system saves them */
} ivl__cpu_features;
ivl__cpu_features ivl__cpu_features_of_host(void);
/* Asks the system to let this process's threads use tiles; for good. NULL, or why it may not. */
const char *ivl__cpu_allow_amx(void);

/* dlopen / dlsym; NULL when absent. The library stays loaded until the process ends. */
void *ivl__library_open(const char *name);
void *ivl__library_symbol(void *library, const char *name);

/* ---- threads ----------------------------------------------------------------------------- */

typedef pthread_mutex_t ivl__mutex;
typedef pthread_cond_t ivl__cond;
typedef pthread_t ivl__thread;

ivl_status ivl__thread_start(ivl__thread *thread, void *(*run)(void *), void *user,
                             ivl_error *error);
void ivl__thread_join(ivl__thread thread);
void ivl__mutex_init(ivl__mutex *mutex);
void ivl__mutex_free(ivl__mutex *mutex);
void ivl__mutex_lock(ivl__mutex *mutex);
void ivl__mutex_unlock(ivl__mutex *mutex);
void ivl__cond_init(ivl__cond *cond);
void ivl__cond_free(ivl__cond *cond);
void ivl__cond_wait(ivl__cond *cond, ivl__mutex *mutex);
/* false on timeout. */
bool ivl__cond_wait_for(ivl__cond *cond, ivl__mutex *mutex, double seconds);
void ivl__cond_signal(ivl__cond *cond);
void ivl__cond_broadcast(ivl__cond *cond);

#endif
