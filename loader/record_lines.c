/* record_lines.c - the text of an output; see record_lines.h. */
#include "loader/record_lines.h"

#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <math.h>
#include <string.h>

/* ---- writing ----------------------------------------------------------------------------- */

/* As few digits as always give the same value back: 9 for float32, 5 for float16. */
static void add_number(ivl__text *text, float value, ivl__npy_type type)
{
    ivl__text_printf(text, type == IVL__NPY_F2 ? "%.5g" : "%.9g", (double)value);
}

static float rounded(float value, ivl__npy_type type)
{
    return type == IVL__NPY_F2 ? ivl__f16_to_float(ivl__float_to_f16(value)) : value;
}

static void add_vector(ivl__text *text, const float *vector, size_t n, ivl__npy_type type)
{
    ivl__text_puts(text, ", \"vector\": [");
    for (size_t i = 0; i < n; i++) {
        float value = rounded(vector[i], type);

        if (i) {
            ivl__text_puts(text, ", ");
        }
        if (isfinite(value)) {
            add_number(text, value, type);
        } else {
            ivl__text_puts(text, "null"); /* JSON has no name for them. */
        }
    }
    ivl__text_puts(text, "]");
}

void ivl__record_add_metadata(ivl__text *text, uint64_t row, const ivl__record *record,
                              const float *vector, size_t n, ivl__npy_type type)
{
    ivl__text_printf(text, "{\"row\": %llu, \"key\": ", (unsigned long long)row);
    ivl__text_json(text, record->key);
    if (record->width > 0 && record->height > 0) {
        ivl__text_printf(text, ", \"width\": %d, \"height\": %d", record->width, record->height);
    }
    if (record->caption) {
        ivl__text_puts(text, ", \"caption\": ");
        ivl__text_json(text, record->caption);
    }
    if (record->fields && record->fields[0]) {
        ivl__text_puts(text, ", ");
        ivl__text_puts(text, record->fields);
    }
    if (vector) {
        add_vector(text, vector, n, type);
    }
    ivl__text_puts(text, "}\n");
}

void ivl__record_add_table_header(ivl__text *text, size_t n)
{
    ivl__text_puts(text, "key");
    for (size_t i = 0; i < n; i++) {
        ivl__text_printf(text, ",v%zu", i);
    }
    ivl__text_puts(text, "\n");
}

/* Quoted where RFC 4180 asks for it, and where a blank could be taken away. */
static void add_table_key(ivl__text *text, const char *key)
{
    ivl__text escaped = {0};

    if (!key[strcspn(key, "\",\r\n \t#")] && key[0]) {
        ivl__text_escaped(text, key);
        return;
    }
    ivl__text_escaped(&escaped, key);
    ivl__text_puts(text, "\"");
    for (const char *s = escaped.data; s && *s; s++) {
        ivl__text_add(text, s, 1);
        if (*s == '"') {
            ivl__text_add(text, s, 1);
        }
    }
    ivl__text_puts(text, "\"");
    text->failed = text->failed || escaped.failed;
    ivl__text_free(&escaped);
}

void ivl__record_add_table(ivl__text *text, const ivl__record *record, const float *vector,
                           size_t n, ivl__npy_type type)
{
    add_table_key(text, record->key);
    for (size_t i = 0; i < n; i++) {
        ivl__text_puts(text, ",");
        add_number(text, rounded(vector[i], type), type);
    }
    ivl__text_puts(text, "\n");
}

void ivl__record_add_error(ivl__text *text, const ivl__record *record, const char *message)
{
    ivl__text_puts(text, "{\"key\": ");
    ivl__text_json(text, record->key);
    ivl__text_puts(text, ", \"error\": ");
    ivl__text_json(text, message);
    ivl__text_printf(text, ", \"input\": %llu}\n", (unsigned long long)record->position);
}

/* ---- reading ----------------------------------------------------------------------------- */

enum { READ_BYTES = 1 << 18, LONGEST_LINE = 1 << 30 };

ivl_status ivl__lines_open(ivl__line_reader *reader, char *path, uint64_t end, bool table,
                           ivl_error *error)
{
    ivl_status status;

    *reader = (ivl__line_reader){.path = path, .fd = -1, .end = end, .table = table};
    status = path ? ivl__file_open(path, &reader->fd, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    if (status != IVL_OK) {
        ivl__lines_close(reader);
    }
    return status;
}

void ivl__lines_close(ivl__line_reader *reader)
{
    if (reader->path) {
        ivl__file_close(reader->fd);
    }
    ivl__text_free(&reader->buffer);
    ivl__free(reader->path);
    *reader = (ivl__line_reader){.fd = -1};
}

/* Reads more; *end when there is nothing left. */
static ivl_status refill(ivl__line_reader *reader, bool *end, ivl_error *error)
{
    ivl__text *buffer = &reader->buffer;
    uint64_t left = reader->end - reader->offset;
    size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
    size_t got = 0;

    if (reader->at) {
        memmove(buffer->data, buffer->data + reader->at, buffer->bytes - reader->at);
        buffer->bytes -= reader->at;
        reader->at = 0;
    }
    if (buffer->bytes > LONGEST_LINE) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' has a line beyond 1 GiB: damaged",
                         reader->path);
    }
    if (!ivl__grow((void **)&buffer->data, &buffer->capacity, buffer->bytes + READ_BYTES + 1, 1)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory to read '%s'", reader->path);
    }
    IVL__TRY(ivl__file_pread(reader->fd, reader->path, reader->offset, buffer->data + buffer->bytes,
                             want, &got, error));
    reader->offset += got;
    buffer->bytes += got;
    *end = got == 0;
    return IVL_OK;
}

/* Where the line that begins at `at` ends, 0 when it is not all there; *seen and *quoted remember
 * how far that was looked for. */
static size_t find_end(const ivl__line_reader *reader, size_t *seen, bool *quoted)
{
    const char *data = reader->buffer.data;
    size_t bytes = reader->buffer.bytes;

    for (size_t i = reader->at + *seen; i < bytes; i++) {
        if (data[i] == '"' && reader->table) {
            *quoted = !*quoted;
        } else if (data[i] == '\n' && !*quoted) {
            return i + 1;
        }
    }
    *seen = bytes - reader->at;
    return 0;
}

ivl_status ivl__lines_next(ivl__line_reader *reader, const char **line, size_t *bytes,
                           ivl_error *error)
{
    size_t seen = 0;
    bool quoted = false;
    bool end = false;

    *line = NULL;
    *bytes = 0;
    for (;;) {
        size_t stop = find_end(reader, &seen, &quoted);

        if (stop) {
            *line = reader->buffer.data + reader->at;
            *bytes = stop - reader->at;
            reader->at = stop;
            return IVL_OK;
        }
        IVL__TRY(refill(reader, &end, error));
        if (end) {
            break;
        }
    }
    if (reader->buffer.bytes > reader->at) {
        return ivl__fail(error, IVL_BAD_INPUT, "'%s' ends inside a line: damaged", reader->path);
    }
    return IVL_OK;
}

/* Digits from `at`; *next is behind them. */
static bool take_number(const char *line, size_t bytes, size_t at, uint64_t *value, size_t *next)
{
    size_t i = at;

    *value = 0;
    for (; i < bytes && line[i] >= '0' && line[i] <= '9'; i++) {
        if (*value > (UINT64_MAX - 9) / 10) {
            return false;
        }
        *value = *value * 10 + (uint64_t)(line[i] - '0');
    }
    *next = i;
    return i > at;
}

static const char row_start[] = "{\"row\": ";
static const char input_start[] = ", \"input\": ";

bool ivl__record_renumber_row(ivl__text *text, const char *line, size_t bytes, uint64_t row)
{
    size_t start = sizeof row_start - 1;
    uint64_t old;
    size_t next;

    if (bytes < start || memcmp(line, row_start, start) != 0 ||
        !take_number(line, bytes, start, &old, &next)) {
        return false;
    }
    ivl__text_printf(text, "%s%llu", row_start, (unsigned long long)row);
    ivl__text_add(text, line + next, bytes - next);
    return true;
}

/* Where the digits of an error's input number begin; they end before "}\n". */
static bool find_input(const char *line, size_t bytes, size_t *at, uint64_t *input)
{
    size_t length = sizeof input_start - 1;
    size_t digits, next;

    if (bytes < length + 3 || memcmp(line + bytes - 2, "}\n", 2) != 0) {
        return false;
    }
    for (digits = bytes - 2; digits && line[digits - 1] >= '0' && line[digits - 1] <= '9';
         digits--) {
    }
    if (digits < length || memcmp(line + digits - length, input_start, length) != 0 ||
        !take_number(line, bytes, digits, input, &next)) {
        return false;
    }
    *at = digits;
    return next == bytes - 2;
}

bool ivl__record_renumber_error(ivl__text *text, const char *line, size_t bytes, uint64_t input)
{
    uint64_t old;
    size_t at;

    if (!find_input(line, bytes, &at, &old)) {
        return false;
    }
    ivl__text_add(text, line, at);
    ivl__text_printf(text, "%llu}\n", (unsigned long long)input);
    return true;
}

bool ivl__record_error_input(const char *line, size_t bytes, uint64_t *input)
{
    size_t at;

    return find_input(line, bytes, &at, input);
}

bool ivl__record_line_key(const char *line, size_t bytes, const char **key, size_t *n)
{
    static const char member[] = ", \"key\": \"";
    size_t length = sizeof member - 1;
    uint64_t row;
    size_t at, end;

    if (bytes < sizeof row_start || memcmp(line, row_start, sizeof row_start - 1) != 0 ||
        !take_number(line, bytes, sizeof row_start - 1, &row, &at) || bytes - at < length ||
        memcmp(line + at, member, length) != 0) {
        return false;
    }
    at += length;
    for (end = at; end < bytes && line[end] != '"'; end++) {
        end += line[end] == '\\';
    }
    if (end >= bytes) {
        return false;
    }
    *key = line + at - 1;
    *n = end + 2 - at;
    return true;
}
