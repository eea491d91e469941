/* program_cache.c - compiled programs on disk; see program_cache.h.
 *
 * File: 8 bytes of magic (with the format version), 8 bytes length (little-endian), 64 hex digits
 * SHA-256 of the binary, the binary.
 */
#include "runtime/program_cache.h"

#include "runtime/facts.h"
#include "runtime/hash.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

#define MAGIC            "IVLPROG1"
#define HEADER_BYTES     (8u + 8u + 64u)
#define MAX_BINARY_BYTES (256u << 20)

bool ivl__program_cache_used(const ivl__device *device)
{
    return device->options.cache_dir && device->caps.program_cache;
}

void ivl__program_cache_key(const ivl__device *device, const char *text, size_t bytes,
                            const char *options, char key[65])
{
    ivl__sha256 hash;

    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, MAGIC, 8);
    ivl__device_identity(device, &hash);
    ivl__sha256_add(&hash, options, strlen(options) + 1);
    ivl__sha256_add(&hash, text, bytes);
    ivl__sha256_hex(&hash, key);
}

static char *path_of(const ivl__device *device, const char *key)
{
    size_t room = strlen(device->options.cache_dir) + 96;
    char *path = ivl__malloc(room);

    if (path) {
        snprintf(path, room, "%s/programs/%s.bin", device->options.cache_dir, key);
    }
    return path;
}

static void checksum(const unsigned char *binary, size_t bytes, char hex[65])
{
    ivl__sha256 hash;

    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, binary, bytes);
    ivl__sha256_hex(&hash, hex);
}

static bool intact(const unsigned char *data, size_t bytes)
{
    uint64_t length = 0;
    char hex[65];

    if (bytes <= HEADER_BYTES || memcmp(data, MAGIC, 8) != 0) {
        return false;
    }
    for (int i = 0; i < 8; i++) {
        length |= (uint64_t)data[8 + i] << (8 * i);
    }
    if (length != bytes - HEADER_BYTES) {
        return false;
    }
    checksum(data + HEADER_BYTES, (size_t)length, hex);
    return memcmp(hex, data + 16, 64) == 0;
}

bool ivl__program_cache_load(const ivl__device *device, const char *key, unsigned char **binary,
                             size_t *bytes)
{
    char *path = path_of(device, key);
    unsigned char *data = NULL;
    size_t length = 0;
    bool found = path && ivl__file_kind_of(path) == IVL__FILE_REGULAR &&
                 ivl__file_read(path, MAX_BINARY_BYTES, &data, &length, NULL) == IVL_OK;

    if (found && !intact(data, length)) {
        ivl__log(IVL_LOG_INFO, "the cached program '%s' is damaged and is built again", path);
        found = false;
    }
    ivl__free(path);
    if (!found) {
        ivl__free(data);
        return false;
    }
    memmove(data, data + HEADER_BYTES, length - HEADER_BYTES);
    *binary = data;
    *bytes = length - HEADER_BYTES;
    return true;
}

static ivl_status store(const ivl__device *device, const char *path, const unsigned char *binary,
                        size_t bytes, ivl_error *error)
{
    unsigned char *data = bytes <= MAX_BINARY_BYTES ? ivl__malloc(HEADER_BYTES + bytes) : NULL;
    char *folder = ivl__path_join(device->options.cache_dir, "programs");
    char hex[65];
    ivl_status status;

    if (!data || !folder) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a program of %zu bytes",
                           bytes);
        goto done;
    }
    checksum(binary, bytes, hex);
    memcpy(data, MAGIC, 8);
    for (int i = 0; i < 8; i++) {
        data[8 + i] = (unsigned char)((uint64_t)bytes >> (8 * i));
    }
    memcpy(data + 16, hex, 64);
    memcpy(data + HEADER_BYTES, binary, bytes);
    status = ivl__folder_create(folder, error);
    if (status == IVL_OK) {
        status = ivl__file_replace(path, data, HEADER_BYTES + bytes, error);
    }
done:
    ivl__free(folder);
    ivl__free(data);
    return status;
}

void ivl__program_cache_store(const ivl__device *device, const char *key,
                              const unsigned char *binary, size_t bytes)
{
    static atomic_bool told;
    ivl_error error = {0};
    char *path = path_of(device, key);

    if (path && store(device, path, binary, bytes, &error) != IVL_OK &&
        !atomic_exchange(&told, true)) {
        ivl__log(IVL_LOG_WARNING, "compiled programs are not kept: %s", error.message);
    }
    ivl__free(path);
}
