/* search_index.c - reading an index of vectors; the format stands in search_index.h. */
#include "loader/search_index.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

static const char magic[8] = {'I', 'V', 'L', 'I', 'N', 'D', 'E', 'X'};

/* ---- places ------------------------------------------------------------------------------ */

uint64_t ivl__index_rows_bytes(const ivl__index_head *head)
{
    return head->rows * (uint64_t)head->dim * ivl__npy_type_bytes(head->type);
}

uint64_t ivl__index_table_at(const ivl__index_head *head)
{
    return (IVL__INDEX_ROWS_AT + ivl__index_rows_bytes(head) + 7) / 8 * 8;
}

uint64_t ivl__index_keys_at(const ivl__index_head *head)
{
    return ivl__index_table_at(head) + (head->rows + 1) * sizeof(uint64_t);
}

/* ---- head -------------------------------------------------------------------------------- */

static uint64_t read_le(const unsigned char *at, int bytes)
{
    uint64_t value = 0;

    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

static bool take_u64(const json_t *object, const char *name, uint64_t most, uint64_t *value)
{
    const json_t *member = json_object_get(object, name);
    json_int_t number = json_integer_value(member);

    *value = (uint64_t)number;
    return json_is_integer(member) && number >= 0 && (uint64_t)number <= most;
}

/* A text of at least one and fewer than `room` bytes. */
static bool take_text(const json_t *object, const char *name, char *text, size_t room)
{
    const char *value = json_string_value(json_object_get(object, name));
    size_t n = value ? strlen(value) : 0;

    if (n == 0 || n >= room) {
        return false;
    }
    memcpy(text, value, n + 1);
    return true;
}

static bool take_type(const json_t *object, ivl__npy_type *type)
{
    char name[16];

    if (!take_text(object, "dtype", name, sizeof name)) {
        return false;
    }
    *type = strcmp(name, ivl__npy_type_name(IVL__NPY_F2)) == 0 ? IVL__NPY_F2 : IVL__NPY_F4;
    return strcmp(name, ivl__npy_type_name(*type)) == 0;
}

/* The members, each in its range; then products of them cannot overflow. */
static bool take_members(const json_t *object, ivl__index_head *head)
{
    uint64_t dim, rows_crc, keys_crc;

    if (!take_u64(object, "rows", IVL__INDEX_MAX_ROWS, &head->rows) || head->rows < 1 ||
        !take_u64(object, "dim", IVL__INDEX_MAX_DIM, &dim) || dim < 1 ||
        !take_u64(object, "keys_bytes", (uint64_t)1 << 48, &head->keys_bytes) ||
        !take_u64(object, "rows_crc32", UINT32_MAX, &rows_crc) ||
        !take_u64(object, "keys_crc32", UINT32_MAX, &keys_crc)) {
        return false;
    }
    head->dim = (int32_t)dim;
    head->rows_crc = (uint32_t)rows_crc;
    head->keys_crc = (uint32_t)keys_crc;
    return take_type(object, &head->type) &&
           take_text(object, "model_id", head->model_id, sizeof head->model_id) &&
           strspn(head->model_id, "0123456789abcdef") == 64 &&
           take_text(object, "mode", head->mode, sizeof head->mode) &&
           json_is_true(json_object_get(object, "normalized")) &&
           json_is_object(json_object_get(object, "identity"));
}

static ivl_status parse_object(const json_t *object, ivl__index_head *head, ivl_error *error)
{
    const char *format = json_string_value(json_object_get(object, "format"));
    uint64_t version;

    if (!format || strcmp(format, "internvl-index") != 0 ||
        !take_u64(object, "version", INT32_MAX, &version)) {
        return ivl__fail(error, IVL_BAD_INPUT, "damaged: its head is that of something else");
    }
    if (version != 1) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "an index of version %" PRIu64 "; this program reads version 1", version);
    }
    if (!take_members(object, head)) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "damaged: a member of its head is missing or out of range");
    }
    return IVL_OK;
}

/* Where everything must be if the head is true. */
static ivl_status check_places(const ivl__index_head *head, const ivl__npy *npy, uint64_t head_at,
                               ivl_error *error)
{
    uint64_t end = ivl__index_keys_at(head) + head->keys_bytes;

    if (npy->offset != IVL__INDEX_ROWS_AT || npy->rank != 2 || npy->type != head->type ||
        npy->shape[0] != head->rows || npy->shape[1] != (uint64_t)head->dim) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "damaged: its head tells of %" PRIu64 " rows of %d values, its beginning "
                         "of something else",
                         head->rows, head->dim);
    }
    if (head_at != end) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "damaged: %" PRIu64 " rows of %d values with %" PRIu64
                         " bytes of keys end at byte %" PRIu64 ", the head begins at %" PRIu64,
                         head->rows, head->dim, head->keys_bytes, end, head_at);
    }
    return IVL_OK;
}

/* The JSON of the head, after the tail and the checksum were found right. */
static ivl_status load_head(const unsigned char *back, size_t back_bytes, uint64_t file_bytes,
                            uint64_t *head_at, json_t **object, ivl_error *error)
{
    const unsigned char *tail = back;
    size_t bytes;
    json_error_t detail;

    if (back_bytes >= IVL__INDEX_TAIL_BYTES) {
        tail = back + back_bytes - IVL__INDEX_TAIL_BYTES;
    }
    if (tail == back || memcmp(tail + 16, magic, sizeof magic) != 0) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "cut off, or no index: its %" PRIu64 " bytes do not end as one's do",
                         file_bytes);
    }
    *head_at = read_le(tail, 8);
    bytes = (size_t)read_le(tail + 8, 4);
    if (bytes > back_bytes - IVL__INDEX_TAIL_BYTES || bytes > IVL__INDEX_MAX_HEAD ||
        *head_at != file_bytes - IVL__INDEX_TAIL_BYTES - bytes) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "damaged: a head of %zu bytes at byte %" PRIu64 " of %" PRIu64, bytes,
                         *head_at, file_bytes);
    }
    if (crc32_z(0, tail - bytes, bytes) != read_le(tail + 12, 4)) {
        return ivl__fail(error, IVL_BAD_INPUT, "damaged: the checksum of its head does not hold");
    }
    *object = json_loadb((const char *)tail - bytes, bytes, JSON_REJECT_DUPLICATES, &detail);
    if (!*object) {
        return ivl__fail(error, IVL_BAD_INPUT, "damaged: its head is no JSON (%s)", detail.text);
    }
    return IVL_OK;
}

ivl_status ivl__index_parse(const unsigned char *front, size_t front_bytes,
                            const unsigned char *back, size_t back_bytes, uint64_t file_bytes,
                            ivl__index_head *head, ivl_error *error)
{
    ivl__index_head found = {0};
    json_t *object = NULL;
    uint64_t head_at = 0;
    ivl_status status;
    ivl__npy npy;

    IVL__TRY(ivl__npy_parse(front, front_bytes, file_bytes, &npy, error));
    IVL__TRY(load_head(back, back_bytes, file_bytes, &head_at, &object, error));
    status = parse_object(object, &found, error);
    if (status == IVL_OK) {
        status = check_places(&found, &npy, head_at, error);
    }
    if (status == IVL_OK) {
        found.identity = json_incref(json_object_get(object, "identity"));
        *head = found;
    }
    json_decref(object);
    return status;
}

void ivl__index_head_free(ivl__index_head *head)
{
    json_decref(head->identity);
    *head = (ivl__index_head){0};
}

/* ---- open -------------------------------------------------------------------------------- */

static ivl_status read_head(ivl__search_index *index, unsigned char *buffer, ivl_error *error)
{
    uint64_t bytes = index->map.bytes;
    size_t room = IVL__INDEX_MAX_HEAD + IVL__INDEX_TAIL_BYTES;
    size_t back = bytes < room ? (size_t)bytes : room;
    unsigned char *front = buffer + room;
    size_t got_front, got_back;
    ivl_error detail = {0};
    ivl_status status;

    /* Not from the map: a file that shrinks now is an error, not a signal. */
    IVL__TRY(ivl__file_pread(index->map.fd, index->path, 0, front, IVL__INDEX_ROWS_AT, &got_front,
                             error));
    IVL__TRY(
        ivl__file_pread(index->map.fd, index->path, bytes - back, buffer, back, &got_back, error));
    if (got_back < back) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "index '%s' shrinks while it is read",
                         index->path);
    }
    status = ivl__index_parse(front, got_front, buffer, back, bytes, &index->head, &detail);
    return status == IVL_OK ? status
                            : ivl__fail(error, IVL_INVALID_ARGUMENT,
                                        "index '%s': %s; make it again with `internvl index`",
                                        index->path, detail.message);
}

ivl_status ivl__search_index_open(const char *path, ivl__search_index *index, ivl_error *error)
{
    ivl__search_index found = {.path = ivl__strdup(path)};
    unsigned char *buffer = ivl__malloc(IVL__INDEX_MAX_HEAD + IVL__INDEX_TAIL_BYTES +
                                        IVL__INDEX_ROWS_AT);
    ivl_status status;

    if (!found.path || !buffer) {
        ivl__free(found.path);
        ivl__free(buffer);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for an index");
    }
    status = ivl__map_open(path, &found.map, error);
    if (status == IVL_OK) {
        status = read_head(&found, buffer, error);
        if (status != IVL_OK) {
            ivl__map_close(&found.map);
        }
    }
    ivl__free(buffer);
    if (status != IVL_OK) {
        ivl__free(found.path);
        return status == IVL_IO_ERROR ? ivl__fail_context(error, IVL_INVALID_ARGUMENT, "index")
                                      : status;
    }
    found.vectors = found.map.data + IVL__INDEX_ROWS_AT;
    *index = found;
    return IVL_OK;
}

void ivl__search_index_close(ivl__search_index *index)
{
    if (index->path) {
        ivl__map_close(&index->map);
    }
    ivl__index_head_free(&index->head);
    ivl__free(index->path);
    *index = (ivl__search_index){0};
}

/* ---- keys -------------------------------------------------------------------------------- */

static ivl_status read_exactly(const ivl__search_index *index, uint64_t at, void *data,
                               size_t bytes, ivl_error *error)
{
    size_t got;

    IVL__TRY(ivl__file_pread(index->map.fd, index->path, at, data, bytes, &got, error));
    return got == bytes ? IVL_OK
                        : ivl__fail(error, IVL_INVALID_ARGUMENT,
                                    "index '%s' shrinks while it is read", index->path);
}

ivl_status ivl__search_index_key(const ivl__search_index *index, uint64_t row, ivl__text *key,
                                 ivl_error *error)
{
    const ivl__index_head *head = &index->head;
    unsigned char entry[16];
    uint64_t begin, end;

    if (row >= head->rows) {
        return ivl__fail(error, IVL_INTERNAL, "row %" PRIu64 " of an index of %" PRIu64, row,
                         head->rows);
    }
    IVL__TRY(read_exactly(index, ivl__index_table_at(head) + row * 8, entry, sizeof entry, error));
    begin = read_le(entry, 8);
    end = read_le(entry + 8, 8);
    if (begin > end || end > head->keys_bytes || end - begin > IVL__INDEX_MAX_KEY) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "index '%s' is damaged: the key of row %" PRIu64 " is bytes %" PRIu64
                         " to %" PRIu64 " of %" PRIu64 "; make it again with `internvl index`",
                         index->path, row, begin, end, head->keys_bytes);
    }
    ivl__text_clear(key);
    for (uint64_t at = begin; at < end;) {
        char chunk[512];
        size_t bytes = end - at < sizeof chunk ? (size_t)(end - at) : sizeof chunk;

        IVL__TRY(read_exactly(index, ivl__index_keys_at(head) + at, chunk, bytes, error));
        ivl__text_add(key, chunk, bytes);
        at += bytes;
    }
    ivl__text_add(key, "", 0);
    return key->failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a key") : IVL_OK;
}

/* ---- checksums --------------------------------------------------------------------------- */

typedef struct summing {
    const ivl__search_index *index;
    unsigned char *chunk;
    uint64_t done, total;
    ivl__index_progress *progress;
    void *user;
} summing;

enum { SUM_CHUNK = 1 << 20 };

static ivl_status sum(summing *s, uint64_t at, uint64_t end, uint32_t want, const char *what,
                      ivl_error *error)
{
    uint32_t crc = 0;

    for (; at < end; at += SUM_CHUNK) {
        size_t bytes = end - at < SUM_CHUNK ? (size_t)(end - at) : SUM_CHUNK;

        IVL__TRY(read_exactly(s->index, at, s->chunk, bytes, error));
        crc = (uint32_t)crc32_z(crc, s->chunk, bytes);
        s->done += bytes;
        if (s->progress && s->progress(s->user, s->done, s->total)) {
            return ivl__fail(error, IVL_CANCELLED, "the check of '%s' was stopped", s->index->path);
        }
    }
    return crc == want ? IVL_OK
                       : ivl__fail(error, IVL_INVALID_ARGUMENT,
                                   "index '%s' is damaged: the checksum of its %s is %08" PRIx32
                                   ", should be %08" PRIx32 "; make it again with `internvl index`",
                                   s->index->path, what, crc, want);
}

ivl_status ivl__search_index_check(const ivl__search_index *index, ivl__index_progress *progress,
                                   void *user, ivl_error *error)
{
    const ivl__index_head *head = &index->head;
    uint64_t rows_end = IVL__INDEX_ROWS_AT + ivl__index_rows_bytes(head);
    uint64_t keys_end = ivl__index_keys_at(head) + head->keys_bytes;
    summing s = {.index = index,
                 .chunk = ivl__malloc(SUM_CHUNK),
                 .total = keys_end - IVL__INDEX_ROWS_AT,
                 .progress = progress,
                 .user = user};
    ivl_status status;

    if (!s.chunk) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory to check an index");
    }
    status = sum(&s, IVL__INDEX_ROWS_AT, rows_end, head->rows_crc, "rows", error);
    if (status == IVL_OK) {
        status = sum(&s, ivl__index_table_at(head), keys_end, head->keys_crc, "keys", error);
    }
    ivl__free(s.chunk);
    return status;
}
