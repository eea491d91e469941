/* clip_weights.c - names and shapes of the text tower, QLLaMA and the heads; see clip_weights.h.
 *
 * Tables hold every tensor by the group it stands in: its name below the group, its shape in
 * letters, its place in the structs. One walk over them serves mapping, visiting and stand-ins.
 */
#include "model/clip_weights.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- roles ------------------------------------------------------------------------------- */

#define NOT_RUN SIZE_MAX
#define LM_HEAD "qllama.lm_head.weight"

typedef struct clip_role {
    const char *name;
    const char *shape; /* a letter per extent, see extent_of; "" is a scalar */
    size_t offset;     /* of the ivl__weight_ref in the group's struct, or NOT_RUN */
    int part;          /* of that role */
} clip_role;

#define TOP(field)   offsetof(ivl__clip_weights, field)
#define LAYER(field) offsetof(ivl__llama_weights, field)
#define CROSS(field) offsetof(ivl__cross_weights, field)
#define POOL(field)  offsetof(ivl__pool_weights, field)

static const clip_role query_roles[] = {
    {"query_tokens", "1QH", TOP(query_tokens), 0},
};
static const clip_role scale_roles[] = {
    {"logit_scale", "", TOP(logit_scale), 0},
};
static const clip_role g_roles[] = {
    {LM_HEAD, "TH", NOT_RUN, 0},
    {"itm_head.weight", "2H", TOP(itm_w), 0},
    {"itm_head.bias", "2", TOP(itm_b), 0},
};
static const clip_role projection_roles[] = {
    {"text_projection", "HE", TOP(text_projection), 0},
};
static const clip_role embed_roles[] = {
    {"embed_tokens.weight", "TH", TOP(embed), 0},
};
static const clip_role norm_roles[] = {
    {"norm.weight", "H", TOP(norm), 0},
};

static const clip_role layer_roles[] = {
    {"self_attn.q_proj.weight", "HH", LAYER(qkv), 0},
    {"self_attn.k_proj.weight", "KH", LAYER(qkv), 1},
    {"self_attn.v_proj.weight", "KH", LAYER(qkv), 2},
    {"self_attn.o_proj.weight", "HH", LAYER(o), 0},
    {"mlp.gate_proj.weight", "FH", LAYER(gate_up), 0},
    {"mlp.up_proj.weight", "FH", LAYER(gate_up), 1},
    {"mlp.down_proj.weight", "HF", LAYER(down), 0},
    {"input_layernorm.weight", "H", LAYER(norm1), 0},
    {"post_attention_layernorm.weight", "H", LAYER(norm2), 0},
};

static const clip_role cross_roles[] = {
    {"cross_attn.q_proj.weight", "HH", CROSS(q), 0},
    {"cross_attn.k_proj.weight", "HV", CROSS(kv), 0},
    {"cross_attn.v_proj.weight", "HV", CROSS(kv), 1},
    {"cross_attn.o_proj.weight", "HH", CROSS(o), 0},
    {"cross_attn.norm1.weight", "H", CROSS(norm_q), 0},
    {"cross_attn.norm2.weight", "V", CROSS(norm_kv), 0},
};

/* Biases of q, k and v stand beside their matrices. */
static const clip_role pool_roles[] = {
    {"norm1_q.weight", "D", POOL(norm_q_w), 0},
    {"norm1_q.bias", "D", POOL(norm_q_b), 0},
    {"norm1_k.weight", "D", POOL(norm_k_w), 0},
    {"norm1_k.bias", "D", POOL(norm_k_b), 0},
    {"norm1_v.weight", "D", POOL(norm_v_w), 0},
    {"norm1_v.bias", "D", POOL(norm_v_b), 0},
    {"cross_attn.q_bias", "D", POOL(q_b), 0},
    {"cross_attn.k_bias", "D", POOL(k_b), 0},
    {"cross_attn.v_bias", "D", POOL(v_b), 0},
    {"cross_attn.q.weight", "DD", POOL(q_w), 0},
    {"cross_attn.k.weight", "DD", POOL(k_w), 0},
    {"cross_attn.v.weight", "DD", POOL(v_w), 0},
    {"cross_attn.proj.weight", "ED", POOL(proj_w), 0},
    {"cross_attn.proj.bias", "E", POOL(proj_b), 0},
};

#define COUNT(array) (sizeof array / sizeof array[0])

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

bool ivl__has_cross_attention(const ivl__model_config *config, int index)
{
    return config->architecture == IVL__ARCH_14B && index % config->cross_attention_frequency == 0;
}

/* ---- the walk ---------------------------------------------------------------------------- */

typedef struct clip_tensor {
    const char *name, *role, *kind;
    int rank;
    uint64_t shape[4];
    int part;
    ivl__weight_ref *ref; /* NULL: not run, or nobody maps */
} clip_tensor;

typedef ivl_status clip_tensor_fn(void *user, const clip_tensor *tensor, ivl_error *error);

typedef struct walk {
    const ivl__model_config *config;
    clip_tensor_fn *each;
    void *user;
    ivl_error *error;
} walk;

/* prefix: in this release; role_prefix: in InternVL-14B. base: the struct, or NULL. */
static ivl_status walk_group(const walk *w, const char *prefix, const char *role_prefix,
                             const clip_role *roles, size_t n, void *base, int32_t pool_width)
{
    for (size_t i = 0; i < n; i++) {
        char name[96], role[96];
        clip_tensor t = {.name = name, .role = role, .kind = roles[i].name, .part = roles[i].part};

        t.rank = (int)strlen(roles[i].shape);
        for (int d = 0; d < t.rank; d++) {
            t.shape[d] = extent_of(w->config, roles[i].shape[d], pool_width);
        }
        snprintf(name, sizeof name, "%s%s", prefix, roles[i].name);
        snprintf(role, sizeof role, "%s%s", role_prefix, roles[i].name);
        if (base && roles[i].offset != NOT_RUN) {
            t.ref = (void *)((unsigned char *)base + roles[i].offset);
        }
        IVL__TRY(w->each(w->user, &t, w->error));
    }
    return IVL_OK;
}

static ivl_status walk_top(const walk *w, const clip_role *roles, size_t n,
                           ivl__clip_weights *weights)
{
    return walk_group(w, "", "", roles, n, weights, 0);
}

#define ROLE_PREFIX "qllama.model."

static ivl_status walk_llama(const walk *w, const char *prefix, ivl__clip_weights *weights)
{
    IVL__TRY(walk_group(w, prefix, ROLE_PREFIX, embed_roles, COUNT(embed_roles), weights, 0));
    for (int i = 0; i < w->config->qllama.layers; i++) {
        char at[64], role[64];

        snprintf(at, sizeof at, "%slayers.%d.", prefix, i);
        snprintf(role, sizeof role, ROLE_PREFIX "layers.%d.", i);
        IVL__TRY(walk_group(w, at, role, layer_roles, COUNT(layer_roles),
                            weights ? &weights->layers[i] : NULL, 0));
        if (ivl__has_cross_attention(w->config, i)) {
            IVL__TRY(walk_group(w, at, role, cross_roles, COUNT(cross_roles),
                                weights ? &weights->cross[i] : NULL, 0));
        }
    }
    return walk_group(w, prefix, ROLE_PREFIX, norm_roles, COUNT(norm_roles), weights, 0);
}

static ivl_status walk_pool(const walk *w, const char *prefix, ivl__pool_weights *pool,
                            int32_t width)
{
    return walk_group(w, prefix, prefix, pool_roles, COUNT(pool_roles), pool, width);
}

/* In the order of a state dictionary. */
static ivl_status walk_all(const walk *w, ivl__clip_weights *weights)
{
    const ivl__model_config *c = w->config;
    ivl__pool_weights *pool_c = weights ? &weights->pool_c : NULL;

    if (c->architecture == IVL__ARCH_C_13B) {
        IVL__TRY(walk_llama(w, "transformer.", weights));
        IVL__TRY(walk_top(w, projection_roles, COUNT(projection_roles), weights));
        IVL__TRY(walk_top(w, scale_roles, COUNT(scale_roles), weights));
        return walk_pool(w, "clip_projector.", pool_c, c->vit.hidden);
    }
    IVL__TRY(walk_top(w, query_roles, COUNT(query_roles), weights));
    IVL__TRY(walk_top(w, scale_roles, COUNT(scale_roles), weights));
    IVL__TRY(walk_top(w, g_roles, COUNT(g_roles), weights));
    IVL__TRY(walk_top(w, projection_roles, COUNT(projection_roles), weights));
    IVL__TRY(walk_llama(w, "qllama.model.", weights));
    IVL__TRY(walk_pool(w, "clip_projector.", pool_c, c->vit.hidden));
    return walk_pool(w, "clip_projector2.", weights ? &weights->pool_g : NULL, c->qllama.hidden);
}

/* ---- tensors of a configuration ---------------------------------------------------------- */

typedef struct expectation {
    ivl__expected_tensor_fn *each;
    void *user;
} expectation;

static ivl_status expect(void *user, const clip_tensor *t, ivl_error *error)
{
    const expectation *e = user;
    ivl__expected_tensor expected = {
        .name = t->name, .role = t->role, .kind = t->kind, .n_parts = 1, .rank = t->rank};

    memcpy(expected.shape, t->shape, sizeof expected.shape);
    return e->each(e->user, &expected, error);
}

ivl_status ivl__clip_tensors_expected(const ivl__model_config *config,
                                      ivl__expected_tensor_fn *each, void *user, ivl_error *error)
{
    expectation e = {each, user};
    const walk w = {config, expect, &e, error};

    return walk_all(&w, NULL);
}

bool ivl__clip_is_unused(const char *role)
{
    return strcmp(role, LM_HEAD) == 0;
}

/* ---- mapping ----------------------------------------------------------------------------- */

static ivl_status take(void *user, const clip_tensor *t, ivl_error *error)
{
    return t->ref ? ivl__weight_take(user, t->name, t->shape, t->rank, t->ref, error) : IVL_OK;
}

static void set_spaces(ivl__clip_weights *weights, ivl__architecture architecture)
{
    static const char *const of_c[] = {"transformer.", "clip_projector.", "text_projection",
                                       "logit_scale"};
    static const char *const of_14b[] = {"qllama.model.",   "query_tokens",     "itm_head.",
                                         "clip_projector.", "clip_projector2.", "text_projection",
                                         "logit_scale"};
    bool c = architecture == IVL__ARCH_C_13B;

    memcpy(weights->spaces, c ? of_c : of_14b, c ? sizeof of_c : sizeof of_14b);
}

ivl_status ivl__clip_weights_take(ivl__weight_map *map, const ivl__model_config *config,
                                  ivl__clip_weights **out, ivl_error *error)
{
    const walk w = {config, take, map, error};
    size_t layers = (size_t)config->qllama.layers;
    ivl__clip_weights *weights = ivl__calloc(1, sizeof *weights);
    ivl_status status;

    if (weights) {
        weights->n_layers = config->qllama.layers;
        weights->layers = ivl__calloc(layers, sizeof *weights->layers);
        weights->cross = ivl__calloc(layers, sizeof *weights->cross);
        set_spaces(weights, config->architecture);
    }
    status = weights && weights->layers && weights->cross
                 ? walk_all(&w, weights)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu layers", layers);
    if (status != IVL_OK) {
        ivl__clip_weights_free(weights);
        return status;
    }
    *out = weights;
    return IVL_OK;
}

void ivl__clip_weights_free(ivl__clip_weights *weights)
{
    if (weights) {
        ivl__free(weights->layers);
        ivl__free(weights->cross);
        ivl__free(weights);
    }
}

/* ---- visiting ---------------------------------------------------------------------------- */

typedef struct visiting {
    ivl__weight_visit_fn *visit;
    void *user;
} visiting;

static ivl_status visit_tensor(void *user, const clip_tensor *t, ivl_error *error)
{
    const visiting *v = user;
    ivl__weight_ref one = {.n_parts = 1};

    if (!t->ref) {
        return IVL_OK;
    }
    one.parts[0] = t->ref->parts[t->part];
    return v->visit(v->user, t->role, &one, error);
}

ivl_status ivl__clip_weights_visit(const ivl__model_config *config,
                                   const ivl__clip_weights *weights, ivl__weight_visit_fn *visit,
                                   void *user, ivl_error *error)
{
    visiting v = {visit, user};
    const walk w = {config, visit_tensor, &v, error};
    ivl__clip_weights copy = *weights; /* the walk hands out places, which nobody changes here */

    return walk_all(&w, &copy);
}

/* ---- geometry from tensors --------------------------------------------------------------- */

static bool has(const ivl__tensor_table *table, const char *name)
{
    return ivl__tensor_table_find(table, name) != NULL;
}

static const ivl__tensor_entry *find_matrix(const ivl__tensor_table *table, const char *name)
{
    const ivl__tensor_entry *entry = ivl__tensor_table_find(table, name);
    bool sane = entry && entry->rank == 2 && entry->shape[0] >= 1 && entry->shape[1] >= 1 &&
                entry->shape[0] <= 16777216 && entry->shape[1] <= 1048576;

    return sane ? entry : NULL;
}

/* How many of transformer.layers.0.<name>, transformer.layers.1.<name>, ... there are, and in
 * *second where the second of all is. */
static int32_t count_layers(const ivl__tensor_table *table, const char *prefix, const char *name,
                            int32_t most, int32_t *second)
{
    int32_t n = 0;

    for (int32_t i = 0; i < most; i++) {
        char text[96];

        snprintf(text, sizeof text, "%slayers.%d.%s", prefix, (int)i, name);
        if (has(table, text) && ++n == 2) {
            *second = i;
        }
    }
    return n;
}

static ivl_status read_queries(const ivl__tensor_table *table, ivl__model_config *config,
                               ivl_error *error)
{
    const ivl__tensor_entry *queries = ivl__tensor_table_find(table, "query_tokens");

    if (!queries || queries->rank != 3 || queries->shape[1] < 1 || queries->shape[1] > 65536) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "there is no config.json, and query_tokens is missing or not [1, n, %d]",
                         (int)config->qllama.hidden);
    }
    config->query_tokens = (int32_t)queries->shape[1];
    config->cross_attention_frequency = config->qllama.layers;
    (void)count_layers(table, "qllama.model.", "cross_attn.norm1.weight", config->qllama.layers,
                       &config->cross_attention_frequency);
    config->architecture = IVL__ARCH_14B;
    return IVL_OK;
}

/* What tensors do not tell is as in the one LLaMA that was published. */
static ivl_status read_text_tower(const ivl__tensor_table *table, const char *prefix,
                                  ivl__model_config *config, ivl_error *error)
{
    char embed_name[64], up_name[64];
    const ivl__tensor_entry *embed, *up;
    const ivl__tensor_entry *projection = find_matrix(table, "text_projection");
    ivl__llama_config llama = {.eps = 1e-6, .rope_theta = 10000, .heads = 32, .kv_heads = 32};
    int32_t second;

    snprintf(embed_name, sizeof embed_name, "%sembed_tokens.weight", prefix);
    snprintf(up_name, sizeof up_name, "%slayers.0.mlp.up_proj.weight", prefix);
    embed = find_matrix(table, embed_name);
    up = find_matrix(table, up_name);
    if (!embed || !up || !projection) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "there is no config.json, and the text tower lacks one of %s, %s and "
                         "text_projection",
                         embed_name, up_name);
    }
    llama.vocab = (int32_t)embed->shape[0];
    llama.hidden = (int32_t)embed->shape[1];
    llama.mlp = (int32_t)up->shape[0];
    llama.layers = count_layers(table, prefix, "input_layernorm.weight", 1024, &second);
    if (llama.hidden != 4096) {
        return ivl__fail(
            error, IVL_BAD_MODEL,
            "there is no config.json, and the number of heads of a text tower of width "
            "%d cannot be told from its tensors; pass --config FILE.json or --arch "
            "NAME",
            (int)llama.hidden);
    }
    config->qllama = llama;
    config->clip_embed_dim = (int32_t)projection->shape[1];
    config->attn_pool_heads = 16;
    config->architecture = IVL__ARCH_C_13B;
    return IVL_OK;
}

ivl_status ivl__clip_config_from_tensors(const ivl__tensor_table *table, bool configured,
                                         ivl__model_config *config, ivl_error *error)
{
    bool tower = has(table, "transformer.embed_tokens.weight");
    bool qllama = has(table, "qllama.model.embed_tokens.weight");
    bool pool = has(table, "clip_projector.norm1_q.weight");

    if (configured) {
        if (config->architecture == IVL__ARCH_14B && tower && !qllama) {
            config->architecture = IVL__ARCH_C_13B;
        } else if (config->architecture == IVL__ARCH_14B && !qllama && !pool) {
            config->architecture = IVL__ARCH_VIT; /* the tower alone was saved */
        }
        return IVL_OK;
    }
    if (!pool || (!tower && !qllama)) {
        return IVL_OK;
    }
    if (!qllama) {
        return read_text_tower(table, "transformer.", config, error);
    }
    IVL__TRY(read_text_tower(table, "qllama.model.", config, error));
    return read_queries(table, config, error);
}
