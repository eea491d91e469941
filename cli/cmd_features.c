/* cmd_features.c - `internvl features`: feature maps of chosen layers. */
#include "cli/dry_run.h"
#include "cli/image_run.h"
#include "loader/npy_source.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Results of a batch that may lie in host memory; there are two batches and the writer's copy. */
#define BATCH_RESULT_BYTES ((uint64_t)48 << 20)

typedef struct features_options {
    cli_picture_options pictures;
    cli_model_options model;
    cli_list layers;
    const char *stats;
    bool patches, dry_run;
} features_options;

/* The arrays of the output: layers in ascending order, then `pooled`. */
typedef struct maps {
    int layers[IVL__MAX_STREAMS]; /* [n], ascending */
    int n;
    char names[IVL__MAX_STREAMS][16];
    const char *taps[IVL__MAX_STREAMS]; /* [n + 1] */
    ivl__record_stream streams[IVL__MAX_STREAMS];
    size_t width, tokens; /* CLS included */
    bool patches;
} maps;

/* ---- rows -------------------------------------------------------------------------------- */

/* Rows lie in the results as they are; without CLS they begin one token later. */
static void make_rows(void *user, const cli_batch *batch, int index, const float **rows)
{
    const maps *m = user;

    for (int i = 0; i < m->n; i++) {
        rows[i] = batch->results[i] + (size_t)index * m->tokens * m->width +
                  (m->patches ? m->width : 0);
    }
    rows[m->n] = batch->results[m->n] + (size_t)index * m->width;
}

/* ---- layers ------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* One layer, or all of them; negative ones count from the end: -1 is the last block. */
static bool add_layer(maps *m, const char *text, int last, int *code)
{
    char *end;
    long layer;
    bool all = strcmp(text, "all") == 0;

    layer = all ? 0 : strtol(text, &end, 10);
    if (!all && (end == text || *end || layer > last || layer < -last - 1)) {
        *code = cli_usage_error("features",
                                "--layers '%s': this model has layers 0 (embeddings) to %d, or -1 "
                                "to -%d from the end, or all",
                                text, last, last + 1);
        return false;
    }
    layer = layer < 0 ? layer + last + 1 : layer;
    for (long i = layer; i <= (all ? last : layer); i++) {
        bool known = false;

        for (int k = 0; k < m->n; k++) {
            known = known || m->layers[k] == (int)i;
        }
        if (!known && m->n + 1 >= IVL__MAX_STREAMS) {
            *code = cli_usage_error("features", "--layers: at most %d at once",
                                    IVL__MAX_STREAMS - 1);
            return false;
        }
        if (!known) {
            m->layers[m->n++] = (int)i;
        }
    }
    return true;
}

static bool choose_layers(const features_options *o, int last, maps *m, int *code)
{
    for (size_t i = 0; i < o->layers.n; i++) {
        if (!add_layer(m, o->layers.items[i], last, code)) {
            return false;
        }
    }
    qsort(m->layers, (size_t)m->n, sizeof *m->layers, by_number);
    return true;
}

static void make_streams(const features_options *o, const ivl_model_info *info, maps *m)
{
    uint64_t grid = (uint64_t)(o->pictures.size / info->patch_size);
    uint64_t width = (uint64_t)info->hidden_size;

    m->patches = o->patches;
    m->width = (size_t)width;
    m->tokens = (size_t)(grid * grid + 1);
    for (int i = 0; i < m->n; i++) {
        snprintf(m->names[i], sizeof m->names[i], "hidden_%d", m->layers[i]);
        m->taps[i] = m->names[i];
        m->streams[i] = m->patches
                            ? (ivl__record_stream){.rank = 3, .shape = {grid, grid, width}}
                            : (ivl__record_stream){.rank = 2, .shape = {grid * grid + 1, width}};
        m->streams[i].name = m->streams[i].suffix = m->names[i];
    }
    m->taps[m->n] = "pooled";
    m->streams[m->n] = (ivl__record_stream){
        .name = "pooled", .suffix = "pooled", .rank = 1, .shape = {width}};
}

/* ---- the command ------------------------------------------------------------------------- */

/* Rows of one output have one size. Where none is asked for and the first input is an array, its
 * pictures decide. */
static int wanted_size(const cli_picture_options *o, int model_size)
{
    const char *first = o->n_inputs ? o->inputs[0] : "";
    size_t n = strlen(first);
    ivl__npy_source *source;
    ivl__item item;
    bool end;
    int size = model_size;

    if (o->size || n < 4 || strcmp(first + n - 4, ".npy") != 0 ||
        ivl__npy_source_open(first, &source, NULL) != IVL_OK) {
        return o->size ? o->size : model_size;
    }
    if (ivl__npy_source_next(source, &item, &end, NULL) == IVL_OK && !end) {
        size = item.width == item.height ? item.width : model_size;
        ivl__item_free(&item);
    }
    ivl__npy_source_free(source);
    return size;
}

static ivl_status make_identity(const features_options *o, const ivl_model_info *info,
                                const maps *m, ivl__text *t, ivl_error *error)
{
    ivl__text_printf(t, "{\"command\":\"features\",\"model_id\":\"%s\",\"mode\":\"vit\"",
                     info->model_id);
    ivl__text_puts(t, ",\"layers\":[");
    for (int i = 0; i < m->n; i++) {
        ivl__text_printf(t, "%s%d", i ? "," : "", m->layers[i]);
    }
    ivl__text_printf(t, "],\"patches\":%s", o->patches ? "true" : "false");
    cli_picture_options_identity(&o->pictures, t);
    ivl__text_puts(t, "}");
    return t->failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the identity")
                     : IVL_OK;
}

static int most_pictures(const maps *m)
{
    uint64_t bytes = ((uint64_t)m->n * m->tokens + 1) * m->width * sizeof(float);
    uint64_t most = BATCH_RESULT_BYTES / bytes;

    return most < 1 ? 1 : most > 4096 ? 4096 : (int)most;
}

static int run_maps(const cli_globals *globals, const features_options *o, maps *m,
                    const ivl_model *model, double started)
{
    ivl_model_info info;
    ivl__text identity = {0};
    ivl_error error = {0};
    cli_image_run run = {.what = "features",
                         .globals = globals,
                         .pictures = &o->pictures,
                         .started = started,
                         .stats = o->stats,
                         .streams = m->streams,
                         .n_streams = m->n + 1,
                         .type = o->pictures.type,
                         .rows = make_rows,
                         .user = m,
                         .model = model,
                         .taps = m->taps,
                         .n_taps = m->n + 1,
                         .most = most_pictures(m)};
    int code;

    ivl_model_get_info(model, &info);
    if (make_identity(o, &info, m, &identity, &error) != IVL_OK) {
        code = cli_fail(&error);
    } else {
        run.identity = identity.data;
        code = o->dry_run ? cli_dry_run(&run) : cli_image_run_do(&run);
    }
    ivl__text_free(&identity);
    return code;
}

static int run_on(const cli_globals *globals, features_options *o, const ivl_model *model,
                  double started)
{
    ivl_model_info info;
    maps *m;
    int code = CLI_DONE;

    ivl_model_get_info(model, &info);
    o->pictures.size = wanted_size(&o->pictures, info.image_size);
    if (!cli_picture_options_fit(&o->pictures, "features", info.image_size, info.patch_size,
                                 &code)) {
        return code;
    }
    o->pictures.rules.fixed_size = true;
    m = ivl__calloc(1, sizeof *m);
    if (!m) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for the layers"});
    }
    if (choose_layers(o, info.layers, m, &code)) {
        make_streams(o, &info, m);
        code = run_maps(globals, o, m, model, started);
    }
    ivl__free(m);
    return code;
}

static bool is_archive_or_folder(const char *output)
{
    size_t n = strlen(output);

    return ivl__record_path_is_folder(output) || (n > 4 && strcmp(output + n - 4, ".npz") == 0);
}

static int features(const cli_globals *globals, features_options *o, const cli_arguments *arguments)
{
    double started = ivl__now();
    ivl_model *model = NULL;
    ivl_error error = {0};
    int code;

    if (arguments->n == 0) {
        return cli_usage_error("features", "a MODEL and inputs are missing");
    }
    if (o->layers.n == 0) {
        return cli_usage_error("features", "which feature maps? give --layers L[,L...]");
    }
    if (!cli_picture_options_check(&o->pictures, "features", arguments->items + 1, arguments->n - 1,
                                   &code)) {
        return code;
    }
    if (!is_archive_or_folder(o->pictures.output)) {
        return cli_usage_error("features", "-o '%s': give OUT.npz or a folder (DIR/)",
                               o->pictures.output);
    }
    if (cli_open_model(arguments->items[0], &o->model, &model, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    code = run_on(globals, o, model, started);
    ivl_model_free(model);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    features_options o = {.stats = NULL};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"layers", 0, CLI_LIST, &o.layers, "L[,L...]",
         "0: embeddings, i: block i, -1: last block, all", NULL},
        {"patches", 0, CLI_FLAG, &o.patches, NULL, "without CLS, as maps [N, gh, gw, C]", NULL},
        {"config", 0, CLI_TEXT, &o.model.config, "FILE", "config.json of the model", NULL},
        {"arch", 0, CLI_TEXT, &o.model.arch, "NAME", "architecture of the model", NULL},
        {"stats", 0, CLI_TEXT, &o.stats, "FILE.json", "what was done and how long it took", NULL},
        {"dry-run", 0, CLI_FLAG, &o.dry_run, NULL, "items, bytes, space and time; writes nothing",
         NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    cli_picture_options_add(&o.pictures, options);
    if (cli_options_parse(&cli_features, options, argc, argv, &arguments, &code)) {
        code = features(globals, &o, &arguments);
        cli_picture_options_free(&o.pictures);
        cli_arguments_free(&arguments);
    }
    cli_list_free(&o.layers);
    return code;
}

const cli_command cli_features = {
    .name = "features",
    .summary = "feature maps of chosen layers",
    .synopsis = "MODEL INPUT... -o OUT.npz|DIR/ --layers L[,L...] [OPTIONS]",
    .examples = "internvl features InternViT-6B-224px/ cat.jpg --layers -4 --patches -o cat.npz\n"
                "internvl features InternViT-6B-224px/ photos/ --layers all --dtype f16 -o maps/",
    .run = run,
};
