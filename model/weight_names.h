/* weight_names.h - three published naming schemes to one set of roles.
 *
 *   hub   embeddings.class_embedding, encoder.layers.0.attn.qkv.weight   (Hugging Face, upstream)
 *   pth   cls_token, blocks.0.attn.qkv.weight, blocks.0.ls1.gamma        (timm-like .pth)
 *   hf    embeddings.cls_token, encoder.layer.0.attention.q_proj.weight  (transformers port)
 *
 * each bare or under vision_model., vision_tower. or model.vision_tower.
 */
#ifndef IVL_MODEL_WEIGHT_NAMES_H
#define IVL_MODEL_WEIGHT_NAMES_H

#include "loader/model_config.h"
#include "model/weight_map.h"

/* Shapes: matrices [out, in], vectors [n]; C hidden, F mlp. */
typedef struct ivl__vit_block_weights {
    ivl__weight_ref norm1_w, norm1_b; /* [C]; _b of LayerNorm only */
    ivl__weight_ref qkv_w, qkv_b;     /* [3C, C], [3C] */
    ivl__weight_ref q_norm, k_norm;   /* [C] */
    ivl__weight_ref proj_w, proj_b;   /* [C, C], [C] */
    ivl__weight_ref ls1;              /* [C] */
    ivl__weight_ref norm2_w, norm2_b; /* [C] */
    ivl__weight_ref fc1_w, fc1_b;     /* [F, C], [F] */
    ivl__weight_ref fc2_w, fc2_b;     /* [C, F], [C] */
    ivl__weight_ref ls2;              /* [C] */
} ivl__vit_block_weights;

typedef struct ivl__vit_weights {
    const char *naming;               /* "hub", "pth", "hf" */
    ivl__weight_ref class_embedding;  /* [C] in any of the shapes [1, 1, C] */
    ivl__weight_ref position;         /* [1, 1 + g * g, C] */
    ivl__weight_ref patch_w, patch_b; /* [C, 3, patch, patch], [C] */
    ivl__vit_block_weights *blocks;   /* [n_blocks] */
    int n_blocks;
    int grid;              /* g: patches along a side of the position table */
    const char *spaces[4]; /* the tower's namespaces: prefixes and names; NULL where there are less
                            */
} ivl__vit_weights;

/* Geometry from names and shapes, where there is no config.json. The number of heads cannot be
 * read from tensors: width 3200 means 25 and 1024 means 16; otherwise IVL_BAD_MODEL asks for
 * --config or --arch. */
ivl_status ivl__vit_config_from_tensors(const ivl__tensor_table *table, ivl__vit_config *config,
                                        ivl_error *error);

ivl_status ivl__vit_weights_take(ivl__weight_map *map, const ivl__vit_config *config,
                                 ivl__vit_weights **out, ivl_error *error);
void ivl__vit_weights_free(ivl__vit_weights *weights);

/* A tensor that a tower of some configuration has in a naming scheme, without prefix. */
typedef struct ivl__expected_tensor {
    const char *name;  /* "encoder.layers.0.attn.qkv.weight" */
    const char *role;  /* "block.0000.qkv_w"; the same in every scheme */
    const char *kind;  /* the role without its block: "qkv_w" */
    int part, n_parts; /* of a role that the scheme splits into rows */
    int rank;
    uint64_t shape[4]; /* as stored; of this part */
} ivl__expected_tensor;

typedef ivl_status ivl__expected_tensor_fn(void *user, const ivl__expected_tensor *tensor,
                                           ivl_error *error);
/* Calls each for every tensor, embeddings first and then block by block. naming: "hub", "pth" or
 * "hf", otherwise IVL_INVALID_ARGUMENT. */
ivl_status ivl__vit_tensors_expected(const ivl__vit_config *config, const char *naming,
                                     ivl__expected_tensor_fn *each, void *user, ivl_error *error);

/* Calls visit for every role that is present, in the order of their names ("block.0000.fc1_b",
 * ...): the same roles in every naming. */
typedef ivl_status ivl__weight_visit_fn(void *user, const char *role, const ivl__weight_ref *ref,
                                        ivl_error *error);
ivl_status ivl__vit_weights_visit(const ivl__vit_weights *weights, ivl__weight_visit_fn *visit,
                                  void *user, ivl_error *error);

#endif
