/* weight_map.c - taking tensors, and accounting for those nobody takes; see weight_map.h. */
#include "model/weight_map.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

/* Parts of published checkpoints, whether they run or not. A longer name goes before its beginning.
 */
static const char *const known_parts[] = {
    "qllama.lm_head.",
    "qllama.",
    "clip_projector.",
    "clip_projector2.",
    "query_tokens",
    "text_projection",
    "logit_scale",
    "itm_head.",
    "language_model.",
    "mlp1.",
    "transformer.",
    "lm_head.",
    "multi_modal_projector.",
    "model.multi_modal_projector.",
    "model.language_model.",
    "model.mm_projector.",
    "model.layers.",
    "model.embed_tokens.",
    "model.norm.",
    "attn_pooling.",
    "norm.",
    "head.",
};
static const char *const ignored_ends[] = {"rotary_emb.inv_freq", "num_batches_tracked"};
_Static_assert(sizeof known_parts / sizeof *known_parts + 1 <= IVL__MAX_UNUSED, "room for all");

ivl_status ivl__weight_map_open(const ivl__tensor_table *table, ivl__weight_map *map,
                                ivl_error *error)
{
    *map = (ivl__weight_map){.table = table};
    map->used = ivl__calloc(table->count, sizeof *map->used);
    return map->used
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu tensors", table->count);
}

void ivl__weight_map_close(ivl__weight_map *map)
{
    ivl__free(map->used);
    *map = (ivl__weight_map){0};
}

/* ---- taking ------------------------------------------------------------------------------ */

static void write_shape(char text[128], const uint64_t *shape, int rank)
{
    size_t used = 0;

    text[0] = 0;
    for (int i = 0; i < rank && used < 100; i++) {
        used += (size_t)snprintf(text + used, 128 - used, shape[i] ? "%s%llu" : "%sn",
                                 i ? " x " : "", (unsigned long long)shape[i]);
    }
    if (rank == 0) {
        snprintf(text, 128, "of a single number");
    }
}

static ivl_status check_shape(const ivl__tensor_entry *entry, const uint64_t *want, int rank,
                              ivl_error *error)
{
    const uint64_t *have = entry->shape;
    int have_rank = entry->rank;
    char texts[2][128];
    bool same;

    for (; have_rank > rank && have[0] == 1; have_rank--) {
        have++;
    }
    same = have_rank == rank;
    for (int i = 0; same && i < rank; i++) {
        same = have[i] == want[i] || (want[i] == 0 && have[i] > 1);
    }
    if (same) {
        return IVL_OK;
    }
    write_shape(texts[0], entry->shape, entry->rank);
    write_shape(texts[1], want, rank);
    return ivl__fail(error, IVL_BAD_MODEL,
                     "tensor \"%.200s\" has shape %s, the configuration needs %s", entry->name,
                     texts[0], texts[1]);
}

static ivl_status check_type(const ivl__tensor_entry *entry, const ivl__weight_ref *ref,
                             ivl_error *error)
{
    if (entry->dtype != IVL_F32 && entry->dtype != IVL_F16 && entry->dtype != IVL_BF16) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensor \"%.200s\" is stored as %s; only bf16, fp16 and fp32 can be run",
                         entry->name, entry->dtype_text);
    }
    if (ref->n_parts && entry->dtype != ref->parts[0]->dtype) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tensors \"%.200s\" and \"%.200s\" are stored in two types",
                         ref->parts[0]->name, entry->name);
    }
    return IVL_OK;
}

ivl_status ivl__weight_take(ivl__weight_map *map, const char *name, const uint64_t *shape, int rank,
                            ivl__weight_ref *ref, ivl_error *error)
{
    const ivl__tensor_entry *entry = ivl__tensor_table_find(map->table, name);

    if (!entry) {
        return ivl__fail(error, IVL_BAD_MODEL, "tensor \"%s\" is missing", name);
    }
    while (rank && shape[0] == 1 && entry->rank < rank) {
        shape++;
        rank--;
    }
    IVL__TRY(check_shape(entry, shape, rank, error));
    IVL__TRY(check_type(entry, ref, error));
    map->used[entry - map->table->entries] = true;
    ref->parts[ref->n_parts++] = entry;
    return IVL_OK;
}

/* ---- what is left ------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

/* part: a prefix with its dot, or a whole name. */
static bool is_of(const char *name, const char *part)
{
    size_t n = strlen(part);

    return strncmp(name, part, n) == 0 && (part[n - 1] == '.' || !name[n]);
}

static bool is_buffer(const char *name)
{
    for (size_t i = 0; i < sizeof ignored_ends / sizeof ignored_ends[0]; i++) {
        if (ends_with(name, ignored_ends[i])) {
            return true;
        }
    }
    return false;
}

static const char *known_part(const char *name)
{
    for (size_t i = 0; i < sizeof known_parts / sizeof known_parts[0]; i++) {
        if (is_of(name, known_parts[i])) {
            return known_parts[i];
        }
    }
    return NULL;
}

static void count_unused(ivl__unused_list *unused, const char *part, uint64_t bytes)
{
    int i = 0;

    while (i < unused->n && strcmp(unused->items[i].prefix, part) != 0) {
        i++;
    }
    if (i == unused->n) {
        unused->items[unused->n++] = (ivl__unused_tensors){.prefix = part};
    }
    unused->items[i].tensors++;
    unused->items[i].bytes += bytes;
}

ivl_status ivl__weight_map_rest(const ivl__weight_map *map, const char *const *spaces, int n_spaces,
                                ivl__unused_list *unused, ivl_error *error)
{
    for (size_t i = 0; i < map->table->count; i++) {
        const ivl__tensor_entry *entry = &map->table->entries[i];
        const char *part = is_buffer(entry->name) ? "buffers" : NULL;

        if (map->used[i]) {
            continue;
        }
        for (int s = 0; !part && s < n_spaces; s++) {
            if (spaces[s] && is_of(entry->name, spaces[s])) {
                return ivl__fail(error, IVL_BAD_MODEL,
                                 "tensor \"%.200s\" is unexpected: a model of this configuration "
                                 "has none of that name",
                                 entry->name);
            }
        }
        part = part ? part : known_part(entry->name);
        if (!part) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" belongs to no known part of an InternVL checkpoint",
                             entry->name);
        }
        count_unused(unused, part, entry->bytes);
    }
    return IVL_OK;
}
