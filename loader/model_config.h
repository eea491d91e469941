/* model_config.h - geometry and preprocessing of a model, from config.json or by name.
 *
 * Sources: the published config.json files of every release (model_type intern_vit_6b, internvl,
 * internvl_chat, and the transformers port's internvl_vision), preprocessor_config.json.
 */
#ifndef IVL_LOADER_MODEL_CONFIG_H
#define IVL_LOADER_MODEL_CONFIG_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ivl__architecture {
    IVL__ARCH_VIT = 0,   /* the tower alone */
    IVL__ARCH_14B = 1,   /* InternVL-14B: tower, QLLaMA, heads */
    IVL__ARCH_C_13B = 2, /* InternVL-C .pth: tower, text tower, heads */
    IVL__ARCH_CHAT = 3   /* a chat model: the tower in it */
} ivl__architecture;

typedef struct ivl__vit_config {
    int32_t hidden, layers, heads, mlp;
    int32_t patch, image, channels; /* image: side in pixels that the position table is made for */
    bool qkv_bias, qk_norm;
    bool layer_norm; /* else RMSNorm */
    double eps;
} ivl__vit_config;

/* The LLaMA part of QLLaMA. */
typedef struct ivl__llama_config {
    int32_t hidden, layers, heads, kv_heads, mlp, vocab;
    double eps, rope_theta;
} ivl__llama_config;

typedef struct ivl__model_config {
    ivl__architecture architecture;
    ivl__vit_config vit;
    ivl__llama_config qllama; /* of IVL__ARCH_14B and IVL__ARCH_C_13B */
    int32_t clip_embed_dim, attn_pool_heads, query_tokens, cross_attention_frequency;
    float mean[3], std[3];
    int32_t size; /* side of the preprocessed picture; 0 where no file tells */
} ivl__model_config;

/* A configuration with the values of every release where they never differ (ImageNet mean and
 * deviation, patch 14, eps 1e-6, ...) and zeros elsewhere. */
void ivl__model_config_init(ivl__model_config *config);

/* IVL_BAD_MODEL names the first key that is missing or the value that cannot be. */
ivl_status ivl__model_config_parse(const char *text, size_t bytes, ivl__model_config *config,
                                   ivl_error *error);
/* Reads mean, std and size of preprocessor_config.json into config where they are given. */
ivl_status ivl__preprocessor_config_parse(const char *text, size_t bytes, ivl__model_config *config,
                                          ivl_error *error);

/* Every architecture that `synth` and --arch know. */
typedef struct ivl__known_architecture {
    const char *name; /* "internvit-6b-224" */
    ivl__model_config config;
} ivl__known_architecture;

/* NULL past the last. */
const ivl__known_architecture *ivl__known_architecture_at(size_t index);
/* IVL_INVALID_ARGUMENT listing the names when there is none of that name. */
ivl_status ivl__known_architecture_find(const char *name, ivl__model_config *config,
                                        ivl_error *error);

#endif
