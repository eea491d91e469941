/* model_weights.c - mapping a whole checkpoint, and its identity; see model_weights.h. */
#include "model/model_weights.h"

#include "runtime/hash.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- mapping ----------------------------------------------------------------------------- */

static ivl_status account_rest(const ivl__weight_map *map, ivl__model_weights *weights,
                               ivl_error *error)
{
    const char *spaces[4 + IVL__MAX_UNUSED] = {NULL};

    memcpy(spaces, weights->vit->spaces, sizeof weights->vit->spaces);
    if (weights->clip) {
        memcpy(spaces + 4, weights->clip->spaces, sizeof weights->clip->spaces);
    }
    return ivl__weight_map_rest(map, spaces, 4 + IVL__MAX_UNUSED, &weights->unused, error);
}

static ivl_status map_parts(ivl__weight_map *map, const ivl__model_config *config,
                            ivl__model_weights *weights, ivl_error *error)
{
    IVL__TRY(ivl__vit_weights_take(map, &config->vit, &weights->vit, error));
    if (config->architecture == IVL__ARCH_14B || config->architecture == IVL__ARCH_C_13B) {
        IVL__TRY(ivl__clip_weights_take(map, config, &weights->clip, error));
    }
    return account_rest(map, weights, error);
}

ivl_status ivl__model_weights_map(const ivl__tensor_table *table, const ivl__model_config *config,
                                  ivl__model_weights **out, ivl_error *error)
{
    ivl__weight_map map;
    ivl__model_weights *weights;
    ivl_status status = ivl__weight_map_open(table, &map, error);

    if (status != IVL_OK) {
        return status;
    }
    weights = ivl__calloc(1, sizeof *weights);
    status = weights ? map_parts(&map, config, weights, error)
                     : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the weights");
    ivl__weight_map_close(&map);
    if (status != IVL_OK) {
        ivl__model_weights_free(weights);
        return status;
    }
    *out = weights;
    return IVL_OK;
}

void ivl__model_weights_free(ivl__model_weights *weights)
{
    if (weights) {
        ivl__vit_weights_free(weights->vit);
        ivl__clip_weights_free(weights->clip);
        ivl__free(weights);
    }
}

ivl_status ivl__model_weights_visit(const ivl__model_config *config,
                                    const ivl__model_weights *weights, ivl__weight_visit_fn *visit,
                                    void *user, ivl_error *error)
{
    IVL__TRY(ivl__vit_weights_visit(weights->vit, visit, user, error));
    return weights->clip ? ivl__clip_weights_visit(config, weights->clip, visit, user, error)
                         : IVL_OK;
}

/* ---- model id ---------------------------------------------------------------------------- */

#define SAMPLE 4096u

typedef struct hashing {
    ivl__sha256 sha;
    bool full;
} hashing;

/* Bytes [from, from + n) of the parts laid end to end. */
static void hash_range(ivl__sha256 *sha, const ivl__weight_ref *ref, uint64_t from, uint64_t n)
{
    for (int i = 0; i < ref->n_parts && n; i++) {
        uint64_t bytes = ref->parts[i]->bytes;

        if (from < bytes) {
            uint64_t take = bytes - from < n ? bytes - from : n;

            ivl__sha256_add(sha, ref->parts[i]->data + from, (size_t)take);
            n -= take;
            from = 0;
        } else {
            from -= bytes;
        }
    }
}

static void hash_role(hashing *h, const char *name, const ivl__weight_ref *ref)
{
    const ivl__tensor_entry *first = ref->parts[0];
    uint64_t bytes = 0, rows = 0;
    char text[160];
    int skip = 0, n;

    for (int i = 0; i < ref->n_parts; i++) {
        bytes += ref->parts[i]->bytes;
    }
    /* Leading ones are a matter of the scheme; split rows count together. */
    while (skip < first->rank - 1 && first->shape[skip] == 1) {
        skip++;
    }
    rows = first->rank ? first->shape[skip] * (uint64_t)ref->n_parts : 1;
    n = snprintf(text, sizeof text, "%s %s %llu", name, ivl__dtype_name(first->dtype),
                 (unsigned long long)rows);
    ivl__sha256_add(&h->sha, text, (size_t)n);
    for (int i = skip + 1; i < first->rank; i++) {
        n = snprintf(text, sizeof text, " %llu", (unsigned long long)first->shape[i]);
        ivl__sha256_add(&h->sha, text, (size_t)n);
    }
    ivl__sha256_add(&h->sha, "\n", 1);
    if (h->full || bytes <= 3 * SAMPLE) {
        hash_range(&h->sha, ref, 0, bytes);
        return;
    }
    hash_range(&h->sha, ref, 0, SAMPLE);
    hash_range(&h->sha, ref, bytes / 2 - SAMPLE / 2, SAMPLE);
    hash_range(&h->sha, ref, bytes - SAMPLE, SAMPLE);
}

/* Every role by its name, to be sorted. */
typedef struct role_list {
    struct named_role {
        char name[96];
        ivl__weight_ref ref;
    } * items;
    size_t n, capacity;
} role_list;

static ivl_status collect_role(void *user, const char *name, const ivl__weight_ref *ref,
                               ivl_error *error)
{
    role_list *list = user;

    if (!ivl__grow((void **)&list->items, &list->capacity, list->n + 1, sizeof *list->items)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the list of tensors");
    }
    snprintf(list->items[list->n].name, sizeof list->items[list->n].name, "%s", name);
    list->items[list->n++].ref = *ref;
    return IVL_OK;
}

static int compare_roles(const void *a, const void *b)
{
    return strcmp(((const struct named_role *)a)->name, ((const struct named_role *)b)->name);
}

static void hash_geometry(hashing *h, const ivl__model_config *config, bool clip)
{
    const ivl__vit_config *vit = &config->vit;
    const ivl__llama_config *llama = &config->qllama;
    char text[256];
    int n = snprintf(text, sizeof text,
                     "internvl 1 %s\nhidden %d layers %d heads %d mlp %d patch %d image %d "
                     "channels %d qkv_bias %d qk_norm %d layer_norm %d eps %.17g\n",
                     h->full ? "full" : "samples", (int)vit->hidden, (int)vit->layers,
                     (int)vit->heads, (int)vit->mlp, (int)vit->patch, (int)vit->image,
                     (int)vit->channels, vit->qkv_bias, vit->qk_norm, vit->layer_norm, vit->eps);

    ivl__sha256_add(&h->sha, text, (size_t)n);
    if (clip) {
        n = snprintf(
            text, sizeof text,
            "text hidden %d layers %d heads %d kv_heads %d mlp %d vocab %d eps %.17g theta "
            "%.17g embed %d pool_heads %d queries %d cross %d\n",
            (int)llama->hidden, (int)llama->layers, (int)llama->heads, (int)llama->kv_heads,
            (int)llama->mlp, (int)llama->vocab, llama->eps, llama->rope_theta,
            (int)config->clip_embed_dim, (int)config->attn_pool_heads,
            config->architecture == IVL__ARCH_14B ? (int)config->query_tokens : 0,
            config->architecture == IVL__ARCH_14B ? (int)config->cross_attention_frequency : 0);
        ivl__sha256_add(&h->sha, text, (size_t)n);
    }
}

ivl_status ivl__model_id(const ivl__model_config *config, const ivl__model_weights *weights,
                         bool full, char hex[65], ivl_error *error)
{
    hashing h = {.full = full};
    role_list list = {0};
    ivl_status status = ivl__model_weights_visit(config, weights, collect_role, &list, error);

    if (status == IVL_OK) {
        qsort(list.items, list.n, sizeof *list.items, compare_roles);
        ivl__sha256_init(&h.sha);
        hash_geometry(&h, config, weights->clip != NULL);
        for (size_t i = 0; i < list.n; i++) {
            hash_role(&h, list.items[i].name, &list.items[i].ref);
        }
        ivl__sha256_hex(&h.sha, hex);
    }
    ivl__free(list.items);
    return status;
}
