/* cmd_index.c - `internvl index`: the vectors of embed outputs as one file that can be searched. */
#include "cli/options.h"
#include "cli/progress.h"

#include "loader/embeddings.h"
#include "loader/search_index.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <inttypes.h>
#include <string.h>

/* Rows without a direction that are named one by one. */
enum { MOST_NAMED = 10 };

typedef struct request {
    const char *output, *mode, *dtype;
    bool force;
    const char *const *inputs; /* [n_inputs] */
    size_t n_inputs;
} request;

typedef struct indexing {
    const request *r;
    ivl__embeddings **outputs; /* [n_inputs] */
    ivl__index_writer *writer;
    uint64_t rows, kept, skipped, failed; /* to come; done; without a direction; failed in embed */
} indexing;

/* ---- the outputs ------------------------------------------------------------------------- */

/* Vectors that can be compared: of one model, mode, pooling and width. */
static ivl_status check_alike(const indexing *x, size_t i, ivl_error *error)
{
    const ivl__embeddings_info a = ivl__embeddings_get_info(x->outputs[0]);
    const ivl__embeddings_info b = ivl__embeddings_get_info(x->outputs[i]);
    const char *pool[2] = {json_string_value(json_object_get(a.identity, "pool")),
                           json_string_value(json_object_get(b.identity, "pool"))};

    if (strcmp(a.model_id, b.model_id) != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' was made by model %s, '%s' by model %s: one index holds vectors of "
                         "one model",
                         x->r->inputs[0], a.model_id, x->r->inputs[i], b.model_id);
    }
    for (int p = 0; p < 2; p++) {
        pool[p] = pool[p] ? pool[p] : "-";
    }
    if (strcmp(a.mode, b.mode) != 0 || strcmp(pool[0], pool[1]) != 0 || a.dim != b.dim) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' has vectors of mode %s (pool %s, %d values), '%s' of mode %s (pool "
                         "%s, %d values): they cannot be compared",
                         x->r->inputs[0], a.mode, pool[0], a.dim, x->r->inputs[i], b.mode, pool[1],
                         b.dim);
    }
    return IVL_OK;
}

static ivl_status open_outputs(indexing *x, ivl_error *error)
{
    for (size_t i = 0; i < x->r->n_inputs; i++) {
        ivl__embeddings_info info;

        IVL__TRY(ivl__embeddings_open(x->r->inputs[i], x->r->mode, &x->outputs[i], error));
        IVL__TRY(check_alike(x, i, error));
        info = ivl__embeddings_get_info(x->outputs[i]);
        x->rows += info.rows;
        x->failed += info.errors;
    }
    return IVL_OK;
}

static ivl_status open_writer(indexing *x, ivl_error *error)
{
    const ivl__embeddings_info info = ivl__embeddings_get_info(x->outputs[0]);
    const ivl__index_options options = {
        .model_id = info.model_id,
        .mode = info.mode,
        .identity = info.identity,
        .dim = info.dim,
        .type = strcmp(x->r->dtype, "f16") == 0 ? IVL__NPY_F2 : IVL__NPY_F4,
        .most_rows = x->rows,
        .force = x->r->force,
    };

    return ivl__index_writer_open(x->r->output, &options, &x->writer, error);
}

/* ---- the rows ---------------------------------------------------------------------------- */

static void tell_skipped(indexing *x, const char *key)
{
    if (x->skipped++ < MOST_NAMED) {
        cli_say(IVL_LOG_WARNING,
                "skipped %s: its vector has no direction (all zero, or not finite)", key);
    }
}

static ivl_status copy_rows(indexing *x, ivl__embeddings *output, ivl_error *error)
{
    for (;;) {
        const float *row;
        const char *key;
        size_t key_bytes;
        bool kept;

        IVL__TRY(ivl__embeddings_next(output, &row, &key, &key_bytes, error));
        if (!row) {
            return IVL_OK;
        }
        IVL__TRY(ivl__index_writer_add(x->writer, row, key, key_bytes, &kept, error));
        if (kept) {
            x->kept++;
        } else {
            tell_skipped(x, key);
        }
        cli_progress_update(x->kept + x->skipped, 0, x->rows, NULL);
        if (cli_stop_requests()) {
            return ivl__fail(error, IVL_CANCELLED, "indexing was stopped; nothing was written");
        }
    }
}

static ivl_status make_index(indexing *x, ivl_error *error)
{
    IVL__TRY(open_outputs(x, error));
    IVL__TRY(open_writer(x, error));
    cli_progress_begin("index", "rows");
    for (size_t i = 0; i < x->r->n_inputs; i++) {
        IVL__TRY(copy_rows(x, x->outputs[i], error));
    }
    return ivl__index_writer_finish(x->writer, error);
}

static int tell_end(const indexing *x, double seconds)
{
    const ivl__embeddings_info info = ivl__embeddings_get_info(x->outputs[0]);

    if (x->skipped > MOST_NAMED) {
        cli_say(IVL_LOG_WARNING, "and %" PRIu64 " more rows without a direction",
                x->skipped - MOST_NAMED);
    }
    if (x->failed) {
        cli_say(IVL_LOG_WARNING, "%" PRIu64 " inputs failed in embed and are not in the index",
                x->failed);
    }
    cli_say(IVL_LOG_INFO,
            "index: %" PRIu64 " rows of %d values (mode %s) in %.1f s, %" PRIu64 " skipped -> %s",
            x->kept, info.dim, info.mode, seconds, x->skipped, x->r->output);
    return x->skipped || x->failed ? CLI_SKIPPED : CLI_DONE;
}

static int index_all(const request *r)
{
    indexing x = {.r = r, .outputs = ivl__calloc(r->n_inputs, sizeof *x.outputs)};
    double begun = ivl__now();
    ivl_error error = {0};
    int code;

    if (!x.outputs) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for an index"});
    }
    code = make_index(&x, &error) == IVL_OK ? CLI_DONE : -1;
    cli_progress_end();
    code = code == CLI_DONE ? tell_end(&x, ivl__now() - begun) : cli_fail(&error);
    ivl__index_writer_free(x.writer);
    for (size_t i = 0; i < r->n_inputs; i++) {
        ivl__embeddings_free(x.outputs[i]);
    }
    ivl__free(x.outputs);
    return code;
}

/* ---- the command ------------------------------------------------------------------------- */

static int check(const request *r)
{
    if (r->n_inputs == 0) {
        return cli_usage_error("index", "the EMBEDDINGS are missing: an output folder of embed, or "
                                        "its OUT.npy");
    }
    if (!r->output || !*r->output) {
        return cli_usage_error("index", "-o X.index is missing");
    }
    if (strcmp(r->dtype, "f32") != 0 && strcmp(r->dtype, "f16") != 0) {
        return cli_usage_error("index", "--dtype '%s' is unknown; f32 or f16", r->dtype);
    }
    return CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    request r = {.dtype = "f32"};
    const cli_option options[] = {
        {"output", 'o', CLI_TEXT, &r.output, "X.index", "file to write", NULL},
        {"mode", 0, CLI_TEXT, &r.mode, "M", "vectors to take where there are several: c or g",
         NULL},
        {"dtype", 0, CLI_TEXT, &r.dtype, "T", "f32 (default) or f16: half the size", NULL},
        {"force", 0, CLI_FLAG, &r.force, NULL, "replace what is there already", NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    (void)globals;
    if (!cli_options_parse(&cli_index, options, argc, argv, &arguments, &code)) {
        return code;
    }
    r.inputs = arguments.items;
    r.n_inputs = arguments.n;
    code = check(&r);
    if (code == CLI_DONE) {
        code = index_all(&r);
    }
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_index = {
    .name = "index",
    .summary = "vectors of embed outputs as one file for search",
    .synopsis = "EMBEDDINGS... [--mode c|g] -o X.index [OPTIONS]",
    .examples =
        "internvl index photos.emb/ --mode g -o photos.index\n"
        "internvl index photos.npy --dtype f16 -o photos.index\n"
        "python3 -c 'import numpy; print(numpy.load(\"photos.index\", mmap_mode=\"r\").shape)'",
    .run = run,
};
