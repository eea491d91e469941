/* session.h - a model on a device, from the inside. */
#ifndef IVL_MODEL_SESSION_H
#define IVL_MODEL_SESSION_H

#include "model/decoder.h"
#include "model/internvl.h"
#include "model/model.h"
#include "model/vit.h"
#include "runtime/device.h"
#include "runtime/gemm.h"
#include "runtime/plan.h"
#include "runtime/residency.h"

/* What a session is for. */
enum { IVL__MODE_VIT = 1, IVL__MODE_C = 2, IVL__MODE_G = 4, IVL__MODE_TEXT = 8 };

/* Tokens of the longest text where nobody says: what the tokenizer cuts at. And of any: the
 * positions the published text tower was made for. */
#define IVL__TEXT_TOKENS     80
#define IVL__MAX_TEXT_TOKENS 2048
/* Texts that a batch has room for with each of its pictures. */
#define IVL__TEXTS_PER_IMAGE 8

/* A batch is counted in units: a picture with its queries and its share of texts, or in a session
 * for texts alone a text of the longest kind. */
typedef struct ivl__session_sizes {
    int32_t unit_rows;               /* of the decoder */
    uint64_t unit_normed, unit_wide; /* scratch per unit of a sub-batch */
    uint64_t text_normed, text_wide; /* scratch beside it for one text */
    ivl__decoder_sizes decoder;
} ivl__session_sizes;

struct ivl_session {
    const ivl_model *model;
    ivl_session_options options; /* strings are copied into `strings` */
    char *strings[6];
    ivl__device *device;
    ivl__gemm gemm;
    bool gemm_open;
    unsigned modes; /* IVL__MODE_* */
    /* The stages of these modes: the tower's, then others. */
    ivl__stage_source *stages; /* [n_stages] */
    int n_stages;
    int *clip_at; /* [model->clip->list.n_stages] index in stages, or IVL__NO_STAGE */
    ivl__plan plan;
    ivl__session_sizes sizes;
    ivl__residency *residency;     /* NULL after a failed change of place */
    ivl__residency_counts earlier; /* of residencies that were replaced */
    bool copies;                   /* the driver gave no views of the file, and `auto` copies */
    uint64_t most_memory;          /* what the device gave before it gave no more; 0: not known */
    bool ready;                    /* activations fit vit.width x vit.height and text_tokens */
    int32_t text_tokens;           /* of the longest text */
    ivl__compute compute;
    ivl__vit vit;
    ivl__decoder decoder;
    cl_mem vit_vectors, clip_vectors;
    cl_mem position_table; /* resized table, NULL where the model's own fits */
    cl_mem flags;          /* int32 [steps]: a step's output is not finite */
    cl_mem pool;           /* [batch, C] f32 */
    cl_mem embeds_c;       /* [batch, E] f32 */
    cl_mem embeds_g;       /* [batch, E] f32 */
    /* int32 [sub_batch + 1]: 0, n, 2n, ... for n tokens of an image, n queries, n = 1. */
    cl_mem image_offsets, query_offsets, one_offsets;
    uint64_t images, texts;
};

static inline bool ivl__session_has_images(const ivl_session *s)
{
    return (s->modes & (IVL__MODE_VIT | IVL__MODE_C | IVL__MODE_G)) != 0;
}

/* Reads options.modes and lists their stages. */
ivl_status ivl__session_choose_stages(ivl_session *session, ivl_error *error);
/* Most steps of a pass. */
int ivl__session_max_steps(const ivl_session *session);
uint64_t ivl__session_gemm_scratch(const ivl_session *session, int sub_batch);
/* Rows of the decoder that share the scratch of sub-batches of this size. */
int32_t ivl__session_chunk_rows(const ivl_session *session, int sub_batch);

/* Opens the device, the kernels' backend and plans for pictures of this size; what `plan_make` and
 * `session_open` share. On failure the session is left for ivl_session_free. */
ivl_status ivl__session_plan(ivl_session *session, int width, int height, bool normalized_pixels,
                             ivl_error *error);
/* measure: whether `--gemm auto` may measure; else what is known from earlier runs decides. */
ivl_status ivl__session_open_device(ivl_session *session, bool measure, ivl_error *error);
/* The first device the selectors name. */
ivl_status ivl__session_pick_device(const ivl_session_options *options, ivl__device_info *info,
                                    ivl_error *error);
/* What the options allow on a device; *given: the caller asked for it. IVL_OUT_OF_DEVICE_MEMORY
 * when it is more than the device has. */
ivl_status ivl__find_budget(const ivl__device *device, const ivl_session_options *options,
                            uint64_t *budget, bool *given, ivl_error *error);
/* Weights and activations where the plan says. Drivers promise more than they have, and others use
 * the device too: then other plans are tried. */
ivl_status ivl__session_place(ivl_session *session, ivl_error *error);
/* Pictures (NULL: none) of another size or kind than the last, or longer texts: another plan for
 * the activations, and the same weights, placed anew only where the plan says so. */
ivl_status ivl__session_fit(ivl_session *session, const ivl_images *images, int32_t text_tokens,
                            ivl_error *error);
/* Enqueues one stage of the tower for the first `count` pictures of the batch whose rows lie on the
 * device; `next` is the stage that will follow, or -1. */
ivl_status ivl__session_run_stage(ivl_session *session, int stage, int next, int count,
                                  ivl_error *error);
void ivl__session_describe_plan(const ivl_session *session, ivl_plan *plan);

#endif
