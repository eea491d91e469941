/* trace.c - writes the timeline of --trace while the program runs; see trace.h. */
#include "cli/trace.h"

#include "loader/json_text.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Two queues, and as many threads as --threads allows with some to spare. */
#define MAX_TRACKS 1100

static struct {
    FILE *file; /* NULL: no trace */
    const char *path;
    char *part;   /* written under this name */
    double begun; /* ivl__now at the beginning: the trace's zero */
    ivl__mutex mutex;
    char *tracks[MAX_TRACKS]; /* names; the index is the "thread" of the format */
    int n_tracks;
    bool failed;
} trace;

ivl_status cli_trace_begin(const char *path, ivl_error *error)
{
    ivl__text part = {0};

    if (trace.file) {
        return IVL_OK;
    }
    ivl__text_printf(&part, "%s.part", path);
    if (part.failed) {
        ivl__text_free(&part);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the trace");
    }
    trace.file = fopen(part.data, "w");
    if (!trace.file) {
        ivl__fail(error, IVL_IO_ERROR, "--trace: '%s' cannot be written: %s", part.data,
                  strerror(errno));
        ivl__text_free(&part);
        return IVL_IO_ERROR;
    }
    trace.path = path;
    trace.part = part.data;
    trace.begun = ivl__now();
    ivl__mutex_init(&trace.mutex);
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
          "{\"name\": \"process_name\", \"ph\": \"M\", \"pid\": 1, \"args\": {\"name\": "
          "\"internvl\"}}",
          trace.file);
    return IVL_OK;
}

bool cli_trace_on(void)
{
    return trace.file != NULL;
}

static void put(ivl__text *line)
{
    if (line->failed || fwrite(line->data, 1, line->bytes, trace.file) != line->bytes) {
        trace.failed = true;
    }
    ivl__text_free(line);
}

/* The number of a track; a new one is announced with its name. */
static int track_of(const char *name)
{
    ivl__text line = {0};

    for (int i = 0; i < trace.n_tracks; i++) {
        if (strcmp(trace.tracks[i], name) == 0) {
            return i;
        }
    }
    if (trace.n_tracks == MAX_TRACKS) {
        return MAX_TRACKS - 1;
    }
    trace.tracks[trace.n_tracks] = ivl__strdup(name);
    if (!trace.tracks[trace.n_tracks]) {
        trace.failed = true;
        return 0;
    }
    ivl__text_printf(&line,
                     ",\n{\"name\": \"thread_name\", \"ph\": \"M\", \"pid\": 1, \"tid\": %d, "
                     "\"args\": {\"name\": ",
                     trace.n_tracks);
    ivl__text_json(&line, name);
    ivl__text_puts(&line, "}}");
    put(&line);
    return trace.n_tracks++;
}

void cli_trace_span(const char *track, const char *category, const char *name, double start,
                    double end)
{
    ivl__text line = {0};

    if (!trace.file) {
        return;
    }
    ivl__text_puts(&line, ",\n{\"name\": ");
    ivl__text_json(&line, name);
    ivl__text_puts(&line, ", \"cat\": ");
    ivl__text_json(&line, category);
    /* Microseconds. */
    ivl__text_printf(&line, ", \"ph\": \"X\", \"pid\": 1, \"ts\": %.3f, \"dur\": %.3f",
                     1e6 * (start - trace.begun), 1e6 * (end - start));
    ivl__mutex_lock(&trace.mutex);
    ivl__text_printf(&line, ", \"tid\": %d}", track_of(track));
    put(&line);
    ivl__mutex_unlock(&trace.mutex);
}

void cli_trace_device_span(void *user, const ivl_trace_span *span)
{
    char track[40];

    (void)user;
    snprintf(track, sizeof track, "device: %s", span->queue);
    cli_trace_span(track, span->stage ? span->stage : "other", span->name, span->start, span->end);
}

int cli_trace_end(int code)
{
    ivl_error error = {0};
    bool failed;

    if (!trace.file) {
        return code;
    }
    fputs("\n]}\n", trace.file);
    failed = trace.failed || ferror(trace.file);
    errno = 0;
    failed = fclose(trace.file) != 0 || failed;
    trace.file = NULL;
    if (failed) {
        ivl__fail(&error, IVL_IO_ERROR, "--trace: '%s' could not be written%s%s", trace.part,
                  errno ? ": " : "", errno ? strerror(errno) : "");
        remove(trace.part);
    } else {
        failed = ivl__file_rename(trace.part, trace.path, &error) != IVL_OK;
    }
    for (int i = 0; i < trace.n_tracks; i++) {
        ivl__free(trace.tracks[i]);
    }
    ivl__free(trace.part);
    ivl__mutex_free(&trace.mutex);
    if (failed) {
        cli_say(IVL_LOG_ERROR, "%s", error.message);
    }
    return failed && code == CLI_DONE ? CLI_FAILED : code;
}
