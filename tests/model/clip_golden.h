/* clip_golden.h - the recorded InternVL-14B in small: its inputs, and every output that a session
 * gives. */
#ifndef IVL_TESTS_MODEL_CLIP_GOLDEN_H
#define IVL_TESTS_MODEL_CLIP_GOLDEN_H

#include "tests/model/golden.h"

#define CLIP        "golden/internvl_c_g"
#define CLIP_IMAGES 4
#define CLIP_TEXTS  10
#define CLIP_PAIRS  6
#define CLIP_SIDE   56
#define CLIP_TOKENS 17
#define CLIP_VISION 160
#define CLIP_HIDDEN 128
#define CLIP_EMBED  48
#define CLIP_LAYERS 4
#define CLIP_ROWS   96

/* Texts without their padding. */
typedef struct clip_texts {
    int32_t ids[1024];
    int32_t offsets[CLIP_TEXTS + 1];
    ivl_texts texts;
} clip_texts;

/* Row `row` of a recorded int32 array [n, width], up to the first zero. */
static inline void clip_add_text(clip_texts *t, const int32_t *rows, int width, int row)
{
    int32_t at = t->offsets[t->texts.count];

    for (int i = 0; i < width && rows[row * width + i]; i++) {
        assert_true(at < 1024);
        t->ids[at++] = rows[row * width + i];
    }
    t->offsets[++t->texts.count] = at;
    t->texts.ids = t->ids;
    t->texts.offsets = t->offsets;
}

static inline int32_t *clip_read_ids(const char *name, int *n, int *width)
{
    char path[128];
    ivl__npy npy;
    void *values = NULL;
    ivl_error error = {0};

    snprintf(path, sizeof path, CLIP "/%s.npy", name);
    assert_ok(ivl__npy_read(path, 1 << 20, &npy, &values, &error), error);
    assert_int_equal(npy.type, IVL__NPY_I4);
    assert_int_equal(npy.rank, 2);
    *n = (int)npy.shape[0];
    *width = (int)npy.shape[1];
    return values;
}

static inline void clip_read_texts(clip_texts *t)
{
    int n, width;
    int32_t *rows = clip_read_ids("text_ids", &n, &width);

    memset(t, 0, sizeof *t);
    assert_int_equal(n, CLIP_TEXTS);
    for (int i = 0; i < n; i++) {
        clip_add_text(t, rows, width, i);
    }
    ivl__free(rows);
}

/* The texts of the recorded pairs, and which image belongs to each. */
static inline void clip_read_pairs(clip_texts *t, int images[CLIP_PAIRS])
{
    int n, width;
    int32_t *rows = clip_read_ids("itm_ids", &n, &width);
    json_t *file = json_load_file(CLIP "/itm.json", 0, NULL);
    json_t *pairs = json_object_get(file, "pairs_image_text");

    memset(t, 0, sizeof *t);
    assert_int_equal(json_array_size(pairs), CLIP_PAIRS);
    for (size_t i = 0; i < CLIP_PAIRS; i++) {
        json_t *pair = json_array_get(pairs, i);

        images[i] = (int)json_integer_value(json_array_get(pair, 0));
        clip_add_text(t, rows, width, (int)json_integer_value(json_array_get(pair, 1)));
    }
    json_decref(file);
    ivl__free(rows);
}

/* ---- outputs ----------------------------------------------------------------------------- */

enum {
    CLIP_HIDDEN_2,
    CLIP_IMAGE_C,
    CLIP_IMAGE_G,
    CLIP_QUERY_0,
    CLIP_QUERY = CLIP_QUERY_0 + CLIP_LAYERS,
    CLIP_TEXT_0,
    CLIP_TEXT_ROWS = CLIP_TEXT_0 + CLIP_LAYERS,
    CLIP_TEXT_LAST,
    CLIP_TEXT,
    CLIP_TAPS
};

/* Room for each tap of `images` images and these texts, full of NaN; without images or texts their
 * taps have capacity 0. */
static inline void clip_outputs_make(golden_outputs *o, int images, const ivl_texts *texts)
{
    static const char *const names[CLIP_TAPS] = {
        "hidden_2", "image_c", "image_g", "query_0", "query_1",   "query_2",   "query_3", "query",
        "text_0",   "text_1",  "text_2",  "text_3",  "text_rows", "text_last", "text"};
    const size_t tokens = texts ? (size_t)texts->offsets[texts->count] : 0;
    const size_t n_texts = texts ? (size_t)texts->count : 0;

    o->n = CLIP_TAPS;
    for (int i = 0; i < CLIP_TAPS; i++) {
        size_t n = (size_t)images * CLIP_ROWS * CLIP_HIDDEN;

        n = i == CLIP_HIDDEN_2                        ? (size_t)images * CLIP_TOKENS * CLIP_VISION
            : i == CLIP_IMAGE_C || i == CLIP_IMAGE_G  ? (size_t)images * CLIP_EMBED
            : i == CLIP_TEXT                          ? n_texts * CLIP_EMBED
            : i == CLIP_TEXT_LAST                     ? n_texts * CLIP_HIDDEN
            : i >= CLIP_TEXT_0 && i <= CLIP_TEXT_ROWS ? tokens * CLIP_HIDDEN
                                                      : n;
        snprintf(o->names[i], sizeof o->names[i], "%s", names[i]);
        o->taps[i] = (ivl_output){.tap = o->names[i], .capacity = n};
        o->taps[i].data = ivl__malloc(n * sizeof(float) + 1);
        assert_non_null(o->taps[i].data);
        memset(o->taps[i].data, 0xff, n * sizeof(float));
    }
}

/* Every tap that has room. */
static inline void clip_run(ivl_session *session, const ivl_images *images, const ivl_texts *texts,
                            golden_outputs *o)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .images = images, .texts = texts};
    ivl_output taps[CLIP_TAPS];
    ivl_error error = {0};
    size_t n = 0;

    for (int i = 0; i < o->n; i++) {
        if (o->taps[i].capacity) {
            taps[n++] = o->taps[i];
        }
    }
    assert_ok(ivl_run(session, &inputs, taps, n, &error), error);
}

#endif
