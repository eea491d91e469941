/* vit_stages.c - InternViT's weights as stages and vectors; see vit_stages.h. */
#include "model/vit_stages.h"

#include "runtime/memory.h"

/* Vectors begin on multiples of this, so that kernels may load them in wide words. */
#define VECTOR_ALIGN 64u

/* Most tiles of one stage: qkv in three parts, proj, fc1, fc2. */
#define STAGE_TILES 6

/* ---- matrices ---------------------------------------------------------------------------- */

static ivl_status add_matrix(ivl__vit_stages *s, int stage, const ivl__weight_ref *ref,
                             int32_t rows, int32_t cols, ivl__stage_matrix *matrix,
                             ivl_error *error)
{
    ivl__stage_source *source = &s->stages[stage];

    *matrix = (ivl__stage_matrix){.dtype = IVL_BF16,
                                  .rows = rows,
                                  .cols = cols,
                                  .first_tile = source->n_tiles,
                                  .n_tiles = ref ? ref->n_parts : 1};
    if (!ref) {
        source->tiles[source->n_tiles++] = (ivl__tile_source){
            .bytes = (uint64_t)rows * (uint64_t)cols * 2, .file = 0, .element_bytes = 2};
        return IVL_OK;
    }
    matrix->dtype = ref->parts[0]->dtype;
    for (int i = 0; i < ref->n_parts; i++) {
        const ivl__tensor_entry *part = ref->parts[i];

        if (part->dtype != matrix->dtype) {
            return ivl__fail(error, IVL_BAD_MODEL, "tensors '%s' and '%s' are stored in two types",
                             ref->parts[0]->name, part->name);
        }
        source->tiles[source->n_tiles++] = (ivl__tile_source){
            .data = part->data,
            .bytes = part->bytes,
            .file = part->file,
            .file_offset = part->file_offset,
            .element_bytes = (uint32_t)ivl__dtype_bytes(part->dtype)};
    }
    return IVL_OK;
}

static ivl_status add_matrices(ivl__vit_stages *s, const ivl__vit_weights *w, ivl_error *error)
{
    int32_t c = s->config.hidden;
    int32_t f = s->config.mlp;
    int32_t patch = s->config.channels * s->config.patch * s->config.patch;
    ivl_status status = add_matrix(s, 0, w ? &w->patch_w : NULL, c, patch, &s->patch, error);

    for (int i = 0; status == IVL_OK && i < s->config.layers; i++) {
        const ivl__vit_block_weights *b = w ? &w->blocks[i] : NULL;

        status = add_matrix(s, 1 + i, b ? &b->qkv_w : NULL, 3 * c, c, &s->blocks[i].qkv, error);
        if (status == IVL_OK) {
            status = add_matrix(s, 1 + i, b ? &b->proj_w : NULL, c, c, &s->blocks[i].proj, error);
        }
        if (status == IVL_OK) {
            status = add_matrix(s, 1 + i, b ? &b->fc1_w : NULL, f, c, &s->blocks[i].fc1, error);
        }
        if (status == IVL_OK) {
            status = add_matrix(s, 1 + i, b ? &b->fc2_w : NULL, c, f, &s->blocks[i].fc2, error);
        }
    }
    return status;
}

void ivl__stage_weight(const ivl__vit_stages *s, int stage, const ivl__stage_matrix *matrix,
                       const ivl__span *spans, ivl__weight *weight)
{
    uint64_t row_bytes = (uint64_t)matrix->cols * ivl__dtype_bytes(matrix->dtype);
    int32_t row = 0;

    weight->dtype = matrix->dtype;
    weight->rows = matrix->rows;
    weight->cols = matrix->cols;
    weight->n_tiles = matrix->n_tiles;
    for (int i = 0; i < matrix->n_tiles; i++) {
        int tile = matrix->first_tile + i;
        int32_t rows = (int32_t)(s->stages[stage].tiles[tile].bytes / row_bytes);

        weight->tiles[i] = (ivl__weight_tile){.data = spans[tile], .first_row = row, .rows = rows};
        row += rows;
    }
}

/* ---- vectors ----------------------------------------------------------------------------- */

/* Takes the next place for a role of n values. Without a checkpoint the configuration says whether
 * the role is there. */
static uint64_t place(ivl__vit_stages *s, bool present, uint64_t n)
{
    uint64_t at = s->vector_bytes;

    if (!present) {
        return IVL__ABSENT;
    }
    s->vector_bytes += (n * sizeof(float) + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
    return at;
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
    float *to = s->vectors + at / sizeof(float);

    for (int i = 0; at != IVL__ABSENT && i < ref->n_parts; i++) {
        const ivl__tensor_entry *part = ref->parts[i];

        for (uint64_t j = 0; j < part->elements; j++) {
            *to++ = ivl__dtype_load(part->dtype, part->data, (size_t)j);
        }
    }
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

static bool allocate(ivl__vit_stages *s)
{
    size_t layers = (size_t)s->config.layers;

    s->stages = ivl__calloc((size_t)s->n_stages, sizeof *s->stages);
    s->tiles = ivl__calloc((size_t)s->n_stages * STAGE_TILES, sizeof *s->tiles);
    s->blocks = ivl__calloc(layers, sizeof *s->blocks);
    s->block_vectors = ivl__calloc(layers, sizeof *s->block_vectors);
    if (!s->stages || !s->tiles || !s->blocks || !s->block_vectors) {
        return false;
    }
    for (int i = 0; i < s->n_stages; i++) {
        s->stages[i].tiles = s->tiles + (size_t)i * STAGE_TILES;
    }
    return true;
}

ivl_status ivl__vit_stages_make(const ivl__vit_config *config, const ivl__vit_weights *weights,
                                ivl__vit_stages **out, ivl_error *error)
{
    ivl__vit_stages *s = ivl__calloc(1, sizeof *s);
    ivl_status status = IVL_OK;

    if (!s) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    s->config = *config;
    s->grid = weights ? weights->grid : config->image / config->patch;
    s->n_stages = 1 + config->layers;
    if (!allocate(s)) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    if (status == IVL_OK) {
        status = add_matrices(s, weights, error);
    }
    if (status == IVL_OK) {
        place_vectors(s);
        s->vectors = weights ? ivl__calloc(1, s->vector_bytes) : NULL;
        if (weights && !s->vectors) {
            status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the model's vectors");
        }
    }
    if (status != IVL_OK) {
        ivl__vit_stages_free(s);
        return status;
    }
    if (weights) {
        widen_all(s, weights);
    }
    *out = s;
    return IVL_OK;
}

void ivl__vit_stages_free(ivl__vit_stages *s)
{
    if (!s) {
        return;
    }
    ivl__free(s->vectors);
    ivl__free(s->block_vectors);
    ivl__free(s->blocks);
    ivl__free(s->tiles);
    ivl__free(s->stages);
    ivl__free(s);
}
