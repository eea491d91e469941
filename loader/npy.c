/* npy.c - NumPy's array file; see npy.h.
 *
 * The header is a Python dict literal; the little parser below takes exactly the three keys NumPy
 * writes, in any order, and nothing else.
 */
#include "loader/npy.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *descr;
    const char *name;
    size_t bytes;
} types[] = {
    [IVL__NPY_F4] = {"<f4", "float32", 4}, [IVL__NPY_F2] = {"<f2", "float16", 2},
    [IVL__NPY_U1] = {"|u1", "uint8", 1},   [IVL__NPY_I4] = {"<i4", "int32", 4},
    [IVL__NPY_I8] = {"<i8", "int64", 8},
};

enum { N_TYPES = sizeof types / sizeof types[0] };

/* Longest header text that is accepted; NumPy itself refuses beyond 10,000. */
enum { MAX_HEADER_TEXT = 10000 };

size_t ivl__npy_type_bytes(ivl__npy_type type)
{
    return types[type].bytes;
}

const char *ivl__npy_type_name(ivl__npy_type type)
{
    return types[type].name;
}

/* ---- reader ------------------------------------------------------------------------------ */

typedef struct cursor {
    const unsigned char *at, *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n')) {
        c->at++;
    }
}

static bool take(cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->at < c->end && *c->at == (unsigned char)wanted) {
        c->at++;
        return true;
    }
    return false;
}

static bool take_word(cursor *c, const char *word)
{
    size_t length = strlen(word);

    skip_blanks(c);
    if ((size_t)(c->end - c->at) >= length && memcmp(c->at, word, length) == 0) {
        c->at += length;
        return true;
    }
    return false;
}

/* A quoted string without escapes of fewer than 32 bytes. */
static bool take_string(cursor *c, char text[32])
{
    unsigned char quote;
    size_t n = 0;

    skip_blanks(c);
    if (c->at >= c->end || (*c->at != '\'' && *c->at != '"')) {
        return false;
    }
    quote = *c->at++;
    while (c->at < c->end && *c->at != quote) {
        if (n == 31 || *c->at == '\\' || *c->at < ' ' || *c->at > '~') {
            return false;
        }
        text[n++] = (char)*c->at++;
    }
    text[n] = '\0';
    return take(c, (char)quote);
}

static bool take_size(cursor *c, uint64_t *value)
{
    bool any = false;

    skip_blanks(c);
    *value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++, any = true) {
        unsigned digit = (unsigned)(*c->at - '0');

        if (*value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *value = *value * 10 + digit;
    }
    (void)(any && take(c, 'L')); /* Python 2 wrote long integers so. */
    return any;
}

static ivl_status parse_shape(cursor *c, ivl__npy *npy, ivl_error *error)
{
    npy->rank = 0;
    if (!take(c, '(')) {
        return ivl__fail(error, IVL_BAD_INPUT, "npy header: shape is not a tuple");
    }
    while (!take(c, ')')) {
        if (npy->rank == IVL__NPY_MAX_RANK) {
            return ivl__fail(error, IVL_BAD_INPUT, "npy header: more than %d dimensions",
                             (int)IVL__NPY_MAX_RANK);
        }
        if (!take_size(c, &npy->shape[npy->rank])) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "npy header: dimension %d is not a size (negative, too large or no "
                             "number)",
                             npy->rank);
        }
        npy->rank++;
        skip_blanks(c);
        if (!take(c, ',') && (npy->rank < 2 || c->at == c->end || *c->at != ')')) {
            return ivl__fail(error, IVL_BAD_INPUT, "npy header: shape is not a tuple");
        }
    }
    return IVL_OK;
}

static ivl_status parse_descr(const char *descr, ivl__npy_type *type, ivl_error *error)
{
    for (int i = 0; descr[0] && i < N_TYPES; i++) {
        if (strcmp(descr, types[i].descr) == 0 ||
            (types[i].bytes == 1 && strcmp(descr + 1, types[i].descr + 1) == 0)) {
            *type = (ivl__npy_type)i;
            return IVL_OK;
        }
    }
    if (descr[0] == '>') {
        return ivl__fail(error, IVL_BAD_INPUT, "npy: big-endian data ('%s') is not supported",
                         descr);
    }
    if (strchr(descr, 'O')) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "npy: object arrays ('%s') hold a pickle and are refused", descr);
    }
    return ivl__fail(error, IVL_BAD_INPUT,
                     "npy: element type '%s' is not supported (float32, float16, uint8, int32, "
                     "int64 are)",
                     descr);
}

/* {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } */
static ivl_status parse_dict(cursor *c, ivl__npy *npy, ivl_error *error)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    unsigned seen = 0;
    unsigned bit;
    char text[32];
    ivl_status status = IVL_OK;

    if (!take(c, '{')) {
        return ivl__fail(error, IVL_BAD_INPUT, "npy header is not a dict");
    }
    while (status == IVL_OK && !take(c, '}')) {
        if (!take_string(c, text) || !take(c, ':')) {
            return ivl__fail(error, IVL_BAD_INPUT, "npy header is not a dict of strings");
        }
        bit = strcmp(text, "descr") == 0           ? DESCR
              : strcmp(text, "fortran_order") == 0 ? ORDER
              : strcmp(text, "shape") == 0         ? SHAPE
                                                   : 0;
        if (bit == 0 || (seen & bit)) {
            return ivl__fail(error, IVL_BAD_INPUT, "npy header: key '%s' is %s", text,
                             bit ? "there twice" : "unknown");
        }
        seen |= bit;
        if (bit == DESCR) {
            status = take_string(c, text) ? parse_descr(text, &npy->type, error)
                                          : ivl__fail(error, IVL_BAD_INPUT,
                                                      "npy: structured element types are not "
                                                      "supported");
        } else if (bit == SHAPE) {
            status = parse_shape(c, npy, error);
        } else if (take_word(c, "True")) {
            status = ivl__fail(error, IVL_BAD_INPUT,
                               "npy: Fortran order is not supported; save with "
                               "numpy.ascontiguousarray");
        } else if (!take_word(c, "False")) {
            status = ivl__fail(error, IVL_BAD_INPUT, "npy header: fortran_order is no boolean");
        }
        if (status == IVL_OK && !take(c, ',')) {
            skip_blanks(c);
            if (c->at == c->end || *c->at != '}') {
                status = ivl__fail(error, IVL_BAD_INPUT, "npy header is not a dict");
            }
        }
    }
    if (status == IVL_OK && seen != (DESCR | ORDER | SHAPE)) {
        status = ivl__fail(error, IVL_BAD_INPUT,
                           "npy header lacks 'descr', 'fortran_order' or 'shape'");
    }
    return status;
}

static ivl_status check_size(ivl__npy *npy, uint64_t file_bytes, ivl_error *error)
{
    uint64_t bytes = types[npy->type].bytes;
    uint64_t count = 1;

    /* Sizes beside a zero must not overflow either: readers multiply them in any order. */
    for (int i = 0; i < npy->rank; i++) {
        uint64_t n = npy->shape[i] ? npy->shape[i] : 1;

        if (bytes > (uint64_t)INT64_MAX / n) {
            return ivl__fail(error, IVL_BAD_INPUT, "npy: the shape's element count overflows");
        }
        bytes *= n;
        count *= npy->shape[i];
    }
    npy->count = count;
    npy->bytes = count * types[npy->type].bytes;
    if (npy->bytes > file_bytes - npy->offset) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "npy is truncated: the shape needs %llu data bytes, the file has %llu",
                         (unsigned long long)npy->bytes,
                         (unsigned long long)(file_bytes - npy->offset));
    }
    return IVL_OK;
}

ivl_status ivl__npy_parse(const void *data, size_t n_bytes, uint64_t file_bytes, ivl__npy *npy,
                          ivl_error *error)
{
    const unsigned char *p = data;
    ivl__npy result = {0};
    ivl_status status;
    size_t start, text;
    cursor c;

    if (n_bytes < 10 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "not an npy file (it does not begin with "
                         "\\x93NUMPY)");
    }
    if ((p[6] != 1 && p[6] != 2) || p[7] != 0 || (p[6] == 2 && n_bytes < 12)) {
        return ivl__fail(error, IVL_BAD_INPUT, "npy version %d.%d is not supported (1.0, 2.0 are)",
                         p[6], p[7]);
    }
    start = p[6] == 1 ? 10 : 12;
    text = (size_t)p[8] | (size_t)p[9] << 8;
    if (p[6] == 2) {
        text |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    }
    if (text > file_bytes - start || text > MAX_HEADER_TEXT || text > n_bytes - start) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "npy header of %zu bytes does not fit the file of %llu bytes (or the "
                         "limit of %d)",
                         text, (unsigned long long)file_bytes, (int)MAX_HEADER_TEXT);
    }
    c = (cursor){p + start, p + start + text};
    status = parse_dict(&c, &result, error);
    if (status != IVL_OK) {
        return status;
    }
    skip_blanks(&c);
    if (c.at != c.end) {
        return ivl__fail(error, IVL_BAD_INPUT, "npy header has text behind the dict");
    }
    result.offset = start + text;
    status = check_size(&result, file_bytes, error);
    if (status == IVL_OK) {
        *npy = result;
    }
    return status;
}

ivl_status ivl__npy_read(const char *path, size_t max_bytes, ivl__npy *npy, void **data,
                         ivl_error *error)
{
    unsigned char *bytes;
    size_t n_bytes;
    ivl__npy head;
    ivl_status status = ivl__file_read(path, max_bytes, &bytes, &n_bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    status = ivl__npy_parse(bytes, n_bytes, n_bytes, &head, error);
    if (status != IVL_OK) {
        ivl__free(bytes);
        return ivl__fail_context(error, status, "'%s'", path);
    }
    memmove(bytes, bytes + head.offset, (size_t)head.bytes);
    *npy = head;
    *data = bytes;
    return IVL_OK;
}

/* ---- writer ------------------------------------------------------------------------------ */

static void append(char *text, size_t capacity, size_t *used, const char *format, ...)
    IVL__PRINTF(4, 5);

static void append(char *text, size_t capacity, size_t *used, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text + *used, capacity - *used, format, args);
    va_end(args);
    *used += n > 0 ? (size_t)n : 0;
}

ivl_status ivl__npy_header(ivl__npy_type type, const uint64_t *shape, int rank,
                           unsigned char header[IVL__NPY_HEADER_BYTES], ivl_error *error)
{
    /* 8 dimensions of 20 digits fill 176 bytes: more than there is, hence the check below. */
    char text[320];
    size_t used = 0;
    size_t room = IVL__NPY_HEADER_BYTES - 10 - 1;

    if (rank < 0 || rank > IVL__NPY_MAX_RANK) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "npy: %d dimensions (at most %d)", rank,
                         (int)IVL__NPY_MAX_RANK);
    }
    append(text, sizeof text, &used, "{'descr': '%s', 'fortran_order': False, 'shape': (",
           types[type].descr);
    for (int i = 0; i < rank; i++) {
        append(text, sizeof text, &used,
               rank == 1 ? "%llu,"
               : i       ? ", %llu"
                         : "%llu",
               (unsigned long long)shape[i]);
    }
    append(text, sizeof text, &used, "), }");
    if (used > room) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "npy: the shape is too long for a header");
    }
    memcpy(header, "\x93NUMPY\x01", 7);
    header[7] = 0;
    header[8] = IVL__NPY_HEADER_BYTES - 10;
    header[9] = 0;
    memset(header + 10, ' ', room);
    memcpy(header + 10, text, used);
    header[IVL__NPY_HEADER_BYTES - 1] = '\n';
    return IVL_OK;
}

ivl_status ivl__npy_write(const char *path, ivl__npy_type type, const uint64_t *shape, int rank,
                          const void *data, ivl_error *error)
{
    size_t bytes = types[type].bytes;
    unsigned char *file;
    ivl_status status;

    for (int i = 0; i < rank && i < IVL__NPY_MAX_RANK; i++) {
        if (shape[i] > SIZE_MAX || !ivl__mul_size(bytes, (size_t)shape[i], &bytes)) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "npy: the shape overflows");
        }
    }
    file = bytes < SIZE_MAX / 2 ? ivl__malloc(bytes + IVL__NPY_HEADER_BYTES) : NULL;
    if (!file) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot write '%s': no memory for %zu bytes",
                         path, bytes);
    }
    status = ivl__npy_header(type, shape, rank, file, error);
    if (status == IVL_OK) {
        memcpy(file + IVL__NPY_HEADER_BYTES, data, bytes);
        status = ivl__file_replace(path, file, bytes + IVL__NPY_HEADER_BYTES, error);
    }
    ivl__free(file);
    return status;
}
