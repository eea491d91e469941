/* tuning.c - chooses backends by measurement and remembers them; see tuning.h. */
#include "runtime/tuning.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/tuning_bench.h"
#include "runtime/tuning_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TUNING_FORMAT  "tuning-1"
#define MAX_FILE_BYTES 65536u

/* A few pictures at 224 pixels on GPUs, one on CPUs: many rows, as the models' products have. */
#define ROWS_GPU 1028
#define ROWS_CPU 257

/* Seconds that tuning may take at most. Compiling counts: what does not fit in is measured at the
 * next start, when it is compiled already. */
#define BOX_GPU 30.0
#define BOX_CPU 10.0

/* ---- race -------------------------------------------------------------------------------- */

#define ROUNDS 3

static bool is_late(const ivl__race *race)
{
    return race->clock(race->user) >= race->deadline;
}

/* Fastest of `best`, of equals the first; -1 where nobody is left. */
static int leader_of(const double *best, int n)
{
    int leader = -1;

    for (int i = 0; i < n; i++) {
        if (isfinite(best[i]) && (leader < 0 || best[i] < best[leader])) {
            leader = i;
        }
    }
    return leader;
}

/* Drops what is slower than twice the leader; the answer is how many are left. */
static int drop_slow(double *best, int n)
{
    int leader = leader_of(best, n);
    int left = 0;

    for (int i = 0; leader >= 0 && i < n; i++) {
        if (best[i] > 2.0 * best[leader]) {
            best[i] = INFINITY;
        }
        left += isfinite(best[i]);
    }
    return left;
}

int ivl__race_winner(const ivl__race *race, double *seconds)
{
    double best[IVL__TUNING_MAX_CANDIDATES];
    int winner;

    for (int i = 0; i < race->n; i++) {
        if (is_late(race) || !race->run(race->user, i, true, &best[i])) {
            best[i] = INFINITY;
        }
    }
    for (int round = 0; drop_slow(best, race->n) > 1 && round < ROUNDS; round++) {
        for (int i = 0; i < race->n && !is_late(race); i++) {
            double time;

            if (isfinite(best[i])) {
                best[i] = race->run(race->user, i, false, &time) ? fmin(best[i], time) : INFINITY;
            }
        }
    }
    winner = leader_of(best, race->n);
    if (winner >= 0) {
        *seconds = best[winner];
    }
    return winner;
}

/* ---- candidates -------------------------------------------------------------------------- */

static void describe(const ivl__gemm_backend *backend, const ivl__gemm_tile_params *tile,
                     char *text, size_t bytes)
{
    char parameters[IVL__GEMM_TILE_TEXT] = "";

    if (tile->mwg) {
        ivl__gemm_tile_params_text(tile, parameters);
    }
    snprintf(text, bytes, "%s%s%s", backend->name, parameters[0] ? " " : "", parameters);
}

int ivl__tuning_candidates(ivl__device *device, ivl_precision precision,
                           ivl__tuning_candidate candidates[IVL__TUNING_MAX_CANDIDATES])
{
    const char *reason = "";
    size_t n_sets;
    const ivl__gemm_tile_params *sets = ivl__gemm_tile_sets(&n_sets);
    int n = 0;

    for (size_t b = 0; ivl__gemm_backends[b]; b++) {
        const ivl__gemm_backend *backend = ivl__gemm_backends[b];

        if (!ivl__gemm_is_candidate(device, precision, backend, &reason)) {
            continue;
        }
        if (backend != &ivl__gemm_tile && n < IVL__TUNING_MAX_CANDIDATES) {
            candidates[n++] = (ivl__tuning_candidate){.backend = backend};
        }
        for (size_t i = 0; backend == &ivl__gemm_tile && i < n_sets; i++) {
            if (n < IVL__TUNING_MAX_CANDIDATES &&
                ivl__gemm_tile_params_valid(&sets[i], &device->caps)) {
                candidates[n++] = (ivl__tuning_candidate){backend, sets[i]};
            }
        }
    }
    return n;
}

/* Why this device cannot do what a file says; NULL where it can. */
static const char *unusable(const ivl__gemm *gemm, const ivl__gemm_choice *choice)
{
    const char *reason = "";

    if (!choice->backend->available(gemm->device, gemm->precision, &reason)) {
        return reason;
    }
    if (choice->backend->input_type(gemm->precision) != ivl__gemm_input_type(gemm)) {
        return "it takes activations of another type than the device's first choice";
    }
    return choice->tile.mwg ? ivl__gemm_tile_params_invalid(&choice->tile, &gemm->device->caps)
                            : NULL;
}

/* ---- files ------------------------------------------------------------------------------- */

static ivl_status read_table(const char *path, ivl__tuning_table *table, ivl_error *error)
{
    unsigned char *text;
    size_t bytes;
    ivl_status status = ivl__file_read(path, MAX_FILE_BYTES, &text, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    status = ivl__tuning_parse(path, (const char *)text, table, error);
    ivl__free(text);
    return status;
}

static char *path_of(const ivl__device *device, const char *key)
{
    size_t room;
    char *path;

    if (!device->options.cache_dir) {
        return NULL;
    }
    room = strlen(device->options.cache_dir) + 64;
    path = ivl__malloc(room);
    if (path) {
        snprintf(path, room, "%s/tuning/%s.txt", device->options.cache_dir, key);
    }
    return path;
}

/* What is kept for this device; an empty table where there is nothing, or nothing of use. */
static void read_kept(const char *path, const char *key, ivl__tuning_table *table)
{
    ivl_error error = {0};

    if (path && ivl__file_kind_of(path) != IVL__FILE_MISSING) {
        if (read_table(path, table, &error) == IVL_OK && strcmp(table->key, key) == 0) {
            return;
        }
        ivl__log(IVL_LOG_WARNING, "tuning is measured again: %s%s",
                 error.message[0] ? error.message : path,
                 error.message[0] ? "" : " is of another device, driver or version");
    }
    *table = (ivl__tuning_table){.n = 0};
    memcpy(table->key, key, sizeof table->key);
}

static void keep(const ivl__device *device, const char *path, const ivl__tuning_table *table)
{
    ivl_error error = {0};
    ivl_status status = IVL_OUT_OF_MEMORY;
    char remark[600];
    char *folder = ivl__path_folder(path);
    char *text;

    snprintf(remark, sizeof remark, "%s (%s, driver %s)", device->info.name, device->info.platform,
             device->info.driver);
    text = ivl__tuning_format(table, remark);
    if (folder && text) {
        status = ivl__folder_create(folder, &error);
    }
    if (status == IVL_OK) {
        status = ivl__file_replace(path, text, strlen(text), &error);
    }
    if (status != IVL_OK) {
        ivl__log(IVL_LOG_WARNING, "tuning is not kept: %s", error.message);
    }
    ivl__free(text);
    ivl__free(folder);
}

/* ---- measuring --------------------------------------------------------------------------- */

/* A shape's race on the device. */
typedef struct device_race {
    ivl__tuning_bench *bench;
    const ivl__tuning_candidate *candidates;
} device_race;

static bool run_candidate(void *user, int index, bool probe, double *seconds)
{
    const device_race *race = user;
    const ivl__tuning_candidate *candidate = &race->candidates[index];
    char name[IVL__GEMM_TILE_TEXT + 16];
    ivl_error error = {0};
    ivl_status status = IVL_OK;

    describe(candidate->backend, &candidate->tile, name, sizeof name);
    if (probe) {
        status = ivl__tuning_bench_check(race->bench, candidate, &error);
    }
    if (status == IVL_OK) {
        status = ivl__tuning_bench_time(race->bench, candidate, seconds, &error);
    }
    if (status != IVL_OK) {
        ivl__log(IVL_LOG_WARNING, "GEMM %s is not used for this matrix: %s", name, error.message);
        return false;
    }
    ivl__log(IVL_LOG_VERBOSE, "GEMM %s: %.3f ms", name, 1e3 * *seconds);
    return true;
}

static double device_clock(void *user)
{
    (void)user;
    return ivl__now();
}

static int32_t rows_for(const ivl__device *device)
{
    return device->caps.cpu ? ROWS_CPU : ROWS_GPU;
}

/* An entry for the shape; false where nobody could be chosen. */
static bool measure_shape(ivl__gemm *gemm, const ivl__gemm_shape *shape,
                          const ivl__tuning_candidate *candidates, int n, double deadline,
                          ivl__tuning_entry *entry)
{
    const int32_t rows = rows_for(gemm->device);
    device_race on = {.candidates = candidates};
    const ivl__race race = {n, run_candidate, device_clock, &on, deadline};
    char name[IVL__GEMM_TILE_TEXT + 16];
    ivl_error error = {0};
    double seconds = 0.0;
    int winner = -1;

    if (ivl__tuning_bench_open(gemm, shape, rows, &on.bench, &error) == IVL_OK) {
        winner = ivl__race_winner(&race, &seconds);
        ivl__tuning_bench_close(on.bench);
    } else {
        ivl__log(IVL_LOG_WARNING, "matrix %d x %d cannot be measured: %s", shape->n, shape->k,
                 error.message);
    }
    if (winner < 0) {
        return false;
    }
    *entry = (ivl__tuning_entry){
        gemm->precision,
        {shape->n, shape->k, shape->w_type, candidates[winner].backend, candidates[winner].tile},
        1e3 * seconds,
        rows};
    describe(entry->choice.backend, &entry->choice.tile, name, sizeof name);
    ivl__log(IVL_LOG_INFO, "matrix %d x %d %s: %s, %.3f ms for %d rows (%d candidates)", shape->n,
             shape->k, ivl__dtype_name(shape->w_type), name, entry->ms, rows, n);
    return true;
}

/* Puts the measurements into the table; the answer is their number. */
static int measure_missing(ivl__gemm *gemm, const ivl__tuning_request *r,
                           const ivl__tuning_candidate *candidates, int n, ivl__tuning_table *table)
{
    const double box = r->seconds > 0.0 ? r->seconds : gemm->device->caps.cpu ? BOX_CPU : BOX_GPU;
    const double deadline = ivl__now() + box;
    int measured = 0;
    int left_out = 0;

    for (int i = 0; i < r->n_shapes; i++) {
        const ivl__gemm_shape *s = &r->shapes[i];
        ivl__tuning_entry entry;

        if (ivl__tuning_find(table, gemm->precision, s->n, s->k, s->w_type)) {
            continue;
        }
        if (!measured && !left_out) {
            ivl__log(IVL_LOG_INFO, "first use of this model's matrices on %s: measuring (%.0f s)",
                     gemm->device->info.name, box);
        }
        if (ivl__device_stopped(gemm->device)) {
            break;
        }
        if (ivl__now() < deadline && measure_shape(gemm, s, candidates, n, deadline, &entry) &&
            ivl__tuning_set(table, &entry)) {
            measured++;
        } else {
            left_out++;
        }
    }
    if (left_out) {
        ivl__log(IVL_LOG_INFO, "%d matrices are left to %s for now", left_out, gemm->backend->name);
    }
    return measured;
}

/* ---- choices out of a table -------------------------------------------------------------- */

static ivl_status try_entry(ivl__gemm *gemm, const ivl__tuning_entry *entry, ivl_error *error)
{
    const ivl__gemm_choice *c = &entry->choice;
    const ivl__gemm_shape shape = {c->n, c->k, c->w_type};
    const ivl__tuning_candidate candidate = {c->backend, c->tile};
    ivl__tuning_bench *bench;
    ivl_status status;

    status = ivl__tuning_bench_open(gemm, &shape, ROWS_CPU, &bench, error);
    if (status == IVL_OK) {
        status = ivl__tuning_bench_check(bench, &candidate, error);
        ivl__tuning_bench_close(bench);
    }
    /* A small budget leaves no room to try; the backends passed their self-test. */
    return status == IVL_OUT_OF_DEVICE_MEMORY ? IVL_OK : status;
}

/* Checks the entries that the shapes need. An edited table is tried; a pinned one, always. */
static ivl_status check_entries(ivl__gemm *gemm, const ivl__tuning_request *r,
                                const ivl__tuning_table *table, bool try, ivl_error *error)
{
    for (int i = 0; i < r->n_shapes; i++) {
        const ivl__gemm_shape *s = &r->shapes[i];
        const ivl__tuning_entry *e = ivl__tuning_find(table, gemm->precision, s->n, s->k,
                                                      s->w_type);
        const char *reason = e ? unusable(gemm, &e->choice) : NULL;
        ivl_status status = IVL_OK;

        if (reason) {
            status = ivl__fail(error, IVL_UNSUPPORTED, "%s cannot serve %s: %s",
                               e->choice.backend->name, gemm->device->info.name, reason);
        } else if (e && try) {
            status = try_entry(gemm, e, error);
        }
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "matrix %d x %d %s", s->n, s->k,
                                     ivl__dtype_name(s->w_type));
        }
    }
    return IVL_OK;
}

/* What measuring left behind goes, what was chosen comes. Matrices without an entry are named as
 * well where others have one, so that it can be told who computes. */
static void choose(ivl__gemm *gemm, const ivl__tuning_request *r, const ivl__tuning_table *table)
{
    int known = 0;

    ivl__cl_buffer_free(&gemm->device->cl, gemm->scratch);
    gemm->scratch = NULL;
    gemm->scratch_bytes = 0;
    gemm->n_choices = 0;
    for (int i = 0; table && i < r->n_shapes; i++) {
        const ivl__gemm_shape *s = &r->shapes[i];
        const ivl__tuning_entry *e = ivl__tuning_find(table, gemm->precision, s->n, s->k,
                                                      s->w_type);
        const ivl__gemm_choice first = {s->n, s->k, s->w_type, gemm->backend, {0}};

        ivl__gemm_choose(gemm, e ? &e->choice : &first);
        known += e != NULL;
    }
    gemm->n_choices = known ? gemm->n_choices : 0;
}

/* ---- tune -------------------------------------------------------------------------------- */

static ivl_status use_pinned(ivl__gemm *gemm, const ivl__tuning_request *r,
                             ivl__tuning_table *table, const char *key, ivl_error *error)
{
    ivl_status status = read_table(r->file, table, error);

    if (status == IVL_IO_ERROR) {
        return ivl__fail_context(error, IVL_BAD_INPUT, "--tuning");
    }
    IVL__TRY(status);
    status = check_entries(gemm, r, table, r->measure, error);
    if (status != IVL_OK) {
        choose(gemm, r, NULL);
        return ivl__fail_context(error, status, "%s", r->file);
    }
    if (strcmp(table->key, key) != 0) {
        ivl__log(IVL_LOG_WARNING, "%s was measured on another device, driver or version", r->file);
    }
    choose(gemm, r, table);
    return IVL_OK;
}

static void use_kept(ivl__gemm *gemm, const ivl__tuning_request *r, ivl__tuning_table *table,
                     const char *key)
{
    ivl__tuning_candidate all[IVL__TUNING_MAX_CANDIDATES];
    const ivl__tuning_candidate *candidates = r->candidates ? r->candidates : all;
    int n = r->candidates ? r->n_candidates
                          : ivl__tuning_candidates(gemm->device, gemm->precision, all);
    char *path = n > 1 ? path_of(gemm->device, key) : NULL;
    ivl_error detail = {0};

    if (!path) {
        if (n > 1) {
            ivl__log(IVL_LOG_VERBOSE, "without a cache folder nothing is measured: GEMM %s",
                     gemm->backend->name);
        }
        return;
    }
    read_kept(path, key, table);
    if (check_entries(gemm, r, table, table->n && table->edited && r->measure, &detail) != IVL_OK) {
        ivl__log(IVL_LOG_WARNING, "tuning is measured again: %s: %s", path, detail.message);
        table->n = 0;
    }
    if (r->measure && measure_missing(gemm, r, candidates, n, table) > 0) {
        keep(gemm->device, path, table);
    }
    choose(gemm, r, table);
    ivl__free(path);
}

ivl_status ivl__gemm_tune(ivl__gemm *gemm, const ivl__tuning_request *request, ivl_error *error)
{
    ivl__tuning_table *table;
    ivl_status status = IVL_OK;
    char hex[65];
    char key[33];

    if (!gemm->automatic) {
        return request->file ? ivl__fail(error, IVL_INVALID_ARGUMENT,
                                         "a tuning file chooses the backends: it goes with --gemm "
                                         "auto, not with %s",
                                         gemm->backend->name)
                             : IVL_OK;
    }
    table = ivl__calloc(1, sizeof *table);
    if (!table) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for tuning");
    }
    ivl__device_key(gemm->device, TUNING_FORMAT, hex);
    snprintf(key, sizeof key, "%.32s", hex);
    if (request->file) {
        status = use_pinned(gemm, request, table, key, error);
    } else {
        use_kept(gemm, request, table, key);
        /* What was measured before is kept. */
        status = ivl__device_stopped(gemm->device)
                     ? ivl__fail(error, IVL_CANCELLED, "cancelled while measuring")
                     : IVL_OK;
    }
    ivl__free(table);
    return status;
}
