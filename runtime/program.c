/* program.c - kernels by name and checked launches; see program.h. */
#include "runtime/program.h"

#include "runtime/kernel_source.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/program_cache.h"

#include <stdio.h>
#include <string.h>

/* Only options of the specification, the same for every kernel: no relaxed maths. */
#define BUILD_OPTIONS "-cl-std=CL1.2"

/* A source file of this size is a mistake. */
#define MAX_SOURCE_BYTES (1u << 20)

typedef struct program_entry {
    char *key; /* file + defines */
    cl_program program;
} program_entry;

typedef struct kernel_entry {
    char *key;           /* file + defines + name */
    ivl__kernel *kernel; /* of its own allocation: callers keep the address */
} kernel_entry;

struct ivl__program_cache {
    program_entry *programs;
    size_t n_programs, programs_capacity;
    kernel_entry *kernels;
    size_t n_kernels, kernels_capacity;
};

ivl_status ivl__program_cache_open(ivl__device *device, ivl_error *error)
{
    device->programs = ivl__calloc(1, sizeof *device->programs);
    return device->programs ? IVL_OK
                            : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the kernels");
}

void ivl__program_cache_close(ivl__device *device)
{
    struct ivl__program_cache *cache = device->programs;

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

/* Appends a file with its `#include "x"` lines replaced by the files they name: drivers get one
 * text and need no include path. A file is taken once. */
static ivl_status append_source(const ivl__device *device, const char *file, char **text,
                                size_t *used, size_t *capacity, char *seen, size_t seen_bytes,
                                ivl_error *error)
{
    char mark[80];
    char *source;
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
    for (char *line = source; status == IVL_OK && *line;) {
        size_t length = strcspn(line, "\n");
        char name[64];

        if (sscanf(line, "#include \"%63[^\"]\"", name) == 1) {
            status = append_source(device, name, text, used, capacity, seen, seen_bytes, error);
        } else if (!ivl__grow((void **)text, capacity, *used + length + 2, 1)) {
            status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for '%s'", file);
        } else {
            memcpy(*text + *used, line, length);
            *used += length;
            (*text)[(*used)++] = '\n';
        }
        line += length + (line[length] == '\n');
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

static ivl_status build(ivl__device *device, const char *file, const char *defines, cl_program *out,
                        ivl_error *error)
{
    char options[1024];
    char *text;
    size_t bytes;
    cl_program program = NULL;
    ivl_status status = whole_source(device, file, &text, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    snprintf(options, sizeof options, "%s %s", BUILD_OPTIONS, defines);
    status = ivl__cl_program_source(&device->cl, text, bytes, &program, error);
    if (status == IVL_OK) {
        double start = ivl__now();

        status = ivl__cl_program_build(&device->cl, program, options, file, error);
        ivl__log(IVL_LOG_VERBOSE, "built %s %s in %.2f s", file, defines, ivl__now() - start);
    }
    ivl__free(text);
    if (status != IVL_OK) {
        ivl__cl_program_free(&device->cl, program);
        return status;
    }
    *out = program;
    return IVL_OK;
}

static ivl_status get_program(ivl__device *device, const char *file, const char *defines,
                              cl_program *out, ivl_error *error)
{
    struct ivl__program_cache *cache = device->programs;
    char key[1200];
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
                                       error);
    }
    if (status != IVL_OK) {
        ivl__cl_kernel_free(&device->cl, kernel->kernel);
        ivl__free(kernel);
        return status;
    }
    kernel->local_bytes = local;
    *out = kernel;
    return IVL_OK;
}

ivl_status ivl__kernel_get(ivl__device *device, const char *file, const char *defines,
                           const char *name, ivl__kernel **out, ivl_error *error)
{
    struct ivl__program_cache *cache = device->programs;
    char key[1200];
    cl_program program = NULL;
    ivl__kernel *kernel = NULL;
    char *copy;
    ivl_status status;

    snprintf(key, sizeof key, "%s:%s %s", file, name, defines);
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

/* Two drivers abort and one runs wrongly when these limits are exceeded, so the host checks. */
static ivl_status check_limits(const ivl__device *device, const ivl__kernel *kernel, size_t items,
                               uint64_t local_bytes, ivl_error *error)
{
    size_t most = kernel->max_work_group < device->caps.max_work_group
                      ? kernel->max_work_group
                      : device->caps.max_work_group;

    if (items > most) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "kernel %s: work-groups of %zu, the device allows %zu", kernel->name,
                         items, most);
    }
    if (local_bytes > device->caps.local_mem) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "kernel %s: needs %llu bytes of local memory, the device has %llu",
                         kernel->name, (unsigned long long)local_bytes,
                         (unsigned long long)device->caps.local_mem);
    }
    return IVL_OK;
}

ivl_status ivl__launch(ivl__device *device, ivl__kernel *kernel, cl_uint dims, const size_t *groups,
                       const size_t *local, const ivl__arg *args, size_t n_args, ivl_error *error)
{
    size_t global[3] = {1, 1, 1};
    size_t items = 1;
    uint64_t local_bytes = kernel->local_bytes;
    ivl_status status = IVL_OK;

    for (cl_uint d = 0; d < dims; d++) {
        if (!groups[d]) {
            return IVL_OK;
        }
        global[d] = groups[d] * local[d];
        items *= local[d];
    }
    for (size_t i = 0; i < n_args; i++) {
        local_bytes += args[i].local ? args[i].bytes : 0;
    }
    status = check_limits(device, kernel, items, local_bytes, error);
    for (size_t i = 0; status == IVL_OK && i < n_args; i++) {
        status = ivl__cl_kernel_arg(kernel->kernel, (cl_uint)i, args[i].bytes,
                                    args[i].local ? NULL : (const void *)&args[i].value,
                                    kernel->name, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    return ivl__cl_enqueue(&device->cl, device->cl.compute, kernel->kernel, dims, global, local,
                           kernel->name, NULL, error);
}
