/* embedding.c - what `embed` makes of one image; see embedding.h. */
#include "cli/embedding.h"

#include "cli/clip.h"
#include "cli/tokenizer.h"
#include "loader/unit_vector.h"
#include "model/metrics.h"
#include "runtime/memory.h"

#include <math.h>
#include <string.h>

static const char *const mode_names[CLI_EMBED_MODES] = {"vit", "c", "g"};

/* ---- options ----------------------------------------------------------------------------- */

bool cli_embedding_normalize_check(const char *normalize, int *code)
{
    if (normalize && strcmp(normalize, "yes") != 0 && strcmp(normalize, "no") != 0) {
        *code = cli_usage_error("embed", "--normalize '%s' is unknown; yes or no", normalize);
        return false;
    }
    return true;
}

static bool is_asked(const cli_list *modes, const char *name)
{
    for (size_t i = 0; i < modes->n; i++) {
        if (strcmp(modes->items[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_mode_names(const cli_list *modes, int *code)
{
    for (size_t i = 0; i < modes->n; i++) {
        const char *name = modes->items[i];

        if (strcmp(name, "vit") != 0 && strcmp(name, "c") != 0 && strcmp(name, "g") != 0) {
            *code = cli_usage_error("embed", "--mode '%s' is unknown; vit, c or g", name);
            return false;
        }
    }
    return true;
}

bool cli_embedding_check(const cli_embedding_options *o, int *code)
{
    if (o->pool && strcmp(o->pool, "cls") != 0 && strcmp(o->pool, "mean") != 0 &&
        strcmp(o->pool, "cls+mean") != 0) {
        *code = cli_usage_error("embed", "--pool '%s' is unknown; cls, mean or cls+mean", o->pool);
        return false;
    }
    return check_mode_names(&o->modes, code) && cli_embedding_normalize_check(o->normalize, code);
}

/* ---- what the model has ------------------------------------------------------------------ */

/* "vit, c": what images can become. */
static void list_modes(const ivl_model_info *info, ivl__text *text)
{
    for (int i = 0; i < CLI_EMBED_MODES; i++) {
        if (cli_clip_has_mode(info, mode_names[i])) {
            ivl__text_printf(text, "%s%s", text->bytes ? ", " : "", mode_names[i]);
        }
    }
}

static int refuse_mode(const ivl_model_info *info, const char *mode)
{
    ivl__text has = {0};

    list_modes(info, &has);
    cli_say(IVL_LOG_ERROR, "embed: %s (%s) has no mode %s; it has: %s", info->path,
            info->architecture, mode, has.failed || !has.bytes ? "none" : has.data);
    ivl__text_free(&has);
    return CLI_MODEL;
}

static void add_vector(cli_embedding *e, const cli_embedding_options *o, const char *mode,
                       const ivl_model_info *info)
{
    cli_image_vector *v = &e->vectors[e->n_vectors++];
    bool vit = strcmp(mode, "vit") == 0;
    const char *pool = o->pool ? o->pool : "cls";

    *v = (cli_image_vector){.mode = mode,
                            .first_tap = e->n_taps,
                            .width = (size_t)(vit ? info->hidden_size : info->embed_dim),
                            .normalize = o->normalize ? strcmp(o->normalize, "yes") == 0 : !vit};
    if (!vit) {
        e->taps[e->n_taps++] = strcmp(mode, "g") == 0 ? "image_g" : "image_c";
    } else {
        if (strcmp(pool, "mean") != 0) {
            e->taps[e->n_taps++] = "pooled";
        }
        if (strcmp(pool, "cls") != 0) {
            e->taps[e->n_taps++] = "mean";
        }
    }
    v->n_taps = e->n_taps - v->first_tap;
}

static int choose_modes(cli_embedding *e, const cli_embedding_options *o,
                        const ivl_model_info *info)
{
    const char *best = cli_clip_has_mode(info, "g")   ? "g"
                       : cli_clip_has_mode(info, "c") ? "c"
                                                      : "vit";

    for (int i = 0; i < CLI_EMBED_MODES; i++) {
        const char *name = mode_names[i];

        if (o->modes.n ? !is_asked(&o->modes, name) : strcmp(name, best) != 0) {
            continue;
        }
        if (!cli_clip_has_mode(info, name)) {
            return refuse_mode(info, name);
        }
        add_vector(e, o, name, info);
    }
    if (o->pool && strcmp(e->vectors[0].mode, "vit") != 0) {
        return cli_usage_error("embed", "--pool is of mode vit; the mode here is %s",
                               e->vectors[0].mode);
    }
    return CLI_DONE;
}

static int choose_captions(cli_embedding *e, const cli_embedding_options *o,
                           const ivl_model_info *info)
{
    e->with_texts = o->with_texts;
    e->pair_score = o->pair_score;
    if (!o->with_texts && !o->pair_score) {
        return CLI_DONE;
    }
    if (!cli_clip_has_mode(info, "text")) {
        return cli_refuse_texts("embed", info, o->with_texts ? "--with-texts" : "--pair-score");
    }
    if (o->pair_score && strcmp(e->vectors[e->n_vectors - 1].mode, "vit") == 0) {
        return cli_usage_error("embed", "--pair-score compares texts with images in mode c or g, "
                                        "not vit");
    }
    e->normalize_texts = !o->normalize || strcmp(o->normalize, "yes") == 0;
    e->dim = (size_t)info->embed_dim;
    e->taps[e->n_taps++] = "text";
    return CLI_DONE;
}

/* ---- arrays ------------------------------------------------------------------------------ */

static void make_streams(cli_embedding *e)
{
    static const char *const names[CLI_EMBED_MODES] = {"img_emb_vit", "img_emb_c", "img_emb_g"};

    for (int i = 0; i < e->n_vectors; i++) {
        const cli_image_vector *v = &e->vectors[i];
        int mode = 0;

        while (strcmp(mode_names[mode], v->mode) != 0) {
            mode++;
        }
        e->streams[e->n_streams++] = (ivl__record_stream){
            .name = e->n_vectors == 1 ? "img_emb" : names[mode],
            .suffix = e->n_vectors == 1 ? "" : v->mode,
            .rank = 1,
            .shape = {(uint64_t)v->n_taps * v->width},
        };
    }
    if (e->with_texts) {
        e->streams[e->n_streams++] = (ivl__record_stream){
            .name = "text_emb", .suffix = "text", .rank = 1, .shape = {e->dim}};
    }
}

static int make_room(cli_embedding *e)
{
    bool good = true;

    for (int i = 0; i < e->n_vectors; i++) {
        cli_image_vector *v = &e->vectors[i];

        v->vector = ivl__calloc((size_t)v->n_taps * v->width, sizeof *v->vector);
        good = good && v->vector;
    }
    if (e->dim) {
        e->text = ivl__calloc(e->dim, sizeof *e->text);
        good = good && e->text;
    }
    return good ? CLI_DONE : cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for vectors"});
}

int cli_embedding_init(cli_embedding *e, const cli_embedding_options *o, const ivl_model_info *info)
{
    int code;

    *e = (cli_embedding){0};
    code = choose_modes(e, o, info);
    code = code == CLI_DONE ? choose_captions(e, o, info) : code;
    if (code != CLI_DONE) {
        return code;
    }
    for (int i = 0; i < e->n_vectors; i++) {
        strcat(strcat(e->modes, i ? "," : ""), e->vectors[i].mode);
    }
    strcat(e->modes, e->dim ? ",text" : "");
    make_streams(e);
    return make_room(e);
}

void cli_embedding_free(cli_embedding *e)
{
    for (int i = 0; i < e->n_vectors; i++) {
        ivl__free(e->vectors[i].vector);
    }
    ivl__free(e->text);
    cli_token_list_free(&e->tokens);
    ivl__free(e->offsets);
    *e = (cli_embedding){0};
}

const char *cli_embedding_resize(const cli_embedding *e)
{
    bool first = strcmp(e->vectors[0].mode, "vit") == 0;
    bool last = strcmp(e->vectors[e->n_vectors - 1].mode, "vit") == 0;

    return first != last ? NULL : first ? "crop" : "squash";
}

/* ---- identity ---------------------------------------------------------------------------- */

static bool all_alike(const cli_embedding *e)
{
    for (int i = 1; i < e->n_vectors; i++) {
        if (e->vectors[i].normalize != e->vectors[0].normalize) {
            return false;
        }
    }
    return true;
}

void cli_embedding_identity(const cli_embedding *e, const cli_embedding_options *o, ivl__text *text)
{
    int n = all_alike(e) ? 1 : e->n_vectors;

    ivl__text_puts(text, ",\"mode\":\"");
    for (int i = 0; i < e->n_vectors; i++) {
        ivl__text_printf(text, "%s%s", i ? "," : "", e->vectors[i].mode);
    }
    ivl__text_puts(text, "\"");
    if (strcmp(e->vectors[0].mode, "vit") == 0) {
        ivl__text_printf(text, ",\"pool\":\"%s\"", o->pool ? o->pool : "cls");
    }
    ivl__text_puts(text, ",\"normalize\":\"");
    for (int i = 0; i < n; i++) {
        ivl__text_printf(text, "%s%s", i ? "," : "", e->vectors[i].normalize ? "yes" : "no");
    }
    ivl__text_puts(text, "\"");
    if (e->tokenizer) {
        ivl__text_printf(text, ",\"with_texts\":%s,\"pair_score\":%s",
                         e->with_texts ? "true" : "false", e->pair_score ? "true" : "false");
        cli_tokenizer_identity(e->tokenizer, text);
    }
}

/* ---- rows -------------------------------------------------------------------------------- */

static void make_rows(void *user, const cli_batch *batch, int index, const float **rows)
{
    cli_embedding *e = user;

    for (int i = 0; i < e->n_vectors; i++) {
        const cli_image_vector *v = &e->vectors[i];

        for (int k = 0; k < v->n_taps; k++) {
            memcpy(v->vector + (size_t)k * v->width,
                   batch->results[v->first_tap + k] + (size_t)index * v->width,
                   v->width * sizeof *v->vector);
        }
        if (v->normalize) {
            ivl__unit_vector(v->vector, (size_t)v->n_taps * v->width); /* zeros stay zeros */
        }
        rows[i] = v->vector;
    }
    if (e->with_texts) {
        memcpy(e->text, batch->results[e->n_taps - 1] + (size_t)index * e->dim,
               e->dim * sizeof *e->text);
        if (e->normalize_texts) {
            ivl__unit_vector(e->text, e->dim);
        }
        rows[e->n_vectors] = e->text;
    }
}

/* Of what the model answered, whether the rows are normalised or not. */
static double cosine(const float *a, const float *b, size_t n)
{
    double lengths = sqrt(ivl__dot(a, a, n)) * sqrt(ivl__dot(b, b, n));

    return lengths > 0.0 ? ivl__dot(a, b, n) / lengths : 0.0;
}

/* "pair_score", or with both modes "pair_score_c" and "pair_score_g". */
static void add_scores(void *user, const cli_batch *batch, int index, ivl__text *fields)
{
    const cli_embedding *e = user;
    const float *text = batch->results[e->n_taps - 1] + (size_t)index * e->dim;

    for (int i = 0; i < e->n_vectors; i++) {
        const cli_image_vector *v = &e->vectors[i];
        bool alone = e->n_vectors == 1;

        if (strcmp(v->mode, "vit") != 0) {
            const float *image = batch->results[v->first_tap] + (size_t)index * e->dim;

            ivl__text_printf(fields, "%s\"pair_score%s%s\": %.9g", fields->bytes ? ", " : "",
                             alone ? "" : "_", alone ? "" : v->mode,
                             (double)(float)cosine(image, text, e->dim));
        }
    }
}

/* One caption for each picture, in the same order. */
static ivl_status add_captions(void *user, cli_batch *batch, ivl_error *error)
{
    cli_embedding *e = user;

    cli_token_list_clear(&e->tokens);
    for (size_t i = 0; i < batch->n_events; i++) {
        const cli_picture *event = &batch->events[i];

        if (cli_batch_has_result(event)) {
            const char *caption = event->item.caption;

            IVL__TRY(cli_token_list_add(&e->tokens, e->tokenizer, IVL__SUMMARIZE_PROMPT, caption,
                                        strlen(caption), error));
        }
    }
    if (!ivl__grow((void **)&e->offsets, &e->offsets_capacity, e->tokens.n + 1,
                   sizeof *e->offsets)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu captions", e->tokens.n);
    }
    e->offsets[0] = 0;
    for (size_t i = 0; i < e->tokens.n; i++) {
        e->offsets[i + 1] = (int32_t)e->tokens.ends[i];
    }
    batch->texts = (ivl_texts){
        .count = (int)e->tokens.n, .ids = e->tokens.ids, .offsets = e->offsets};
    return IVL_OK;
}

void cli_embedding_set_run(cli_embedding *e, cli_image_run *run)
{
    run->streams = e->streams;
    run->n_streams = e->n_streams;
    run->taps = e->taps;
    run->n_taps = e->n_taps;
    run->modes = e->modes;
    run->rows = make_rows;
    run->user = e;
    if (e->tokenizer) {
        run->texts = add_captions;
        run->fields = e->pair_score ? add_scores : NULL;
    }
}
