/* synth.c - stand-in checkpoints: random weights in the published layouts; see internvl.h.
 *
 * Everything is decided before anything is written: configuration, tensors, files with their
 * sizes, the place. Then the files are filled, and the whole is renamed at the end.
 */
#include "loader/model_config_writer.h"
#include "loader/shard_index.h"
#include "loader/spm_writer.h"
#include "model/synth_fill.h"
#include "model/synth_target.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

#define SHARD_BYTES_SAFETENSORS 5000000000u
#define SHARD_BYTES_BIN         10000000000u
#define MAX_SHARDS              99999u

typedef enum layout { SAFETENSORS, SHARDED, BIN, PTH, N_LAYOUTS } layout;
static const char *const layout_names[N_LAYOUTS] = {"safetensors", "sharded", "bin", "pth"};

static const struct dtype_name {
    const char *name, *torch;
    ivl_dtype dtype;
} dtypes[] = {
    {"bf16", "bfloat16", IVL_BF16},
    {"fp16", "float16", IVL_F16},
    {"fp32", "float32", IVL_F32},
};

/* Releases in the timm-like names, with the file they were published as. */
static const struct pth_release {
    const char *arch, *file;
    bool only; /* there is no other form of it */
} pth_releases[] = {
    {"internvit-6b-224", "intern_vit_6b_224px.pth", false},
    {"internvl-c-13b-224", "internvl_c_13b_224px.pth", true},
};

typedef struct synth {
    const ivl_synth_options *options;
    const struct dtype_name *dtype;
    const char *naming;
    layout layout;
    bool single; /* path names the file of weights itself */
    ivl__config_files config;
    ivl__synth_tensors tensors;
    ivl__stored_tensor *stored; /* [tensors.count] */
    ivl__synth_file *files;     /* [n_files] */
    size_t n_files, capacity;
    ivl__synth_target target;
} synth;

void ivl_synth_options_init(ivl_synth_options *options)
{
    *options = (ivl_synth_options){.size = sizeof *options};
}

/* ---- what is asked for ------------------------------------------------------------------- */

static const struct pth_release *release_of(const char *arch)
{
    for (size_t i = 0; i < sizeof pth_releases / sizeof pth_releases[0]; i++) {
        if (strcmp(pth_releases[i].arch, arch) == 0) {
            return &pth_releases[i];
        }
    }
    return NULL;
}

static ivl_status choose_dtype(synth *s, ivl_error *error)
{
    const char *name = s->options->dtype ? s->options->dtype : "bf16";

    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            s->dtype = &dtypes[i];
            return IVL_OK;
        }
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "unknown dtype \"%.40s\"; known are bf16, fp16 and fp32", name);
}

/* The layout that the ending of the path stands for, N_LAYOUTS for a folder. */
static layout layout_of_ending(const char *path)
{
    static const struct {
        const char *ending;
        layout layout;
    } endings[] = {{".safetensors", SAFETENSORS}, {".bin", BIN}, {".pth", PTH}};
    size_t n = strlen(path);

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t e = strlen(endings[i].ending);

        if (n > e && strcmp(path + n - e, endings[i].ending) == 0) {
            return ivl__file_kind_of(path) == IVL__FILE_FOLDER ? N_LAYOUTS : endings[i].layout;
        }
    }
    return N_LAYOUTS;
}

static ivl_status choose_layout(synth *s, const char *path, ivl_error *error)
{
    const struct pth_release *release = release_of(s->options->arch);
    const char *name = s->options->layout;
    layout ending = layout_of_ending(path);

    s->single = ending != N_LAYOUTS;
    s->layout = s->single ? ending : release && release->only ? PTH : SAFETENSORS;
    if (!name) {
        return IVL_OK;
    }
    s->layout = SAFETENSORS;
    while (s->layout < N_LAYOUTS && strcmp(layout_names[s->layout], name) != 0) {
        s->layout++;
    }
    if (s->layout == N_LAYOUTS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "unknown layout \"%.40s\"; known are safetensors, sharded, bin and pth",
                         name);
    }
    if (s->single && s->layout != ending) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' ends like a file of layout %s, not %s; give a folder or a file of "
                         "that ending",
                         path, layout_names[ending], name);
    }
    return IVL_OK;
}

static ivl_status choose(synth *s, const char *path, ivl_error *error)
{
    const struct pth_release *release;

    if (!s->options->arch || !path || !*path) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "synth needs an architecture and a place");
    }
    IVL__TRY(choose_dtype(s, error));
    IVL__TRY(choose_layout(s, path, error));
    release = release_of(s->options->arch);
    s->naming = s->options->naming;
    if (!s->naming) {
        s->naming = s->layout == PTH || (release && release->only) ? "pth" : "hub";
    }
    return IVL_OK;
}

/* ---- tensors and files ------------------------------------------------------------------- */

static ivl_status list_tensors(synth *s, ivl_error *error)
{
    ivl__config_request request = {.arch = s->options->arch,
                                   .naming = s->naming,
                                   .torch_dtype = s->dtype->torch,
                                   .settings = s->options->settings,
                                   .n_settings = s->options->n_settings};

    IVL__TRY(ivl__config_files_make(&request, &s->config, error));
    IVL__TRY(ivl__synth_tensors_list(&s->config.parsed, s->naming, &s->tensors, error));
    s->stored = ivl__calloc(s->tensors.count, sizeof *s->stored);
    if (!s->stored) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the list of tensors");
    }
    for (size_t i = 0; i < s->tensors.count; i++) {
        const ivl__synth_tensor *from = &s->tensors.items[i];

        s->stored[i] = (ivl__stored_tensor){
            .name = from->name, .dtype = s->dtype->dtype, .rank = from->rank};
        memcpy(s->stored[i].shape, from->shape, sizeof from->shape);
    }
    return IVL_OK;
}

/* How many bytes a file may hold. */
static uint64_t file_limit(const synth *s)
{
    uint64_t limit = s->layout == BIN ? SHARD_BYTES_BIN : SHARD_BYTES_SAFETENSORS;
    uint64_t total = 0;

    if (s->single || s->layout == SAFETENSORS || s->layout == PTH) {
        return UINT64_MAX;
    }
    if (s->options->shard_bytes) {
        return s->options->shard_bytes;
    }
    for (size_t i = 0; i < s->tensors.count; i++) {
        total += ivl__stored_tensor_bytes(&s->stored[i]);
    }
    /* Shards were asked for: small models get at least two. */
    return s->layout == SHARDED && total <= limit ? (total + 1) / 2 : limit;
}

static ivl_status split_files(synth *s, ivl_error *error)
{
    uint64_t limit = file_limit(s);
    uint64_t used = 0;

    for (size_t i = 0; i < s->tensors.count; i++) {
        uint64_t bytes = ivl__stored_tensor_bytes(&s->stored[i]);

        if (i == 0 || bytes > limit || used > limit - bytes) {
            if (!ivl__grow((void **)&s->files, &s->capacity, s->n_files + 1, sizeof *s->files)) {
                return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the list of shards");
            }
            s->files[s->n_files++] = (ivl__synth_file){.first = i};
            used = 0;
        }
        s->files[s->n_files - 1].count++;
        used += bytes;
    }
    return s->n_files <= MAX_SHARDS
               ? IVL_OK
               : ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "%zu shards are too many; choose larger ones", s->n_files);
}

static void name_file(const synth *s, size_t i, char name[64])
{
    const struct pth_release *release = release_of(s->options->arch);
    bool many = s->layout == SHARDED || s->n_files > 1;
    const char *stem = s->layout == BIN || s->layout == PTH ? "pytorch_model" : "model";
    const char *ending = s->layout == BIN ? "bin" : s->layout == PTH ? "pth" : "safetensors";

    if (s->layout == PTH && release) {
        snprintf(name, 64, "%s", release->file);
    } else if (many) {
        snprintf(name, 64, "%s-%05u-of-%05u.%s", stem, (unsigned)i + 1, (unsigned)s->n_files,
                 ending);
    } else {
        snprintf(name, 64, "%s.%s", stem, ending);
    }
}

static ivl_status lay_out(synth *s, uint64_t *bytes, ivl_error *error)
{
    ivl__tensor_format format = s->layout == BIN || s->layout == PTH ? IVL__FORMAT_TORCH
                                                                     : IVL__FORMAT_SAFETENSORS;

    IVL__TRY(split_files(s, error));
    /* Room for configuration, index and tokenizer, generously. */
    *bytes = 65536 + 256 * (uint64_t)s->tensors.count +
             32 * (uint64_t)s->config.parsed.qllama.vocab;
    for (size_t i = 0; i < s->n_files; i++) {
        ivl__synth_file *file = &s->files[i];

        name_file(s, i, file->name);
        IVL__TRY(ivl__tensor_writer_new(format, &s->stored[file->first], file->count, &file->writer,
                                        error));
        *bytes += ivl__tensor_writer_bytes(file->writer);
    }
    return IVL_OK;
}

/* ---- writing ----------------------------------------------------------------------------- */

static ivl_status write_weights(synth *s, ivl_error *error)
{
    ivl__synth_filling filling = {.tensors = s->tensors.items,
                                  .files = s->files,
                                  .n_files = s->n_files,
                                  .dtype = s->dtype->dtype,
                                  .seed = s->options->seed,
                                  .threads = s->options->threads,
                                  .progress = s->options->progress,
                                  .progress_user = s->options->progress_user};

    for (size_t i = 0; i < s->n_files; i++) {
        char *path = ivl__synth_target_file(&s->target, s->files[i].name);
        ivl_status status = path ? ivl__tensor_writer_create(s->files[i].writer, path, error)
                                 : ivl__fail(error, IVL_OUT_OF_MEMORY,
                                             "out of memory for a file name");

        ivl__free(path);
        IVL__TRY(status);
        s->target.owned = true;
    }
    IVL__TRY(ivl__synth_fill_files(&filling, error));
    for (size_t i = 0; i < s->n_files; i++) {
        IVL__TRY(ivl__tensor_writer_finish(s->files[i].writer, error));
    }
    return IVL_OK;
}

static ivl_status write_bytes(synth *s, const char *name, const void *data, size_t bytes,
                              ivl_error *error)
{
    char *path = ivl__synth_target_file(&s->target, name);
    ivl_status status = path ? ivl__file_replace(path, data, bytes, error)
                             : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", name);

    ivl__free(path);
    return status;
}

static ivl_status write_text(synth *s, const char *name, const char *text, ivl_error *error)
{
    return write_bytes(s, name, text, strlen(text), error);
}

/* What a text tower needs to be of use; vocabularies too small for all bytes have none. */
static bool has_tokenizer(const synth *s)
{
    return s->config.parsed.qllama.vocab >= IVL__SPM_LEAST_PIECES;
}

static ivl_status write_tokenizer(synth *s, ivl_error *error)
{
    ivl__text text = {0};
    ivl_status status;

    ivl__spm_write_stand_in((size_t)s->config.parsed.qllama.vocab, &text);
    status = text.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer")
                         : write_bytes(s, "tokenizer.model", text.data, text.bytes, error);
    ivl__text_free(&text);
    return status;
}

static ivl_status write_index(synth *s, ivl_error *error)
{
    ivl__sharded_tensor *map = ivl__calloc(s->tensors.count, sizeof *map);
    char *text = NULL;
    ivl_status status;

    for (size_t i = 0; map && i < s->n_files; i++) {
        for (size_t t = 0; t < s->files[i].count; t++) {
            size_t index = s->files[i].first + t;

            map[index] = (ivl__sharded_tensor){s->stored[index].name, s->files[i].name,
                                               ivl__stored_tensor_bytes(&s->stored[index])};
        }
    }
    text = map ? ivl__shard_index_text(map, s->tensors.count) : NULL;
    status = text ? write_text(s,
                               s->layout == BIN ? "pytorch_model.bin.index.json"
                                                : "model.safetensors.index.json",
                               text, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the index");
    ivl__free(text);
    ivl__free(map);
    return status;
}

static ivl_status write_all(synth *s, uint64_t bytes, ivl_error *error)
{
    IVL__TRY(ivl__synth_target_begin(&s->target, bytes, error));
    IVL__TRY(write_weights(s, error));
    if (!s->single) {
        if (s->layout == SHARDED || s->n_files > 1) {
            IVL__TRY(write_index(s, error));
        }
        if (has_tokenizer(s)) {
            IVL__TRY(write_tokenizer(s, error));
        }
        IVL__TRY(write_text(s, "preprocessor_config.json", s->config.preprocessor, error));
        IVL__TRY(write_text(s, "config.json", s->config.config, error));
    }
    return ivl__synth_target_publish(&s->target, error);
}

ivl_status ivl_synth(const ivl_synth_options *options, const char *path, ivl_error *error)
{
    synth s = {.options = options, .target = {.lock = -1}};
    uint64_t bytes = 0;
    ivl_status status = choose(&s, path, error);

    if (status == IVL_OK) {
        status = list_tensors(&s, error);
    }
    if (status == IVL_OK) {
        status = ivl__synth_target_open(path, !s.single, options->force, &s.target, error);
    }
    if (status == IVL_OK) {
        status = lay_out(&s, &bytes, error);
    }
    if (status == IVL_OK) {
        status = write_all(&s, bytes, error);
    }
    for (size_t i = 0; i < s.n_files; i++) {
        ivl__tensor_writer_free(s.files[i].writer);
    }
    ivl__synth_target_close(&s.target);
    ivl__config_files_free(&s.config);
    ivl__free(s.tensors.items);
    ivl__free(s.stored);
    ivl__free(s.files);
    return status;
}
