/* cmd_embed.c - `internvl embed`: one vector per image. */
#include "cli/dry_run.h"
#include "cli/image_run.h"
#include "loader/unit_vector.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

typedef struct embed_options {
    cli_picture_options pictures;
    cli_model_options model;
    const char *mode, *pool, *normalize, *stats, *texts;
    bool dry_run, with_texts, pair_score;
} embed_options;

/* How results of the taps become a vector. */
typedef struct pooling {
    const char *taps[2];
    int n_taps, width; /* of one tap */
    bool normalize;
    float *vector; /* [n_taps * width] f32, of the writing thread */
} pooling;

/* ---- rows -------------------------------------------------------------------------------- */

static void make_row(void *user, const cli_batch *batch, int index, const float **rows)
{
    const pooling *p = user;
    size_t width = (size_t)p->width;

    for (int i = 0; i < p->n_taps; i++) {
        memcpy(p->vector + (size_t)i * width, batch->results[i] + (size_t)index * width,
               width * sizeof(float));
    }
    if (p->normalize) {
        ivl__unit_vector(p->vector, (size_t)p->n_taps * width); /* zeros stay zeros */
    }
    rows[0] = p->vector;
}

/* ---- options ----------------------------------------------------------------------------- */

static bool check_pool(const embed_options *o, pooling *p, int *code)
{
    if (strcmp(o->pool, "cls") == 0) {
        p->taps[p->n_taps++] = "pooled";
    } else if (strcmp(o->pool, "mean") == 0) {
        p->taps[p->n_taps++] = "mean";
    } else if (strcmp(o->pool, "cls+mean") == 0) {
        p->taps[p->n_taps++] = "pooled";
        p->taps[p->n_taps++] = "mean";
    } else {
        *code = cli_usage_error("embed", "--pool '%s' is unknown; cls, mean or cls+mean", o->pool);
        return false;
    }
    if (strcmp(o->normalize, "yes") != 0 && strcmp(o->normalize, "no") != 0) {
        *code = cli_usage_error("embed", "--normalize '%s' is unknown; yes or no", o->normalize);
        return false;
    }
    p->normalize = strcmp(o->normalize, "yes") == 0;
    return true;
}

static bool has_mode(const ivl_model_info *info, const char *mode, size_t length)
{
    for (int i = 0; i < info->n_modes; i++) {
        if (strlen(info->modes[i]) == length && strncmp(info->modes[i], mode, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Names are checked before the model is opened, abilities after. */
static bool check_mode_names(const char *mode, int *code)
{
    for (const char *at = mode;; at++) {
        size_t n = strcspn(at, ",");

        if (!(n == 3 && strncmp(at, "vit", 3) == 0) && !(n == 1 && (*at == 'c' || *at == 'g'))) {
            *code = cli_usage_error("embed", "--mode '%s' is unknown; vit, c or g", mode);
            return false;
        }
        at += n;
        if (!*at) {
            return true;
        }
    }
}

static bool check_modes(const embed_options *o, const ivl_model_info *info, int *code)
{
    for (const char *at = o->mode ? o->mode : "vit";; at++) {
        size_t n = strcspn(at, ",");

        if (!has_mode(info, at, n)) {
            cli_say(IVL_LOG_ERROR,
                    "embed: %s (%s) has no mode %.*s that this program runs; it has: vit",
                    info->path, info->architecture, (int)n, at);
            *code = CLI_MODEL;
            return false;
        }
        at += n;
        if (!*at) {
            return true;
        }
    }
}

static bool check_texts(const embed_options *o, const ivl_model_info *info, int *code)
{
    if (!o->texts && !o->with_texts && !o->pair_score) {
        return true;
    }
    cli_say(IVL_LOG_ERROR,
            "embed: %s needs a text encoder, and %s (%s) has none that this program "
            "runs",
            o->texts        ? "--texts"
            : o->with_texts ? "--with-texts"
                            : "--pair-score",
            info->path, info->architecture);
    *code = CLI_MODEL;
    return false;
}

/* ---- the command ------------------------------------------------------------------------- */

static ivl_status make_identity(const embed_options *o, const ivl_model_info *info, ivl__text *t,
                                ivl_error *error)
{
    ivl__text_printf(t, "{\"command\":\"embed\",\"model_id\":\"%s\",\"mode\":\"vit\"",
                     info->model_id);
    ivl__text_printf(t, ",\"pool\":\"%s\",\"normalize\":\"%s\"", o->pool, o->normalize);
    cli_picture_options_identity(&o->pictures, t);
    ivl__text_puts(t, "}");
    return t->failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the identity")
                     : IVL_OK;
}

static int run_on(const cli_globals *globals, embed_options *o, pooling *p, const ivl_model *model,
                  double started)
{
    ivl_model_info info;
    ivl__text identity = {0};
    ivl_error error = {0};
    int code = CLI_DONE;

    ivl_model_get_info(model, &info);
    if (!check_modes(o, &info, &code) || !check_texts(o, &info, &code) ||
        !cli_picture_options_fit(&o->pictures, "embed", info.image_size, info.patch_size, &code)) {
        return code;
    }
    p->width = info.hidden_size;
    p->vector = ivl__calloc((size_t)p->n_taps * (size_t)p->width, sizeof(float));
    if (!p->vector) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a vector"});
    }
    if (make_identity(o, &info, &identity, &error) != IVL_OK) {
        code = cli_fail(&error);
    } else {
        const ivl__record_stream stream = {
            .name = "img_emb",
            .suffix = "",
            .rank = 1,
            .shape = {(uint64_t)p->n_taps * (uint64_t)p->width},
        };
        const cli_image_run run = {
            .what = "embed",
            .globals = globals,
            .pictures = &o->pictures,
            .started = started,
            .stats = o->stats,
            .streams = &stream,
            .n_streams = 1,
            .type = o->pictures.type,
            .identity = identity.data,
            .rows = make_row,
            .user = p,
            .model = model,
            .taps = p->taps,
            .n_taps = p->n_taps,
        };

        code = o->dry_run ? cli_dry_run(&run) : cli_image_run_do(&run);
    }
    ivl__text_free(&identity);
    ivl__free(p->vector);
    return code;
}

static int embed(const cli_globals *globals, embed_options *o, const cli_arguments *arguments)
{
    double started = ivl__now();
    pooling p = {0};
    ivl_model *model = NULL;
    ivl_error error = {0};
    int code;

    if (arguments->n == 0) {
        return cli_usage_error("embed", "a MODEL and inputs are missing");
    }
    if (!check_pool(o, &p, &code) || (o->mode && !check_mode_names(o->mode, &code))) {
        return code;
    }
    if (o->texts && arguments->n > 1) {
        return cli_usage_error("embed", "--texts takes no images beside it");
    }
    if (!o->texts && !cli_picture_options_check(&o->pictures, "embed", arguments->items + 1,
                                                arguments->n - 1, &code)) {
        return code;
    }
    if (cli_open_model(arguments->items[0], &o->model, &model, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    code = run_on(globals, o, &p, model, started);
    ivl_model_free(model);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    embed_options o = {.pool = "cls", .normalize = "no"};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"mode", 0, CLI_TEXT, &o.mode, "M", "vit (default: the best the checkpoint has)", NULL},
        {"pool", 0, CLI_TEXT, &o.pool, "HOW", "cls (default), mean or cls+mean", NULL},
        {"normalize", 0, CLI_TEXT, &o.normalize, "yes|no", "vectors of length 1 (default: no)",
         NULL},
        {"config", 0, CLI_TEXT, &o.model.config, "FILE", "config.json of the model", NULL},
        {"arch", 0, CLI_TEXT, &o.model.arch, "NAME", "architecture of the model", NULL},
        {"texts", 0, CLI_TEXT, &o.texts, "FILE", "embed lines of text instead of images", NULL},
        {"with-texts", 0, CLI_FLAG, &o.with_texts, NULL, "captions of tars too", NULL},
        {"pair-score", 0, CLI_FLAG, &o.pair_score, NULL, "cosine of image and caption", NULL},
        {"stats", 0, CLI_TEXT, &o.stats, "FILE.json", "what was done and how long it took", NULL},
        {"dry-run", 0, CLI_FLAG, &o.dry_run, NULL, "items, bytes, space and time; writes nothing",
         NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    cli_picture_options_add(&o.pictures, options);
    if (!cli_options_parse(&cli_embed, options, argc, argv, &arguments, &code)) {
        return code;
    }
    code = embed(globals, &o, &arguments);
    cli_picture_options_free(&o.pictures);
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_embed = {
    .name = "embed",
    .summary = "one vector per image",
    .synopsis = "MODEL INPUT... -o OUT [OPTIONS]",
    .examples =
        "internvl embed InternViT-6B-224px/ photos/ -o embeddings/\n"
        "internvl embed InternViT-6B-224px/ @list.txt -o out.npy --pool mean\n"
        "internvl embed InternViT-300M-448px/ {00000..00099}.tar -o out/ --shard 0/4\n"
        "find photos -name '*.jpg' -print0 | internvl embed InternViT-300M-448px/ -0 -o out.npy",
    .run = run,
};
