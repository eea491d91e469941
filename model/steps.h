/* steps.h - a pass as steps over stages of the session. */
#ifndef IVL_MODEL_STEPS_H
#define IVL_MODEL_STEPS_H

#include "model/pass.h"

typedef enum ivl__step_kind {
    IVL__STEP_TOWER = 0, /* stage `index` of the vision tower */
    IVL__STEP_POOL_C,
    IVL__STEP_EMBED,     /* queries and tokens; no weights of a stage */
    IVL__STEP_ATTENTION, /* of layer `index`, as the two that follow */
    IVL__STEP_CROSS,
    IVL__STEP_MLP,
    IVL__STEP_NORM, /* after the last layer, for queries; no weights of a stage */
    IVL__STEP_POOL_G,
    IVL__STEP_TEXT_HEAD,
    IVL__STEP_ITM_HEAD
} ivl__step_kind;

typedef struct ivl__step {
    ivl__step_kind kind;
    int index;
    int stage; /* of the session; -1: none */
} ivl__step;

/* What a pass has to do, in order; steps has room for ivl__session_max_steps. The answer is their
 * number. */
int ivl__steps_list(const ivl_session *session, const ivl__request *request, const ivl__pass *pass,
                    ivl__step *steps);
/* Layers of the decoder that the rows of a kind pass; 0 where there are none. */
int ivl__pass_layers(const ivl_session *session, const ivl__request *request, const ivl__pass *pass,
                     ivl__rows_kind kind);

/* For people: what a step is about. */
#define IVL__STEP_NAME 48
void ivl__step_name(const ivl__step *step, char name[IVL__STEP_NAME]);

#endif
