/* weight_names.c - three published naming schemes to one set of roles; see weight_names.h.
 *
 * One table holds every role with its name in each scheme, its shape and when it must be there;
 * mapping marks what it takes, and every tensor left over has to be in a known other part. Roles
 * stand in the order of their names, which is the order of the model id.
 */
#include "model/weight_names.h"

#include "runtime/hash.h"
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

/* Parts of published checkpoints that the tower does not need. */
static const char *const other_parts[] = {
    "qllama.",
    "clip_projector.",
    "clip_projector2.",
    "query_tokens",
    "text_projection",
    "logit_scale",
    "itm_head.",
    "language_model.",
    "mlp1.",
    "transformer.",
    "lm_head.",
    "multi_modal_projector.",
    "model.multi_modal_projector.",
    "model.language_model.",
    "model.mm_projector.",
    "model.layers.",
    "model.embed_tokens.",
    "model.norm.",
    "attn_pooling.",
    "norm.",
    "head.",
};
static const char *const ignored_ends[] = {"rotary_emb.inv_freq", "num_batches_tracked"};
_Static_assert(sizeof other_parts / sizeof *other_parts + 1 <= IVL__MAX_UNUSED, "room for all");

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

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
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
    const ivl__tensor_table *table;
    const ivl__vit_config *config;
    naming naming;
    bool *used; /* [table->count] */
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

static void write_shape(char text[128], const uint64_t *shape, int rank)
{
    size_t used = 0;

    text[0] = 0;
    for (int i = 0; i < rank && used < 100; i++) {
        used += (size_t)snprintf(text + used, 128 - used, shape[i] ? "%s%llu" : "%sn",
                                 i ? " x " : "", (unsigned long long)shape[i]);
    }
}

static ivl_status check_shape(const mapping *m, const weight_role *role,
                              const ivl__tensor_entry *entry, uint64_t parts)
{
    uint64_t want[4] = {0};
    int rank = expected_shape(m->config, role->shape, want);
    const uint64_t *have = entry->shape;
    int have_rank = entry->rank;
    char texts[2][128];
    bool same;

    want[0] /= parts;
    /* [1, 1, C] and [1, n, C] are [C] and [n, C]. */
    for (; have_rank > rank && have[0] == 1; have_rank--) {
        have++;
    }
    same = have_rank == rank;
    for (int i = 0; same && i < rank; i++) {
        same = have[i] == want[i] || (want[i] == 0 && have[i] > 1);
    }
    if (!same) {
        write_shape(texts[0], entry->shape, entry->rank);
        write_shape(texts[1], want, rank);
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "tensor \"%.200s\" has shape %s, the configuration needs %s", entry->name,
                         texts[0], texts[1]);
    }
    if (entry->dtype != IVL_F32 && entry->dtype != IVL_F16 && entry->dtype != IVL_BF16) {
        return ivl__fail(m->error, IVL_BAD_MODEL,
                         "tensor \"%.200s\" is stored as %s; only bf16, fp16 and fp32 can be run",
                         entry->name, entry->dtype_text);
    }
    return IVL_OK;
}

static ivl_status map_role(mapping *m, const weight_role *role, int block, unsigned char *base)
{
    ivl__weight_ref *ref = (void *)(base + role->offset);
    int parts = strchr(role->in[m->naming.scheme], '?') ? 3 : 1;

    if (!is_present(m->config, role->when)) {
        return IVL_OK;
    }
    for (int i = 0; i < parts; i++) {
        const ivl__tensor_entry *entry = find_role(m->table, &m->naming, role, block, i);
        char name[256];

        if (!entry) {
            role_name(&m->naming, role, block, i, name);
            return ivl__fail(m->error, IVL_BAD_MODEL, "tensor \"%s\" is missing", name);
        }
        IVL__TRY(check_shape(m, role, entry, (uint64_t)parts));
        if (i && entry->dtype != ref->parts[0]->dtype) {
            return ivl__fail(m->error, IVL_BAD_MODEL,
                             "tensors \"%.200s\" and \"%.200s\" are stored in two types",
                             ref->parts[0]->name, entry->name);
        }
        m->used[entry - m->table->entries] = true;
        ref->parts[ref->n_parts++] = entry;
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

/* ---- what is left ------------------------------------------------------------------------ */

static bool in_tower(const mapping *m, const char *name)
{
    if (*m->naming.prefix) {
        return starts_with(name, m->naming.prefix);
    }
    for (int i = 0; i < 4; i++) {
        const char *space = tower_spaces[m->naming.scheme][i];

        if (space && starts_with(name, space)) {
            return true;
        }
    }
    return false;
}

static const char *other_part(const char *name)
{
    for (size_t i = 0; i < sizeof ignored_ends / sizeof ignored_ends[0]; i++) {
        if (ends_with(name, ignored_ends[i])) {
            return "buffers";
        }
    }
    for (size_t i = 0; i < sizeof other_parts / sizeof other_parts[0]; i++) {
        size_t n = strlen(other_parts[i]);

        if (strncmp(name, other_parts[i], n) == 0 && (other_parts[i][n - 1] == '.' || !name[n])) {
            return other_parts[i];
        }
    }
    return NULL;
}

static void count_unused(ivl__vit_weights *w, const char *part, uint64_t bytes)
{
    int i = 0;

    while (i < w->n_unused && strcmp(w->unused[i].prefix, part) != 0) {
        i++;
    }
    if (i == w->n_unused) {
        w->unused[w->n_unused++].prefix = part;
    }
    w->unused[i].tensors++;
    w->unused[i].bytes += bytes;
}

static ivl_status account_rest(mapping *m)
{
    for (size_t i = 0; i < m->table->count; i++) {
        const ivl__tensor_entry *entry = &m->table->entries[i];
        const char *part = m->used[i] ? NULL : other_part(entry->name);

        if (m->used[i]) {
            continue;
        }
        if (in_tower(m, entry->name) && !(part && strcmp(part, "buffers") == 0)) {
            return ivl__fail(m->error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" is unexpected in a tower of %d blocks with this "
                             "configuration",
                             entry->name, (int)m->config->layers);
        }
        if (!part) {
            return ivl__fail(m->error, IVL_BAD_MODEL,
                             "tensor \"%.200s\" belongs to no known part of an InternVL checkpoint",
                             entry->name);
        }
        count_unused(m->weights, part, entry->bytes);
    }
    return IVL_OK;
}

ivl_status ivl__vit_weights_map(const ivl__tensor_table *table, const ivl__vit_config *config,
                                ivl__vit_weights **out, ivl_error *error)
{
    mapping m = {.table = table, .config = config, .error = error};
    ivl_status status;

    IVL__TRY(find_naming(table, &m.naming, error));
    m.weights = ivl__calloc(1, sizeof *m.weights);
    m.used = ivl__calloc(table->count, sizeof *m.used);
    if (m.weights) {
        m.weights->naming = scheme_names[m.naming.scheme];
        m.weights->n_blocks = config->layers;
        m.weights->blocks = ivl__calloc((size_t)config->layers, sizeof *m.weights->blocks);
    }
    if (!m.weights || !m.used || !m.weights->blocks) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %d blocks",
                           (int)config->layers);
    } else {
        status = map_all(&m);
    }
    if (status == IVL_OK) {
        status = account_rest(&m);
    }
    ivl__free(m.used);
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

/* ---- visiting and the model id ----------------------------------------------------------- */

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

#define SAMPLE 4096u

typedef struct hashing {
    ivl__sha256 sha;
    bool full;
} hashing;

/* Bytes [from, from + n) of the parts laid end to end. */
static void hash_range(ivl__sha256 *sha, const ivl__weight_ref *ref, uint64_t from, uint64_t n)
{
    for (int i = 0; i < ref->n_parts && n; i++) {
        uint64_t bytes = ref->parts[i]->bytes;

        if (from < bytes) {
            uint64_t take = bytes - from < n ? bytes - from : n;

            ivl__sha256_add(sha, ref->parts[i]->data + from, (size_t)take);
            n -= take;
            from = 0;
        } else {
            from -= bytes;
        }
    }
}

static ivl_status hash_role(void *user, const char *name, const ivl__weight_ref *ref,
                            ivl_error *error)
{
    hashing *h = user;
    const ivl__tensor_entry *first = ref->parts[0];
    uint64_t bytes = 0, rows = 0;
    char text[160];
    int skip = 0, n;

    (void)error;
    for (int i = 0; i < ref->n_parts; i++) {
        bytes += ref->parts[i]->bytes;
    }
    /* Leading ones are a matter of the scheme; split rows count together. */
    while (skip < first->rank - 1 && first->shape[skip] == 1) {
        skip++;
    }
    rows = first->rank ? first->shape[skip] * (uint64_t)ref->n_parts : 1;
    n = snprintf(text, sizeof text, "%s %s %llu", name, ivl__dtype_name(first->dtype),
                 (unsigned long long)rows);
    ivl__sha256_add(&h->sha, text, (size_t)n);
    for (int i = skip + 1; i < first->rank; i++) {
        n = snprintf(text, sizeof text, " %llu", (unsigned long long)first->shape[i]);
        ivl__sha256_add(&h->sha, text, (size_t)n);
    }
    ivl__sha256_add(&h->sha, "\n", 1);
    if (h->full || bytes <= 3 * SAMPLE) {
        hash_range(&h->sha, ref, 0, bytes);
        return IVL_OK;
    }
    hash_range(&h->sha, ref, 0, SAMPLE);
    hash_range(&h->sha, ref, bytes / 2 - SAMPLE / 2, SAMPLE);
    hash_range(&h->sha, ref, bytes - SAMPLE, SAMPLE);
    return IVL_OK;
}

ivl_status ivl__model_id(const ivl__vit_config *config, const ivl__vit_weights *weights, bool full,
                         char hex[65], ivl_error *error)
{
    hashing h = {.full = full};
    char text[256];
    int n = snprintf(text, sizeof text,
                     "internvl 1 %s\nhidden %d layers %d heads %d mlp %d patch %d image %d "
                     "channels %d qkv_bias %d qk_norm %d layer_norm %d eps %.17g\n",
                     full ? "full" : "samples", (int)config->hidden, (int)config->layers,
                     (int)config->heads, (int)config->mlp, (int)config->patch, (int)config->image,
                     (int)config->channels, config->qkv_bias, config->qk_norm, config->layer_norm,
                     config->eps);

    ivl__sha256_init(&h.sha);
    ivl__sha256_add(&h.sha, text, (size_t)n);
    IVL__TRY(ivl__vit_weights_visit(weights, hash_role, &h, error));
    ivl__sha256_hex(&h.sha, hex);
    return IVL_OK;
}
