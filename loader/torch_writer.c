/* torch_writer.c - the layout of a torch.save file; see tensor_writer_layout.h.
 *
 * A zip of stored members: data.pkl, byteorder, data/<i> for every tensor, version and
 * .data/serialization_id, each on a multiple of 64 bytes. The pickle is protocol 2 and needs only
 * what torch.load(weights_only=True) allows: OrderedDict, _rebuild_tensor_v2, <X>Storage.
 */
#include "loader/tensor_writer_layout.h"
#include "loader/zip_writer.h"

#include "runtime/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define ALIGNMENT 64u
#define FOLDER    "archive/"
#define MAX_NAME  40

/* Members in the order of the file; those of tensors stand between. */
enum { PICKLE, BYTEORDER, N_BEFORE };
enum { VERSION, SERIALIZATION_ID, N_AFTER };

typedef struct torch_state {
    ivl__text pickle;
    ivl__zip_member *members; /* [N_BEFORE + n + N_AFTER] */
    char (*names)[MAX_NAME];  /* of members */
    uint64_t directory_at;
} torch_state;

/* ---- pickle ------------------------------------------------------------------------------ */

/* Slots of the memo. */
enum { MEMO_DICT, MEMO_REBUILD, MEMO_STORAGE, MEMO_CPU, MEMO_TYPES };

typedef struct pickling {
    ivl__text *out;
    bool seen[MEMO_TYPES + IVL_OTHER];
} pickling;

static void add_u32(ivl__text *out, uint64_t value)
{
    unsigned char little[4];

    for (unsigned i = 0; i < 4; i++) {
        little[i] = (unsigned char)(value >> (8 * i));
    }
    ivl__text_add(out, little, 4);
}

static void add_byte(ivl__text *out, unsigned value)
{
    unsigned char byte = (unsigned char)value;

    ivl__text_add(out, &byte, 1);
}

static void add_int(ivl__text *out, uint64_t value)
{
    if (value <= 0xff) {
        ivl__text_puts(out, "K"); /* BININT1 */
        add_byte(out, (unsigned)value);
    } else if (value <= 0xffff) {
        ivl__text_puts(out, "M"); /* BININT2 */
        add_byte(out, (unsigned)value);
        add_byte(out, (unsigned)value >> 8);
    } else if (value <= 0x7fffffff) {
        ivl__text_puts(out, "J"); /* BININT */
        add_u32(out, value);
    } else {
        /* LONG1: as many bytes as it takes to keep the sign bit clear. */
        unsigned bytes = 5;

        while (bytes < 8 && value >> (8 * bytes - 1)) {
            bytes++;
        }
        ivl__text_puts(out, "\x8a");
        add_byte(out, bytes);
        for (unsigned i = 0; i < bytes; i++) {
            add_byte(out, (unsigned)(value >> (8 * i)));
        }
    }
}

static void add_string(ivl__text *out, const char *string)
{
    ivl__text_puts(out, "X"); /* BINUNICODE */
    add_u32(out, strlen(string));
    ivl__text_puts(out, string);
}

/* BINGET of a slot when it is filled; otherwise the caller puts the value and then memo_put. */
static bool memo_get(pickling *p, unsigned slot)
{
    if (p->seen[slot]) {
        ivl__text_puts(p->out, "h");
        add_byte(p->out, slot);
    }
    return p->seen[slot];
}

static void memo_put(pickling *p, unsigned slot)
{
    ivl__text_puts(p->out, "q"); /* BINPUT */
    add_byte(p->out, slot);
    p->seen[slot] = true;
}

static void add_global(pickling *p, unsigned slot, const char *module, const char *name)
{
    if (!memo_get(p, slot)) {
        ivl__text_printf(p->out, "c%s\n%s\n", module, name);
        memo_put(p, slot);
    }
}

static void add_word(pickling *p, unsigned slot, const char *word)
{
    if (!memo_get(p, slot)) {
        add_string(p->out, word);
        memo_put(p, slot);
    }
}

static const char *storage_word(ivl_dtype dtype)
{
    switch (dtype) {
    case IVL_F32: return "FloatStorage";
    case IVL_F16: return "HalfStorage";
    case IVL_BF16: return "BFloat16Storage";
    case IVL_I64: return "LongStorage";
    case IVL_OTHER: break;
    }
    return "ByteStorage";
}

static uint64_t product(const uint64_t *shape, int from, int rank)
{
    uint64_t n = 1;

    for (int i = from; i < rank; i++) {
        n *= shape[i];
    }
    return n;
}

static void add_sizes(ivl__text *out, const ivl__stored_tensor *tensor, bool strides)
{
    ivl__text_puts(out, "(");
    for (int i = 0; i < tensor->rank; i++) {
        add_int(out, strides ? product(tensor->shape, i + 1, tensor->rank) : tensor->shape[i]);
    }
    ivl__text_puts(out, "t");
}

/* _rebuild_tensor_v2(persistent storage, 0, sizes, strides, False, OrderedDict()) */
static void add_tensor(pickling *p, const ivl__stored_tensor *tensor, size_t index)
{
    ivl__text *out = p->out;
    char key[24];

    snprintf(key, sizeof key, "%zu", index);
    add_string(out, tensor->name);
    add_global(p, MEMO_REBUILD, "torch._utils", "_rebuild_tensor_v2");
    ivl__text_puts(out, "((");
    add_word(p, MEMO_STORAGE, "storage");
    add_global(p, MEMO_TYPES + (unsigned)tensor->dtype, "torch", storage_word(tensor->dtype));
    add_string(out, key);
    add_word(p, MEMO_CPU, "cpu");
    add_int(out, product(tensor->shape, 0, tensor->rank));
    ivl__text_puts(out, "tQ"); /* TUPLE, BINPERSID */
    add_int(out, 0);
    add_sizes(out, tensor, false);
    add_sizes(out, tensor, true);
    ivl__text_puts(out, "\x89"); /* NEWFALSE */
    add_global(p, MEMO_DICT, "collections", "OrderedDict");
    ivl__text_puts(out, ")RtR"); /* EMPTY_TUPLE, REDUCE, TUPLE, REDUCE */
}

static void write_pickle(ivl__text *out, const ivl__layout *layout)
{
    pickling p = {.out = out};

    ivl__text_puts(out, "\x80\x02");
    add_global(&p, MEMO_DICT, "collections", "OrderedDict");
    ivl__text_puts(out, ")R(");
    for (size_t i = 0; i < layout->n; i++) {
        add_tensor(&p, &layout->tensors[i], i);
    }
    ivl__text_puts(out, "u."); /* SETITEMS, STOP */
}

/* ---- members ----------------------------------------------------------------------------- */

static ivl_status plan(ivl__layout *layout, ivl_error *error)
{
    torch_state *state = ivl__calloc(1, sizeof *state);
    size_t n = N_BEFORE + layout->n + N_AFTER;
    uint64_t at = 0;
    ivl__text directory = {0};
    bool failed;

    layout->state = state;
    if (state) {
        write_pickle(&state->pickle, layout);
        state->members = ivl__calloc(n, sizeof *state->members);
        state->names = ivl__calloc(n, sizeof *state->names);
    }
    if (!state || !state->members || !state->names || state->pickle.failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu tensors", layout->n);
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(state->names[i], MAX_NAME, FOLDER "data/%zu", i - N_BEFORE);
        state->members[i].name = state->names[i];
    }
    snprintf(state->names[PICKLE], MAX_NAME, FOLDER "data.pkl");
    snprintf(state->names[BYTEORDER], MAX_NAME, FOLDER "byteorder");
    snprintf(state->names[n - N_AFTER + VERSION], MAX_NAME, FOLDER "version");
    snprintf(state->names[n - N_AFTER + SERIALIZATION_ID], MAX_NAME,
             FOLDER ".data/serialization_id");
    state->members[PICKLE].bytes = state->pickle.bytes;
    state->members[BYTEORDER].bytes = 6;
    state->members[n - N_AFTER + VERSION].bytes = 2;
    state->members[n - N_AFTER + SERIALIZATION_ID].bytes = 40;
    for (size_t i = 0; i < layout->n; i++) {
        state->members[N_BEFORE + i].bytes = ivl__stored_tensor_bytes(&layout->tensors[i]);
    }
    for (size_t i = 0; i < n; i++) {
        at = ivl__zip_place(&state->members[i], at, ALIGNMENT);
    }
    for (size_t i = 0; i < layout->n; i++) {
        layout->offsets[i] = state->members[N_BEFORE + i].data_at;
    }
    state->directory_at = at;
    ivl__zip_add_directory(&directory, state->members, n, at);
    layout->bytes = at + directory.bytes;
    failed = directory.failed;
    ivl__text_free(&directory);
    return failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a directory") : IVL_OK;
}

/* The local header of a member, and its content where that is not a tensor's. */
static ivl_status write_member(ivl__zip_member *member, const void *content,
                               ivl__layout_write_fn *write, void *user, ivl_error *error)
{
    ivl__text header = {0};
    ivl_status status;

    if (content) {
        member->crc = (uint32_t)crc32(0, content, (uInt)member->bytes);
        IVL__TRY(write(user, member->data_at, content, (size_t)member->bytes, error));
    }
    ivl__zip_add_local_header(&header, member);
    status = header.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a header")
                           : write(user, member->header_at, header.data, header.bytes, error);
    ivl__text_free(&header);
    return status;
}

/* Forty digits that identify names and contents, as the writer of torch makes them: half from the
 * names, half from the checksums. */
static void identify(const torch_state *state, size_t n, char id[41])
{
    uint64_t names = 0xcbf29ce484222325u; /* FNV-1a */
    uint64_t contents = names;

    for (size_t i = 0; i + N_AFTER < n; i++) {
        for (const char *c = state->names[i]; *c; c++) {
            names = (names ^ (unsigned char)*c) * 0x100000001b3u;
        }
        contents = (contents ^ state->members[i].crc) * 0x100000001b3u;
    }
    snprintf(id, 41, "%020" PRIu64 "%020" PRIu64, names, contents);
}

static ivl_status headers(const ivl__layout *layout, const uint32_t *crcs,
                          ivl__layout_write_fn *write, void *user, ivl_error *error)
{
    torch_state *state = layout->state;
    ivl__zip_member *members = state->members;
    size_t n = N_BEFORE + layout->n + N_AFTER;
    ivl__text directory = {0};
    ivl_status status;
    char id[41];

    IVL__TRY(write_member(&members[PICKLE], state->pickle.data, write, user, error));
    IVL__TRY(write_member(&members[BYTEORDER], "little", write, user, error));
    for (size_t i = 0; i < layout->n; i++) {
        members[N_BEFORE + i].crc = crcs[i];
        IVL__TRY(write_member(&members[N_BEFORE + i], NULL, write, user, error));
    }
    identify(state, n, id);
    IVL__TRY(write_member(&members[n - N_AFTER + VERSION], "3\n", write, user, error));
    IVL__TRY(write_member(&members[n - N_AFTER + SERIALIZATION_ID], id, write, user, error));
    ivl__zip_add_directory(&directory, members, n, state->directory_at);
    status = directory.failed
                 ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a directory")
                 : write(user, state->directory_at, directory.data, directory.bytes, error);
    ivl__text_free(&directory);
    return status;
}

static void free_state(ivl__layout *layout)
{
    torch_state *state = layout->state;

    if (state) {
        ivl__text_free(&state->pickle);
        ivl__free(state->members);
        ivl__free(state->names);
        ivl__free(state);
    }
}

const ivl__layout_format ivl__torch_format = {true, plan, headers, free_state};
