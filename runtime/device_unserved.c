/* device_unserved.c - GPUs on the PCI bus that no OpenCL platform serves, and what would help.
 *
 * Reads sysfs, /dev and os-release through the places it is given, so that tests can show it
 * recorded machines. What cannot be read is skipped: this is advice, never a reason to fail.
 */
#include "runtime/device_pci.h"

#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_DISPLAY     0x03u
#define CLASS_ACCELERATOR 0x12u

typedef struct vendor {
    unsigned id;
    const char *name;
    const char *text;        /* how drivers spell it in CL_DEVICE_VENDOR */
    const char *module;      /* kernel driver */
    const char *nodes[2];    /* device files besides the render node */
    const char *packages[5]; /* by distribution, as in `families` */
} vendor;

enum { DEBIAN, UBUNTU, FEDORA, ARCH, SUSE, N_FAMILIES };

static const char *const families[N_FAMILIES] = {"debian", "ubuntu", "fedora", "arch", "suse"};

static const vendor vendors[] = {
    {0x1002,
     "AMD",
     "Advanced Micro Devices",
     "amdgpu",
     {"kfd", NULL},
     {"install rocm-opencl-runtime from AMD's repository (repo.radeon.com), or on Debian 13 "
      "mesa-opencl-icd and set RUSTICL_ENABLE=radeonsi",
      "install rocm-opencl-runtime from AMD's repository (repo.radeon.com)", "install rocm-opencl",
      "install rocm-opencl-runtime",
      "install rocm-opencl-runtime from AMD's repository (repo.radeon.com)"}},
    {0x8086,
     "Intel",
     "Intel",
     "i915 or xe",
     {NULL, NULL},
     {"install intel-opencl-icd", "install intel-opencl-icd", "install intel-compute-runtime",
      "install intel-compute-runtime", "install intel-opencl"}},
    {0x10de,
     "NVIDIA",
     "NVIDIA",
     "nvidia",
     {"nvidiactl", "nvidia0"},
     {"install nvidia-driver and nvidia-opencl-icd (component non-free)",
      "install the driver with `ubuntu-drivers install` (it brings libnvidia-compute)",
      "install xorg-x11-drv-nvidia-cuda (RPM Fusion)", "install opencl-nvidia",
      "install nvidia-compute-G06"}},
};

typedef struct search {
    const ivl__pci_places *places;
    const ivl__device_info *list;
    size_t count;
    bool *spent; /* [count]: a device without a PCI address stands for one card only */
    int family;  /* N_FAMILIES: unknown */
    ivl__unserved_gpu *gpus;
    size_t n, capacity;
    bool out_of_memory;
} search;

/* A small text file of the tree: sysfs answers at most a page. */
static bool read_text(const char *path, char *text, size_t room)
{
    unsigned char *data;
    size_t bytes;

    if (ivl__file_read(path, 1u << 16, &data, &bytes, NULL) != IVL_OK) {
        return false;
    }
    snprintf(text, room, "%s", (char *)data);
    ivl__free(data);
    return true;
}

static unsigned read_hex(const search *s, const char *address, const char *what)
{
    char path[600];
    char text[32];

    snprintf(path, sizeof path, "%s/%s/%s", s->places->devices, address, what);
    return read_text(path, text, sizeof text) ? (unsigned)strtoul(text, NULL, 16) : 0;
}

/* The family whose name comes first in a line, N_FAMILIES when none does. */
static int family_in(const char *line)
{
    const char *first = NULL;
    int family = N_FAMILIES;

    for (int f = 0; f < N_FAMILIES; f++) {
        const char *at = strstr(line, families[f]);

        if (at && (!first || at < first)) {
            first = at;
            family = f;
        }
    }
    return family;
}

/* ID= of os-release, else ID_LIKE=, which lists the nearest relative first. */
static int find_family(const char *path)
{
    char text[8192];
    char *rest = NULL;
    int own = N_FAMILIES;
    int like = N_FAMILIES;

    if (!read_text(path, text, sizeof text)) {
        return N_FAMILIES;
    }
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "ID=", 3) == 0) {
            own = family_in(line);
        } else if (strncmp(line, "ID_LIKE=", 8) == 0) {
            like = family_in(line);
        }
    }
    return own < N_FAMILIES ? own : like;
}

/* ---- served? ----------------------------------------------------------------------------- */

static bool served(search *s, const char *address, const vendor *v)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->list[i].pci, address) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        const ivl__device_info *d = &s->list[i];

        if (!d->pci[0] && !s->spent[i] && strcmp(d->type, "gpu") == 0 &&
            (strstr(d->vendor, v->text) || strstr(d->name, v->name))) {
            s->spent[i] = true;
            return true;
        }
    }
    return false;
}

/* ---- advice ------------------------------------------------------------------------------ */

static bool take_render_node(void *user, const char *name, ivl__entry_kind kind)
{
    (void)kind;
    if (strncmp(name, "renderD", 7) != 0) {
        return true;
    }
    snprintf(user, 64, "dri/%.40s", name);
    return false;
}

/* What is wrong with one device file; "" when nothing is. */
static void check_node(const search *s, const char *node, char *text, size_t room)
{
    char path[300];

    text[0] = '\0';
    snprintf(path, sizeof path, "%.200s/%.64s", s->places->dev, node);
    if (ivl__file_kind_of(path) == IVL__FILE_MISSING) {
        snprintf(text, room, "/dev/%s is missing (in a container: pass it in)", node);
    } else if (!ivl__path_usable(path)) {
        snprintf(
            text, room,
            "no permission for /dev/%s: sudo usermod -aG render,video $USER, then log in again",
            node);
    }
}

/* The kernel's side: driver and device files. */
static void check_kernel(const search *s, const char *address, const vendor *v, char *text,
                         size_t room)
{
    char path[600];
    char node[64] = "";

    text[0] = '\0';
    snprintf(path, sizeof path, "%s/%s/driver", s->places->devices, address);
    if (ivl__file_kind_of(path) == IVL__FILE_MISSING) {
        snprintf(text, room, "no kernel driver is bound to it (needs %s)", v->module);
        return;
    }
    snprintf(path, sizeof path, "%s/%s/drm", s->places->devices, address);
    if (ivl__file_kind_of(path) == IVL__FILE_FOLDER) {
        (void)ivl__folder_list(path, take_render_node, node, NULL);
    }
    if (node[0]) {
        check_node(s, node, text, room);
    }
    for (int i = 0; !text[0] && i < 2 && v->nodes[i]; i++) {
        check_node(s, v->nodes[i], text, room);
    }
}

static void advise(const search *s, const char *address, const vendor *v, char *text, size_t room)
{
    char kernel[200];
    const char *package = s->family < N_FAMILIES ? v->packages[s->family]
                                                 : "install the vendor's OpenCL driver";

    check_kernel(s, address, v, kernel, sizeof kernel);
    if (kernel[0]) {
        snprintf(text, room, "%s; if the OpenCL driver is not there yet, %s", kernel, package);
    } else {
        snprintf(text, room, "%s", package);
    }
}

/* ---- the search -------------------------------------------------------------------------- */

static const vendor *vendor_of(const search *s, const char *address)
{
    unsigned class = read_hex(s, address, "class") >> 16;
    unsigned id = read_hex(s, address, "vendor");

    if (class != CLASS_DISPLAY && class != CLASS_ACCELERATOR) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof vendors / sizeof vendors[0]; i++) {
        if (vendors[i].id == id) {
            return &vendors[i];
        }
    }
    return NULL;
}

static bool look_at(void *user, const char *name, ivl__entry_kind kind)
{
    search *s = user;
    const vendor *v = strlen(name) < sizeof s->gpus->pci ? vendor_of(s, name) : NULL;
    ivl__unserved_gpu *gpu;

    (void)kind;
    if (!v || served(s, name, v)) {
        return true;
    }
    if (!ivl__grow((void **)&s->gpus, &s->capacity, s->n + 1, sizeof *s->gpus)) {
        s->out_of_memory = true;
        return false;
    }
    gpu = &s->gpus[s->n++];
    memset(gpu, 0, sizeof *gpu);
    snprintf(gpu->pci, sizeof gpu->pci, "%s", name);
    snprintf(gpu->vendor, sizeof gpu->vendor, "%s", v->name);
    snprintf(gpu->id, sizeof gpu->id, "%04x:%04x", v->id, read_hex(s, name, "device") & 0xffffu);
    advise(s, name, v, gpu->advice, sizeof gpu->advice);
    return true;
}

static int by_address(const void *a, const void *b)
{
    const ivl__unserved_gpu *x = a;
    const ivl__unserved_gpu *y = b;

    return strcmp(x->pci, y->pci);
}

ivl_status ivl__device_unserved_in(const ivl__pci_places *places, const ivl__device_info *list,
                                   size_t count, ivl__unserved_gpu **gpus, size_t *n_gpus,
                                   ivl_error *error)
{
    search s = {.places = places, .list = list, .count = count};

    s.spent = ivl__calloc(count, sizeof *s.spent);
    if (!s.spent) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the PCI bus");
    }
    s.family = find_family(places->os_release);
    /* No PCI bus to see (a container, another system): nothing to advise. */
    if (ivl__file_kind_of(places->devices) == IVL__FILE_FOLDER) {
        (void)ivl__folder_list(places->devices, look_at, &s, NULL);
    }
    ivl__free(s.spent);
    if (s.out_of_memory) {
        ivl__free(s.gpus);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the PCI bus");
    }
    if (s.n) {
        qsort(s.gpus, s.n, sizeof *s.gpus, by_address);
    }
    *gpus = s.gpus;
    *n_gpus = s.n;
    return IVL_OK;
}

ivl_status ivl__device_unserved(const ivl__device_info *list, size_t count,
                                ivl__unserved_gpu **gpus, size_t *n_gpus, ivl_error *error)
{
    static const ivl__pci_places places = {"/sys/bus/pci/devices", "/dev", "/etc/os-release"};

    return ivl__device_unserved_in(&places, list, count, gpus, n_gpus, error);
}
