/* model_config.c - geometry from config.json; see model_config.h.
 *
 * Unknown keys are ignored (saved configurations carry dozens), missing dimensions are errors.
 * Ranges are wide enough for every published model and small enough that no product of two of
 * them overflows.
 */
#include "loader/model_config.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define MAX_WIDTH  1048576
#define MAX_LAYERS 1024
#define MAX_HEADS  4096
#define MAX_SIDE   65536

/* ---- values ------------------------------------------------------------------------------ */

/* NULL for a missing key and for null, which means "not set" in saved configurations. */
static const json_t *value_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_null(value) ? NULL : value;
}

static ivl_status get_int(const json_t *object, const char *key, int64_t most, int32_t *out,
                          ivl_error *error)
{
    const json_t *value = value_of(object, key);

    if (!value) {
        return ivl__fail(error, IVL_BAD_MODEL, "key \"%s\" is missing", key);
    }
    /* The transformers port gives sizes as [height, width]. */
    if (json_is_array(value) && json_array_size(value) == 2 &&
        json_equal(json_array_get(value, 0), json_array_get(value, 1))) {
        value = json_array_get(value, 0);
    }
    if (!json_is_integer(value)) {
        return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is no whole number", key);
    }
    if (json_integer_value(value) < 1 || json_integer_value(value) > most) {
        return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is %lld, out of range 1 .. %lld", key,
                         (long long)json_integer_value(value), (long long)most);
    }
    *out = (int32_t)json_integer_value(value);
    return IVL_OK;
}

/* Leaves *out where the key is missing. */
static ivl_status get_optional_int(const json_t *object, const char *key, int64_t most,
                                   int32_t *out, ivl_error *error)
{
    return value_of(object, key) ? get_int(object, key, most, out, error) : IVL_OK;
}

static ivl_status get_bool(const json_t *object, const char *key, bool *out, ivl_error *error)
{
    const json_t *value = value_of(object, key);

    if (value && !json_is_boolean(value)) {
        return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is neither true nor false", key);
    }
    *out = value ? json_is_true(value) : *out;
    return IVL_OK;
}

static ivl_status get_number(const json_t *object, const char *key, double most, double *out,
                             ivl_error *error)
{
    const json_t *value = value_of(object, key);

    if (!value) {
        return IVL_OK;
    }
    if (!json_is_number(value) || !(json_number_value(value) > 0) ||
        !(json_number_value(value) <= most)) {
        return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is no number above 0 and up to %g", key,
                         most);
    }
    *out = json_number_value(value);
    return IVL_OK;
}

/* A text that must be one of two; *second tells which. Missing: as *second is. */
static ivl_status get_choice(const json_t *object, const char *key, const char *one,
                             const char *two, bool *second, ivl_error *error)
{
    const json_t *value = value_of(object, key);
    const char *text = json_string_value(value);

    if (!value) {
        return IVL_OK;
    }
    if (!text || (strcmp(text, one) != 0 && strcmp(text, two) != 0)) {
        return ivl__fail(error, IVL_BAD_MODEL, "%s \"%.60s\" is not supported (only \"%s\"%s%s%s)",
                         key, text ? text : "(no text)", one, two == one ? "" : " and \"",
                         two == one ? "" : two, two == one ? "" : "\"");
    }
    *second = two != one && strcmp(text, two) == 0;
    return IVL_OK;
}

static ivl_status get_only(const json_t *object, const char *key, const char *one, ivl_error *error)
{
    bool second = false;

    return get_choice(object, key, one, one, &second, error);
}

static bool text_is(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value && strcmp(value, text) == 0;
}

/* ---- the tower --------------------------------------------------------------------------- */

static ivl_status check_vit(const ivl__vit_config *vit, ivl_error *error)
{
    if (vit->hidden % vit->heads != 0) {
        return ivl__fail(error, IVL_BAD_MODEL, "hidden_size %d is not divisible by %d heads",
                         (int)vit->hidden, (int)vit->heads);
    }
    if (vit->image % vit->patch != 0) {
        return ivl__fail(error, IVL_BAD_MODEL, "image_size %d is not divisible by patch_size %d",
                         (int)vit->image, (int)vit->patch);
    }
    if (vit->channels != 3) {
        return ivl__fail(error, IVL_BAD_MODEL, "num_channels is %d, only 3 is supported",
                         (int)vit->channels);
    }
    return IVL_OK;
}

/* What the port writes in its own words, and parts of it that no InternVL has. */
static ivl_status parse_port(const json_t *object, ivl__vit_config *vit, ivl_error *error)
{
    bool mean_pooling = true, positions = true, mask = false;

    vit->qkv_bias = false;
    vit->qk_norm = false;
    vit->layer_norm = true;
    IVL__TRY(get_bool(object, "attention_bias", &vit->qkv_bias, error));
    IVL__TRY(get_bool(object, "use_qk_norm", &vit->qk_norm, error));
    IVL__TRY(get_bool(object, "use_mean_pooling", &mean_pooling, error));
    IVL__TRY(get_bool(object, "use_absolute_position_embeddings", &positions, error));
    IVL__TRY(get_bool(object, "use_mask_token", &mask, error));
    if (!mean_pooling || !positions || mask) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "\"%s\" is not supported as it is set: no published InternViT has that",
                         !mean_pooling ? "use_mean_pooling"
                         : mask        ? "use_mask_token"
                                       : "use_absolute_position_embeddings");
    }
    return IVL_OK;
}

static ivl_status parse_vit(const json_t *object, ivl__vit_config *vit, ivl_error *error)
{
    IVL__TRY(get_int(object, "hidden_size", MAX_WIDTH, &vit->hidden, error));
    IVL__TRY(get_int(object, "num_hidden_layers", MAX_LAYERS, &vit->layers, error));
    IVL__TRY(get_int(object, "num_attention_heads", MAX_HEADS, &vit->heads, error));
    IVL__TRY(get_int(object, "intermediate_size", MAX_WIDTH, &vit->mlp, error));
    IVL__TRY(get_int(object, "image_size", MAX_SIDE, &vit->image, error));
    IVL__TRY(get_int(object, "patch_size", MAX_SIDE, &vit->patch, error));
    IVL__TRY(get_optional_int(object, "num_channels", 1024, &vit->channels, error));
    IVL__TRY(get_only(object, "hidden_act", "gelu", error));
    IVL__TRY(get_number(object, "layer_norm_eps", 1, &vit->eps, error));
    if (text_is(object, "model_type", "internvl_vision")) {
        IVL__TRY(parse_port(object, vit, error));
    } else {
        /* Defaults of the published configuration class. */
        vit->qkv_bias = false;
        vit->qk_norm = true;
        vit->layer_norm = false;
        IVL__TRY(get_bool(object, "qkv_bias", &vit->qkv_bias, error));
        IVL__TRY(get_bool(object, "qk_normalization", &vit->qk_norm, error));
    }
    IVL__TRY(get_choice(object, "norm_type", "rms_norm", "layer_norm", &vit->layer_norm, error));
    return check_vit(vit, error);
}

/* ---- InternVL-14B ------------------------------------------------------------------------ */

static ivl_status parse_llama(const json_t *object, ivl__llama_config *llama, ivl_error *error)
{
    IVL__TRY(get_int(object, "hidden_size", MAX_WIDTH, &llama->hidden, error));
    IVL__TRY(get_int(object, "num_hidden_layers", MAX_LAYERS, &llama->layers, error));
    IVL__TRY(get_int(object, "num_attention_heads", MAX_HEADS, &llama->heads, error));
    IVL__TRY(get_int(object, "intermediate_size", MAX_WIDTH, &llama->mlp, error));
    IVL__TRY(get_int(object, "vocab_size", MAX_WIDTH * 16, &llama->vocab, error));
    llama->kv_heads = llama->heads;
    llama->eps = 1e-6;
    llama->rope_theta = 10000;
    IVL__TRY(get_optional_int(object, "num_key_value_heads", MAX_HEADS, &llama->kv_heads, error));
    IVL__TRY(get_number(object, "rms_norm_eps", 1, &llama->eps, error));
    IVL__TRY(get_number(object, "rope_theta", 1e12, &llama->rope_theta, error));
    IVL__TRY(get_only(object, "hidden_act", "silu", error));
    if (llama->hidden % llama->heads != 0 || llama->heads % llama->kv_heads != 0) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "hidden_size %d is not divisible by %d heads, or those by %d key heads",
                         (int)llama->hidden, (int)llama->heads, (int)llama->kv_heads);
    }
    if (value_of(object, "rope_scaling")) {
        return ivl__fail(error, IVL_BAD_MODEL, "rope_scaling is not supported");
    }
    return IVL_OK;
}

/* InternVL-C without QLLaMA's queries: a text tower and one pooling block. */
static bool is_c_alone(const json_t *root)
{
    const json_t *names = json_object_get(root, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));

    return name && strcmp(name, "InternVL_C") == 0 && !json_object_get(root, "num_query_token");
}

static ivl_status parse_14b(const json_t *root, ivl__model_config *config, ivl_error *error)
{
    const json_t *qllama = json_object_get(root, "qllama_config");
    ivl_status status;

    if (!json_is_object(qllama)) {
        return ivl__fail(error, IVL_BAD_MODEL, "key \"qllama_config\" is missing");
    }
    status = parse_llama(qllama, &config->qllama, error);
    if (status != IVL_OK) {
        return ivl__fail_context(error, status, "qllama_config");
    }
    config->architecture = is_c_alone(root) ? IVL__ARCH_C_13B : IVL__ARCH_14B;
    config->clip_embed_dim = 768;
    config->attn_pool_heads = 16;
    config->query_tokens = 96;
    config->cross_attention_frequency = 2;
    IVL__TRY(get_optional_int(root, "clip_embed_dim", MAX_WIDTH, &config->clip_embed_dim, error));
    IVL__TRY(
        get_optional_int(root, "attn_pool_num_heads", MAX_HEADS, &config->attn_pool_heads, error));
    IVL__TRY(get_optional_int(qllama, "num_query_token", MAX_SIDE, &config->query_tokens, error));
    IVL__TRY(get_optional_int(root, "num_query_token", MAX_SIDE, &config->query_tokens, error));
    /* Saved inside qllama_config only. */
    IVL__TRY(get_optional_int(qllama, "cross_attention_frequency", MAX_LAYERS,
                              &config->cross_attention_frequency, error));
    if (config->vit.hidden % config->attn_pool_heads != 0 ||
        config->qllama.hidden % config->attn_pool_heads != 0) {
        return ivl__fail(
            error, IVL_BAD_MODEL, "widths %d and %d are not divisible by attn_pool_num_heads %d",
            (int)config->vit.hidden, (int)config->qllama.hidden, (int)config->attn_pool_heads);
    }
    return IVL_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

/* "internvl" is the model type of InternVL-14B and of the port's chat models. */
static bool is_14b(const json_t *root)
{
    const json_t *names = json_object_get(root, "architectures");
    const char *name = json_string_value(json_array_get(names, 0));

    return json_object_get(root, "qllama_config") ||
           (name &&
            (strcmp(name, "InternVLModel") == 0 || strcmp(name, "InternVL_C") == 0 ||
             strcmp(name, "InternVL_G") == 0) &&
            !json_object_get(root, "text_config"));
}

static ivl_status parse_root(const json_t *root, ivl__model_config *config, ivl_error *error)
{
    const json_t *vision = json_object_get(root, "vision_config");
    const char *type = json_string_value(json_object_get(root, "model_type"));
    ivl_status status;

    if (json_is_object(vision)) {
        status = parse_vit(vision, &config->vit, error);
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "vision_config");
        }
        config->architecture = IVL__ARCH_CHAT;
        return is_14b(root) ? parse_14b(root, config, error) : IVL_OK;
    }
    if (type && strcmp(type, "intern_vit_6b") != 0 && strcmp(type, "internvl_vision") != 0) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "model_type \"%.60s\" has no \"vision_config\"; for a checkpoint that "
                         "holds an InternViT all the same, pass --arch or --config",
                         type);
    }
    config->architecture = IVL__ARCH_VIT;
    return parse_vit(root, &config->vit, error);
}

static ivl_status load(const char *text, size_t bytes, json_t **root, ivl_error *error)
{
    json_error_t detail;

    *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &detail);
    if (!*root) {
        return ivl__fail(error, IVL_BAD_MODEL, "not valid JSON: %s (line %d)", detail.text,
                         detail.line);
    }
    if (!json_is_object(*root)) {
        json_decref(*root);
        return ivl__fail(error, IVL_BAD_MODEL, "not a JSON object");
    }
    return IVL_OK;
}

ivl_status ivl__model_config_parse(const char *text, size_t bytes, ivl__model_config *config,
                                   ivl_error *error)
{
    ivl__model_config parsed = *config;
    json_t *root;
    ivl_status status;

    IVL__TRY(load(text, bytes, &root, error));
    status = parse_root(root, &parsed, error);
    json_decref(root);
    if (status == IVL_OK) {
        *config = parsed;
    }
    return status;
}

/* ---- preprocessing ----------------------------------------------------------------------- */

static ivl_status get_colours(const json_t *root, const char *key, float out[3], ivl_error *error)
{
    const json_t *values = value_of(root, key);
    float read[3];

    if (!values) {
        return IVL_OK;
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(values, i);
        double x = json_number_value(value);

        if (json_array_size(values) != 3 || !json_is_number(value) || !(x >= 1e-6 && x <= 255)) {
            return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is not three numbers above 0", key);
        }
        read[i] = (float)x;
    }
    memcpy(out, read, sizeof read);
    return IVL_OK;
}

/* A number, {"shortest_edge": n} or {"height": n, "width": n}. */
static ivl_status get_size(const json_t *root, const char *key, int32_t *out, ivl_error *error)
{
    const json_t *size = value_of(root, key);

    if (!json_is_object(size)) {
        return get_optional_int(root, key, MAX_SIDE, out, error);
    }
    if (json_object_get(size, "shortest_edge")) {
        return get_int(size, "shortest_edge", MAX_SIDE, out, error);
    }
    if (!json_equal(json_object_get(size, "height"), json_object_get(size, "width"))) {
        return ivl__fail(error, IVL_BAD_MODEL, "\"%s\" is not square", key);
    }
    return get_int(size, "height", MAX_SIDE, out, error);
}

ivl_status ivl__preprocessor_config_parse(const char *text, size_t bytes, ivl__model_config *config,
                                          ivl_error *error)
{
    ivl__model_config parsed = *config;
    json_t *root;
    ivl_status status;

    IVL__TRY(load(text, bytes, &root, error));
    status = get_colours(root, "image_mean", parsed.mean, error);
    if (status == IVL_OK) {
        status = get_colours(root, "image_std", parsed.std, error);
    }
    if (status == IVL_OK) {
        status = get_size(root, "size", &parsed.size, error);
    }
    json_decref(root);
    if (status == IVL_OK) {
        *config = parsed;
    }
    return status;
}
