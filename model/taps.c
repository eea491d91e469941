/* taps.c - names of outputs, and what they need; see taps.h. */
#include "model/taps.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------- */

typedef enum tap_rows { PER_IMAGE, PER_TEXT, PER_TOKEN, PER_PAIR } tap_rows;

typedef struct tap_name {
    const char *name; /* ending in '_': a number follows */
    ivl__tap_kind kind;
    unsigned modes; /* one of these: what it can come from; 0: all modes of images */
    tap_rows rows;
} tap_name;

#define IMAGES (IVL__MODE_VIT | IVL__MODE_C | IVL__MODE_G)

static const tap_name names[] = {
    {"hidden_", IVL__TAP_HIDDEN, IMAGES, PER_IMAGE},
    {"pooled", IVL__TAP_POOLED, IMAGES, PER_IMAGE},
    {"mean", IVL__TAP_MEAN, IMAGES, PER_IMAGE},
    {"image_c", IVL__TAP_IMAGE_C, IVL__MODE_C | IVL__MODE_G, PER_IMAGE},
    {"image_g", IVL__TAP_IMAGE_G, IVL__MODE_G, PER_IMAGE},
    {"query_", IVL__TAP_QUERY_LAYER, IVL__MODE_G, PER_IMAGE},
    {"query", IVL__TAP_QUERY, IVL__MODE_G, PER_IMAGE},
    {"text_rows", IVL__TAP_TEXT_ROWS, IVL__MODE_TEXT, PER_TOKEN},
    {"text_last", IVL__TAP_TEXT_LAST, IVL__MODE_TEXT, PER_TEXT},
    {"text_", IVL__TAP_TEXT_LAYER, IVL__MODE_TEXT, PER_TOKEN},
    {"text", IVL__TAP_TEXT, IVL__MODE_TEXT, PER_TEXT},
    {"itm", IVL__TAP_ITM, IVL__MODE_G, PER_PAIR},
};

/* A whole number that ends the text; -1 otherwise. */
static long number_of(const char *text)
{
    char *end;
    long value = isdigit((unsigned char)text[0]) ? strtol(text, &end, 10) : -1;

    return value >= 0 && !*end ? value : -1;
}

static const tap_name *find_name(const char *tap, long *number)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i].name);

        if (names[i].name[n - 1] != '_') {
            if (strcmp(names[i].name, tap) == 0) {
                return &names[i];
            }
        } else if (strncmp(names[i].name, tap, n) == 0) {
            *number = number_of(tap + n);
            return &names[i];
        }
    }
    return NULL;
}

/* The largest number of a numbered tap. */
static int last_number(const ivl_session *s, ivl__tap_kind kind)
{
    return kind == IVL__TAP_HIDDEN ? s->model->config.vit.layers
                                   : s->model->config.qllama.layers - 1;
}

static ivl_status check_number(const ivl_session *s, const tap_name *name, const char *tap,
                               long number, ivl_error *error)
{
    int last = last_number(s, name->kind);

    if (name->name[strlen(name->name) - 1] == '_' && (number < 0 || number > last)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "there is no '%s': this model has %s0 to %s%d", tap, name->name,
                         name->name, last);
    }
    return IVL_OK;
}

/* ---- one output -------------------------------------------------------------------------- */

static ivl_status parse(const ivl_session *s, const ivl_output *output, const tap_name **name,
                        ivl__tap *t, ivl_error *error)
{
    const bool itm = output->tap && strcmp(output->tap, "itm") == 0;
    long number = -1;

    if (!output->tap) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "an output without the name of a tap");
    }
    *name = find_name(output->tap, &number);
    if (!*name) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "there is no tap '%s': hidden_<i>, pooled, mean, image_c, image_g, text, "
                         "itm and those that internvl.h lists",
                         output->tap);
    }
    if (!((*name)->modes & s->modes) || (itm && !(s->modes & IVL__MODE_TEXT))) {
        return ivl__fail(error, IVL_UNSUPPORTED, "tap '%s': %s", output->tap,
                         s->options.modes ? "the session was not opened for a mode that has it"
                                          : "this checkpoint has no parts for it");
    }
    IVL__TRY(check_number(s, *name, output->tap, number, error));
    *t = (ivl__tap){.kind = (*name)->kind, .layer = (int)number};
    return IVL_OK;
}

/* dims[1] and dims[2]. */
static void set_shape(const ivl_session *s, const ivl_images *images, const ivl__tap *t,
                      int dims[3])
{
    const ivl__model_config *c = &s->model->config;

    dims[1] = 1;
    switch (t->kind) {
    case IVL__TAP_HIDDEN:
        dims[1] = 1 + (images->width / c->vit.patch) * (images->height / c->vit.patch);
        dims[2] = c->vit.hidden;
        return;
    case IVL__TAP_POOLED:
    case IVL__TAP_MEAN: dims[2] = c->vit.hidden; return;
    case IVL__TAP_IMAGE_C:
    case IVL__TAP_IMAGE_G:
    case IVL__TAP_TEXT: dims[2] = c->clip_embed_dim; return;
    case IVL__TAP_QUERY_LAYER:
    case IVL__TAP_QUERY: dims[1] = c->query_tokens; break;
    case IVL__TAP_TEXT_LAYER:
    case IVL__TAP_TEXT_ROWS:
    case IVL__TAP_TEXT_LAST: break;
    case IVL__TAP_ITM: dims[2] = 2; return;
    }
    dims[2] = c->qllama.hidden;
}

/* What has to be computed for a tap. */
static void add_need(const ivl_session *s, const ivl__tap *t, ivl__request *r)
{
    const int tower = 1 + s->model->config.vit.layers;
    const int layers = s->model->config.qllama.layers;
    const bool query = t->kind == IVL__TAP_QUERY_LAYER || t->kind == IVL__TAP_QUERY ||
                       t->kind == IVL__TAP_IMAGE_G;
    int stages = t->kind == IVL__TAP_HIDDEN ? t->layer + 1 : tower;
    int depth = t->kind == IVL__TAP_QUERY_LAYER || t->kind == IVL__TAP_TEXT_LAYER ? t->layer + 1
                                                                                  : layers;

    if (t->kind < IVL__TAP_TEXT_LAYER || t->kind == IVL__TAP_ITM) {
        r->vit_stages = stages > r->vit_stages ? stages : r->vit_stages;
    } else {
        r->text_layers = depth > r->text_layers ? depth : r->text_layers;
    }
    if (query) {
        r->query_layers = depth > r->query_layers ? depth : r->query_layers;
    }
    r->pool_c |= t->kind == IVL__TAP_IMAGE_C || t->kind == IVL__TAP_IMAGE_G;
    r->pool_g |= t->kind == IVL__TAP_IMAGE_G;
    r->query_norm |= t->kind == IVL__TAP_QUERY || t->kind == IVL__TAP_IMAGE_G;
    r->text_head |= t->kind == IVL__TAP_TEXT || t->kind == IVL__TAP_TEXT_LAST ||
                    t->kind == IVL__TAP_TEXT_ROWS;
    r->itm |= t->kind == IVL__TAP_ITM;
}

static ivl_status check_room(const ivl_output *o, size_t floats, ivl_error *error)
{
    if (!o->data || o->capacity / floats < (size_t)o->dims[0]) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "tap '%s' needs room for %d x %d x %d floats",
                         o->tap, o->dims[0], o->dims[1], o->dims[2]);
    }
    return IVL_OK;
}

static ivl_status add_tap(const ivl_session *s, const ivl_inputs *in, ivl_output *output,
                          ivl__request *r, ivl_error *error)
{
    const tap_name *name = NULL;
    ivl__tap t;
    bool images, texts;

    IVL__TRY(parse(s, output, &name, &t, error));
    images = name->rows == PER_IMAGE || name->rows == PER_PAIR;
    texts = name->rows != PER_IMAGE;
    if ((images && !in->images) || (texts && !in->texts)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "tap '%s' needs %s", output->tap,
                         images && !in->images ? "at least one picture" : "at least one text");
    }
    if (name->rows == PER_PAIR && in->images->count != in->texts->count) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "tap 'itm' compares image i with text i; there are %d images and %d texts",
                         in->images->count, in->texts->count);
    }
    output->dims[0] = images                    ? in->images->count
                      : name->rows == PER_TOKEN ? in->texts->offsets[in->texts->count]
                                                : in->texts->count;
    set_shape(s, in->images, &t, output->dims);
    t.floats = (size_t)output->dims[1] * (size_t)output->dims[2];
    t.output = output;
    IVL__TRY(check_room(output, t.floats, error));
    add_need(s, &t, r);
    r->images = images ? in->images : r->images;
    r->texts = texts ? in->texts : r->texts;
    r->taps[r->n_taps++] = t;
    return IVL_OK;
}

/* ---- inputs ------------------------------------------------------------------------------ */

static ivl_status check_text(const ivl_session *s, const ivl_texts *texts, int i, int32_t *longest,
                             ivl_error *error)
{
    int32_t vocab = s->model->config.qllama.vocab;
    int32_t begin = texts->offsets[i], end = texts->offsets[i + 1];

    if (end <= begin || end - begin > IVL__MAX_TEXT_TOKENS) {
        return ivl__fail(error, IVL_BAD_INPUT, "text %d has %d tokens; 1 to %d can be run", i,
                         (int)(end - begin), IVL__MAX_TEXT_TOKENS);
    }
    for (int32_t t = begin; t < end; t++) {
        if (texts->ids[t] < 0 || texts->ids[t] >= vocab) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "text %d holds token %d, the model knows 0 to %d; is the tokenizer "
                             "another model's?",
                             i, (int)texts->ids[t], (int)vocab - 1);
        }
    }
    *longest = end - begin > *longest ? end - begin : *longest;
    return IVL_OK;
}

/* What the caller gives, as this version knows it; what is empty becomes NULL. */
static ivl_status read_inputs(const ivl_inputs *given, ivl_inputs *in, ivl_error *error)
{
    *in = (ivl_inputs){.size = sizeof *in};
    if (!given || given->size < sizeof given->size || given->size > sizeof *in) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "ivl_run: inputs of %zu bytes; their size must be sizeof(ivl_inputs)",
                         given ? given->size : 0);
    }
    memcpy(in, given, given->size);
    if (in->images && (in->images->count < 1 || (!in->images->rgb && !in->images->pixels))) {
        in->images = NULL;
    }
    if (in->texts && in->texts->count < 1) {
        in->texts = NULL;
    }
    if (in->texts && (!in->texts->ids || !in->texts->offsets || in->texts->offsets[0] != 0)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "ivl_run: texts need ids, and offsets that begin with 0");
    }
    return IVL_OK;
}

/* Division by the patch is safe only for sizes that are a multiple of it. */
static ivl_status check_pictures(const ivl_session *s, const ivl_images *images, ivl_error *error)
{
    ivl__vit_sizes sizes;

    return images ? ivl__vit_sizes_for(&s->model->config.vit, images->width, images->height,
                                       !images->rgb, s->compute.act, &sizes, error)
                  : IVL_OK;
}

ivl_status ivl__request_make(const ivl_session *s, const ivl_inputs *inputs, ivl_output *outputs,
                             size_t n_outputs, ivl__request *r, ivl_error *error)
{
    ivl_inputs in;

    IVL__TRY(read_inputs(inputs, &in, error));
    IVL__TRY(check_pictures(s, in.images, error));
    *r = (ivl__request){0};
    for (size_t i = 0; i < n_outputs; i++) {
        IVL__TRY(add_tap(s, &in, &outputs[i], r, error));
    }
    for (int i = 0; r->texts && i < r->texts->count; i++) {
        IVL__TRY(check_text(s, r->texts, i, &r->longest, error));
    }
    return IVL_OK;
}
