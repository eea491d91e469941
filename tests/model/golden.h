/* golden.h - recorded models, inputs and outputs, and sessions to run them.
 *
 * Device: the selector in IVL_TEST_DEVICE (as --device takes it), else automatic. Without a device
 * the program prints why and exits with 77, which ctest shows as skipped.
 */
#ifndef IVL_TESTS_MODEL_GOLDEN_H
#define IVL_TESTS_MODEL_GOLDEN_H

#include "loader/npy.h"
#include "model/internvl.h"
#include "runtime/memory.h"
#include "tests/folder.h"

#include <jansson.h>
#include <math.h>

/* ---- cases ------------------------------------------------------------------------------- */

typedef struct golden_case {
    const char *model, *data;
    int layers, width, image; /* blocks, hidden size, side of the pictures in pixels */
    int head_dim;
} golden_case;

static const golden_case golden_cases[] = {
    {"golden/vit_rms", "golden/vit_rms", 2, 256, 56, 128},
    {"golden/vit_rms_odd", "golden/vit_rms_odd", 2, 192, 70, 64},
    {"golden/vit_ln", "golden/vit_ln/px56", 2, 128, 56, 64},
    {"golden/vit_ln", "golden/vit_ln/px84", 2, 128, 84, 64},
    {"golden/vit_eps/rms", "golden/vit_eps/rms", 1, 32, 28, 16},
    {"golden/vit_eps/ln", "golden/vit_eps/ln", 1, 32, 28, 16},
};
#define N_GOLDEN_CASES (sizeof golden_cases / sizeof golden_cases[0])

/* The file that holds the output of a tap, and its key in fp64_errors.json. */
static inline void golden_name(const golden_case *c, int tap, char name[32])
{
    if (tap > c->layers) {
        strcpy(name, "pooler_output");
    } else if (tap == 0) {
        strcpy(name, "embeddings");
    } else {
        snprintf(name, 32, "block_%d", tap - 1);
    }
}

/* ---- arrays ------------------------------------------------------------------------------ */

typedef struct golden_array {
    float *values; /* [shape], ivl__free; NULL where there is no such file */
    size_t count;
    ivl__npy npy;
} golden_array;

static inline golden_array golden_read(const char *data, const char *name)
{
    golden_array a = {0};
    char path[512];
    void *values = NULL;
    ivl_error error = {0};

    snprintf(path, sizeof path, "%s/%s.npy", data, name);
    if (access(path, F_OK) != 0) {
        return a;
    }
    assert_ok(ivl__npy_read(path, 64u << 20, &a.npy, &values, &error), error);
    assert_int_equal(a.npy.type, IVL__NPY_F4);
    a.values = values;
    a.count = (size_t)a.npy.count;
    return a;
}

/* Largest error of the published fp32 run against float64, and root mean square, of one array. */
static inline void golden_errors(const char *data, const char *name, double *max_abs_err,
                                 double *rms)
{
    char path[512];
    json_t *all;
    json_t *entry;

    snprintf(path, sizeof path, "%s/fp64_errors.json", data);
    all = json_load_file(path, 0, NULL);
    assert_non_null(all);
    entry = json_object_get(all, name);
    assert_non_null(entry);
    *max_abs_err = json_number_value(json_object_get(entry, "max_abs_err"));
    *rms = json_number_value(json_object_get(entry, "rms"));
    assert_true(*rms > 0.0);
    json_decref(all);
}

/* Elementwise bound of precision exact. The recorded arrays are an fp32 run themselves, with an
 * error of max_abs_err against float64; another summation order has one of the same size, and both
 * together, with room for the largest of other elements, stay within eight of it. 4e-6 of the RMS
 * is the floor where the recorded error happened to be small: two fp32 sums of this length. */
static inline double golden_bound(const char *data, const char *name)
{
    double max_abs_err;
    double rms;

    golden_errors(data, name, &max_abs_err, &rms);
    return fmax(8.0 * max_abs_err, 4e-6 * rms);
}

/* ---- comparisons ------------------------------------------------------------------------- */

typedef struct golden_difference {
    double largest;  /* |got - want| */
    double relative; /* ||got - want|| / ||want|| */
    double cosine;
} golden_difference;

static inline golden_difference golden_compare(const float *got, const float *want, size_t n)
{
    golden_difference d = {0};
    double dd = 0;
    double gg = 0;
    double ww = 0;
    double gw = 0;

    for (size_t i = 0; i < n; i++) {
        double g = got[i];
        double w = want[i];

        if (!(fabs(g - w) <= d.largest)) {
            d.largest = fabs(g - w);
        }
        dd += (g - w) * (g - w);
        gg += g * g;
        ww += w * w;
        gw += g * w;
    }
    if (!isfinite(dd)) {
        d.largest = INFINITY;
    }
    d.relative = sqrt(dd / ww);
    d.cosine = gw / sqrt(gg * ww);
    return d;
}

/* ---- sessions ---------------------------------------------------------------------------- */

static inline const char *const *golden_selectors(size_t *n)
{
    static const char *selector[1];

    selector[0] = getenv("IVL_TEST_DEVICE");
    *n = selector[0] ? 1 : 0;
    return selector;
}

/* Options of the tests: exact, on the device of the tests, with the temporary folder as cache so
 * that the device is examined once. */
static inline ivl_session_options golden_options(void)
{
    ivl_session_options options;

    ivl_session_options_init(&options);
    options.devices = golden_selectors(&options.n_devices);
    options.precision = IVL_PRECISION_EXACT;
    options.cache_dir = in_folder("cache");
    return options;
}

/* Makes the temporary folder; exits with 77 where there is no device. */
static inline int golden_setup(void **state)
{
    const char *const *selectors;
    size_t n_selectors;
    int picked[64];
    size_t n = 0;
    ivl_error error = {0};
    ivl_status status;

    selectors = golden_selectors(&n_selectors);
    status = ivl_devices_select(selectors, n_selectors, picked, 64, &n, &error);
    if (status == IVL_NO_DEVICE) {
        printf("SKIPPED: %s\n", error.message);
        exit(77);
    }
    return status == IVL_OK ? folder_make(state) : -1;
}

static inline ivl_model *golden_open_model(const char *path)
{
    ivl_model *model = NULL;
    ivl_error error = {0};

    assert_ok(ivl_model_open(path, NULL, &model, &error), error);
    return model;
}

static inline ivl_session *golden_open(const ivl_model *model, const ivl_session_options *options)
{
    ivl_session *session = NULL;
    ivl_error error = {0};

    assert_ok(ivl_session_open(model, options, &session, &error), error);
    return session;
}

/* A run over pictures alone. */
static inline ivl_status golden_run(ivl_session *session, const ivl_images *images,
                                    ivl_output *outputs, size_t n, ivl_error *error)
{
    const ivl_inputs inputs = {.size = sizeof inputs, .images = images};

    return ivl_run(session, &inputs, outputs, n, error);
}

/* Every tap of a model: hidden_0 .. hidden_<layers>, pooled; buffers full of NaN. */
typedef struct golden_outputs {
    ivl_output taps[64];
    char names[64][16];
    int n;
} golden_outputs;

static inline void golden_outputs_make(golden_outputs *o, int layers, int images, int tokens,
                                       int width)
{
    o->n = layers + 2;
    assert_true(o->n <= 64);
    for (int i = 0; i < o->n; i++) {
        size_t count = (size_t)images * (size_t)width * (size_t)(i <= layers ? tokens : 1);

        snprintf(o->names[i], sizeof o->names[i], i <= layers ? "hidden_%d" : "pooled", i);
        o->taps[i] = (ivl_output){.tap = o->names[i], .capacity = count};
        o->taps[i].data = ivl__malloc(count * sizeof(float));
        assert_non_null(o->taps[i].data);
        memset(o->taps[i].data, 0xff, count * sizeof(float));
    }
}

static inline void golden_outputs_free(golden_outputs *o)
{
    for (int i = 0; i < o->n; i++) {
        ivl__free(o->taps[i].data);
    }
}

/* Fails unless every tap has the same bits. */
static inline void golden_outputs_equal(const golden_outputs *a, const golden_outputs *b,
                                        const char *what)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->taps[i].capacity, b->taps[i].capacity);
        if (memcmp(a->taps[i].data, b->taps[i].data, a->taps[i].capacity * sizeof(float)) != 0) {
            fail_msg("%s: %s differs", what, a->names[i]);
        }
    }
}

#endif
