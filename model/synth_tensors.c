/* synth_tensors.c - which tensors a stand-in checkpoint holds; see synth_tensors.h. */
#include "model/synth_tensors.h"

#include "model/clip_weights.h"
#include "runtime/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum filling { MATRIX, EMBEDDING, BIAS, NORM, LAYER_SCALE, LOGIT_SCALE } filling;

#define SQRT3 1.7320508075688772

/* fan_in: how many products are added up in a MATRIX. */
static ivl__synth_range range_of(filling kind, uint64_t fan_in)
{
    switch (kind) {
    case MATRIX: return ivl__synth_range_of(0, SQRT3 / sqrt((double)fan_in));
    case EMBEDDING: return ivl__synth_range_of(0, SQRT3 * 0.1);
    case BIAS: return ivl__synth_range_of(0, SQRT3 * 0.02);
    case NORM: return ivl__synth_range_of(1, 0.5);
    case LAYER_SCALE: return ivl__synth_range_of(0.1, 0.05);
    case LOGIT_SCALE: return ivl__synth_range_of(2.6592600369327779 /* ln(1 / 0.07) */, 0);
    }
    return ivl__synth_range_of(0, 0);
}

typedef struct listing {
    const ivl__model_config *config;
    ivl__synth_tensors *to;
    const char *prefix; /* of the tower */
    ivl_error *error;
} listing;

static ivl_status add(listing *l, const ivl__synth_tensor *tensor)
{
    ivl__synth_tensors *to = l->to;

    if (!ivl__grow((void **)&to->items, &to->capacity, to->count + 1, sizeof *to->items)) {
        return ivl__fail(l->error, IVL_OUT_OF_MEMORY, "out of memory for the list of tensors");
    }
    to->items[to->count++] = *tensor;
    return IVL_OK;
}

/* ---- the tower --------------------------------------------------------------------------- */

static filling tower_filling(const char *kind)
{
    size_t n = strlen(kind);

    if (strcmp(kind, "class_embedding") == 0 || strcmp(kind, "position") == 0) {
        return EMBEDDING;
    }
    if (strncmp(kind, "ls", 2) == 0) {
        return LAYER_SCALE;
    }
    if (strcmp(kind + n - 2, "_b") == 0) {
        return BIAS;
    }
    return strstr(kind, "norm") ? NORM : MATRIX;
}

static ivl_status add_tower_tensor(void *user, const ivl__expected_tensor *expected,
                                   ivl_error *error)
{
    listing *l = user;
    ivl__synth_tensor t = {.rank = expected->rank};
    uint64_t elements = 1, fan_in = 1;

    (void)error;
    for (int i = 0; i < expected->rank; i++) {
        t.shape[i] = expected->shape[i];
        elements *= expected->shape[i];
        fan_in *= i ? expected->shape[i] : 1;
    }
    snprintf(t.name, sizeof t.name, "%s%s", l->prefix, expected->name);
    snprintf(t.role, sizeof t.role, "vision.%s", expected->role);
    t.first = elements * (uint64_t)expected->part;
    t.range = range_of(tower_filling(expected->kind), fan_in);
    return add(l, &t);
}

/* ---- the other parts --------------------------------------------------------------------- */

static bool has_end(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

static filling clip_filling(const char *kind)
{
    if (strcmp(kind, "embed_tokens.weight") == 0 || strcmp(kind, "query_tokens") == 0) {
        return EMBEDDING;
    }
    if (strcmp(kind, "logit_scale") == 0) {
        return LOGIT_SCALE;
    }
    if (has_end(kind, ".bias") || has_end(kind, "_bias")) {
        return BIAS;
    }
    return strstr(kind, "norm") ? NORM : MATRIX;
}

static ivl_status add_clip_tensor(void *user, const ivl__expected_tensor *expected,
                                  ivl_error *error)
{
    listing *l = user;
    ivl__synth_tensor t = {.rank = expected->rank};
    /* text_projection is used as x @ P: its fan-in are its rows. */
    int inputs = strcmp(expected->kind, "text_projection") == 0 ? 0 : expected->rank - 1;

    (void)error;
    memcpy(t.shape, expected->shape, sizeof t.shape);
    snprintf(t.name, sizeof t.name, "%s", expected->name);
    snprintf(t.role, sizeof t.role, "%s", expected->role);
    t.range = range_of(clip_filling(expected->kind), t.rank ? t.shape[inputs] : 1);
    return add(l, &t);
}

ivl_status ivl__synth_tensors_list(const ivl__model_config *config, const char *naming,
                                   ivl__synth_tensors *tensors, ivl_error *error)
{
    listing l = {config, tensors, "", error};

    if (config->architecture != IVL__ARCH_VIT && strcmp(naming, "pth") != 0) {
        l.prefix = strcmp(naming, "hf") == 0 ? "vision_tower." : "vision_model.";
    }
    IVL__TRY(ivl__vit_tensors_expected(&config->vit, naming, add_tower_tensor, &l, error));
    return config->architecture == IVL__ARCH_14B || config->architecture == IVL__ARCH_C_13B
               ? ivl__clip_tensors_expected(config, add_clip_tensor, &l, error)
               : IVL_OK;
}
