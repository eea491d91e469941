/* known_architectures.c - the published releases by name, and two tiny ones for tests.
 *
 * Widths and depths are those of the published config.json files. tiny: 128 = 2 x 64, 2 blocks,
 * MLP 256, 56 px. tiny-14b: tower 160 = 5 x 32, QLLaMA 128 = 4 x 32 with 4 layers.
 */
#include "loader/model_config.h"

#include <stdio.h>
#include <string.h>

#define COLOURS .mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}

#define VIT_6B(blocks, side)  \
    .vit = {.hidden = 3200,   \
            .layers = blocks, \
            .heads = 25,      \
            .mlp = 12800,     \
            .patch = 14,      \
            .image = side,    \
            .channels = 3,    \
            .qk_norm = true,  \
            .eps = 1e-6}

/* The LLaMA-7B geometry with the Chinese-Alpaca vocabulary and [PAD]. */
#define LLAMA_7B               \
    .qllama = {.hidden = 4096, \
               .layers = 32,   \
               .heads = 32,    \
               .kv_heads = 32, \
               .mlp = 11008,   \
               .vocab = 49954, \
               .eps = 1e-6,    \
               .rope_theta = 10000}

static const ivl__known_architecture known[] = {
    {"internvit-6b-224", {.architecture = IVL__ARCH_VIT, VIT_6B(48, 224), COLOURS}},
    {"internvit-6b-448-v1-0", {.architecture = IVL__ARCH_VIT, VIT_6B(48, 448), COLOURS}},
    {"internvit-6b-448-v1-5", {.architecture = IVL__ARCH_VIT, VIT_6B(45, 448), COLOURS}},
    {"internvit-300m-448",
     {.architecture = IVL__ARCH_VIT,
      .vit = {.hidden = 1024,
              .layers = 24,
              .heads = 16,
              .mlp = 4096,
              .patch = 14,
              .image = 448,
              .channels = 3,
              .qkv_bias = true,
              .layer_norm = true,
              .eps = 1e-6},
      COLOURS}},
    {"internvl-14b-224",
     {.architecture = IVL__ARCH_14B,
      VIT_6B(48, 224),
      LLAMA_7B,
      .clip_embed_dim = 768,
      .attn_pool_heads = 16,
      .query_tokens = 96,
      .cross_attention_frequency = 2,
      COLOURS}},
    {"internvl-c-13b-224",
     {.architecture = IVL__ARCH_C_13B,
      VIT_6B(48, 224),
      LLAMA_7B,
      .clip_embed_dim = 768,
      .attn_pool_heads = 16,
      COLOURS}},
    {"tiny",
     {.architecture = IVL__ARCH_VIT,
      .vit = {.hidden = 128,
              .layers = 2,
              .heads = 2,
              .mlp = 256,
              .patch = 14,
              .image = 56,
              .channels = 3,
              .qk_norm = true,
              .eps = 1e-6},
      COLOURS}},
    {"tiny-14b",
     {.architecture = IVL__ARCH_14B,
      .vit = {.hidden = 160,
              .layers = 2,
              .heads = 5,
              .mlp = 208,
              .patch = 14,
              .image = 56,
              .channels = 3,
              .qk_norm = true,
              .eps = 1e-6},
      .qllama = {.hidden = 128,
                 .layers = 4,
                 .heads = 4,
                 .kv_heads = 4,
                 .mlp = 168,
                 .vocab = 797,
                 .eps = 1e-6,
                 .rope_theta = 10000},
      .clip_embed_dim = 48,
      .attn_pool_heads = 16,
      .query_tokens = 96,
      .cross_attention_frequency = 2,
      COLOURS}},
};

void ivl__model_config_init(ivl__model_config *config)
{
    *config = (ivl__model_config){.vit = {.patch = 14, .channels = 3, .eps = 1e-6}, COLOURS};
}

const ivl__known_architecture *ivl__known_architecture_at(size_t index)
{
    return index < sizeof known / sizeof known[0] ? &known[index] : NULL;
}

ivl_status ivl__known_architecture_find(const char *name, ivl__model_config *config,
                                        ivl_error *error)
{
    char names[400] = "";

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t used = strlen(names);

        if (strcmp(known[i].name, name) == 0) {
            *config = known[i].config;
            return IVL_OK;
        }
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", known[i].name);
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT, "unknown architecture \"%.100s\"; known are %s",
                     name, names);
}
