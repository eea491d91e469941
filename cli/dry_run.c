/* dry_run.c - what a run would do; see dry_run.h. */
#include "cli/dry_run.h"

#include "cli/encoder.h"
#include "cli/input_count.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

/* Of one row over all streams. */
static uint64_t row_bytes(const cli_image_run *run)
{
    uint64_t values = 0;

    for (int i = 0; i < run->n_streams; i++) {
        uint64_t n = 1;

        for (int k = 0; k < run->streams[i].rank; k++) {
            n *= run->streams[i].shape[k];
        }
        values += n;
    }
    return values * ivl__npy_type_bytes(run->type);
}

/* The file system of the nearest folder on the way to the output that exists. */
static ivl_status free_bytes(const char *output, uint64_t *bytes, ivl_error *error)
{
    char *path = ivl__strdup(output);
    ivl_status status = IVL_OK;

    while (path && ivl__file_kind_of(path) == IVL__FILE_MISSING) {
        size_t n = strlen(path);
        char *folder;

        while (n > 1 && path[n - 1] == '/') {
            path[--n] = '\0';
        }
        folder = ivl__path_folder(path);
        ivl__free(path);
        path = folder;
    }
    status = path ? ivl__disk_free(path, bytes, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
    ivl__free(path);
    return status;
}

/* One launch's worth of pictures; all of a batch where every batch costs one upload of the
 * weights. */
static int probe_size(const cli_encoder *encoder)
{
    ivl_plan plan;
    int batch = cli_encoder_batch(encoder);

    ivl_session_get_plan(cli_encoder_session(encoder), &plan);
    return plan.residency == IVL_RESIDENCY_STREAM || plan.sub_batch > batch ? batch
                                                                            : plan.sub_batch;
}

static ivl_status run_grey(cli_encoder *encoder, const cli_image_run *run, double *per_picture,
                           ivl_error *error)
{
    int size = run->pictures->size;
    size_t side = (size_t)size;
    int n = probe_size(encoder);
    cli_batch batch;
    double start = 0.0;
    ivl_status status = cli_batch_init(&batch, run->n_taps, error);

    for (int i = 0; status == IVL_OK && i < n; i++) {
        cli_picture grey = {.item.kind = IVL__ITEM_PICTURE,
                            .width = size,
                            .height = size,
                            .rgb = ivl__malloc(side * side * 3)};

        if (!grey.rgb) {
            status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a picture");
            break;
        }
        memset(grey.rgb, 128, side * side * 3);
        grey.item.caption = run->texts ? ivl__strdup("a grey square on a grey wall") : NULL;
        status = cli_batch_add(&batch, &grey, n, error);
    }
    if (status == IVL_OK && run->texts) {
        status = run->texts(run->user, &batch, error);
    }
    /* The second time nothing is built, measured or touched for the first time. */
    for (int round = 0; status == IVL_OK && round < 2; round++) {
        start = ivl__now();
        status = cli_encoder_run(encoder, &batch, error);
    }
    *per_picture = (ivl__now() - start) / n;
    cli_batch_free(&batch);
    return status;
}

static ivl_status measure(void *user, double *per_picture, ivl_error *error)
{
    const cli_image_run *run = user;
    const cli_encoder_options options = {.globals = run->globals,
                                         .model = run->model,
                                         .size = run->pictures->size,
                                         .batch = run->pictures->batch,
                                         .most = run->most,
                                         .modes = run->modes,
                                         .taps = run->taps,
                                         .n_taps = run->n_taps};
    cli_encoder *encoder = NULL;
    ivl_status status = cli_encoder_open(&options, &encoder, error);

    if (status == IVL_OK) {
        status = run_grey(encoder, run, per_picture, error);
    }
    cli_encoder_free(encoder);
    return status;
}

static void print_time(double seconds)
{
    unsigned long long s = (unsigned long long)(seconds + 0.5);

    printf("expected time: %llu:%02llu:%02llu\n", s / 3600, s / 60 % 60, s % 60);
}

int cli_dry_run_report(const cli_dry_run_work *work)
{
    uint64_t bytes = work->items * work->row_bytes;
    uint64_t room = 0;
    double each = 0.0;
    ivl_error error = {0};

    if (free_bytes(work->output, &room, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    printf("items: %llu\n", (unsigned long long)work->items);
    printf("bytes out: %llu (%llu a row)\n", (unsigned long long)bytes,
           (unsigned long long)work->row_bytes);
    printf("free disk: %llu%s\n", (unsigned long long)room, bytes > room ? " (too little)" : "");
    if (work->measure) {
        if (work->measure(work->user, &each, &error) != IVL_OK) {
            return cli_fail(&error);
        }
        if (each > 0.0) {
            printf("pace: %.4g %s/s%s\n", 1.0 / each, work->unit, work->note ? work->note : "");
            print_time(each * (double)work->items);
        }
    }
    return CLI_DONE;
}

int cli_dry_run(const cli_image_run *run)
{
    const cli_picture_options *o = run->pictures;
    cli_input_count *count = cli_input_count_start(o->inputs, o->n_inputs, &o->source);
    uint64_t items = 0;
    bool counted = cli_input_count_wait(count, &items);

    cli_input_count_free(count);
    if (cli_stop_requests()) {
        return cli_stop_code();
    }
    if (!counted) {
        return cli_usage_error(run->what, "--dry-run cannot count inputs from standard input");
    }
    if (items == 0 && o->source.shards < 2) {
        return cli_usage_error(run->what, "no pictures in what was named");
    }
    return cli_dry_run_report(
        &(cli_dry_run_work){.output = o->output,
                            .items = items,
                            .row_bytes = row_bytes(run),
                            .unit = "images",
                            .note = run->texts ? " (with short captions)" : NULL,
                            .measure = run->model ? measure : NULL,
                            .user = (void *)(uintptr_t)run});
}
