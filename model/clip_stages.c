/* clip_stages.c - the text tower, QLLaMA and the heads as stages; see clip_stages.h. */
#include "model/clip_stages.h"

#include "runtime/memory.h"

/* ---- which stages ------------------------------------------------------------------------ */

static int count_stages(ivl__clip_stages *s)
{
    const bool g = s->config.architecture == IVL__ARCH_14B;
    int n = 0;

    s->pool_c.stage = n++;
    for (int i = 0; i < s->config.qllama.layers; i++) {
        s->layers[i].attention = n++;
        s->layers[i].cross = ivl__has_cross_attention(&s->config, i) ? n++ : IVL__NO_STAGE;
        s->layers[i].mlp = n++;
    }
    s->pool_g.stage = g ? n++ : IVL__NO_STAGE;
    s->text_head = n++;
    s->itm_head = g ? n++ : IVL__NO_STAGE;
    return n;
}

/* ---- matrices ---------------------------------------------------------------------------- */

static ivl_status add_pool(ivl__clip_stages *s, ivl__pool_stage *p, const ivl__pool_weights *w,
                           int32_t width, ivl_error *error)
{
    ivl__stage_list *list = &s->list;

    p->width = width;
    p->heads = s->config.attn_pool_heads;
    p->embed = s->config.clip_embed_dim;
    IVL__TRY(ivl__stage_add(list, p->stage, w ? &w->q_w : NULL, 1, width, width, &p->q, error));
    IVL__TRY(ivl__stage_add(list, p->stage, w ? &w->k_w : NULL, 1, width, width, &p->k, error));
    IVL__TRY(ivl__stage_add(list, p->stage, w ? &w->v_w : NULL, 1, width, width, &p->v, error));
    return ivl__stage_add(list, p->stage, w ? &w->proj_w : NULL, 1, p->embed, width, &p->proj,
                          error);
}

static ivl_status add_layer(ivl__clip_stages *s, ivl__decoder_layer *l, const ivl__llama_weights *w,
                            ivl_error *error)
{
    const ivl__llama_config *config = &s->config.qllama;
    ivl__stage_list *list = &s->list;
    int32_t h = config->hidden;
    int32_t qkv = h + 2 * (h / config->heads * config->kv_heads);

    /* Without a checkpoint q, k and v count as one piece: the sum is what matters. */
    IVL__TRY(ivl__stage_add(list, l->attention, w ? &w->qkv : NULL, 1, qkv, h, &l->qkv, error));
    IVL__TRY(ivl__stage_add(list, l->attention, w ? &w->o : NULL, 1, h, h, &l->o, error));
    IVL__TRY(ivl__stage_add(list, l->mlp, w ? &w->gate_up : NULL, 2, 2 * config->mlp, h,
                            &l->gate_up, error));
    return ivl__stage_add(list, l->mlp, w ? &w->down : NULL, 1, h, config->mlp, &l->down, error);
}

static ivl_status add_cross(ivl__clip_stages *s, ivl__decoder_layer *l, const ivl__cross_weights *w,
                            ivl_error *error)
{
    ivl__stage_list *list = &s->list;
    int32_t h = s->config.qllama.hidden;

    IVL__TRY(ivl__stage_add(list, l->cross, w ? &w->q : NULL, 1, h, h, &l->cross_q, error));
    IVL__TRY(ivl__stage_add(list, l->cross, w ? &w->kv : NULL, 2, 2 * h, s->config.vit.hidden,
                            &l->cross_kv, error));
    return ivl__stage_add(list, l->cross, w ? &w->o : NULL, 1, h, h, &l->cross_o, error);
}

static ivl_status add_heads(ivl__clip_stages *s, const ivl__clip_weights *w, ivl_error *error)
{
    int32_t h = s->config.qllama.hidden;

    IVL__TRY(ivl__stage_add(&s->list, s->text_head, w ? &w->text_projection : NULL, 1, h,
                            s->config.clip_embed_dim, &s->text_projection, error));
    return s->itm_head == IVL__NO_STAGE
               ? IVL_OK
               : ivl__stage_add(&s->list, s->itm_head, w ? &w->itm_w : NULL, 1, 2, h, &s->itm,
                                error);
}

static ivl_status add_matrices(ivl__clip_stages *s, const ivl__clip_weights *w, ivl_error *error)
{
    IVL__TRY(add_pool(s, &s->pool_c, w ? &w->pool_c : NULL, s->config.vit.hidden, error));
    for (int i = 0; i < s->config.qllama.layers; i++) {
        ivl__decoder_layer *l = &s->layers[i];

        IVL__TRY(add_layer(s, l, w ? &w->layers[i] : NULL, error));
        if (l->cross != IVL__NO_STAGE) {
            IVL__TRY(add_cross(s, l, w ? &w->cross[i] : NULL, error));
        }
    }
    if (s->pool_g.stage != IVL__NO_STAGE) {
        IVL__TRY(add_pool(s, &s->pool_g, w ? &w->pool_g : NULL, s->config.qllama.hidden, error));
    }
    return add_heads(s, w, error);
}

/* ---- vectors ----------------------------------------------------------------------------- */

/* The first call gives a vector its place, the second, with weights, its values. */
typedef struct filling {
    ivl__stage_list *list;
    bool widen;
} filling;

static void vector(const filling *f, uint64_t *at, const ivl__weight_ref *ref, uint64_t n)
{
    if (f->widen) {
        ivl__stage_widen(f->list, *at, ref);
    } else {
        *at = ivl__stage_place(f->list, true, n);
    }
}

static void pool_vectors(const filling *f, ivl__pool_stage *p, const ivl__pool_weights *w)
{
    uint64_t d = (uint64_t)p->width;

    vector(f, &p->norm_q_w, &w->norm_q_w, d);
    vector(f, &p->norm_q_b, &w->norm_q_b, d);
    vector(f, &p->norm_k_w, &w->norm_k_w, d);
    vector(f, &p->norm_k_b, &w->norm_k_b, d);
    vector(f, &p->norm_v_w, &w->norm_v_w, d);
    vector(f, &p->norm_v_b, &w->norm_v_b, d);
    vector(f, &p->q_b, &w->q_b, d);
    vector(f, &p->k_b, &w->k_b, d);
    vector(f, &p->v_b, &w->v_b, d);
    vector(f, &p->proj_b, &w->proj_b, (uint64_t)p->embed);
}

static void layer_vectors(const filling *f, ivl__clip_stages *s, int index,
                          const ivl__llama_weights *w, const ivl__cross_weights *cross)
{
    ivl__decoder_layer *l = &s->layers[index];
    uint64_t h = (uint64_t)s->config.qllama.hidden;

    vector(f, &l->norm1, &w->norm1, h);
    vector(f, &l->norm2, &w->norm2, h);
    if (l->cross != IVL__NO_STAGE) {
        vector(f, &l->cross_norm_q, &cross->norm_q, h);
        vector(f, &l->cross_norm_kv, &cross->norm_kv, (uint64_t)s->config.vit.hidden);
    }
}

static void vectors(ivl__clip_stages *s, const ivl__clip_weights *w, bool widen)
{
    static const ivl__clip_weights none;
    static const ivl__llama_weights no_layer;
    static const ivl__cross_weights no_cross;
    const filling f = {&s->list, widen};
    uint64_t h = (uint64_t)s->config.qllama.hidden;

    w = widen ? w : &none;
    pool_vectors(&f, &s->pool_c, &w->pool_c);
    for (int i = 0; i < s->config.qllama.layers; i++) {
        layer_vectors(&f, s, i, widen ? &w->layers[i] : &no_layer,
                      widen ? &w->cross[i] : &no_cross);
    }
    vector(&f, &s->norm, &w->norm, h);
    if (s->pool_g.stage != IVL__NO_STAGE) {
        pool_vectors(&f, &s->pool_g, &w->pool_g);
        vector(&f, &s->query_tokens, &w->query_tokens, (uint64_t)s->config.query_tokens * h);
        vector(&f, &s->itm_b, &w->itm_b, 2);
    }
}

/* ---- make and free ----------------------------------------------------------------------- */

static ivl_status fill(ivl__clip_stages *s, const ivl__clip_weights *weights, ivl_error *error)
{
    s->layers = ivl__calloc((size_t)s->config.qllama.layers, sizeof *s->layers);
    if (!s->layers) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    IVL__TRY(ivl__stage_list_init(&s->list, count_stages(s), error));
    IVL__TRY(add_matrices(s, weights, error));
    vectors(s, NULL, false);
    if (weights) {
        s->embed = weights->embed.parts[0];
        IVL__TRY(ivl__stage_make_vectors(&s->list, error));
        vectors(s, weights, true);
    }
    return IVL_OK;
}

ivl_status ivl__clip_stages_make(const ivl__model_config *config, const ivl__clip_weights *weights,
                                 ivl__clip_stages **out, ivl_error *error)
{
    ivl__clip_stages *s = ivl__calloc(1, sizeof *s);
    ivl_status status;

    if (!s) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the stages of the model");
    }
    s->config = *config;
    status = fill(s, weights, error);
    if (status != IVL_OK) {
        ivl__clip_stages_free(s);
        return status;
    }
    *out = s;
    return IVL_OK;
}

void ivl__clip_stages_free(ivl__clip_stages *s)
{
    if (!s) {
        return;
    }
    ivl__stage_list_free(&s->list);
    ivl__free(s->layers);
    ivl__free(s);
}
