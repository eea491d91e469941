/* shard.c - the pictures of one webdataset tar; see shard.h. */
#include "loader/shard.h"

#include "loader/image_source.h"
#include "loader/sidecar.h"
#include "loader/tar.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <string.h>
#include <strings.h>

/* A group that is larger is handed out in pieces; bytes count for pipes only. */
enum { MAX_GROUP = 256 };
#define MAX_GROUP_BYTES ((size_t)256 << 20)

typedef struct member {
    char *name;
    uint64_t offset, bytes;
    unsigned char *data; /* of sidecars, and of pictures that came through a pipe */
    bool picture, used;
    char *failure;
} member;

struct ivl__shard {
    char *name;
    ivl__shared_file *file; /* NULL: a pipe */
    int fd;
    uint64_t piped; /* bytes taken from the pipe */
    ivl__tar tar;

    member group[MAX_GROUP];
    size_t n_group, at;
    size_t group_bytes;
    member ahead; /* the first member of the group after this one; name NULL: none */
    char *damage; /* why reading stopped; reported once, after the group */
    bool finished;
    uint64_t other;
};

/* ---- bytes ------------------------------------------------------------------------------- */

static ivl_status read_file(void *user, uint64_t offset, void *data, size_t bytes, size_t *got,
                            ivl_error *error)
{
    const ivl__shard *shard = user;

    return ivl__shared_file_read(shard->file, offset, data, bytes, got, error);
}

/* Offsets only grow: what lies between is read and dropped. */
static ivl_status read_pipe(void *user, uint64_t offset, void *data, size_t bytes, size_t *got,
                            ivl_error *error)
{
    ivl__shard *shard = user;
    unsigned char waste[16384];
    ivl_status status;

    *got = 0;
    while (shard->piped < offset) {
        uint64_t rest = offset - shard->piped;
        size_t n;

        status = ivl__file_read_some(shard->fd, shard->name, waste,
                                     rest < sizeof waste ? (size_t)rest : sizeof waste, &n, error);
        if (status != IVL_OK || n == 0) {
            return status;
        }
        shard->piped += n;
    }
    while (*got < bytes) {
        size_t n;

        status = ivl__file_read_some(shard->fd, shard->name, (unsigned char *)data + *got,
                                     bytes - *got, &n, error);
        if (status != IVL_OK || n == 0) {
            return status;
        }
        *got += n;
        shard->piped += n;
    }
    return IVL_OK;
}

/* Grows as bytes arrive: a header's claim alone allocates nothing. */
static ivl_status read_data(ivl__shard *shard, member *m, ivl_error *error)
{
    unsigned char *data = NULL;
    size_t capacity = 0;
    size_t used = 0;
    ivl_status status = IVL_OK;

    while (status == IVL_OK && used < m->bytes) {
        uint64_t rest = m->bytes - used;
        size_t step = rest < ((size_t)1 << 20) ? (size_t)rest : (size_t)1 << 20;
        size_t got;

        if (!ivl__grow((void **)&data, &capacity, used + step, 1)) {
            status = ivl__fail(error, IVL_OUT_OF_MEMORY,
                               "cannot read '%s': no memory for %zu bytes", m->name, used + step);
            break;
        }
        status = shard->tar.read(shard, m->offset + used, data + used, step, &got, error);
        used += got;
        if (status == IVL_OK && got < step) {
            status = ivl__fail(error, IVL_BAD_INPUT, "tar is truncated inside '%s'", m->name);
        }
    }
    /* An empty picture still has to own a block: it cannot be fetched later. */
    if (status == IVL_OK && !data && !(data = ivl__malloc(1))) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    if (status != IVL_OK) {
        ivl__free(data);
        return status;
    }
    m->data = data;
    return IVL_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Bytes up to the first dot of the file name. */
static size_t base_length(const char *path)
{
    const char *name = file_name(path);

    return (size_t)(name - path) + strcspn(name, ".");
}

/* Bytes up to the last dot of the file name. */
static size_t stem_length(const char *path)
{
    const char *dot = strrchr(file_name(path), '.');

    return dot ? (size_t)(dot - path) : strlen(path);
}

static bool has_extension(const char *path, const char *extension)
{
    return strcasecmp(path + stem_length(path), extension) == 0;
}

static bool same_base(const char *a, const char *b)
{
    size_t n = base_length(a);

    return n == base_length(b) && memcmp(a, b, n) == 0;
}

/* ---- groups ------------------------------------------------------------------------------ */

static void free_member(member *m)
{
    ivl__free(m->name);
    ivl__free(m->data);
    ivl__free(m->failure);
    *m = (member){0};
}

static void clear_group(ivl__shard *shard)
{
    for (size_t i = 0; i < shard->n_group; i++) {
        shard->other += !shard->group[i].picture && !shard->group[i].used;
        free_member(&shard->group[i]);
    }
    shard->n_group = shard->at = shard->group_bytes = 0;
}

static ivl_status note(char **text, const char *why, ivl_error *error)
{
    *text = ivl__strdup(why);
    return *text ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* Reads what cannot wait: sidecars, and everything that comes through a pipe. */
static ivl_status fetch(ivl__shard *shard, member *m, bool truncated, ivl_error *error)
{
    uint64_t limit = m->picture ? IVL__ITEM_MAX_BYTES : IVL__SIDECAR_MAX_BYTES;
    ivl_error local = {0};
    ivl_status status = IVL_OK;

    if (truncated) {
        status = ivl__fail(&local, IVL_BAD_INPUT, "the tar is truncated: needs %llu bytes at %llu",
                           (unsigned long long)m->bytes, (unsigned long long)m->offset);
    } else if (m->bytes > limit) {
        status = ivl__fail(&local, IVL_BAD_INPUT, "%llu bytes, more than the limit of %llu",
                           (unsigned long long)m->bytes, (unsigned long long)limit);
    } else if (!m->picture || !shard->file) {
        status = read_data(shard, m, &local);
    }
    if (status == IVL_OUT_OF_MEMORY) {
        return ivl__fail(error, status, "%s", local.message);
    }
    return status == IVL_OK ? IVL_OK : note(&m->failure, local.message, error);
}

/* The next member that matters into shard->ahead; at the end, or behind damage, finished. */
static ivl_status look_ahead(ivl__shard *shard, ivl_error *error)
{
    ivl_error local = {0};
    ivl__tar_member found;
    bool truncated = false;
    bool end = false;
    ivl_status status;

    while (!shard->finished && !shard->ahead.name) {
        member *m = &shard->ahead;
        char *name;

        status = ivl__tar_next(&shard->tar, &found, &truncated, &end, &local);
        if (status == IVL_OUT_OF_MEMORY) {
            return ivl__fail(error, status, "%s", local.message);
        }
        if (status != IVL_OK || end) {
            shard->finished = true;
            return end && status == IVL_OK ? IVL_OK : note(&shard->damage, local.message, error);
        }
        name = found.name;
        while (strncmp(name, "./", 2) == 0) {
            memmove(name, name + 2, strlen(name + 2) + 1);
        }
        *m = (member){.name = name, .offset = found.offset, .bytes = found.bytes};
        m->picture = ivl__is_picture_name(name);
        shard->finished = truncated;
        if (!found.regular || file_name(name)[0] == '.' ||
            !(m->picture || has_extension(name, ".txt") || has_extension(name, ".json"))) {
            shard->other += found.regular;
            free_member(m);
            if (truncated) {
                return note(&shard->damage, "the tar is truncated", error);
            }
            continue;
        }
        status = fetch(shard, m, truncated, error);
        if (status != IVL_OK) {
            return status;
        }
        if (m->failure && (truncated || !shard->file) && !m->picture) {
            shard->finished = true;
            return note(&shard->damage, m->failure, error);
        }
    }
    return IVL_OK;
}

static ivl_status next_group(ivl__shard *shard, ivl_error *error)
{
    ivl_status status;

    clear_group(shard);
    for (;;) {
        member *m = &shard->ahead;

        status = look_ahead(shard, error);
        if (status != IVL_OK || !m->name) {
            return status;
        }
        if (shard->n_group &&
            (shard->n_group == MAX_GROUP || shard->group_bytes > MAX_GROUP_BYTES ||
             !same_base(shard->group[0].name, m->name))) {
            return IVL_OK;
        }
        shard->group_bytes += m->data ? (size_t)m->bytes : 0;
        shard->group[shard->n_group++] = *m;
        *m = (member){0};
    }
}

/* The sidecar with this extension: of the same stem, else the one that is named like the group. */
static member *find_sidecar(ivl__shard *shard, const char *picture, const char *extension)
{
    size_t stem = stem_length(picture);
    size_t base = base_length(picture);
    member *named = NULL;

    for (size_t i = 0; i < shard->n_group; i++) {
        member *m = &shard->group[i];
        size_t n;

        if (m->picture || m->failure || !has_extension(m->name, extension)) {
            continue;
        }
        n = stem_length(m->name);
        if (n == stem && memcmp(m->name, picture, n) == 0) {
            return m;
        }
        if (n == base && memcmp(m->name, picture, n) == 0) {
            named = m;
        }
    }
    return named;
}

static ivl_status add_sidecars(ivl__shard *shard, const member *m, ivl__item *item,
                               ivl_error *error)
{
    member *txt = find_sidecar(shard, m->name, ".txt");
    member *json = find_sidecar(shard, m->name, ".json");

    if (txt) {
        txt->used = true;
    }
    if (json) {
        json->used = true;
    }
    return ivl__sidecar_read(txt ? (const char *)txt->data : NULL, txt ? (size_t)txt->bytes : 0,
                             json ? (const char *)json->data : NULL, json ? (size_t)json->bytes : 0,
                             &item->caption, &item->fields, error);
}

static char *join_key(const char *name, const char *inside)
{
    size_t a = strlen(name);
    size_t b = strlen(inside);
    char *key = ivl__malloc(a + b + 2);

    if (key) {
        memcpy(key, name, a);
        key[a] = '/';
        memcpy(key + a + 1, inside, b + 1);
    }
    return key;
}

/* ---- interface --------------------------------------------------------------------------- */

ivl_status ivl__shard_open(const char *name, const char *path, int fd, ivl__shard **shard,
                           ivl_error *error)
{
    ivl__shard *s = ivl__calloc(1, sizeof *s);
    ivl_status status = IVL_OK;

    if (!s || !(s->name = ivl__strdup(name))) {
        ivl__free(s);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot open '%s': out of memory", name);
    }
    s->fd = fd;
    if (path) {
        status = ivl__shared_file_open(path, &s->file, error);
    }
    if (status != IVL_OK) {
        ivl__shard_free(s);
        return status;
    }
    ivl__tar_init(&s->tar, path ? read_file : read_pipe, s,
                  path ? ivl__shared_file_bytes(s->file) : UINT64_MAX);
    *shard = s;
    return IVL_OK;
}

static ivl_status damage_item(ivl__shard *shard, ivl__item *item, ivl_error *error)
{
    item->kind = IVL__ITEM_FAILED;
    item->error_text = shard->damage;
    shard->damage = NULL;
    item->key = ivl__strdup(shard->name);
    return item->key ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

static ivl_status picture_item(ivl__shard *shard, member *m, ivl__item *item, ivl_error *error)
{
    item->key = join_key(shard->name, m->name);
    if (!item->key) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    if (m->failure) {
        item->kind = IVL__ITEM_FAILED;
        item->error_text = m->failure;
        m->failure = NULL;
        return IVL_OK;
    }
    item->kind = IVL__ITEM_PICTURE;
    item->offset = m->offset;
    item->range = m->bytes;
    item->n_bytes = m->data ? (size_t)m->bytes : 0;
    item->bytes = m->data;
    m->data = NULL;
    item->file = ivl__shared_file_keep(shard->file);
    return add_sidecars(shard, m, item, error);
}

ivl_status ivl__shard_next(ivl__shard *shard, ivl__item *item, bool *end, ivl_error *error)
{
    ivl_status status = IVL_OK;
    ivl__item found = {0};

    for (;;) {
        while (shard->at < shard->n_group && !shard->group[shard->at].picture) {
            shard->at++;
        }
        if (shard->at < shard->n_group) {
            status = picture_item(shard, &shard->group[shard->at++], &found, error);
            break;
        }
        if (shard->ahead.name || !shard->finished) {
            status = next_group(shard, error);
            if (status != IVL_OK) {
                break;
            }
            continue;
        }
        clear_group(shard);
        if (!shard->damage) {
            *end = true;
            return IVL_OK;
        }
        status = damage_item(shard, &found, error);
        break;
    }
    if (status != IVL_OK) {
        ivl__item_free(&found);
        return status;
    }
    *item = found;
    *end = false;
    return IVL_OK;
}

uint64_t ivl__shard_other(const ivl__shard *shard)
{
    return shard->other;
}

void ivl__shard_free(ivl__shard *shard)
{
    if (!shard) {
        return;
    }
    clear_group(shard);
    free_member(&shard->ahead);
    ivl__free(shard->damage);
    ivl__free(shard->name);
    ivl__shared_file_release(shard->file);
    ivl__free(shard);
}
