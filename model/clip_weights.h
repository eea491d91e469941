/* clip_weights.h - the roles of InternVL-C and InternVL-G beyond the vision tower.
 *
 *   InternVL-14B (hub)   qllama.model.layers.0.self_attn.q_proj.weight, ..., query_tokens,
 * itm_head. InternVL-C (.pth)    transformer.layers.0.self_attn.q_proj.weight, ...: the text tower
 * alone both                 clip_projector., text_projection, logit_scale; clip_projector2. of the
 * 14B
 *
 * A role bears the name that it has in InternVL-14B, in both. Source: modeling_internvl.py and
 * modeling_qllama.py of OpenGVLab/InternVL.
 */
#ifndef IVL_MODEL_CLIP_WEIGHTS_H
#define IVL_MODEL_CLIP_WEIGHTS_H

#include "loader/model_config.h"
#include "model/weight_map.h"
#include "model/weight_names.h"

/* Shapes: matrices [out, in]; H width, K width of keys, F mlp of the LLaMA part, V vision width, E
 * embedding width, Q queries, T vocabulary. */
typedef struct ivl__llama_weights {
    ivl__weight_ref norm1;   /* [H] */
    ivl__weight_ref qkv;     /* [H + 2K, H], in three parts */
    ivl__weight_ref o;       /* [H, H] */
    ivl__weight_ref norm2;   /* [H] */
    ivl__weight_ref gate_up; /* [2F, H], in two parts */
    ivl__weight_ref down;    /* [H, F] */
} ivl__llama_weights;

/* From queries to the tokens of the image; absent in most layers. */
typedef struct ivl__cross_weights {
    ivl__weight_ref norm_q, norm_kv; /* [H], [V] */
    ivl__weight_ref q;               /* [H, H] */
    ivl__weight_ref kv;              /* [2H, V], in two parts */
    ivl__weight_ref o;               /* [H, H] */
} ivl__cross_weights;

/* The attention pooling block over rows of width D. */
typedef struct ivl__pool_weights {
    ivl__weight_ref norm_q_w, norm_q_b, norm_k_w, norm_k_b, norm_v_w, norm_v_b; /* [D] */
    ivl__weight_ref q_w, k_w, v_w;                                              /* [D, D] */
    ivl__weight_ref q_b, k_b, v_b;                                              /* [D] */
    ivl__weight_ref proj_w, proj_b;                                             /* [E, D], [E] */
} ivl__pool_weights;

typedef struct ivl__clip_weights {
    ivl__weight_ref embed;           /* [T, H] */
    ivl__weight_ref norm;            /* [H], after the last layer */
    ivl__weight_ref text_projection; /* [H, E]: x @ P */
    ivl__weight_ref logit_scale;     /* [], a logarithm */
    ivl__pool_weights pool_c;        /* D = V */
    ivl__weight_ref query_tokens;    /* [Q, H]; from here on InternVL-14B only */
    ivl__weight_ref itm_w, itm_b;    /* [2, H], [2] */
    ivl__pool_weights pool_g;        /* D = H */
    ivl__llama_weights *layers;      /* [n_layers] */
    ivl__cross_weights *cross;       /* [n_layers] */
    int n_layers;
    const char *spaces[IVL__MAX_UNUSED]; /* namespaces, NULL-terminated */
} ivl__clip_weights;

/* Whether layer `index` of QLLaMA looks at the image. */
bool ivl__has_cross_attention(const ivl__model_config *config, int index);

/* Makes the architecture of a configuration that of the checkpoint: a .pth of InternVL-C is opened
 * with the configuration of the 14B as well, and a checkpoint without config.json says by its
 * tensors that it has a text tower. IVL_BAD_MODEL where its heads cannot be told. */
ivl_status ivl__clip_config_from_tensors(const ivl__tensor_table *table, bool configured,
                                         ivl__model_config *config, ivl_error *error);

/* Of IVL__ARCH_14B and IVL__ARCH_C_13B. */
ivl_status ivl__clip_weights_take(ivl__weight_map *map, const ivl__model_config *config,
                                  ivl__clip_weights **out, ivl_error *error);
void ivl__clip_weights_free(ivl__clip_weights *weights);

/* Calls each for every tensor that a checkpoint of the configuration has beyond the tower, those
 * that are not run included, in the order of a state dictionary. The role is the tensor's name in
 * InternVL-14B, its kind the last part of the name. */
ivl_status ivl__clip_tensors_expected(const ivl__model_config *config,
                                      ivl__expected_tensor_fn *each, void *user, ivl_error *error);

/* Whether the tensor of a role is not run. */
bool ivl__clip_is_unused(const char *role);

/* Calls visit for every tensor that runs, each as a role of one part. */
ivl_status ivl__clip_weights_visit(const ivl__model_config *config,
                                   const ivl__clip_weights *weights, ivl__weight_visit_fn *visit,
                                   void *user, ivl_error *error);

#endif
