/* device.c - opening a device: capabilities, probes, self-test; see device.h. */
#include "runtime/device.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/probe_x86.h"
#include "runtime/profile.h"
#include "runtime/program.h"
#include "runtime/quirks.h"
#include "runtime/selftest.h"

#include <stdio.h>
#include <string.h>

static void fill_max_items(ivl__device *device)
{
    size_t items[3] = {0};

    /* A driver that does not tell (or has more dimensions) is held to its work-group size. */
    (void)ivl__cl_device_value(device->info.device_id, CL_DEVICE_MAX_WORK_ITEM_SIZES, items,
                               sizeof items);
    for (int d = 0; d < 3; d++) {
        device->caps.max_items[d] = items[d] ? items[d] : device->caps.max_work_group;
    }
}

/* CL_DEVICE_SUB_GROUP_SIZES_INTEL of cl_intel_required_subgroup_size: an array, as long as it is.
 */
#define SUB_GROUP_SIZES     0x4108
#define MAX_SUB_GROUP_SIZES 8

/* Lanes share a thread's registers: the smallest sub-group leaves an item the most of them. */
static void fill_sub_group(ivl__device *device)
{
    size_t sizes[MAX_SUB_GROUP_SIZES];

    for (size_t n = 1; !device->caps.cpu && n <= MAX_SUB_GROUP_SIZES; n++) {
        if (!ivl__cl_device_value(device->info.device_id, SUB_GROUP_SIZES, sizes,
                                  n * sizeof sizes[0])) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            if (device->caps.sub_group == 0 || sizes[i] < device->caps.sub_group) {
                device->caps.sub_group = (uint32_t)sizes[i];
            }
        }
        return;
    }
}

static void fill_caps(ivl__device *device)
{
    const ivl__device_info *info = &device->info;
    ivl__caps *caps = &device->caps;
    cl_device_local_mem_type local_type = CL_GLOBAL;
    cl_uint align_bits = 0;
    size_t work_group = 0;

    caps->cpu = strcmp(info->type, "cpu") == 0;
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_LOCAL_MEM_TYPE, &local_type,
                               sizeof local_type);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, &align_bits,
                               sizeof align_bits);
    (void)ivl__cl_device_value(info->device_id, CL_DEVICE_MAX_WORK_GROUP_SIZE, &work_group,
                               sizeof work_group);
    caps->unified = info->unified;
    caps->local_is_real = local_type == CL_LOCAL && !caps->cpu;
    caps->global_mem = info->global_mem;
    caps->max_alloc = info->max_alloc;
    caps->local_mem = info->local_mem;
    caps->compute_units = info->compute_units ? info->compute_units : 1;
    caps->max_work_group = work_group ? work_group : 1;
    caps->base_align_bytes = align_bits >= 8 ? align_bits / 8 : 128;
    caps->program_cache = true;
    caps->event_times = true;
    caps->clblast = true;
    caps->topk = true;
    fill_max_items(device);
    fill_sub_group(device);
    ivl__quirks_apply(info, caps);
    device->cl.ledger.max_buffer = caps->max_alloc;
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

/* What needs the context: programs, profile, facts, probes, self-test. */
static ivl_status prepare(ivl__device *device, ivl_error *error)
{
    ivl_status status = ivl__programs_open(device, error);

    if (status == IVL_OK) {
        status = ivl__profile_open(device, error);
    }
    if (status == IVL_OK) {
        status = ivl__facts_open(device, error);
    }
    if (status == IVL_OK) {
        status = ivl__probe_x86(device, error);
    }
    if (status == IVL_OK && !device->options.skip_self_test) {
        status = ivl__selftest_at_open(device, error);
    }
    if (status == IVL_OK) {
        ivl__facts_save(device);
    }
    return status;
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
        status = prepare(device, error);
    }
    if (status != IVL_OK) {
        ivl__device_close(device);
        return ivl__fail_context(error, status, "device %d (%s)", info->index, info->name);
    }
    *out = device;
    return IVL_OK;
}

bool ivl__device_stopped(const ivl__device *device)
{
    return device->options.stop && device->options.stop(device->options.stop_user);
}

void ivl__device_close(ivl__device *device)
{
    if (!device) {
        return;
    }
    ivl__facts_close(device);
    ivl__profile_close(device);
    ivl__programs_close(device);
    ivl__cl_close(&device->cl);
    ivl__free((void *)(uintptr_t)device->options.cache_dir);
    ivl__free((void *)(uintptr_t)device->options.kernel_dir);
    ivl__free(device);
}
