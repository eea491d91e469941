/* golden.c - recorded inputs and outputs; see golden.h. */
#include "cli/golden.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A recorded array of the largest model: 1025 tokens of 3200 values, a few hundred pictures. */
#define MAX_ARRAY_BYTES  ((size_t)8 << 30)
#define MAX_ERRORS_BYTES ((size_t)4 << 20)

/* ---- files ----------------------------------------------------------------------------------- */

static char *path_of(const char *folder, const char *name, const char *suffix)
{
    char file[64];

    snprintf(file, sizeof file, "%s%s", name, suffix);
    return ivl__path_join(folder, file);
}

/* Whatever is wrong with a golden file is a mistake in the arguments, not in the model. */
static ivl_status wrong_file(const char *path, const ivl_error *detail, ivl_error *error)
{
    ivl_status status = detail->status == IVL_OUT_OF_MEMORY ? IVL_OUT_OF_MEMORY
                                                            : IVL_INVALID_ARGUMENT;

    if (strstr(detail->message, path)) {
        return ivl__fail(error, status, "golden data: %s", detail->message);
    }
    return ivl__fail(error, status, "golden data: '%s': %s", path, detail->message);
}

static ivl_status read_header_of(const char *path, ivl__npy *npy, ivl_error *error)
{
    enum { HEADER = 65536 };
    unsigned char *header = ivl__malloc(HEADER);
    uint64_t bytes = 0;
    size_t got = 0;
    int fd = -1;
    ivl_status status = header ? ivl__file_open(path, &fd, error)
                               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a header");

    if (status == IVL_OK) {
        status = ivl__file_bytes(fd, path, &bytes, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_pread(fd, path, 0, header, HEADER, &got, error);
    }
    if (status == IVL_OK) {
        status = ivl__npy_parse(header, got, bytes, npy, error);
    }
    if (fd >= 0) {
        ivl__file_close(fd);
    }
    ivl__free(header);
    return status;
}

/* values NULL: the header alone. */
static ivl_status read_array(const char *folder, const char *name, ivl__npy *npy, float **values,
                             ivl_error *error)
{
    char *path = path_of(folder, name, ".npy");
    void *data = NULL;
    ivl_error detail = {0};
    ivl_status status;

    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", name);
    }
    status = values ? ivl__npy_read(path, MAX_ARRAY_BYTES, npy, &data, &detail)
                    : read_header_of(path, npy, &detail);
    if (status == IVL_OK && npy->type != IVL__NPY_F4) {
        status = ivl__fail(&detail, IVL_BAD_INPUT, "holds %s, must be float32",
                           ivl__npy_type_name(npy->type));
    }
    if (status != IVL_OK) {
        ivl__free(data);
        status = wrong_file(path, &detail, error);
    } else if (values) {
        *values = data;
    }
    ivl__free(path);
    return status;
}

static bool is_recorded(const char *folder, const char *name)
{
    char *path = path_of(folder, name, ".npy");
    bool found = path && ivl__file_exists(path);

    ivl__free(path);
    return found;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static ivl_status read_errors(const char *folder, bool needed, json_t **errors, ivl_error *error)
{
    char *path = ivl__path_join(folder, "fp64_errors.json");
    unsigned char *text = NULL;
    size_t bytes = 0;
    json_error_t where;
    ivl_error detail = {0};
    ivl_status status;

    *errors = NULL;
    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for fp64_errors.json");
    }
    if (!needed && !ivl__file_exists(path)) {
        ivl__free(path);
        return IVL_OK;
    }
    status = ivl__file_read(path, MAX_ERRORS_BYTES, &text, &bytes, &detail);
    if (status == IVL_OK) {
        *errors = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, &where);
        if (!json_is_object(*errors)) {
            status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                               "golden data: '%s' is not a JSON object%s%s", path,
                               *errors ? "" : ": ", *errors ? "" : where.text);
            json_decref(*errors);
            *errors = NULL;
        }
    } else {
        status = ivl__fail(error, status == IVL_OUT_OF_MEMORY ? status : IVL_INVALID_ARGUMENT,
                           "golden data: %s (it bounds the errors of precision exact)",
                           detail.message);
    }
    ivl__free(text);
    ivl__free(path);
    return status;
}

static bool read_number(const json_t *entry, const char *key, double *value)
{
    const json_t *number = json_object_get(entry, key);

    *value = json_number_value(number);
    return json_is_number(number) && isfinite(*value) && *value >= 0.0;
}

/* The recorded run is in fp32 itself and off by max_abs_err from float64; a run with another order
 * of summation is off by as much, elsewhere. Eight of them leave room for the largest of many;
 * where the recorded run happened to be nearly exact, 4e-6 of the RMS does: 64 roundings of 2^-24.
 */
static ivl_status find_bound(const char *folder, const json_t *errors, bool needed,
                             cli_golden_array *array, ivl_error *error)
{
    const json_t *entry = json_object_get(errors, array->name);
    double worst;
    double rms;

    array->bound = -1.0;
    if (read_number(entry, "max_abs_err", &worst) && read_number(entry, "rms", &rms)) {
        array->bound = fmax(8.0 * worst, 4e-6 * rms);
        return IVL_OK;
    }
    if (!needed) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "golden data: '%s/fp64_errors.json' has no max_abs_err and rms for \"%s\"",
                     folder, array->name);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static ivl_status read_pixels(cli_golden *g, ivl_error *error)
{
    const uint64_t *shape = g->pixels_npy.shape;

    IVL__TRY(read_array(g->folder, "pixel_values", &g->pixels_npy, &g->pixels, error));
    if (g->pixels_npy.rank != 4 || shape[0] < 1 || shape[1] != 3 || shape[0] > 65536 ||
        shape[2] < 1 || shape[3] < 1 || shape[2] > 16384 || shape[3] > 16384) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "golden data: '%s/pixel_values.npy' must be [N, 3, height, width]",
                         g->folder);
    }
    g->n = (int)shape[0];
    g->height = (int)shape[2];
    g->width = (int)shape[3];
    return IVL_OK;
}

static ivl_status add_array(cli_golden *g, const char *tap, const char *name, ivl_error *error)
{
    cli_golden_array *a = &g->arrays[g->n_arrays];

    if (!is_recorded(g->folder, name)) {
        return IVL_OK;
    }
    snprintf(a->name, sizeof a->name, "%s", name);
    snprintf(a->tap, sizeof a->tap, "%s", tap);
    g->n_arrays++;
    return read_array(g->folder, name, &a->npy, NULL, error);
}

static ivl_status find_arrays(cli_golden *g, int layers, ivl_error *error)
{
    char name[32];
    char tap[32];

    g->arrays = ivl__calloc((size_t)layers + 2, sizeof *g->arrays);
    if (!g->arrays) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the golden data");
    }
    IVL__TRY(add_array(g, "hidden_0", "embeddings", error));
    for (int i = 0; i < layers; i++) {
        snprintf(name, sizeof name, "block_%d", i);
        snprintf(tap, sizeof tap, "hidden_%d", i + 1);
        IVL__TRY(add_array(g, tap, name, error));
    }
    IVL__TRY(add_array(g, "pooled", "pooler_output", error));
    snprintf(name, sizeof name, "block_%d", layers);
    if (is_recorded(g->folder, name)) {
        return ivl__fail(error, IVL_VERIFY_FAILED,
                         "golden data: '%s' has %s.npy, the model has %d blocks; it was recorded "
                         "with another model",
                         g->folder, name, layers);
    }
    if (!g->n_arrays) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "golden data: '%s' has none of embeddings.npy, block_0.npy .. "
                         "block_%d.npy, pooler_output.npy",
                         g->folder, layers - 1);
    }
    return IVL_OK;
}

static ivl_status find_bounds(cli_golden *g, bool needed, ivl_error *error)
{
    json_t *errors;
    ivl_status status = read_errors(g->folder, needed, &errors, error);

    for (int i = 0; status == IVL_OK && i < g->n_arrays; i++) {
        status = find_bound(g->folder, errors, needed, &g->arrays[i], error);
    }
    json_decref(errors);
    return status;
}

ivl_status cli_golden_open(const char *folder, int layers, bool bounded, cli_golden *golden,
                           ivl_error *error)
{
    ivl_status status;

    *golden = (cli_golden){.folder = folder};
    status = read_pixels(golden, error);
    if (status == IVL_OK) {
        status = find_arrays(golden, layers, error);
    }
    if (status == IVL_OK) {
        status = find_bounds(golden, bounded, error);
    }
    if (status != IVL_OK) {
        cli_golden_free(golden);
    }
    return status;
}

void cli_golden_free(cli_golden *golden)
{
    ivl__free(golden->pixels);
    ivl__free(golden->arrays);
    *golden = (cli_golden){0};
}

/* ---- comparison ------------------------------------------------------------------------------ */

static cli_golden_difference difference_of(const float *got, const float *want, size_t n)
{
    cli_golden_difference d = {0};
    double difference = 0.0;
    double got_norm = 0.0;
    double want_norm = 0.0;
    double product = 0.0;

    for (size_t i = 0; i < n; i++) {
        double g = (double)got[i];
        double w = (double)want[i];

        d.largest = fmax(d.largest, fabs(g - w));
        difference += (g - w) * (g - w);
        got_norm += g * g;
        want_norm += w * w;
        product += g * w;
    }
    if (!isfinite(difference)) {
        return (cli_golden_difference){.largest = INFINITY, .relative = INFINITY, .cosine = 0.0};
    }
    d.relative = want_norm > 0.0 ? sqrt(difference / want_norm) : difference > 0.0 ? INFINITY : 0.0;
    d.cosine = got_norm > 0.0 && want_norm > 0.0 ? product / sqrt(got_norm * want_norm)
                                                 : (double)(difference == 0.0);
    return d;
}

ivl_status cli_golden_compare(const cli_golden *golden, const cli_golden_array *array,
                              const float *got, cli_golden_difference *difference, ivl_error *error)
{
    float *want = NULL;
    ivl__npy npy;

    IVL__TRY(read_array(golden->folder, array->name, &npy, &want, error));
    if (npy.count != array->npy.count) {
        ivl__free(want);
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "golden data: '%s/%s.npy' has just changed",
                         golden->folder, array->name);
    }
    *difference = difference_of(got, want, (size_t)npy.count);
    ivl__free(want);
    return IVL_OK;
}
