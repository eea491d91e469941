/* model.c - opening checkpoints and telling what they are; see internvl.h. */
#include "model/model.h"
#include "model/search.h"

#include "runtime/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_CONFIG_BYTES (4u << 20)

/* The least there is; views of a map end on whole ones (runtime/residency.c). */
#define PAGE 4096u

/* Models that are open, for the program's SIGBUS handler: slots are set and cleared atomically and
 * read without a lock. */
#define MAX_OPEN_MODELS 64
static _Atomic(ivl_model *) open_models[MAX_OPEN_MODELS];

const char *ivl_version(void)
{
    return IVL_VERSION;
}

void ivl_model_options_init(ivl_model_options *options)
{
    *options = (ivl_model_options){.size = sizeof *options};
}

/* ---- SIGBUS ------------------------------------------------------------------------------ */

static ivl_status register_model(ivl_model *model, ivl_error *error)
{
    for (int i = 0; i < MAX_OPEN_MODELS; i++) {
        ivl_model *none = NULL;

        if (atomic_compare_exchange_strong(&open_models[i], &none, model)) {
            return IVL_OK;
        }
    }
    return ivl__fail(error, IVL_UNSUPPORTED, "%d models are open already", MAX_OPEN_MODELS);
}

static void unregister_model(ivl_model *model)
{
    for (int i = 0; i < MAX_OPEN_MODELS; i++) {
        ivl_model *it = model;

        atomic_compare_exchange_strong(&open_models[i], &it, NULL);
    }
}

bool ivl_handle_sigbus(void *addr)
{
    const unsigned char *at = addr;

    for (int i = 0; i < MAX_OPEN_MODELS; i++) {
        ivl_model *model = atomic_load(&open_models[i]);

        for (int f = 0; model && model->table && f < model->table->n_files; f++) {
            const ivl__map *map = &model->table->maps[f];
            size_t pages = (map->bytes + PAGE - 1) / PAGE * PAGE;

            if (at >= map->data && at < map->data + pages) {
                atomic_store(&model->bad, true);
                return ivl__map_patch(addr);
            }
        }
    }
    return ivl__search_patch(addr);
}

ivl_status ivl__model_check(const ivl_model *model, ivl_error *error)
{
    if (!model->table) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "this model is a geometry without weights; it can be planned, not run");
    }
    IVL__TRY(ivl__tensor_table_check_unchanged(model->table, error));
    if (atomic_load(&model->bad)) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "'%s' shrank or could not be read while it was in use; results of this "
                         "batch are dropped",
                         model->path);
    }
    return IVL_OK;
}

/* ---- configuration ----------------------------------------------------------------------- */

static ivl_status read_config_file(const char *path, bool preprocessor, ivl__model_config *config,
                                   ivl_error *error)
{
    unsigned char *text;
    size_t bytes;
    ivl_status status = ivl__file_read(path, MAX_CONFIG_BYTES, &text, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    status = preprocessor ? ivl__preprocessor_config_parse((char *)text, bytes, config, error)
                          : ivl__model_config_parse((char *)text, bytes, config, error);
    ivl__free(text);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "'%s'", path);
}

/* A file beside the weights; *found tells whether there is one. */
static ivl_status read_config_beside(const ivl_model *model, const char *name, bool preprocessor,
                                     ivl__model_config *config, bool *found, ivl_error *error)
{
    char *path = ivl__path_join(model->table->folder, name);
    ivl_status status = IVL_OK;

    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", name);
    }
    *found = ivl__file_kind_of(path) == IVL__FILE_REGULAR;
    if (*found) {
        status = read_config_file(path, preprocessor, config, error);
    }
    ivl__free(path);
    return status;
}

static ivl_status read_config(ivl_model *model, const ivl_model_options *options, bool *found,
                              ivl_error *error)
{
    *found = true;
    if (options && options->arch) {
        return ivl__known_architecture_find(options->arch, &model->config, error);
    }
    if (options && options->config) {
        return read_config_file(options->config, false, &model->config, error);
    }
    return read_config_beside(model, "config.json", false, &model->config, found, error);
}

static ivl_status read_geometry(ivl_model *model, const ivl_model_options *options,
                                ivl_error *error)
{
    bool found;

    IVL__TRY(read_config(model, options, &found, error));
    if (!found) {
        IVL__TRY(ivl__vit_config_from_tensors(model->table, &model->config.vit, error));
    }
    return ivl__clip_config_from_tensors(model->table, found, &model->config, error);
}

/* ---- facts ------------------------------------------------------------------------------- */

/* Which part of the model a role belongs to: the mode that needs it first. */
static const char *part_of(const char *role)
{
    if (strncmp(role, "clip_projector.", 15) == 0) {
        return "c";
    }
    if (strncmp(role, "clip_projector2.", 16) == 0 || strncmp(role, "itm_head.", 9) == 0 ||
        strcmp(role, "query_tokens") == 0 || strstr(role, ".cross_attn.")) {
        return "g";
    }
    return strncmp(role, "qllama.", 7) == 0 || strcmp(role, "text_projection") == 0 ||
                   strcmp(role, "logit_scale") == 0
               ? "text"
               : "vit";
}

static void count_part(ivl_model *model, const char *name, uint64_t parameters, uint64_t bytes)
{
    int i = 0;

    while (i < model->n_parts && strcmp(model->parts[i].name, name) != 0) {
        i++;
    }
    if (i == model->n_parts) {
        model->parts[model->n_parts++] = (ivl_model_part){.name = name};
    }
    model->parts[i].parameters += parameters;
    model->parts[i].bytes += bytes;
}

static ivl_status collect_role(void *user, const char *role, const ivl__weight_ref *ref,
                               ivl_error *error)
{
    ivl_model *model = user;

    if (!ivl__grow((void **)&model->roles, &model->roles_capacity, model->n_roles + 1,
                   sizeof *model->roles)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the list of tensors");
    }
    model->roles[model->n_roles++] = *ref;
    for (int i = 0; i < ref->n_parts; i++) {
        const ivl__tensor_entry *part = ref->parts[i];
        const char *dtype = ivl__dtype_name(part->dtype);

        count_part(model, part_of(role), part->elements, part->bytes);
        if (part->rank >= 2 && part->shape[0] > 1 && strcmp(model->dtype, dtype) != 0) {
            snprintf(model->dtype, sizeof model->dtype, "%s", model->dtype[0] ? "mixed" : dtype);
        }
    }
    return IVL_OK;
}

static ivl_status collect_unused(ivl_model *model, ivl_error *error)
{
    const ivl__unused_list *w = &model->weights->unused;

    model->unused = ivl__calloc((size_t)w->n, sizeof *model->unused);
    if (!model->unused) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the list of unused parts");
    }
    for (int i = 0; i < w->n; i++) {
        model->unused[i] = (ivl_unused_part){.prefix = w->items[i].prefix,
                                             .tensors = w->items[i].tensors,
                                             .bytes = w->items[i].bytes};
    }
    return IVL_OK;
}

static void add_mode(ivl_model *model, const char *mode)
{
    model->modes[model->n_modes++] = mode;
}

static ivl_status make_stages(ivl_model *model, ivl_error *error)
{
    const ivl__model_weights *w = model->weights;
    const ivl__architecture architecture = model->config.architecture;

    IVL__TRY(ivl__vit_stages_make(&model->config.vit, w ? w->vit : NULL, &model->stages, error));
    add_mode(model, "vit");
    if (architecture == IVL__ARCH_14B || architecture == IVL__ARCH_C_13B) {
        IVL__TRY(ivl__clip_stages_make(&model->config, w ? w->clip : NULL, &model->clip, error));
        add_mode(model, "c");
        if (architecture == IVL__ARCH_14B) {
            add_mode(model, "g");
        }
        add_mode(model, "text");
    }
    return IVL_OK;
}

static void read_logit_scale(ivl_model *model)
{
    const ivl__clip_weights *clip = model->weights->clip;

    if (clip) {
        const ivl__tensor_entry *scale = clip->logit_scale.parts[0];

        model->logit_scale = exp((double)ivl__dtype_load(scale->dtype, scale->data, 0));
    }
}

static ivl_status open_checkpoint(ivl_model *model, const ivl_model_options *options,
                                  ivl_error *error)
{
    bool found;

    IVL__TRY(ivl__tensor_table_open(model->path, &model->table, error));
    IVL__TRY(read_geometry(model, options, error));
    IVL__TRY(
        read_config_beside(model, "preprocessor_config.json", true, &model->config, &found, error));
    IVL__TRY(ivl__model_weights_map(model->table, &model->config, &model->weights, error));
    IVL__TRY(ivl__model_weights_visit(&model->config, model->weights, collect_role, model, error));
    IVL__TRY(collect_unused(model, error));
    IVL__TRY(ivl__model_id(&model->config, model->weights, false, model->id, error));
    IVL__TRY(make_stages(model, error));
    read_logit_scale(model);
    return register_model(model, error);
}

/* ---- the interface ----------------------------------------------------------------------- */

static ivl_model *new_model(const char *path, ivl_error *error)
{
    ivl_model *model = ivl__calloc(1, sizeof *model);

    if (model) {
        ivl__model_config_init(&model->config);
        model->path = ivl__strdup(path);
    }
    if (!model || !model->path) {
        ivl__free(model);
        ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a model");
        return NULL;
    }
    return model;
}

ivl_status ivl_model_open(const char *path, const ivl_model_options *options, ivl_model **out,
                          ivl_error *error)
{
    ivl_model *model;
    ivl_status status;

    if (!path || !out) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "ivl_model_open: path and model are needed");
    }
    model = new_model(path, error);
    if (!model) {
        return IVL_OUT_OF_MEMORY;
    }
    status = open_checkpoint(model, options, error);
    if (status != IVL_OK) {
        ivl_model_free(model);
        return status;
    }
    *out = model;
    return IVL_OK;
}

/* As if stored in bf16. */
static ivl_status count_tensor(void *user, const ivl__expected_tensor *tensor, ivl_error *error)
{
    uint64_t n = 1;

    (void)error;
    for (int i = 0; i < tensor->rank; i++) {
        n *= tensor->shape[i];
    }
    if (!ivl__clip_is_unused(tensor->role)) {
        count_part(user, part_of(tensor->role), n, 2 * n);
    }
    return IVL_OK;
}

static ivl_status count_tensors(ivl_model *model, ivl_error *error)
{
    IVL__TRY(ivl__vit_tensors_expected(&model->config.vit, "hub", count_tensor, model, error));
    return model->clip ? ivl__clip_tensors_expected(&model->config, count_tensor, model, error)
                       : IVL_OK;
}

ivl_status ivl_model_open_architecture(const char *arch, ivl_model **out, ivl_error *error)
{
    ivl_model *model = new_model(arch, error);
    ivl_status status;

    if (!model) {
        return IVL_OUT_OF_MEMORY;
    }
    status = ivl__known_architecture_find(arch, &model->config, error);
    if (status == IVL_OK) {
        status = make_stages(model, error);
    }
    if (status == IVL_OK) {
        status = count_tensors(model, error);
    }
    if (status != IVL_OK) {
        ivl_model_free(model);
        return status;
    }
    snprintf(model->dtype, sizeof model->dtype, "bf16");
    *out = model;
    return IVL_OK;
}

void ivl_model_free(ivl_model *model)
{
    if (!model) {
        return;
    }
    unregister_model(model);
    ivl__clip_stages_free(model->clip);
    ivl__vit_stages_free(model->stages);
    ivl__model_weights_free(model->weights);
    ivl__tensor_table_free(model->table);
    ivl__free(model->roles);
    ivl__free(model->unused);
    ivl__free(model->path);
    ivl__free(model);
}

static const char *architecture_name(ivl__architecture architecture)
{
    switch (architecture) {
    case IVL__ARCH_VIT: return "InternViT";
    case IVL__ARCH_14B: return "InternVL-14B";
    case IVL__ARCH_C_13B: return "InternVL-C";
    case IVL__ARCH_CHAT: return "InternVL-Chat";
    }
    return "InternViT";
}

static void describe_text(const ivl_model *model, ivl_model_info *info)
{
    const ivl__model_config *config = &model->config;
    const ivl__llama_config *llama = &config->qllama;

    info->logit_scale = model->logit_scale;
    info->embed_dim = config->clip_embed_dim;
    if (config->architecture == IVL__ARCH_14B) {
        info->query_tokens = config->query_tokens;
        info->cross_attention_frequency = config->cross_attention_frequency;
    }
    info->vocab_size = llama->vocab;
    info->text_layers = llama->layers;
    info->text_hidden_size = llama->hidden;
    info->text_heads = llama->heads;
    info->text_kv_heads = llama->kv_heads;
    info->text_mlp_size = llama->mlp;
    info->text_norm_eps = llama->eps;
}

void ivl_model_get_info(const ivl_model *model, ivl_model_info *info)
{
    const ivl__vit_config *vit = &model->config.vit;

    *info = (ivl_model_info){
        .size = sizeof *info,
        .architecture = architecture_name(model->config.architecture),
        .path = model->path,
        .naming = model->weights ? model->weights->vit->naming : "",
        .dtype = model->dtype,
        .modes = model->modes,
        .n_modes = model->n_modes,
        .parts = model->parts,
        .n_parts = model->n_parts,
        .layers = vit->layers,
        .hidden_size = vit->hidden,
        .heads = vit->heads,
        .mlp_size = vit->mlp,
        .image_size = model->stages->grid * vit->patch,
        .patch_size = vit->patch,
        .qkv_bias = vit->qkv_bias,
        .qk_normalization = vit->qk_norm,
        .norm = vit->layer_norm ? "layer_norm" : "rms_norm",
        .norm_eps = vit->eps,
        .model_id = model->id,
        .unused = model->unused,
        .n_unused = model->weights ? model->weights->unused.n : 0,
    };
    for (int i = 0; i < model->n_parts; i++) {
        info->parameters += model->parts[i].parameters;
        info->bytes += model->parts[i].bytes;
    }
    if (model->clip) {
        describe_text(model, info);
    }
    memcpy(info->mean, model->config.mean, sizeof info->mean);
    memcpy(info->std, model->config.std, sizeof info->std);
}

bool ivl_model_get_tensor(const ivl_model *model, size_t index, ivl_tensor_info *info)
{
    for (size_t r = 0; r < model->n_roles; r++) {
        const ivl__weight_ref *ref = &model->roles[r];

        if (index >= (size_t)ref->n_parts) {
            index -= (size_t)ref->n_parts;
            continue;
        }
        *info = (ivl_tensor_info){.name = ref->parts[index]->name,
                                  .dtype = ivl__dtype_name(ref->parts[index]->dtype),
                                  .rank = ref->parts[index]->rank,
                                  .bytes = ref->parts[index]->bytes};
        info->file = ref->parts[index]->file >= 0
                         ? model->table->file_paths[ref->parts[index]->file]
                         : model->path;
        memcpy(info->shape, ref->parts[index]->shape, sizeof info->shape);
        return true;
    }
    return false;
}

ivl_status ivl_model_full_hash(const ivl_model *model, char hex[65], ivl_error *error)
{
    IVL__TRY(ivl__model_check(model, error));
    IVL__TRY(ivl__model_id(&model->config, model->weights, true, hex, error));
    return ivl__model_check(model, error);
}
