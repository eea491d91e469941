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

/* Recorded rows without their padding. */
static ivl_status unpad(cli_golden *g, const int32_t *rows, uint64_t n, uint64_t width,
                        ivl_error *error)
{
    int32_t used = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t t = 0;

        while (t < width && rows[i * width + t]) {
            g->ids[used++] = rows[i * width + t++];
        }
        if (t == 0) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "golden data: row %llu of '%s/text_ids.npy' begins with padding",
                             (unsigned long long)i, g->folder);
        }
        g->offsets[i + 1] = used;
    }
    g->n_texts = (int)n;
    return IVL_OK;
}

static ivl_status keep_texts(cli_golden *g, const ivl__npy *npy, const int32_t *rows,
                             ivl_error *error)
{
    const uint64_t *shape = npy->shape;

    if (npy->type != IVL__NPY_I4 || npy->rank != 2 || shape[0] < 1 || shape[0] > 65536 ||
        shape[1] < 1 || shape[1] > 2048) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "golden data: '%s/text_ids.npy' must be int32 [texts, tokens], at most "
                         "65536 of 2048",
                         g->folder);
    }
    g->ids = ivl__calloc((size_t)npy->count, sizeof *g->ids);
    g->offsets = ivl__calloc((size_t)shape[0] + 1, sizeof *g->offsets);
    if (!g->ids || !g->offsets) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the golden texts");
    }
    return unpad(g, rows, shape[0], shape[1], error);
}

/* Texts are there only if they are recorded. */
static ivl_status read_texts(cli_golden *g, ivl_error *error)
{
    char *path;
    void *data = NULL;
    ivl__npy npy;
    ivl_error detail = {0};
    ivl_status status;

    if (!is_recorded(g->folder, "text_ids")) {
        return IVL_OK;
    }
    path = path_of(g->folder, "text_ids", ".npy");
    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for 'text_ids'");
    }
    status = ivl__npy_read(path, MAX_ARRAY_BYTES, &npy, &data, &detail);
    status = status == IVL_OK ? keep_texts(g, &npy, data, error) : wrong_file(path, &detail, error);
    ivl__free(data);
    ivl__free(path);
    return status;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* What recorded arrays are made of. */
typedef struct expected {
    const char *tap, *name;
    uint64_t rows, tokens, width; /* tokens 0: [rows, width] */
    bool fewer;                   /* rows of the first pictures will do */
    size_t room, first;           /* as in cli_golden_array; room 0: rows * tokens * width */
    bool unit;
} expected;

static ivl_status check_shape(const cli_golden *g, const expected *e, const ivl__npy *npy,
                              ivl_error *error)
{
    const int rank = e->tokens ? 3 : 2;
    const uint64_t *shape = npy->shape;
    bool rows = npy->rank == rank && (shape[0] == e->rows || (e->fewer && shape[0] < e->rows));

    if (rows && (!e->tokens || shape[1] == e->tokens) && shape[rank - 1] == e->width) {
        return IVL_OK;
    }
    return ivl__fail(error, IVL_VERIFY_FAILED,
                     "golden data: '%s/%s.npy' is not [%llu, %s%llu]: it was recorded with another "
                     "model or other pictures",
                     g->folder, e->name, (unsigned long long)e->rows, e->tokens ? "tokens, " : "",
                     (unsigned long long)e->width);
}

static ivl_status add_array(cli_golden *g, const expected *e, ivl_error *error)
{
    cli_golden_array *a;

    if (!is_recorded(g->folder, e->name)) {
        return IVL_OK;
    }
    if (!ivl__grow((void **)&g->arrays, &g->capacity, (size_t)g->n_arrays + 1, sizeof *g->arrays)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the golden data");
    }
    a = &g->arrays[g->n_arrays];
    *a = (cli_golden_array){.first = e->first, .unit = e->unit ? (int)e->width : 0};
    a->room = e->room ? e->room : (size_t)(e->rows * (e->tokens ? e->tokens : 1) * e->width);
    snprintf(a->name, sizeof a->name, "%s", e->name);
    snprintf(a->tap, sizeof a->tap, "%s", e->tap);
    IVL__TRY(read_array(g->folder, e->name, &a->npy, NULL, error));
    g->n_arrays++;
    return check_shape(g, e, &a->npy, error);
}

static ivl_status find_tower_arrays(cli_golden *g, const ivl_model_info *info, ivl_error *error)
{
    const uint64_t n = (uint64_t)g->n, width = (uint64_t)info->hidden_size;
    const uint64_t tokens = 1 + (uint64_t)(g->height / info->patch_size) *
                                    (uint64_t)(g->width / info->patch_size);
    char name[32], tap[32];
    expected e = {tap, name, n, tokens, width, false, 0, 0, false};

    snprintf(tap, sizeof tap, "hidden_0");
    snprintf(name, sizeof name, "embeddings");
    IVL__TRY(add_array(g, &e, error));
    for (int i = 0; i < info->layers; i++) {
        snprintf(name, sizeof name, "block_%d", i);
        snprintf(tap, sizeof tap, "hidden_%d", i + 1);
        IVL__TRY(add_array(g, &e, error));
    }
    snprintf(name, sizeof name, "vision_last_hidden_state");
    IVL__TRY(add_array(g, &e, error));
    IVL__TRY(add_array(g, &(expected){"pooled", "pooler_output", n, 0, width, false, 0, 0, false},
                       error));
    snprintf(name, sizeof name, "block_%d", info->layers);
    if (is_recorded(g->folder, name)) {
        return ivl__fail(error, IVL_VERIFY_FAILED,
                         "golden data: '%s' has %s.npy, the model has %d blocks; it was recorded "
                         "with another model",
                         g->folder, name, info->layers);
    }
    return IVL_OK;
}

static ivl_status find_image_arrays(cli_golden *g, const ivl_model_info *info, ivl_error *error)
{
    const uint64_t n = (uint64_t)g->n, e = (uint64_t)info->embed_dim;
    const uint64_t q = (uint64_t)info->query_tokens, h = (uint64_t)info->text_hidden_size;
    const expected of_c[] = {
        {"image_c", "image_embeds_c", n, 0, e, false, 0, 0, false},
        {"image_c", "image_embeds_c_normalized", n, 0, e, false, 0, 0, true},
    };
    const expected of_g[] = {
        {"query", "query_output", n, q, h, false, 0, 0, false},
        {"image_g", "image_embeds_g", n, 0, e, false, 0, 0, false},
        {"image_g", "image_embeds_g_normalized", n, 0, e, false, 0, 0, true},
    };

    for (size_t i = 0; i < sizeof of_c / sizeof of_c[0]; i++) {
        IVL__TRY(add_array(g, &of_c[i], error));
    }
    for (int i = 0; q && i < info->text_layers; i++) {
        char name[32], tap[32];

        snprintf(name, sizeof name, "query_layer_%d", i);
        snprintf(tap, sizeof tap, "query_%d", i);
        IVL__TRY(add_array(g, &(expected){tap, name, n, q, h, true, (size_t)(n * q * h), 0, false},
                           error));
    }
    for (size_t i = 0; q && i < sizeof of_g / sizeof of_g[0]; i++) {
        IVL__TRY(add_array(g, &of_g[i], error));
    }
    return IVL_OK;
}

/* Rows of one text, as "text<j>_layer_<i>" and "text<j>_final_norm". */
static ivl_status find_text_rows(cli_golden *g, const ivl_model_info *info, int text,
                                 ivl_error *error)
{
    const uint64_t h = (uint64_t)info->text_hidden_size;
    const uint64_t all = (uint64_t)g->offsets[g->n_texts];
    char name[48], tap[32];
    expected e = {tap, name, (uint64_t)(g->offsets[text + 1] - g->offsets[text]), 0, h, false, 0,
                  0,   false};

    e.room = (size_t)(all * h);
    e.first = (size_t)g->offsets[text] * (size_t)h;
    for (int i = 0; i < info->text_layers; i++) {
        snprintf(name, sizeof name, "text%d_layer_%d", text, i);
        snprintf(tap, sizeof tap, "text_%d", i);
        IVL__TRY(add_array(g, &e, error));
    }
    snprintf(name, sizeof name, "text%d_final_norm", text);
    snprintf(tap, sizeof tap, "text_rows");
    return add_array(g, &e, error);
}

static ivl_status find_text_arrays(cli_golden *g, const ivl_model_info *info, ivl_error *error)
{
    const uint64_t n = (uint64_t)g->n_texts, e = (uint64_t)info->embed_dim;
    const expected whole[] = {
        {"text_last", "text_last_token", n, 0, (uint64_t)info->text_hidden_size, false, 0, 0,
         false},
        {"text", "text_embeds", n, 0, e, false, 0, 0, false},
        {"text", "text_embeds_normalized", n, 0, e, false, 0, 0, true},
    };

    for (int i = 0; i < g->n_texts; i++) {
        IVL__TRY(find_text_rows(g, info, i, error));
    }
    for (size_t i = 0; g->n_texts && i < sizeof whole / sizeof whole[0]; i++) {
        IVL__TRY(add_array(g, &whole[i], error));
    }
    return IVL_OK;
}

static ivl_status find_arrays(cli_golden *g, const ivl_model_info *info, ivl_error *error)
{
    IVL__TRY(find_tower_arrays(g, info, error));
    if (info->embed_dim) {
        IVL__TRY(find_image_arrays(g, info, error));
        IVL__TRY(find_text_arrays(g, info, error));
    }
    if (!g->n_arrays) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "golden data: '%s' has none of embeddings.npy, block_0.npy .. "
                         "block_%d.npy, pooler_output.npy%s",
                         g->folder, info->layers - 1,
                         info->embed_dim ? ", image_embeds_c.npy, text_embeds.npy" : "");
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

static ivl_status check_patches(const cli_golden *g, const ivl_model_info *info, ivl_error *error)
{
    if (g->width % info->patch_size || g->height % info->patch_size) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "golden data: '%s/pixel_values.npy' has pictures of %d x %d pixels, no "
                         "multiples of the patch size %d",
                         g->folder, g->width, g->height, info->patch_size);
    }
    return IVL_OK;
}

ivl_status cli_golden_open(const char *folder, const ivl_model_info *info, bool bounded,
                           cli_golden *golden, ivl_error *error)
{
    ivl_status status;

    *golden = (cli_golden){.folder = folder};
    status = read_pixels(golden, error);
    if (status == IVL_OK) {
        status = check_patches(golden, info, error);
    }
    if (status == IVL_OK && info->embed_dim) {
        status = read_texts(golden, error);
    }
    if (status == IVL_OK) {
        status = find_arrays(golden, info, error);
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
    ivl__free(golden->ids);
    ivl__free(golden->offsets);
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

static void bring_to_unit_length(float *rows, size_t n, size_t width)
{
    for (size_t i = 0; i + width <= n; i += width) {
        double sum = 0.0;

        for (size_t c = 0; c < width; c++) {
            sum += (double)rows[i + c] * (double)rows[i + c];
        }
        for (size_t c = 0; c < width; c++) {
            rows[i + c] = (float)((double)rows[i + c] / sqrt(sum));
        }
    }
}

ivl_status cli_golden_compare(const cli_golden *golden, const cli_golden_array *array, float *got,
                              cli_golden_difference *difference, ivl_error *error)
{
    float *want = NULL;
    ivl__npy npy;

    IVL__TRY(read_array(golden->folder, array->name, &npy, &want, error));
    if (npy.count != array->npy.count) {
        ivl__free(want);
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "golden data: '%s/%s.npy' has just changed",
                         golden->folder, array->name);
    }
    if (array->unit) {
        bring_to_unit_length(got, array->room, (size_t)array->unit);
    }
    *difference = difference_of(got + array->first, want, (size_t)npy.count);
    ivl__free(want);
    return IVL_OK;
}
