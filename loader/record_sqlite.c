/* record_sqlite.c - OUT.sqlite from the parts of a unit, and the parts from OUT.sqlite again.
 *
 *   embedding(row INTEGER PRIMARY KEY, key TEXT, vector BLOB, width INTEGER, height INTEGER)
 *                       vector: float32, little-endian, whatever the dtype of the run
 *   metadata(row INTEGER PRIMARY KEY, json TEXT)
 *                       the whole object of rows that have more (caption, sidecar) than that
 *   meta(key TEXT PRIMARY KEY, value TEXT)   the members of OUT.meta.json, values as JSON
 *
 * The file is made in one transaction from nothing, so equal rows give equal bytes.
 */
#include "loader/record_pack.h"

#include "runtime/dtype.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

static ivl_status sql_fail(sqlite3 *db, const char *path, const char *verb, ivl_error *error)
{
    int code = sqlite3_errcode(db);

    return ivl__fail(error, code == SQLITE_NOMEM ? IVL_OUT_OF_MEMORY : IVL_IO_ERROR,
                     "cannot %s '%s': %s", verb, path, sqlite3_errmsg(db));
}

/* ---- a line of metadata ------------------------------------------------------------------ */

typedef struct row_line {
    ivl__text key; /* as TEXT: \udcXX stays as these six characters */
    uint64_t width, height;
    bool whole; /* the columns say all of it */
} row_line;

/* Undoes the escapes that ivl__text_json writes; *plain is false when one of them is \udcXX. */
static void unescape(ivl__text *text, const char *json, size_t n, bool *plain)
{
    for (size_t i = 1; i + 1 < n; i++) {
        if (json[i] != '\\') {
            ivl__text_add(text, json + i, 1);
        } else if (json[i + 1] != 'u') {
            i++;
            ivl__text_add(text, json + i, 1);
        } else if (i + 6 < n && json[i + 2] == 'd') {
            ivl__text_add(text, json + i, 6);
            *plain = false;
            i += 5;
        } else {
            char digits[5] = {0};
            char byte;

            memcpy(digits, json + i + 2, i + 6 < n ? 4 : 0);
            byte = (char)strtoul(digits, NULL, 16);
            ivl__text_add(text, &byte, 1);
            i += 5;
        }
    }
    ivl__text_add(text, "", 0);
}

static bool take(const char **at, const char *end, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(end - *at) < n || memcmp(*at, word, n) != 0) {
        return false;
    }
    *at += n;
    return true;
}

static uint64_t take_number(const char **at, const char *end)
{
    uint64_t value = 0;

    while (*at < end && **at >= '0' && **at <= '9' && value < UINT32_MAX) {
        value = value * 10 + (uint64_t)(*(*at)++ - '0');
    }
    return value;
}

static bool parse_line(row_line *row, const char *line, size_t bytes)
{
    const char *end = line + bytes;
    const char *key, *at;
    size_t n;

    ivl__text_clear(&row->key);
    row->width = row->height = 0;
    row->whole = true;
    if (!ivl__record_line_key(line, bytes, &key, &n)) {
        return false;
    }
    unescape(&row->key, key, n, &row->whole);
    at = key + n;
    if (take(&at, end, ", \"width\": ")) {
        row->width = take_number(&at, end);
        if (!take(&at, end, ", \"height\": ")) {
            return false;
        }
        row->height = take_number(&at, end);
    }
    row->whole = row->whole && take(&at, end, "}\n") && at == end;
    return !row->key.failed;
}

/* ---- writing ----------------------------------------------------------------------------- */

typedef struct maker {
    sqlite3 *db;
    sqlite3_stmt *insert, *more;
    const char *path;
    ivl__line_reader lines;
    int array;
    char *array_path;
    unsigned char *raw; /* one row as stored */
    float *vector;      /* one row as float32 */
    row_line row;
} maker;

static const char schema[] =
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA page_size=4096; BEGIN;"
    "CREATE TABLE embedding(row INTEGER PRIMARY KEY, key TEXT, vector BLOB, width INTEGER, "
    "height INTEGER);"
    "CREATE TABLE metadata(row INTEGER PRIMARY KEY, json TEXT);"
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);";

static ivl_status run_sql(maker *m, const char *sql, ivl_error *error)
{
    return sqlite3_exec(m->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? IVL_OK
               : sql_fail(m->db, m->path, "write", error);
}

/* Runs a prepared insertion and makes it ready for the next. */
static ivl_status insert(maker *m, sqlite3_stmt *statement, ivl_error *error)
{
    if (sqlite3_step(statement) != SQLITE_DONE) {
        return sql_fail(m->db, m->path, "write", error);
    }
    sqlite3_reset(statement);
    return IVL_OK;
}

static ivl_status insert_meta(maker *m, ivl__unit *unit, ivl_error *error)
{
    json_t *object = json_object();
    sqlite3_stmt *statement = NULL;
    ivl_status status = IVL_OK;
    const char *name;
    json_t *value;

    if (!object || !ivl__record_head_write(unit->context->head, object) ||
        !ivl__journal_write(unit->context->layout, &unit->journal, object)) {
        json_decref(object);
        return no_memory(error);
    }
    if (sqlite3_prepare_v2(m->db, "INSERT INTO meta VALUES(?,?)", -1, &statement, NULL)) {
        status = sql_fail(m->db, m->path, "write", error);
    }
    json_object_foreach(object, name, value)
    {
        char *text = status == IVL_OK ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

        if (text) {
            sqlite3_bind_text(statement, 1, name, -1, SQLITE_TRANSIENT);
            sqlite3_bind_text(statement, 2, text, -1, SQLITE_TRANSIENT);
            status = insert(m, statement, error);
        }
        free(text);
    }
    sqlite3_finalize(statement);
    json_decref(object);
    return status;
}

/* One row of the array as float32. */
static ivl_status read_vector(maker *m, const ivl__record_layout *layout, int stream, uint64_t row,
                              ivl_error *error)
{
    size_t n = (size_t)layout->elements[stream];
    size_t bytes = (size_t)ivl__record_row_bytes(layout, stream);
    size_t got;

    IVL__TRY(ivl__file_pread(m->array, m->array_path, IVL__NPY_HEADER_BYTES + row * bytes, m->raw,
                             bytes, &got, error));
    if (got != bytes) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' ends inside a row", m->array_path);
    }
    for (size_t i = 0; i < n; i++) {
        m->vector[i] = ivl__dtype_load(layout->type == IVL__NPY_F2 ? IVL_F16 : IVL_F32, m->raw, i);
    }
    return IVL_OK;
}

static void bind_size(sqlite3_stmt *statement, int column, uint64_t value)
{
    if (value) {
        sqlite3_bind_int64(statement, column, (sqlite3_int64)value);
    } else {
        sqlite3_bind_null(statement, column);
    }
}

static ivl_status insert_row(maker *m, const ivl__record_layout *layout, int stream, uint64_t row,
                             ivl_error *error)
{
    const char *line;
    size_t bytes;

    IVL__TRY(ivl__lines_next(&m->lines, &line, &bytes, error));
    if (!line || !parse_line(&m->row, line, bytes)) {
        return ivl__fail(error, IVL_IO_ERROR, "'%s' is damaged", m->lines.path);
    }
    IVL__TRY(read_vector(m, layout, stream, row, error));
    sqlite3_bind_int64(m->insert, 1, (sqlite3_int64)row);
    sqlite3_bind_text64(m->insert, 2, m->row.key.data, m->row.key.bytes, SQLITE_STATIC,
                        SQLITE_UTF8);
    sqlite3_bind_blob64(m->insert, 3, m->vector, layout->elements[stream] * sizeof *m->vector,
                        SQLITE_STATIC);
    bind_size(m->insert, 4, m->row.width);
    bind_size(m->insert, 5, m->row.height);
    IVL__TRY(insert(m, m->insert, error));
    if (m->row.whole) {
        return IVL_OK;
    }
    sqlite3_bind_int64(m->more, 1, (sqlite3_int64)row);
    sqlite3_bind_text64(m->more, 2, line, bytes - 1, SQLITE_STATIC, SQLITE_UTF8);
    return insert(m, m->more, error);
}

static ivl_status open_maker(maker *m, ivl__unit *unit, int stream, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    size_t n = (size_t)layout->elements[stream];

    IVL__TRY(ivl__lines_open(&m->lines, ivl__record_part_path(unit, layout->n_streams),
                             unit->journal.now.bytes[layout->n_streams], false, error));
    m->array_path = ivl__record_part_path(unit, stream);
    m->raw = ivl__malloc((size_t)ivl__record_row_bytes(layout, stream));
    m->vector = ivl__malloc(n * sizeof *m->vector);
    if (!m->array_path || !m->raw || !m->vector) {
        return no_memory(error);
    }
    IVL__TRY(ivl__file_open(m->array_path, &m->array, error));
    if (sqlite3_open_v2(m->path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL)) {
        return m->db ? sql_fail(m->db, m->path, "create", error) : no_memory(error);
    }
    IVL__TRY(run_sql(m, schema, error));
    if (sqlite3_prepare_v2(m->db, "INSERT INTO embedding VALUES(?,?,?,?,?)", -1, &m->insert,
                           NULL) ||
        sqlite3_prepare_v2(m->db, "INSERT INTO metadata VALUES(?,?)", -1, &m->more, NULL)) {
        return sql_fail(m->db, m->path, "write", error);
    }
    return IVL_OK;
}

static ivl_status fill(maker *m, ivl__unit *unit, int stream, ivl_error *error)
{
    IVL__TRY(open_maker(m, unit, stream, error));
    for (uint64_t row = 0; row < unit->journal.now.rows; row++) {
        IVL__TRY(insert_row(m, unit->context->layout, stream, row, error));
    }
    IVL__TRY(insert_meta(m, unit, error));
    return run_sql(m, "COMMIT", error);
}

static void close_maker(maker *m)
{
    sqlite3_finalize(m->insert);
    sqlite3_finalize(m->more);
    sqlite3_close(m->db);
    ivl__lines_close(&m->lines);
    ivl__file_close(m->array);
    ivl__free(m->array_path);
    ivl__free(m->raw);
    ivl__free(m->vector);
    ivl__text_free(&m->row.key);
}

static ivl_status sync_file(const char *path, ivl_error *error)
{
    ivl_status status;
    int fd;

    IVL__TRY(ivl__file_create(path, &fd, error));
    status = ivl__file_sync(fd, path, error);
    ivl__file_close(fd);
    return status;
}

ivl_status ivl__sqlite_write(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    char *part = ivl__record_concat(path, ".part");
    maker m = {.path = part, .array = -1, .lines = {.fd = -1}};
    ivl_status status;

    if (!part) {
        return no_memory(error);
    }
    status = ivl__file_remove(part, error);
    if (status == IVL_OK) {
        status = fill(&m, unit, stream, error);
        close_maker(&m);
    }
    if (status == IVL_OK) {
        status = sync_file(part, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_rename(part, path, error);
    } else {
        ivl__file_remove(part, NULL);
    }
    ivl__free(part);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------- */

typedef struct taker {
    sqlite3 *db;
    sqlite3_stmt *select;
    ivl__record_part array, metadata;
} taker;

static ivl_status take_vector(taker *t, const ivl__record_layout *layout, int stream,
                              ivl_error *error)
{
    size_t n = (size_t)layout->elements[stream];
    const unsigned char *blob = sqlite3_column_blob(t->select, 2);

    if (!blob || (size_t)sqlite3_column_bytes(t->select, 2) != n * sizeof(float)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "a vector has another length");
    }
    if (layout->type == IVL__NPY_F4) {
        return ivl__record_part_add(&t->array, blob, n * sizeof(float), error);
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half = ivl__float_to_f16(ivl__dtype_load(IVL_F32, blob, i));

        IVL__TRY(ivl__record_part_add(&t->array, &half, sizeof half, error));
    }
    return IVL_OK;
}

static ivl_status take_metadata(taker *t, uint64_t row, ivl_error *error)
{
    const char *json = (const char *)sqlite3_column_text(t->select, 5);
    const char *key = (const char *)sqlite3_column_text(t->select, 1);

    if (json) {
        ivl__text_puts(&t->metadata.pending, json);
        return ivl__record_part_add(&t->metadata, "\n", 1, error);
    }
    ivl__record_add_metadata(&t->metadata.pending, row,
                             &(ivl__record){.key = key ? key : "",
                                            .width = sqlite3_column_int(t->select, 3),
                                            .height = sqlite3_column_int(t->select, 4)},
                             NULL, 0, IVL__NPY_F4);
    return ivl__record_part_added(&t->metadata, error);
}

static ivl_status take_rows(taker *t, ivl__unit *unit, int stream, ivl_error *error)
{
    static const char sql[] =
        "SELECT e.row, e.key, e.vector, e.width, e.height, m.json FROM embedding e LEFT JOIN "
        "metadata m ON m.row = e.row ORDER BY e.row";
    const unsigned char header[IVL__NPY_HEADER_BYTES] = {0};
    uint64_t row = 0;
    int code;

    if (sqlite3_prepare_v2(t->db, sql, -1, &t->select, NULL)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s", sqlite3_errmsg(t->db));
    }
    IVL__TRY(ivl__record_part_add(&t->array, header, sizeof header, error));
    while ((code = sqlite3_step(t->select)) == SQLITE_ROW) {
        IVL__TRY(take_vector(t, unit->context->layout, stream, error));
        if (stream == 0) {
            IVL__TRY(take_metadata(t, row, error));
        }
        row++;
    }
    if (code != SQLITE_DONE || row != unit->journal.now.rows) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s",
                         code == SQLITE_DONE ? "rows are missing" : sqlite3_errmsg(t->db));
    }
    IVL__TRY(ivl__record_part_sync(&t->array, error));
    return stream == 0 ? ivl__record_part_sync(&t->metadata, error) : IVL_OK;
}

ivl_status ivl__sqlite_read(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    taker t = {.array = {.fd = -1}, .metadata = {.fd = -1}};
    ivl_status status = ivl__record_part_open(&t.array, ivl__record_part_path(unit, stream), 0,
                                              error);

    if (status == IVL_OK && stream == 0) {
        status = ivl__record_part_open(
            &t.metadata, ivl__record_part_path(unit, unit->context->layout->n_streams), 0, error);
    }
    if (status == IVL_OK && sqlite3_open_v2(path, &t.db, SQLITE_OPEN_READONLY, NULL)) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT, "it cannot be opened");
    }
    if (status == IVL_OK) {
        status = take_rows(&t, unit, stream, error);
    }
    sqlite3_finalize(t.select);
    sqlite3_close(t.db);
    ivl__record_part_close(&t.array);
    ivl__record_part_close(&t.metadata);
    return status == IVL_OK
               ? IVL_OK
               : ivl__fail_context(error, status, "'%s' (pass --force to start over)", path);
}
