/* device.c - listing, judging and opening OpenCL devices; see device.h. */
#include "runtime/device.h"

#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "runtime/program.h"
#include "runtime/program_cache.h"
#include "runtime/quirks.h"

#include <stdio.h>
#include <string.h>

/* Keys of extensions, by value: headers of different ages lack some of them. */
#define KEY_PCI_BUS_INFO_KHR 0x410F
#define KEY_UUID_KHR         0x106A
#define KEY_PCI_BUS_ID_NV    0x4008
#define KEY_PCI_SLOT_ID_NV   0x4009
#define KEY_PCI_DOMAIN_ID_NV 0x400A
#define KEY_TOPOLOGY_AMD     0x4037

/* ---- list -------------------------------------------------------------------------------- */

static void read_pci(cl_device_id id, char *pci, size_t bytes)
{
    cl_uint khr[4];
    cl_uint bus, slot, domain = 0;
    unsigned char amd[24];

    if (ivl__cl_device_value(id, KEY_PCI_BUS_INFO_KHR, khr, sizeof khr)) {
        snprintf(pci, bytes, "%04x:%02x:%02x.%x", khr[0] & 0xffffu, khr[1] & 0xffu, khr[2] & 0xffu,
                 khr[3] & 0xfu);
    } else if (ivl__cl_device_value(id, KEY_PCI_BUS_ID_NV, &bus, sizeof bus) &&
               ivl__cl_device_value(id, KEY_PCI_SLOT_ID_NV, &slot, sizeof slot)) {
        (void)ivl__cl_device_value(id, KEY_PCI_DOMAIN_ID_NV, &domain, sizeof domain);
        snprintf(pci, bytes, "%04x:%02x:%02x.%x", domain & 0xffffu, bus & 0xffu, slot >> 3 & 0x1fu,
                 slot & 7u);
    } else if (ivl__cl_device_value(id, KEY_TOPOLOGY_AMD, amd, sizeof amd)) {
        /* cl_device_topology_amd: type 1 is PCIe, bus, device, function are the last bytes. */
        snprintf(pci, bytes, "0000:%02x:%02x.%x", amd[21], amd[22], amd[23] & 0xfu);
    } else {
        pci[0] = '\0';
    }
}

static void read_uuid(cl_device_id id, char uuid[33])
{
    unsigned char raw[16];

    uuid[0] = '\0';
    if (ivl__cl_device_value(id, KEY_UUID_KHR, raw, sizeof raw)) {
        for (int i = 0; i < 16; i++) {
            snprintf(uuid + (size_t)(2 * i), 3, "%02x", raw[i]);
        }
    }
}

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
    cl_device_type type = 0;

    info->platform_id = platform;
    info->device_id = id;
    info->duplicate_of = -1;
    ivl__cl_platform_text(platform, CL_PLATFORM_NAME, info->platform, sizeof info->platform);
    ivl__cl_device_text(id, CL_DEVICE_NAME, info->name, sizeof info->name);
    ivl__cl_device_text(id, CL_DEVICE_VENDOR, info->vendor, sizeof info->vendor);
    ivl__cl_device_text(id, CL_DRIVER_VERSION, info->driver, sizeof info->driver);
    ivl__cl_device_text(id, CL_DEVICE_VERSION, info->version, sizeof info->version);
    (void)ivl__cl_device_value(id, CL_DEVICE_TYPE, &type, sizeof type);
    snprintf(info->type, sizeof info->type, "%s", type_name(type));
    read_pci(id, info->pci, sizeof info->pci);
    read_uuid(id, info->uuid);
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
    judge(info);
    ivl__quirks_describe(info, info->quirks, sizeof info->quirks);
}

/* One card under two platforms (ROCm and rusticl, say): same PCI address, or same UUID. */
static void mark_duplicates(ivl__device_info *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i && list[i].duplicate_of < 0; j++) {
            bool pci = list[i].pci[0] && strcmp(list[i].pci, list[j].pci) == 0;
            bool uuid = list[i].uuid[0] && strcmp(list[i].uuid, list[j].uuid) == 0;

            if (list[i].platform_id != list[j].platform_id && list[j].duplicate_of < 0 &&
                (pci || uuid)) {
                list[i].duplicate_of = (int)j;
            }
        }
    }
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
    ivl__free(platforms);
    if (status != IVL_OK) {
        ivl__free(found);
        return status;
    }
    mark_duplicates(found, used);
    *list = found;
    *count = used;
    return IVL_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

static void fill_caps(ivl__device *device)
{
    const ivl__device_info *info = &device->info;
    ivl__caps *caps = &device->caps;
    cl_device_local_mem_type local_type = CL_GLOBAL;
    cl_bool unified = CL_FALSE;
    cl_uint align_bits = 0;
    size_t work_group = 0;

    caps->cpu = strcmp(info->type, "cpu") == 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_HOST_UNIFIED_MEMORY, &unified,
                               sizeof unified);
#pragma GCC diagnostic pop
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_LOCAL_MEM_TYPE, &local_type,
                               sizeof local_type);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, &align_bits,
                               sizeof align_bits);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_MAX_WORK_GROUP_SIZE, &work_group,
                               sizeof work_group);
    caps->unified = caps->cpu || unified;
    caps->local_is_real = local_type == CL_LOCAL && !caps->cpu;
    caps->global_mem = info->global_mem;
    caps->max_alloc = info->max_alloc;
    caps->local_mem = info->local_mem;
    caps->compute_units = info->compute_units ? info->compute_units : 1;
    caps->max_work_group = work_group ? work_group : 1;
    caps->base_align_bytes = align_bits >= 8 ? align_bits / 8 : 128;
    caps->program_cache = true;
    ivl__quirks_apply(info, caps);
}

/* vdpbf16ps: the host's processor must have it (a driver's assembler takes any instruction), the
 * driver must take inline assembler, and the sums must be right. */
static bool probe_bf16_dot(ivl__device *device)
{
    const size_t one = 1;
    ivl_error detail = {0};
    ivl__kernel *kernel;
    cl_mem out = NULL;
    float result[16] = {0};
    ivl_status status;
    bool right = true;

    if (!device->caps.cpu || !ivl__cpu_features_of_host().avx512_bf16) {
        return false;
    }
    status = ivl__kernel_get(device, "probe_bf16_dot.cl", "", "probe_bf16_dot", &kernel, &detail);
    if (status == IVL_OK) {
        status = ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, sizeof result, "probe", &out,
                                &detail);
    }
    if (status == IVL_OK) {
        status = IVL__LAUNCH(device, kernel, 1, &one, &one, &detail, ivl__arg_mem(out));
    }
    if (status == IVL_OK) {
        status = ivl__cl_read(&device->cl, device->cl.compute, out, 0, result, sizeof result, 0,
                              NULL, NULL, &detail);
    }
    ivl__cl_buffer_free(&device->cl, out);
    if (status != IVL_OK) {
        ivl__log(IVL_LOG_VERBOSE, "%s: no dot products of bf16: %s", device->info.name,
                 detail.message);
        return false;
    }
    /* Lane i: 100 + (i + 1) * 3 + (i + 2) * 5, exact in bf16 and fp32. */
    for (int i = 0; i < 16; i++) {
        right = right && result[i] == (float)(100 + (i + 1) * 3 + (i + 2) * 5);
    }
    if (!right) {
        ivl__log(IVL_LOG_WARNING, "%s (driver %s): bf16 dot products give wrong results; not used",
                 device->info.name, device->info.driver);
    }
    return right;
}

static ivl_status copy_options(ivl__device *device, const ivl__device_options *options,
                               ivl_error *error)
{
    device->options = *options;
    device->options.cache_dir = options->cache_dir ? ivl__strdup(options->cache_dir) : NULL;
    device->options.kernel_dir = options->kernel_dir ? ivl__strdup(options->kernel_dir) : NULL;
    if ((options->cache_dir && !device->options.cache_dir) ||
        (options->kernel_dir && !device->options.kernel_dir)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device's options");
    }
    return IVL_OK;
}

ivl_status ivl__device_open(const ivl__device_info *info, const ivl__device_options *options,
                            ivl__device **out, ivl_error *error)
{
    ivl__device *device;
    ivl_status status;

    if (!info->usable) {
        return ivl__fail(error, IVL_NO_DEVICE, "device %d (%s) cannot be used: %s", info->index,
                         info->name, info->reason);
    }
    device = ivl__calloc(1, sizeof *device);
    if (!device) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a device");
    }
    device->info = *info;
    status = copy_options(device, options, error);
    if (status == IVL_OK) {
        status = ivl__cl_open(info->platform_id, info->device_id, options->profiling, &device->cl,
                              error);
    }
    if (status == IVL_OK) {
        fill_caps(device);
        status = ivl__program_cache_open(device, error);
    }
    if (status != IVL_OK) {
        ivl__device_close(device);
        return ivl__fail_context(error, status, "device %d (%s)", info->index, info->name);
    }
    device->caps.x86_bf16_dot = probe_bf16_dot(device);
    *out = device;
    return IVL_OK;
}

void ivl__device_close(ivl__device *device)
{
    if (!device) {
        return;
    }
    ivl__program_cache_close(device);
    ivl__cl_close(&device->cl);
    ivl__free((void *)(uintptr_t)device->options.cache_dir);
    ivl__free((void *)(uintptr_t)device->options.kernel_dir);
    ivl__free(device);
}
