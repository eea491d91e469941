/* device_pci.c - PCI addresses and identities of OpenCL devices; see device_pci.h. */
#include "runtime/device_pci.h"

#include <stdio.h>
#include <string.h>

/* Keys of extensions, by value: headers of different ages lack some of them. */
#define KEY_PCI_BUS_INFO_KHR 0x410F
#define KEY_UUID_KHR         0x106A
#define KEY_PCI_BUS_ID_NV    0x4008
#define KEY_PCI_SLOT_ID_NV   0x4009
#define KEY_PCI_DOMAIN_ID_NV 0x400A
#define KEY_TOPOLOGY_AMD     0x4037

void ivl__device_read_pci(cl_device_id id, char *pci, size_t bytes)
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
    } else if (ivl__cl_device_value(id, KEY_TOPOLOGY_AMD, amd, sizeof amd) && amd[0] == 1) {
        /* cl_device_topology_amd: type 1 is PCIe; bus, device, function are the last bytes. */
        snprintf(pci, bytes, "0000:%02x:%02x.%x", amd[21], amd[22], amd[23] & 0xfu);
    } else {
        pci[0] = '\0';
    }
}

void ivl__device_read_uuid(cl_device_id id, char uuid[33])
{
    static const unsigned char none[16];
    unsigned char raw[16];

    uuid[0] = '\0';
    if (ivl__cl_device_value(id, KEY_UUID_KHR, raw, sizeof raw) &&
        memcmp(raw, none, sizeof raw) != 0) {
        for (int i = 0; i < 16; i++) {
            snprintf(uuid + (size_t)(2 * i), 3, "%02x", raw[i]);
        }
    }
}
