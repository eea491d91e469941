/* model_weights.h - everything of a checkpoint that runs: the vision tower, and the text tower,
 * QLLaMA and heads where it has them. */
#ifndef IVL_MODEL_MODEL_WEIGHTS_H
#define IVL_MODEL_MODEL_WEIGHTS_H

#include "model/clip_weights.h"

typedef struct ivl__model_weights {
    ivl__vit_weights *vit;
    ivl__clip_weights *clip; /* NULL where there is none */
    ivl__unused_list unused;
} ivl__model_weights;

/* Strict inside the namespaces of the parts that run; see weight_map.h. */
ivl_status ivl__model_weights_map(const ivl__tensor_table *table, const ivl__model_config *config,
                                  ivl__model_weights **out, ivl_error *error);
void ivl__model_weights_free(ivl__model_weights *weights);

/* Calls visit for every role that is present: the tower's, then the others. */
ivl_status ivl__model_weights_visit(const ivl__model_config *config,
                                    const ivl__model_weights *weights, ivl__weight_visit_fn *visit,
                                    void *user, ivl_error *error);

/* CLI.md, "Model id": 64 hex digits, equal in every naming (split q/k/v of the tower count as the
 * fused tensor). full reads all bytes instead of samples. */
ivl_status ivl__model_id(const ivl__model_config *config, const ivl__model_weights *weights,
                         bool full, char hex[65], ivl_error *error);

#endif
