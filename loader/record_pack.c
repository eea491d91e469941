/* record_pack.c - OUT.npz from the parts of a unit, and the parts from OUT.npz again.
 *
 * Rows gather in plain .npy parts, so that a crash loses as little as in every other form; packing
 * is one pass at the end. It is begun again when it was interrupted: the parts go only after the
 * archive has its name.
 */
#include "loader/record_pack.h"

#include "loader/npz_writer.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

char *ivl__record_part_path(const ivl__unit *unit, int file)
{
    char *path = ivl__record_file_path(unit->context->layout, file, unit->number);
    char *part = path ? ivl__record_concat(path, ".part") : NULL;

    ivl__free(path);
    return part;
}

/* Whether all parts that are to be packed are there. */
static bool parts_exist(const ivl__unit *unit)
{
    bool all = true;

    for (int i = 0; all && i < unit->context->layout->n_files; i++) {
        char *part = ivl__record_part_path(unit, i);

        all = !ivl__record_is_packed(unit->context->layout, i) || (part && ivl__file_exists(part));
        ivl__free(part);
    }
    return all;
}

static ivl_status remove_parts(const ivl__unit *unit, ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < unit->context->layout->n_files; i++) {
        char *part = ivl__record_part_path(unit, i);

        status = part ? IVL_OK : no_memory(error);
        if (part && ivl__record_is_packed(unit->context->layout, i)) {
            status = ivl__file_remove(part, error);
        }
        ivl__free(part);
    }
    return status;
}

/* ---- .npz -------------------------------------------------------------------------------- */

static ivl_status add_members(const ivl__unit *unit, ivl__npz_writer *npz, ivl_error *error)
{
    const ivl__record_layout *layout = unit->context->layout;
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < layout->n_streams; i++) {
        char *part = ivl__record_part_path(unit, i);

        status = part ? ivl__npz_add_file(npz, layout->streams[i].name, part, error)
                      : no_memory(error);
        ivl__free(part);
    }
    return status;
}

static ivl_status pack_npz(ivl__unit *unit, const char *path, ivl_error *error)
{
    ivl__npz_writer *npz;
    ivl_status status;

    IVL__TRY(ivl__npz_open(path, &npz, error));
    status = add_members(unit, npz, error);
    if (status == IVL_OK) {
        status = ivl__npz_finish(npz, error);
    }
    ivl__npz_free(npz);
    return status;
}

static ivl_status copy_range(int from, const char *from_path, uint64_t offset, uint64_t bytes,
                             ivl__record_part *to, ivl_error *error)
{
    enum { CHUNK = 1 << 18 };
    unsigned char *chunk = ivl__malloc(CHUNK);
    ivl_status status = chunk ? IVL_OK : no_memory(error);

    while (status == IVL_OK && bytes) {
        size_t want = bytes < CHUNK ? (size_t)bytes : CHUNK;
        size_t got = 0;

        status = ivl__file_pread(from, from_path, offset, chunk, want, &got, error);
        if (status == IVL_OK && got < want) {
            status = ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is cut", from_path);
        }
        if (status == IVL_OK) {
            status = ivl__record_part_add(to, chunk, got, error);
        }
        offset += got;
        bytes -= got;
    }
    ivl__free(chunk);
    return status;
}

static uint64_t little_endian(const unsigned char *p, int bytes)
{
    uint64_t value = 0;

    for (int i = bytes; i > 0; i--) {
        value = value << 8 | p[i - 1];
    }
    return value;
}

/* Our own archives have their members one after another, in the order of the streams: the local
 * headers alone lead through them. *at moves behind the member. */
static ivl_status unpack_member(const ivl__unit *unit, int stream, int fd, const char *path,
                                uint64_t *at, ivl_error *error)
{
    const char *name = unit->context->layout->streams[stream].name;
    uint64_t bytes = unit->journal.now.bytes[stream];
    unsigned char local[30 + 256];
    size_t n = strlen(name);
    ivl__record_part part;
    ivl_status status;
    size_t got;

    IVL__TRY(ivl__file_pread(fd, path, *at, local, sizeof local, &got, error));
    if (got < 34 + n || little_endian(local, 4) != 0x04034b50u ||
        little_endian(local + 8, 2) != 0 || little_endian(local + 26, 2) != n + 4 ||
        memcmp(local + 30, name, n) != 0 ||
        little_endian(local + 22, 4) != (bytes < 0xffffffffu ? bytes : 0xffffffffu)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' is not the archive that its record tells of (member '%s'); pass "
                         "--force to start over",
                         path, name);
    }
    *at += 34 + n + little_endian(local + 28, 2);
    IVL__TRY(ivl__record_part_open(&part, ivl__record_part_path(unit, stream), 0, error));
    status = copy_range(fd, path, *at, bytes, &part, error);
    if (status == IVL_OK) {
        status = ivl__record_part_sync(&part, error);
    }
    ivl__record_part_close(&part);
    *at += bytes;
    return status;
}

static ivl_status unpack_npz(ivl__unit *unit, const char *path, ivl_error *error)
{
    uint64_t at = 0;
    ivl_status status = IVL_OK;
    int fd;

    IVL__TRY(ivl__file_open(path, &fd, error));
    for (int i = 0; status == IVL_OK && i < unit->context->layout->n_streams; i++) {
        status = unpack_member(unit, i, fd, path, &at, error);
    }
    ivl__file_close(fd);
    return status;
}

/* ---- both forms -------------------------------------------------------------------------- */

static int packed_files(const ivl__record_layout *layout)
{
    return layout->form == IVL__RECORD_NPZ ? 1 : layout->n_streams;
}

static ivl_status each_packed(ivl__unit *unit,
                              ivl_status (*step)(ivl__unit *unit, int stream, const char *path,
                                                 ivl_error *error),
                              ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int i = 0; status == IVL_OK && i < packed_files(unit->context->layout); i++) {
        char *path = ivl__record_packed_path(unit->context->layout, i);

        status = path ? step(unit, i, path, error) : no_memory(error);
        ivl__free(path);
    }
    return status;
}

static ivl_status pack_one(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    return unit->context->layout->form == IVL__RECORD_NPZ
               ? pack_npz(unit, path, error)
               : ivl__sqlite_write(unit, stream, path, error);
}

static ivl_status unpack_one(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    if (!ivl__file_exists(path)) {
        return IVL_OK; /* It was unpacked before; the sizes of the parts are checked later. */
    }
    return unit->context->layout->form == IVL__RECORD_NPZ
               ? unpack_npz(unit, path, error)
               : ivl__sqlite_read(unit, stream, path, error);
}

static ivl_status check_packed(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    (void)stream;
    if (ivl__file_kind_of(path) != IVL__FILE_REGULAR) {
        return ivl__fail(error, IVL_IO_ERROR,
                         "what '%s' was to be made from is gone; pass --force to start over ('%s')",
                         path, unit->journal_path);
    }
    return IVL_OK;
}

static ivl_status remove_packed(ivl__unit *unit, int stream, const char *path, ivl_error *error)
{
    (void)unit;
    (void)stream;
    return ivl__file_remove(path, error);
}

ivl_status ivl__unit_pack(ivl__unit *unit, ivl_error *error)
{
    IVL__TRY(parts_exist(unit) ? each_packed(unit, pack_one, error)
                               : each_packed(unit, check_packed, error));
    return remove_parts(unit, error);
}

ivl_status ivl__unit_unpack(ivl__unit *unit, ivl_error *error)
{
    IVL__TRY(each_packed(unit, unpack_one, error));
    return each_packed(unit, remove_packed, error);
}

/* ---- keys -------------------------------------------------------------------------------- */

static ivl_status add_keys(ivl__record_part *part, const char *metadata, uint64_t bytes,
                           ivl_error *error)
{
    ivl__line_reader reader;
    ivl_status status;
    bool first = true;

    IVL__TRY(ivl__lines_open(&reader, ivl__strdup(metadata), bytes, false, error));
    do {
        const char *line, *key;
        size_t n, length;

        status = ivl__lines_next(&reader, &line, &n, error);
        if (status != IVL_OK || !line) {
            break;
        }
        if (!ivl__record_line_key(line, n, &key, &length)) {
            status = ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is damaged", metadata);
            break;
        }
        ivl__text_puts(&part->pending, first ? "\n    " : ",\n    ");
        status = ivl__record_part_add(part, key, length, error);
        first = false;
    } while (status == IVL_OK);
    ivl__lines_close(&reader);
    return status;
}

ivl_status ivl__unit_write_keys(ivl__unit *unit, const char *text, const char *keys_path,
                                ivl_error *error)
{
    uint64_t bytes = unit->journal.now.bytes[unit->context->layout->n_streams];
    char *temporary = ivl__record_concat(unit->record_path, ".new");
    ivl__record_part part;
    ivl_status status;

    IVL__TRY(ivl__record_part_open(&part, temporary, 0, error));
    /* The object ends with "\n}\n": a last member goes before that. */
    status = ivl__record_part_add(&part, text, strlen(text) - 3, error);
    ivl__text_puts(&part.pending, ",\n  \"keys\": [");
    if (status == IVL_OK) {
        status = add_keys(&part, keys_path, bytes, error);
    }
    ivl__text_puts(&part.pending, "\n  ]\n}\n");
    if (status == IVL_OK) {
        status = ivl__record_part_added(&part, error);
    }
    if (status == IVL_OK) {
        status = ivl__record_part_sync(&part, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_rename(part.path, unit->record_path, error);
    }
    ivl__record_part_close(&part);
    return status;
}
