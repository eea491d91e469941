/* taps.h - what a run is asked for: outputs by name, and what has to be computed for them. */
#ifndef IVL_MODEL_TAPS_H
#define IVL_MODEL_TAPS_H

#include "model/session.h"

typedef enum ivl__tap_kind {
    IVL__TAP_HIDDEN = 0, /* rows of the tower after stage `layer` */
    IVL__TAP_POOLED,
    IVL__TAP_MEAN,
    IVL__TAP_IMAGE_C,
    IVL__TAP_IMAGE_G,
    IVL__TAP_QUERY_LAYER, /* after layer `layer` */
    IVL__TAP_QUERY,
    IVL__TAP_TEXT_LAYER,
    IVL__TAP_TEXT_ROWS,
    IVL__TAP_TEXT_LAST,
    IVL__TAP_TEXT,
    IVL__TAP_ITM
} ivl__tap_kind;

typedef struct ivl__tap {
    ivl__tap_kind kind;
    int layer;
    size_t floats; /* of one row of dims[0]: an image, a text, a token, a pair */
    ivl_output *output;
} ivl__tap;

#define IVL__MAX_TAPS 256

/* A run, checked. */
typedef struct ivl__request {
    const ivl_images *images; /* NULL where no tap needs them */
    const ivl_texts *texts;
    ivl__tap taps[IVL__MAX_TAPS];
    int n_taps;
    int vit_stages; /* of the tower: the first so many */
    bool pool_c, pool_g, query_norm, text_head, itm;
    int query_layers; /* of the decoder, for queries: the first so many */
    int text_layers;
    int32_t longest; /* text, in tokens; 0 without texts */
} ivl__request;

/* Checks inputs and outputs against the model and the session's modes, and fills the outputs' dims.
 * Sizes of pictures are checked by ivl__session_fit. */
ivl_status ivl__request_make(const ivl_session *session, const ivl_inputs *inputs,
                             ivl_output *outputs, size_t n_outputs, ivl__request *request,
                             ivl_error *error);

/* Where row `row` of a tap goes on the host. */
static inline float *ivl__tap_row(const ivl__tap *tap, size_t row)
{
    return tap->output->data + row * tap->floats;
}

#endif
