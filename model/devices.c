/* devices.c - the public view of the device list; see internvl.h. */
#include "model/internvl.h"
#include "runtime/device.h"
#include "runtime/memory.h"

#include <string.h>

static void copy_device(const ivl__device_info *from, ivl_device *to)
{
    to->index = from->index;
    memcpy(to->platform, from->platform, sizeof to->platform);
    memcpy(to->name, from->name, sizeof to->name);
    memcpy(to->vendor, from->vendor, sizeof to->vendor);
    memcpy(to->driver, from->driver, sizeof to->driver);
    memcpy(to->version, from->version, sizeof to->version);
    memcpy(to->type, from->type, sizeof to->type);
    memcpy(to->pci, from->pci, sizeof to->pci);
    memcpy(to->uuid, from->uuid, sizeof to->uuid);
    to->duplicate_of = from->duplicate_of;
    to->global_mem = from->global_mem;
    to->max_alloc = from->max_alloc;
    to->local_mem = from->local_mem;
    to->compute_units = from->compute_units;
    to->clock_mhz = from->clock_mhz;
    to->usable = from->usable;
    memcpy(to->reason, from->reason, sizeof to->reason);
    memcpy(to->quirks, from->quirks, sizeof to->quirks);
}

static ivl_status copy_unserved(const ivl__unserved_gpu *from, size_t n, ivl_unserved_gpu **out,
                                ivl_error *error)
{
    ivl_unserved_gpu *to = ivl__calloc(n + 1, sizeof *to);

    if (!to) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(to[i].pci, from[i].pci, sizeof to[i].pci);
        memcpy(to[i].vendor, from[i].vendor, sizeof to[i].vendor);
        memcpy(to[i].advice, from[i].advice, sizeof to[i].advice);
    }
    *out = to;
    return IVL_OK;
}

ivl_status ivl_devices_list(ivl_device **devices, size_t *n_devices, ivl_unserved_gpu **unserved,
                            size_t *n_unserved, ivl_error *error)
{
    ivl__device_info *list = NULL;
    ivl__unserved_gpu *gpus = NULL;
    ivl_unserved_gpu *public_gpus = NULL;
    ivl_device *copy = NULL;
    size_t count = 0;
    size_t n_gpus = 0;
    ivl_status status = ivl__device_list(&list, &count, error);

    if (status == IVL_OK) {
        status = ivl__device_unserved(list, count, &gpus, &n_gpus, error);
    }
    if (status == IVL_OK) {
        status = copy_unserved(gpus, n_gpus, &public_gpus, error);
    }
    if (status == IVL_OK) {
        copy = ivl__calloc(count + 1, sizeof *copy);
        status = copy ? IVL_OK
                      : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    }
    if (status == IVL_OK) {
        for (size_t i = 0; i < count; i++) {
            copy_device(&list[i], &copy[i]);
        }
        *devices = copy;
        *n_devices = count;
        *unserved = public_gpus;
        *n_unserved = n_gpus;
    } else {
        ivl__free(public_gpus);
    }
    ivl__free(gpus);
    ivl__free(list);
    return status;
}

void ivl_devices_free(ivl_device *devices, ivl_unserved_gpu *unserved)
{
    ivl__free(devices);
    ivl__free(unserved);
}

ivl_status ivl_devices_select(const char *const *selectors, size_t n_selectors, int *picked,
                              size_t capacity, size_t *n_picked, ivl_error *error)
{
    ivl__device_info *list = NULL;
    size_t count = 0;
    size_t n = 0;
    int *all;
    ivl_status status = ivl__device_list(&list, &count, error);

    if (status != IVL_OK) {
        return status;
    }
    all = ivl__calloc(count + 1, sizeof *all);
    status = all ? ivl__device_select(list, count, selectors, n_selectors, all, &n, error)
                 : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    if (status == IVL_OK && n > capacity) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT, "%zu devices match, there is room for %zu",
                           n, capacity);
    }
    if (status == IVL_OK) {
        memcpy(picked, all, n * sizeof *picked);
        *n_picked = n;
    }
    ivl__free(all);
    ivl__free(list);
    return status;
}
