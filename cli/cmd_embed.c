/* cmd_embed.c - `internvl embed`: one vector per image and mode, or one per line of text. */
#include "cli/clip.h"
#include "cli/dry_run.h"
#include "cli/embedding.h"
#include "cli/text_run.h"
#include "cli/tokenizer.h"
#include "runtime/os.h"

#include <string.h>

typedef struct embed_options {
    cli_picture_options pictures;
    cli_embedding_options embedding;
    cli_model_options model;
    const char *stats, *texts, *tokenizer;
    bool dry_run;
} embed_options;

typedef struct request {
    const cli_globals *globals;
    embed_options *options;
    const char *path; /* of the model */
    double started;
    ivl_model *model;
    ivl_model_info info;
    ivl__tokenizer_spm *tokenizer; /* NULL where no text is needed */
} request;

static bool ends_with(const char *path, const char *suffix)
{
    size_t n = strlen(path);
    size_t m = strlen(suffix);

    return n >= m && strcmp(path + n - m, suffix) == 0;
}

static ivl_status open_tokenizer(request *r, ivl_error *error)
{
    return cli_open_tokenizer(r->path, r->options->tokenizer, r->info.vocab_size, &r->tokenizer,
                              error);
}

static void begin_identity(const request *r, ivl__text *t)
{
    ivl__text_printf(t, "{\"command\":\"embed\",\"model_id\":\"%s\"", r->info.model_id);
}

static ivl_status end_identity(ivl__text *t, ivl_error *error)
{
    ivl__text_puts(t, "}");
    return t->failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the identity")
                     : IVL_OK;
}

/* ---- texts ------------------------------------------------------------------------------- */

/* What is said about pictures has no place beside --texts; NULL where nothing is. */
static const char *picture_option(const embed_options *o)
{
    const cli_picture_options *p = &o->pictures;

    return o->embedding.with_texts   ? "with-texts"
           : o->embedding.pair_score ? "pair-score"
           : o->embedding.pool       ? "pool"
           : p->resize               ? "resize"
           : p->size                 ? "size"
           : p->exif                 ? "exif"
           : p->fast_decode          ? "fast-decode"
           : p->stdin_tar            ? "stdin-tar"
           : p->nul_list             ? "null"
                                     : NULL;
}

static bool check_texts(embed_options *o, size_t n_inputs, int *code)
{
    const char *other = picture_option(o);

    if (n_inputs) {
        *code = cli_usage_error("embed", "--texts takes no images beside it");
        return false;
    }
    if (other) {
        *code = cli_usage_error("embed", "--%s is about images; --texts takes none", other);
        return false;
    }
    for (size_t i = 0; i < o->embedding.modes.n; i++) {
        if (strcmp(o->embedding.modes.items[i], "vit") == 0) {
            *code = cli_usage_error("embed", "--mode vit has no vectors of texts; c and g share "
                                             "theirs");
            return false;
        }
    }
    return cli_picture_options_check(&o->pictures, "embed", &o->texts, 1, code);
}

static int embed_texts(request *r)
{
    const embed_options *o = r->options;
    const char *normalize = o->embedding.normalize ? o->embedding.normalize : "yes";
    ivl__text identity = {0};
    ivl_error error = {0};
    int code;

    if (!cli_clip_has_mode(&r->info, "text")) {
        return cli_refuse_texts("embed", &r->info, "--texts");
    }
    if (open_tokenizer(r, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    begin_identity(r, &identity);
    ivl__text_printf(&identity, ",\"mode\":\"text\",\"normalize\":\"%s\",\"dtype\":\"%s\"",
                     normalize, o->pictures.dtype);
    cli_tokenizer_identity(r->tokenizer, &identity);
    if (o->pictures.source.unit_rows) {
        ivl__text_printf(&identity, ",\"unit_rows\":%llu",
                         (unsigned long long)o->pictures.source.unit_rows);
    }
    if (end_identity(&identity, &error) != IVL_OK) {
        code = cli_fail(&error);
    } else {
        const cli_text_run run = {.globals = r->globals,
                                  .output = &o->pictures,
                                  .texts = o->texts,
                                  .stats = o->stats,
                                  .identity = identity.data,
                                  .normalize = strcmp(normalize, "yes") == 0,
                                  .model = r->model,
                                  .tokenizer = r->tokenizer,
                                  .started = r->started};

        code = o->dry_run ? cli_text_run_dry(&run) : cli_text_run_do(&run);
    }
    ivl__text_free(&identity);
    return code;
}

/* ---- images ------------------------------------------------------------------------------ */

static int choose_pictures(const request *r, const cli_embedding *e)
{
    cli_picture_options *pictures = &r->options->pictures;
    const char *resize = cli_embedding_resize(e);
    int code = CLI_DONE;

    if (!resize && !pictures->resize) {
        return cli_usage_error("embed", "mode vit crops and modes c and g squash: together they "
                                        "need --resize");
    }
    cli_picture_options_default_resize(pictures, resize);
    if (cli_picture_options_fit(pictures, "embed", r->info.image_size, r->info.patch_size, &code)) {
        pictures->rules.captioned = e->tokenizer != NULL;
    }
    return code;
}

static int run_images(const request *r, cli_embedding *e)
{
    const embed_options *o = r->options;
    cli_image_run run = {
        .what = "embed",
        .globals = r->globals,
        .pictures = &o->pictures,
        .started = r->started,
        .stats = o->stats,
        .type = o->pictures.type,
        .model = r->model,
    };
    ivl__text identity = {0};
    ivl_error error = {0};
    int code;

    begin_identity(r, &identity);
    cli_embedding_identity(e, &o->embedding, &identity);
    cli_picture_options_identity(&o->pictures, &identity);
    if (end_identity(&identity, &error) != IVL_OK) {
        code = cli_fail(&error);
    } else {
        cli_embedding_set_run(e, &run);
        run.identity = identity.data;
        code = o->dry_run ? cli_dry_run(&run) : cli_image_run_do(&run);
    }
    ivl__text_free(&identity);
    return code;
}

static int embed_images(request *r)
{
    cli_embedding e;
    ivl_error error = {0};
    int code = cli_embedding_init(&e, &r->options->embedding, &r->info);

    if (code == CLI_DONE && (e.with_texts || e.pair_score)) {
        code = open_tokenizer(r, &error) == IVL_OK ? CLI_DONE : cli_fail(&error);
        e.tokenizer = r->tokenizer;
    }
    code = code == CLI_DONE ? choose_pictures(r, &e) : code;
    code = code == CLI_DONE ? run_images(r, &e) : code;
    cli_embedding_free(&e);
    return code;
}

/* ---- the command ------------------------------------------------------------------------- */

static bool check(embed_options *o, const cli_arguments *arguments, int *code)
{
    if (arguments->n == 0) {
        *code = cli_usage_error("embed", "a MODEL and inputs are missing");
        return false;
    }
    if (!cli_embedding_check(&o->embedding, code)) {
        return false;
    }
    if (o->texts) {
        return check_texts(o, arguments->n - 1, code);
    }
    if (!cli_picture_options_check(&o->pictures, "embed", arguments->items + 1, arguments->n - 1,
                                   code)) {
        return false;
    }
    if (o->embedding.pair_score && ends_with(o->pictures.output, ".csv")) {
        *code = cli_usage_error("embed", "a .csv holds keys and vectors only: --pair-score needs "
                                         "another form of output");
        return false;
    }
    return true;
}

static int embed(const cli_globals *globals, embed_options *o, const cli_arguments *arguments)
{
    request r = {.globals = globals, .options = o, .started = ivl__now()};
    ivl_error error = {0};
    int code;

    if (!check(o, arguments, &code)) {
        return code;
    }
    r.path = arguments->items[0];
    if (cli_open_model(r.path, &o->model, &r.model, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    ivl_model_get_info(r.model, &r.info);
    code = o->texts ? embed_texts(&r) : embed_images(&r);
    ivl__tokenizer_spm_free(r.tokenizer);
    ivl_model_free(r.model);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    embed_options o = {.stats = NULL};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"mode", 0, CLI_LIST, &o.embedding.modes, "M[,M]",
         "vit, c or g (default: the best the checkpoint has)", NULL},
        {"pool", 0, CLI_TEXT, &o.embedding.pool, "HOW",
         "of mode vit: cls (default), mean or cls+mean", NULL},
        {"normalize", 0, CLI_TEXT, &o.embedding.normalize, "yes|no",
         "vectors of length 1 (default: yes in c and g, no in vit)", NULL},
        {"texts", 0, CLI_TEXT, &o.texts, "FILE",
         "texts instead of images: one a line, or objects with \"text\" (.jsonl); -", NULL},
        {"with-texts", 0, CLI_FLAG, &o.embedding.with_texts, NULL,
         "vectors of the captions in tars too", NULL},
        {"pair-score", 0, CLI_FLAG, &o.embedding.pair_score, NULL,
         "cosine of image and caption in the metadata", NULL},
        {"tokenizer", 0, CLI_TEXT, &o.tokenizer, "FILE",
         "tokenizer.model, where the checkpoint has none beside it", NULL},
        {"config", 0, CLI_TEXT, &o.model.config, "FILE", "config.json of the model", NULL},
        {"arch", 0, CLI_TEXT, &o.model.arch, "NAME", "architecture of the model", NULL},
        {"stats", 0, CLI_TEXT, &o.stats, "FILE.json", "what was done and how long it took", NULL},
        {"dry-run", 0, CLI_FLAG, &o.dry_run, NULL, "items, bytes, space and time; writes nothing",
         NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    o.pictures.resize = NULL;
    cli_picture_options_add(&o.pictures, options);
    if (cli_options_parse(&cli_embed, options, argc, argv, &arguments, &code)) {
        code = embed(globals, &o, &arguments);
        cli_picture_options_free(&o.pictures);
        cli_arguments_free(&arguments);
    }
    cli_list_free(&o.embedding.modes);
    return code;
}

const cli_command cli_embed = {
    .name = "embed",
    .summary = "one vector per image, or per line of text",
    .synopsis = "MODEL INPUT...|--texts FILE -o OUT [OPTIONS]",
    .examples =
        "internvl embed InternViT-6B-224px/ photos/ -o embeddings/\n"
        "internvl embed InternVL-14B-224px/ photos/ --mode c,g -o embeddings/\n"
        "internvl embed InternVL-14B-224px/ --texts captions.txt -o captions.npy\n"
        "internvl embed InternVL-14B-224px/ {00000..00099}.tar -o out/ --with-texts --pair-score\n"
        "internvl embed InternViT-6B-224px/ @list.txt -o out.npy --pool mean\n"
        "internvl embed InternViT-300M-448px/ {00000..00099}.tar -o out/ --shard 0/4\n"
        "find photos -name '*.jpg' -print0 | internvl embed InternViT-300M-448px/ -0 -o out.npy",
    .run = run,
};
