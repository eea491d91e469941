/* session.h - a model on a device, from the inside. */
#ifndef IVL_MODEL_SESSION_H
#define IVL_MODEL_SESSION_H

#include "model/internvl.h"
#include "model/model.h"
#include "model/vit.h"
#include "runtime/device.h"
#include "runtime/gemm.h"
#include "runtime/plan.h"
#include "runtime/residency.h"

struct ivl_session {
    const ivl_model *model;
    ivl_session_options options; /* strings are copied into `strings` */
    char *strings[5];
    ivl__device *device;
    ivl__gemm gemm;
    bool gemm_open;
    ivl__plan plan;
    ivl__residency *residency;     /* NULL after a failed change of place */
    ivl__residency_counts earlier; /* of residencies that were replaced */
    bool copies;                   /* the driver gave no views of the file, and `auto` copies */
    uint64_t most_memory;          /* what the device gave before it gave no more; 0: not known */
    bool ready;                    /* activations fit vit.width x vit.height */
    ivl__vit vit;
    cl_mem position_table; /* resized table, NULL where the model's own fits */
    cl_mem flags;          /* int32 [n_stages]: a stage's output is not finite */
    cl_mem pool;           /* [batch, C] f32 */
    uint64_t images;
};

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
/* Enqueues one stage for the first `count` pictures of the batch whose rows lie on the device;
 * `next` is the stage that will follow, or -1. */
ivl_status ivl__session_run_stage(ivl_session *session, int stage, int next, int count,
                                  ivl_error *error);
void ivl__session_describe_plan(const ivl_session *session, ivl_plan *plan);

#endif
