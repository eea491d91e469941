/* query_encoder.c - texts and pictures to queries; see query_encoder.h. */
#include "cli/query_encoder.h"

#include "cli/clip.h"
#include "cli/image_run.h"
#include "cli/text_encoder.h"
#include "cli/tokenizer.h"
#include "loader/text_source.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

typedef struct query_encoder {
    const cli_globals *globals;
    cli_query_options *options;
    const ivl__search_index *index;
    cli_query_list *list;
    ivl_model *model;
    ivl_model_info info;
    const char *taps[2]; /* of pictures; their results one behind the other are a vector */
    int n_taps;
    float *vector; /* [dim] of the writing thread */

    ivl__tokenizer_spm *tokenizer;
    cli_token_list tokens;
    cli_query_name *names; /* [tokens.n] */
    size_t n_names, names_capacity;
} query_encoder;

/* ---- options ----------------------------------------------------------------------------- */

void cli_query_options_add(cli_query_options *o, cli_option *table)
{
    const cli_option options[] = {
        {"text", 0, CLI_STRINGS, &o->text, "STR", "one text; repeatable", NULL},
        {"texts", 0, CLI_TEXT, &o->texts, "FILE",
         "a text a line, or objects with \"text\" (.jsonl); -", NULL},
        {"tokenizer", 0, CLI_TEXT, &o->tokenizer, "FILE",
         "tokenizer.model, where the checkpoint has none beside it", NULL},
        {"config", 0, CLI_TEXT, &o->model.config, "FILE", "config.json of the model", NULL},
        {"arch", 0, CLI_TEXT, &o->model.arch, "NAME", "architecture of the model", NULL},
    };

    cli_picture_options_init(&o->pictures);
    o->pictures.no_output = true;
    o->pictures.resize = NULL;
    o->pictures.gray16 = NULL;
    cli_options_append(table, options, sizeof options / sizeof options[0]);
    cli_picture_options_add(&o->pictures, table);
}

void cli_query_options_free(cli_query_options *o)
{
    cli_list_free(&o->text);
    cli_picture_options_free(&o->pictures);
}

static const char *recorded_text(const query_encoder *e, const char *name, const char *otherwise)
{
    const char *value = json_string_value(json_object_get(e->index->head.identity, name));

    return value ? value : otherwise;
}

/* What the user does not say is as it was for the rows: a picture finds itself. */
static void take_recorded(const query_encoder *e, cli_picture_options *p)
{
    const json_t *identity = e->index->head.identity;
    const json_int_t size = json_integer_value(json_object_get(identity, "size"));

    p->resize = p->resize ? p->resize : recorded_text(e, "resize", "squash");
    p->gray16 = p->gray16 ? p->gray16 : recorded_text(e, "gray16", "clip");
    p->exif = p->exif || json_is_true(json_object_get(identity, "exif"));
    p->fast_decode = p->fast_decode || json_is_true(json_object_get(identity, "fast_decode"));
    if (p->size == 0 && size > 0 && size <= IVL__PREPROCESS_MAX_SIZE) {
        p->size = (int)size;
    }
}

/* ---- the model and the index ------------------------------------------------------------- */

static ivl_status check_model(query_encoder *e, bool texts, ivl_error *error)
{
    const ivl__index_head *head = &e->index->head;
    const bool vit = strcmp(head->mode, "vit") == 0;

    if (strcmp(head->model_id, e->info.model_id) != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "index '%s' was made by model %s, '%s' is model %s: their vectors cannot "
                         "be compared",
                         e->index->path, head->model_id, e->info.path, e->info.model_id);
    }
    if (texts && !cli_clip_has_mode(&e->info, "text")) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "search: texts need a text tower, and %s (%s) has none; InternVL-14B and "
                         "InternVL-C have one",
                         e->info.path, e->info.architecture);
    }
    if (texts && vit) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "index '%s' has vectors of mode vit, which no text can be compared with; "
                         "embed with --mode c or g",
                         e->index->path);
    }
    if (!cli_clip_has_mode(&e->info, head->mode)) {
        return ivl__fail(error, IVL_BAD_MODEL, "search: %s (%s) has no mode %s, that of '%s'",
                         e->info.path, e->info.architecture, head->mode, e->index->path);
    }
    return IVL_OK;
}

static ivl_status choose_taps(query_encoder *e, ivl_error *error)
{
    const char *mode = e->index->head.mode;
    const char *pool = recorded_text(e, "pool", "cls");
    int width = e->info.embed_dim;

    if (strcmp(mode, "vit") == 0) {
        if (strcmp(pool, "mean") != 0) {
            e->taps[e->n_taps++] = "pooled";
        }
        if (strcmp(pool, "cls") != 0) {
            e->taps[e->n_taps++] = "mean";
        }
        width = e->n_taps * e->info.hidden_size;
    } else {
        e->taps[e->n_taps++] = strcmp(mode, "g") == 0 ? "image_g" : "image_c";
    }
    if (width != e->index->head.dim) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "index '%s' has vectors of %d values, %s makes vectors of %d (mode %s)",
                         e->index->path, e->index->head.dim, e->info.path, width, mode);
    }
    return IVL_OK;
}

/* ---- texts ------------------------------------------------------------------------------- */

static ivl_status add_text(query_encoder *e, const char *where, const char *text, size_t bytes,
                           ivl_error *error)
{
    cli_query_name name = {.bytes = bytes};
    ivl_error detail = {0};
    ivl_status status = cli_token_list_add(&e->tokens, e->tokenizer, IVL__SUMMARIZE_PROMPT, text,
                                           bytes, &detail);

    if (status == IVL_BAD_INPUT) {
        cli_say(IVL_LOG_WARNING, "skipped %s: %s", where, detail.message);
        e->list->skipped++;
        return IVL_OK;
    }
    if (status != IVL_OK) {
        return ivl__fail(error, status, "%s: %s", where, detail.message);
    }
    name.text = ivl__malloc(bytes + 1);
    if (!name.text ||
        !ivl__grow((void **)&e->names, &e->names_capacity, e->n_names + 1, sizeof name)) {
        ivl__free(name.text);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu texts", e->n_names + 1);
    }
    memcpy(name.text, text, bytes);
    name.text[bytes] = '\0';
    e->names[e->n_names++] = name;
    return IVL_OK;
}

static ivl_status read_text_file(query_encoder *e, ivl__text_source *source, ivl_error *error)
{
    for (;;) {
        ivl__text_item item;
        char where[64];
        bool end;

        IVL__TRY(ivl__text_source_next(source, &item, &end, error));
        if (end) {
            return IVL_OK;
        }
        snprintf(where, sizeof where, "line %llu", (unsigned long long)item.line);
        if (!item.failed) {
            IVL__TRY(add_text(e, where, item.text, item.bytes, error));
            continue;
        }
        cli_say(IVL_LOG_WARNING, "skipped %s of %s: %s", where, e->options->texts, item.error_text);
        e->list->skipped++;
    }
}

static ivl_status read_texts(query_encoder *e, ivl_error *error)
{
    const cli_list *text = &e->options->text;
    ivl__text_source *source;
    ivl_status status;

    for (size_t i = 0; i < text->n; i++) {
        char where[64];

        snprintf(where, sizeof where, "--text %zu", i + 1);
        IVL__TRY(add_text(e, where, text->items[i], strlen(text->items[i]), error));
    }
    if (!e->options->texts) {
        return IVL_OK;
    }
    IVL__TRY(ivl__text_source_open(e->options->texts, &source, error));
    status = read_text_file(e, source, error);
    ivl__text_source_free(source);
    return status;
}

static ivl_status encode_texts(query_encoder *e, cli_encoder *encoder, ivl_error *error)
{
    const size_t dim = e->list->dim;
    float *vectors = ivl__calloc(e->n_names * dim, sizeof *vectors);
    ivl_status status = vectors
                            ? cli_text_vectors(encoder, &e->tokens, 0, e->n_names, vectors, error)
                            : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for queries");

    for (size_t i = 0; status == IVL_OK && i < e->n_names; i++) {
        status = cli_query_list_add(e->list, vectors + i * dim, e->names[i].text, e->names[i].bytes,
                                    0, error);
    }
    ivl__free(vectors);
    return status;
}

/* Without pictures: an encoder for the texts alone. */
static ivl_status encode_texts_alone(query_encoder *e, ivl_error *error)
{
    static const char *const tap = "text";
    const cli_encoder_options options = {.globals = e->globals,
                                         .model = e->model,
                                         .size = e->info.image_size,
                                         .taps = &tap,
                                         .n_taps = 1};
    cli_encoder *encoder;
    ivl_status status;

    IVL__TRY(cli_encoder_open(&options, &encoder, error));
    status = encode_texts(e, encoder, error);
    cli_encoder_free(encoder);
    return status;
}

/* ---- pictures ---------------------------------------------------------------------------- */

static ivl_status encode_texts_first(void *user, cli_encoder *encoder, ivl_error *error)
{
    query_encoder *e = user;

    return e->n_names ? encode_texts(e, encoder, error) : IVL_OK;
}

static ivl_status take_picture(void *user, const cli_batch *batch, const cli_picture *picture,
                               int index, ivl_error *error)
{
    query_encoder *e = user;
    const size_t width = e->list->dim / (size_t)e->n_taps;

    if (picture->failure) {
        e->list->skipped++;
        return IVL_OK;
    }
    for (int i = 0; i < e->n_taps; i++) {
        memcpy(e->vector + (size_t)i * width, batch->results[i] + (size_t)index * width,
               width * sizeof *e->vector);
    }
    return cli_query_list_add(e->list, e->vector, picture->item.key, strlen(picture->item.key), 0,
                              error);
}

static int encode_pictures(query_encoder *e)
{
    const cli_image_run run = {
        .what = "search",
        .globals = e->globals,
        .pictures = &e->options->pictures,
        .started = ivl__now(),
        .take = take_picture,
        .ready = encode_texts_first,
        .user = e,
        .model = e->model,
        .taps = e->taps,
        .n_taps = e->n_taps,
    };

    e->vector = ivl__calloc(e->list->dim, sizeof *e->vector);
    return e->vector ? cli_image_run_do(&run)
                     : cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a vector"});
}

/* ---- all of them ------------------------------------------------------------------------- */

static ivl_status open_model(query_encoder *e, const char *path, bool texts, ivl_error *error)
{
    IVL__TRY(cli_open_model(path, &e->options->model, &e->model, error));
    ivl_model_get_info(e->model, &e->info);
    IVL__TRY(check_model(e, texts, error));
    IVL__TRY(choose_taps(e, error));
    if (!texts) {
        return IVL_OK;
    }
    IVL__TRY(
        cli_open_tokenizer(path, e->options->tokenizer, e->info.vocab_size, &e->tokenizer, error));
    return read_texts(e, error);
}

static int encode(query_encoder *e, const char *path, const char *const *inputs, size_t n_inputs)
{
    cli_picture_options *pictures = &e->options->pictures;
    const bool with_pictures = n_inputs || pictures->stdin_tar || pictures->nul_list;
    ivl_error error = {0};
    int code = CLI_DONE;

    take_recorded(e, pictures);
    if (with_pictures && !cli_picture_options_check(pictures, "search", inputs, n_inputs, &code)) {
        return code;
    }
    if (open_model(e, path, e->options->texts || e->options->text.n, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (with_pictures) {
        return cli_picture_options_fit(pictures, "search", e->info.image_size, e->info.patch_size,
                                       &code)
                   ? encode_pictures(e)
                   : code;
    }
    if (e->n_names && encode_texts_alone(e, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    return e->list->skipped ? CLI_SKIPPED : CLI_DONE;
}

int cli_encode_queries(const cli_globals *globals, cli_query_options *options, const char *model,
                       const char *const *inputs, size_t n_inputs, const ivl__search_index *index,
                       cli_query_list *list)
{
    query_encoder e = {.globals = globals, .options = options, .index = index, .list = list};
    int code = encode(&e, model, inputs, n_inputs);

    for (size_t i = 0; i < e.n_names; i++) {
        ivl__free(e.names[i].text);
    }
    ivl__free(e.names);
    ivl__free(e.vector);
    cli_token_list_free(&e.tokens);
    ivl__tokenizer_spm_free(e.tokenizer);
    ivl_model_free(e.model);
    return code;
}
