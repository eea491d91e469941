/* folder_walk.c - the picture files below a folder; see folder_walk.h. */
#include "loader/folder_walk.h"

#include "loader/image_source.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

/* One folder on the way down. Names lie one behind the other in `text`, each after a byte that
 * holds its ivl__entry_kind. */
typedef struct level {
    char *path;
    char *text;
    size_t text_used, text_capacity;
    size_t *names; /* offsets of the kind bytes while listing, sorted afterwards */
    size_t n_names, names_capacity, at;
} level;

typedef struct folder_id {
    uint64_t device, inode;
} folder_id;

struct ivl__folder_walk {
    level *levels;
    size_t depth, levels_capacity;
    folder_id *visited; /* open addressing; inode 0 with device 0 is an empty slot */
    size_t n_visited, visited_slots;
    char *root; /* not yet entered */
    uint64_t other;
    bool out_of_memory;
};

/* ---- visited folders --------------------------------------------------------------------- */

static size_t slot_of(const folder_id *table, size_t slots, folder_id id)
{
    size_t at = (size_t)((id.inode ^ id.device << 32) * 0x9e3779b97f4a7c15u) & (slots - 1);

    while ((table[at].inode || table[at].device) &&
           (table[at].inode != id.inode || table[at].device != id.device)) {
        at = (at + 1) & (slots - 1);
    }
    return at;
}

static bool grow_visited(ivl__folder_walk *walk)
{
    size_t slots = walk->visited_slots ? walk->visited_slots * 2 : 64;
    folder_id *table = ivl__calloc(slots, sizeof *table);

    if (!table) {
        return false;
    }
    for (size_t i = 0; i < walk->visited_slots; i++) {
        folder_id id = walk->visited[i];

        if (id.inode || id.device) {
            table[slot_of(table, slots, id)] = id;
        }
    }
    ivl__free(walk->visited);
    walk->visited = table;
    walk->visited_slots = slots;
    return true;
}

/* *first: this folder had not been seen yet. */
static bool visit(ivl__folder_walk *walk, folder_id id, bool *first)
{
    size_t at;

    if ((walk->n_visited + 1) * 2 > walk->visited_slots && !grow_visited(walk)) {
        return false;
    }
    at = slot_of(walk->visited, walk->visited_slots, id);
    *first = walk->visited[at].inode == 0 && walk->visited[at].device == 0;
    if (*first) {
        walk->visited[at] = id;
        walk->n_visited++;
    }
    return true;
}

/* ---- one folder -------------------------------------------------------------------------- */

static void free_level(level *l)
{
    ivl__free(l->path);
    ivl__free(l->text);
    ivl__free(l->names);
    *l = (level){0};
}

static bool add_name(void *user, const char *name, ivl__entry_kind kind)
{
    ivl__folder_walk *walk = user;
    level *l = &walk->levels[walk->depth - 1];
    size_t bytes = strlen(name) + 2;

    if (kind == IVL__ENTRY_OTHER || (kind == IVL__ENTRY_FILE && !ivl__is_picture_name(name))) {
        walk->other++;
        return true;
    }
    if (!ivl__grow((void **)&l->text, &l->text_capacity, l->text_used + bytes, 1) ||
        !ivl__grow((void **)&l->names, &l->names_capacity, l->n_names + 1, sizeof *l->names)) {
        walk->out_of_memory = true;
        return false;
    }
    l->text[l->text_used] = (char)kind;
    memcpy(l->text + l->text_used + 1, name, bytes - 1);
    l->names[l->n_names++] = l->text_used;
    l->text_used += bytes;
    return true;
}

/* Heap sort: qsort has no argument for the text, and this one is immune to hostile orders. */
static bool less(const level *l, size_t a, size_t b)
{
    return strcmp(l->text + l->names[a] + 1, l->text + l->names[b] + 1) < 0;
}

static void swap_names(level *l, size_t a, size_t b)
{
    size_t t = l->names[a];

    l->names[a] = l->names[b];
    l->names[b] = t;
}

static void sift_down(level *l, size_t at, size_t n)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= n) {
            return;
        }
        if (child + 1 < n && less(l, child, child + 1)) {
            child++;
        }
        if (!less(l, at, child)) {
            return;
        }
        swap_names(l, at, child);
        at = child;
    }
}

static void sort_names(level *l)
{
    for (size_t i = l->n_names / 2; i-- > 0;) {
        sift_down(l, i, l->n_names);
    }
    for (size_t n = l->n_names; n > 1; n--) {
        swap_names(l, 0, n - 1);
        sift_down(l, 0, n - 1);
    }
}

/* Takes path over. *why: set when the folder cannot be listed. */
static ivl_status enter(ivl__folder_walk *walk, char *path, char **why, ivl_error *error)
{
    ivl__file_identity identity;
    ivl_error local = {0};
    bool first = true;
    ivl_status status;

    if (ivl__file_identity_of(path, &identity, &local) == IVL_OK &&
        !visit(walk, (folder_id){identity.device, identity.inode}, &first)) {
        goto out_of_memory;
    }
    if (!first) {
        ivl__free(path);
        return IVL_OK;
    }
    if (!ivl__grow((void **)&walk->levels, &walk->levels_capacity, walk->depth + 1,
                   sizeof *walk->levels)) {
        goto out_of_memory;
    }
    walk->levels[walk->depth++] = (level){.path = path};
    status = ivl__folder_list(path, add_name, walk, &local);
    if (walk->out_of_memory) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot list '%s': out of memory", path);
    }
    if (status != IVL_OK && !(*why = ivl__strdup(local.message))) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot list '%s': out of memory", path);
    }
    sort_names(&walk->levels[walk->depth - 1]);
    return IVL_OK;

out_of_memory:
    ivl__free(path);
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot walk a folder: out of memory");
}

/* ---- interface --------------------------------------------------------------------------- */

ivl_status ivl__folder_walk_open(const char *folder, ivl__folder_walk **walk, ivl_error *error)
{
    ivl__folder_walk *w = ivl__calloc(1, sizeof *w);

    if (!w || !(w->root = ivl__strdup(folder))) {
        ivl__free(w);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot walk '%s': out of memory", folder);
    }
    for (size_t n = strlen(w->root); n > 1 && w->root[n - 1] == '/'; n--) {
        w->root[n - 1] = '\0';
    }
    *walk = w;
    return IVL_OK;
}

/* What an entry is in the end: links are followed; a broken one counts as the file it names. */
static ivl__entry_kind resolve(const char *path, ivl__entry_kind kind)
{
    if (kind != IVL__ENTRY_UNKNOWN) {
        return kind;
    }
    switch (ivl__file_kind_of(path)) {
    case IVL__FILE_FOLDER: return IVL__ENTRY_FOLDER;
    case IVL__FILE_OTHER: return IVL__ENTRY_OTHER;
    case IVL__FILE_REGULAR:
    case IVL__FILE_MISSING: break;
    }
    return IVL__ENTRY_FILE;
}

ivl_status ivl__folder_walk_next(ivl__folder_walk *walk, char **path, char **unreadable,
                                 ivl_error *error)
{
    char *root = walk->root;

    *path = NULL;
    *unreadable = NULL;
    for (;;) {
        level *l;
        const char *name;
        ivl__entry_kind kind;
        char *joined;
        ivl_status status;

        if (root || walk->depth == 0) {
            if (!root) {
                return IVL_OK;
            }
            joined = root;
            kind = IVL__ENTRY_FOLDER;
            root = walk->root = NULL;
        } else {
            l = &walk->levels[walk->depth - 1];
            if (l->at == l->n_names) {
                free_level(l);
                walk->depth--;
                continue;
            }
            name = l->text + l->names[l->at++];
            joined = ivl__path_join(l->path, name + 1);
            if (!joined) {
                return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot walk a folder: out of memory");
            }
            kind = resolve(joined, (ivl__entry_kind)name[0]);
        }
        if (kind == IVL__ENTRY_FOLDER) {
            char *why = NULL;

            status = enter(walk, joined, &why, error);
            if (status != IVL_OK) {
                return status;
            }
            if (why) {
                *path = ivl__strdup(walk->levels[walk->depth - 1].path);
                *unreadable = why;
                if (!*path) {
                    ivl__free(why);
                    *unreadable = NULL;
                    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
                }
                return IVL_OK;
            }
            continue;
        }
        if (kind == IVL__ENTRY_FILE && ivl__is_picture_name(joined)) {
            *path = joined;
            return IVL_OK;
        }
        walk->other++;
        ivl__free(joined);
    }
}

uint64_t ivl__folder_walk_other(const ivl__folder_walk *walk)
{
    return walk->other;
}

void ivl__folder_walk_free(ivl__folder_walk *walk)
{
    if (!walk) {
        return;
    }
    for (size_t i = 0; i < walk->depth; i++) {
        free_level(&walk->levels[i]);
    }
    ivl__free(walk->levels);
    ivl__free(walk->visited);
    ivl__free(walk->root);
    ivl__free(walk);
}
