/* program.c - kernels by name and checked launches; see program.h. */
#include "runtime/program.h"

#include "runtime/kernel_source.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/profile.h"
#include "runtime/program_cache.h"

#include <stdio.h>
#include <string.h>

/* Only options of the specification, the same for every kernel: no relaxed maths. */
#define BUILD_OPTIONS "-cl-std=CL1.2"

/* A source file of this size is a mistake. */
#define MAX_SOURCE_BYTES (1u << 20)

/* Room for a file, a kernel's name and defines. */
#define MAX_KEY 1200

typedef struct program_entry {
    char *key; /* file + defines */
    cl_program program;
} program_entry;

typedef struct kernel_entry {
    char *key;           /* file + defines + name */
    ivl__kernel *kernel; /* of its own allocation: callers keep the address */
} kernel_entry;

struct ivl__programs {
    program_entry *programs;
    size_t n_programs, programs_capacity;
    kernel_entry *kernels;
    size_t n_kernels, kernels_capacity;
};

ivl_status ivl__programs_open(ivl__device *device, ivl_error *error)
{
    device->programs = ivl__calloc(1, sizeof *device->programs);
    return device->programs ? IVL_OK
                            : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the kernels");
}

void ivl__programs_close(ivl__device *device)
{
    struct ivl__programs *cache = device->programs;

    if (!cache) {
        return;
    }
    for (size_t i = 0; i < cache->n_kernels; i++) {
        ivl__cl_kernel_free(&device->cl, cache->kernels[i].kernel->kernel);
        ivl__free(cache->kernels[i].kernel);
        ivl__free(cache->kernels[i].key);
    }
    for (size_t i = 0; i < cache->n_programs; i++) {
        ivl__cl_program_free(&device->cl, cache->programs[i].program);
        ivl__free(cache->programs[i].key);
    }
    ivl__free(cache->kernels);
    ivl__free(cache->programs);
    ivl__free(cache);
    device->programs = NULL;
}

/* ---- source ------------------------------------------------------------------------------ */

static ivl_status embedded_source(const char *file, char **text, ivl_error *error)
{
    for (const ivl__kernel_source *s = ivl__kernel_sources; s->name; s++) {
        if (strcmp(s->name, file) == 0) {
            *text = ivl__strdup(s->text);
            return *text ? IVL_OK
                         : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", file);
        }
    }
    return ivl__fail(error, IVL_INTERNAL, "no kernel file '%s' in this program", file);
}

static ivl_status load_source(const ivl__device *device, const char *file, char **text,
                              ivl_error *error)
{
    unsigned char *data;
    size_t bytes;
    char *path;
    ivl_status status;

    if (!device->options.kernel_dir) {
        return embedded_source(file, text, error);
    }
    path = ivl__path_join(device->options.kernel_dir, file);
    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", file);
    }
    status = ivl__file_read(path, MAX_SOURCE_BYTES, &data, &bytes, error);
    ivl__free(path);
    if (status == IVL_OK) {
        *text = (char *)data;
    }
    return status;
}

static bool append(char **text, size_t *used, size_t *capacity, const char *part, size_t length)
{
    if (!ivl__grow((void **)text, capacity, *used + length + 2, 1)) {
        return false;
    }
    memcpy(*text + *used, part, length);
    *used += length;
    (*text)[(*used)++] = '\n';
    return true;
}

/* Build logs shall name the file and line of cl/, not of the text that drivers get. */
static bool append_line_mark(char **text, size_t *used, size_t *capacity, const char *file,
                             int line)
{
    char mark[120];

    snprintf(mark, sizeof mark, "#line %d \"%.80s\"", line, file);
    return append(text, used, capacity, mark, strlen(mark));
}

/* Appends a file with its `#include "x"` lines replaced by the files they name: drivers get one
 * text and need no include path. A file is taken once. */
static ivl_status append_source(const ivl__device *device, const char *file, char **text,
                                size_t *used, size_t *capacity, char *seen, size_t seen_bytes,
                                ivl_error *error)
{
    char mark[80];
    char *source;
    bool room;
    int number = 0;
    ivl_status status = IVL_OK;

    snprintf(mark, sizeof mark, "|%s|", file);
    if (strstr(seen, mark)) {
        return IVL_OK;
    }
    if (strlen(seen) + strlen(mark) >= seen_bytes) {
        return ivl__fail(error, IVL_INTERNAL, "too many files are included by '%s'", file);
    }
    strcat(seen, mark);
    status = load_source(device, file, &source, error);
    if (status != IVL_OK) {
        return status;
    }
    room = append_line_mark(text, used, capacity, file, 1);
    for (char *line = source; room && status == IVL_OK && *line;) {
        size_t length = strcspn(line, "\n");
        char name[64];

        number++;
        if (sscanf(line, "#include \"%63[^\"]\"", name) == 1) {
            status = append_source(device, name, text, used, capacity, seen, seen_bytes, error);
            room = append_line_mark(text, used, capacity, file, number + 1);
        } else {
            room = append(text, used, capacity, line, length);
        }
        line += length + (line[length] == '\n');
    }
    if (!room && status == IVL_OK) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", file);
    }
    ivl__free(source);
    return status;
}

static ivl_status whole_source(const ivl__device *device, const char *file, char **text,
                               size_t *bytes, ivl_error *error)
{
    char seen[512] = "";
    size_t capacity = 0;
    ivl_status status;

    *text = NULL;
    *bytes = 0;
    status = append_source(device, "common.h", text, bytes, &capacity, seen, sizeof seen, error);
    if (status == IVL_OK) {
        status = append_source(device, file, text, bytes, &capacity, seen, sizeof seen, error);
    }
    if (status != IVL_OK) {
        ivl__free(*text);
        *text = NULL;
    }
    return status;
}

/* ---- build ------------------------------------------------------------------------------- */

static ivl_status build_source(ivl__device *device, const char *file, const char *options,
                               const char *text, size_t bytes, cl_program *out, ivl_error *error)
{
    cl_program program = NULL;
    double start = ivl__now();
    ivl_status status = ivl__cl_program_source(&device->cl, text, bytes, &program, error);

    if (status == IVL_OK) {
        status = ivl__cl_program_build(&device->cl, program, options, file, error);
    }
    if (status != IVL_OK) {
        ivl__cl_program_free(&device->cl, program);
        return status;
    }
    ivl__log(IVL_LOG_VERBOSE, "built %s %s in %.2f s", file, options, ivl__now() - start);
    *out = program;
    return IVL_OK;
}

/* False when there is no usable binary; the source is built then. */
static bool build_cached(ivl__device *device, const char *file, const char *options,
                         const char *key, cl_program *out)
{
    unsigned char *binary = NULL;
    size_t bytes = 0;
    cl_program program = NULL;
    ivl_error detail = {0};
    ivl_status status;

    if (!ivl__program_cache_load(device, key, &binary, &bytes)) {
        return false;
    }
    status = ivl__cl_program_binary(&device->cl, binary, bytes, &program, &detail);
    ivl__free(binary);
    if (status == IVL_OK) {
        status = ivl__cl_program_build(&device->cl, program, options, file, &detail);
    }
    if (status != IVL_OK) {
        ivl__cl_program_free(&device->cl, program);
        ivl__log(IVL_LOG_INFO, "the cached program of %s is refused and built again: %s", file,
                 detail.message);
        return false;
    }
    *out = program;
    return true;
}

static void keep(ivl__device *device, const char *file, const char *key, cl_program program)
{
    unsigned char *binary = NULL;
    size_t bytes = 0;
    ivl_error detail = {0};

    if (ivl__cl_program_get_binary(&device->cl, program, &binary, &bytes, &detail) != IVL_OK) {
        ivl__log(IVL_LOG_VERBOSE, "%s is not kept: %s", file, detail.message);
        return;
    }
    ivl__program_cache_store(device, key, binary, bytes);
    ivl__free(binary);
}

static ivl_status build(ivl__device *device, const char *file, const char *defines, cl_program *out,
                        ivl_error *error)
{
    char options[MAX_KEY];
    char key[65];
    char *text;
    size_t bytes;
    cl_program program = NULL;
    ivl_status status = whole_source(device, file, &text, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    snprintf(options, sizeof options, "%s%s%s", BUILD_OPTIONS, defines[0] ? " " : "", defines);
    if (!ivl__program_cache_used(device)) {
        status = build_source(device, file, options, text, bytes, &program, error);
    } else {
        ivl__program_cache_key(device, text, bytes, options, key);
        if (!build_cached(device, file, options, key, &program)) {
            status = build_source(device, file, options, text, bytes, &program, error);
            if (status == IVL_OK) {
                keep(device, file, key, program);
            }
        }
    }
    ivl__free(text);
    if (status == IVL_OK) {
        *out = program;
    }
    return status;
}

static ivl_status get_program(ivl__device *device, const char *file, const char *defines,
                              cl_program *out, ivl_error *error)
{
    struct ivl__programs *cache = device->programs;
    char key[MAX_KEY];
    cl_program program = NULL;
    char *copy;
    ivl_status status;

    snprintf(key, sizeof key, "%s %s", file, defines);
    for (size_t i = 0; i < cache->n_programs; i++) {
        if (strcmp(cache->programs[i].key, key) == 0) {
            *out = cache->programs[i].program;
            return IVL_OK;
        }
    }
    if (!ivl__grow((void **)&cache->programs, &cache->programs_capacity, cache->n_programs + 1,
                   sizeof *cache->programs) ||
        !(copy = ivl__strdup(key))) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", file);
    }
    status = build(device, file, defines, &program, error);
    if (status != IVL_OK) {
        ivl__free(copy);
        return status;
    }
    cache->programs[cache->n_programs++] = (program_entry){copy, program};
    *out = program;
    return IVL_OK;
}

static ivl_status make_kernel(ivl__device *device, cl_program program, const char *name,
                              const char *key, ivl__kernel **out, ivl_error *error)
{
    ivl__kernel *kernel = ivl__calloc(1, sizeof *kernel);
    cl_ulong local = 0;
    ivl_status status;

    if (!kernel) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for kernel '%s'", name);
    }
    kernel->name = key;
    status = ivl__cl_kernel(&device->cl, program, name, &kernel->kernel, error);
    if (status == IVL_OK) {
        status = ivl__cl_kernel_limits(&device->cl, kernel->kernel, &kernel->max_work_group, &local,
                                       kernel->required, error);
    }
    if (status != IVL_OK) {
        ivl__cl_kernel_free(&device->cl, kernel->kernel);
        ivl__free(kernel);
        return status;
    }
    kernel->local_bytes = local;
    /* A required size that was built is one the device runs; rusticl 22.3 answers 32, always. */
    if (kernel->required[0]) {
        kernel->max_work_group = kernel->required[0] * kernel->required[1] * kernel->required[2];
    }
    *out = kernel;
    return IVL_OK;
}

ivl_status ivl__kernel_get(ivl__device *device, const char *file, const char *defines,
                           const char *name, ivl__kernel **out, ivl_error *error)
{
    struct ivl__programs *cache = device->programs;
    char key[MAX_KEY];
    cl_program program = NULL;
    ivl__kernel *kernel = NULL;
    char *copy;
    ivl_status status;

    if (strlen(file) + strlen(name) + strlen(defines) + sizeof BUILD_OPTIONS + 4 > sizeof key) {
        return ivl__fail(error, IVL_INTERNAL, "kernel %s of %s: too many defines", name, file);
    }
    snprintf(key, sizeof key, "%s:%s%s%s", file, name, defines[0] ? " " : "", defines);
    for (size_t i = 0; i < cache->n_kernels; i++) {
        if (strcmp(cache->kernels[i].key, key) == 0) {
            *out = cache->kernels[i].kernel;
            return IVL_OK;
        }
    }
    status = get_program(device, file, defines, &program, error);
    if (status != IVL_OK) {
        return status;
    }
    if (!ivl__grow((void **)&cache->kernels, &cache->kernels_capacity, cache->n_kernels + 1,
                   sizeof *cache->kernels) ||
        !(copy = ivl__strdup(key))) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for kernel '%s'", name);
    }
    status = make_kernel(device, program, name, copy, &kernel, error);
    if (status != IVL_OK) {
        ivl__free(copy);
        return status;
    }
    cache->kernels[cache->n_kernels++] = (kernel_entry){copy, kernel};
    *out = kernel;
    return IVL_OK;
}

/* ---- launch ------------------------------------------------------------------------------ */

static ivl_status check_group(const ivl__device *device, const ivl__kernel *kernel, cl_uint dims,
                              const size_t *local, ivl_error *error)
{
    const ivl__caps *caps = &device->caps;
    size_t most = caps->max_work_group;
    size_t items = 1;

    for (cl_uint d = 0; d < dims; d++) {
        if (kernel->required[0] && local[d] != kernel->required[d]) {
            return ivl__fail(error, IVL_INTERNAL,
                             "kernel %s: requires work-groups of %zu x %zu x %zu", kernel->name,
                             kernel->required[0], kernel->required[1], kernel->required[2]);
        }
        if (!local[d] || local[d] > caps->max_items[d]) {
            return ivl__fail(error, IVL_UNSUPPORTED,
                             "kernel %s: %zu work-items in dimension %u, the device allows %zu",
                             kernel->name, local[d], (unsigned)d, caps->max_items[d]);
        }
        items *= local[d];
    }
    if (kernel->max_work_group < most) {
        most = kernel->max_work_group;
    }
    if (items > most) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "kernel %s: work-groups of %zu, the device allows %zu", kernel->name,
                         items, most);
    }
    return IVL_OK;
}

/* Two drivers abort and one runs wrongly when more local memory is used than there is. */
static ivl_status check_local(const ivl__device *device, const ivl__kernel *kernel,
                              const ivl__arg *args, size_t n_args, ivl_error *error)
{
    uint64_t bytes = kernel->local_bytes;

    for (size_t i = 0; i < n_args; i++) {
        bytes += args[i].local ? args[i].bytes : 0;
    }
    if (bytes > device->caps.local_mem) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "kernel %s: needs %llu bytes of local memory, the device has %llu",
                         kernel->name, (unsigned long long)bytes,
                         (unsigned long long)device->caps.local_mem);
    }
    return IVL_OK;
}

static ivl_status enqueue(ivl__device *device, const ivl__kernel *kernel, cl_uint dims,
                          const size_t *global, const size_t *local, ivl_error *error)
{
    ivl__cl *cl = &device->cl;
    cl_event event = NULL;
    ivl_status status;

    if (!device->profile) {
        return ivl__cl_enqueue(cl, cl->compute, kernel->kernel, dims, global, local, kernel->name,
                               NULL, error);
    }
    status = ivl__cl_enqueue(cl, cl->compute, kernel->kernel, dims, global, local, kernel->name,
                             &event, error);
    if (status == IVL_OK) {
        status = ivl__profile_add(device, IVL__QUEUE_COMPUTE, kernel->name, event, error);
    }
    return status;
}

ivl_status ivl__launch(ivl__device *device, ivl__kernel *kernel, cl_uint dims, const size_t *groups,
                       const size_t *local, const ivl__arg *args, size_t n_args, ivl_error *error)
{
    size_t global[3] = {1, 1, 1};
    ivl_status status;

    if (!dims || dims > 3) {
        return ivl__fail(error, IVL_INTERNAL, "kernel %s: %u dimensions", kernel->name,
                         (unsigned)dims);
    }
    for (cl_uint d = 0; d < dims; d++) {
        if (!groups[d]) {
            return IVL_OK;
        }
        if (!ivl__mul_size(groups[d], local[d], &global[d])) {
            return ivl__fail(error, IVL_INTERNAL, "kernel %s: %zu work-groups of %zu", kernel->name,
                             groups[d], local[d]);
        }
    }
    status = check_group(device, kernel, dims, local, error);
    if (status == IVL_OK) {
        status = check_local(device, kernel, args, n_args, error);
    }
    for (size_t i = 0; status == IVL_OK && i < n_args; i++) {
        status = ivl__cl_kernel_arg(kernel->kernel, (cl_uint)i, args[i].bytes,
                                    args[i].local ? NULL : (const void *)&args[i].value,
                                    kernel->name, error);
    }
    return status == IVL_OK ? enqueue(device, kernel, dims, global, local, error) : status;
}
