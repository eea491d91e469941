/* os.c - everything the project asks of the operating system; see os.h. */
#define _GNU_SOURCE
#include "runtime/os.h"

#include "runtime/log.h"
#include "runtime/memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- files ------------------------------------------------------------------------------- */

static ivl_status io_fail(ivl_error *error, const char *verb, const char *path)
{
    int code = errno;

    return ivl__fail(error, code == ENOMEM ? IVL_OUT_OF_MEMORY : IVL_IO_ERROR, "cannot %s '%s': %s",
                     verb, path, strerror(code));
}

static ivl__file_identity identity_of(const struct stat *st)
{
    return (ivl__file_identity){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .bytes = (uint64_t)st->st_size,
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
    };
}

ivl_status ivl__map_open(const char *path, ivl__map *map, ivl_error *error)
{
    ivl_status status;
    struct stat st;
    void *data = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return io_fail(error, "open", path);
    }
    if (fstat(fd, &st) != 0) {
        status = io_fail(error, "stat", path);
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot map '%s': not a regular file", path);
        goto fail;
    }
    if (st.st_size > 0) {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            status = io_fail(error, "map", path);
            goto fail;
        }
    }
    *map = (ivl__map){
        .data = data, .bytes = (size_t)st.st_size, .fd = fd, .identity = identity_of(&st)};
    return IVL_OK;

fail:
    close(fd);
    return status;
}

void ivl__map_close(ivl__map *map)
{
    if (!map || map->fd < 0) {
        return;
    }
    if (map->data) {
        munmap((void *)(uintptr_t)map->data, map->bytes);
    }
    close(map->fd);
    *map = (ivl__map){.fd = -1};
}

bool ivl__map_unchanged(const ivl__map *map)
{
    struct stat st;
    ivl__file_identity now;

    if (fstat(map->fd, &st) != 0) {
        return false;
    }
    now = identity_of(&st);
    return now.device == map->identity.device && now.inode == map->identity.inode &&
           now.bytes == map->identity.bytes && now.mtime_ns == map->identity.mtime_ns;
}

bool ivl__map_patch(void *addr)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)addr & ~(page - 1);

    /* mmap is a bare system call here, safe inside a signal handler. */
    return mmap((void *)start, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
           MAP_FAILED;
}

ivl__file_kind ivl__file_kind_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        return IVL__FILE_MISSING;
    }
    if (S_ISREG(st.st_mode)) {
        return IVL__FILE_REGULAR;
    }
    return S_ISDIR(st.st_mode) ? IVL__FILE_FOLDER : IVL__FILE_OTHER;
}

bool ivl__path_usable(const char *path)
{
    return faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0;
}

ivl_status ivl__file_identity_of(const char *path, ivl__file_identity *identity, ivl_error *error)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        return io_fail(error, "stat", path);
    }
    *identity = identity_of(&st);
    return IVL_OK;
}

static ivl_status read_all(int fd, const char *path, size_t max_bytes, unsigned char **data,
                           size_t *bytes, ivl_error *error)
{
    unsigned char *buffer = NULL;
    size_t capacity = 0;
    size_t used = 0;

    for (;;) {
        ssize_t n;

        if (!ivl__grow((void **)&buffer, &capacity, used + 65536, 1)) {
            ivl__free(buffer);
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read '%s': out of memory", path);
        }
        n = read(fd, buffer + used, capacity - used - 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            ivl__free(buffer);
            return io_fail(error, "read", path);
        }
        if (n == 0) {
            break;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            ivl__free(buffer);
            return ivl__fail(error, IVL_BAD_INPUT, "'%s' is larger than %zu bytes", path,
                             max_bytes);
        }
    }
    buffer[used] = '\0';
    *data = buffer;
    *bytes = used;
    return IVL_OK;
}

ivl_status ivl__file_read(const char *path, size_t max_bytes, unsigned char **data, size_t *bytes,
                          ivl_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ivl_status status;

    if (fd < 0) {
        return io_fail(error, "open", path);
    }
    status = read_all(fd, path, max_bytes, data, bytes, error);
    close(fd);
    return status;
}

ivl_status ivl__fd_write(int fd, const char *path, const void *data, size_t bytes, ivl_error *error)
{
    const unsigned char *p = data;

    while (bytes) {
        ssize_t n = write(fd, p, bytes);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return io_fail(error, "write", path);
        }
        p += n;
        bytes -= (size_t)n;
    }
    return IVL_OK;
}

ivl_status ivl__file_rename(const char *from, const char *to, ivl_error *error)
{
    char *folder;
    int fd;

    if (rename(from, to) != 0) {
        return io_fail(error, "rename to", to);
    }
    folder = ivl__path_folder(to);
    fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        /* Some file systems cannot sync folders; the rename itself has happened. */
        (void)fsync(fd);
        close(fd);
    }
    ivl__free(folder);
    return IVL_OK;
}

ivl_status ivl__file_replace(const char *path, const void *data, size_t bytes, ivl_error *error)
{
    static atomic_uint serial;
    size_t room = strlen(path) + 48;
    char *part = ivl__malloc(room);
    ivl_status status;
    int fd;

    if (!part) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot write '%s': out of memory", path);
    }
    /* Several processes may write the same file at once: each its own temporary one. */
    snprintf(part, room, "%s.%ld-%u.part", path, (long)getpid(), atomic_fetch_add(&serial, 1));
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = io_fail(error, "create", part);
        goto done;
    }
    status = ivl__fd_write(fd, part, data, bytes, error);
    if (status == IVL_OK && fsync(fd) != 0) {
        status = io_fail(error, "sync", part);
    }
    if (close(fd) != 0 && status == IVL_OK) {
        status = io_fail(error, "close", part);
    }
    if (status == IVL_OK) {
        status = ivl__file_rename(part, path, error);
    }
    if (status != IVL_OK) {
        unlink(part);
    }
done:
    ivl__free(part);
    return status;
}

ivl_status ivl__folder_create(const char *path, ivl_error *error)
{
    char *copy = ivl__strdup(path);
    ivl_status status = IVL_OK;

    if (!copy) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot create '%s': out of memory", path);
    }
    for (char *p = copy + 1; status == IVL_OK && copy[0]; p++) {
        char c = *p;

        if (c != '/' && c != '\0') {
            continue;
        }
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = io_fail(error, "create folder", copy);
        }
        *p = c;
        if (c == '\0') {
            break;
        }
    }
    if (status == IVL_OK && ivl__file_kind_of(path) != IVL__FILE_FOLDER) {
        status = ivl__fail(error, IVL_IO_ERROR, "cannot create folder '%s': a file is in the way",
                           path);
    }
    ivl__free(copy);
    return status;
}

ivl_status ivl__disk_free(const char *path, uint64_t *bytes, ivl_error *error)
{
    struct statvfs st;

    if (statvfs(path, &st) != 0) {
        return io_fail(error, "stat the file system of", path);
    }
    *bytes = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
    return IVL_OK;
}

ivl_status ivl__disk_has_room(const char *path, uint64_t bytes, const char *what, ivl_error *error)
{
    ivl__size_buffer needed, room;
    uint64_t free_bytes = 0;

    IVL__TRY(ivl__disk_free(path, &free_bytes, error));
    if (free_bytes >= bytes) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_IO_ERROR,
                     "'%s' needs %s, but %s are free on the disk of '%s'; make room or choose "
                     "another disk",
                     what, ivl__size_text(bytes, needed), ivl__size_text(free_bytes, room), path);
}

char *ivl__path_join(const char *folder, const char *name)
{
    size_t a = strlen(folder);
    size_t b = strlen(name);
    char *path = ivl__malloc(a + b + 2);

    if (path) {
        memcpy(path, folder, a);
        if (a && path[a - 1] != '/') {
            path[a++] = '/';
        }
        memcpy(path + a, name, b + 1);
    }
    return path;
}

char *ivl__path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    char *folder;

    if (!slash) {
        return ivl__strdup(".");
    }
    if (length == 0) {
        return ivl__strdup("/");
    }
    folder = ivl__malloc(length + 1);
    if (folder) {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    return folder;
}

/* ---- machine ----------------------------------------------------------------------------- */

double ivl__now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int ivl__cpu_count(void)
{
    cpu_set_t set;
    int count = 0;

    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        count = CPU_COUNT(&set);
    }
    return count > 0 ? count : 1;
}

uint64_t ivl__physical_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    unsigned char *text;
    size_t length;

    /* A container's limit (cgroup v2) is what the process really has. */
    if (ivl__file_read("/sys/fs/cgroup/memory.max", 64, &text, &length, NULL) == IVL_OK) {
        uint64_t limit = strtoull((char *)text, NULL, 10);

        if (limit && (!bytes || limit < bytes)) {
            bytes = limit;
        }
        ivl__free(text);
    }
    return bytes;
}

#if defined(__x86_64__)
/* Leaf 7, sub-leaf 0, EDX bits 22 (amx-bf16) and 24 (amx-tile); the system must save the tiles and
 * their configuration (XCR0 bits 18 and 17), which xgetbv tells where leaf 1, ECX bit 27 says so.
 */
static bool has_amx_bf16(void)
{
    const unsigned needed = 1u << 22 | 1u << 24;
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1u) ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & needed) != needed) {
        return false;
    }
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a >> 17 & 3u) == 3u;
}
#endif

ivl__cpu_features ivl__cpu_features_of_host(void)
{
    ivl__cpu_features features = {false, false, false, false};

#if defined(__x86_64__)
    unsigned a, b, c, d;

    __builtin_cpu_init();
    features.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    features.avx512f = __builtin_cpu_supports("avx512f");
    /* Leaf 7, sub-leaf 1, EAX bit 5; avx512f above has already checked that the system saves the
     * wide registers. */
    if (features.avx512f && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        features.avx512_bf16 = (a >> 5 & 1u) != 0;
    }
    features.amx_bf16 = features.avx512_bf16 && has_amx_bf16();
#endif
    return features;
}

/* Linux saves the 8 KB of tiles only for processes that ask (arch/x86/include/uapi/asm/prctl.h). */
#define REQUEST_STATE_PERMISSION 0x1023
#define STATE_OF_TILES           18

const char *ivl__cpu_allow_amx(void)
{
    if (!ivl__cpu_features_of_host().amx_bf16) {
        return "the processor has no tiles of bf16 (AMX)";
    }
#if defined(__linux__) && defined(SYS_arch_prctl)
    if (syscall(SYS_arch_prctl, REQUEST_STATE_PERMISSION, STATE_OF_TILES) == 0) {
        return NULL;
    }
#endif
    return "the system does not let this process use the tiles of the processor (AMX)";
}

void *ivl__library_open(const char *name)
{
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
}

void *ivl__library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

/* ---- threads ----------------------------------------------------------------------------- */

ivl_status ivl__thread_start(ivl__thread *thread, void *(*run)(void *), void *user,
                             ivl_error *error)
{
    int code = pthread_create(thread, NULL, run, user);

    if (code != 0) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot start a thread: %s", strerror(code));
    }
    return IVL_OK;
}

void ivl__thread_join(ivl__thread thread)
{
    pthread_join(thread, NULL);
}

void ivl__mutex_init(ivl__mutex *mutex)
{
    pthread_mutex_init(mutex, NULL);
}

void ivl__mutex_free(ivl__mutex *mutex)
{
    pthread_mutex_destroy(mutex);
}

void ivl__mutex_lock(ivl__mutex *mutex)
{
    pthread_mutex_lock(mutex);
}

void ivl__mutex_unlock(ivl__mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}

void ivl__cond_init(ivl__cond *cond)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void ivl__cond_free(ivl__cond *cond)
{
    pthread_cond_destroy(cond);
}

void ivl__cond_wait(ivl__cond *cond, ivl__mutex *mutex)
{
    pthread_cond_wait(cond, mutex);
}

bool ivl__cond_wait_for(ivl__cond *cond, ivl__mutex *mutex, double seconds)
{
    double until = ivl__now() + seconds;
    struct timespec t;

    t.tv_sec = (time_t)until;
    t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
    return pthread_cond_timedwait(cond, mutex, &t) != ETIMEDOUT;
}

void ivl__cond_signal(ivl__cond *cond)
{
    pthread_cond_signal(cond);
}

void ivl__cond_broadcast(ivl__cond *cond)
{
    pthread_cond_broadcast(cond);
}
