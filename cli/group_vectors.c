/* group_vectors.c - one vector per group of texts, computed once; see group_vectors.h. */
#include "cli/group_vectors.h"

#include "cli/progress.h"
#include "loader/npy.h"
#include "model/metrics.h"
#include "runtime/file.h"
#include "runtime/hash.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Changes whenever equal inputs would give other vectors. */
#define FORMAT "internvl group vectors 1"

/* A file beyond this is not one of ours. */
#define MOST_CACHE_BYTES ((size_t)4 << 30)

/* Work is kept when a part ends. Parts grow until one takes about this long, which bounds what an
 * interruption costs; and beyond, as long as a larger one is that much faster per text, which is
 * where a pass over the weights takes longer than the texts do. */
#define PART_SECONDS 20.0
#define WORTH_FACTOR 1.5
enum { FIRST_TEXTS = 64 };

typedef struct work {
    const cli_group_request *request;
    cli_encoder *encoder; /* NULL until something has to be computed */
    size_t groups, per_group, dim;
    char *path;         /* in the cache; NULL */
    float *vectors;     /* [groups, dim] */
    size_t done, found; /* groups finished; of them, by earlier runs */
    float *part;        /* [part_texts, dim] */
    size_t part_texts;
} work;

/* ---- cache ------------------------------------------------------------------------------- */

static void hash_number(ivl__sha256 *hash, uint64_t number)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(number >> (8 * i));
    }
    ivl__sha256_add(hash, bytes, sizeof bytes);
}

static void hash_text(ivl__sha256 *hash, const char *text)
{
    ivl__sha256_add(hash, text, strlen(text) + 1);
}

/* Ids stand for the texts and the tokenizer together. What a device computes depends on its driver
 * and on the precision that is asked for. */
static ivl_status make_key(const work *w, char key[65], ivl_error *error)
{
    const cli_group_request *r = w->request;
    ivl__sha256 hash;
    ivl_model_info info;
    ivl_device device;

    IVL__TRY(cli_first_device(r->globals, &device, error));
    ivl_model_get_info(r->model, &info);
    ivl__sha256_init(&hash);
    hash_text(&hash, FORMAT);
    hash_text(&hash, ivl_version());
    hash_text(&hash, info.model_id);
    hash_text(&hash, device.name);
    hash_text(&hash, device.driver);
    hash_number(&hash, (uint64_t)r->globals->precision);
    hash_number(&hash, w->groups);
    hash_number(&hash, w->per_group);
    for (size_t i = 0; i < r->texts->n; i++) {
        size_t n;
        const int32_t *ids = cli_token_list_get(r->texts, i, &n);

        hash_number(&hash, n);
        for (size_t k = 0; k < n; k++) {
            hash_number(&hash, (uint64_t)ids[k]);
        }
    }
    ivl__sha256_hex(&hash, key);
    return IVL_OK;
}

static ivl_status name_cache(work *w, ivl_error *error)
{
    char key[65];
    char name[80];
    char *folder;

    if (!w->request->globals->cache_dir) {
        return IVL_OK;
    }
    IVL__TRY(make_key(w, key, error));
    snprintf(name, sizeof name, "%s.npy", key);
    folder = ivl__path_join(w->request->globals->cache_dir, "texts");
    w->path = folder ? ivl__path_join(folder, name) : NULL;
    if (w->path && ivl__folder_create(folder, NULL) != IVL_OK) {
        cli_say(IVL_LOG_WARNING, "vectors of texts are not kept: '%s' cannot be made", folder);
        ivl__free(w->path);
        w->path = NULL;
        ivl__free(folder);
        return IVL_OK;
    }
    ivl__free(folder);
    return w->path ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
}

/* Rows as this program writes them have length 1. */
static bool rows_are_whole(const float *rows, size_t n, size_t dim)
{
    for (size_t i = 0; i < n; i++) {
        /* dim roundings of 2^-24 each: 1e-4 is far away for any width that fits in memory. */
        if (!(fabs(ivl__dot(rows + i * dim, rows + i * dim, dim) - 1.0) < 1e-4)) {
            return false;
        }
    }
    return true;
}

/* Whatever is wrong with the file: its vectors are computed again. */
static void load_cache(work *w)
{
    ivl__npy npy;
    void *data = NULL;
    ivl_error detail = {0};
    bool whole;

    if (!w->path || !ivl__file_exists(w->path)) {
        return;
    }
    whole = ivl__npy_read(w->path, MOST_CACHE_BYTES, &npy, &data, &detail) == IVL_OK &&
            npy.type == IVL__NPY_F4 && npy.rank == 2 && npy.shape[0] <= w->groups &&
            npy.shape[1] == w->dim && rows_are_whole(data, (size_t)npy.shape[0], w->dim);
    if (whole) {
        w->done = w->found = (size_t)npy.shape[0];
        memcpy(w->vectors, data, w->done * w->dim * sizeof(float));
    } else {
        cli_say(IVL_LOG_WARNING, "'%s' is damaged; its vectors are computed again", w->path);
    }
    ivl__free(data);
}

static void store_cache(work *w)
{
    const uint64_t shape[2] = {w->done, w->dim};
    ivl_error detail = {0};

    if (w->path && w->done > w->found &&
        ivl__npy_write(w->path, IVL__NPY_F4, shape, 2, w->vectors, &detail) != IVL_OK) {
        cli_say(IVL_LOG_WARNING, "vectors of texts are not kept: %s", detail.message);
        ivl__free(w->path);
        w->path = NULL;
    }
}

/* ---- work -------------------------------------------------------------------------------- */

/* Texts to the vector of their group. The mean is summed in double, in the order of the texts. */
static void average(const work *w, float *texts, float *vector)
{
    for (size_t t = 0; t < w->per_group; t++) {
        ivl__normalize(texts + t * w->dim, w->dim);
    }
    for (size_t k = 0; k < w->dim; k++) {
        double sum = 0.0;

        for (size_t t = 0; t < w->per_group; t++) {
            sum += (double)texts[t * w->dim + k];
        }
        vector[k] = (float)(sum / (double)w->per_group);
    }
    ivl__normalize(vector, w->dim);
}

static ivl_status reserve_part(work *w, size_t texts, ivl_error *error)
{
    float *part;

    if (texts <= w->part_texts) {
        return IVL_OK;
    }
    part = ivl__calloc(texts * w->dim, sizeof *part);
    if (!part) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu vectors of texts", texts);
    }
    ivl__free(w->part);
    w->part = part;
    w->part_texts = texts;
    return IVL_OK;
}

static ivl_status compute_part(work *w, size_t n, ivl_error *error)
{
    IVL__TRY(reserve_part(w, n * w->per_group, error));
    IVL__TRY(cli_text_vectors(w->encoder, w->request->texts, w->done * w->per_group,
                              n * w->per_group, w->part, error));
    for (size_t i = 0; i < n; i++) {
        average(w, w->part + i * w->per_group * w->dim, w->vectors + (w->done + i) * w->dim);
    }
    w->done += n;
    return IVL_OK;
}

static void show(void *user, const char *stage)
{
    const work *w = user;

    cli_progress_update(w->done * w->per_group, w->found * w->per_group, w->groups * w->per_group,
                        stage);
}

static size_t least_one(size_t n)
{
    return n ? n : 1;
}

/* How many groups the next part has, after one of n groups. *rate is that of the parts before it,
 * in groups a second. */
static size_t next_part(size_t n, double seconds, double *rate)
{
    double now = (double)n / (seconds > 0.0 ? seconds : 1e-9);
    bool worth = now > WORTH_FACTOR * *rate;

    *rate = now;
    return seconds < PART_SECONDS || worth ? 2 * n : n;
}

static ivl_status compute(work *w, ivl_error *error)
{
    size_t most = least_one(CLI_TEXTS_PER_RUN / w->per_group);
    size_t n = least_one(FIRST_TEXTS / w->per_group);
    double rate = 0.0;
    ivl_status status = IVL_OK;

    while (status == IVL_OK && w->done < w->groups) {
        double start = ivl__now();

        if (cli_stop_requests()) {
            return ivl__fail(error, IVL_CANCELLED, "stopped after %zu of %zu %s%s", w->done,
                             w->groups, w->request->what, w->path ? ", which are kept" : "");
        }
        n = n < w->groups - w->done ? n : w->groups - w->done;
        status = compute_part(w, n, error);
        if (status == IVL_OK) {
            store_cache(w);
            show(w, NULL);
        }
        n = next_part(n, ivl__now() - start, &rate);
        n = n < most ? n : most;
    }
    return status;
}

static ivl_status open_encoder(work *w, ivl_error *error)
{
    const cli_encoder_options options = {
        .globals = w->request->globals, .model = w->request->model, .modes = "text"};

    return cli_encoder_open(&options, &w->encoder, error);
}

static ivl_status make(work *w, ivl_error *error)
{
    const char *what = w->request->what;
    ivl_status status;

    w->vectors = ivl__calloc(w->groups * w->dim, sizeof *w->vectors);
    if (!w->vectors) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the vectors of %zu %s",
                         w->groups, what);
    }
    IVL__TRY(name_cache(w, error));
    load_cache(w);
    if (w->done) {
        cli_say(IVL_LOG_INFO, "%zu of %zu %s were encoded before", w->done, w->groups, what);
    }
    if (w->done == w->groups) {
        return IVL_OK;
    }
    IVL__TRY(open_encoder(w, error));
    cli_progress_begin(what, "texts");
    cli_encoder_watch(w->encoder, show, w);
    status = compute(w, error);
    cli_progress_end();
    return status;
}

ivl_status cli_group_vectors(const cli_group_request *request, float **vectors, ivl_error *error)
{
    work w = {.request = request,
              .groups = request->texts->n / request->per_group,
              .per_group = request->per_group};
    ivl_model_info info;
    ivl_status status;

    ivl_model_get_info(request->model, &info);
    w.dim = (size_t)info.embed_dim;
    status = make(&w, error);

    if (status == IVL_OK) {
        *vectors = w.vectors;
        w.vectors = NULL;
    }
    cli_encoder_free(w.encoder);
    ivl__free(w.vectors);
    ivl__free(w.part);
    ivl__free(w.path);
    return status;
}
