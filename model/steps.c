/* steps.c - which steps a pass has; see steps.h. */
#include "model/steps.h"

#include <stdio.h>

/* A list that grows. */
typedef struct listing {
    const ivl_session *s;
    const ivl__request *request;
    const ivl__pass *pass;
    ivl__step *steps;
    int n;
} listing;

static void add(listing *l, ivl__step_kind kind, int index, int stage)
{
    l->steps[l->n++] = (ivl__step){kind, index, stage};
}

static void add_clip(listing *l, ivl__step_kind kind, int index, int clip_stage)
{
    add(l, kind, index, l->s->clip_at[clip_stage]);
}

int ivl__pass_layers(const ivl_session *s, const ivl__request *request, const ivl__pass *pass,
                     ivl__rows_kind kind)
{
    if (!pass->of[kind].rows) {
        return 0;
    }
    switch (kind) {
    case IVL__ROWS_QUERIES: return request->query_layers;
    case IVL__ROWS_PAIRS: return s->model->config.qllama.layers;
    case IVL__ROWS_TEXTS: return request->text_layers;
    }
    return 0;
}

static void list_layers(listing *l)
{
    const ivl__clip_stages *clip = l->s->model->clip;
    const int of_queries = ivl__pass_layers(l->s, l->request, l->pass, IVL__ROWS_QUERIES);
    const int of_pairs = ivl__pass_layers(l->s, l->request, l->pass, IVL__ROWS_PAIRS);
    const int looking = of_queries > of_pairs ? of_queries : of_pairs;
    const int of_texts = ivl__pass_layers(l->s, l->request, l->pass, IVL__ROWS_TEXTS);

    add(l, IVL__STEP_EMBED, 0, -1);
    for (int i = 0; i < looking || i < of_texts; i++) {
        const ivl__decoder_layer *layer = &clip->layers[i];

        add_clip(l, IVL__STEP_ATTENTION, i, layer->attention);
        if (layer->cross >= 0 && i < looking) {
            add_clip(l, IVL__STEP_CROSS, i, layer->cross);
        }
        add_clip(l, IVL__STEP_MLP, i, layer->mlp);
    }
}

int ivl__steps_list(const ivl_session *s, const ivl__request *request, const ivl__pass *pass,
                    ivl__step *steps)
{
    const ivl__clip_stages *clip = s->model->clip;
    const bool images = pass->images > 0;
    const bool pairs = pass->of[IVL__ROWS_PAIRS].rows > 0;
    listing l = {s, request, pass, steps, 0};

    for (int i = 0; images && i < request->vit_stages; i++) {
        add(&l, IVL__STEP_TOWER, i, i);
    }
    if (images && request->pool_c) {
        add_clip(&l, IVL__STEP_POOL_C, 0, clip->pool_c.stage);
    }
    if (pass->rows) {
        list_layers(&l);
    }
    if ((images && request->query_norm) || pairs) {
        add(&l, IVL__STEP_NORM, 0, -1);
    }
    if (images && request->pool_g) {
        add_clip(&l, IVL__STEP_POOL_G, 0, clip->pool_g.stage);
    }
    if (request->text_head && pass->of[IVL__ROWS_TEXTS].rows) {
        add_clip(&l, IVL__STEP_TEXT_HEAD, 0, clip->text_head);
    }
    if (pairs) {
        add_clip(&l, IVL__STEP_ITM_HEAD, 0, clip->itm_head);
    }
    return l.n;
}

void ivl__step_name(const ivl__step *step, char name[IVL__STEP_NAME])
{
    const size_t bytes = IVL__STEP_NAME;

    switch (step->kind) {
    case IVL__STEP_TOWER:
        snprintf(name, bytes, step->index ? "block %d" : "embeddings", step->index);
        return;
    case IVL__STEP_POOL_C: snprintf(name, bytes, "pooling block of C"); return;
    case IVL__STEP_EMBED: snprintf(name, bytes, "embeddings of tokens"); return;
    case IVL__STEP_ATTENTION:
    case IVL__STEP_CROSS:
    case IVL__STEP_MLP: snprintf(name, bytes, "layer %d", step->index); return;
    case IVL__STEP_NORM: snprintf(name, bytes, "last norm"); return;
    case IVL__STEP_POOL_G: snprintf(name, bytes, "pooling block of G"); return;
    case IVL__STEP_TEXT_HEAD: snprintf(name, bytes, "text embeddings"); return;
    case IVL__STEP_ITM_HEAD: snprintf(name, bytes, "matching of images and texts"); return;
    }
}
