/* image_run.c - inputs to rows; see image_run.h. */
#include "cli/image_run.h"

#include "cli/encoder.h"
#include "cli/input_count.h"
#include "cli/picture_loader.h"
#include "cli/progress.h"
#include "cli/run_stats.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

enum {
    MOST_EVENTS = 1024,  /* a batch ends there even if all its inputs failed */
    BATCH_OF_CROPS = 16, /* where no device has a wish */
};

/* A batch is journalled at once, which kill -9 cannot undo; only a power cut can cost this much. */
#define SYNC_SECONDS 2.0

typedef struct runner {
    const cli_image_run *run;
    ivl__record_writer *writer;
    cli_picture_loader *loader;
    cli_batch_writer *sink;
    cli_encoder *encoder; /* NULL until there is something to compute */
    cli_input_count *count;
    int batch;
    cli_picture held; /* taken, but of another shape than the batch before it */
    bool has_held, end;
    uint64_t done; /* inputs of this run that are computed or failed */
} runner;

/* ---- progress ---------------------------------------------------------------------------- */

static void show_progress(runner *r, const char *stage)
{
    uint64_t found = cli_picture_loader_get_counts(r->loader).found;

    cli_progress_update(r->done + found, found, cli_input_count_get(r->count), stage);
}

static void at_stage(void *user, const char *stage)
{
    show_progress(user, stage);
}

/* ---- start-up ---------------------------------------------------------------------------- */

static ivl_status open_encoder(runner *r, ivl_error *error)
{
    const cli_image_run *run = r->run;
    const cli_encoder_options options = {
        .globals = run->globals,
        .model = run->model,
        .size = run->pictures->size,
        .batch = run->pictures->batch,
        .most = run->most,
        .modes = run->modes,
        .recorded = r->writer ? ivl__record_writer_provenance(r->writer) : NULL,
        .taps = run->taps,
        .n_taps = run->n_taps,
        .timed = run->stats != NULL,
    };

    IVL__TRY(cli_encoder_open(&options, &r->encoder, error));
    r->batch = cli_encoder_batch(r->encoder);
    if (run->ready) {
        IVL__TRY(run->ready(run->user, r->encoder, error));
    }
    cli_encoder_watch(r->encoder, at_stage, r);
    if (!r->writer) {
        return IVL_OK;
    }
    return ivl__record_writer_set_provenance(r->writer, cli_encoder_provenance(r->encoder), error);
}

static ivl_status prepare(void *user, int *ahead, ivl_error *error)
{
    runner *r = user;

    r->batch = r->run->pictures->batch ? r->run->pictures->batch : BATCH_OF_CROPS;
    if (r->run->model) {
        IVL__TRY(open_encoder(r, error));
    }
    *ahead = r->batch;
    cli_progress_begin(r->run->what, "images");
    return IVL_OK;
}

static ivl_status open_writer(runner *r, ivl_error *error)
{
    const cli_image_run *run = r->run;
    const ivl__record_writer_options options = {
        .streams = run->streams,
        .n_streams = run->n_streams,
        .type = run->type,
        .identity = run->identity,
        .same_numerics = run->pictures->same_numerics,
        .force = run->pictures->force,
        .retry_errors = run->pictures->retry_errors,
        .sync_seconds = SYNC_SECONDS,
    };

    return ivl__record_writer_open(run->pictures->output, &options, &r->writer, error);
}

ivl_status cli_image_run_check(const cli_picture_options *pictures, ivl_error *error)
{
    ivl__image_source *source;

    IVL__TRY(ivl__image_source_open(pictures->inputs, pictures->n_inputs, &pictures->source,
                                    &source, error));
    ivl__image_source_free(source);
    return IVL_OK;
}

static ivl_status open_all(runner *r, ivl_error *error)
{
    const cli_image_run *run = r->run;
    cli_picture_loader_options loader = {
        .inputs = run->pictures->inputs,
        .n_inputs = run->pictures->n_inputs,
        .source = run->pictures->source,
        .rules = run->pictures->rules,
        .threads = run->globals->threads,
        .prepare = prepare,
        .user = r,
    };
    cli_batch_writer_options sink = {.n_taps = run->n_taps,
                                     .rows = run->rows,
                                     .fields = run->fields,
                                     .take = run->take,
                                     .user = run->user};

    IVL__TRY(cli_image_run_check(run->pictures, error));
    if (!run->take) {
        IVL__TRY(open_writer(r, error));
    }
    loader.writer = sink.writer = r->writer;
    IVL__TRY(cli_batch_writer_open(&sink, &r->sink, error));
    IVL__TRY(cli_picture_loader_open(&loader, &r->loader, error));
    if (!run->globals->quiet) {
        r->count = cli_input_count_start(run->pictures->inputs, run->pictures->n_inputs,
                                         &run->pictures->source);
    }
    return IVL_OK;
}

static void close_all(runner *r)
{
    cli_input_count_free(r->count);
    if (r->has_held) {
        cli_picture_free(&r->held);
    }
    cli_picture_loader_free(r->loader);
    cli_batch_writer_free(r->sink);
    cli_encoder_free(r->encoder);
    ivl__record_writer_free(r->writer);
}

/* ---- batches ----------------------------------------------------------------------------- */

static ivl_status take_picture(runner *r, cli_picture *picture, ivl_error *error)
{
    if (r->has_held) {
        *picture = r->held;
        r->has_held = false;
        return IVL_OK;
    }
    return cli_picture_loader_next(r->loader, picture, &r->end, error);
}

/* Until the batch is full, the shape changes or the inputs end. */
static ivl_status collect(runner *r, cli_batch *batch, ivl_error *error)
{
    while (!r->end && batch->n_events < MOST_EVENTS &&
           (batch->images.count == 0 || batch->images.count < r->batch)) {
        cli_picture picture;

        IVL__TRY(take_picture(r, &picture, error));
        if (r->end) {
            break;
        }
        if (!cli_batch_takes(batch, &picture)) {
            r->held = picture;
            r->has_held = true;
            break;
        }
        r->done += !cli_picture_is_mark(&picture) && !cli_batch_has_result(&picture);
        IVL__TRY(cli_batch_add(batch, &picture, r->batch, error));
    }
    return IVL_OK;
}

/* Pictures of a size of their own (arrays) that the device cannot take are failed inputs, not the
 * end of the run. */
static ivl_status fail_pictures(cli_batch *batch, const ivl_error *why, ivl_error *error)
{
    for (size_t i = 0; i < batch->n_events; i++) {
        cli_picture *event = &batch->events[i];

        if (cli_batch_has_result(event)) {
            event->failure = ivl__strdup(why->message);
            if (!event->failure) {
                return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a failure");
            }
        }
    }
    batch->images.count = 0;
    return IVL_OK;
}

static ivl_status compute(runner *r, cli_batch *batch, ivl_error *error)
{
    const ivl_images *images = &batch->images;
    int size = r->run->pictures->size;
    uint64_t count = (uint64_t)images->count;
    ivl_error why = {0};
    ivl_status status;

    if (!r->encoder || count == 0) {
        r->done += count;
        return IVL_OK;
    }
    if (r->run->texts) {
        IVL__TRY(r->run->texts(r->run->user, batch, error));
    }
    status = cli_encoder_run(r->encoder, batch, &why);
    if (status == IVL_OK && r->run->computed) {
        status = r->run->computed(r->run->user, r->encoder, batch, &why);
    }
    if ((images->width != size || images->height != size) &&
        (status == IVL_OUT_OF_DEVICE_MEMORY || status == IVL_UNSUPPORTED ||
         status == IVL_INVALID_ARGUMENT || status == IVL_OUT_OF_MEMORY)) {
        status = fail_pictures(batch, &why, error);
    } else if (status != IVL_OK) {
        return ivl__fail(error, status, "%s", why.message);
    }
    r->done += status == IVL_OK ? count : 0;
    return status;
}

static ivl_status run_batches(runner *r, ivl_error *error)
{
    ivl_status status = IVL_OK;

    while (status == IVL_OK && !r->end) {
        cli_batch *batch;

        IVL__TRY(cli_batch_writer_take(r->sink, &batch, error));
        status = collect(r, batch, error);
        if (status == IVL_OK) {
            status = compute(r, batch, error);
        }
        if (status != IVL_OK) {
            cli_batch_clear(batch);
        }
        cli_batch_writer_submit(r->sink, batch);
        show_progress(r, NULL);
    }
    return status;
}

/* ---- the end ----------------------------------------------------------------------------- */

static ivl_status write_stats(runner *r, ivl_error *error)
{
    cli_picture_loader_counts read = cli_picture_loader_get_counts(r->loader);
    cli_batch_writer_counts written = cli_batch_writer_get_counts(r->sink);
    double first = read.first_read > 0.0 ? read.first_read : ivl__now();
    cli_run_stats stats = {.images = written.rows,
                           .failed = written.errors,
                           .seconds = written.last_write > first ? written.last_write - first : 0.0,
                           .startup_seconds = first - r->run->started,
                           .write_seconds = written.seconds,
                           .times = read.times};

    if (r->encoder) {
        ivl_session_get_stats(cli_encoder_session(r->encoder), &stats.session);
    }
    cli_say(IVL_LOG_VERBOSE,
            "read %.2f s, decode %.2f s, resize %.2f s (all threads), write %.2f "
            "s; at most %.0f MiB of files and pictures at once",
            read.times.read, read.times.decode, read.times.resize, written.seconds,
            (double)read.peak_bytes / 0x1p20);
    return r->run->stats ? cli_run_stats_write(&stats, r->run->stats, error) : IVL_OK;
}

static void tell_end(runner *r, const cli_batch_writer_counts *written)
{
    cli_picture_loader_counts read = cli_picture_loader_get_counts(r->loader);
    double seconds = written->last_write - read.first_read;
    const char *output = r->run->pictures->output;

    if (read.first_read <= 0.0) {
        cli_say(IVL_LOG_INFO, "%s: nothing left to do in %s", r->run->what, output);
    } else {
        cli_say(IVL_LOG_INFO, "%s: %llu images in %.1f s (%.3g images/s), %llu skipped%s%s",
                r->run->what, (unsigned long long)written->rows, seconds,
                seconds > 0.0 ? (double)written->rows / seconds : 0.0,
                (unsigned long long)written->errors, r->writer ? " -> " : "",
                r->writer ? output : "");
    }
    if (read.found_errors) {
        cli_say(IVL_LOG_WARNING,
                "%llu inputs failed in an earlier run and stay left out; their reasons are beside "
                "the rows, --retry-errors tries them again",
                (unsigned long long)read.found_errors);
    }
}

/* After the last input. */
static int finish(runner *r, ivl_error *error)
{
    cli_picture_loader_counts read = cli_picture_loader_get_counts(r->loader);
    cli_batch_writer_counts written = cli_batch_writer_get_counts(r->sink);
    ivl_status status = IVL_OK;

    if (read.source.units == 0) {
        return cli_usage_error(r->run->what, "no pictures in what was named (%llu other files)",
                               (unsigned long long)read.source.other);
    }
    if (r->writer) {
        status = ivl__record_writer_finish(r->writer, read.source.units, read.source.inputs, error);
    }
    if (status != IVL_OK) {
        return cli_fail(error);
    }
    if (read.source.other) {
        cli_say(IVL_LOG_INFO,
                "left out: %llu files (or members of tars) that are no pictures by their names",
                (unsigned long long)read.source.other);
    }
    tell_end(r, &written);
    return written.errors || read.found_errors ? CLI_SKIPPED : CLI_DONE;
}

/* Before the last input. Both statuses may have something to say; the device's comes first. */
static int give_up(runner *r, ivl_status status, const ivl_error *error)
{
    uint64_t rows = cli_batch_writer_get_counts(r->sink).rows;
    int code = cli_fail(error);

    if (r->writer && (status == IVL_CANCELLED || rows)) {
        cli_say(IVL_LOG_INFO, "%s: %llu rows of this run are saved; the same command goes on there",
                r->run->what, (unsigned long long)rows);
    }
    return code;
}

int cli_image_run_do(const cli_image_run *run)
{
    runner r = {.run = run};
    ivl_error error = {0};
    ivl_error late = {0};
    ivl_status status = open_all(&r, &error);
    ivl_status drained;
    int code;

    if (status != IVL_OK) {
        close_all(&r);
        return cli_fail(&error);
    }
    status = run_batches(&r, &error);
    drained = cli_batch_writer_drain(r.sink, &late);
    cli_progress_end();
    if (status == IVL_OK && drained != IVL_OK) {
        status = drained;
        error = late;
    }
    code = status == IVL_OK ? finish(&r, &error) : give_up(&r, status, &error);
    if (write_stats(&r, &error) != IVL_OK) {
        code = cli_fail(&error);
    }
    close_all(&r);
    return code;
}
