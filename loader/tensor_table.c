/* tensor_table.c - one view over all checkpoints; see tensor_table.h.
 *
 * Finds the files of a model, lets the reader of each format list its tensors, and sorts them.
 * Invariant: every entry lies inside its map or inside a block of the table.
 */
#include "loader/tensor_table.h"

#include "loader/safetensors.h"
#include "loader/torch_zip.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INDEX_BYTES (16u << 20)
#define MAX_FILES       4096

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the table of tensors");
}

/* ---- one file ---------------------------------------------------------------------------- */

typedef struct adding {
    ivl__tensor_table *table;
    int file;
} adding;

static ivl_status add_entry(void *user, const ivl__tensor_entry *entry, ivl_error *error)
{
    const adding *to = user;
    ivl__tensor_table *t = to->table;
    char *name;

    if (!ivl__grow((void **)&t->entries, &t->capacity, t->count + 1, sizeof *t->entries) ||
        !ivl__grow((void **)&t->blocks, &t->blocks_capacity, t->n_blocks + 1, sizeof *t->blocks) ||
        !(name = ivl__strdup(entry->name))) {
        return no_memory(error);
    }
    t->entries[t->count] = *entry;
    t->entries[t->count].name = name;
    t->entries[t->count].file = entry->file < 0 ? -1 : to->file;
    t->count++;
    if (entry->owned) {
        t->blocks[t->n_blocks++] = entry->owned;
    }
    return IVL_OK;
}

/* What people have in place of a checkpoint more often than a damaged one. */
static ivl_status check_mistakes(const char *path, const ivl__map *map, ivl_error *error)
{
    static const char lfs[] = "version https://git-lfs";
    bool zip = map->bytes >= 4 && memcmp(map->data, "PK\3\4", 4) == 0;

    if (map->bytes == 0) {
        return ivl__fail(error, IVL_BAD_MODEL, "the file is empty (0 bytes)");
    }
    if (map->bytes >= sizeof lfs - 1 && memcmp(map->data, lfs, sizeof lfs - 1) == 0) {
        return ivl__fail(
            error, IVL_BAD_MODEL,
            "this is a Git LFS pointer, the real file was not downloaded; run `git lfs "
            "pull` in its folder");
    }
    if (map->bytes >= 5 &&
        (memcmp(map->data, "<!DOC", 5) == 0 || memcmp(map->data, "<html", 5) == 0)) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "this is an HTML page, not a checkpoint; download the file itself");
    }
    if (zip && ends_with(path, ".safetensors")) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "this is a zip file, not safetensors; rename a "
                         "PyTorch checkpoint to .bin or .pth");
    }
    return IVL_OK;
}

static ivl_status parse_file(ivl__tensor_table *t, int file, ivl_error *error)
{
    const ivl__map *map = &t->maps[file];
    const char *path = t->file_paths[file];
    adding to = {t, file};

    IVL__TRY(check_mistakes(path, map, error));
    if (ends_with(path, ".safetensors")) {
        return ivl__safetensors_parse(map->data, map->bytes, add_entry, &to, error);
    }
    return ivl__torch_zip_parse(map->data, map->bytes, add_entry, &to, error);
}

static ivl_status open_file(ivl__tensor_table *t, const char *path, ivl_error *error)
{
    char *copy;
    ivl_status status;

    if (t->n_files == MAX_FILES ||
        !ivl__grow((void **)&t->file_paths, &t->files_capacity, (size_t)t->n_files + 1,
                   sizeof *t->file_paths) ||
        !ivl__grow((void **)&t->maps, &t->maps_capacity, (size_t)t->n_files + 1, sizeof *t->maps) ||
        !(copy = ivl__strdup(path))) {
        return no_memory(error);
    }
    status = ivl__map_open(path, &t->maps[t->n_files], error);
    if (status != IVL_OK) {
        ivl__free(copy);
        return status;
    }
    t->file_paths[t->n_files++] = copy;
    status = parse_file(t, t->n_files - 1, error);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "'%s'", path);
}

/* ---- shards ------------------------------------------------------------------------------ */

static ivl_status check_shard_name(const char *shard, ivl_error *error)
{
    if (!*shard) {
        return ivl__fail(error, IVL_BAD_MODEL, "shard file name is empty");
    }
    if (*shard == '/') {
        return ivl__fail(error, IVL_BAD_MODEL, "shard file name \"%.200s\" is absolute", shard);
    }
    if (strchr(shard, '/') || strchr(shard, '\\') || strstr(shard, "..")) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "shard file name \"%.200s\" contains a slash, a backslash or \"..\"",
                         shard);
    }
    return IVL_OK;
}

/* The index of the open file of that name, -1. */
static int find_file(const ivl__tensor_table *t, const char *folder, const char *shard)
{
    size_t skip = strlen(folder) + (ends_with(folder, "/") ? 0 : 1);

    for (int i = 0; i < t->n_files; i++) {
        if (strlen(t->file_paths[i]) > skip && strcmp(t->file_paths[i] + skip, shard) == 0) {
            return i;
        }
    }
    return -1;
}

static ivl_status open_shard(ivl__tensor_table *t, const char *folder, const char *shard,
                             ivl_error *error)
{
    char *path = ivl__path_join(folder, shard);
    ivl_status status;

    if (!path) {
        return no_memory(error);
    }
    if (ivl__file_kind_of(path) == IVL__FILE_MISSING) {
        status = ivl__fail(error, IVL_BAD_MODEL,
                           "shard %s does not exist (is the download "
                           "complete?)",
                           shard);
    } else {
        status = open_file(t, path, error);
    }
    ivl__free(path);
    return status;
}

static ivl_status open_weight_map(ivl__tensor_table *t, const char *folder, const json_t *map,
                                  ivl_error *error)
{
    const char *name;
    json_t *value;

    if (!json_is_object(map)) {
        return ivl__fail(error, IVL_BAD_MODEL, "no weight_map");
    }
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const char *shard = json_string_value(value);

        if (!shard) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "weight_map value of \"%.200s\" must be a string", name);
        }
        IVL__TRY(check_shard_name(shard, error));
        if (find_file(t, folder, shard) < 0) {
            IVL__TRY(open_shard(t, folder, shard, error));
        }
    }
    return IVL_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const ivl__tensor_entry *)a)->name, ((const ivl__tensor_entry *)b)->name);
}

static ivl_status sort_entries(ivl__tensor_table *t, ivl_error *error)
{
    if (t->count) {
        qsort(t->entries, t->count, sizeof *t->entries, compare_names);
    }
    for (size_t i = 1; i < t->count; i++) {
        if (strcmp(t->entries[i - 1].name, t->entries[i].name) == 0) {
            return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%.200s\" is in the checkpoint twice",
                             t->entries[i].name);
        }
    }
    return IVL_OK;
}

/* Every tensor of the map must be in the shard that the map names. */
static ivl_status check_weight_map(const ivl__tensor_table *t, const char *folder,
                                   const json_t *map, ivl_error *error)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const char *shard = json_string_value(value);
        const ivl__tensor_entry *entry = ivl__tensor_table_find(t, name);
        int file = find_file(t, folder, shard);

        if (!entry || (entry->file >= 0 && entry->file != file)) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" is not in shard %s, where the "
                             "index has it",
                             name, shard);
        }
    }
    return IVL_OK;
}

static ivl_status open_index(ivl__tensor_table *t, const char *folder, const char *path,
                             ivl_error *error)
{
    unsigned char *text;
    size_t bytes;
    json_error_t detail;
    json_t *index;
    ivl_status status = ivl__file_read(path, MAX_INDEX_BYTES, &text, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    index = json_loadb((char *)text, bytes, JSON_REJECT_DUPLICATES, &detail);
    ivl__free(text);
    if (!json_is_object(index)) {
        json_decref(index);
        return ivl__fail(error, IVL_BAD_MODEL, "'%s': not a JSON object: %s", path, detail.text);
    }
    status = open_weight_map(t, folder, json_object_get(index, "weight_map"), error);
    if (status == IVL_OK) {
        status = sort_entries(t, error);
    }
    if (status == IVL_OK) {
        status = check_weight_map(t, folder, json_object_get(index, "weight_map"), error);
    }
    json_decref(index);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "'%s'", path);
}

/* ---- folders ----------------------------------------------------------------------------- */

typedef struct search {
    const char *ending, *preferred;
    char name[256]; /* of the last match, or the preferred one */
    int matches;
} search;

static bool match_file(void *user, const char *name, ivl__entry_kind kind)
{
    search *s = user;
    bool preferred = strcmp(name, s->preferred) == 0;

    if (kind == IVL__ENTRY_FOLDER || strlen(name) >= sizeof s->name ||
        (!preferred && !ends_with(name, s->ending))) {
        return true;
    }
    snprintf(s->name, sizeof s->name, "%s", name);
    s->matches = preferred ? 1 : s->matches + 1;
    return !preferred;
}

/* The one file of the folder with that ending; the preferred name wins over all others. */
static ivl_status find_single(const char *folder, const char *ending, const char *preferred,
                              char **found, ivl_error *error)
{
    search s = {.ending = ending, .preferred = preferred};

    *found = NULL;
    IVL__TRY(ivl__folder_list(folder, match_file, &s, error));
    if (s.matches > 1) {
        return ivl__fail(
            error, IVL_BAD_MODEL,
            "folder '%s' has %d *%s files and no index; the download is incomplete, or "
            "name the file itself",
            folder, s.matches, ending);
    }
    if (s.matches == 1) {
        *found = ivl__path_join(folder, s.name);
        return *found ? IVL_OK : no_memory(error);
    }
    return IVL_OK;
}

static ivl_status open_folder(ivl__tensor_table *t, ivl_error *error)
{
    static const struct {
        const char *index, *ending, *single;
    } forms[] = {
        {"model.safetensors.index.json", ".safetensors", "model.safetensors"},
        {"pytorch_model.bin.index.json", ".bin", "pytorch_model.bin"},
        {NULL, ".pth", "pytorch_model.pth"},
    };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char *path = NULL;
        ivl_status status;

        if (forms[i].index) {
            path = ivl__path_join(t->folder, forms[i].index);
            if (!path) {
                return no_memory(error);
            }
            if (ivl__file_kind_of(path) == IVL__FILE_REGULAR) {
                status = open_index(t, t->folder, path, error);
                ivl__free(path);
                return status;
            }
            ivl__free(path);
        }
        IVL__TRY(find_single(t->folder, forms[i].ending, forms[i].single, &path, error));
        if (path) {
            status = open_file(t, path, error);
            ivl__free(path);
            return status == IVL_OK ? sort_entries(t, error) : status;
        }
    }
    return ivl__fail(error, IVL_BAD_MODEL,
                     "folder '%s' has no checkpoint (*.safetensors, *.bin or *.pth)", t->folder);
}

/* ---- the interface ----------------------------------------------------------------------- */

static ivl_status open_path(ivl__tensor_table *t, ivl_error *error)
{
    ivl__file_kind kind = ivl__file_kind_of(t->path);

    if (kind == IVL__FILE_MISSING) {
        return ivl__fail(error, IVL_BAD_MODEL, "there is no model at '%s'", t->path);
    }
    t->folder = kind == IVL__FILE_FOLDER ? ivl__strdup(t->path) : ivl__path_folder(t->path);
    if (!t->folder) {
        return no_memory(error);
    }
    if (kind == IVL__FILE_FOLDER) {
        return open_folder(t, error);
    }
    if (ends_with(t->path, ".index.json")) {
        return open_index(t, t->folder, t->path, error);
    }
    IVL__TRY(open_file(t, t->path, error));
    return sort_entries(t, error);
}

ivl_status ivl__tensor_table_open(const char *path, ivl__tensor_table **out, ivl_error *error)
{
    ivl__tensor_table *t = ivl__calloc(1, sizeof *t);
    ivl_status status;

    if (!t || !(t->path = ivl__strdup(path))) {
        ivl__free(t);
        return no_memory(error);
    }
    status = open_path(t, error);
    if (status != IVL_OK) {
        ivl__tensor_table_free(t);
        return status;
    }
    *out = t;
    return IVL_OK;
}

void ivl__tensor_table_free(ivl__tensor_table *t)
{
    if (!t) {
        return;
    }
    for (size_t i = 0; i < t->count; i++) {
        ivl__free(t->entries[i].name);
    }
    for (size_t i = 0; i < t->n_blocks; i++) {
        ivl__free(t->blocks[i]);
    }
    for (int i = 0; i < t->n_files; i++) {
        ivl__free(t->file_paths[i]);
        ivl__map_close(&t->maps[i]);
    }
    ivl__free(t->entries);
    ivl__free(t->blocks);
    ivl__free(t->file_paths);
    ivl__free(t->maps);
    ivl__free(t->folder);
    ivl__free(t->path);
    ivl__free(t);
}

const ivl__tensor_entry *ivl__tensor_table_find(const ivl__tensor_table *t, const char *name)
{
    const ivl__tensor_entry key = {.name = (char *)(uintptr_t)name};

    return t->count ? bsearch(&key, t->entries, t->count, sizeof *t->entries, compare_names) : NULL;
}

ivl_status ivl__tensor_table_check_unchanged(const ivl__tensor_table *t, ivl_error *error)
{
    for (int i = 0; i < t->n_files; i++) {
        if (!ivl__map_unchanged(&t->maps[i])) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "'%s' was changed while it was in use; start again with a file that "
                             "stays as it is",
                             t->file_paths[i]);
        }
    }
    return IVL_OK;
}
