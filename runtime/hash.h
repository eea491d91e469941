/* hash.h - SHA-256 (FIPS 180-4), for model ids and cache keys. */
#ifndef IVL_RUNTIME_HASH_H
#define IVL_RUNTIME_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct ivl__sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
} ivl__sha256;

void ivl__sha256_init(ivl__sha256 *hash);
void ivl__sha256_add(ivl__sha256 *hash, const void *data, size_t bytes);
/* Writes the digest as 64 lower-case hex digits and a NUL. */
void ivl__sha256_hex(ivl__sha256 *hash, char hex[65]);

#endif
