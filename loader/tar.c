/* tar.c - the members of a tar archive; see tar.h.
 *
 * A header is one block of 512 bytes (POSIX.1-1988 ustar; fields by offset below). 'L' and 'x'
 * members carry a name or attributes for the member after them.
 */
#include "loader/tar.h"

#include "runtime/memory.h"

#include <string.h>

enum { BLOCK = 512 };
enum { NAME = 0, SIZE = 124, CHECKSUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345 };
enum { SPARSE_EXTENDED = 482, SPARSE_MORE = 504 };

/* Bounds for what a header may make us allocate. */
enum { MAX_NAME = 65536, MAX_PAX = 1 << 20 };

/* Sizes beyond this make offsets wrap when added. */
#define MAX_SIZE ((uint64_t)1 << 62)

void ivl__tar_init(ivl__tar *tar, ivl__tar_read_fn *read, void *user, uint64_t file_bytes)
{
    *tar = (ivl__tar){.read = read, .user = user, .file_bytes = file_bytes};
}

/* Octal digits after blanks, up to a blank or NUL; or base 256 when the top bit is set. */
static bool parse_number(const unsigned char *field, size_t length, uint64_t *value)
{
    size_t i = 0;
    bool any = false;

    *value = 0;
    if (field[0] & 0x80u) {
        if (field[0] != 0x80) {
            return false; /* negative, or beyond 2^(8*length-8) */
        }
        for (i = 1; i < length; i++) {
            if (*value >> 54) {
                return false;
            }
            *value = *value << 8 | field[i];
        }
        return true;
    }
    while (i < length && field[i] == ' ') {
        i++;
    }
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++, any = true) {
        *value = *value << 3 | (unsigned)(field[i] - '0');
    }
    /* Some writers leave the size of folders blank. */
    return i == length || field[i] == '\0' || (field[i] == ' ' && any);
}

/* Old writers summed signed characters. */
static bool checksum_matches(const unsigned char *block)
{
    uint64_t stored;
    uint64_t plain = 0;
    int64_t with_sign = 0;

    if (!parse_number(block + CHECKSUM, 8, &stored)) {
        return false;
    }
    for (int i = 0; i < BLOCK; i++) {
        unsigned char c = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : block[i];

        plain += c;
        with_sign += c < 128 ? c : (int)c - 256;
    }
    return stored == plain || (with_sign >= 0 && stored == (uint64_t)with_sign);
}

static bool is_zero(const unsigned char *block)
{
    for (int i = 0; i < BLOCK; i++) {
        if (block[i]) {
            return false;
        }
    }
    return true;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static char *copy_text(const unsigned char *text, size_t most)
{
    const unsigned char *nul = memchr(text, 0, most);
    size_t length = nul ? (size_t)(nul - text) : most;
    char *copy = ivl__malloc(length + 1);

    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

/* prefix, '/', name. */
static char *header_name(const unsigned char *block)
{
    const unsigned char *name = block + NAME;
    const unsigned char *prefix = block + PREFIX;
    const unsigned char *nul = memchr(name, 0, 100);
    size_t n = nul ? (size_t)(nul - name) : 100;
    size_t p;
    char *joined;

    /* GNU archives ("ustar  ") use the prefix for other things. */
    if (memcmp(block + MAGIC, "ustar\0", 6) != 0 || prefix[0] == 0) {
        return copy_text(name, n);
    }
    nul = memchr(prefix, 0, 155);
    p = nul ? (size_t)(nul - prefix) : 155;
    joined = ivl__malloc(p + n + 2);
    if (joined) {
        memcpy(joined, prefix, p);
        joined[p] = '/';
        memcpy(joined + p + 1, name, n);
        joined[p + n + 1] = '\0';
    }
    return joined;
}

/* What 'L' and 'x' members said about the next one. */
typedef struct extras {
    char *name;
    bool has_size, sparse;
    uint64_t size;
} extras;

static ivl_status set_name(extras *e, const unsigned char *text, size_t length, ivl_error *error)
{
    char *name = copy_text(text, length);

    if (!name) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read a tar: out of memory");
    }
    ivl__free(e->name);
    e->name = name;
    return IVL_OK;
}

static bool parse_decimal(const unsigned char *text, size_t length, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || *value >= MAX_SIZE / 10) {
            return false;
        }
        *value = *value * 10 + (unsigned)(text[i] - '0');
    }
    return length > 0;
}

static ivl_status pax_record(extras *e, const unsigned char *key, size_t key_length,
                             const unsigned char *value, size_t length, ivl_error *error)
{
    if (key_length == 4 && memcmp(key, "path", 4) == 0) {
        return set_name(e, value, length, error);
    }
    if (key_length == 4 && memcmp(key, "size", 4) == 0) {
        e->has_size = parse_decimal(value, length, &e->size);
        return e->has_size ? IVL_OK
                           : ivl__fail(error, IVL_BAD_INPUT, "tar: pax size is not a number");
    }
    if (key_length >= 10 && memcmp(key, "GNU.sparse", 10) == 0) {
        e->sparse = true;
    }
    return IVL_OK;
}

/* Records "<length> <key>=<value>\n", length counting itself and the line feed. */
static ivl_status parse_pax(extras *e, const unsigned char *text, size_t bytes, ivl_error *error)
{
    size_t at = 0;
    ivl_status status = IVL_OK;

    while (status == IVL_OK && at < bytes && text[at]) {
        const unsigned char *blank = memchr(text + at, ' ', bytes - at);
        const unsigned char *equals;
        uint64_t length;
        size_t head;

        if (!blank || !parse_decimal(text + at, (size_t)(blank - text) - at, &length)) {
            return ivl__fail(error, IVL_BAD_INPUT, "tar: damaged pax header");
        }
        head = (size_t)(blank - text) + 1 - at;
        if (length > bytes - at || length < head + 2 || text[at + length - 1] != '\n') {
            return ivl__fail(error, IVL_BAD_INPUT, "tar: damaged pax header");
        }
        equals = memchr(blank + 1, '=', (size_t)length - head - 1);
        if (!equals) {
            return ivl__fail(error, IVL_BAD_INPUT, "tar: damaged pax header");
        }
        status = pax_record(e, blank + 1, (size_t)(equals - blank) - 1, equals + 1,
                            (size_t)(text + at + length - 1 - (equals + 1)), error);
        at += (size_t)length;
    }
    return status;
}

static ivl_status read_extra(ivl__tar *tar, unsigned char type, uint64_t size, extras *e,
                             ivl_error *error)
{
    uint64_t limit = type == 'x' ? MAX_PAX : MAX_NAME;
    unsigned char *text;
    ivl_status status;
    size_t got;

    if (size > limit) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "tar: a name or attribute block of %llu bytes (limit %llu)",
                         (unsigned long long)size, (unsigned long long)limit);
    }
    text = ivl__malloc((size_t)size);
    if (!text) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read a tar: out of memory");
    }
    status = tar->read(tar->user, tar->next, text, (size_t)size, &got, error);
    if (status == IVL_OK && got < size) {
        status = ivl__fail(error, IVL_BAD_INPUT, "tar is truncated inside a header");
    }
    if (status == IVL_OK) {
        status = type == 'x' ? parse_pax(e, text, (size_t)size, error)
                             : set_name(e, text, (size_t)size, error);
    }
    ivl__free(text);
    tar->next += padded(size);
    return status;
}

/* The old GNU format continues its table of holes in further blocks. */
static ivl_status skip_sparse_table(ivl__tar *tar, unsigned char *block, ivl_error *error)
{
    bool more = block[SPARSE_EXTENDED] != 0;

    while (more) {
        size_t got;
        ivl_status status = tar->read(tar->user, tar->next, block, BLOCK, &got, error);

        if (status != IVL_OK) {
            return status;
        }
        if (got < BLOCK) {
            return ivl__fail(error, IVL_BAD_INPUT, "tar is truncated inside a header");
        }
        tar->next += BLOCK;
        more = block[SPARSE_MORE] != 0;
    }
    return IVL_OK;
}

/* One header block into *size and *type; *end at the end of the archive. */
static ivl_status read_header(ivl__tar *tar, unsigned char *block, uint64_t *size, bool *end,
                              ivl_error *error)
{
    size_t got;
    ivl_status status = tar->read(tar->user, tar->next, block, BLOCK, &got, error);

    if (status != IVL_OK) {
        return status;
    }
    *end = got == 0 && tar->next > 0;
    if (*end) {
        return IVL_OK; /* no end mark; not worth a complaint */
    }
    if (got < BLOCK) {
        return ivl__fail(error, IVL_BAD_INPUT, "tar is truncated: %zu of %d header bytes at %llu",
                         got, (int)BLOCK, (unsigned long long)tar->next);
    }
    if (is_zero(block)) {
        *end = true;
        return IVL_OK;
    }
    if (!checksum_matches(block)) {
        return ivl__fail(error, IVL_BAD_INPUT, "%s at byte %llu (wrong checksum)",
                         tar->next ? "tar: no valid header" : "not a tar: no header",
                         (unsigned long long)tar->next);
    }
    if (!parse_number(block + SIZE, 12, size)) {
        return ivl__fail(error, IVL_BAD_INPUT, "tar: bad size field at byte %llu",
                         (unsigned long long)tar->next);
    }
    tar->next += BLOCK;
    return IVL_OK;
}

static bool has_data(unsigned char type)
{
    return type < '1' || type > '6';
}

static ivl_status finish_member(ivl__tar *tar, unsigned char *block, extras *e, uint64_t size,
                                ivl__tar_member *member, bool *truncated, ivl_error *error)
{
    unsigned char type = block[TYPE];
    char *name = e->name;
    ivl_status status = IVL_OK;
    bool cut;

    if (!name && !(name = header_name(block))) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot read a tar: out of memory");
    }
    e->name = NULL;
    if (type == 'S') {
        status = skip_sparse_table(tar, block, error);
    }
    size = !has_data(type) ? 0 : e->has_size ? e->size : size;
    if (status == IVL_OK && (size > MAX_SIZE || tar->next > MAX_SIZE)) {
        status = ivl__fail(error, IVL_BAD_INPUT, "tar: member '%.200s' claims %llu bytes", name,
                           (unsigned long long)size);
    }
    cut = status == IVL_OK && (tar->next > tar->file_bytes || size > tar->file_bytes - tar->next);
    if (cut && !truncated) {
        status = ivl__fail(error, IVL_BAD_INPUT,
                           "tar is truncated: member '%.200s' needs %llu bytes", name,
                           (unsigned long long)size);
    }
    if (status != IVL_OK) {
        ivl__free(name);
        return status;
    }
    if (truncated) {
        *truncated = cut;
    }
    *member = (ivl__tar_member){.name = name,
                                .regular = (type == '0' || type == 0 || type == '7') && !e->sparse,
                                .offset = tar->next,
                                .bytes = size};
    tar->next += padded(size);
    return IVL_OK;
}

ivl_status ivl__tar_next(ivl__tar *tar, ivl__tar_member *member, bool *truncated, bool *end,
                         ivl_error *error)
{
    unsigned char block[BLOCK];
    extras e = {0};
    ivl_status status;
    uint64_t size = 0;
    bool last = false;

    for (;;) {
        status = read_header(tar, block, &size, &last, error);
        if (status != IVL_OK || last) {
            break;
        }
        if (block[TYPE] == 'L' || block[TYPE] == 'x') {
            status = read_extra(tar, block[TYPE], size, &e, error);
        } else if (block[TYPE] == 'K' || block[TYPE] == 'g') {
            /* Long link targets and archive-wide attributes say nothing we need. */
            status = size > MAX_PAX ? ivl__fail(error, IVL_BAD_INPUT, "tar: oversized attributes")
                                    : IVL_OK;
            tar->next += padded(size);
        } else {
            status = finish_member(tar, block, &e, size, member, truncated, error);
            break;
        }
        if (status != IVL_OK) {
            break;
        }
    }
    ivl__free(e.name);
    if (status == IVL_OK) {
        *end = last;
    }
    return status;
}
