/* synth_tensors.c - which tensors a stand-in checkpoint holds; see synth_tensors.h. */
#include "model/synth_tensors.h"

#include "model/weight_names.h"
#include "runtime/memory.h"

#include <math.h>
#include <stdio.h>

typedef enum filling { MATRIX, EMBEDDING, BIAS, NORM, LAYER_SCALE, LOGIT_SCALE } filling;

#define SQRT3 1.7320508075688772

/* fan_in: how many products are added up in a MATRIX. */
static ivl__synth_range range_of(filling kind, uint64_t fan_in)
{
    switch (kind) {
    case MATRIX: return ivl__synth_range_of(0, SQRT3 / sqrt((double)fan_in));
    case EMBEDDING: return ivl__synth_range_of(0, SQRT3 * 0.1);
    case BIAS: return ivl__synth_range_of(0, SQRT3 * 0.02);
    case NORM: return ivl__synth_range_of(1, 0.5);
    case LAYER_SCALE: return ivl__synth_range_of(0.1, 0.05);
    case LOGIT_SCALE: return ivl__synth_range_of(2.6592600369327779 /* ln(1 / 0.07) */, 0);
    }
    return ivl__synth_range_of(0, 0);
}

typedef struct listing {
    const ivl__model_config *config;
    ivl__synth_tensors *to;
    const char *prefix; /* of the tower */
    ivl_error *error;
} listing;

static ivl_status add(listing *l, const ivl__synth_tensor *tensor)
{
    ivl__synth_tensors *to = l->to;

    if (!ivl__grow((void **)&to->items, &to->capacity, to->count + 1, sizeof *to->items)) {
        return ivl__fail(l->error, IVL_OUT_OF_MEMORY, "out of memory for the list of tensors");
    }
    to->items[to->count++] = *tensor;
    return IVL_OK;
}

/* ---- the tower --------------------------------------------------------------------------- */

static filling tower_filling(const char *kind)
{
    size_t n = strlen(kind);

    if (strcmp(kind, "class_embedding") == 0 || strcmp(kind, "position") == 0) {
        return EMBEDDING;
    }
    if (strncmp(kind, "ls", 2) == 0) {
        return LAYER_SCALE;
    }
    if (strcmp(kind + n - 2, "_b") == 0) {
        return BIAS;
    }
    return strstr(kind, "norm") ? NORM : MATRIX;
}

static ivl_status add_tower_tensor(void *user, const ivl__expected_tensor *expected,
                                   ivl_error *error)
{
    listing *l = user;
    ivl__synth_tensor t = {.rank = expected->rank};
    uint64_t elements = 1, fan_in = 1;

    (void)error;
    for (int i = 0; i < expected->rank; i++) {
        t.shape[i] = expected->shape[i];
        elements *= expected->shape[i];
        fan_in *= i ? expected->shape[i] : 1;
    }
    snprintf(t.name, sizeof t.name, "%s%s", l->prefix, expected->name);
    snprintf(t.role, sizeof t.role, "vision.%s", expected->role);
    t.first = elements * (uint64_t)expected->part;
    t.range = range_of(tower_filling(expected->kind), fan_in);
    return add(l, &t);
}

/* ---- the other parts --------------------------------------------------------------------- */

/* Extents by letter: what a shape is made of. */
typedef struct other_tensor {
    const char *name;
    filling kind;
    const char *shape; /* one letter per extent, see extent_of; "" is a scalar */
} other_tensor;

/* V vision width, H width of LLaMA, K of its keys, F of its MLP, T vocabulary, E embedding,
 * Q queries, 1 and 2 themselves, D the width of a pooling block. */
static uint64_t extent_of(const ivl__model_config *c, char letter, int32_t pool_width)
{
    switch (letter) {
    case 'V': return (uint64_t)c->vit.hidden;
    case 'H': return (uint64_t)c->qllama.hidden;
    case 'K': return (uint64_t)(c->qllama.hidden / c->qllama.heads * c->qllama.kv_heads);
    case 'F': return (uint64_t)c->qllama.mlp;
    case 'T': return (uint64_t)c->qllama.vocab;
    case 'E': return (uint64_t)c->clip_embed_dim;
    case 'Q': return (uint64_t)c->query_tokens;
    case 'D': return (uint64_t)pool_width;
    case '2': return 2;
    default: return 1;
    }
}

static const other_tensor layer_tensors[] = {
    {"self_attn.q_proj.weight", MATRIX, "HH"},      {"self_attn.k_proj.weight", MATRIX, "KH"},
    {"self_attn.v_proj.weight", MATRIX, "KH"},      {"self_attn.o_proj.weight", MATRIX, "HH"},
    {"mlp.gate_proj.weight", MATRIX, "FH"},         {"mlp.up_proj.weight", MATRIX, "FH"},
    {"mlp.down_proj.weight", MATRIX, "HF"},         {"input_layernorm.weight", NORM, "H"},
    {"post_attention_layernorm.weight", NORM, "H"},
};

/* Queries to image tokens: keys and values come from the vision width. */
static const other_tensor cross_tensors[] = {
    {"cross_attn.q_proj.weight", MATRIX, "HH"}, {"cross_attn.k_proj.weight", MATRIX, "HV"},
    {"cross_attn.v_proj.weight", MATRIX, "HV"}, {"cross_attn.o_proj.weight", MATRIX, "HH"},
    {"cross_attn.norm1.weight", NORM, "H"},     {"cross_attn.norm2.weight", NORM, "V"},
};

/* The attention pooling block; biases of q, k and v stand beside their matrices. */
static const other_tensor pool_tensors[] = {
    {"norm1_q.weight", NORM, "D"},
    {"norm1_q.bias", BIAS, "D"},
    {"norm1_k.weight", NORM, "D"},
    {"norm1_k.bias", BIAS, "D"},
    {"norm1_v.weight", NORM, "D"},
    {"norm1_v.bias", BIAS, "D"},
    {"cross_attn.q_bias", BIAS, "D"},
    {"cross_attn.k_bias", BIAS, "D"},
    {"cross_attn.v_bias", BIAS, "D"},
    {"cross_attn.q.weight", MATRIX, "DD"},
    {"cross_attn.k.weight", MATRIX, "DD"},
    {"cross_attn.v.weight", MATRIX, "DD"},
    {"cross_attn.proj.weight", MATRIX, "ED"},
    {"cross_attn.proj.bias", BIAS, "E"},
};

#define COUNT(array) (sizeof array / sizeof array[0])

/* role_prefix: the same for every release; NULL: as prefix. */
static ivl_status add_others(listing *l, const char *prefix, const char *role_prefix,
                             const other_tensor *tensors, size_t n, int32_t pool_width)
{
    for (size_t i = 0; i < n; i++) {
        const other_tensor *other = &tensors[i];
        ivl__synth_tensor t = {.rank = (int)strlen(other->shape)};

        for (int d = 0; d < t.rank; d++) {
            t.shape[d] = extent_of(l->config, other->shape[d], pool_width);
        }
        snprintf(t.name, sizeof t.name, "%s%s", prefix, other->name);
        snprintf(t.role, sizeof t.role, "%s%s", role_prefix ? role_prefix : prefix, other->name);
        t.range = range_of(other->kind, t.rank ? t.shape[t.rank - 1] : 1);
        IVL__TRY(add(l, &t));
    }
    return IVL_OK;
}

static ivl_status add_llama(listing *l, const char *prefix, bool cross)
{
    static const other_tensor embed[] = {{"embed_tokens.weight", EMBEDDING, "TH"}};
    static const other_tensor norm[] = {{"norm.weight", NORM, "H"}};
    char at[64], role[64];

    IVL__TRY(add_others(l, prefix, "qllama.model.", embed, 1, 0));
    for (int i = 0; i < l->config->qllama.layers; i++) {
        snprintf(at, sizeof at, "%slayers.%d.", prefix, i);
        snprintf(role, sizeof role, "qllama.model.layers.%d.", i);
        IVL__TRY(add_others(l, at, role, layer_tensors, COUNT(layer_tensors), 0));
        if (cross && i % l->config->cross_attention_frequency == 0) {
            IVL__TRY(add_others(l, at, role, cross_tensors, COUNT(cross_tensors), 0));
        }
    }
    return add_others(l, prefix, "qllama.model.", norm, 1, 0);
}

static ivl_status add_pool(listing *l, const char *prefix, int32_t width)
{
    return add_others(l, prefix, NULL, pool_tensors, COUNT(pool_tensors), width);
}

/* text_projection is used as x @ P: its fan-in are its rows. */
static ivl_status add_text_projection(listing *l)
{
    ivl__synth_tensor t = {.name = "text_projection", .role = "text_projection", .rank = 2};

    t.shape[0] = (uint64_t)l->config->qllama.hidden;
    t.shape[1] = (uint64_t)l->config->clip_embed_dim;
    t.range = range_of(MATRIX, t.shape[0]);
    return add(l, &t);
}

static ivl_status add_c_parts(listing *l)
{
    static const other_tensor scale[] = {{"logit_scale", LOGIT_SCALE, ""}};

    IVL__TRY(add_llama(l, "transformer.", false));
    IVL__TRY(add_text_projection(l));
    IVL__TRY(add_others(l, "", NULL, scale, 1, 0));
    return add_pool(l, "clip_projector.", l->config->vit.hidden);
}

static ivl_status add_14b_parts(listing *l)
{
    static const other_tensor tops[] = {{"query_tokens", EMBEDDING, "1QH"},
                                        {"logit_scale", LOGIT_SCALE, ""},
                                        {"qllama.lm_head.weight", MATRIX, "TH"},
                                        {"itm_head.weight", MATRIX, "2H"},
                                        {"itm_head.bias", BIAS, "2"}};

    IVL__TRY(add_others(l, "", NULL, tops, COUNT(tops), 0));
    IVL__TRY(add_text_projection(l));
    IVL__TRY(add_llama(l, "qllama.model.", true));
    IVL__TRY(add_pool(l, "clip_projector.", l->config->vit.hidden));
    return add_pool(l, "clip_projector2.", l->config->qllama.hidden);
}

ivl_status ivl__synth_tensors_list(const ivl__model_config *config, const char *naming,
                                   ivl__synth_tensors *tensors, ivl_error *error)
{
    listing l = {config, tensors, "", error};

    if (config->architecture != IVL__ARCH_VIT && strcmp(naming, "pth") != 0) {
        l.prefix = strcmp(naming, "hf") == 0 ? "vision_tower." : "vision_model.";
    }
    IVL__TRY(ivl__vit_tensors_expected(&config->vit, naming, add_tower_tensor, &l, error));
    switch (config->architecture) {
    case IVL__ARCH_14B: return add_14b_parts(&l);
    case IVL__ARCH_C_13B: return add_c_parts(&l);
    case IVL__ARCH_VIT:
    case IVL__ARCH_CHAT: break;
    }
    return IVL_OK;
}
