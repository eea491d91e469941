/* batch_writer.c - finished batches to the output; see batch_writer.h. */
#include "cli/batch_writer.h"

#include "cli/cli.h"
#include "cli/trace.h"
#include "runtime/memory.h"
#include "runtime/os.h"

enum { BATCHES = 2, LISTED_FAILURES = 100 };

struct cli_batch_writer {
    cli_batch_writer_options options;
    ivl__mutex lock;
    ivl__cond changed;
    cli_batch batches[BATCHES];
    bool is_free[BATCHES];
    int queue[BATCHES]; /* submitted, in order */
    int n_queued;
    bool busy, stop;
    ivl_status status;
    ivl_error error;
    cli_batch_writer_counts counts;
    uint64_t rows, errors; /* the writing thread's own; counts has them after each batch */
    ivl__text fields;      /* of one row */
    ivl__thread thread;
    bool started;
};

/* ---- one batch --------------------------------------------------------------------------- */

static void tell_failure(const cli_batch_writer *w, const cli_picture *picture)
{
    if (w->errors < LISTED_FAILURES) {
        cli_say(IVL_LOG_WARNING, "skipped %s: %s", picture->item.key, picture->failure);
    } else if (w->errors == LISTED_FAILURES) {
        cli_say(IVL_LOG_WARNING, "more inputs fail%s",
                w->options.writer ? "; the list of errors beside the output has all" : "");
    }
}

/* The row's own members, and behind them those of the input. */
static ivl_status join_fields(cli_batch_writer *w, ivl__record *record, ivl_error *error)
{
    ivl__text *fields = &w->fields;

    if (fields->bytes && record->fields && record->fields[0]) {
        ivl__text_puts(fields, ",");
        ivl__text_puts(fields, record->fields);
    }
    if (fields->failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the metadata of a row");
    }
    record->fields = fields->bytes ? fields->data : record->fields;
    return IVL_OK;
}

static ivl_status write_picture(cli_batch_writer *w, const cli_batch *batch,
                                const cli_picture *picture, int index, ivl_error *error)
{
    const float *rows[IVL__MAX_STREAMS];
    ivl__record record = {.unit = picture->item.unit,
                          .position = picture->item.position,
                          .key = picture->item.key,
                          .width = picture->source_width,
                          .height = picture->source_height,
                          .caption = picture->item.caption,
                          .fields = picture->item.fields};

    if (picture->failure) {
        tell_failure(w, picture);
        w->errors++;
    } else {
        w->rows++;
    }
    if (!w->options.writer) {
        return w->options.take(w->options.user, batch, picture, index, error);
    }
    if (picture->failure) {
        return ivl__record_writer_add_error(w->options.writer, &record, picture->failure, error);
    }
    w->options.rows(w->options.user, batch, index, rows);
    if (w->options.fields) {
        ivl__text_clear(&w->fields);
        w->options.fields(w->options.user, batch, index, &w->fields);
        IVL__TRY(join_fields(w, &record, error));
    }
    return ivl__record_writer_add_row(w->options.writer, &record, rows, error);
}

static ivl_status write_event(cli_batch_writer *w, const cli_batch *batch, const cli_picture *event,
                              int *index, ivl_error *error)
{
    if (!w->options.writer && cli_picture_is_mark(event)) {
        return IVL_OK;
    }
    switch (event->item.kind) {
    case IVL__ITEM_UNIT_BEGIN:
        return ivl__record_writer_begin_unit(w->options.writer, event->item.unit, event->item.key,
                                             error);
    case IVL__ITEM_UNIT_END:
        return ivl__record_writer_end_unit(w->options.writer, event->item.unit, error);
    case IVL__ITEM_PICTURE:
    case IVL__ITEM_TENSOR:
    case IVL__ITEM_FAILED: break;
    }
    IVL__TRY(write_picture(w, batch, event, *index, error));
    *index += cli_batch_has_result(event);
    return IVL_OK;
}

static ivl_status write_batch(cli_batch_writer *w, const cli_batch *batch, ivl_error *error)
{
    int index = 0;

    for (size_t i = 0; i < batch->n_events; i++) {
        IVL__TRY(write_event(w, batch, &batch->events[i], &index, error));
    }
    return w->options.writer ? ivl__record_writer_commit(w->options.writer, error) : IVL_OK;
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Writes the first batch of the queue; the lock is held, and given up meanwhile. */
static void write_next(cli_batch_writer *w)
{
    int at = w->queue[0];
    ivl_error error = {0};
    ivl_status status = w->status;
    double start = ivl__now();

    w->n_queued--;
    for (int i = 0; i < w->n_queued; i++) {
        w->queue[i] = w->queue[i + 1];
    }
    w->busy = true;
    ivl__mutex_unlock(&w->lock);
    if (status == IVL_OK) {
        status = write_batch(w, &w->batches[at], &error);
        cli_trace_span("write", "write", "batch", start, ivl__now());
    }
    cli_batch_clear(&w->batches[at]);
    ivl__mutex_lock(&w->lock);
    if (w->status == IVL_OK && status != IVL_OK) {
        w->status = status;
        w->error = error;
    }
    w->busy = false;
    w->is_free[at] = true;
    w->counts.rows = w->rows;
    w->counts.errors = w->errors;
    w->counts.last_write = ivl__now();
    w->counts.seconds += w->counts.last_write - start;
    ivl__cond_broadcast(&w->changed);
}

static void *write_all(void *user)
{
    cli_batch_writer *w = user;

    ivl__mutex_lock(&w->lock);
    while (!w->stop || w->n_queued) {
        if (w->n_queued) {
            write_next(w);
        } else {
            ivl__cond_wait(&w->changed, &w->lock);
        }
    }
    ivl__mutex_unlock(&w->lock);
    return NULL;
}

/* ---- the computing side ------------------------------------------------------------------ */

static int find_free(const cli_batch_writer *w)
{
    for (int i = 0; i < BATCHES; i++) {
        if (w->is_free[i]) {
            return i;
        }
    }
    return -1;
}

static ivl_status told(const cli_batch_writer *w, ivl_error *error)
{
    return w->status == IVL_OK ? IVL_OK : ivl__fail(error, w->status, "%s", w->error.message);
}

ivl_status cli_batch_writer_take(cli_batch_writer *w, cli_batch **batch, ivl_error *error)
{
    ivl_status status;
    int at;

    ivl__mutex_lock(&w->lock);
    while ((at = find_free(w)) < 0) {
        ivl__cond_wait(&w->changed, &w->lock);
    }
    status = told(w, error);
    if (status == IVL_OK) {
        w->is_free[at] = false;
        *batch = &w->batches[at];
    }
    ivl__mutex_unlock(&w->lock);
    return status;
}

void cli_batch_writer_submit(cli_batch_writer *w, cli_batch *batch)
{
    ivl__mutex_lock(&w->lock);
    w->queue[w->n_queued++] = (int)(batch - w->batches);
    ivl__cond_broadcast(&w->changed);
    ivl__mutex_unlock(&w->lock);
}

ivl_status cli_batch_writer_drain(cli_batch_writer *w, ivl_error *error)
{
    ivl_status status;

    ivl__mutex_lock(&w->lock);
    while (w->n_queued || w->busy) {
        ivl__cond_wait(&w->changed, &w->lock);
    }
    status = told(w, error);
    ivl__mutex_unlock(&w->lock);
    return status;
}

cli_batch_writer_counts cli_batch_writer_get_counts(cli_batch_writer *w)
{
    cli_batch_writer_counts counts;

    ivl__mutex_lock(&w->lock);
    counts = w->counts;
    ivl__mutex_unlock(&w->lock);
    return counts;
}

/* ---- open and free ----------------------------------------------------------------------- */

ivl_status cli_batch_writer_open(const cli_batch_writer_options *options, cli_batch_writer **out,
                                 ivl_error *error)
{
    cli_batch_writer *w = ivl__calloc(1, sizeof *w);
    ivl_status status = IVL_OK;

    if (!w) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for batches");
    }
    w->options = *options;
    ivl__mutex_init(&w->lock);
    ivl__cond_init(&w->changed);
    for (int i = 0; status == IVL_OK && i < BATCHES; i++) {
        status = cli_batch_init(&w->batches[i], options->n_taps, error);
        w->is_free[i] = true;
    }
    if (status == IVL_OK) {
        status = ivl__thread_start(&w->thread, write_all, w, error);
        w->started = status == IVL_OK;
    }
    if (status != IVL_OK) {
        cli_batch_writer_free(w);
        return status;
    }
    *out = w;
    return IVL_OK;
}

void cli_batch_writer_free(cli_batch_writer *w)
{
    if (!w) {
        return;
    }
    ivl__mutex_lock(&w->lock);
    w->stop = true;
    ivl__cond_broadcast(&w->changed);
    ivl__mutex_unlock(&w->lock);
    if (w->started) {
        ivl__thread_join(w->thread);
    }
    for (int i = 0; i < BATCHES; i++) {
        cli_batch_free(&w->batches[i]);
    }
    ivl__text_free(&w->fields);
    ivl__cond_free(&w->changed);
    ivl__mutex_free(&w->lock);
    ivl__free(w);
}
