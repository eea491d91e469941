/* model.h - an open checkpoint, from the inside. */
#ifndef IVL_MODEL_MODEL_H
#define IVL_MODEL_MODEL_H

#include "loader/model_config.h"
#include "loader/tensor_table.h"
#include "model/clip_stages.h"
#include "model/internvl.h"
#include "model/model_weights.h"
#include "model/vit_stages.h"

#include <stdatomic.h>

struct ivl_model {
    char *path;
    ivl__model_config config;
    ivl__tensor_table *table;    /* NULL: geometry only */
    ivl__model_weights *weights; /* NULL: geometry only */
    ivl__vit_stages *stages;
    ivl__clip_stages *clip; /* NULL where there is a tower alone */
    char id[65];
    char dtype[8];
    double logit_scale; /* the factor, not its logarithm; 0: none */
    ivl_model_part parts[4];
    int n_parts;
    const char *modes[4];
    int n_modes;
    ivl_unused_part *unused;
    ivl__weight_ref *roles; /* every role that is present */
    size_t n_roles, roles_capacity;
    atomic_bool bad; /* set by ivl_handle_sigbus */
};

/* IVL_BAD_MODEL when a file was changed, shrunk or lost since the model was opened. */
ivl_status ivl__model_check(const ivl_model *model, ivl_error *error);

#endif
