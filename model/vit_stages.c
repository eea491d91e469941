/* vit_stages.c - InternViT's weights as stages and vectors; see vit_stages.h. */
#include "model/vit_stages.h"

#include "runtime/memory.h"

/* ---- matrices ---------------------------------------------------------------------------- */

static ivl_status add_matrices(ivl__vit_stages *s, const ivl__vit_weights *w, ivl_error *error)
{
    int32_t c = s->config.hidden;
    int32_t f = s->config.mlp;
    int32_t patch = s->config.channels * s->config.patch * s->config.patch;
    ivl_status status = ivl__stage_add(&s->list, 0, w ? &w->patch_w : NULL, 1, c, patch, &s->patch,
                                       error);

    for (int i = 0; status == IVL_OK && i < s->config.layers; i++) {
        const ivl__vit_block_weights *b = w ? &w->blocks[i] : NULL;

        status = ivl__stage_add(&s->list, 1 + i, b ? &b->qkv_w : NULL, 1, 3 * c, c,
                                &s->blocks[i].qkv, error);
        if (status == IVL_OK) {
            status = ivl__stage_add(&s->list, 1 + i, b ? &b->proj_w : NULL, 1, c, c,
                                    &s->blocks[i].proj, error);
        }
        if (status == IVL_OK) {
            status = ivl__stage_add(&s->list, 1 + i, b ? &b->fc1_w : NULL, 1, f, c,
                                    &s->blocks[i].fc1, error);
        }
        if (status == IVL_OK) {
            status = ivl__stage_add(&s->list, 1 + i, b ? &b->fc2_w : NULL, 1, c, f,
                                    &s->blocks[i].fc2, error);
        }
    }
    return status;
}

/* ---- vectors ----------------------------------------------------------------------------- */

static uint64_t place(ivl__vit_stages *s, bool present, uint64_t n)
{
    return ivl__stage_place(&s->list, present, n);
}

static void place_vectors(ivl__vit_stages *s)
{
    const ivl__vit_config *config = &s->config;
    uint64_t c = (uint64_t)config->hidden;
    uint64_t rows = 1 + (uint64_t)s->grid * (uint64_t)s->grid;

    s->class_embedding = place(s, true, c);
    s->position = place(s, true, rows * c);
    s->patch_b = place(s, true, c);
    for (int i = 0; i < config->layers; i++) {
        s->block_vectors[i] = (ivl__vit_block_vectors){
            .norm1_w = place(s, true, c),
            .norm1_b = place(s, config->layer_norm, c),
            .qkv_b = place(s, config->qkv_bias, 3 * c),
            .q_norm = place(s, config->qk_norm, c),
            .k_norm = place(s, config->qk_norm, c),
            .proj_b = place(s, true, c),
            .ls1 = place(s, true, c),
            .norm2_w = place(s, true, c),
            .norm2_b = place(s, config->layer_norm, c),
            .fc1_b = place(s, true, (uint64_t)config->mlp),
            .fc2_b = place(s, true, c),
            .ls2 = place(s, true, c),
        };
    }
}

static void widen(ivl__vit_stages *s, uint64_t at, const ivl__weight_ref *ref)
{
    ivl__stage_widen(&s->list, at, ref);
}

static void widen_all(ivl__vit_stages *s, const ivl__vit_weights *w)
{
    widen(s, s->class_embedding, &w->class_embedding);
    widen(s, s->position, &w->position);
    widen(s, s->patch_b, &w->patch_b);
    for (int i = 0; i < s->config.layers; i++) {
        const ivl__vit_block_vectors *v = &s->block_vectors[i];
        const ivl__vit_block_weights *b = &w->blocks[i];

        widen(s, v->norm1_w, &b->norm1_w);
        widen(s, v->norm1_b, &b->norm1_b);
        widen(s, v->qkv_b, &b->qkv_b);
        widen(s, v->q_norm, &b->q_norm);
        widen(s, v->k_norm, &b->k_norm);
        widen(s, v->proj_b, &b->proj_b);
        widen(s, v->ls1, &b->ls1);
        widen(s, v->norm2_w, &b->norm2_w);
        widen(s, v->norm2_b, &b->norm2_b);
        widen(s, v->fc1_b, &b->fc1_b);
        widen(s, v->fc2_b, &b->fc2_b);
        widen(s, v->ls2, &b->ls2);
    }
}

/* ---- make and free ----------------------------------------------------------------------- */

static ivl_status fill(ivl__vit_stages *s, const ivl__vit_weights *weights, ivl_error *error)
{
    const size_t layers = (size_t)s->config.layers;

    IVL__TRY(ivl__stage_list_init(&s->list, 1 + s->config.layers, error));
    s->blocks = ivl__calloc(layers, sizeof *s->blocks);
    s->block_vectors = ivl__calloc(layers, sizeof *s->block_vectors);
    if (!s->blocks || !s->block_vectors) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    IVL__TRY(add_matrices(s, weights, error));
    place_vectors(s);
    if (weights) {
        IVL__TRY(ivl__stage_make_vectors(&s->list, error));
        widen_all(s, weights);
    }
    return IVL_OK;
}

ivl_status ivl__vit_stages_make(const ivl__vit_config *config, const ivl__vit_weights *weights,
                                ivl__vit_stages **out, ivl_error *error)
{
    ivl__vit_stages *s = ivl__calloc(1, sizeof *s);
    ivl_status status;

    if (!s) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    s->config = *config;
    s->grid = weights ? weights->grid : config->image / config->patch;
    status = fill(s, weights, error);
    if (status != IVL_OK) {
        ivl__vit_stages_free(s);
        return status;
    }
    *out = s;
    return IVL_OK;
}

void ivl__vit_stages_free(ivl__vit_stages *s)
{
    if (!s) {
        return;
    }
    ivl__stage_list_free(&s->list);
    ivl__free(s->block_vectors);
    ivl__free(s->blocks);
    ivl__free(s);
}
