/* internvl.h - InternVL through OpenCL: the public interface of libinternvl.
 *
 *     ivl_error error;
 *     ivl_model *model = NULL;
 *     ivl_session *session = NULL;
 *     ivl_session_options options;
 *     float vector[3200];
 *     ivl_output pooled = {.tap = "pooled", .data = vector, .capacity = 3200};
 *     ivl_images images = {.count = 1, .width = 224, .height = 224, .rgb = pixels};
 *     ivl_inputs inputs = {.size = sizeof inputs, .images = &images};
 *
 *     ivl_session_options_init(&options);
 *     if (ivl_model_open("InternViT-6B-224px", NULL, &model, &error) != IVL_OK ||
 *         ivl_session_open(model, &options, &session, &error) != IVL_OK ||
 *         ivl_run(session, &inputs, &pooled, 1, &error) != IVL_OK) {
 *         fprintf(stderr, "%s\n", error.message);
 *     }
 *     ivl_session_free(session);
 *     ivl_model_free(model);
 *
 * An ivl_model is a mapped checkpoint: immutable, shareable between threads and sessions. An
 * ivl_session is model x device x options: it owns what lies on the device and runs one call at a
 * time, from one thread at a time. A model must outlive its sessions.
 *
 * The library never prints, exits, reads the environment or installs signal handlers. Options
 * structs are filled by their *_init function and begin with their size, so that they can grow at
 * the end. Results are written on success only; every error pointer may be NULL.
 */
#ifndef INTERNVL_H
#define INTERNVL_H

#include "runtime/log.h"
#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "0.1.0". */
IVL_API const char *ivl_version(void);

/* ---- models ------------------------------------------------------------------------------ */

typedef struct ivl_model ivl_model;

typedef struct ivl_model_options {
    size_t size;
    const char *config; /* path of a config.json for checkpoints that have none; NULL */
    const char *arch;   /* name of a known architecture ("internvit-6b-224"); NULL */
} ivl_model_options;

IVL_API void ivl_model_options_init(ivl_model_options *options);

/* Opens a checkpoint as published: a folder (config.json and *.safetensors or *.bin, sharded or
 * not) or one .safetensors, .bin or .pth file. Files are mapped, not read. IVL_BAD_MODEL names the
 * file, tensor or key that is wrong. options may be NULL. */
IVL_API ivl_status ivl_model_open(const char *path, const ivl_model_options *options,
                                  ivl_model **model, ivl_error *error);

/* The geometry of a known architecture without any weights: for plans only. */
IVL_API ivl_status ivl_model_open_architecture(const char *arch, ivl_model **model,
                                               ivl_error *error);

IVL_API void ivl_model_free(ivl_model *model);

/* Tensors of the checkpoint that this program does not run (yet). */
typedef struct ivl_unused_part {
    const char *prefix; /* "language_model." */
    int tensors;
    uint64_t bytes;
} ivl_unused_part;

/* Weights by the mode that needs them first: "vit", "c" (the pooling block), "text" (the text
 * tower, which g runs too), "g" (queries, cross-attention, its pooling block). */
typedef struct ivl_model_part {
    const char *name;
    uint64_t parameters, bytes;
} ivl_model_part;

/* Strings and arrays belong to the model. */
typedef struct ivl_model_info {
    size_t size;
    const char *architecture; /* "InternViT", or of composite checkpoints "InternVL-14B", ... */
    const char *path;         /* as given */
    const char *naming;       /* "hub", "pth" or "hf": the scheme of the tensor names */
    const char *dtype;        /* stored type of the matrices: "bf16", "fp16", "fp32", "mixed" */
    const char *const *modes; /* what the checkpoint can do: "vit" */
    int n_modes;
    uint64_t parameters, bytes; /* of the parts that run */
    int layers, hidden_size, heads, mlp_size, image_size, patch_size;
    bool qkv_bias, qk_normalization;
    const char *norm; /* "rms_norm" or "layer_norm" */
    double norm_eps;
    float mean[3], std[3]; /* of the preprocessing, on a scale of 0 .. 1 */
    const char *model_id;  /* 64 hex digits; "" for ivl_model_open_architecture */
    const ivl_unused_part *unused;
    int n_unused;
    /* InternVL-C and InternVL-G; zeros in checkpoints that have no such parts. */
    int embed_dim;                 /* width of image_c, image_g and text */
    double logit_scale;            /* factor of cosines (the stored logarithm's exponential) */
    int query_tokens;              /* learned queries of QLLaMA; 0 in InternVL-C */
    int cross_attention_frequency; /* every n-th layer of QLLaMA looks at the image, from 0 on */
    int vocab_size;                /* token ids are below that */
    int text_layers, text_hidden_size, text_heads, text_kv_heads, text_mlp_size;
    double text_norm_eps;
    const ivl_model_part *parts; /* of the parts that run */
    int n_parts;
} ivl_model_info;

IVL_API void ivl_model_get_info(const ivl_model *model, ivl_model_info *info);

/* One stored tensor that runs, in the order of the model. */
typedef struct ivl_tensor_info {
    const char *name, *dtype, *file;
    int rank;
    uint64_t shape[8];
    uint64_t bytes;
} ivl_tensor_info;

/* false when index is past the last tensor. */
IVL_API bool ivl_model_get_tensor(const ivl_model *model, size_t index, ivl_tensor_info *info);

/* SHA-256 over geometry and all bytes of all tensors: reads the whole checkpoint. */
IVL_API ivl_status ivl_model_full_hash(const ivl_model *model, char hex[65], ivl_error *error);

/* For the program's SIGBUS handler: when addr (si_addr) lies in a mapped checkpoint, puts a zero
 * page there, marks the model as bad (the running call then fails with IVL_BAD_MODEL and its
 * results are dropped) and returns true. Async-signal-safe. */
IVL_API bool ivl_handle_sigbus(void *addr);

/* ---- devices ----------------------------------------------------------------------------- */

/* One OpenCL device as the driver describes it. */
typedef struct ivl_device {
    int index;
    char platform[128], name[256], vendor[128], driver[128], version[128];
    char type[16];    /* "gpu", "cpu", "accelerator", "other" */
    char pci[24];     /* "0000:03:00.0", "" where the driver does not tell */
    char uuid[33];    /* 32 hex digits, "" where the driver does not tell */
    int duplicate_of; /* index of the same card under another platform, -1 */
    uint64_t global_mem, max_alloc, local_mem; /* bytes */
    uint32_t compute_units, clock_mhz;
    bool usable;
    char reason[256]; /* why it is not used; "" where usable */
    char quirks[512]; /* names of the quirks in force, comma-separated */
} ivl_device;

/* A GPU of the PCI bus that no OpenCL platform serves. */
typedef struct ivl_unserved_gpu {
    char pci[24], vendor[16];
    char advice[400]; /* what to install, or which permission is missing */
} ivl_unserved_gpu;

/* Both arrays are new and released with ivl_devices_free. No device at all is a success. */
IVL_API ivl_status ivl_devices_list(ivl_device **devices, size_t *n_devices,
                                    ivl_unserved_gpu **unserved, size_t *n_unserved,
                                    ivl_error *error);
IVL_API void ivl_devices_free(ivl_device *devices, ivl_unserved_gpu *unserved);

/* Which entries of the list the selectors (--device) mean: their indices in picked, which has room
 * for `capacity`. IVL_NO_DEVICE when a selector matches nothing. */
IVL_API ivl_status ivl_devices_select(const char *const *selectors, size_t n_selectors, int *picked,
                                      size_t capacity, size_t *n_picked, ivl_error *error);

/* ---- sessions ---------------------------------------------------------------------------- */

typedef struct ivl_session ivl_session;

typedef enum ivl_residency {
    IVL_RESIDENCY_AUTO = 0,
    IVL_RESIDENCY_MAPPED = 1,   /* kernels read the mapped file */
    IVL_RESIDENCY_RESIDENT = 2, /* copied to the device once */
    IVL_RESIDENCY_STREAM = 3    /* uploaded through slots, every pass */
} ivl_residency;

typedef enum ivl_precision_choice {
    IVL_PRECISION_AUTO = 0, /* fast where the device can, else exact */
    IVL_PRECISION_EXACT = 1,
    IVL_PRECISION_FAST = 2
} ivl_precision_choice;

/* Called between stages: what is being done, and how far ("block 12", 13 of 50; "start-up", 0 of 0
 * while a session is opened and kernels are tested or measured). A non-zero answer cancels the call
 * at once with IVL_CANCELLED. */
typedef int ivl_progress_fn(void *user, const char *stage, int done, int total);

/* One finished command of the device, for a timeline. Seconds on the monotonic clock. Strings live
 * as long as the process. */
typedef struct ivl_trace_span {
    const char *queue; /* "compute" or "upload" */
    const char *stage; /* "attention", "weights", ... */
    const char *name;  /* of the kernel or transfer */
    double start, end;
} ivl_trace_span;

typedef void ivl_trace_fn(void *user, const ivl_trace_span *span);

typedef struct ivl_session_options {
    size_t size;
    const char *const *devices; /* selectors as --device takes them; none: automatic */
    size_t n_devices;
    uint64_t device_memory;     /* budget in bytes; 0: what is sensible on the device */
    double device_memory_share; /* budget as a share of the device's memory, if > 0 */
    ivl_residency residency;
    ivl_precision_choice precision;
    const char *gemm;        /* "auto" (NULL) or a backend by name */
    const char *tuning_file; /* pinned tuning; NULL */
    int batch;               /* images per pass (texts, if for texts alone); 0: by the plan */
    int width, height;       /* of the pictures to come, for the plan; 0: the model's own size */
    const char *cache_dir;   /* compiled programs, self-test and tuning results; NULL: none */
    const char *kernel_dir;  /* developers: OpenCL C files instead of the embedded ones; NULL */
    bool profiling;          /* collect seconds by stage */
    ivl_progress_fn *progress;
    void *progress_user;
    ivl_trace_fn *trace; /* gets every command after each batch; implies profiling; NULL */
    void *trace_user;
    const char *attention; /* NULL: by the device; or a variant by name ("cpu", "local", "plain") */
    /* What the session is for, as the model's modes and comma-separated ("c,text"): only what these
     * need is placed on the device. NULL: everything the checkpoint has. */
    const char *modes;
    int text_tokens; /* tokens of the longest text to come, for the plan; 0: 80 */
} ivl_session_options;

IVL_API void ivl_session_options_init(ivl_session_options *options);

/* How a session is going to use the device. Bytes throughout. */
typedef struct ivl_plan {
    size_t size;
    char device[256], platform[128];
    ivl_residency residency; /* never AUTO */
    uint64_t budget;
    /* Images per pass over the weights, and per kernel launch; of a session for texts alone, texts
     * of text_tokens. */
    int batch, sub_batch;
    int stages, resident_stages; /* of `stages`, the first that stay on the device */
    uint64_t weight_bytes;       /* of the stages, as stored */
    uint64_t resident_bytes;     /* copied to the device and kept, vectors included */
    uint64_t mapped_bytes;       /* read in place */
    uint64_t slot_bytes;         /* both slots */
    uint64_t activation_bytes, scratch_bytes;
    uint64_t peak_bytes;        /* sum of what counts against the budget */
    uint64_t streamed_per_pass; /* bytes uploaded for each batch */
    uint64_t minimum_budget;    /* the smallest device_memory that works with this residency */
    uint64_t text_rows; /* tokens of texts, and queries of images, that a pass has room for */
} ivl_plan;

/* The plan a session with these options would have. Opens the device (whose kernels are tested at
 * the first use) and closes it again; places no weights and measures nothing. */
IVL_API ivl_status ivl_plan_make(const ivl_model *model, const ivl_session_options *options,
                                 ivl_plan *plan, ivl_error *error);

/* Opens the device, compiles the kernels, places the weights. options may be NULL.
 * IVL_NO_DEVICE, IVL_OUT_OF_DEVICE_MEMORY (with the smallest possible budget), IVL_UNSUPPORTED. */
IVL_API ivl_status ivl_session_open(const ivl_model *model, const ivl_session_options *options,
                                    ivl_session **session, ivl_error *error);
IVL_API void ivl_session_free(ivl_session *session);

IVL_API void ivl_session_get_plan(const ivl_session *session, ivl_plan *plan);

/* Pictures of one size: either 8-bit RGB [count, height, width, 3], or fp32 [count, 3, height,
 * width] that is already normalised. The caller keeps the memory. */
typedef struct ivl_images {
    int count, width, height;
    const uint8_t *rgb;
    const float *pixels; /* used when rgb is NULL */
} ivl_images;

/* Texts as token ids, packed: text i is ids[offsets[i]] .. ids[offsets[i + 1] - 1], at least one
 * token. offsets has count + 1 entries and begins with 0. The caller keeps the memory. */
typedef struct ivl_texts {
    int count;
    const int32_t *ids;
    const int32_t *offsets;
} ivl_texts;

/* What a run is given; what the taps do not need may be NULL. */
typedef struct ivl_inputs {
    size_t size; /* sizeof(ivl_inputs) */
    const ivl_images *images;
    const ivl_texts *texts;
} ivl_inputs;

/* A result to be copied to the host, by the name of its tap:
 *   "hidden_0"   embeddings, "hidden_<i>" output of block i   [count, tokens, hidden_size]
 *   "pooled"     CLS row of the last block (pooler_output)    [count, hidden_size]
 *   "mean"       mean of the last block's patch tokens        [count, hidden_size]
 * and of InternVL-C and InternVL-G, not normalised:
 *   "image_c"    embedding of an image                        [count, embed_dim]
 *   "image_g"    sum of the two unit vectors of C and QLLaMA  [count, embed_dim]
 *   "text"       embedding of a text, from its last token     [texts, embed_dim]
 *   "itm"        do image i and text i belong together        [count, 2], class 1 is yes
 * and for comparisons:
 *   "query_<i>"  queries after layer i of QLLaMA, "query" after the last norm
 *                                                  [count, query_tokens, text_hidden_size]
 *   "text_<i>"   tokens after layer i, "text_rows" after the last norm, packed
 *                                                  [tokens of all texts, text_hidden_size]
 *   "text_last"  the last token of a text after the last norm [texts, text_hidden_size]
 * Only the stages that the requested taps need are run; images and texts of a call pass the shared
 * layers together. */
typedef struct ivl_output {
    const char *tap;
    float *data;     /* the caller's, room for `capacity` floats */
    size_t capacity; /* in floats */
    int dims[3];     /* filled: rows, tokens, width; tokens 1 for vectors */
} ivl_output;

/* Runs the model on a batch of any size (split into passes of the plan's batch). Results do not
 * depend on the batch, on the residency or on neighbours. After a failure the outputs hold nothing
 * of use, and the session can be used again unless its device is gone. */
IVL_API ivl_status ivl_run(ivl_session *session, const ivl_inputs *inputs, ivl_output *outputs,
                           size_t n_outputs, ivl_error *error);

#define IVL_MAX_STAGES 32

/* What the session has done since it was opened. */
typedef struct ivl_stats {
    size_t size;
    uint64_t images;
    uint64_t bytes_streamed;    /* uploaded through slots */
    uint64_t weight_bytes_read; /* weight bytes the stages were given, all passes together */
    uint64_t weight_passes;     /* the most often any weight tile was read */
    uint64_t mapped_bytes;
    uint64_t peak_device_memory; /* bytes counted against the budget */
    double overlap;              /* share of the upload time that lay behind compute; profiling */
    char device[256], platform[128], driver[128];
    char precision[16]; /* "exact" or "fast:bf16" */
    char gemm[64];
    char residency[16];
    int batch;
    int n_stages; /* seconds by stage, with profiling */
    char stage_names[IVL_MAX_STAGES][24];
    double stage_seconds[IVL_MAX_STAGES];
    uint64_t texts;
} ivl_stats;

IVL_API void ivl_session_get_stats(const ivl_session *session, ivl_stats *stats);

/* Known-answer tests of every kernel on a device; one callback per check, whose non-zero answer
 * cancels the rest. IVL_VERIFY_FAILED when any failed. */
typedef int ivl_selftest_fn(void *user, const char *check, bool passed, bool skipped,
                            double max_error, double bound, const char *note);
IVL_API ivl_status ivl_selftest(const ivl_session_options *options, ivl_selftest_fn *report,
                                void *user, ivl_error *error);

/* ---- search ------------------------------------------------------------------------------ */

/* Rows to be searched, one after another. The caller keeps the memory until ivl_search_free; it may
 * be a mapped file larger than any memory: it is read in chunks, in place where the device can. */
typedef struct ivl_vectors {
    size_t size;
    const void *data;  /* [rows, dim], aligned to its elements */
    uint64_t rows;     /* 1 .. 2^32 - 1 */
    int dim;           /* 1 .. 65536 */
    const char *dtype; /* "fp32" or "fp16" */
} ivl_vectors;

/* One result of a query. */
typedef struct ivl_hit {
    uint64_t row;
    float score;
} ivl_hit;

typedef struct ivl_search ivl_search;

/* Opens a device for searches. Of the options, devices, device_memory, residency, gemm, cache_dir,
 * kernel_dir and progress ("search", chunks done, chunks of all) count, also for later calls;
 * options may be NULL. Scores are exact (fp32): IVL_PRECISION_FAST is IVL_UNSUPPORTED. One call at
 * a time, as with sessions. */
IVL_API ivl_status ivl_search_open(const ivl_session_options *options, const ivl_vectors *vectors,
                                   ivl_search **search, ivl_error *error);
IVL_API void ivl_search_free(ivl_search *search);

/* The k rows (at most as many as there are) whose scalar products with each of n queries [n, dim]
 * are the greatest, best first; of equal scores the lower row comes first. Vectors of length 1 make
 * that the cosine. hits [n, k]. A query's hits depend neither on other queries, nor on chunks, nor
 * on device_memory. IVL_INVALID_ARGUMENT for queries that are not finite; IVL_NOT_FINITE when rows
 * are not and fewer than k are left; IVL_IO_ERROR when a mapped file shrank meanwhile. */
IVL_API ivl_status ivl_search_run(ivl_search *search, const float *queries, int n, int k,
                                  ivl_hit *hits, ivl_error *error);

/* What the last run used. */
typedef struct ivl_search_info {
    size_t size;
    char device[256], gemm[64];
    char residency[16]; /* "mapped" or "stream" */
    uint64_t chunk_rows, peak_device_memory;
} ivl_search_info;

IVL_API void ivl_search_get_info(const ivl_search *search, ivl_search_info *info);

/* ---- stand-in models ----------------------------------------------------------------------- */

typedef struct ivl_synth_options {
    size_t size;
    const char *arch;   /* a known architecture: "internvit-6b-224", "tiny-14b", ... */
    const char *dtype;  /* "bf16" (NULL), "fp16", "fp32" */
    const char *layout; /* "safetensors" (NULL), "sharded", "bin", "pth" (NULL for releases that
                           were published as .pth only) */
    const char *naming; /* "hub" (NULL; "pth" for layout pth), "pth", "hf" */
    uint64_t seed;
    const char *const *settings; /* "num_hidden_layers=2", "vision_config.num_hidden_layers=2" */
    size_t n_settings;
    bool force;                /* replace what is there, if it is a file or was made by ivl_synth */
    ivl_progress_fn *progress; /* MiB written, and to be written */
    void *progress_user;
    uint64_t shard_bytes; /* a shard holds at most that, unless one tensor is larger; 0: 5 GB, of
                             layout bin 10 GB */
    int threads;          /* 0: one for each processor */
} ivl_synth_options;

IVL_API void ivl_synth_options_init(ivl_synth_options *options);

/* Writes a checkpoint of random weights in the published layout at path: a folder with config.json,
 * preprocessor_config.json and beside a text tower a made-up tokenizer.model, or the weights alone
 * where path ends in .safetensors, .bin or .pth. settings override keys of config.json. The same
 * seed gives the same bytes, and the same model in every naming and every layout of one dtype. Free
 * space is checked first; nothing bears its final name before it is whole, and whatever goes wrong
 * leaves what was there before. Signals of files that grow too large (SIGXFSZ) are the caller's to
 * ignore.
 * IVL_INVALID_ARGUMENT (unknown names, something is there already), IVL_IO_ERROR, IVL_CANCELLED. */
IVL_API ivl_status ivl_synth(const ivl_synth_options *options, const char *path, ivl_error *error);

#ifdef __cplusplus
}
#endif
#endif
