/* device.h - finding, choosing, judging and opening OpenCL devices.
 *
 * Capabilities live in one struct, filled once when a device is opened; model/ never asks for a
 * vendor. A device that fails is refused with its reason, never replaced by another silently.
 */
#ifndef IVL_RUNTIME_DEVICE_H
#define IVL_RUNTIME_DEVICE_H

#include "runtime/opencl.h"

/* What is known of a device before it is opened. */
typedef struct ivl__device_info {
    int index; /* in the list, and on the command line */
    cl_platform_id platform_id;
    cl_device_id device_id;
    char platform[128], platform_version[256], name[256], vendor[128], driver[128], version[128];
    char type[16];    /* "gpu", "cpu", "accelerator", "other" */
    char pci[24];     /* "0000:03:00.0", "" where the driver does not tell */
    char uuid[33];    /* 32 hex digits, "" where the driver does not tell */
    int duplicate_of; /* index of the same card under another platform, -1 */
    uint64_t global_mem, max_alloc, local_mem;
    uint32_t compute_units, clock_mhz;
    bool unified;  /* shares the host's memory: integrated GPUs, CPUs */
    double speed;  /* rough order of speed, for `auto` among devices of one class */
    bool software; /* a simulator or software rasteriser: `auto` takes anything else first */
    bool usable;
    char reason[256]; /* why it is not used; "" where usable */
    char quirks[512]; /* names of the quirks in force, comma-separated */
} ivl__device_info;

/* Every device of every platform, in the loader's order; platforms without devices are left out.
 * An empty list is a success with *count == 0. *list is the caller's (ivl__free). */
ivl_status ivl__device_list(ivl__device_info **list, size_t *count, ivl_error *error);

/* One card under two platforms (ROCm and rusticl, say): same PCI address, or same UUID. */
void ivl__device_mark_duplicates(ivl__device_info *list, size_t count);

/* Marks in picked[] (indices into list, room for `count`) what the selectors name, as --device in
 * CLI.md: auto, an index, gpu, cpu, all, pci:..., or a part of a platform or device name. No
 * selector means auto. A card seen under two platforms is picked once. Nothing matching is
 * IVL_NO_DEVICE naming the selector and the devices there are. */
ivl_status ivl__device_select(const ivl__device_info *list, size_t count,
                              const char *const *selectors, size_t n_selectors, int *picked,
                              size_t *n_picked, ivl_error *error);

/* GPUs of the PCI bus that no OpenCL platform serves; see `internvl devices`. */
typedef struct ivl__unserved_gpu {
    char pci[24], vendor[16], id[12]; /* vendor: "AMD", "Intel", "NVIDIA" */
    char advice[400];                 /* package to install or permission that is missing */
} ivl__unserved_gpu;
ivl_status ivl__device_unserved(const ivl__device_info *list, size_t count,
                                ivl__unserved_gpu **gpus, size_t *n_gpus, ivl_error *error);

/* What kernels and planner may rely on. Limits are the driver's after quirks. */
typedef struct ivl__caps {
    bool cpu;           /* kernels run on the host's processors: vector kernels, no local memory */
    bool unified;       /* host pointers can be used in place */
    bool local_is_real; /* local memory is on-chip, not cached RAM */
    bool event_times;   /* events tell when commands ran */
    bool program_cache; /* our binary cache helps (not on PoCL, which keeps its own) */
    bool x86_bf16_dot;  /* vdpbf16ps by inline assembler: host has it, and the probe's result was
                           right (probe_x86.h) */
    bool x86_dot_pays;  /* it multiplies clearly faster than fp32 FMA does, by measurement */
    bool x86_amx_bf16;  /* tiles of bf16 likewise, and the system lets us use them */
    bool clblast;       /* CLBlast's products are right, as far as the self-test knows */
    bool topk;          /* so are the best scores of a search */
    uint64_t global_mem, max_alloc, local_mem;
    size_t max_work_group, max_items[3], base_align_bytes;
    uint32_t compute_units;
    uint32_t sub_group; /* smallest that a kernel may require, 0 where a GPU offers no choice */
} ivl__caps;

typedef struct ivl__device_options {
    const char *cache_dir;  /* programs, self-test and tuning results; NULL: no cache on disk */
    const char *kernel_dir; /* developers: read cl/ from here instead of the embedded copy; NULL */
    bool profiling;
    bool skip_self_test; /* the caller runs it itself */
    /* Asked between the parts of a first use (self-tests, measurements), which may take a minute;
     * true ends it with IVL_CANCELLED. NULL: nobody asks. */
    bool (*stop)(void *user);
    void *stop_user;
} ivl__device_options;

struct ivl__programs;
struct ivl__profile;
struct ivl__facts;

/* An open device. Driven by one host thread; owns its context, queues, programs and kernels. */
typedef struct ivl__device {
    ivl__device_info info;
    ivl__caps caps;
    ivl__cl cl;
    ivl__device_options options; /* strings copied */
    struct ivl__programs *programs;
    struct ivl__profile *profile; /* NULL unless options.profiling */
    struct ivl__facts *facts;     /* what earlier runs found out about this device and driver */
    const char *stage;            /* see ivl__device_stage in profile.h */
} ivl__device;

/* Runs the self-test at the first use of device, driver and program version (selftest.h). */
ivl_status ivl__device_open(const ivl__device_info *info, const ivl__device_options *options,
                            ivl__device **out, ivl_error *error);
void ivl__device_close(ivl__device *device);
bool ivl__device_stopped(const ivl__device *device);

#endif
