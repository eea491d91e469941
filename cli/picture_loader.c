/* picture_loader.c - the reader, its workers and the ring between them; see picture_loader.h.
 *
 * Slots carry sequence numbers that only grow: head (next to be taken), oldest (first that is not
 * ready), job (first that no worker has), tail (next free). head <= oldest <= job' <= tail, where
 * job may run ahead of oldest. Slot i lives at i % RING.
 */
#include "cli/picture_loader.h"

#include "cli/cli.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

enum {
    RING = 1024,       /* slots; a bound on `ahead` too */
    BEFORE_START = 16, /* inputs looked up while the start-up lasts */
    MAX_THREADS = 256
};

/* What a thread needs for a 12-megapixel photograph: 36 MB of pixels, its file, a few rows. */
#define BYTES_PER_THREAD ((uint64_t)48 << 20)
#define LEAST_BUDGET     ((uint64_t)96 << 20)

/* How long a reader that hangs in a slow read (a terminal, a network disk) is waited for. */
#define READER_PATIENCE_SECONDS 1.0
#define POLL_SECONDS            0.1

typedef enum slot_state { SLOT_WAITING, SLOT_TAKEN, SLOT_READY } slot_state;

typedef struct slot {
    cli_picture picture;
    slot_state state;
    uint64_t admitted; /* bytes of the account that belong to it */
} slot;

struct cli_picture_loader {
    cli_picture_loader_options options;
    ivl__image_source *source;
    ivl__mutex lock;
    ivl__cond to_do;  /* workers: a slot is waiting */
    ivl__cond memory; /* workers: bytes came back, or another picture is the oldest */
    ivl__cond room;   /* reader: slots or bytes came back */
    ivl__cond ready;  /* the taking side */
    slot ring[RING];
    uint64_t head, oldest, job, tail;
    uint64_t ahead;
    uint64_t budget, used;
    bool started; /* workers run */
    bool stop, end, reader_done;
    ivl_status status; /* of the source, or a worker without memory */
    ivl_error error;
    cli_picture_loader_counts counts;
    ivl__thread reader, workers[MAX_THREADS];
    bool reader_started;
    int n_workers, n_tracks;
};

/* ---- memory ------------------------------------------------------------------------------ */

static uint64_t default_budget(int threads)
{
    uint64_t physical = ivl__physical_memory();
    uint64_t budget = BYTES_PER_THREAD * (uint64_t)threads;

    budget = budget < LEAST_BUDGET ? LEAST_BUDGET : budget;
    return physical && budget > physical / 8 ? physical / 8 : budget;
}

/* Changes what slot i holds of the account; the lock is held. */
static void set_admitted(cli_picture_loader *l, uint64_t i, uint64_t bytes)
{
    slot *s = &l->ring[i % RING];

    l->used = l->used - s->admitted + bytes;
    s->admitted = bytes;
    l->counts.peak_bytes = l->used > l->counts.peak_bytes ? l->used : l->counts.peak_bytes;
}

/* What a worker hands to cli_picture_fill. */
typedef struct admission {
    cli_picture_loader *loader;
    uint64_t index;
} admission;

/* Nobody who waits here can hold up the oldest picture, so there is always one that goes on. */
static bool admit(void *user, uint64_t bytes)
{
    const admission *a = user;
    cli_picture_loader *l = a->loader;
    bool granted;

    ivl__mutex_lock(&l->lock);
    while (!l->stop && a->index != l->oldest && bytes && l->used + bytes > l->budget) {
        ivl__cond_wait(&l->memory, &l->lock);
    }
    granted = !l->stop;
    if (granted) {
        set_admitted(l, a->index, l->ring[a->index % RING].admitted + bytes);
    }
    ivl__mutex_unlock(&l->lock);
    return granted;
}

/* ---- workers ----------------------------------------------------------------------------- */

static void give_up(cli_picture_loader *l, ivl_status status, const ivl_error *error)
{
    if (l->status == IVL_OK) {
        l->status = status;
        l->error = *error;
    }
}

/* The next picture that nobody works on; the lock is held. */
static bool take_job(cli_picture_loader *l, uint64_t *index)
{
    for (; l->job < l->tail; l->job++) {
        slot *s = &l->ring[l->job % RING];

        if (s->state == SLOT_WAITING) {
            s->state = SLOT_TAKEN;
            *index = l->job++;
            return true;
        }
    }
    return false;
}

static void advance_oldest(cli_picture_loader *l)
{
    while (l->oldest < l->tail && l->ring[l->oldest % RING].state == SLOT_READY) {
        l->oldest++;
    }
}

static void finish_job(cli_picture_loader *l, uint64_t index, cli_picture_times *times)
{
    slot *s = &l->ring[index % RING];

    s->state = SLOT_READY;
    set_admitted(l, index, cli_picture_bytes(&s->picture));
    advance_oldest(l);
    l->counts.times.read += times->read;
    l->counts.times.decode += times->decode;
    l->counts.times.resize += times->resize;
    *times = (cli_picture_times){0};
    ivl__cond_broadcast(&l->memory);
    ivl__cond_signal(&l->room);
    ivl__cond_signal(&l->ready);
}

/* Jobs until the run is over; the lock is held, and given up for each of them. */
static void work_on(cli_picture_loader *l, cli_picture_thread *thread, admission *a)
{
    while (!l->stop) {
        ivl_error error = {0};
        ivl_status status;

        if (!take_job(l, &a->index)) {
            ivl__cond_wait(&l->to_do, &l->lock);
            continue;
        }
        ivl__mutex_unlock(&l->lock);
        status = cli_picture_fill(&l->ring[a->index % RING].picture, &l->options.rules, thread,
                                  &error);
        ivl__mutex_lock(&l->lock);
        if (status != IVL_OK && status != IVL_CANCELLED) {
            give_up(l, status, &error);
        }
        finish_job(l, a->index, &thread->times);
    }
}

static void *work(void *user)
{
    cli_picture_loader *l = user;
    admission a = {.loader = l};
    cli_picture_thread thread = {.admit = admit, .user = &a};
    char track[24];

    ivl__mutex_lock(&l->lock);
    snprintf(track, sizeof track, "decode %d", l->n_tracks++);
    thread.track = track;
    work_on(l, &thread, &a);
    ivl__mutex_unlock(&l->lock);
    ivl__resize_scratch_free(&thread.scratch);
    return NULL;
}

/* ---- reader ------------------------------------------------------------------------------ */

static bool has_room(const cli_picture_loader *l, uint64_t bytes)
{
    uint64_t ahead = l->started ? l->ahead : BEFORE_START;

    return l->tail == l->head || (l->tail - l->head < ahead && l->used + bytes <= l->budget);
}

/* Takes the item over. false: the run is over. */
static bool enqueue(cli_picture_loader *l, ivl__item *item)
{
    cli_picture picture = {.item = *item};
    bool room;

    ivl__mutex_lock(&l->lock);
    /* Items of a tar on a pipe come with their bytes. */
    while (!l->stop && !has_room(l, item->n_bytes)) {
        ivl__cond_wait(&l->room, &l->lock);
    }
    room = !l->stop;
    if (room) {
        slot *s = &l->ring[l->tail % RING];

        *s = (slot){.picture = picture,
                    .state = cli_picture_is_mark(&picture) ? SLOT_READY : SLOT_WAITING};
        set_admitted(l, l->tail, item->n_bytes);
        l->tail++;
        advance_oldest(l);
        ivl__cond_signal(&l->to_do);
        ivl__cond_signal(&l->ready);
    } else {
        ivl__item_free(item);
    }
    ivl__mutex_unlock(&l->lock);
    return room;
}

static void note_found(cli_picture_loader *l, const ivl__item *item, ivl__seen seen)
{
    ivl__record_writer_counts recorded = {0};

    if (l->options.writer) {
        recorded = ivl__record_writer_get_counts(l->options.writer);
    }
    ivl__mutex_lock(&l->lock);
    if (seen == IVL__SEEN_RECORDED &&
        (item->kind != IVL__ITEM_UNIT_BEGIN && item->kind != IVL__ITEM_UNIT_END)) {
        l->counts.found++;
    }
    l->counts.found_errors = recorded.found_errors;
    l->counts.source = ivl__image_source_get_counts(l->source);
    ivl__mutex_unlock(&l->lock);
}

/* One event of the source. */
static ivl_status read_one(cli_picture_loader *l, bool *end, ivl_error *error)
{
    ivl__item item;
    ivl__seen seen = IVL__SEEN_NEW;
    ivl_status status = ivl__image_source_next(l->source, &item, end, error);
    bool stop;

    ivl__mutex_lock(&l->lock);
    stop = l->stop;
    ivl__mutex_unlock(&l->lock);
    if (status != IVL_OK || *end) {
        return status;
    }
    if (!stop && l->options.writer) {
        status = ivl__record_writer_seen(l->options.writer, &item, &seen, error);
    }
    if (status != IVL_OK || stop) {
        ivl__item_free(&item);
        return stop ? IVL_CANCELLED : status;
    }
    note_found(l, &item, seen);
    if (seen == IVL__SEEN_NEW) {
        return enqueue(l, &item) ? IVL_OK : IVL_CANCELLED;
    }
    if (seen == IVL__SEEN_UNIT) {
        ivl__image_source_skip_unit(l->source);
    }
    ivl__item_free(&item);
    return IVL_OK;
}

static void *read_all(void *user)
{
    cli_picture_loader *l = user;
    ivl_error error = {0};
    ivl_status status = IVL_OK;
    bool end = false;

    while (status == IVL_OK && !end) {
        status = read_one(l, &end, &error);
    }
    ivl__mutex_lock(&l->lock);
    if (status != IVL_OK && status != IVL_CANCELLED) {
        give_up(l, status, &error);
    }
    if (status == IVL_OK) {
        l->counts.source = ivl__image_source_get_counts(l->source);
    }
    l->end = true;
    l->reader_done = true;
    ivl__cond_signal(&l->ready);
    ivl__mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the taking side --------------------------------------------------------------------- */

/* Start-up, then the workers. The lock is held, and given up meanwhile. */
static ivl_status start(cli_picture_loader *l, ivl_error *error)
{
    int ahead = 1;
    int threads = l->options.threads;
    ivl_status status = IVL_OK;

    ivl__mutex_unlock(&l->lock);
    if (l->options.prepare) {
        status = l->options.prepare(l->options.user, &ahead, error);
    }
    ivl__mutex_lock(&l->lock);
    /* While the device works on one batch the next one is being made. */
    l->ahead = (uint64_t)(ahead < 1 ? 1 : ahead) + (uint64_t)threads;
    l->ahead = l->ahead > RING ? RING : l->ahead;
    l->counts.first_read = ivl__now();
    l->started = true;
    for (int i = 0; status == IVL_OK && i < threads; i++) {
        status = ivl__thread_start(&l->workers[i], work, l, error);
        l->n_workers += status == IVL_OK;
    }
    ivl__cond_signal(&l->room);
    return l->n_workers && status != IVL_OK ? IVL_OK : status;
}

static ivl_status next(cli_picture_loader *l, cli_picture *picture, bool *end, ivl_error *error)
{
    for (;;) {
        slot *s = &l->ring[l->head % RING];

        if (cli_stop_requests() > 0) {
            return ivl__fail(error, IVL_CANCELLED, "interrupted");
        }
        if (l->head < l->tail && s->state == SLOT_READY) {
            set_admitted(l, l->head, 0);
            *picture = s->picture;
            *s = (slot){0};
            l->head++;
            l->job = l->job < l->head ? l->head : l->job;
            ivl__cond_broadcast(&l->memory);
            ivl__cond_signal(&l->room);
            *end = false;
            return IVL_OK;
        }
        if (l->status != IVL_OK && (l->head == l->tail || l->status == IVL_OUT_OF_MEMORY)) {
            return ivl__fail(error, l->status, "%s", l->error.message);
        }
        if (l->end && l->head == l->tail) {
            *end = true;
            return IVL_OK;
        }
        if (l->head < l->tail && !l->started) {
            IVL__TRY(start(l, error));
            continue;
        }
        (void)ivl__cond_wait_for(&l->ready, &l->lock, POLL_SECONDS);
    }
}

ivl_status cli_picture_loader_next(cli_picture_loader *loader, cli_picture *picture, bool *end,
                                   ivl_error *error)
{
    ivl_status status;

    ivl__mutex_lock(&loader->lock);
    status = next(loader, picture, end, error);
    ivl__mutex_unlock(&loader->lock);
    return status;
}

cli_picture_loader_counts cli_picture_loader_get_counts(cli_picture_loader *loader)
{
    cli_picture_loader_counts counts;

    ivl__mutex_lock(&loader->lock);
    counts = loader->counts;
    ivl__mutex_unlock(&loader->lock);
    return counts;
}

/* ---- open and free ----------------------------------------------------------------------- */

ivl_status cli_picture_loader_open(const cli_picture_loader_options *options,
                                   cli_picture_loader **out, ivl_error *error)
{
    cli_picture_loader *l = ivl__calloc(1, sizeof *l);
    ivl_status status;

    if (!l) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the picture loader");
    }
    l->options = *options;
    l->options.threads = options->threads < 1             ? 1
                         : options->threads > MAX_THREADS ? MAX_THREADS
                                                          : options->threads;
    l->budget = default_budget(l->options.threads);
    ivl__mutex_init(&l->lock);
    ivl__cond_init(&l->to_do);
    ivl__cond_init(&l->memory);
    ivl__cond_init(&l->room);
    ivl__cond_init(&l->ready);
    status = ivl__image_source_open(options->inputs, options->n_inputs, &options->source,
                                    &l->source, error);
    if (status == IVL_OK) {
        status = ivl__thread_start(&l->reader, read_all, l, error);
        l->reader_started = status == IVL_OK;
    }
    if (status != IVL_OK) {
        cli_picture_loader_free(l);
        return status;
    }
    *out = l;
    return IVL_OK;
}

/* false when the reader hangs in a read: it is left behind with the loader, and the process ends
 * soon. */
static bool wait_for_reader(cli_picture_loader *l)
{
    double until = ivl__now() + READER_PATIENCE_SECONDS;
    bool done;

    ivl__mutex_lock(&l->lock);
    l->stop = true;
    ivl__cond_broadcast(&l->to_do);
    ivl__cond_broadcast(&l->memory);
    ivl__cond_broadcast(&l->room);
    while (l->reader_started && !l->reader_done && ivl__now() < until) {
        (void)ivl__cond_wait_for(&l->ready, &l->lock, POLL_SECONDS);
    }
    done = !l->reader_started || l->reader_done;
    ivl__mutex_unlock(&l->lock);
    return done;
}

void cli_picture_loader_free(cli_picture_loader *l)
{
    bool reader_done;

    if (!l) {
        return;
    }
    reader_done = wait_for_reader(l);
    for (int i = 0; i < l->n_workers; i++) {
        ivl__thread_join(l->workers[i]);
    }
    if (!reader_done) {
        return;
    }
    if (l->reader_started) {
        ivl__thread_join(l->reader);
    }
    for (; l->head < l->tail; l->head++) {
        cli_picture_free(&l->ring[l->head % RING].picture);
    }
    ivl__image_source_free(l->source);
    ivl__cond_free(&l->to_do);
    ivl__cond_free(&l->memory);
    ivl__cond_free(&l->room);
    ivl__cond_free(&l->ready);
    ivl__mutex_free(&l->lock);
    ivl__free(l);
}
