/* program_cache.h - compiled programs on disk, one file each. Used by program.c only.
 *
 * Names are SHA-256 keys over source, options, device, driver and format version. A file carries
 * its own checksum, which is verified before a driver sees the bytes: four drivers abort on damaged
 * binaries. Files appear by rename, so processes may share a folder.
 */
#ifndef IVL_RUNTIME_PROGRAM_CACHE_H
#define IVL_RUNTIME_PROGRAM_CACHE_H

#include "runtime/device.h"

/* False where the device has no cache on disk: no folder given, or the quirk says so. */
bool ivl__program_cache_used(const ivl__device *device);

void ivl__program_cache_key(const ivl__device *device, const char *text, size_t bytes,
                            const char *options, char key[65]);

/* The verified binary (ivl__free), or false: missing, or damaged, which is logged. */
bool ivl__program_cache_load(const ivl__device *device, const char *key, unsigned char **binary,
                             size_t *bytes);
/* A failure is logged once per process; the program works without its cache. */
void ivl__program_cache_store(const ivl__device *device, const char *key,
                              const unsigned char *binary, size_t bytes);

#endif
