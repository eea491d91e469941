/* stage_list.c - stages, tiles and vectors; see stage_list.h. */
#include "model/stage_list.h"

#include "runtime/memory.h"

#define VECTOR_ALIGN 64u

ivl_status ivl__stage_list_init(ivl__stage_list *list, int n_stages, ivl_error *error)
{
    *list = (ivl__stage_list){.n_stages = n_stages};
    list->stages = ivl__calloc((size_t)n_stages, sizeof *list->stages);
    list->tiles = ivl__calloc((size_t)n_stages * IVL__STAGE_TILES, sizeof *list->tiles);
    if (!list->stages || !list->tiles) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %d stages of a model",
                         n_stages);
    }
    for (int i = 0; i < n_stages; i++) {
        list->stages[i].tiles = list->tiles + (size_t)i * IVL__STAGE_TILES;
    }
    return IVL_OK;
}

void ivl__stage_list_free(ivl__stage_list *list)
{
    ivl__free(list->vectors);
    ivl__free(list->tiles);
    ivl__free(list->stages);
    *list = (ivl__stage_list){0};
}

/* ---- matrices ---------------------------------------------------------------------------- */

ivl_status ivl__stage_add(ivl__stage_list *list, int stage, const ivl__weight_ref *ref, int parts,
                          int32_t rows, int32_t cols, ivl__stage_matrix *matrix, ivl_error *error)
{
    ivl__stage_source *source = &list->stages[stage];
    int n = ref ? ref->n_parts : parts;

    *matrix = (ivl__stage_matrix){.dtype = ref ? ref->parts[0]->dtype : IVL_BF16,
                                  .rows = rows,
                                  .cols = cols,
                                  .first_tile = source->n_tiles,
                                  .n_tiles = n};
    if (source->n_tiles + n > IVL__STAGE_TILES) {
        return ivl__fail(error, IVL_INTERNAL, "stage %d has more than %d tiles", stage,
                         IVL__STAGE_TILES);
    }
    for (int i = 0; i < n; i++) {
        const ivl__tensor_entry *part = ref ? ref->parts[i] : NULL;

        source->tiles[source->n_tiles++] =
            part ? (ivl__tile_source){.data = part->data,
                                      .bytes = part->bytes,
                                      .file = part->file,
                                      .file_offset = part->file_offset,
                                      .element_bytes = (uint32_t)ivl__dtype_bytes(part->dtype)}
                 : (ivl__tile_source){.bytes = (uint64_t)rows * (uint64_t)cols * 2 / (uint64_t)n,
                                      .element_bytes = 2};
    }
    return IVL_OK;
}

void ivl__stage_weight(const ivl__stage_list *list, int stage, const ivl__stage_matrix *matrix,
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
        int32_t rows = (int32_t)(list->stages[stage].tiles[tile].bytes / row_bytes);

        weight->tiles[i] = (ivl__weight_tile){.data = spans[tile], .first_row = row, .rows = rows};
        row += rows;
    }
}

/* ---- vectors ----------------------------------------------------------------------------- */

uint64_t ivl__stage_place(ivl__stage_list *list, bool present, uint64_t n)
{
    uint64_t at = list->vector_bytes;

    if (!present) {
        return IVL__ABSENT;
    }
    list->vector_bytes += (n * sizeof(float) + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
    return at;
}

ivl_status ivl__stage_make_vectors(ivl__stage_list *list, ivl_error *error)
{
    list->vectors = ivl__calloc(1, list->vector_bytes);
    return list->vectors
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the model's vectors");
}

void ivl__stage_widen(ivl__stage_list *list, uint64_t at, const ivl__weight_ref *ref)
{
    float *to = list->vectors + at / sizeof(float);

    for (int i = 0; at != IVL__ABSENT && i < ref->n_parts; i++) {
        const ivl__tensor_entry *part = ref->parts[i];

        for (uint64_t j = 0; j < part->elements; j++) {
            *to++ = ivl__dtype_load(part->dtype, part->data, (size_t)j);
        }
    }
}
