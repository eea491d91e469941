/* residency.c - mapped, resident and streamed weights; see residency.h. */
#include "runtime/residency.h"

#include "runtime/memory.h"
#include "runtime/profile.h"

#include <stdlib.h>
#include <string.h>

#define PAGE       4096u
#define TILE_ALIGN 256u
#define NO_STAGE   (-1)

typedef struct stage_state {
    cl_mem buffer;     /* of a resident stage, or of the copied tiles of a mapped one */
    ivl__span *places; /* [n_tiles]; fixed for mapped and resident stages */
    uint64_t bytes;    /* as stored */
    uint64_t passes;
} stage_state;

typedef struct slot_state {
    cl_mem buffer;
    int stage;         /* whose tiles it holds or is being given, NO_STAGE */
    cl_event uploaded; /* of the last tile, NULL when waited for */
    cl_event free_at;  /* the last kernel that reads it, NULL when none */
} slot_state;

/* Views of a file: pages first .. last of the map, as one buffer each. */
typedef struct view {
    int file;
    uint64_t begin, end;
    cl_mem buffer;
} view;

struct ivl__residency {
    ivl__device *device;
    ivl__plan plan;
    const ivl__stage_source *stages;
    int n_stages;
    const ivl__map *maps;
    int n_maps;
    stage_state *states;
    slot_state slots[IVL__STREAM_SLOTS];
    int next_slot;
    view *views;
    size_t n_views, views_capacity;
    ivl__residency_counts counts;
};

static uint64_t align_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static bool mappable(const ivl__tile_source *tile)
{
    return tile->file >= 0 && tile->file_offset % tile->element_bytes == 0;
}

uint64_t ivl__stage_copied_bytes(const ivl__stage_source *stage)
{
    uint64_t bytes = 0;

    for (int i = 0; i < stage->n_tiles; i++) {
        bytes += align_up(stage->tiles[i].bytes, TILE_ALIGN);
    }
    return bytes;
}

uint64_t ivl__stage_unmappable_bytes(const ivl__stage_source *stage)
{
    uint64_t bytes = 0;

    for (int i = 0; i < stage->n_tiles; i++) {
        if (!mappable(&stage->tiles[i])) {
            bytes += align_up(stage->tiles[i].bytes, TILE_ALIGN);
        }
    }
    return bytes;
}

void ivl__stage_stored_bytes(const ivl__stage_source *stage, uint64_t *stored, uint64_t *in_place)
{
    for (int i = 0; i < stage->n_tiles; i++) {
        *stored += stage->tiles[i].bytes;
        *in_place += mappable(&stage->tiles[i]) ? stage->tiles[i].bytes : 0;
    }
}

/* ---- resident ---------------------------------------------------------------------------- */

/* Copies the tiles of a stage, or those that cannot be mapped, into one buffer of their own. */
static ivl_status copy_tiles(ivl__residency *r, int stage, bool only_unmappable, ivl_error *error)
{
    const ivl__stage_source *source = &r->stages[stage];
    stage_state *state = &r->states[stage];
    uint64_t bytes = only_unmappable ? ivl__stage_unmappable_bytes(source)
                                     : ivl__stage_copied_bytes(source);
    ivl__cl *cl = &r->device->cl;
    uint64_t at = 0;
    ivl_status status;

    if (!bytes) {
        return IVL_OK;
    }
    status = ivl__cl_buffer(cl, CL_MEM_READ_ONLY, bytes, "weights", &state->buffer, error);
    for (int i = 0; status == IVL_OK && i < source->n_tiles; i++) {
        const ivl__tile_source *tile = &source->tiles[i];

        if (only_unmappable && mappable(tile)) {
            continue;
        }
        status = ivl__cl_write(cl, cl->compute, state->buffer, at, tile->data, tile->bytes, 0, NULL,
                               NULL, error);
        state->places[i] = (ivl__span){state->buffer, at};
        at += align_up(tile->bytes, TILE_ALIGN);
    }
    return status;
}

/* ---- mapped ------------------------------------------------------------------------------ */

static int compare_tiles(const void *a, const void *b)
{
    const ivl__tile_source *const *x = a;
    const ivl__tile_source *const *y = b;

    if ((*x)->file != (*y)->file) {
        return (*x)->file < (*y)->file ? -1 : 1;
    }
    return (*x)->file_offset < (*y)->file_offset ? -1 : (*x)->file_offset > (*y)->file_offset;
}

static ivl_status add_view(ivl__residency *r, const ivl__tile_source *tile, ivl_error *error)
{
    if (!ivl__grow((void **)&r->views, &r->views_capacity, r->n_views + 1, sizeof *r->views)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the views of the model");
    }
    r->views[r->n_views++] = (view){.file = tile->file,
                                    .begin = tile->file_offset / PAGE * PAGE,
                                    .end = tile->file_offset + tile->bytes};
    return IVL_OK;
}

/* Neighbouring tiles share a view as long as it stays below the device's largest buffer: few
 * buffers, whatever the number of tensors. Views may overlap in a page. */
static ivl_status make_views(ivl__residency *r, const ivl__tile_source **tiles, size_t n,
                             ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (size_t i = 0; status == IVL_OK && i < n; i++) {
        view *last = r->n_views ? &r->views[r->n_views - 1] : NULL;
        uint64_t end = tiles[i]->file_offset + tiles[i]->bytes;

        if (last && last->file == tiles[i]->file &&
            end - last->begin <= r->device->caps.max_alloc) {
            last->end = end > last->end ? end : last->end;
        } else {
            status = add_view(r, tiles[i], error);
        }
    }
    for (size_t i = 0; status == IVL_OK && i < r->n_views; i++) {
        view *v = &r->views[i];
        uint64_t bytes = v->end - v->begin;

        /* Whole pages, which the map has: drivers copy views that end inside a cache line. */
        bytes = align_up(bytes, PAGE) <= r->device->caps.max_alloc ? align_up(bytes, PAGE) : bytes;
        status = ivl__cl_buffer_view(&r->device->cl, r->maps[v->file].data + v->begin,
                                     (size_t)bytes, "mapped weights", &v->buffer, error);
        r->counts.mapped_bytes += v->end - v->begin;
    }
    return status;
}

static ivl__span place_in_views(const ivl__residency *r, const ivl__tile_source *tile)
{
    for (size_t i = 0; i < r->n_views; i++) {
        const view *v = &r->views[i];

        if (v->file == tile->file && v->begin <= tile->file_offset &&
            tile->file_offset + tile->bytes <= v->end) {
            return (ivl__span){v->buffer, tile->file_offset - v->begin};
        }
    }
    return (ivl__span){NULL, 0};
}

static ivl_status open_mapped(ivl__residency *r, ivl_error *error)
{
    const ivl__tile_source **tiles;
    ivl_status status;
    size_t n = 0;

    for (int s = 0; s < r->n_stages; s++) {
        n += (size_t)r->stages[s].n_tiles;
    }
    tiles = ivl__calloc(n, sizeof(*tiles));
    if (!tiles) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the views of the model");
    }
    n = 0;
    for (int s = 0; s < r->n_stages; s++) {
        for (int i = 0; i < r->stages[s].n_tiles; i++) {
            if (mappable(&r->stages[s].tiles[i])) {
                tiles[n++] = &r->stages[s].tiles[i];
            }
        }
    }
    qsort(tiles, n, sizeof(*tiles), compare_tiles);
    status = make_views(r, tiles, n, error);
    ivl__free(tiles);
    for (int s = 0; status == IVL_OK && s < r->n_stages; s++) {
        for (int i = 0; i < r->stages[s].n_tiles; i++) {
            if (mappable(&r->stages[s].tiles[i])) {
                r->states[s].places[i] = place_in_views(r, &r->stages[s].tiles[i]);
            }
        }
        status = copy_tiles(r, s, true, error);
    }
    return status;
}

/* ---- streamed ---------------------------------------------------------------------------- */

static slot_state *slot_of(ivl__residency *r, int stage)
{
    for (int i = 0; i < IVL__STREAM_SLOTS; i++) {
        if (r->slots[i].stage == stage) {
            return &r->slots[i];
        }
    }
    return NULL;
}

static void drop_event(ivl__residency *r, cl_event *event)
{
    if (*event) {
        ivl__cl_event_free(&r->device->cl, *event);
        *event = NULL;
    }
}

/* The slot whose turn it is, unless the stage `keep` lies there. */
static slot_state *take_slot(ivl__residency *r, int keep)
{
    int slot = r->next_slot;

    if (keep != NO_STAGE && r->slots[slot].stage == keep) {
        slot = (slot + 1) % IVL__STREAM_SLOTS;
    }
    r->next_slot = (slot + 1) % IVL__STREAM_SLOTS;
    return &r->slots[slot];
}

/* Begins the upload of a stage into a slot that does not hold `keep`, behind the kernels that still
 * read what lies there. */
static ivl_status begin_upload(ivl__residency *r, int stage, int keep, ivl_error *error)
{
    const ivl__stage_source *source = &r->stages[stage];
    slot_state *slot = take_slot(r, keep);
    ivl__cl *cl = &r->device->cl;
    const char *computing = r->device->stage;
    ivl_status status = IVL_OK;
    uint64_t at = 0;

    ivl__device_stage(r->device, "weights");
    slot->stage = NO_STAGE;
    drop_event(r, &slot->uploaded);
    for (int i = 0; status == IVL_OK && i < source->n_tiles; i++) {
        const ivl__tile_source *tile = &source->tiles[i];
        cl_uint n_wait = i == 0 && slot->free_at ? 1 : 0;

        drop_event(r, &slot->uploaded);
        status = ivl__cl_write(cl, cl->upload, slot->buffer, at, tile->data, tile->bytes, n_wait,
                               n_wait ? &slot->free_at : NULL, &slot->uploaded, error);
        if (status == IVL_OK) {
            status = ivl__profile_note(r->device, IVL__QUEUE_UPLOAD, "tile", slot->uploaded, error);
        }
        at += align_up(tile->bytes, TILE_ALIGN);
        r->counts.bytes_streamed += status == IVL_OK ? tile->bytes : 0;
    }
    ivl__device_stage(r->device, computing);
    if (status == IVL_OK) {
        status = ivl__cl_flush(cl, cl->upload, error);
    }
    if (status == IVL_OK) {
        slot->stage = stage;
    }
    return status;
}

static ivl_status acquire_streamed(ivl__residency *r, int stage, int next, ivl__span *spans,
                                   ivl_error *error)
{
    slot_state *slot = slot_of(r, stage);
    uint64_t at = 0;
    ivl_status status = IVL_OK;

    if (!slot) {
        status = begin_upload(r, stage, next, error);
        slot = slot_of(r, stage);
    }
    if (status == IVL_OK && slot->uploaded) {
        status = ivl__cl_barrier(&r->device->cl, r->device->cl.compute, slot->uploaded, error);
    }
    for (int i = 0; status == IVL_OK && i < r->stages[stage].n_tiles; i++) {
        spans[i] = (ivl__span){slot->buffer, at};
        at += align_up(r->stages[stage].tiles[i].bytes, TILE_ALIGN);
    }
    return status;
}

static bool streams(const ivl__residency *r, int stage)
{
    return r->plan.residency == IVL__STREAM && stage >= r->plan.resident_stages;
}

/* ---- the interface ----------------------------------------------------------------------- */

static ivl_status open_stages(ivl__residency *r, ivl_error *error)
{
    ivl_status status = IVL_OK;

    for (int s = 0; s < r->n_stages; s++) {
        r->states[s].places = ivl__calloc((size_t)r->stages[s].n_tiles, sizeof(ivl__span));
        if (!r->states[s].places) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the places of weights");
        }
        for (int i = 0; i < r->stages[s].n_tiles; i++) {
            r->states[s].bytes += r->stages[s].tiles[i].bytes;
        }
    }
    if (r->plan.residency == IVL__MAPPED) {
        return open_mapped(r, error);
    }
    for (int s = 0; status == IVL_OK && s < r->plan.resident_stages; s++) {
        status = copy_tiles(r, s, false, error);
    }
    for (int i = 0; status == IVL_OK && r->plan.residency == IVL__STREAM && i < IVL__STREAM_SLOTS;
         i++) {
        status = ivl__cl_buffer(&r->device->cl, CL_MEM_READ_ONLY, r->plan.slot_bytes, "slot",
                                &r->slots[i].buffer, error);
        if (status == IVL_OK) {
            status = ivl__cl_buffer_touch(&r->device->cl, r->slots[i].buffer, r->plan.slot_bytes,
                                          "slot", error);
        }
    }
    return status;
}

ivl_status ivl__residency_open(ivl__device *device, const ivl__plan *plan,
                               const ivl__stage_source *stages, int n_stages, const ivl__map *maps,
                               int n_maps, ivl__residency **out, ivl_error *error)
{
    ivl__residency *r = ivl__calloc(1, sizeof *r);
    ivl_status status;

    if (!r) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the residency");
    }
    r->device = device;
    r->plan = *plan;
    r->stages = stages;
    r->n_stages = n_stages;
    r->maps = maps;
    r->n_maps = n_maps;
    for (int i = 0; i < IVL__STREAM_SLOTS; i++) {
        r->slots[i].stage = NO_STAGE;
    }
    r->states = ivl__calloc((size_t)n_stages, sizeof *r->states);
    status = r->states ? open_stages(r, error)
                       : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the residency");
    if (status != IVL_OK) {
        ivl__residency_close(r);
        return status;
    }
    *out = r;
    return IVL_OK;
}

void ivl__residency_close(ivl__residency *r)
{
    if (!r) {
        return;
    }
    ivl__residency_settle(r);
    for (int i = 0; i < IVL__STREAM_SLOTS; i++) {
        drop_event(r, &r->slots[i].uploaded);
        drop_event(r, &r->slots[i].free_at);
        ivl__cl_buffer_free(&r->device->cl, r->slots[i].buffer);
    }
    for (int s = 0; r->states && s < r->n_stages; s++) {
        ivl__cl_buffer_free(&r->device->cl, r->states[s].buffer);
        ivl__free(r->states[s].places);
    }
    for (size_t i = 0; i < r->n_views; i++) {
        ivl__cl_buffer_free(&r->device->cl, r->views[i].buffer);
    }
    ivl__free(r->views);
    ivl__free(r->states);
    ivl__free(r);
}

bool ivl__residency_serves(const ivl__residency *r, const ivl__plan *plan)
{
    return r->plan.residency == plan->residency &&
           r->plan.resident_stages == plan->resident_stages &&
           r->plan.slot_bytes == plan->slot_bytes;
}

ivl_status ivl__residency_acquire(ivl__residency *r, int stage, int next, ivl__span *spans,
                                  ivl_error *error)
{
    stage_state *state = &r->states[stage];
    ivl_status status = IVL_OK;

    if (streams(r, stage)) {
        status = acquire_streamed(r, stage, next, spans, error);
    } else {
        memcpy(spans, state->places, (size_t)r->stages[stage].n_tiles * sizeof *spans);
    }
    if (status == IVL_OK && next >= 0 && streams(r, next) && !slot_of(r, next)) {
        status = begin_upload(r, next, stage, error);
    }
    if (status == IVL_OK) {
        r->counts.weight_bytes_read += state->bytes;
        state->passes++;
        r->counts.passes = state->passes > r->counts.passes ? state->passes : r->counts.passes;
    }
    return status;
}

ivl_status ivl__residency_release(ivl__residency *r, int stage, ivl_error *error)
{
    slot_state *slot = streams(r, stage) ? slot_of(r, stage) : NULL;

    if (!slot) {
        return IVL_OK;
    }
    /* Every use is an upload: what is counted depends on no earlier run. */
    slot->stage = NO_STAGE;
    drop_event(r, &slot->free_at);
    return ivl__cl_marker(&r->device->cl, r->device->cl.compute, &slot->free_at, error);
}

void ivl__residency_settle(ivl__residency *r)
{
    if (r->plan.residency != IVL__STREAM) {
        return;
    }
    (void)ivl__cl_finish(&r->device->cl, r->device->cl.upload, NULL);
    for (int i = 0; i < IVL__STREAM_SLOTS; i++) {
        r->slots[i].stage = NO_STAGE;
    }
}

void ivl__residency_get_counts(const ivl__residency *r, ivl__residency_counts *counts)
{
    *counts = r->counts;
}
