/* tar_builder.h - writes tar archives for tests: ustar, GNU long names, pax, and damaged ones. */
#ifndef IVL_TESTS_TAR_BUILDER_H
#define IVL_TESTS_TAR_BUILDER_H

#include "tests/test.h"

/* Header of 512 bytes; size_field overrides the size's 12 characters when not NULL. */
static inline void tar_header(FILE *file, const char *name, char type, size_t bytes,
                              const char *size_field)
{
    unsigned char block[512] = {0};
    unsigned sum = 0;
    char digits[32];

    memcpy(block, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(block + 100,
           "0000644\0"
           "0000000\0"
           "0000000\0",
           24);
    snprintf(digits, sizeof digits, "%011zo", bytes);
    memcpy(block + 124, digits, 11);
    if (size_field) {
        memcpy(block + 124, size_field, 12);
    }
    memcpy(block + 136, "00000000000", 12);
    memset(block + 148, ' ', 8);
    block[156] = (unsigned char)type;
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    for (int i = 0; i < 512; i++) {
        sum += block[i];
    }
    snprintf(digits, sizeof digits, "%06o", sum);
    memcpy(block + 148, digits, 7);
    assert_int_equal(fwrite(block, 1, 512, file), 512);
}

static inline void tar_data(FILE *file, const void *data, size_t bytes)
{
    static const char zeros[512];

    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fwrite(zeros, 1, (512 - bytes % 512) % 512, file), (512 - bytes % 512) % 512);
}

static inline void tar_member(FILE *file, const char *name, const char *text)
{
    tar_header(file, name, '0', strlen(text), NULL);
    tar_data(file, text, strlen(text));
}

/* GNU: the name as data of an 'L' member. */
static inline void tar_long_member(FILE *file, const char *name, const char *text)
{
    tar_header(file, "././@LongLink", 'L', strlen(name) + 1, NULL);
    tar_data(file, name, strlen(name) + 1);
    tar_header(file, name, '0', strlen(text), NULL);
    tar_data(file, text, strlen(text));
}

/* pax: "LEN path=NAME\n" as data of an 'x' member. */
static inline void tar_pax_member(FILE *file, const char *name, const char *text)
{
    char record[4096];
    size_t length = strlen(name) + 7;

    length += length + 1 > 99 ? (length + 1 > 998 ? 4 : 3) : length + 1 > 9 ? 2 : 1;
    snprintf(record, sizeof record, "%zu path=%s\n", length, name);
    assert_int_equal(strlen(record), length);
    tar_header(file, "PaxHeaders/x", 'x', length, NULL);
    tar_data(file, record, length);
    tar_header(file, "short.name", '0', strlen(text), NULL);
    tar_data(file, text, strlen(text));
}

static inline void tar_end(FILE *file)
{
    static const char zeros[1024];

    assert_int_equal(fwrite(zeros, 1, 1024, file), 1024);
}

#endif
