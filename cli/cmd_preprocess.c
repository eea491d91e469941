/* cmd_preprocess.c - `internvl preprocess`: what the model sees. Needs no device. */
#include "cli/image_run.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

enum { DEFAULT_SIZE = 224 };

typedef struct preprocess_options {
    cli_picture_options pictures;
    const char *stats;
    bool u8;
} preprocess_options;

/* The row at hand, of the writing thread. */
typedef struct crop_row {
    float *values; /* [3, S, S] normalised, or [S, S, 3] of 0 .. 255 */
    bool u8;
} crop_row;

static void make_row(void *user, const cli_batch *batch, int index, const float **rows)
{
    const crop_row *row = user;
    const ivl_images *images = &batch->images;
    size_t n = 3 * (size_t)images->width * (size_t)images->height;

    rows[0] = row->values;
    if (!images->rgb) {
        rows[0] = images->pixels + (size_t)index * n;
    } else if (row->u8) {
        for (size_t i = 0; i < n; i++) {
            row->values[i] = (float)images->rgb[(size_t)index * n + i];
        }
    } else {
        ivl__normalize_chw(images->rgb + (size_t)index * n, images->width, images->height,
                           ivl__imagenet_mean, ivl__imagenet_std, row->values);
    }
}

static int run_crops(const cli_globals *globals, const preprocess_options *o, double started)
{
    const uint64_t size = (uint64_t)o->pictures.size;
    const ivl__record_stream streams[] = {
        {.name = "pixel_values", .suffix = "", .rank = 3, .shape = {3, size, size}},
        {.name = "pixels", .suffix = "", .rank = 3, .shape = {size, size, 3}},
    };
    crop_row row = {.values = ivl__calloc(3 * size * size, sizeof(float)), .u8 = o->u8};
    ivl__text identity = {0};
    cli_image_run run = {.what = "preprocess",
                         .globals = globals,
                         .pictures = &o->pictures,
                         .started = started,
                         .stats = o->stats,
                         .streams = &streams[o->u8],
                         .n_streams = 1,
                         .type = o->u8 ? IVL__NPY_U1 : o->pictures.type,
                         .rows = make_row,
                         .user = &row};
    int code;

    ivl__text_printf(&identity, "{\"command\":\"preprocess\",\"u8\":%s", o->u8 ? "true" : "false");
    cli_picture_options_identity(&o->pictures, &identity);
    ivl__text_puts(&identity, "}");
    if (!row.values || identity.failed) {
        code = cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a crop"});
    } else {
        run.identity = identity.data;
        code = cli_image_run_do(&run);
    }
    ivl__text_free(&identity);
    ivl__free(row.values);
    return code;
}

static int preprocess(const cli_globals *globals, preprocess_options *o,
                      const cli_arguments *arguments)
{
    double started = ivl__now();
    const char *output = o->pictures.output;
    size_t n = output ? strlen(output) : 0;
    int code;

    if (!cli_picture_options_check(&o->pictures, "preprocess", arguments->items, arguments->n,
                                   &code)) {
        return code;
    }
    if (n < 5 || strcmp(output + n - 4, ".npy") != 0) {
        return cli_usage_error("preprocess", "-o '%s': give OUT.npy", output);
    }
    if (o->u8 && o->pictures.type == IVL__NPY_F2) {
        return cli_usage_error("preprocess", "--u8 and --dtype f16 exclude each other");
    }
    /* There is no patch here, every size will do. */
    if (!cli_picture_options_fit(&o->pictures, "preprocess", DEFAULT_SIZE, 1, &code)) {
        return code;
    }
    o->pictures.rules.fixed_size = true;
    o->pictures.rules.no_tensors = o->u8;
    return run_crops(globals, o, started);
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    preprocess_options o = {.u8 = false};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"u8", 0, CLI_FLAG, &o.u8, NULL, "crops as uint8 [N, H, W, 3], not normalised", NULL},
        {"stats", 0, CLI_TEXT, &o.stats, "FILE.json", "what was done and how long it took", NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    cli_picture_options_add(&o.pictures, options);
    if (!cli_options_parse(&cli_preprocess, options, argc, argv, &arguments, &code)) {
        return code;
    }
    code = preprocess(globals, &o, &arguments);
    cli_picture_options_free(&o.pictures);
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_preprocess = {
    .name = "preprocess",
    .summary = "what the model sees: crops, normalised or as 8-bit RGB",
    .synopsis = "INPUT... -o OUT.npy [OPTIONS]",
    .examples = "internvl preprocess photos/ -o pixel_values.npy\n"
                "internvl preprocess cat.jpg --size 448 --resize squash --u8 -o cat.npy",
    .run = run,
};
