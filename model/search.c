/* search.c - the best rows of many for each query: products in chunks, best scores kept on the
 * device; see internvl.h.
 *
 * A pass takes some queries through all chunks of rows. A chunk is read in place (a view of the
 * caller's memory) or uploaded to one of two slots while the other is computed with. Its scores are
 * one product, with the rows as weights; then the lists of best scores are brought up to date.
 * Neither product nor lists depend on how rows and queries are cut up.
 */
#include "model/search.h"

#include "model/internvl.h"
#include "model/session.h"
#include "runtime/gemm.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/ops.h"
#include "runtime/profile.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 2
#define PAGE  ((uintptr_t)IVL__VIEW_ALIGN)

/* A chunk is large enough for its launches not to count. On CPUs its scores stay in a cache until
 * the best are taken from them: chunks of 128 MiB of scores were a twentieth slower. */
#define CHUNK_BYTES     ((uint64_t)64 << 20)
#define SCORE_BYTES     ((uint64_t)128 << 20)
#define CPU_SCORE_BYTES ((uint64_t)16 << 20)
#define CHUNK_STEP      256 /* rows; whole tiles of every backend, evenly shared out */
#define MOST_CHUNK      ((uint64_t)1 << 19) /* rows; fewer than a part of topk may have */
#define MOST_QUERIES    1024                /* of a pass */
#define MOST_PARTS      64
#define MOST_KEYS       ((uint64_t)1 << 20) /* of one query's parts */
#define MOST_SEARCHES   64

typedef struct chunk_slot {
    cl_mem rows;   /* a buffer of its own, or a view of the chunk it holds */
    cl_event done; /* nothing reads it any more; NULL: nothing did */
} chunk_slot;

struct ivl_search {
    ivl_session_options options; /* callbacks and wishes; no string is kept */
    ivl_vectors vectors;
    ivl_dtype type;
    uint64_t row_bytes, budget;
    ivl__device *device;
    ivl__gemm gemm;
    bool gemm_open;
    bool mapped; /* chunks are read in place */
    atomic_bool bad;

    /* A run. */
    int queries, k, parts;  /* of a pass */
    uint64_t chunk;         /* rows */
    cl_mem x, scores, best; /* [queries, dim] f32; [queries, chunk] f32; [queries, parts, k] u64 */
    uint64_t *keys;         /* [parts * k] of one query, on the host */
    chunk_slot slots[SLOTS];
    uint64_t chunks_done, chunks_total;
};

/* ---- SIGBUS ------------------------------------------------------------------------------ */

static _Atomic(ivl_search *) open_searches[MOST_SEARCHES];

static ivl_status register_search(ivl_search *s, ivl_error *error)
{
    for (int i = 0; i < MOST_SEARCHES; i++) {
        ivl_search *none = NULL;

        if (atomic_compare_exchange_strong(&open_searches[i], &none, s)) {
            return IVL_OK;
        }
    }
    return ivl__fail(error, IVL_UNSUPPORTED, "%d searches are open already", MOST_SEARCHES);
}

static void unregister_search(ivl_search *s)
{
    for (int i = 0; i < MOST_SEARCHES; i++) {
        ivl_search *it = s;

        atomic_compare_exchange_strong(&open_searches[i], &it, NULL);
    }
}

bool ivl__search_patch(void *addr)
{
    for (int i = 0; i < MOST_SEARCHES; i++) {
        ivl_search *s = atomic_load(&open_searches[i]);
        const uintptr_t begin = s ? (uintptr_t)s->vectors.data / PAGE * PAGE : 0;
        const uintptr_t end = s ? (uintptr_t)s->vectors.data + s->vectors.rows * s->row_bytes : 0;

        if ((uintptr_t)addr >= begin && (uintptr_t)addr < (end + PAGE - 1) / PAGE * PAGE) {
            atomic_store(&s->bad, true);
            return ivl__map_patch(addr);
        }
    }
    return false;
}

/* ---- open -------------------------------------------------------------------------------- */

static ivl_status take_vectors(ivl_search *s, const ivl_vectors *v, ivl_error *error)
{
    const bool half = v->dtype && strcmp(v->dtype, "fp16") == 0;

    if (v->size != sizeof *v || !v->data || v->rows < 1 || v->rows > IVL__TOPK_MAX_ROWS ||
        v->dim < 1 || v->dim > 65536 || !v->dtype || (!half && strcmp(v->dtype, "fp32") != 0)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "vectors to search: %llu rows of %d values of type %s; 1 to 2^32 - 1 rows "
                         "of 1 to 65536 fp32 or fp16 values",
                         (unsigned long long)v->rows, v->dim, v->dtype ? v->dtype : "(none)");
    }
    s->vectors = *v;
    s->type = half ? IVL_F16 : IVL_F32;
    s->row_bytes = (uint64_t)v->dim * ivl__dtype_bytes(s->type);
    if ((uintptr_t)v->data % ivl__dtype_bytes(s->type)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "vectors to search are misaligned");
    }
    return IVL_OK;
}

static ivl_status open_device(ivl_search *s, ivl_error *error)
{
    const ivl_session_options *o = &s->options;
    const ivl__device_options options = {.cache_dir = o->cache_dir, .kernel_dir = o->kernel_dir};
    ivl__device_info info;
    bool given;

    if (o->precision == IVL_PRECISION_FAST) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "a search computes its scores in fp32; pass --precision exact");
    }
    IVL__TRY(ivl__session_pick_device(o, &info, error));
    IVL__TRY(ivl__device_open(&info, &options, &s->device, error));
    if (!s->device->caps.topk) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "%s (driver %s) fails the self-test of the best scores (topk); choose "
                         "another --device",
                         s->device->info.name, s->device->info.driver);
    }
    IVL__TRY(ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error));
    s->gemm_open = true;
    IVL__TRY(ivl__find_budget(s->device, o, &s->budget, &given, error));
    s->device->cl.ledger.budget = s->budget;
    s->mapped = s->device->caps.unified && o->residency != IVL_RESIDENCY_STREAM &&
                o->residency != IVL_RESIDENCY_RESIDENT;
    if (!s->mapped && o->residency == IVL_RESIDENCY_MAPPED) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "%s cannot read the index in place; pass --residency stream",
                         s->device->info.name);
    }
    return IVL_OK;
}

ivl_status ivl_search_open(const ivl_session_options *options, const ivl_vectors *vectors,
                           ivl_search **search, ivl_error *error)
{
    ivl_search *s = ivl__calloc(1, sizeof *s);
    ivl_status status;

    if (!s) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a search");
    }
    ivl_session_options_init(&s->options);
    if (options) {
        memcpy(&s->options, options,
               options->size < sizeof *options ? options->size : sizeof *options);
    }
    status = take_vectors(s, vectors, error);
    if (status == IVL_OK) {
        status = register_search(s, error);
    }
    if (status == IVL_OK) {
        status = open_device(s, error);
    }
    if (status != IVL_OK) {
        ivl_search_free(s);
        return status;
    }
    s->options.devices = NULL; /* the caller's, as all strings, and no longer needed */
    s->options.n_devices = 0;
    *search = s;
    return IVL_OK;
}

static void free_run(ivl_search *s)
{
    ivl__cl *cl = &s->device->cl;

    for (int i = 0; i < SLOTS; i++) {
        ivl__cl_event_free(cl, s->slots[i].done);
        ivl__cl_buffer_free(cl, s->slots[i].rows);
        s->slots[i] = (chunk_slot){NULL, NULL};
    }
    ivl__cl_buffer_free(cl, s->x);
    ivl__cl_buffer_free(cl, s->scores);
    ivl__cl_buffer_free(cl, s->best);
    s->x = s->scores = s->best = NULL;
    ivl__free(s->keys);
    s->keys = NULL;
}

void ivl_search_free(ivl_search *s)
{
    if (!s) {
        return;
    }
    unregister_search(s);
    if (s->gemm_open) {
        ivl__gemm_close(&s->gemm);
    }
    if (s->device) {
        ivl__device_close(s->device);
    }
    ivl__free(s);
}

void ivl_search_get_info(const ivl_search *s, ivl_search_info *info)
{
    *info = (ivl_search_info){
        .size = sizeof *info,
        .chunk_rows = s->chunk,
        .peak_device_memory = (uint64_t)atomic_load(&s->device->cl.ledger.peak_bytes),
    };
    snprintf(info->device, sizeof info->device, "%s", s->device->info.name);
    ivl__gemm_describe(&s->gemm, info->gemm, sizeof info->gemm);
    snprintf(info->residency, sizeof info->residency, "%s", s->mapped ? "mapped" : "stream");
}

/* ---- plan -------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t list_bytes(const ivl_search *s)
{
    return (uint64_t)s->queries * ((uint64_t)s->vectors.dim * sizeof(float) +
                                   (uint64_t)s->parts * (uint64_t)s->k * sizeof(uint64_t));
}

/* Few queries are shared out, so that the whole device looks for the best scores. */
static void choose_parts(ivl_search *s)
{
    const uint64_t wanted = 4 * (uint64_t)s->device->caps.compute_units;
    uint64_t parts = (wanted + (uint64_t)s->queries - 1) / (uint64_t)s->queries;

    parts = least(least(parts, MOST_PARTS), MOST_KEYS / (uint64_t)s->k);
    s->parts = parts < 1 ? 1 : (int)parts;
}

static size_t scratch(const ivl_search *s)
{
    return ivl__gemm_scratch(&s->gemm, s->queries, (int32_t)s->chunk, s->vectors.dim, s->type);
}

/* Whether a pass with this chunk keeps to the budget and to the largest buffer. */
static bool fits(const ivl_search *s, uint64_t *need)
{
    const uint64_t most = s->device->caps.max_alloc;
    const uint64_t rows = s->chunk * s->row_bytes;
    const uint64_t scores = s->chunk * (uint64_t)s->queries * sizeof(float);

    *need = list_bytes(s) + scores + scratch(s) + (s->mapped ? 0 : SLOTS * rows);
    return *need <= s->budget && rows + 2 * PAGE <= most && scores <= most &&
           list_bytes(s) <= most && scratch(s) <= most;
}

/* Passes of as many queries, and chunks of as many rows, as there is room for. */
static ivl_status plan(ivl_search *s, int n, int k, ivl_error *error)
{
    const uint64_t scores = s->device->caps.cpu ? CPU_SCORE_BYTES : SCORE_BYTES;
    uint64_t need = 0;

    s->k = k;
    for (s->queries = n < MOST_QUERIES ? n : MOST_QUERIES;; s->queries = (s->queries + 1) / 2) {
        choose_parts(s);
        s->chunk = least(s->vectors.rows, least(MOST_CHUNK, CHUNK_BYTES / s->row_bytes));
        s->chunk = least(s->chunk, scores / sizeof(float) / (uint64_t)s->queries);
        s->chunk -= s->chunk > CHUNK_STEP ? s->chunk % CHUNK_STEP : 0;
        while (s->chunk > 16 && !fits(s, &need)) {
            s->chunk /= 2;
        }
        s->chunk = s->chunk ? s->chunk : 1;
        if (fits(s, &need)) {
            return IVL_OK;
        }
        if (s->queries == 1) {
            return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                             "a search for the %d best of rows of %d values needs %.1f MiB on the "
                             "device, the budget is %.1f MiB; raise --device-memory or lower -k",
                             k, s->vectors.dim, (double)need / 0x1p20, (double)s->budget / 0x1p20);
        }
    }
}

static ivl_status make_buffers(ivl_search *s, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;
    const size_t lists = (size_t)s->queries * (size_t)s->parts * (size_t)s->k;

    s->keys = ivl__calloc((size_t)s->parts * (size_t)s->k, sizeof *s->keys);
    if (!s->keys) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the %d best rows", s->k);
    }
    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_ONLY,
                            (size_t)s->queries * (size_t)s->vectors.dim * sizeof(float), "queries",
                            &s->x, error));
    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_WRITE,
                            (size_t)(s->chunk * (uint64_t)s->queries * sizeof(float)), "scores",
                            &s->scores, error));
    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_WRITE, lists * sizeof(uint64_t), "best scores",
                            &s->best, error));
    for (int i = 0; !s->mapped && i < SLOTS; i++) {
        IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_ONLY, (size_t)(s->chunk * s->row_bytes),
                                "rows of the index", &s->slots[i].rows, error));
    }
    return ivl__gemm_reserve(&s->gemm, scratch(s), error);
}

/* ---- a chunk ----------------------------------------------------------------------------- */

/* Waits until nothing reads the slot any more. */
static ivl_status empty_slot(ivl_search *s, chunk_slot *slot, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;

    if (slot->done) {
        IVL__TRY(ivl__cl_wait(cl, slot->done, error));
        ivl__cl_event_free(cl, slot->done);
        slot->done = NULL;
    }
    if (s->mapped) {
        ivl__cl_buffer_free(cl, slot->rows);
        slot->rows = NULL;
    }
    return IVL_OK;
}

/* A view of whole pages around the rows; *at is where they begin in it. */
static ivl_status view_rows(ivl_search *s, chunk_slot *slot, const unsigned char *rows,
                            size_t bytes, uint64_t *at, ivl_error *error)
{
    const uintptr_t lead = (uintptr_t)rows % PAGE;

    *at = lead;
    return ivl__cl_buffer_view(&s->device->cl, rows - lead, (lead + bytes + PAGE - 1) / PAGE * PAGE,
                               "rows of the index", &slot->rows, error);
}

static ivl_status upload_rows(ivl_search *s, chunk_slot *slot, const unsigned char *rows,
                              size_t bytes, ivl_error *error)
{
    ivl__cl *cl = &s->device->cl;
    cl_event uploaded = NULL;
    ivl_status status;

    IVL__TRY(ivl__cl_write(cl, cl->upload, slot->rows, 0, rows, bytes, 0, NULL, &uploaded, error));
    status = ivl__cl_flush(cl, cl->upload, error);
    if (status == IVL_OK) {
        status = ivl__cl_barrier(cl, cl->compute, uploaded, error);
    }
    ivl__cl_event_free(cl, uploaded);
    return status;
}

static ivl_status place_rows(ivl_search *s, chunk_slot *slot, uint64_t first, uint64_t n,
                             uint64_t *at, ivl_error *error)
{
    const unsigned char *rows = (const unsigned char *)s->vectors.data + first * s->row_bytes;
    const size_t bytes = (size_t)(n * s->row_bytes);

    *at = 0;
    return s->mapped ? view_rows(s, slot, rows, bytes, at, error)
                     : upload_rows(s, slot, rows, bytes, error);
}

/* scores [m, n] = x . rows^T, then the lists. */
static ivl_status score_rows(ivl_search *s, int m, ivl__span rows, uint64_t first, int32_t n,
                             ivl_error *error)
{
    const ivl__weight w = {.dtype = s->type,
                           .rows = n,
                           .cols = s->vectors.dim,
                           .n_tiles = 1,
                           .tiles = {{.data = rows, .first_row = 0, .rows = n}}};
    const ivl__gemm_call product = {.layout = IVL__GEMM_NT,
                                    .m = m,
                                    .x = {s->x, 0},
                                    .x_type = IVL_F32,
                                    .w = &w,
                                    .epilogue = IVL__EPILOGUE_BIAS,
                                    .y = {s->scores, 0},
                                    .y_type = IVL_F32,
                                    .y_ld = (int32_t)s->chunk};
    const ivl__topk_call best = {.queries = m,
                                 .rows = n,
                                 .k = s->k,
                                 .scores = {s->scores, 0},
                                 .scores_ld = (int32_t)s->chunk,
                                 .first_row = (uint32_t)first,
                                 .parts = s->parts,
                                 .best = {s->best, 0}};

    IVL__TRY(ivl__gemm_run(&s->gemm, &product, error));
    return ivl__op_topk(s->device, &best, error);
}

static ivl_status run_chunk(ivl_search *s, chunk_slot *slot, int m, uint64_t first,
                            ivl_error *error)
{
    const uint64_t n = least(s->chunk, s->vectors.rows - first);
    ivl__cl *cl = &s->device->cl;
    uint64_t at;

    IVL__TRY(empty_slot(s, slot, error));
    if (s->options.progress && s->options.progress(s->options.progress_user, "search",
                                                   (int)s->chunks_done, (int)s->chunks_total)) {
        return ivl__fail(error, IVL_CANCELLED, "the search was cancelled");
    }
    s->chunks_done++;
    IVL__TRY(place_rows(s, slot, first, n, &at, error));
    IVL__TRY(score_rows(s, m, (ivl__span){slot->rows, at}, first, (int32_t)n, error));
    IVL__TRY(ivl__cl_marker(cl, cl->compute, &slot->done, error));
    return ivl__cl_flush(cl, cl->compute, error);
}

/* ---- a pass ------------------------------------------------------------------------------ */

static int by_key_downwards(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;

    return (x < y) - (x > y);
}

/* The best of all parts of query q, in order. */
static ivl_status take_hits(ivl_search *s, int q, int number, ivl_hit *hits, ivl_error *error)
{
    const size_t n = (size_t)s->parts * (size_t)s->k;
    ivl__cl *cl = &s->device->cl;

    IVL__TRY(ivl__cl_read(cl, cl->compute, s->best, (size_t)q * n * sizeof *s->keys, s->keys,
                          n * sizeof *s->keys, 0, NULL, NULL, error));
    qsort(s->keys, n, sizeof *s->keys, by_key_downwards);
    for (int i = 0; i < s->k; i++) {
        if (s->keys[i] == IVL__TOPK_NONE) {
            return ivl__fail(error, IVL_NOT_FINITE,
                             "query %d: only %d of %llu rows have a finite score; the index is "
                             "damaged",
                             number, i, (unsigned long long)s->vectors.rows);
        }
        hits[i] = (ivl_hit){ivl__topk_row(s->keys[i]), ivl__topk_score(s->keys[i])};
    }
    return IVL_OK;
}

static ivl_status run_pass(ivl_search *s, const float *queries, int m, ivl_error *error)
{
    const uint64_t none = IVL__TOPK_NONE;
    ivl__cl *cl = &s->device->cl;
    int turn = 0;

    IVL__TRY(ivl__cl_write(cl, cl->compute, s->x, 0, queries,
                           (size_t)m * (size_t)s->vectors.dim * sizeof *queries, 0, NULL, NULL,
                           error));
    IVL__TRY(ivl__cl_fill(cl, cl->compute, s->best, &none, sizeof none, 0,
                          (size_t)m * (size_t)s->parts * (size_t)s->k * sizeof none, error));
    for (uint64_t first = 0; first < s->vectors.rows; first += s->chunk) {
        IVL__TRY(run_chunk(s, &s->slots[turn++ % SLOTS], m, first, error));
    }
    for (int i = 0; i < SLOTS; i++) {
        IVL__TRY(empty_slot(s, &s->slots[i], error));
    }
    return atomic_load(&s->bad)
               ? ivl__fail(error, IVL_IO_ERROR,
                           "the index shrank or could not be read while it was searched; the "
                           "results are dropped")
               : IVL_OK;
}

static ivl_status run_passes(ivl_search *s, const float *queries, int n, ivl_hit *hits,
                             ivl_error *error)
{
    for (int first = 0; first < n; first += s->queries) {
        const int m = n - first < s->queries ? n - first : s->queries;

        IVL__TRY(run_pass(s, queries + (size_t)first * (size_t)s->vectors.dim, m, error));
        for (int q = 0; q < m; q++) {
            IVL__TRY(take_hits(s, q, first + q, hits + (size_t)(first + q) * (size_t)s->k, error));
        }
    }
    return IVL_OK;
}

/* Some drivers share memory with the host and still refuse views of a file's pages: then it is
 * uploaded, unless the caller asked for views. */
static bool goes_on_without_views(ivl_search *s, ivl_status status, const ivl_error *why)
{
    if (!s->mapped || s->options.residency == IVL_RESIDENCY_MAPPED || s->chunks_done != 1 ||
        (status != IVL_DEVICE_FAILED && status != IVL_OUT_OF_DEVICE_MEMORY)) {
        return false;
    }
    s->mapped = false;
    ivl__log(IVL_LOG_WARNING, "rows are copied, the driver does not read them in place: %s",
             why->message);
    return true;
}

static ivl_status run_planned(ivl_search *s, const float *queries, int n, int k, ivl_hit *hits,
                              ivl_error *error)
{
    uint64_t passes, chunks;
    ivl_status status;

    IVL__TRY(plan(s, n, k, error));
    passes = ((uint64_t)n + (uint64_t)s->queries - 1) / (uint64_t)s->queries;
    chunks = (s->vectors.rows + s->chunk - 1) / s->chunk;
    s->chunks_done = 0;
    s->chunks_total = least(passes * chunks, INT32_MAX);
    status = make_buffers(s, error);
    if (status == IVL_OK) {
        status = run_passes(s, queries, n, hits, error);
    }
    if (status != IVL_OK) {
        /* Nothing may read the caller's memory after this call. */
        ivl__cl_finish(&s->device->cl, s->device->cl.upload, NULL);
        ivl__cl_finish(&s->device->cl, s->device->cl.compute, NULL);
    }
    free_run(s);
    return status;
}

static ivl_status check_run(const ivl_search *s, const float *queries, int n, int k,
                            ivl_error *error)
{
    if (n < 0 || k < 1 || (uint64_t)k > s->vectors.rows || k > INT32_MAX / 2) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "the %d best of %llu rows for %d queries", k,
                         (unsigned long long)s->vectors.rows, n);
    }
    for (size_t i = 0; i < (size_t)n * (size_t)s->vectors.dim; i++) {
        if (!isfinite(queries[i])) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "query %zu is not finite",
                             i / (size_t)s->vectors.dim);
        }
    }
    return IVL_OK;
}

ivl_status ivl_search_run(ivl_search *s, const float *queries, int n, int k, ivl_hit *hits,
                          ivl_error *error)
{
    ivl_error detail = {0};
    ivl_status status;

    IVL__TRY(check_run(s, queries, n, k, error));
    if (n == 0) {
        return IVL_OK;
    }
    status = run_planned(s, queries, n, k, hits, &detail);
    if (goes_on_without_views(s, status, &detail)) {
        status = run_planned(s, queries, n, k, hits, &detail);
    }
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}
