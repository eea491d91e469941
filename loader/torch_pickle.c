/* torch_pickle.c - the pickle of a torch.save file as data; see torch_pickle.h.
 *
 * A stack machine over 16-byte values. Containers live in an arena and are referred to by index,
 * so cycles and sharing cost nothing and nothing walks them as a tree. Limits on the stack, the
 * memo, marks and objects keep memory within a small multiple of the pickle's bytes.
 */
#include "loader/torch_pickle.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

#define MAX_OBJECTS  2000000u
#define MAX_STACK    2000000u
#define MAX_MEMO     4000000u
#define MAX_MARKS    1000u
#define MAX_WRAPPERS 4
#define MAX_TENSORS  200000u
#define MAX_NAME     512u
#define ADVICE                                                      \
    "if you trust the file, re-save its weights alone with torch: " \
    "torch.save(model.state_dict(), 'weights.bin')"

typedef enum kind {
    K_ABSENT = 0, /* an empty memo slot */
    K_NONE,
    K_INT, /* also True and False */
    K_FLOAT,
    K_STRING,
    K_TUPLE, /* the kinds from here to K_DICT refer to objects */
    K_LIST,
    K_SET,
    K_DICT,    /* items: key, value, key, value, ... */
    K_STORAGE, /* refers to storages */
    K_TENSOR,  /* refers to views */
    K_GLOBAL,  /* i: index into globals */
    K_TYPE     /* i: index into types: a storage class or a dtype */
} kind;

typedef struct value {
    uint32_t kind, length; /* length of a string */
    union {
        int64_t i;
        const unsigned char *text;
        size_t object;
    } u;
} value;

typedef struct object {
    value *items;
    size_t count, capacity;
} object;

typedef struct storage {
    value key;
    const ivl__torch_type *type; /* bytes 0: untyped */
    uint64_t bytes;
} storage;

/* A tensor without a name. */
typedef struct view {
    ivl__pickle_tensor tensor; /* name and key NULL */
    value key;
} view;

typedef struct machine {
    const unsigned char *data;
    size_t bytes, at;
    size_t op_at; /* where the current opcode stands */
    value *stack;
    size_t depth, stack_capacity;
    size_t marks[MAX_MARKS];
    size_t n_marks;
    value *memo;
    size_t n_memo, memo_capacity, memo_count;
    object *objects;
    size_t n_objects, objects_capacity;
    storage *storages;
    size_t n_storages, storages_capacity;
    view *views;
    size_t n_views, views_capacity;
    ivl_error *error;
} machine;

static const ivl__torch_type types[] = {
    {"FloatStorage", "float32", IVL_F32, 4},      {"HalfStorage", "float16", IVL_F16, 2},
    {"BFloat16Storage", "bfloat16", IVL_BF16, 2}, {"LongStorage", "int64", IVL_I64, 8},
    {"DoubleStorage", "float64", IVL_OTHER, 8},   {"IntStorage", "int32", IVL_OTHER, 4},
    {"ShortStorage", "int16", IVL_OTHER, 2},      {"CharStorage", "int8", IVL_OTHER, 1},
    {"ByteStorage", "uint8", IVL_OTHER, 1},       {"BoolStorage", "bool", IVL_OTHER, 1},
    {"UntypedStorage", "untyped", IVL_OTHER, 0},
};

typedef enum global {
    G_ORDERED_DICT,
    G_REBUILD_TENSOR,
    G_REBUILD_TENSOR_V2,
    G_REBUILD_TENSOR_V3,
    G_REBUILD_PARAMETER,
    G_SIZE,
    G_DEVICE
} global;

static const struct {
    const char *module, *name;
    global id;
} globals[] = {
    {"collections", "OrderedDict", G_ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor", G_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", G_REBUILD_TENSOR_V2},
    {"torch._utils", "_rebuild_tensor_v3", G_REBUILD_TENSOR_V3},
    {"torch._utils", "_rebuild_parameter", G_REBUILD_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", G_REBUILD_PARAMETER},
    {"torch", "Size", G_SIZE},
    {"torch", "device", G_DEVICE},
};

/* ---- stack and memo ---------------------------------------------------------------------- */

static ivl_status no_memory(machine *m)
{
    return ivl__fail(m->error, IVL_OUT_OF_MEMORY, "out of memory for the pickle's %zu bytes",
                     m->bytes);
}

static ivl_status push(machine *m, value v)
{
    if (m->depth >= MAX_STACK) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "the pickle's stack exceeds %u values",
                         MAX_STACK);
    }
    if (!ivl__grow((void **)&m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack)) {
        return no_memory(m);
    }
    m->stack[m->depth++] = v;
    return IVL_OK;
}

static ivl_status push_int(machine *m, int64_t i)
{
    return push(m, (value){.kind = K_INT, .u.i = i});
}

/* The lowest stack position that the current opcode may touch. */
static size_t bottom(const machine *m)
{
    return m->n_marks ? m->marks[m->n_marks - 1] : 0;
}

static ivl_status need(machine *m, size_t n)
{
    if (m->depth - bottom(m) < n) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "opcode 0x%02x at byte %zu of the pickle needs %zu things on the stack, "
                         "there are %zu",
                         m->data[m->op_at], m->op_at, n, m->depth - bottom(m));
    }
    return IVL_OK;
}

static ivl_status pop_mark(machine *m, size_t *mark)
{
    if (!m->n_marks) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "opcode 0x%02x at byte %zu of the pickle without a MARK",
                         m->data[m->op_at], m->op_at);
    }
    *mark = m->marks[--m->n_marks];
    return IVL_OK;
}

static ivl_status push_mark(machine *m)
{
    if (m->n_marks == MAX_MARKS) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "the pickle nests too deeply (more than %u marks)", MAX_MARKS);
    }
    m->marks[m->n_marks++] = m->depth;
    return IVL_OK;
}

static ivl_status memo_put(machine *m, size_t index)
{
    size_t old = m->memo_capacity;

    IVL__TRY(need(m, 1));
    /* Picklers number entries one after the other; each takes at least two bytes of the pickle. */
    if (index >= MAX_MEMO || index > m->bytes) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "memo index %zu is out of range", index);
    }
    if (!ivl__grow((void **)&m->memo, &m->memo_capacity, index + 1, sizeof *m->memo)) {
        return no_memory(m);
    }
    if (m->memo_capacity > old) {
        memset(m->memo + old, 0, (m->memo_capacity - old) * sizeof *m->memo);
    }
    m->memo[index] = m->stack[m->depth - 1];
    m->memo_count++;
    return IVL_OK;
}

static ivl_status memo_get(machine *m, size_t index)
{
    if (index >= m->memo_capacity || m->memo[index].kind == K_ABSENT) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "memo entry %zu was never stored", index);
    }
    return push(m, m->memo[index]);
}

/* ---- containers -------------------------------------------------------------------------- */

static bool is_object(const value *v)
{
    return v->kind >= K_TUPLE && v->kind <= K_DICT;
}

/* Replaces the stack from `first` up by one new container of those values. */
static ivl_status make_object(machine *m, kind what, size_t first)
{
    size_t n = m->depth - first;
    object it = {.count = n, .capacity = n};

    if (m->n_objects >= MAX_OBJECTS) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "the pickle has more than %u objects",
                         MAX_OBJECTS);
    }
    if (!ivl__grow((void **)&m->objects, &m->objects_capacity, m->n_objects + 1,
                   sizeof *m->objects)) {
        return no_memory(m);
    }
    if (n) {
        it.items = ivl__calloc(n, sizeof *it.items);
        if (!it.items) {
            return no_memory(m);
        }
        memcpy(it.items, m->stack + first, n * sizeof *it.items);
    }
    m->depth = first;
    m->objects[m->n_objects] = it;
    return push(m, (value){.kind = (uint32_t)what, .u.object = m->n_objects++});
}

/* Moves the stack from `first` up into the container below it. */
static ivl_status append(machine *m, size_t first, kind what)
{
    size_t n = m->depth - first;
    object *to;

    if (first == bottom(m) || m->stack[first - 1].kind != (uint32_t)what) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "opcode 0x%02x at byte %zu of the pickle finds no %s to fill",
                         m->data[m->op_at], m->op_at, what == K_DICT ? "dictionary" : "list");
    }
    if (what == K_DICT && n % 2) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "a key without a value at byte %zu of the pickle",
                         m->op_at);
    }
    to = &m->objects[m->stack[first - 1].u.object];
    if (!ivl__grow((void **)&to->items, &to->capacity, to->count + n, sizeof *to->items)) {
        return no_memory(m);
    }
    if (n) {
        memcpy(to->items + to->count, m->stack + first, n * sizeof *to->items);
    }
    to->count += n;
    m->depth = first;
    return IVL_OK;
}

static ivl_status append_marked(machine *m, kind what)
{
    size_t mark = 0;

    IVL__TRY(pop_mark(m, &mark));
    return append(m, mark, what);
}

static bool text_is(const value *v, const char *text)
{
    return v->kind == K_STRING && v->length == strlen(text) &&
           memcmp(v->u.text, text, v->length) == 0;
}

/* ---- globals ----------------------------------------------------------------------------- */

static bool slice_is(const unsigned char *text, size_t bytes, const char *is)
{
    return bytes == strlen(is) && memcmp(text, is, bytes) == 0;
}

/* Bytes of the file in a message: printable ASCII alone. */
static void printable(const unsigned char *text, size_t bytes, char out[81])
{
    size_t n = bytes < 80 ? bytes : 80;

    for (size_t i = 0; i < n; i++) {
        out[i] = text[i] >= 32 && text[i] < 127 ? (char)text[i] : '?';
    }
    out[n] = 0;
}

static ivl_status push_global(machine *m, const unsigned char *module, size_t module_bytes,
                              const unsigned char *name, size_t name_bytes)
{
    char shown[2][81];

    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++) {
        if (slice_is(module, module_bytes, globals[i].module) &&
            slice_is(name, name_bytes, globals[i].name)) {
            return push(m, (value){.kind = K_GLOBAL, .u.i = globals[i].id});
        }
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        bool untyped = types[i].bytes == 0;

        if (slice_is(module, module_bytes, untyped ? "torch.storage" : "torch") &&
            (slice_is(name, name_bytes, types[i].storage) ||
             slice_is(name, name_bytes, types[i].name))) {
            return push(m, (value){.kind = K_TYPE, .u.i = (int64_t)i});
        }
    }
    printable(module, module_bytes, shown[0]);
    printable(name, name_bytes, shown[1]);
    return ivl__fail(m->error, IVL_BAD_MODEL,
                     "global %s.%s is not allowed (nothing was run); " ADVICE, shown[0], shown[1]);
}

/* ---- tensors ----------------------------------------------------------------------------- */

static const value *item(const machine *m, const value *tuple, size_t index)
{
    return &m->objects[tuple->u.object].items[index];
}

static size_t length_of(const machine *m, const value *v)
{
    return is_object(v) ? m->objects[v->u.object].count : 0;
}

/* The tuple ("storage", class, key, location, elements). */
static ivl_status make_storage(machine *m)
{
    value id = m->stack[m->depth - 1];
    storage it;
    size_t bytes = 0;
    char shown[81];

    if (id.kind != K_TUPLE || length_of(m, &id) != 5 || !text_is(item(m, &id, 0), "storage") ||
        item(m, &id, 1)->kind != K_TYPE || item(m, &id, 2)->kind != K_STRING ||
        item(m, &id, 4)->kind != K_INT) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "persistent id at byte %zu of the pickle does not start with \"storage\" "
                         "or has another form than (\"storage\", type, key, location, elements)",
                         m->op_at);
    }
    it.key = *item(m, &id, 2);
    it.type = &types[item(m, &id, 1)->u.i];
    printable(it.key.u.text, it.key.length, shown);
    if (item(m, &id, 4)->u.i < 0) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "storage \"%s\" has a negative element count",
                         shown);
    }
    if (!ivl__mul_size((size_t)item(m, &id, 4)->u.i, it.type->bytes ? it.type->bytes : 1, &bytes)) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "storage \"%s\": %lld elements of %u bytes overflow", shown,
                         (long long)item(m, &id, 4)->u.i, it.type->bytes);
    }
    it.bytes = bytes;
    if (!ivl__grow((void **)&m->storages, &m->storages_capacity, m->n_storages + 1,
                   sizeof *m->storages)) {
        return no_memory(m);
    }
    m->storages[m->n_storages] = it;
    m->stack[m->depth - 1] = (value){.kind = K_STORAGE, .u.object = m->n_storages++};
    return IVL_OK;
}

static ivl_status read_extents(machine *m, const value *v, const char *what, uint64_t *out)
{
    for (size_t i = 0; i < length_of(m, v); i++) {
        const value *it = item(m, v, i);

        if (it->kind != K_INT || it->u.i < 0) {
            return ivl__fail(m->error, IVL_BAD_MODEL,
                             "a tensor at byte %zu of the pickle has a negative %s or one that is "
                             "no number",
                             m->op_at, what);
        }
        out[i] = (uint64_t)it->u.i;
    }
    return IVL_OK;
}

/* (storage, offset, size, stride, ...); v3 has the dtype as seventh. */
static ivl_status make_view(machine *m, const value *args, bool v3)
{
    size_t n = length_of(m, args);
    view it;
    const value *size, *stride;

    memset(&it, 0, sizeof it);
    if (n < 4 || (v3 && (n < 7 || item(m, args, 6)->kind != K_TYPE)) ||
        item(m, args, 0)->kind != K_STORAGE || item(m, args, 1)->kind != K_INT) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "a tensor at byte %zu of the pickle is not (storage, offset, size, "
                         "stride, ...)",
                         m->op_at);
    }
    size = item(m, args, 2);
    stride = item(m, args, 3);
    if (size->kind != K_TUPLE || stride->kind != K_TUPLE ||
        length_of(m, size) != length_of(m, stride) || length_of(m, size) > IVL__MAX_RANK) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "a tensor at byte %zu of the pickle has %zu sizes and %zu strides (they "
                         "must agree and be %d at most)",
                         m->op_at, length_of(m, size), length_of(m, stride), IVL__MAX_RANK);
    }
    IVL__TRY(read_extents(m, size, "size", it.tensor.size));
    IVL__TRY(read_extents(m, stride, "stride", it.tensor.stride));
    if (item(m, args, 1)->u.i < 0) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "a tensor at byte %zu of the pickle has a negative storage offset",
                         m->op_at);
    }
    it.tensor.rank = (int)length_of(m, size);
    it.tensor.offset = (uint64_t)item(m, args, 1)->u.i;
    it.tensor.storage_bytes = m->storages[item(m, args, 0)->u.object].bytes;
    it.tensor.type = v3 ? &types[item(m, args, 6)->u.i]
                        : m->storages[item(m, args, 0)->u.object].type;
    it.key = m->storages[item(m, args, 0)->u.object].key;
    if (it.tensor.type->bytes == 0) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "a tensor at byte %zu of the pickle has no element type", m->op_at);
    }
    if (!ivl__grow((void **)&m->views, &m->views_capacity, m->n_views + 1, sizeof *m->views)) {
        return no_memory(m);
    }
    m->views[m->n_views] = it;
    m->stack[m->depth - 1] = (value){.kind = K_TENSOR, .u.object = m->n_views++};
    return IVL_OK;
}

/* callable, arguments -> what that would be; the result lands in the place of both. */
static ivl_status reduce(machine *m)
{
    value call, args;

    IVL__TRY(need(m, 2));
    args = m->stack[m->depth - 1];
    call = m->stack[m->depth - 2];
    if (call.kind != K_GLOBAL || args.kind != K_TUPLE) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "byte %zu of the pickle calls something that is no known function",
                         m->op_at);
    }
    m->depth--;
    switch ((global)call.u.i) {
    case G_ORDERED_DICT:
        if (length_of(m, &args) == 0) {
            return make_object(m, K_DICT, --m->depth);
        }
        break;
    case G_REBUILD_TENSOR:
    case G_REBUILD_TENSOR_V2: return make_view(m, &args, false);
    case G_REBUILD_TENSOR_V3: return make_view(m, &args, true);
    case G_REBUILD_PARAMETER:
        if (length_of(m, &args) >= 1 && item(m, &args, 0)->kind == K_TENSOR) {
            m->stack[m->depth - 1] = *item(m, &args, 0);
            return IVL_OK;
        }
        break;
    case G_SIZE:
        if (length_of(m, &args) == 1 && item(m, &args, 0)->kind == K_TUPLE) {
            m->stack[m->depth - 1] = *item(m, &args, 0);
            return IVL_OK;
        }
        break;
    case G_DEVICE: m->stack[m->depth - 1] = (value){.kind = K_NONE}; return IVL_OK;
    }
    return ivl__fail(m->error, IVL_BAD_MODEL,
                     "byte %zu of the pickle calls %s.%s with unexpected arguments", m->op_at,
                     globals[call.u.i].module, globals[call.u.i].name);
}

/* ---- operands ---------------------------------------------------------------------------- */

static ivl_status take(machine *m, size_t n, const unsigned char **out)
{
    if (n > m->bytes - m->at) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "opcode 0x%02x at byte %zu needs %zu bytes, beyond the end of the pickle",
                         m->data[m->op_at], m->op_at, n);
    }
    *out = m->data + m->at;
    m->at += n;
    return IVL_OK;
}

/* An unsigned little-endian operand. */
static ivl_status take_uint(machine *m, size_t n, uint64_t *out)
{
    const unsigned char *p = NULL;
    uint64_t x = 0;

    IVL__TRY(take(m, n, &p));
    for (size_t i = n; i-- > 0;) {
        x = x << 8 | p[i];
    }
    *out = x;
    return IVL_OK;
}

/* A little-endian two's complement operand of n <= 8 bytes. */
static ivl_status push_signed(machine *m, size_t n)
{
    uint64_t x = 0;

    IVL__TRY(take_uint(m, n, &x));
    if (n && n < 8 && x >> (8 * n - 1) & 1) {
        x |= ~UINT64_C(0) << 8 * n;
    }
    return push_int(m, (int64_t)x);
}

static ivl_status push_unsigned(machine *m, size_t n)
{
    uint64_t x = 0;

    IVL__TRY(take_uint(m, n, &x));
    return push_int(m, (int64_t)x);
}

static ivl_status push_long(machine *m)
{
    uint64_t n = 0;

    IVL__TRY(take_uint(m, 1, &n));
    if (n > 8) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "integer of %u bytes at byte %zu of the pickle does not fit 64 bits",
                         (unsigned)n, m->op_at);
    }
    return push_signed(m, (size_t)n);
}

static ivl_status push_string(machine *m, size_t length_bytes)
{
    const unsigned char *text = NULL;
    uint64_t n = 0;

    IVL__TRY(take_uint(m, length_bytes, &n));
    IVL__TRY(take(m, (size_t)n, &text));
    return push(m, (value){.kind = K_STRING, .length = (uint32_t)n, .u.text = text});
}

static ivl_status take_line(machine *m, const unsigned char **text, size_t *bytes)
{
    const unsigned char *end = m->at < m->bytes ? memchr(m->data + m->at, '\n', m->bytes - m->at)
                                                : NULL;

    if (!end) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "a name at byte %zu of the pickle does not end",
                         m->op_at);
    }
    *text = m->data + m->at;
    *bytes = (size_t)(end - *text);
    m->at += *bytes + 1;
    return IVL_OK;
}

static ivl_status op_global(machine *m)
{
    const unsigned char *module = NULL, *name = NULL;
    size_t module_bytes = 0, name_bytes = 0;

    IVL__TRY(take_line(m, &module, &module_bytes));
    IVL__TRY(take_line(m, &name, &name_bytes));
    return push_global(m, module, module_bytes, name, name_bytes);
}

static ivl_status op_stack_global(machine *m)
{
    value module, name;

    IVL__TRY(need(m, 2));
    name = m->stack[m->depth - 1];
    module = m->stack[m->depth - 2];
    if (module.kind != K_STRING || name.kind != K_STRING) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "STACK_GLOBAL at byte %zu of the pickle has no names", m->op_at);
    }
    m->depth -= 2;
    return push_global(m, module.u.text, module.length, name.u.text, name.length);
}

/* ---- opcodes ----------------------------------------------------------------------------- */

static ivl_status op_memo(machine *m, bool put, size_t operand)
{
    uint64_t index = 0;

    IVL__TRY(take_uint(m, operand, &index));
    return put ? memo_put(m, (size_t)index) : memo_get(m, (size_t)index);
}

static ivl_status op_tuple(machine *m, size_t n)
{
    IVL__TRY(need(m, n));
    return make_object(m, K_TUPLE, m->depth - n);
}

static ivl_status op_marked_tuple(machine *m)
{
    size_t mark = 0;

    IVL__TRY(pop_mark(m, &mark));
    return make_object(m, K_TUPLE, mark);
}

static ivl_status op_pop(machine *m, size_t n)
{
    IVL__TRY(need(m, n));
    m->depth -= n;
    return IVL_OK;
}

static ivl_status op_pop_mark(machine *m)
{
    size_t mark = 0;

    IVL__TRY(pop_mark(m, &mark));
    m->depth = mark;
    return IVL_OK;
}

static ivl_status op_fill(machine *m, size_t n, kind what)
{
    IVL__TRY(need(m, n + 1));
    return append(m, m->depth - n, what);
}

static ivl_status op_skip(machine *m, size_t n)
{
    const unsigned char *skipped = NULL;

    return take(m, n, &skipped);
}

static ivl_status op_float(machine *m)
{
    IVL__TRY(op_skip(m, 8));
    return push(m, (value){.kind = K_FLOAT});
}

static ivl_status op_persistent_id(machine *m)
{
    IVL__TRY(need(m, 1));
    return make_storage(m);
}

static ivl_status step(machine *m, unsigned op)
{
    switch (op) {
    case 0x80: return op_skip(m, 1); /* PROTO */
    case 0x95: return op_skip(m, 8); /* FRAME */
    case '(': return push_mark(m);   /* MARK */
    case '0': return op_pop(m, 1);   /* POP */
    case '1': return op_pop_mark(m); /* POP_MARK */
    case '}': return make_object(m, K_DICT, m->depth);
    case ']': return make_object(m, K_LIST, m->depth);
    case ')': return make_object(m, K_TUPLE, m->depth);
    case 0x8f: return make_object(m, K_SET, m->depth);
    case 't': return op_marked_tuple(m); /* TUPLE */
    case 0x85: return op_tuple(m, 1);    /* TUPLE1 */
    case 0x86: return op_tuple(m, 2);    /* TUPLE2 */
    case 0x87: return op_tuple(m, 3);    /* TUPLE3 */
    case 'N': return push(m, (value){.kind = K_NONE});
    case 0x88: return push_int(m, 1);             /* NEWTRUE */
    case 0x89: return push_int(m, 0);             /* NEWFALSE */
    case 'J': return push_signed(m, 4);           /* BININT */
    case 'K': return push_unsigned(m, 1);         /* BININT1 */
    case 'M': return push_unsigned(m, 2);         /* BININT2 */
    case 0x8a: return push_long(m);               /* LONG1 */
    case 'G': return op_float(m);                 /* BINFLOAT */
    case 'X': return push_string(m, 4);           /* BINUNICODE */
    case 'U':                                     /* SHORT_BINSTRING */
    case 0x8c: return push_string(m, 1);          /* SHORT_BINUNICODE */
    case 'q': return op_memo(m, true, 1);         /* BINPUT */
    case 'r': return op_memo(m, true, 4);         /* LONG_BINPUT */
    case 0x94: return memo_put(m, m->memo_count); /* MEMOIZE */
    case 'h': return op_memo(m, false, 1);        /* BINGET */
    case 'j': return op_memo(m, false, 4);        /* LONG_BINGET */
    case 'a': return op_fill(m, 1, K_LIST);       /* APPEND */
    case 'e': return append_marked(m, K_LIST);    /* APPENDS */
    case 's': return op_fill(m, 2, K_DICT);       /* SETITEM */
    case 'u': return append_marked(m, K_DICT);    /* SETITEMS */
    case 'c': return op_global(m);                /* GLOBAL */
    case 0x93: return op_stack_global(m);         /* STACK_GLOBAL */
    case 'R':                                     /* REDUCE */
    case 0x81: return reduce(m);                  /* NEWOBJ */
    case 'b': /* BUILD: the state (_metadata, hooks) is dropped */
        IVL__TRY(need(m, 2));
        return op_pop(m, 1);
    case 'Q': return op_persistent_id(m); /* BINPERSID */
    default:
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "opcode 0x%02x at byte %zu of the pickle is not supported; " ADVICE, op,
                         m->op_at);
    }
}

static ivl_status run(machine *m, value *top)
{
    for (;;) {
        if (m->at >= m->bytes) {
            return ivl__fail(m->error, IVL_BAD_MODEL, "the pickle ends without STOP");
        }
        m->op_at = m->at++;
        if (m->data[m->op_at] == '.') {
            break;
        }
        IVL__TRY(step(m, m->data[m->op_at]));
    }
    IVL__TRY(need(m, 1));
    *top = m->stack[m->depth - 1];
    return IVL_OK;
}

/* ---- the dictionary of tensors ----------------------------------------------------------- */

static bool has_tensors(const machine *m, const value *dict)
{
    const object *o = &m->objects[dict->u.object];

    for (size_t i = 1; i < o->count; i += 2) {
        if (o->items[i].kind == K_TENSOR) {
            return true;
        }
    }
    return false;
}

/* Goes down through wrappers, at most a few levels: a dictionary may contain itself. */
static value unwrap(const machine *m, value dict)
{
    static const char *const wrappers[] = {"state_dict", "module", "model"};

    for (int level = 0; level < MAX_WRAPPERS; level++) {
        const object *o = &m->objects[dict.u.object];
        const value *inner = NULL;

        for (size_t i = 0; i + 1 < o->count && !inner; i += 2) {
            for (size_t w = 0; w < 3; w++) {
                if (text_is(&o->items[i], wrappers[w]) && o->items[i + 1].kind == K_DICT) {
                    inner = &o->items[i + 1];
                }
            }
        }
        if (!inner || (has_tensors(m, &dict) && !has_tensors(m, inner))) {
            break;
        }
        dict = *inner;
    }
    return dict;
}

static char *copy_text(const value *v)
{
    char *text = ivl__malloc((size_t)v->length + 1);

    if (text) {
        memcpy(text, v->u.text, v->length);
        text[v->length] = 0;
    }
    return text;
}

static ivl_status emit(machine *m, const value *key, const view *from, ivl__pickle *out)
{
    ivl__pickle_tensor *to;

    if (memchr(key->u.text, 0, key->length) || memchr(from->key.u.text, 0, from->key.length)) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "a tensor name or storage key contains NUL");
    }
    /* One long name may be the key of every tensor through the memo: bound the copies. */
    if (key->length > MAX_NAME || from->key.length > MAX_NAME || out->count >= MAX_TENSORS) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "more than %u tensors, or a name of more than %u bytes", MAX_TENSORS,
                         MAX_NAME);
    }
    if (!ivl__grow((void **)&out->tensors, &out->capacity, out->count + 1, sizeof *out->tensors)) {
        return no_memory(m);
    }
    to = &out->tensors[out->count++];
    *to = from->tensor;
    to->name = copy_text(key);
    to->key = copy_text(&from->key);
    return to->name && to->key ? IVL_OK : no_memory(m);
}

static ivl_status collect(machine *m, const value *top, ivl__pickle *out)
{
    value dict;
    const object *o;
    bool odd_key = false;

    if (top->kind != K_DICT) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "the file does not hold a dictionary of tensors; " ADVICE);
    }
    dict = unwrap(m, *top);
    o = &m->objects[dict.u.object];
    for (size_t i = 0; i + 1 < o->count; i += 2) {
        if (o->items[i].kind != K_STRING) {
            odd_key = true;
        } else if (o->items[i + 1].kind == K_TENSOR) {
            IVL__TRY(emit(m, &o->items[i], &m->views[o->items[i + 1].u.object], out));
        }
    }
    if (out->count == 0) {
        return ivl__fail(m->error, IVL_BAD_MODEL, "no tensors found%s",
                         odd_key ? "; a key is not a string" : " in the file's dictionary");
    }
    return IVL_OK;
}

ivl_status ivl__pickle_parse(const unsigned char *data, size_t bytes, ivl__pickle *pickle,
                             ivl_error *error)
{
    machine *m;
    ivl_status status;
    value top = {0};

    *pickle = (ivl__pickle){0};
    if (bytes == 0 || bytes > IVL__MAX_PICKLE_BYTES) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         bytes ? "data.pkl has %zu bytes, at most %u"
                               : "data.pkl is empty (%zu bytes of %u)",
                         bytes, IVL__MAX_PICKLE_BYTES);
    }
    m = ivl__calloc(1, sizeof *m);
    if (!m) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a pickle");
    }
    m->data = data;
    m->bytes = bytes;
    m->error = error;
    status = run(m, &top);
    if (status == IVL_OK) {
        status = collect(m, &top, pickle);
    }
    if (status != IVL_OK) {
        ivl__pickle_free(pickle);
    }
    for (size_t i = 0; i < m->n_objects; i++) {
        ivl__free(m->objects[i].items);
    }
    ivl__free(m->objects);
    ivl__free(m->storages);
    ivl__free(m->views);
    ivl__free(m->stack);
    ivl__free(m->memo);
    ivl__free(m);
    return status;
}

void ivl__pickle_free(ivl__pickle *pickle)
{
    for (size_t i = 0; i < pickle->count; i++) {
        ivl__free(pickle->tensors[i].name);
        ivl__free(pickle->tensors[i].key);
    }
    ivl__free(pickle->tensors);
    *pickle = (ivl__pickle){0};
}
