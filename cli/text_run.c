/* text_run.c - lines of text to rows; see text_run.h. */
#include "cli/text_run.h"

#include "cli/dry_run.h"
#include "cli/progress.h"
#include "cli/run_stats.h"
#include "cli/text_encoder.h"
#include "loader/record_writer.h"
#include "loader/text_source.h"
#include "loader/unit_vector.h"
#include "runtime/hash.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MOST_EVENTS = 16384, /* a batch ends there even if all its lines failed */
    LISTED_FAILURES = 100,
    PROBED_TEXTS = 64, /* whose pace a dry run measures */
};

/* As runs over pictures have it: kill -9 loses the batch that runs, a power cut so much more. */
#define SYNC_SECONDS 2.0

/* One line, or the mark of a unit; strings are positions in the block of the batch. */
typedef struct text_event {
    ivl__item_kind kind; /* PICTURE: a text with a vector */
    uint64_t unit, position, line, content;
    size_t words; /* members of the metadata, or why it failed */
} text_event;

typedef struct runner {
    const cli_text_run *run;
    ivl__record_writer *writer;
    ivl__text_source *source;
    cli_encoder *encoder; /* NULL until there is something to compute */

    /* The batch. */
    text_event *events; /* [n_events] */
    size_t n_events, events_capacity;
    ivl__text block; /* NUL-terminated strings */
    cli_token_list tokens;
    float *vectors; /* [batch, dim] */
    size_t batch, dim;

    /* Where the reading is. */
    uint64_t lines, units; /* begun, of all shards */
    uint64_t position;     /* in the unit; 0: the next line begins one */
    bool mine, end;

    uint64_t total; /* lines of the file, 0 where not known */
    uint64_t done, found, found_errors, rows, errors;
    double first_read, last_write, write_seconds;
} runner;

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a batch of texts");
}

static void show_progress(runner *r, const char *stage)
{
    cli_progress_update(r->done + r->found, r->found, r->total, stage);
}

static void at_stage(void *user, const char *stage)
{
    show_progress(user, stage);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* A text as the number that stands for it in the record of inputs: the first bytes of its hash. */
static uint64_t content_of(const ivl__text_item *text)
{
    ivl__sha256 hash;
    char hex[65];
    uint64_t content = 0;

    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, text->text, text->bytes);
    ivl__sha256_add(&hash, text->failed ? "\1" : "\0", 1);
    ivl__sha256_hex(&hash, hex);
    hex[16] = '\0';
    sscanf(hex, "%" SCNx64, &content);
    return content ? content : 1;
}

static ivl_status add_event(runner *r, ivl__item_kind kind, const ivl__text_item *text,
                            uint64_t content, ivl_error *error)
{
    if (!ivl__grow((void **)&r->events, &r->events_capacity, r->n_events + 1, sizeof *r->events)) {
        return no_memory(error);
    }
    r->events[r->n_events++] = (text_event){.kind = kind,
                                            .unit = r->units - 1,
                                            .position = r->position,
                                            .line = text ? text->line : 0,
                                            .content = content,
                                            .words = r->block.bytes};
    return IVL_OK;
}

/* The string of an event begins where the block ended when the event was added. */
static ivl_status end_string(runner *r, ivl_error *error)
{
    ivl__text_add(&r->block, "", 1);
    return r->block.failed ? no_memory(error) : IVL_OK;
}

static ivl_status add_failure(runner *r, const ivl__text_item *text, uint64_t content,
                              const char *why, ivl_error *error)
{
    if (r->errors < LISTED_FAILURES) {
        cli_say(IVL_LOG_WARNING, "skipped line %" PRIu64 " of %s: %s", text->line, r->run->texts,
                why);
    } else if (r->errors == LISTED_FAILURES) {
        cli_say(IVL_LOG_WARNING, "more lines fail; the list of errors beside the output has all");
    }
    r->errors++;
    IVL__TRY(add_event(r, IVL__ITEM_FAILED, text, content, error));
    ivl__text_puts(&r->block, why);
    return end_string(r, error);
}

/* Only lines that are computed need the device; the clock runs from here. */
static ivl_status prepare(runner *r, ivl_error *error)
{
    static const char *const taps[] = {"text"};
    const cli_text_run *run = r->run;
    const cli_encoder_options options = {
        .globals = run->globals,
        .model = run->model,
        .batch = run->output->batch,
        .modes = "text",
        .most_texts = CLI_TEXT_BATCH,
        .recorded = r->writer ? ivl__record_writer_provenance(r->writer) : NULL,
        .taps = taps,
        .n_taps = 1,
        .timed = run->stats != NULL,
    };

    IVL__TRY(cli_encoder_open(&options, &r->encoder, error));
    cli_encoder_watch(r->encoder, at_stage, r);
    r->batch = (size_t)cli_encoder_batch(r->encoder);
    r->dim = (size_t)cli_encoder_embed_dim(r->encoder);
    r->vectors = ivl__calloc(r->batch * r->dim, sizeof *r->vectors);
    if (!r->vectors) {
        return no_memory(error);
    }
    r->first_read = ivl__now();
    if (!r->writer) {
        return IVL_OK;
    }
    cli_progress_begin("embed", "texts");
    return ivl__record_writer_set_provenance(r->writer, cli_encoder_provenance(r->encoder), error);
}

static ivl_status add_text(runner *r, const ivl__text_item *text, uint64_t content,
                           ivl_error *error)
{
    ivl_error why = {0};
    ivl_status status;

    if (text->failed) {
        return add_failure(r, text, content, text->error_text, error);
    }
    if (!r->encoder) {
        IVL__TRY(prepare(r, error));
    }
    status = cli_token_list_add(&r->tokens, r->run->tokenizer, IVL__SUMMARIZE_PROMPT, text->text,
                                text->bytes, &why);
    if (status == IVL_BAD_INPUT) {
        return add_failure(r, text, content, why.message, error);
    }
    if (status != IVL_OK) {
        return ivl__fail(error, status, "line %" PRIu64 ": %s", text->line, why.message);
    }
    IVL__TRY(add_event(r, IVL__ITEM_PICTURE, text, content, error));
    ivl__text_puts(&r->block, "\"text\": ");
    ivl__text_json_bytes(&r->block, text->text, text->bytes);
    return end_string(r, error);
}

/* What the record has of an item. */
static ivl_status ask(runner *r, ivl__item_kind kind, char *key, uint64_t content, ivl__seen *seen,
                      ivl_error *error)
{
    const ivl__item item = {.kind = kind,
                            .unit = r->units - 1,
                            .position = r->position,
                            .key = key,
                            .content = content};

    return ivl__record_writer_seen(r->writer, &item, seen, error);
}

static ivl_status begin_unit(runner *r, ivl_error *error)
{
    const ivl__image_source_options *source = &r->run->output->source;
    ivl__seen seen;

    r->mine = source->shards < 2 || r->units % source->shards == source->shard;
    r->units++;
    if (!r->mine) {
        return IVL_OK;
    }
    IVL__TRY(ask(r, IVL__ITEM_UNIT_BEGIN, NULL, 0, &seen, error));
    return add_event(r, IVL__ITEM_UNIT_BEGIN, NULL, 0, error);
}

static ivl_status end_unit(runner *r, ivl_error *error)
{
    ivl__seen seen;

    if (r->mine && r->units) {
        IVL__TRY(ask(r, IVL__ITEM_UNIT_END, NULL, 0, &seen, error));
        IVL__TRY(add_event(r, IVL__ITEM_UNIT_END, NULL, 0, error));
    }
    r->position = 0;
    r->mine = false;
    return IVL_OK;
}

static ivl_status take_line(runner *r, const ivl__text_item *text, ivl_error *error)
{
    uint64_t unit_rows = r->run->output->source.unit_rows;

    if (r->position == 0) {
        IVL__TRY(begin_unit(r, error));
    }
    r->lines++;
    if (r->mine) {
        uint64_t content = content_of(text);
        ivl__seen seen;
        char key[24];

        snprintf(key, sizeof key, "%" PRIu64, text->line);
        IVL__TRY(ask(r, IVL__ITEM_PICTURE, key, content, &seen, error));
        if (seen == IVL__SEEN_NEW) {
            IVL__TRY(add_text(r, text, content, error));
        } else {
            r->found++;
        }
    }
    r->position++;
    return unit_rows && r->position == unit_rows ? end_unit(r, error) : IVL_OK;
}

/* Until the batch is full or the file ends. */
static ivl_status collect(runner *r, ivl_error *error)
{
    while (!r->end && r->tokens.n < r->batch && r->n_events < MOST_EVENTS) {
        ivl__text_item text;

        if (cli_stop_requests()) {
            return ivl__fail(error, IVL_CANCELLED, "interrupted");
        }
        IVL__TRY(ivl__text_source_next(r->source, &text, &r->end, error));
        IVL__TRY(r->end ? (r->position ? end_unit(r, error) : IVL_OK) : take_line(r, &text, error));
    }
    return IVL_OK;
}

/* ---- computing and writing --------------------------------------------------------------- */

static ivl_status compute(runner *r, ivl_error *error)
{
    if (r->tokens.n == 0) {
        return IVL_OK;
    }
    IVL__TRY(cli_text_vectors(r->encoder, &r->tokens, 0, r->tokens.n, r->vectors, error));
    for (size_t i = 0; r->run->normalize && i < r->tokens.n; i++) {
        ivl__unit_vector(r->vectors + i * r->dim, r->dim); /* zeros stay zeros */
    }
    return IVL_OK;
}

static ivl_status write_line(runner *r, const text_event *event, size_t *row, ivl_error *error)
{
    const char *words = r->block.data + event->words;
    const float *vector = r->vectors + *row * r->dim;
    char key[24];
    const ivl__record record = {.unit = event->unit,
                                .position = event->position,
                                .key = key,
                                .content = event->content,
                                .fields = event->kind == IVL__ITEM_FAILED ? NULL : words};

    snprintf(key, sizeof key, "%" PRIu64, event->line);
    if (event->kind == IVL__ITEM_FAILED) {
        return ivl__record_writer_add_error(r->writer, &record, words, error);
    }
    ++*row;
    return ivl__record_writer_add_row(r->writer, &record, &vector, error);
}

static ivl_status write_event(runner *r, const text_event *event, size_t *row, ivl_error *error)
{
    switch (event->kind) {
    case IVL__ITEM_UNIT_BEGIN:
        return ivl__record_writer_begin_unit(r->writer, event->unit, NULL, error);
    case IVL__ITEM_UNIT_END: return ivl__record_writer_end_unit(r->writer, event->unit, error);
    case IVL__ITEM_PICTURE:
    case IVL__ITEM_TENSOR:
    case IVL__ITEM_FAILED: break;
    }
    return write_line(r, event, row, error);
}

static ivl_status write_batch(runner *r, ivl_error *error)
{
    double start = ivl__now();
    size_t row = 0;

    for (size_t i = 0; i < r->n_events; i++) {
        IVL__TRY(write_event(r, &r->events[i], &row, error));
    }
    IVL__TRY(ivl__record_writer_commit(r->writer, error));
    r->rows += row;
    r->last_write = ivl__now();
    r->write_seconds += r->last_write - start;
    return IVL_OK;
}

static void clear_batch(runner *r)
{
    for (size_t i = 0; i < r->n_events; i++) {
        r->done += r->events[i].kind == IVL__ITEM_PICTURE || r->events[i].kind == IVL__ITEM_FAILED;
    }
    r->n_events = 0;
    ivl__text_clear(&r->block);
    cli_token_list_clear(&r->tokens);
}

static ivl_status run_batches(runner *r, ivl_error *error)
{
    while (!r->end) {
        IVL__TRY(collect(r, error));
        IVL__TRY(compute(r, error));
        IVL__TRY(write_batch(r, error));
        clear_batch(r);
        if (r->first_read > 0.0) {
            show_progress(r, NULL);
        }
    }
    return IVL_OK;
}

/* ---- start and end ----------------------------------------------------------------------- */

/* 0 where the texts can be read only once. */
static ivl_status count_lines(const char *path, uint64_t *lines, ivl_error *error)
{
    ivl__text_source *source = NULL;
    ivl__text_item text;
    bool end = false;
    ivl_status status;

    *lines = 0;
    if (strcmp(path, "-") == 0) {
        return IVL_OK;
    }
    status = ivl__text_source_open(path, &source, error);
    while (status == IVL_OK && !cli_stop_requests()) {
        status = ivl__text_source_next(source, &text, &end, error);
        if (end) {
            break;
        }
        *lines += status == IVL_OK;
    }
    ivl__text_source_free(source);
    return status;
}

static ivl_status open_writer(runner *r, ivl_error *error)
{
    ivl_model_info info;
    const cli_picture_options *o = r->run->output;
    ivl__record_stream stream = {.name = "text_emb", .suffix = "", .rank = 1};
    const ivl__record_writer_options options = {
        .streams = &stream,
        .n_streams = 1,
        .type = o->type,
        .identity = r->run->identity,
        .same_numerics = o->same_numerics,
        .force = o->force,
        .retry_errors = o->retry_errors,
        .sync_seconds = SYNC_SECONDS,
    };

    ivl_model_get_info(r->run->model, &info);
    stream.shape[0] = (uint64_t)info.embed_dim;
    return ivl__record_writer_open(o->output, &options, &r->writer, error);
}

static bool is_to_stop(void)
{
    return cli_stop_requests() > 0;
}

/* A file that is not there is told before anything of the output is made. */
static ivl_status open_all(runner *r, ivl_error *error)
{
    r->batch = CLI_TEXT_BATCH; /* until the encoder is open */
    if (!r->run->globals->quiet) {
        IVL__TRY(count_lines(r->run->texts, &r->total, error));
    }
    IVL__TRY(ivl__text_source_open(r->run->texts, &r->source, error));
    ivl__text_source_set_stop(r->source, is_to_stop);
    return open_writer(r, error);
}

static void close_all(runner *r)
{
    ivl__record_writer_free(r->writer);
    ivl__text_source_free(r->source);
    cli_encoder_free(r->encoder);
    cli_token_list_free(&r->tokens);
    ivl__text_free(&r->block);
    ivl__free(r->events);
    ivl__free(r->vectors);
}

static ivl_status write_stats(const runner *r, ivl_error *error)
{
    double first = r->first_read > 0.0 ? r->first_read : ivl__now();
    cli_run_stats stats = {.images = r->rows,
                           .failed = r->errors,
                           .seconds = r->last_write > first ? r->last_write - first : 0.0,
                           .startup_seconds = first - r->run->started,
                           .write_seconds = r->write_seconds};

    if (r->encoder) {
        ivl_session_get_stats(cli_encoder_session(r->encoder), &stats.session);
        stats.session.batch = (int)r->batch;
    }
    return r->run->stats ? cli_run_stats_write(&stats, r->run->stats, error) : IVL_OK;
}

static void tell_end(const runner *r)
{
    double seconds = r->last_write - r->first_read;

    if (r->first_read <= 0.0 && !r->errors) {
        cli_say(IVL_LOG_INFO, "embed: nothing left to do in %s", r->run->output->output);
    } else {
        seconds = r->first_read > 0.0 ? seconds : 0.0;
        cli_say(IVL_LOG_INFO,
                "embed: %" PRIu64 " texts in %.1f s (%.3g texts/s), %" PRIu64 " skipped -> %s",
                r->rows, seconds, seconds > 0.0 ? (double)r->rows / seconds : 0.0, r->errors,
                r->run->output->output);
    }
    if (r->found_errors) {
        cli_say(IVL_LOG_WARNING,
                "%" PRIu64 " lines failed in an earlier run and stay left out; their reasons are "
                "beside the rows",
                r->found_errors);
    }
}

/* After the last line. */
static int finish(runner *r, ivl_error *error)
{
    if (r->units == 0) {
        return cli_usage_error("embed", "no texts: %s is empty", r->run->texts);
    }
    if (ivl__record_writer_finish(r->writer, r->units, r->lines, error) != IVL_OK) {
        return cli_fail(error);
    }
    r->found_errors = ivl__record_writer_get_counts(r->writer).found_errors;
    tell_end(r);
    return r->errors || r->found_errors ? CLI_SKIPPED : CLI_DONE;
}

static int give_up(const runner *r, ivl_status status, const ivl_error *error)
{
    int code = cli_fail(error);

    if (status == IVL_CANCELLED || r->rows) {
        cli_say(IVL_LOG_INFO,
                "embed: %" PRIu64 " rows of this run are saved; the same command goes on there",
                r->rows);
    }
    return code;
}

int cli_text_run_do(const cli_text_run *run)
{
    runner r = {.run = run};
    ivl_error error = {0};
    ivl_status status = open_all(&r, &error);
    int code;

    if (status != IVL_OK) {
        close_all(&r);
        return cli_fail(&error);
    }
    status = run_batches(&r, &error);
    cli_progress_end();
    code = status == IVL_OK ? finish(&r, &error) : give_up(&r, status, &error);
    if (write_stats(&r, &error) != IVL_OK) {
        code = cli_fail(&error);
    }
    close_all(&r);
    return code;
}

/* ---- dry run ----------------------------------------------------------------------------- */

/* The first texts that can be used, twice: the second time nothing is built or measured. */
static ivl_status probe(void *user, double *seconds_each, ivl_error *error)
{
    runner *r = user;
    ivl_status status = ivl__text_source_open(r->run->texts, &r->source, error);
    double start = 0.0;

    while (status == IVL_OK && r->tokens.n < PROBED_TEXTS) {
        ivl__text_item text;

        status = ivl__text_source_next(r->source, &text, &r->end, error);
        if (r->end) {
            break;
        }
        if (status == IVL_OK && !text.failed) {
            status = cli_token_list_add(&r->tokens, r->run->tokenizer, IVL__SUMMARIZE_PROMPT,
                                        text.text, text.bytes, error);
        }
    }
    *seconds_each = 0.0;
    if (status != IVL_OK || r->tokens.n == 0) {
        return status;
    }
    IVL__TRY(prepare(r, error));
    for (int round = 0; round < 2; round++) {
        start = ivl__now();
        IVL__TRY(compute(r, error));
    }
    *seconds_each = (ivl__now() - start) / (double)r->tokens.n;
    return IVL_OK;
}

int cli_text_run_dry(const cli_text_run *run)
{
    runner r = {.run = run};
    ivl_error error = {0};
    ivl_model_info info;
    uint64_t lines;
    int code;

    ivl_model_get_info(run->model, &info);
    if (count_lines(run->texts, &lines, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (cli_stop_requests()) {
        return cli_stop_code();
    }
    if (lines == 0) {
        return strcmp(run->texts, "-") == 0
                   ? cli_usage_error("embed", "--dry-run cannot count texts from standard input")
                   : cli_usage_error("embed", "no texts: %s is empty", run->texts);
    }
    code = cli_dry_run_report(&(cli_dry_run_work){
        .output = run->output->output,
        .items = lines,
        .row_bytes = (uint64_t)info.embed_dim * ivl__npy_type_bytes(run->output->type),
        .unit = "texts",
        .measure = probe,
        .user = &r});
    close_all(&r);
    return code;
}
