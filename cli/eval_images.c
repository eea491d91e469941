/* eval_images.c - the pictures of an evaluation and their vectors; see eval.h. */
#include "cli/eval.h"
#include "cli/image_run.h"
#include "cli/input_walk.h"

#include "loader/input_list.h"
#include "loader/record_lines.h"
#include "model/metrics.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

void cli_eval_images_free(cli_eval_images *images)
{
    for (size_t i = 0; i < images->n; i++) {
        ivl__free(images->keys[i]);
    }
    ivl__free(images->keys);
    ivl__free(images->vectors);
    ivl__free(images->row_of);
    *images = (cli_eval_images){0};
}

/* ---- the inputs -------------------------------------------------------------------------- */

static ivl_status add_key(void *user, char **key, ivl_error *error)
{
    cli_eval_images *images = user;

    if (!ivl__grow((void **)&images->keys, &images->capacity, images->n + 1,
                   sizeof *images->keys)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the names of pictures");
    }
    images->keys[images->n++] = *key;
    *key = NULL;
    return IVL_OK;
}

/* ---- the run ----------------------------------------------------------------------------- */

typedef struct row_maker {
    float *vector; /* [dim] */
    size_t dim;
} row_maker;

static void make_row(void *user, const cli_batch *batch, int index, const float **rows)
{
    const row_maker *m = user;

    memcpy(m->vector, batch->results[0] + (size_t)index * m->dim, m->dim * sizeof *m->vector);
    ivl__normalize(m->vector, m->dim);
    rows[0] = m->vector;
}

static void make_identity(const cli_eval_options *o, const cli_clip *clip, ivl__text *t)
{
    ivl__text_printf(t, "{\"command\":\"eval\",\"model_id\":\"%s\",\"mode\":\"%s\"",
                     clip->info.model_id, clip->mode);
    cli_picture_options_identity(&o->pictures, t);
    ivl__text_puts(t, "}");
}

static int run(const cli_eval_options *o, const cli_clip *clip, row_maker *m, const char *identity)
{
    const ivl__record_stream stream = {
        .name = "img_emb", .suffix = "", .rank = 1, .shape = {(uint64_t)m->dim}};
    const cli_image_run images = {
        .what = "eval",
        .globals = o->globals,
        .pictures = &o->pictures,
        .started = o->started,
        .streams = &stream,
        .n_streams = 1,
        .type = o->pictures.type,
        .identity = identity,
        .rows = make_row,
        .user = m,
        .model = clip->model,
        .modes = clip->mode,
        .taps = &clip->tap,
        .n_taps = 1,
    };

    return cli_image_run_do(&images);
}

/* ---- back from the disk ------------------------------------------------------------------ */

/* Rows are the inputs in order, without those that failed. */
static ivl_status find_row(cli_eval_images *images, const char *line, size_t bytes, size_t row,
                           size_t *input, ivl__text *key, ivl_error *error)
{
    const char *have;
    size_t n;

    if (!ivl__record_line_key(line, bytes, &have, &n)) {
        return ivl__fail(error, IVL_BAD_INPUT, "row %zu has no key", row);
    }
    for (; *input < images->n; (*input)++) {
        ivl__text_clear(key);
        ivl__text_json(key, images->keys[*input]);
        if (!key->failed && key->bytes == n && memcmp(key->data, have, n) == 0) {
            images->row_of[(*input)++] = (int64_t)row;
            return IVL_OK;
        }
        images->row_of[*input] = -1;
    }
    return ivl__fail(error, IVL_BAD_INPUT, "row %zu (%.*s) is none of the inputs", row,
                     (int)(n < 200 ? n : 200), have);
}

static ivl_status read_lines(cli_eval_images *images, ivl__input_list *list, ivl_error *error)
{
    ivl__text key = {0};
    size_t input = 0;
    size_t row = 0;
    ivl_status status;

    for (;; row++) {
        const char *line;
        size_t bytes;
        bool complete, end;

        status = ivl__input_list_next(list, &line, &bytes, &complete, &end, error);
        if (status != IVL_OK || end) {
            break;
        }
        status = find_row(images, line, bytes, row, &input, &key, error);
        if (status != IVL_OK) {
            break;
        }
    }
    for (; input < images->n; input++) {
        images->row_of[input] = -1;
    }
    if (status == IVL_OK && row != images->rows) {
        status = ivl__fail(error, IVL_BAD_INPUT, "%zu keys for %zu rows", row, images->rows);
    }
    ivl__text_free(&key);
    return status;
}

static ivl_status read_back(const cli_eval_options *o, const cli_clip *clip, const char *vectors,
                            cli_eval_images *images, ivl_error *error)
{
    size_t dim = (size_t)clip->info.embed_dim;
    char *keys = cli_eval_path(o, "images.jsonl");
    ivl__input_list *list = NULL;
    ivl__npy npy;
    void *data = NULL;
    ivl_status status;

    images->row_of = ivl__calloc(images->n, sizeof *images->row_of);
    if (!keys || !images->row_of) {
        ivl__free(keys);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu pictures", images->n);
    }
    status = ivl__npy_read(vectors, images->n * dim * sizeof(float) + 65536, &npy, &data, error);
    if (status == IVL_OK) {
        images->vectors = data;
        images->rows = (size_t)npy.shape[0];
        status = npy.type == IVL__NPY_F4 && npy.rank == 2 && npy.shape[1] == dim
                     ? ivl__input_list_open(keys, -1, '\n', &list, error)
                     : ivl__fail(error, IVL_BAD_INPUT, "'%s' is not [rows, %zu] of float32",
                                 vectors, dim);
    }
    if (status == IVL_OK) {
        status = read_lines(images, list, error);
    }
    ivl__input_list_free(list);
    ivl__free(keys);
    return status;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int encode(cli_eval_options *o, const cli_clip *clip, row_maker *m, const char *path,
                  cli_eval_images *images)
{
    ivl__text identity = {0};
    ivl_error error = {0};
    int code;

    make_identity(o, clip, &identity);
    m->dim = (size_t)clip->info.embed_dim;
    m->vector = ivl__calloc(m->dim, sizeof *m->vector);
    if (identity.failed || !m->vector) {
        ivl__text_free(&identity);
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for an evaluation"});
    }
    o->pictures.output = path;
    code = run(o, clip, m, identity.data);
    o->pictures.output = NULL;
    ivl__text_free(&identity);
    if ((code == CLI_DONE || code == CLI_SKIPPED) &&
        read_back(o, clip, path, images, &error) != IVL_OK) {
        cli_say(IVL_LOG_ERROR, "%s: %s", o->output, error.message);
        return CLI_FAILED;
    }
    return code;
}

static int walk(const cli_eval_options *o, size_t expected, cli_eval_images *images)
{
    ivl_error error = {0};

    if (cli_inputs_walk(&o->pictures, add_key, images, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (expected && images->n != expected) {
        return cli_usage_error("eval",
                               "%zu pictures are named, which are %zu inputs: some are "
                               "archives or folders",
                               expected, images->n);
    }
    return CLI_DONE;
}

int cli_eval_images_encode(cli_eval_options *o, const cli_clip *clip, size_t expected,
                           cli_eval_images *images)
{
    char *path = cli_eval_path(o, "images.npy");
    row_maker m = {0};
    ivl_error error = {0};
    int code = CLI_DONE;

    if (!path) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a path"});
    }
    if (cli_picture_options_fit(&o->pictures, "eval", clip->info.image_size, clip->info.patch_size,
                                &code)) {
        code = walk(o, expected, images);
    }
    if (code == CLI_DONE && ivl__folder_create(o->output, &error) != IVL_OK) {
        code = cli_fail(&error);
    }
    code = code == CLI_DONE ? encode(o, clip, &m, path, images) : code;
    ivl__free(m.vector);
    ivl__free(path);
    return code;
}
