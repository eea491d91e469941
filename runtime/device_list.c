/* device_list.c - every OpenCL device there is, with what is known before it is opened. */
#include "runtime/device_pci.h"

#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/quirks.h"

#include <stdio.h>
#include <string.h>

static const char *type_name(cl_device_type type)
{
    /* Oclgrind claims every type at once; it runs on the processor. */
    if (type & CL_DEVICE_TYPE_CPU) {
        return "cpu";
    }
    if (type & CL_DEVICE_TYPE_GPU) {
        return "gpu";
    }
    return type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator" : "other";
}

static void judge(ivl__device_info *info)
{
    cl_bool available = CL_FALSE;
    cl_bool compiler = CL_FALSE;
    cl_bool little = CL_FALSE;
    int major = 0;
    int minor = 0;

    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_AVAILABLE, &available, sizeof available);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_COMPILER_AVAILABLE, &compiler,
                               sizeof compiler);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_ENDIAN_LITTLE, &little, sizeof little);
    (void)sscanf(info->version, "OpenCL %d.%d", &major, &minor);
    if (!available) {
        snprintf(info->reason, sizeof info->reason, "the driver says it is not available");
    } else if (!compiler) {
        snprintf(info->reason, sizeof info->reason, "the driver has no compiler");
    } else if (!little) {
        snprintf(info->reason, sizeof info->reason, "big-endian devices are not supported");
    } else if (major < 1 || (major == 1 && minor < 2)) {
        snprintf(info->reason, sizeof info->reason, "needs OpenCL 1.2, the device has '%s'",
                 info->version);
    } else if (!info->global_mem || !info->max_alloc) {
        snprintf(info->reason, sizeof info->reason, "the driver reports no memory");
    } else {
        info->usable = true;
    }
}

static void describe(cl_platform_id platform, cl_device_id id, ivl__device_info *info)
{
    cl_ulong bytes = 0;
    cl_uint count = 0;
    cl_bool unified = CL_FALSE;
    cl_device_type type = 0;

    info->platform_id = platform;
    info->device_id = id;
    info->duplicate_of = -1;
    ivl__cl_platform_text(platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform);
    ivl__cl_platform_text(platform, CL_PLATFORM_VERSION, info->platform_version,
                          sizeof info->platform_version);
    ivl__cl_device_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
    ivl__cl_device_text(id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    ivl__cl_device_text(id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    ivl__cl_device_text(id, CL_DEVICE_VERSION, info->version, sizeof info->version);
    (void)ivl__cl_device_value(id, CL_DEVICE_TYPE, &type, sizeof type);
    snprintf(info->type, sizeof info->type, "%s", type_name(type));
    ivl__device_read_pci(id, info->pci, sizeof info->pci);
    ivl__device_read_uuid(id, info->uuid);
    if (ivl__cl_device_value(id, CL_DEVICE_GLOBAL_MEM_SIZE, &bytes, sizeof bytes)) {
        info->global_mem = bytes;
    }
    if (ivl__cl_device_value(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, &bytes, sizeof bytes)) {
        info->max_alloc = bytes;
    }
    if (ivl__cl_device_value(id, CL_DEVICE_LOCAL_MEM_SIZE, &bytes, sizeof bytes)) {
        info->local_mem = bytes;
    }
    if (ivl__cl_device_value(id, CL_DEVICE_MAX_COMPUTE_UNITS, &count, sizeof count)) {
        info->compute_units = count;
    }
    if (ivl__cl_device_value(id, CL_DEVICE_MAX_CLOCK_FREQUENCY, &count, sizeof count)) {
        info->clock_mhz = count;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    (void)ivl__cl_device_value(id, CL_DEVICE_HOST_UNIFIED_MEMORY, &unified, sizeof unified);
#pragma GCC diagnostic pop
    info->unified = unified || (type & CL_DEVICE_TYPE_CPU);
    info->speed = (double)(info->compute_units ? info->compute_units : 1) *
                  (double)(info->clock_mhz ? info->clock_mhz : 1000);
    judge(info);
    ivl__quirks_info(info);
}

static ivl_status list_platform(cl_platform_id platform, ivl__device_info **list, size_t *capacity,
                                size_t *count, ivl_error *error)
{
    cl_device_id *ids = NULL;
    cl_uint n = 0;
    ivl_status status = ivl__cl_devices(platform, &ids, &n, error);

    for (cl_uint i = 0; status == IVL_OK && i < n; i++) {
        if (!ivl__grow((void **)list, capacity, *count + 1, sizeof **list)) {
            status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
            break;
        }
        memset(&(*list)[*count], 0, sizeof **list);
        describe(platform, ids[i], &(*list)[*count]);
        (*list)[*count].index = (int)*count;
        (*count)++;
    }
    ivl__free(ids);
    return status;
}

/* Drivers hide devices that they cannot use: it is not always a package that is missing. */
static void log_empty(const cl_platform_id *platforms, cl_uint n)
{
    for (cl_uint i = 0; i < n; i++) {
        char name[128];

        ivl__cl_platform_text(platforms[i], CL_PLATFORM_NAME, name, sizeof name);
        ivl__log(IVL_LOG_INFO,
                 "OpenCL platform '%s' offers no device here; a driver says so too when it may not "
                 "open the device, or cannot write its cache below $HOME",
                 name);
    }
}

ivl_status ivl__device_list(ivl__device_info **list, size_t *count, ivl_error *error)
{
    ivl__device_info *found = NULL;
    cl_platform_id *platforms = NULL;
    cl_uint n = 0;
    size_t capacity = 0;
    size_t used = 0;
    ivl_status status = ivl__cl_platforms(&platforms, &n, error);

    for (cl_uint i = 0; status == IVL_OK && i < n; i++) {
        ivl_error detail = {0};
        ivl_status one = list_platform(platforms[i], &found, &capacity, &used, &detail);

        /* A platform that cannot list its devices does not hide the others. */
        if (one == IVL_OUT_OF_MEMORY) {
            status = ivl__fail(error, one, "%s", detail.message);
        } else if (one != IVL_OK) {
            ivl__log(IVL_LOG_WARNING, "an OpenCL platform is left out: %s", detail.message);
        }
    }
    if (status == IVL_OK && n && !used) {
        log_empty(platforms, n);
    }
    ivl__free(platforms);
    if (status != IVL_OK) {
        ivl__free(found);
        return status;
    }
    ivl__device_mark_duplicates(found, used);
    *list = found;
    *count = used;
    return IVL_OK;
}
