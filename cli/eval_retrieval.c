/* eval_retrieval.c - retrieval of pictures by their captions and of captions by their pictures:
 * from annotations to predictions; see eval.h. */
#include "cli/eval.h"
#include "cli/group_vectors.h"

#include "loader/caption_clean.h"
#include "loader/caption_set.h"
#include "model/metrics.h"
#include "runtime/file.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

/* The best targets of one query. */
typedef struct ranking {
    ivl__best best[CLI_EVAL_TARGETS];
    size_t n;
} ranking;

typedef struct evaluation {
    cli_eval_options *options;
    cli_clip clip;
    ivl__caption_set set;
    bool clean;
    const char **paths; /* [set.n_images] of the pictures, owned strings */
    cli_eval_images images;
    float *texts;      /* [set.n_captions, embed_dim] of length 1 */
    ranking *by_text;  /* [set.n_captions] */
    ranking *by_image; /* [set.n_images] */
    ivl__text predictions;
} evaluation;

/* ---- annotations ------------------------------------------------------------------------- */

static ivl_status read_set(evaluation *e, ivl_error *error)
{
    const cli_eval_options *o = e->options;
    ivl__caption_options options = {.split = o->split, .names = o->names};
    const char *form = o->form ? o->form : o->suite ? o->suite->reader : "auto";

    if (!ivl__caption_form_parse(form, &options.form)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "--form '%s' is unknown; auto, json, flickr, csv or lines", form);
    }
    /* XTD's captions exist as lists and, put together, as JSON. */
    if (!o->form && options.form == IVL__CAPTIONS_LINES && !o->names) {
        options.form = IVL__CAPTIONS_AUTO;
    }
    IVL__TRY(ivl__caption_set_read(o->annotations, &options, &e->set, error));
    e->clean = o->clean ? strcmp(o->clean, "yes") == 0
               : o->suite
                   ? o->suite->clean
                   : e->set.form == IVL__CAPTIONS_JSON || options.form == IVL__CAPTIONS_FLICKR;
    return IVL_OK;
}

/* A picture of COCO may lie in the folder of its split though its name does not say so. */
static char *find_picture(const char *folder, const char *name)
{
    static const char *const splits[] = {"val2014", "train2014"};
    char *path = ivl__path_join(folder, name);

    for (size_t i = 0; path && !ivl__file_exists(path) && i < 2; i++) {
        char *inside = strstr(name, splits[i]) ? ivl__path_join(folder, splits[i]) : NULL;
        char *other = inside ? ivl__path_join(inside, name) : NULL;

        if (other && ivl__file_exists(other)) {
            ivl__free(path);
            path = other;
            other = NULL;
        }
        ivl__free(inside);
        ivl__free(other);
    }
    return path;
}

static ivl_status list_pictures(evaluation *e, ivl_error *error)
{
    e->paths = ivl__calloc(e->set.n_images, sizeof *e->paths);
    for (size_t i = 0; e->paths && i < e->set.n_images; i++) {
        e->paths[i] = find_picture(e->options->images, e->set.images[i]);
        if (!e->paths[i]) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
        }
    }
    return e->paths ? IVL_OK
                    : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the pictures");
}

/* ---- texts ------------------------------------------------------------------------------- */

static ivl_status tokenize(const evaluation *e, cli_token_list *list, ivl_error *error)
{
    ivl__text cleaned = {0};
    ivl_status status = IVL_OK;

    for (size_t i = 0; status == IVL_OK && i < e->set.n_captions; i++) {
        const char *text = e->set.captions[i].text;

        ivl__text_clear(&cleaned);
        if (e->clean) {
            ivl__caption_clean(text, strlen(text), &cleaned);
            text = cleaned.data && cleaned.bytes ? cleaned.data : "";
        }
        status = cleaned.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a caption")
                                : cli_token_list_add(list, e->clip.tokenizer, IVL__SUMMARIZE_PROMPT,
                                                     text, strlen(text), error);
    }
    ivl__text_free(&cleaned);
    return status;
}

static ivl_status encode_texts(evaluation *e, ivl_error *error)
{
    cli_token_list list = {0};
    const cli_group_request request = {.what = "captions",
                                       .globals = e->options->globals,
                                       .model = e->clip.model,
                                       .texts = &list,
                                       .per_group = 1};
    ivl_status status = tokenize(e, &list, error);

    if (status == IVL_OK) {
        status = cli_group_vectors(&request, &e->texts, error);
    }
    cli_token_list_free(&list);
    return status;
}

/* ---- scores ------------------------------------------------------------------------------ */

/* Every caption with every picture once, both rankings at the same time. */
static void rank(evaluation *e)
{
    size_t dim = (size_t)e->clip.info.embed_dim;

    for (size_t t = 0; t < e->set.n_captions; t++) {
        ranking *own = &e->by_text[t];

        for (size_t i = 0; i < e->set.n_images; i++) {
            ranking *other = &e->by_image[i];
            int64_t row = e->images.row_of[i];
            float score;

            if (row < 0) {
                continue;
            }
            score = (float)ivl__dot(e->texts + t * dim, e->images.vectors + (size_t)row * dim, dim);
            own->n = ivl__best_add(own->best, own->n, CLI_EVAL_TARGETS, score, (uint32_t)i);
            other->n = ivl__best_add(other->best, other->n, CLI_EVAL_TARGETS, score, (uint32_t)t);
        }
    }
}

/* ---- predictions ------------------------------------------------------------------------- */

static void add_top(ivl__text *t, const ranking *r)
{
    ivl__text_puts(t, "], \"top\": [");
    for (size_t i = 0; i < r->n; i++) {
        ivl__text_printf(t, "%s{\"index\": %u, \"score\": %.9g}", i ? ", " : "", r->best[i].index,
                         (double)r->best[i].score);
    }
    ivl__text_puts(t, "]}\n");
}

/* Indices of captions by picture: first[i] .. first[i + 1] - 1 of `order`. */
static ivl_status sort_captions(const ivl__caption_set *set, size_t **first, uint32_t **order,
                                ivl_error *error)
{
    size_t *at = ivl__calloc(set->n_images + 2, sizeof *at);

    *order = ivl__calloc(set->n_captions, sizeof **order);
    *first = at;
    if (!at || !*order) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the captions");
    }
    for (size_t i = 0; i < set->n_captions; i++) {
        at[set->captions[i].image + 2]++;
    }
    for (size_t i = 2; i < set->n_images + 2; i++) {
        at[i] += at[i - 1];
    }
    for (size_t i = 0; i < set->n_captions; i++) {
        (*order)[at[set->captions[i].image + 1]++] = (uint32_t)i;
    }
    return IVL_OK;
}

static void write_lines(evaluation *e, const size_t *first, const uint32_t *order)
{
    ivl__text *t = &e->predictions;

    cli_eval_head(e->options, &e->clip, "retrieval", t);
    ivl__text_printf(t, ", \"images\": %zu, \"texts\": %zu}\n", e->set.n_images, e->set.n_captions);
    for (size_t i = 0; i < e->set.n_captions; i++) {
        ivl__text_printf(t, "{\"query\": \"text\", \"index\": %zu, \"right\": [%u", i,
                         e->set.captions[i].image);
        add_top(t, &e->by_text[i]);
    }
    for (size_t i = 0; i < e->set.n_images; i++) {
        ivl__text_puts(t, "{\"query\": \"image\", \"key\": ");
        ivl__text_json(t, e->set.images[i]);
        ivl__text_printf(t, ", \"index\": %zu, \"right\": [", i);
        for (size_t k = first[i]; k < first[i + 1]; k++) {
            ivl__text_printf(t, "%s%u", k > first[i] ? ", " : "", order[k]);
        }
        add_top(t, &e->by_image[i]);
    }
}

static ivl_status save(evaluation *e, ivl_error *error)
{
    char *path = cli_eval_path(e->options, "predictions.jsonl");
    size_t *first = NULL;
    uint32_t *order = NULL;
    ivl_status status = path ? sort_captions(&e->set, &first, &order, error)
                             : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");

    if (status == IVL_OK) {
        write_lines(e, first, order);
        status = e->predictions.failed
                     ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for predictions")
                     : ivl__file_replace(path, e->predictions.data, e->predictions.bytes, error);
    }
    ivl__free(first);
    ivl__free(order);
    ivl__free(path);
    return status;
}

static ivl_status make_predictions(evaluation *e, ivl_error *error)
{
    IVL__TRY(encode_texts(e, error));
    e->by_text = ivl__calloc(e->set.n_captions, sizeof *e->by_text);
    e->by_image = ivl__calloc(e->set.n_images, sizeof *e->by_image);
    if (!e->by_text || !e->by_image) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for rankings");
    }
    cli_say(IVL_LOG_INFO, "eval: %zu captions%s x %zu pictures", e->set.n_captions,
            e->clean ? " (cleaned)" : "", e->images.rows);
    rank(e);
    return save(e, error);
}

/* ---- the task ---------------------------------------------------------------------------- */

static int prepare(evaluation *e)
{
    cli_eval_options *o = e->options;
    ivl_error error = {0};
    ivl_status status = read_set(e, &error);
    int code = CLI_DONE;

    if (status == IVL_OK) {
        status = list_pictures(e, &error);
    }
    if (status != IVL_OK) {
        return status == IVL_OUT_OF_MEMORY ? cli_fail(&error)
                                           : cli_usage_error("eval", "%s", error.message);
    }
    cli_picture_options_check(&o->pictures, "eval", e->paths, e->set.n_images, &code);
    return code;
}

static int check(const cli_eval_options *o, const cli_arguments *arguments)
{
    if (arguments->n != 1) {
        return cli_usage_error("eval",
                               "retrieval needs one MODEL, got %zu arguments; pictures lie "
                               "in --images DIR",
                               arguments->n);
    }
    if (!o->annotations || !o->images) {
        return cli_usage_error("eval", "retrieval needs --annotations FILE and --images DIR");
    }
    if (o->clean && strcmp(o->clean, "yes") != 0 && strcmp(o->clean, "no") != 0) {
        return cli_usage_error("eval", "--clean '%s' is unknown; yes or no", o->clean);
    }
    return CLI_DONE;
}

int cli_eval_retrieval(cli_eval_options *o, const cli_arguments *arguments)
{
    evaluation e = {.options = o};
    ivl_error error = {0};
    int code = check(o, arguments);

    if (code != CLI_DONE) {
        return code;
    }
    o->pictures.resize = o->pictures.resize ? o->pictures.resize : "squash";
    code = prepare(&e);
    if (code == CLI_DONE) {
        code = cli_clip_open("eval", arguments->items[0], &o->clip, &e.clip);
    }
    if (code == CLI_DONE) {
        code = cli_eval_images_encode(o, &e.clip, e.set.n_images, &e.images);
    }
    if (code == CLI_DONE || code == CLI_SKIPPED) {
        code = make_predictions(&e, &error) == IVL_OK ? code : cli_fail(&error);
    }
    for (size_t i = 0; e.paths && i < e.set.n_images; i++) {
        ivl__free((void *)(uintptr_t)e.paths[i]);
    }
    ivl__free(e.paths);
    ivl__caption_set_free(&e.set);
    cli_eval_images_free(&e.images);
    cli_clip_close(&e.clip);
    ivl__free(e.texts);
    ivl__free(e.by_text);
    ivl__free(e.by_image);
    ivl__text_free(&e.predictions);
    return code;
}
