/* model_config_writer.c - configuration files as published; see model_config_writer.h.
 *
 * Left out of what the hub has: auto_map, which names Python files that are not in the folder.
 * _name_or_path says where the file comes from: "synth/<arch>".
 */
#include "loader/model_config_writer.h"

#include "runtime/memory.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fifteen digits show 1e-6 as such and not as 9.9999999999999995e-07. */
#define DUMP (JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15))

/* ---- published keys ---------------------------------------------------------------------- */

static json_t *vision_hub(const ivl__vit_config *vit, const char *dtype)
{
    return json_pack(
        "{s:[s], s:f, s:f, s:f, s:s, s:i, s:i, s:f, s:f, s:i, s:f, s:s, s:s, s:i, "
        "s:i, s:i, s:i, s:b, s:b, s:s, s:b}",
        "architectures", "InternVisionModel", "attention_dropout", 0.0, "drop_path_rate", 0.0,
        "dropout", 0.0, "hidden_act", "gelu", "hidden_size", (int)vit->hidden, "image_size",
        (int)vit->image, "initializer_factor", 0.1, "initializer_range", 1e-10, "intermediate_size",
        (int)vit->mlp, "layer_norm_eps", vit->eps, "model_type", "intern_vit_6b", "norm_type",
        vit->layer_norm ? "layer_norm" : "rms_norm", "num_attention_heads", (int)vit->heads,
        "num_channels", (int)vit->channels, "num_hidden_layers", (int)vit->layers, "patch_size",
        (int)vit->patch, "qk_normalization", (int)vit->qk_norm, "qkv_bias", (int)vit->qkv_bias,
        "torch_dtype", dtype, "use_flash_attn", 1);
}

static json_t *vision_hf(const ivl__vit_config *vit, const char *dtype)
{
    return json_pack(
        "{s:[s], s:b, s:f, s:s, s:f, s:i, s:[i,i], s:f, s:f, s:i, s:f, s:f, s:s, s:s, s:i, s:i, "
        "s:i, s:[i,i], s:f, s:s, s:b, s:b, s:b, s:b}",
        "architectures", "InternVLVisionModel", "attention_bias", (int)vit->qkv_bias,
        "attention_dropout", 0.0, "hidden_act", "gelu", "hidden_dropout_prob", 0.0, "hidden_size",
        (int)vit->hidden, "image_size", (int)vit->image, (int)vit->image, "initializer_factor", 0.1,
        "initializer_range", 1e-10, "intermediate_size", (int)vit->mlp, "layer_norm_eps", vit->eps,
        "layer_scale_init_value", 0.1, "model_type", "internvl_vision", "norm_type",
        vit->layer_norm ? "layer_norm" : "rms_norm", "num_attention_heads", (int)vit->heads,
        "num_channels", (int)vit->channels, "num_hidden_layers", (int)vit->layers, "patch_size",
        (int)vit->patch, (int)vit->patch, "projection_dropout", 0.0, "torch_dtype", dtype,
        "use_absolute_position_embeddings", 1, "use_mask_token", 0, "use_mean_pooling", 1,
        "use_qk_norm", (int)vit->qk_norm);
}

static json_t *qllama(const ivl__model_config *c, const char *dtype)
{
    const ivl__llama_config *l = &c->qllama;
    json_t *root = json_pack(
        "{s:[s], s:i, s:i, s:s, s:i, s:f, s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:f, "
        "s:n, s:b, s:s, s:b, s:i}",
        "architectures", "LlamaForCausalLM", "bos_token_id", 1, "eos_token_id", 2, "hidden_act",
        "silu", "hidden_size", (int)l->hidden, "initializer_range", 0.02, "intermediate_size",
        (int)l->mlp, "max_position_embeddings", 2048, "model_type", "llama", "num_attention_heads",
        (int)l->heads, "num_hidden_layers", (int)l->layers, "num_key_value_heads", (int)l->kv_heads,
        "pad_token_id", 0, "pretraining_tp", 1, "rms_norm_eps", l->eps, "rope_scaling",
        "tie_word_embeddings", 0, "torch_dtype", dtype, "use_cache", 1, "vocab_size",
        (int)l->vocab);

    if (root && c->architecture == IVL__ARCH_14B) {
        json_object_set_new(root, "cross_attention_frequency",
                            json_integer(c->cross_attention_frequency));
        json_object_set_new(root, "num_query_token", json_integer(c->query_tokens));
    }
    return root;
}

/* Steals vision. The output and input embeddings are two tensors: tied they would be, without the
 * key at the top. */
static json_t *composite(const ivl__model_config *c, json_t *vision, const char *dtype)
{
    bool whole = c->architecture == IVL__ARCH_14B;
    json_t *root = json_pack(
        "{s:[s], s:i, s:i, s:n, s:f, s:f, s:i, s:s, s:o, s:b, s:s, s:i, s:i, s:o}", "architectures",
        whole ? "InternVLModel" : "InternVL_C", "attn_pool_num_heads", (int)c->attn_pool_heads,
        "clip_embed_dim", (int)c->clip_embed_dim, "force_image_size", "initializer_range", 0.02,
        "label_smoothing", 0.0, "max_txt_len", 32, "model_type", "internvl", "qllama_config",
        qllama(c, dtype), "tie_word_embeddings", 0, "torch_dtype", dtype, "use_backbone_lora", 0,
        "use_qllama_lora", 0, "vision_config", vision);

    if (root && whole) {
        json_object_set_new(root, "num_query_token", json_integer(c->query_tokens));
    }
    return root;
}

static json_t *published(const ivl__model_config *c, const ivl__config_request *request)
{
    bool hf = strcmp(request->naming, "hf") == 0;
    json_t *root = hf ? vision_hf(&c->vit, request->torch_dtype)
                      : vision_hub(&c->vit, request->torch_dtype);
    char name[128];

    if (root && c->architecture != IVL__ARCH_VIT) {
        root = composite(c, root, request->torch_dtype);
    }
    snprintf(name, sizeof name, "synth/%s", request->arch);
    if (root) {
        json_object_set_new(root, "_name_or_path", json_string(name));
        json_object_set_new(root, "transformers_version", json_string(hf ? "4.52.1" : "4.32.0"));
    }
    return root;
}

/* ---- settings ---------------------------------------------------------------------------- */

/* The same switch in the words of the other scheme. */
static const char *alias_of(const char *key)
{
    static const char *const pairs[][2] = {{"qkv_bias", "attention_bias"},
                                           {"qk_normalization", "use_qk_norm"}};

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        for (int side = 0; side < 2; side++) {
            if (strcmp(key, pairs[i][side]) == 0) {
                return pairs[i][1 - side];
            }
        }
    }
    return key;
}

static ivl_status unknown_key(const json_t *object, const char *setting, ivl_error *error)
{
    char known[700] = "";
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t used = strlen(known);

        if (*key != '_') {
            snprintf(known + used, sizeof known - used, "%s%s%s", used ? ", " : "", key,
                     json_is_object(value) ? ".<key>" : "");
        }
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT, "setting \"%.80s\": no such key; known are %s",
                     setting, known);
}

static json_t *parse_integer(const char *text)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    return end != text && !*end && !errno && strchr("-0123456789", *text) ? json_integer(value)
                                                                          : NULL;
}

static json_t *parse_real(const char *text)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    return end != text && !*end && isfinite(value) && strchr("-.0123456789", *text)
               ? json_real(value)
               : NULL;
}

/* A value of the type that the key has now; NULL, and what would fit, when it is none. */
static json_t *parse_like(const json_t *old, const char *text, const char **fits)
{
    json_t *value;

    switch (json_typeof(old)) {
    case JSON_INTEGER: *fits = "a whole number"; return parse_integer(text);
    case JSON_REAL: *fits = "a number"; return parse_real(text);
    case JSON_STRING: *fits = "a text"; return json_string(text);
    case JSON_TRUE:
    case JSON_FALSE:
        *fits = "true or false";
        return strcmp(text, "true") == 0    ? json_true()
               : strcmp(text, "false") == 0 ? json_false()
                                            : NULL;
    case JSON_NULL:
        *fits = "null or a whole number";
        return strcmp(text, "null") == 0 ? json_null() : parse_integer(text);
    case JSON_ARRAY:
        *fits = "a whole number";
        value = json_is_integer(json_array_get(old, 0)) ? parse_integer(text) : NULL;
        return value ? json_pack("[O,o]", value, value) : NULL;
    case JSON_OBJECT: *fits = "set by its keys, with a dot"; break;
    }
    return NULL;
}

static ivl_status apply(json_t *root, const char *setting, ivl_error *error)
{
    const char *equals = strchr(setting, '=');
    json_t *object = root;
    char key[128];
    const char *name = key;
    const char *fits = "";
    char *dot;
    json_t *value;

    if (!equals || equals == setting || (size_t)(equals - setting) >= sizeof key) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "setting \"%.80s\" is not of the form key=value", setting);
    }
    snprintf(key, sizeof key, "%.*s", (int)(equals - setting), setting);
    dot = strchr(key, '.');
    if (dot) {
        *dot = 0;
        object = json_object_get(root, key);
        name = dot + 1;
        if (!json_is_object(object)) {
            return unknown_key(root, setting, error);
        }
    }
    name = json_object_get(object, name) ? name : alias_of(name);
    if (*name == '_' || !json_object_get(object, name)) {
        return unknown_key(object, setting, error);
    }
    value = parse_like(json_object_get(object, name), equals + 1, &fits);
    if (!value) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "setting \"%.80s\": %s is %s", setting, name,
                         fits);
    }
    /* There twice; readers take the one at the top. */
    if (strcmp(name, "num_query_token") == 0) {
        json_object_set(root, name, value);
        json_object_set(json_object_get(root, "qllama_config"), name, value);
    }
    return json_object_set_new(object, name, value) == 0
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for settings");
}

/* The releases of 2023 have no norm_type: it is RMSNorm. */
static void drop_default_norm(json_t *root, const char *arch)
{
    json_t *vision = json_object_get(root, "vision_config");
    json_t *at = vision ? vision : root;
    const char *norm = json_string_value(json_object_get(at, "norm_type"));

    if (norm && strcmp(norm, "rms_norm") == 0 && !strstr(arch, "v1-5") &&
        !json_object_get(at, "use_qk_norm")) {
        json_object_del(at, "norm_type");
    }
}

/* ---- preprocessing ----------------------------------------------------------------------- */

/* The decimal that the fp32 value was made from. */
static double decimal(float value)
{
    return round((double)value * 1e6) / 1e6;
}

static json_t *preprocessor(const ivl__model_config *c, const char *naming)
{
    int size = (int)c->vit.image;
    json_t *mean = json_pack("[f,f,f]", decimal(c->mean[0]), decimal(c->mean[1]),
                             decimal(c->mean[2]));
    json_t *std = json_pack("[f,f,f]", decimal(c->std[0]), decimal(c->std[1]), decimal(c->std[2]));

    if (strcmp(naming, "hf") == 0) {
        return json_pack("{s:b, s:b, s:b, s:b, s:b, s:o, s:s, s:o, s:i, s:i, s:i, s:f, s:{s:i, "
                         "s:i}}",
                         "crop_to_patches", 0, "do_convert_rgb", 1, "do_normalize", 1, "do_rescale",
                         1, "do_resize", 1, "image_mean", mean, "image_processor_type",
                         "GotOcr2ImageProcessor", "image_std", std, "max_patches", 12,
                         "min_patches", 1, "resample", 3, "rescale_factor", 1.0 / 255, "size",
                         "height", size, "width", size);
    }
    return json_pack("{s:i, s:b, s:b, s:b, s:s, s:o, s:o, s:i, s:i}", "crop_size", size,
                     "do_center_crop", 1, "do_normalize", 1, "do_resize", 1,
                     "feature_extractor_type", "CLIPFeatureExtractor", "image_mean", mean,
                     "image_std", std, "resample", 3, "size", size);
}

/* ---- the whole --------------------------------------------------------------------------- */

static char *dump(const json_t *root)
{
    char *text = root ? json_dumps(root, DUMP) : NULL;
    size_t n = text ? strlen(text) : 0;
    char *copy = text ? ivl__malloc(n + 2) : NULL;

    if (copy) {
        memcpy(copy, text, n);
        memcpy(copy + n, "\n", 2);
    }
    free(text);
    return copy;
}

/* The fine-tuned 14B models keep image_size and give the size of their table at the top. */
static ivl_status apply_force_image_size(const json_t *root, ivl__model_config *parsed,
                                         ivl_error *error)
{
    const json_t *forced = json_object_get(root, "force_image_size");
    json_int_t size = json_integer_value(forced);

    if (!json_is_integer(forced)) {
        return IVL_OK;
    }
    if (size < parsed->vit.patch || size > 65536 || size % parsed->vit.patch != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "force_image_size %lld is no multiple of patch_size %d up to 65536",
                         (long long)size, (int)parsed->vit.patch);
    }
    parsed->vit.image = (int32_t)size;
    return IVL_OK;
}

static ivl_status make(const ivl__config_request *request, json_t *root, ivl__config_files *files,
                       ivl_error *error)
{
    json_t *pictures;
    ivl_status status;

    for (size_t i = 0; i < request->n_settings; i++) {
        IVL__TRY(apply(root, request->settings[i], error));
    }
    drop_default_norm(root, request->arch);
    files->config = dump(root);
    if (!files->config) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for config.json");
    }
    status = ivl__model_config_parse(files->config, strlen(files->config), &files->parsed, error);
    if (status != IVL_OK) {
        /* What was set is wrong, not a model. */
        return ivl__fail_context(error, status == IVL_BAD_MODEL ? IVL_INVALID_ARGUMENT : status,
                                 "settings");
    }
    IVL__TRY(apply_force_image_size(root, &files->parsed, error));
    pictures = preprocessor(&files->parsed, request->naming);
    files->preprocessor = dump(pictures);
    json_decref(pictures);
    return files->preprocessor
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for preprocessor_config.json");
}

ivl_status ivl__config_files_make(const ivl__config_request *request, ivl__config_files *files,
                                  ivl_error *error)
{
    ivl__config_files made = {0};
    json_t *root;
    ivl_status status;

    IVL__TRY(ivl__known_architecture_find(request->arch, &made.parsed, error));
    root = published(&made.parsed, request);
    status = root ? make(request, root, &made, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for config.json");
    json_decref(root);
    if (status != IVL_OK) {
        ivl__config_files_free(&made);
        return status;
    }
    *files = made;
    return IVL_OK;
}

void ivl__config_files_free(ivl__config_files *files)
{
    ivl__free(files->config);
    ivl__free(files->preprocessor);
    files->config = NULL;
    files->preprocessor = NULL;
}
