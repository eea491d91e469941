/* weight_names.c - three published naming schemes to one set of roles; see weight_names.h.
 *
 * One table holds every role with its name in each scheme, its shape and when it must be there.
 * Roles stand in the order of their names.
 */
#include "model/weight_names.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

enum { HUB, PTH, HF, N_SCHEMES };
static const char *const scheme_names[N_SCHEMES] = {"hub", "pth", "hf"};
static const char *const class_names[N_SCHEMES] = {"embeddings.class_embedding", "cls_token",
                                                   "embeddings.cls_token"};
static const char *const block_prefixes[N_SCHEMES] = {"encoder.layers.", "blocks.",
                                                      "encoder.layer."};
/* What belongs to the tower where it has no prefix of its own. */
static const char *const tower_spaces[N_SCHEMES][4] = {
    {"embeddings.", "encoder."},
    {"cls_token", "pos_embed", "patch_embed.", "blocks."},
    {"embeddings.", "encoder."},
};
static const char *const prefixes[] = {"",
                                       "vision_model.",
                                       "vision_tower.",
                                       "model.vision_tower.",
                                       "vision_tower.vision_tower.",
                                       "model.vision_tower.vision_tower.",
                                       "visual."};

/* ---- roles ------------------------------------------------------------------------------- */

typedef enum role_when { ALWAYS, LAYER_NORM, QKV_BIAS, QK_NORM } role_when;
typedef enum role_shape { C, F, QKV, C_C, F_C, C_F, QKV_C, PATCH, POSITION } role_shape;

typedef struct weight_role {
    const char *name;
    const char *in[N_SCHEMES]; /* below the block or the tower; "q_proj" stands for q, k and v */
    size_t offset;
    role_when when;
    role_shape shape;
} weight_role;

#define BLOCK(field) offsetof(ivl__vit_block_weights, field)
#define TOWER(field) offsetof(ivl__vit_weights, field)

static const weight_role block_roles[] = {
    {"fc1_b", {"mlp.fc1.bias", "mlp.fc1.bias", "mlp.fc1.bias"}, BLOCK(fc1_b), ALWAYS, F},
    {"fc1_w", {"mlp.fc1.weight", "mlp.fc1.weight", "mlp.fc1.weight"}, BLOCK(fc1_w), ALWAYS, F_C},
    {"fc2_b", {"mlp.fc2.bias", "mlp.fc2.bias", "mlp.fc2.bias"}, BLOCK(fc2_b), ALWAYS, C},
    {"fc2_w", {"mlp.fc2.weight", "mlp.fc2.weight", "mlp.fc2.weight"}, BLOCK(fc2_w), ALWAYS, C_F},
    {"k_norm",
     {"attn.k_norm.weight", "attn.k_norm.weight", "attention.k_norm.weight"},
     BLOCK(k_norm),
     QK_NORM,
     C},
    {"ls1", {"ls1", "ls1.gamma", "lambda_1"}, BLOCK(ls1), ALWAYS, C},
    {"ls2", {"ls2", "ls2.gamma", "lambda_2"}, BLOCK(ls2), ALWAYS, C},
    {"norm1_b",
     {"norm1.bias", "norm1.bias", "layernorm_before.bias"},
     BLOCK(norm1_b),
     LAYER_NORM,
     C},
    {"norm1_w",
     {"norm1.weight", "norm1.weight", "layernorm_before.weight"},
     BLOCK(norm1_w),
     ALWAYS,
     C},
    {"norm2_b",
     {"norm2.bias", "norm2.bias", "layernorm_after.bias"},
     BLOCK(norm2_b),
     LAYER_NORM,
     C},
    {"norm2_w",
     {"norm2.weight", "norm2.weight", "layernorm_after.weight"},
     BLOCK(norm2_w),
     ALWAYS,
     C},
    {"proj_b",
     {"attn.proj.bias", "attn.proj.bias", "attention.projection_layer.bias"},
     BLOCK(proj_b),
     ALWAYS,
     C},
    {"proj_w",
     {"attn.proj.weight", "attn.proj.weight", "attention.projection_layer.weight"},
     BLOCK(proj_w),
     ALWAYS,
     C_C},
    {"q_norm",
     {"attn.q_norm.weight", "attn.q_norm.weight", "attention.q_norm.weight"},
     BLOCK(q_norm),
     QK_NORM,
     C},
    {"qkv_b",
     {"attn.qkv.bias", "attn.qkv.bias", "attention.?_proj.bias"},
     BLOCK(qkv_b),
     QKV_BIAS,
     QKV},
    {"qkv_w",
     {"attn.qkv.weight", "attn.qkv.weight", "attention.?_proj.weight"},
     BLOCK(qkv_w),
     ALWAYS,
     QKV_C},
};

static const weight_role tower_roles[] = {
    {"class_embedding",
     {"embeddings.class_embedding", "cls_token", "embeddings.cls_token"},
     TOWER(class_embedding),
     ALWAYS,
     C},
    {"patch_b",
     {"embeddings.patch_embedding.bias", "patch_embed.proj.bias",
      "embeddings.patch_embeddings.projection.bias"},
     TOWER(patch_b),
     ALWAYS,
     C},
    {"patch_w",
     {"embeddings.patch_embedding.weight", "patch_embed.proj.weight",
      "embeddings.patch_embeddings.projection.weight"},
     TOWER(patch_w),
     ALWAYS,
     PATCH},
    {"position",
     {"embeddings.position_embedding", "pos_embed", "embeddings.position_embeddings"},
     TOWER(position),
     ALWAYS,
     POSITION},
};

#define N_BLOCK_ROLES (sizeof block_roles / sizeof block_roles[0])
#define N_TOWER_ROLES (sizeof tower_roles / sizeof tower_roles[0])

static bool is_present(const ivl__vit_config *config, role_when when)
{
    switch (when) {
    case ALWAYS: return true;
    case LAYER_NORM: return config->layer_norm;
    case QKV_BIAS: return config->qkv_bias;
    case QK_NORM: return config->qk_norm;
    }
    return false;
}

/* ---- which tower ------------------------------------------------------------------------- */

typedef struct naming {
    int scheme;
    const char *prefix;
} naming;

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static ivl_status refuse_lora(const ivl__tensor_table *table, ivl_error *error)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *name = table->entries[i].name;

        if (starts_with(name, "base_model.") || strstr(name, ".lora_A.") ||
            strstr(name, ".lora_B.") || strstr(name, ".base_layer.")) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" is of an unmerged LoRA fine-tune; merge it first "
                             "(peft: model.merge_and_unload()) and save the result",
                             name);
        }
    }
    return IVL_OK;
}

static ivl_status find_naming(const ivl__tensor_table *table, naming *found, ivl_error *error)
{
    char name[256];

    IVL__TRY(refuse_lora(table, error));
    for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0]; p++) {
        for (int s = 0; s < N_SCHEMES; s++) {
            snprintf(name, sizeof name, "%s%s", prefixes[p], class_names[s]);
            if (ivl__tensor_table_find(table, name)) {
                *found = (naming){s, prefixes[p]};
                return IVL_OK;
            }
        }
    }
    return ivl__fail(error, IVL_BAD_MODEL,
                     "no InternViT in this checkpoint: there is no \"embeddings.class_embedding\" "
                     "(nor \"cls_token\" or \"embeddings.cls_token\"), bare or under a known "
                     "prefix; it holds %zu tensors, the first is \"%.100s\"",
                     table->count, table->count ? table->entries[0].name : "");
}

/* The tensor's name for a role; block < 0: of the tower. part 0 .. 2 of q, k, v. */
static void role_name(const naming *n, const weight_role *role, int block, int part, char name[256])
{
    char at[32] = "";
    char *which;

    if (block >= 0) {
        snprintf(at, sizeof at, "%s%d.", block_prefixes[n->scheme], block);
    }
    snprintf(name, 256, "%s%s%s", n->prefix, at, role->in[n->scheme]);
    which = strchr(name, '?');
    if (which) {
        *which = "qkv"[part];
    }
}

static const ivl__tensor_entry *find_role(const ivl__tensor_table *table, const naming *n,
                                          const weight_role *role, int block, int part)
{
    char name[256];

    role_name(n, role, block, part, name);
    return ivl__tensor_table_find(table, name);
}

/* ---- mapping ----------------------------------------------------------------------------- */

typedef struct mapping {
    ivl__weight_map *map;
    const ivl__vit_config *config;
    naming naming;
    ivl__vit_weights *weights;
    ivl_error *error;
} mapping;

/* The canonical shape; 0 rows in a position table: any. */
static int expected_shape(const ivl__vit_config *config, role_shape shape, uint64_t out[4])
{
    uint64_t c = (uint64_t)config->hidden;
    uint64_t f = (uint64_t)config->mlp;
    uint64_t side = (uint64_t)config->patch;

    switch (shape) {
    case C: out[0] = c; return 1;
    case F: out[0] = f; return 1;
    case QKV: out[0] = 3 * c; return 1;
    case C_C: out[0] = c, out[1] = c; return 2;
    case F_C: out[0] = f, out[1] = c; return 2;
    case C_F: out[0] = c, out[1] = f; return 2;
    case QKV_C: out[0] = 3 * c, out[1] = c; return 2;
    case PATCH:
        out[0] = c, out[1] = (uint64_t)config->channels, out[2] = side, out[3] = side;
        return 4;
    case POSITION: out[0] = 0, out[1] = c; return 2;
    }
    return 0;
}

static ivl_status map_role(mapping *m, const weight_role *role, int block, unsigned char *base)
{
    ivl__weight_ref *ref = (void *)(base + role->offset);
    int parts = strchr(role->in[m->naming.scheme], '?') ? 3 : 1;
    uint64_t shape[4] = {0};
    int rank = expected_shape(m->config, role->shape, shape);

    if (!is_present(m->config, role->when)) {
        return IVL_OK;
    }
    shape[0] /= (uint64_t)parts;
    for (int i = 0; i < parts; i++) {
        char name[256];

        role_name(&m->naming, role, block, i, name);
        IVL__TRY(ivl__weight_take(m->map, name, shape, rank, ref, m->error));
    }
    return IVL_OK;
}

static ivl_status set_grid(mapping *m)
{
    const ivl__tensor_entry *position = m->weights->position.parts[0];
    uint64_t patches = position->elements / (uint64_t)m->config->hidden - 1;
    int grid = 1;

    while (grid < 65536 && (uint64_t)grid * (uint64_t)grid < patches) {
        grid++;
    }
    if ((uint64_t)grid * (uint64_t)grid != patches) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "tensor \"%.200s\" has %llu rows, which is no square plus one",
                         position->name, (unsigned long long)patches + 1);
    }
    m->weights->grid = grid;
    return IVL_OK;
}

static ivl_status map_all(mapping *m)
{
    for (size_t r = 0; r < N_TOWER_ROLES; r++) {
        IVL__TRY(map_role(m, &tower_roles[r], -1, (unsigned char *)m->weights));
    }
    for (int b = 0; b < m->weights->n_blocks; b++) {
        for (size_t r = 0; r < N_BLOCK_ROLES; r++) {
            IVL__TRY(map_role(m, &block_roles[r], b, (unsigned char *)&m->weights->blocks[b]));
        }
    }
    return set_grid(m);
}

ivl_status ivl__vit_weights_take(ivl__weight_map *map, const ivl__vit_config *config,
                                 ivl__vit_weights **out, ivl_error *error)
{
    mapping m = {.map = map, .config = config, .error = error};
    ivl_status status;

    IVL__TRY(find_naming(map->table, &m.naming, error));
    m.weights = ivl__calloc(1, sizeof *m.weights);
    if (m.weights) {
        m.weights->naming = scheme_names[m.naming.scheme];
        m.weights->n_blocks = config->layers;
        m.weights->blocks = ivl__calloc((size_t)config->layers, sizeof *m.weights->blocks);
        memcpy(m.weights->spaces, tower_spaces[m.naming.scheme], sizeof m.weights->spaces);
        if (*m.naming.prefix) {
            m.weights->spaces[0] = m.naming.prefix;
            m.weights->spaces[1] = m.weights->spaces[2] = m.weights->spaces[3] = NULL;
        }
    }
    if (!m.weights || !m.weights->blocks) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %d blocks",
                           (int)config->layers);
    } else {
        status = map_all(&m);
    }
    if (status != IVL_OK) {
        ivl__vit_weights_free(m.weights);
        return status;
    }
    *out = m.weights;
    return IVL_OK;
}

void ivl__vit_weights_free(ivl__vit_weights *weights)
{
    if (weights) {
        ivl__free(weights->blocks);
        ivl__free(weights);
    }
}

/* ---- geometry from tensors --------------------------------------------------------------- */

static const weight_role *role_of(const char *name)
{
    for (size_t i = 0; i < N_BLOCK_ROLES; i++) {
        if (strcmp(block_roles[i].name, name) == 0) {
            return &block_roles[i];
        }
    }
    for (size_t i = 0; i < N_TOWER_ROLES; i++) {
        if (strcmp(tower_roles[i].name, name) == 0) {
            return &tower_roles[i];
        }
    }
    return NULL;
}

static ivl_status read_patch(const ivl__tensor_table *table, const naming *n,
                             ivl__vit_config *config, ivl_error *error)
{
    const ivl__tensor_entry *patch = find_role(table, n, role_of("patch_w"), -1, 0);
    const ivl__tensor_entry *position = find_role(table, n, role_of("position"), -1, 0);
    uint64_t rows, grid = 1;

    if (!patch || patch->rank != 4 || patch->shape[0] == 0 || patch->shape[0] > 1048576 ||
        patch->shape[1] != 3 || patch->shape[2] == 0 || patch->shape[2] > 4096 ||
        patch->shape[2] != patch->shape[3]) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "the weight of the patch embedding is missing or not [width, 3, n, n]");
    }
    config->hidden = (int32_t)patch->shape[0];
    config->channels = 3;
    config->patch = (int32_t)patch->shape[2];
    rows = position ? position->elements / (uint64_t)config->hidden : 0;
    while (grid < 4096 && grid * grid + 1 < rows) {
        grid++;
    }
    if (grid * grid + 1 != rows) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "the position table is missing or has %llu rows, no square plus one",
                         (unsigned long long)rows);
    }
    config->image = (int32_t)grid * config->patch;
    return IVL_OK;
}

ivl_status ivl__vit_config_from_tensors(const ivl__tensor_table *table, ivl__vit_config *config,
                                        ivl_error *error)
{
    ivl__vit_config found = {.eps = 1e-6};
    const ivl__tensor_entry *fc1;
    naming n;

    IVL__TRY(find_naming(table, &n, error));
    IVL__TRY(read_patch(table, &n, &found, error));
    fc1 = find_role(table, &n, role_of("fc1_w"), 0, 0);
    if (!fc1 || fc1->rank != 2 || fc1->shape[0] == 0 || fc1->shape[0] > 1048576) {
        return ivl__fail(error, IVL_BAD_MODEL, "the first block has no fc1 weight");
    }
    found.mlp = (int32_t)fc1->shape[0];
    while (found.layers < 1024 && find_role(table, &n, role_of("fc1_w"), found.layers, 0)) {
        found.layers++;
    }
    found.qkv_bias = find_role(table, &n, role_of("qkv_b"), 0, 0) != NULL;
    found.qk_norm = find_role(table, &n, role_of("q_norm"), 0, 0) != NULL;
    found.layer_norm = find_role(table, &n, role_of("norm1_b"), 0, 0) != NULL;
    found.heads = found.hidden == 3200 ? 25 : found.hidden == 1024 ? 16 : 0;
    if (!found.heads) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "there is no config.json, and the number of heads of a tower of width %d "
                         "cannot be told from its tensors; pass --config FILE.json or --arch NAME",
                         (int)found.hidden);
    }
    *config = found;
    return IVL_OK;
}

/* ---- tensors of a configuration ---------------------------------------------------------- */

static ivl_status expect_role(const ivl__vit_config *config, const naming *n,
                              const weight_role *role, int block, ivl__expected_tensor_fn *each,
                              void *user, ivl_error *error)
{
    char name[256], at[64];
    int parts = strchr(role->in[n->scheme], '?') ? 3 : 1;
    ivl__expected_tensor t = {.name = name, .role = at, .kind = role->name, .n_parts = parts};
    uint64_t grid = (uint64_t)(config->image / config->patch);
    bool row = role->shape == POSITION || strcmp(role->name, "class_embedding") == 0;

    if (!is_present(config, role->when)) {
        return IVL_OK;
    }
    t.rank = expected_shape(config, role->shape, t.shape);
    t.shape[0] /= (uint64_t)parts;
    if (row) {
        /* Stored with a batch of one: [1, 1, C] and [1, n, C]. */
        t.shape[2] = (uint64_t)config->hidden;
        t.shape[1] = role->shape == POSITION ? 1 + grid * grid : 1;
        t.shape[0] = 1;
        t.rank = 3;
    }
    if (block < 0) {
        snprintf(at, sizeof at, "%s", role->name);
    } else {
        snprintf(at, sizeof at, "block.%04d.%s", block, role->name);
    }
    for (t.part = 0; t.part < parts; t.part++) {
        role_name(n, role, block, t.part, name);
        IVL__TRY(each(user, &t, error));
    }
    return IVL_OK;
}

ivl_status ivl__vit_tensors_expected(const ivl__vit_config *config, const char *scheme,
                                     ivl__expected_tensor_fn *each, void *user, ivl_error *error)
{
    naming n = {.prefix = ""};

    while (n.scheme < N_SCHEMES && strcmp(scheme_names[n.scheme], scheme) != 0) {
        n.scheme++;
    }
    if (n.scheme == N_SCHEMES) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "unknown naming \"%.40s\"; known are hub, pth and hf", scheme);
    }
    for (size_t r = 0; r < N_TOWER_ROLES; r++) {
        IVL__TRY(expect_role(config, &n, &tower_roles[r], -1, each, user, error));
    }
    for (int b = 0; b < config->layers; b++) {
        for (size_t r = 0; r < N_BLOCK_ROLES; r++) {
            IVL__TRY(expect_role(config, &n, &block_roles[r], b, each, user, error));
        }
    }
    return IVL_OK;
}

/* ---- visiting ----------------------------------------------------------------------- */

static ivl_status visit_one(const void *base, const weight_role *role, int block,
                            ivl__weight_visit_fn *visit, void *user, ivl_error *error)
{
    const ivl__weight_ref *ref = (const void *)((const unsigned char *)base + role->offset);
    char name[64];

    if (!ref->n_parts) {
        return IVL_OK;
    }
    if (block < 0) {
        return visit(user, role->name, ref, error);
    }
    snprintf(name, sizeof name, "block.%04d.%s", block, role->name);
    return visit(user, name, ref, error);
}

ivl_status ivl__vit_weights_visit(const ivl__vit_weights *weights, ivl__weight_visit_fn *visit,
                                  void *user, ivl_error *error)
{
    for (int b = 0; b < weights->n_blocks; b++) {
        for (size_t r = 0; r < N_BLOCK_ROLES; r++) {
            IVL__TRY(visit_one(&weights->blocks[b], &block_roles[r], b, visit, user, error));
        }
    }
    for (size_t r = 0; r < N_TOWER_ROLES; r++) {
        IVL__TRY(visit_one(weights, &tower_roles[r], -1, visit, user, error));
    }
    return IVL_OK;
}
