/* program.h - kernels by name: built once per device, cached on disk, launched with checked sizes.
 */
#ifndef IVL_RUNTIME_PROGRAM_H
#define IVL_RUNTIME_PROGRAM_H

#include "runtime/device.h"

/* A kernel of one device with its limits; owned by the device, valid until it is closed. */
typedef struct ivl__kernel {
    cl_kernel kernel;
    const char *name; /* "norm.cl:norm_rows" with its defines, for messages */
    size_t max_work_group;
    size_t required[3];   /* reqd_work_group_size of the source; 0, 0, 0: none */
    uint64_t local_bytes; /* static local memory of the kernel */
} ivl__kernel;

/* The kernel `name` of file `file` ("norm.cl") of cl/, built with `defines` ("-DTYPE=2"; "" for
 * none). cl/common.h goes before the file. Only options of the OpenCL specification are passed.
 * Built at first use, then remembered by (file, defines, name); the binary is kept on disk where
 * caps.program_cache says so. */
ivl_status ivl__kernel_get(ivl__device *device, const char *file, const char *defines,
                           const char *name, ivl__kernel **out, ivl_error *error);

/* One argument of a launch. */
typedef struct ivl__arg {
    size_t bytes;
    bool local; /* bytes of local memory, no value */
    union {
        cl_mem mem;
        cl_int i;
        cl_ulong u;
        cl_float f;
    } value;
} ivl__arg;

static inline ivl__arg ivl__arg_mem(cl_mem mem)
{
    return (ivl__arg){.bytes = sizeof mem, .value = {.mem = mem}};
}
static inline ivl__arg ivl__arg_int(int32_t i)
{
    return (ivl__arg){.bytes = sizeof(cl_int), .value = {.i = i}};
}
static inline ivl__arg ivl__arg_ulong(uint64_t u)
{
    return (ivl__arg){.bytes = sizeof(cl_ulong), .value = {.u = u}};
}
static inline ivl__arg ivl__arg_float(float f)
{
    return (ivl__arg){.bytes = sizeof(cl_float), .value = {.f = f}};
}
static inline ivl__arg ivl__arg_local(size_t bytes)
{
    return (ivl__arg){.bytes = bytes, .local = true};
}

/* The programs of one open device; device.c only. */
ivl_status ivl__programs_open(ivl__device *device, ivl_error *error);
void ivl__programs_close(ivl__device *device);

/* Enqueues on the compute queue. The global size is given in work-groups: groups[i] * local[i].
 * Local-memory need and work-group size are checked against the device first (some drivers abort
 * instead of answering). With profiling, the time is added to the device's profile under its
 * stage (profile.h). A count of 0 groups is a success without a launch. */
ivl_status ivl__launch(ivl__device *device, ivl__kernel *kernel, cl_uint dims, const size_t *groups,
                       const size_t *local, const ivl__arg *args, size_t n_args, ivl_error *error);

#define IVL__LAUNCH(device, kernel, dims, groups, local, error, ...)                  \
    ivl__launch(device, kernel, dims, groups, local, (const ivl__arg[]){__VA_ARGS__}, \
                sizeof((const ivl__arg[]){__VA_ARGS__}) / sizeof(ivl__arg), error)

#endif
