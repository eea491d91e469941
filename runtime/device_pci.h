/* device_pci.h - where a device sits on the PCI bus, and GPUs there that nobody serves. */
#ifndef IVL_RUNTIME_DEVICE_PCI_H
#define IVL_RUNTIME_DEVICE_PCI_H

#include "runtime/device.h"

/* "0000:03:00.0" or "" where the driver does not tell. */
void ivl__device_read_pci(cl_device_id id, char *pci, size_t bytes);
/* 32 hex digits, "" where the driver does not tell (or says zero). */
void ivl__device_read_uuid(cl_device_id id, char uuid[33]);

/* ivl__device_unserved with the places it looks at; tests give recorded trees. */
typedef struct ivl__pci_places {
    const char *devices;    /* "/sys/bus/pci/devices" */
    const char *dev;        /* "/dev" */
    const char *os_release; /* "/etc/os-release" */
} ivl__pci_places;
ivl_status ivl__device_unserved_in(const ivl__pci_places *places, const ivl__device_info *list,
                                   size_t count, ivl__unserved_gpu **gpus, size_t *n_gpus,
                                   ivl_error *error);

#endif
