/* synth_tensors.h - which tensors a stand-in checkpoint holds, and how each is filled.
 *
 * The tower in any of the naming schemes, bare, or in composite checkpoints under vision_model.
 * (hub), bare (pth) or under vision_tower. (hf). The other parts of InternVL-14B (qllama., heads)
 * and of InternVL-C (transformer., heads) have one name each in every scheme. Roles do not depend
 * on the scheme, nor on the release: one seed gives the same tower in all of them.
 *
 * Values: scaled as in a trained network, so that activations stay finite over 48 blocks and no
 * operation can be left out unnoticed. Uniform with the deviation
 *     matrices [out, in]        1 / sqrt(in): products keep the scale of what went in
 *     embeddings                0.1: CLS token, positions, vocabulary, queries
 *     biases                    0.02
 * and uniform in 0.5 .. 1.5 for weights of norms, 0.05 .. 0.15 for layer scale (published: all 0.1
 * before training). logit_scale is ln(1 / 0.07), as published before training.
 */
#ifndef IVL_MODEL_SYNTH_TENSORS_H
#define IVL_MODEL_SYNTH_TENSORS_H

#include "loader/model_config.h"
#include "loader/tensor_writer.h"
#include "model/synth_values.h"

typedef struct ivl__synth_tensor {
    char name[96];
    char role[96];
    uint64_t first; /* index in the role of its first element; not 0 in split q, k and v */
    ivl__synth_range range;
    int rank;
    uint64_t shape[4];
} ivl__synth_tensor;

typedef struct ivl__synth_tensors {
    ivl__synth_tensor *items; /* [count]; ivl__free */
    size_t count, capacity;
} ivl__synth_tensors;

/* Appends every tensor of the configuration, in the order of a state dictionary. IVL_INVALID_
 * ARGUMENT for an unknown naming. */
ivl_status ivl__synth_tensors_list(const ivl__model_config *config, const char *naming,
                                   ivl__synth_tensors *tensors, ivl_error *error);

#endif
