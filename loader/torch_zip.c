/* torch_zip.c - zip container and storages of a torch.save file; see torch_zip.h.
 *
 * Sizes and offsets come from the central directory alone; of the local header only the lengths of
 * name and extra field count (torch pads there to align the data). Every member lies inside the
 * file and none overlaps another before anything is read.
 */
#include "loader/torch_zip.h"

#include "loader/torch_pickle.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define END_BYTES     22u
#define LOCATOR_BYTES 20u
#define END64_BYTES   56u
#define ENTRY_BYTES   46u
#define LOCAL_BYTES   30u
#define MAX_MEMBERS   1000000u
/* No deflate stream expands by more. */
#define MAX_DEFLATE_RATIO 1032u

typedef struct member {
    const unsigned char *name; /* in the central directory */
    size_t name_bytes;
    uint64_t packed, bytes, local; /* local: offset of the local header */
    uint64_t at;                   /* offset of the data */
    bool deflated;
    const unsigned char *content; /* inflated or mapped; NULL until asked for */
    void *owned;                  /* inflated memory that no tensor took over yet */
    uint64_t file_offset;
} member;

typedef struct archive {
    const unsigned char *data;
    size_t bytes;
    member *members; /* sorted by name */
    size_t count;
    size_t top_bytes; /* length of the top folder with its slash */
    uint64_t made;    /* bytes inflated and gathered so far */
    ivl_error *error;
} archive;

static uint64_t get(const unsigned char *p, int bytes)
{
    uint64_t x = 0;

    for (int i = bytes; i-- > 0;) {
        x = x << 8 | p[i];
    }
    return x;
}

static ivl_status bad(archive *a, const char *what)
{
    return ivl__fail(a->error, IVL_BAD_MODEL, "%s", what);
}

static ivl_status bad_member(archive *a, const member *m, const char *what)
{
    return ivl__fail(a->error, IVL_BAD_MODEL, "member %.*s: %s",
                     (int)(m->name_bytes < 200 ? m->name_bytes : 200), (const char *)m->name, what);
}

/* ---- central directory ------------------------------------------------------------------- */

typedef struct directory {
    uint64_t offset, bytes, entries;
} directory;

static ivl_status find_end(archive *a, size_t *end)
{
    size_t lowest;

    if (a->bytes >= END_BYTES) {
        lowest = a->bytes > 65557 ? a->bytes - 65557 : 0;
        for (size_t at = a->bytes - END_BYTES + 1; at-- > lowest;) {
            if (memcmp(a->data + at, "PK\5\6", 4) == 0 &&
                at + END_BYTES + get(a->data + at + 20, 2) == a->bytes) {
                *end = at;
                return IVL_OK;
            }
        }
    }
    return bad(a, "not a complete zip archive: the end-of-central-directory record is missing (the "
                  "file is cut off; download it again)");
}

/* The zip64 record counts only where a 32-bit field says so. */
static ivl_status read_end64(archive *a, size_t end, directory *d, bool offset, bool bytes,
                             bool entries)
{
    uint64_t at;

    if (end < LOCATOR_BYTES || memcmp(a->data + end - LOCATOR_BYTES, "PK\6\7", 4) != 0) {
        return bad(a, "the zip64 locator is missing");
    }
    at = get(a->data + end - LOCATOR_BYTES + 8, 8);
    if (a->bytes < END64_BYTES || at > a->bytes - END64_BYTES ||
        memcmp(a->data + at, "PK\6\6", 4) != 0) {
        return bad(a, "the zip64 end record is outside the file");
    }
    d->entries = entries ? get(a->data + at + 32, 8) : d->entries;
    d->bytes = bytes ? get(a->data + at + 40, 8) : d->bytes;
    d->offset = offset ? get(a->data + at + 48, 8) : d->offset;
    return IVL_OK;
}

static ivl_status read_end(archive *a, directory *d)
{
    const unsigned char *p;
    size_t end = 0;

    IVL__TRY(find_end(a, &end));
    p = a->data + end;
    if (get(p + 4, 2) != 0 || get(p + 6, 2) != 0) {
        return bad(a, "zip archives of several disks are not supported");
    }
    d->entries = get(p + 10, 2);
    d->bytes = get(p + 12, 4);
    d->offset = get(p + 16, 4);
    if (d->entries == 0xffff || d->bytes == 0xffffffff || d->offset == 0xffffffff) {
        IVL__TRY(read_end64(a, end, d, d->offset == 0xffffffff, d->bytes == 0xffffffff,
                            d->entries == 0xffff));
    }
    if (d->offset > end || d->bytes > end - d->offset) {
        return bad(a, "the central directory is outside the file");
    }
    if (d->entries > MAX_MEMBERS || d->entries > d->bytes / ENTRY_BYTES) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "the central directory has fewer entries than the %llu announced",
                         (unsigned long long)d->entries);
    }
    return IVL_OK;
}

/* Replaces the fields whose 32 bits are all ones by those of extra field 1. */
static void read_extra64(member *m, const unsigned char *p, size_t bytes)
{
    uint64_t *fields[3] = {&m->bytes, &m->packed, &m->local};

    while (bytes >= 4) {
        size_t id = (size_t)get(p, 2);
        size_t n = (size_t)get(p + 2, 2);

        p += 4;
        bytes -= 4;
        if (n > bytes) {
            break;
        }
        for (size_t i = 0, at = 0; id == 1 && i < 3; i++) {
            if (*fields[i] == 0xffffffff && at + 8 <= n) {
                *fields[i] = get(p + at, 8);
                at += 8;
            }
        }
        p += n;
        bytes -= n;
    }
}

static ivl_status read_member(archive *a, const unsigned char *p, const directory *d, member *m,
                              size_t *length, size_t rest)
{
    size_t name, extra, comment;
    unsigned method;

    if (rest < ENTRY_BYTES || memcmp(p, "PK\1\2", 4) != 0) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "the central directory has fewer entries than the %llu announced",
                         (unsigned long long)d->entries);
    }
    name = (size_t)get(p + 28, 2);
    extra = (size_t)get(p + 30, 2);
    comment = (size_t)get(p + 32, 2);
    *length = ENTRY_BYTES + name + extra + comment;
    if (*length > rest || name == 0 || memchr(p + ENTRY_BYTES, 0, name)) {
        return bad(a, "an entry of the central directory is damaged");
    }
    method = (unsigned)get(p + 10, 2);
    *m = (member){.name = p + ENTRY_BYTES,
                  .name_bytes = name,
                  .packed = get(p + 20, 4),
                  .bytes = get(p + 24, 4),
                  .local = get(p + 42, 4),
                  .deflated = method == 8};
    read_extra64(m, p + ENTRY_BYTES + name, extra);
    if (get(p + 8, 2) & 1) {
        return bad_member(a, m, "is encrypted, which is not supported");
    }
    if (method != 0 && method != 8) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "member %.*s uses compression method %u, which is not supported",
                         (int)(name < 200 ? name : 200), (const char *)m->name, method);
    }
    return IVL_OK;
}

/* Where the data begins, and that it lies before the central directory. */
static ivl_status locate(archive *a, const directory *d, member *m)
{
    const unsigned char *p;

    if (d->offset < LOCAL_BYTES || m->local > d->offset - LOCAL_BYTES ||
        memcmp(a->data + m->local, "PK\3\4", 4) != 0) {
        return bad_member(a, m, "its local header is outside the file");
    }
    p = a->data + m->local;
    m->at = m->local + LOCAL_BYTES + get(p + 26, 2) + get(p + 28, 2);
    if (m->at > d->offset || m->packed > d->offset - m->at) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "member %.*s claims %llu bytes, beyond the end of the file (%zu bytes)",
                         (int)(m->name_bytes < 200 ? m->name_bytes : 200), (const char *)m->name,
                         (unsigned long long)m->packed, a->bytes);
    }
    if (!m->deflated && m->packed != m->bytes) {
        return bad_member(a, m, "is stored, but its two sizes differ");
    }
    if (m->deflated && m->bytes / MAX_DEFLATE_RATIO > m->packed + 16) {
        return bad_member(a, m, "claims a size that its compressed data cannot have");
    }
    return IVL_OK;
}

static int compare_names(const void *x, const void *y)
{
    const member *a = x;
    const member *b = y;
    size_t n = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
    int order = memcmp(a->name, b->name, n);

    return order ? order : (a->name_bytes > b->name_bytes) - (a->name_bytes < b->name_bytes);
}

static int compare_places(const void *x, const void *y)
{
    const member *a = x;
    const member *b = y;

    return (a->local > b->local) - (a->local < b->local);
}

static ivl_status check_members(archive *a)
{
    if (!a->count) {
        return bad(a, "the zip archive is empty");
    }
    qsort(a->members, a->count, sizeof *a->members, compare_places);
    for (size_t i = 1; i < a->count; i++) {
        const member *before = &a->members[i - 1];

        if (compare_names(before, &a->members[i]) != 0 &&
            before->at + before->packed > a->members[i].local) {
            return bad_member(a, &a->members[i], "overlaps another member");
        }
    }
    qsort(a->members, a->count, sizeof *a->members, compare_names);
    for (size_t i = 1; i < a->count; i++) {
        if (compare_names(&a->members[i - 1], &a->members[i]) == 0) {
            return bad_member(a, &a->members[i], "appears twice");
        }
    }
    return IVL_OK;
}

static ivl_status read_directory(archive *a)
{
    directory d = {0};
    const unsigned char *p;
    const unsigned char *slash;
    size_t rest, length = 0;

    IVL__TRY(read_end(a, &d));
    a->members = ivl__calloc((size_t)d.entries, sizeof *a->members);
    if (!a->members) {
        return ivl__fail(a->error, IVL_OUT_OF_MEMORY, "out of memory for %llu members",
                         (unsigned long long)d.entries);
    }
    p = a->data + d.offset;
    rest = (size_t)d.bytes;
    for (; a->count < d.entries; a->count++, p += length, rest -= length) {
        member *m = &a->members[a->count];

        IVL__TRY(read_member(a, p, &d, m, &length, rest));
        IVL__TRY(locate(a, &d, m));
        if (a->count == 0) {
            slash = memchr(m->name, '/', m->name_bytes);
            a->top_bytes = slash ? (size_t)(slash - m->name) + 1 : 0;
        }
        if (m->name_bytes < a->top_bytes ||
            memcmp(m->name, a->members[0].name, a->top_bytes) != 0) {
            return bad_member(a, m, "the members do not share one top folder");
        }
    }
    return check_members(a);
}

/* ---- members ----------------------------------------------------------------------------- */

/* <top folder>/<folder><name>; NULL when there is none. */
static member *find(archive *a, const char *folder, const char *name)
{
    char full[1024];
    int n = snprintf(full, sizeof full, "%.*s%s%s", (int)(a->top_bytes < 400 ? a->top_bytes : 400),
                     (const char *)a->members[0].name, folder, name);
    member key = {.name = (unsigned char *)full, .name_bytes = (size_t)n};

    if (n < 0 || (size_t)n >= sizeof full) {
        return NULL;
    }
    return bsearch(&key, a->members, a->count, sizeof *a->members, compare_names);
}

/* Inflated and gathered memory together stay below this. Real files that were re-packed or saved
 * transposed need about their own size; 16-bit weights hardly compress. */
static ivl_status count_made(archive *a, uint64_t bytes)
{
    uint64_t limit = (uint64_t)a->bytes * 4 + (1u << 20);

    if (bytes > limit || a->made > limit - bytes) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "unpacking would need more than %llu bytes of memory, four times the "
                         "file; re-save it with torch (contiguous, not compressed)",
                         (unsigned long long)limit);
    }
    a->made += bytes;
    return IVL_OK;
}

static ivl_status inflate_into(archive *a, const member *m, unsigned char *to)
{
    z_stream z = {0};
    uint64_t in = 0, out = 0;
    int code = inflateInit2(&z, -MAX_WBITS);

    if (code != Z_OK) {
        return ivl__fail(a->error, IVL_OUT_OF_MEMORY, "out of memory for zlib");
    }
    while (code == Z_OK) {
        uInt take = m->packed - in < (1u << 30) ? (uInt)(m->packed - in) : 1u << 30;
        uInt room = m->bytes - out < (1u << 30) ? (uInt)(m->bytes - out) : 1u << 30;

        z.next_in = (Bytef *)(uintptr_t)(a->data + m->at + in);
        z.avail_in = take;
        z.next_out = to + out;
        z.avail_out = room;
        code = inflate(&z, Z_NO_FLUSH);
        in += take - z.avail_in;
        out += room - z.avail_out;
    }
    inflateEnd(&z);
    if (code != Z_STREAM_END || out != m->bytes) {
        return bad_member(a, m, "its compressed data is damaged or has another size");
    }
    return IVL_OK;
}

/* Makes the content of a member available. */
static ivl_status load(archive *a, member *m)
{
    if (m->content) {
        return IVL_OK;
    }
    if (!m->deflated) {
        m->file_offset = m->at;
        m->content = a->data + m->at;
        return IVL_OK;
    }
    IVL__TRY(count_made(a, m->bytes));
    m->owned = ivl__malloc((size_t)m->bytes);
    if (!m->owned) {
        return ivl__fail(a->error, IVL_OUT_OF_MEMORY, "out of memory for %llu bytes",
                         (unsigned long long)m->bytes);
    }
    IVL__TRY(inflate_into(a, m, m->owned));
    m->content = m->owned;
    return IVL_OK;
}

/* ---- tensors ----------------------------------------------------------------------------- */

/* Counts elements and tells whether they lie in C order; checks that all of them are inside. */
static ivl_status check_view(archive *a, const ivl__pickle_tensor *t, uint64_t *elements,
                             bool *contiguous)
{
    uint64_t held = t->storage_bytes / t->type->bytes;
    size_t n = 1, last = (size_t)t->offset, dense = 1, reach = 0;

    for (int i = 0; i < t->rank; i++) {
        if (!ivl__mul_size(n, (size_t)t->size[i], &n)) {
            return ivl__fail(a->error, IVL_BAD_MODEL, "tensor \"%s\": element count overflows",
                             t->name);
        }
    }
    *contiguous = true;
    for (int i = t->rank - 1; n && i >= 0; i--) {
        if (!ivl__mul_size((size_t)t->size[i] - 1, (size_t)t->stride[i], &reach) ||
            !ivl__add_size(last, reach, &last)) {
            return ivl__fail(a->error, IVL_BAD_MODEL, "tensor \"%s\": its strides overflow",
                             t->name);
        }
        *contiguous &= t->size[i] == 1 || t->stride[i] == dense;
        dense *= (size_t)t->size[i];
    }
    if (n && last >= held) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "tensor \"%s\": reaches element %zu, beyond the %llu elements of storage "
                         "\"%s\"",
                         t->name, last, (unsigned long long)held, t->key);
    }
    if (n > held) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "tensor \"%s\": %zu elements from a storage of %llu (stride 0) are not "
                         "supported",
                         t->name, n, (unsigned long long)held);
    }
    *elements = n;
    return IVL_OK;
}

/* Copies the elements in C order. */
static void gather(const ivl__pickle_tensor *t, const unsigned char *from, uint64_t elements,
                   unsigned char *to)
{
    uint64_t index[IVL__MAX_RANK] = {0};
    uint64_t at = t->offset;
    unsigned bytes = t->type->bytes;

    for (uint64_t n = 0; n < elements; n++) {
        memcpy(to + n * bytes, from + at * bytes, bytes);
        for (int i = t->rank - 1; i >= 0; i--) {
            at += t->stride[i];
            if (++index[i] < t->size[i]) {
                break;
            }
            at -= t->stride[i] * t->size[i];
            index[i] = 0;
        }
    }
}

static ivl_status gather_entry(archive *a, const ivl__pickle_tensor *t, const member *m,
                               ivl__tensor_entry *entry)
{
    IVL__TRY(count_made(a, entry->bytes));
    entry->owned = ivl__malloc(entry->bytes);
    if (!entry->owned) {
        return ivl__fail(a->error, IVL_OUT_OF_MEMORY, "out of memory for tensor \"%s\" (%zu bytes)",
                         t->name, entry->bytes);
    }
    gather(t, m->content, entry->elements, entry->owned);
    entry->data = entry->owned;
    entry->file = -1;
    return IVL_OK;
}

static ivl_status find_storage(archive *a, const ivl__pickle_tensor *t, member **out)
{
    member *m = find(a, "data/", t->key);

    if (!m) {
        return ivl__fail(a->error, IVL_BAD_MODEL, "storage \"%.100s\" has no member data/%.100s",
                         t->key, t->key);
    }
    /* Stored members may be longer; what is inflated is bounded by what the tensors say. */
    if (t->storage_bytes > m->bytes || (m->deflated && t->storage_bytes != m->bytes)) {
        return ivl__fail(a->error, IVL_BAD_MODEL,
                         "storage \"%s\": its elements need %llu bytes, the member has %llu",
                         t->key, (unsigned long long)t->storage_bytes,
                         (unsigned long long)m->bytes);
    }
    *out = m;
    return IVL_OK;
}

static ivl_status add_tensor(archive *a, ivl__pickle_tensor *t, ivl__tensor_add_fn *add, void *user)
{
    ivl__tensor_entry entry = {.name = t->name, .dtype = t->type->dtype, .rank = t->rank};
    bool contiguous = false;
    member *m = NULL;
    ivl_status status;

    IVL__TRY(find_storage(a, t, &m));
    IVL__TRY(check_view(a, t, &entry.elements, &contiguous));
    IVL__TRY(load(a, m));
    snprintf(entry.dtype_text, sizeof entry.dtype_text, "%s", t->type->name);
    memcpy(entry.shape, t->size, sizeof entry.shape);
    entry.bytes = (size_t)(entry.elements * t->type->bytes);
    if (contiguous) {
        size_t skip = entry.elements ? (size_t)t->offset * t->type->bytes : 0;

        entry.data = m->content + skip;
        entry.file = m->deflated ? -1 : 0;
        entry.file_offset = m->deflated ? 0 : m->file_offset + skip;
        entry.owned = m->owned;
    } else {
        IVL__TRY(gather_entry(a, t, m, &entry));
    }
    status = add(user, &entry, a->error);
    if (status == IVL_OK && contiguous) {
        m->owned = NULL;
    } else if (status != IVL_OK && !contiguous) {
        ivl__free(entry.owned);
    }
    return status;
}

/* ---- the file ---------------------------------------------------------------------------- */

static ivl_status check_form(archive *a)
{
    static const unsigned char legacy[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

    if (a->bytes >= sizeof legacy && memcmp(a->data, legacy, sizeof legacy) == 0) {
        return bad(a, "this is the legacy torch.save format (before torch 1.6); re-save it with a "
                      "current torch: torch.save(torch.load('old.bin', map_location='cpu'), "
                      "'new.bin')");
    }
    if (a->bytes > 262 && memcmp(a->data + 257, "ustar", 5) == 0) {
        return bad(a, "this is a tar file, the format of the earliest torch releases; re-save it "
                      "with a current torch");
    }
    if (a->bytes >= 8 && memcmp(a->data, "PYTORCH1", 8) == 0) {
        return bad(a, "this is a pre-release torch container; re-save it with a current torch");
    }
    if (a->bytes < 4 || memcmp(a->data, "PK\3\4", 4) != 0) {
        return bad(a, "this is no PyTorch zip checkpoint (it does not begin with PK)");
    }
    return IVL_OK;
}

/* Members that tell of archives that are something else. */
static ivl_status check_kind(archive *a)
{
    member *order = find(a, "", "byteorder");

    for (size_t i = 0; i < a->count; i++) {
        const member *m = &a->members[i];
        size_t rest = m->name_bytes - a->top_bytes;
        const unsigned char *name = m->name + a->top_bytes;

        if ((rest >= 5 && memcmp(name, "code/", 5) == 0) ||
            (rest == 13 && memcmp(name, "constants.pkl", 13) == 0)) {
            return bad(a, "this is a TorchScript archive (it holds code); re-save the state_dict "
                          "alone");
        }
    }
    if (order && order->bytes <= 16) {
        IVL__TRY(load(a, order));
        if (order->bytes != 6 || memcmp(order->content, "little", 6) != 0) {
            return ivl__fail(a->error, IVL_BAD_MODEL, "byte order \"%.*s\" is not supported",
                             (int)order->bytes, (const char *)order->content);
        }
    }
    return IVL_OK;
}

static ivl_status parse(archive *a, ivl__pickle *pickle, ivl__tensor_add_fn *add, void *user)
{
    member *pkl;

    IVL__TRY(check_form(a));
    IVL__TRY(read_directory(a));
    IVL__TRY(check_kind(a));
    pkl = find(a, "", "data.pkl");
    if (!pkl) {
        return bad(a, "no data.pkl in the archive: not a PyTorch checkpoint");
    }
    if (pkl->bytes > IVL__MAX_PICKLE_BYTES) {
        return bad_member(a, pkl, "is larger than 64 MiB");
    }
    IVL__TRY(load(a, pkl));
    IVL__TRY(ivl__pickle_parse(pkl->content, (size_t)pkl->bytes, pickle, a->error));
    for (size_t i = 0; i < pickle->count; i++) {
        IVL__TRY(add_tensor(a, &pickle->tensors[i], add, user));
    }
    return IVL_OK;
}

ivl_status ivl__torch_zip_parse(const unsigned char *data, size_t bytes, ivl__tensor_add_fn *add,
                                void *user, ivl_error *error)
{
    archive a = {.data = data, .bytes = bytes, .error = error};
    ivl__pickle pickle = {0};
    ivl_status status = parse(&a, &pickle, add, user);

    ivl__pickle_free(&pickle);
    for (size_t i = 0; i < a.count; i++) {
        ivl__free(a.members[i].owned);
    }
    ivl__free(a.members);
    return status;
}
