/* quirks.c - what drivers get wrong, as a table.
 *
 * A quirk is an observation about a driver with its reason; nothing else in the project looks at
 * the name of a platform or vendor. Some have an effect here, others say why the whole project
 * does something (and appear in `devices`, so that a report names them).
 */
#include "runtime/quirks.h"

#include <stdio.h>
#include <string.h>

/* Patterns: part of the name, NULL any; the driver's version by its beginning. */
typedef struct quirk {
    const char *name;
    const char *platform, *vendor, *device, *driver;
    const char *type; /* "cpu", "gpu", NULL any */
    void (*info)(ivl__device_info *info);
    void (*caps)(ivl__caps *caps);
    const char *reason;
} quirk;

static void no_program_cache(ivl__caps *caps)
{
    caps->program_cache = false;
}

static void no_event_times(ivl__caps *caps)
{
    caps->event_times = false;
}

static void small_local_memory(ivl__caps *caps)
{
    if (caps->local_mem > 28672) {
        caps->local_mem = 28672;
    }
}

static void simulated(ivl__caps *caps)
{
    caps->cpu = true;
    caps->unified = false;
    caps->program_cache = false;
}

static void below_4_gib(ivl__caps *caps)
{
    const uint64_t most = (UINT64_C(1) << 32) - IVL__VIEW_ALIGN;

    if (caps->max_alloc > most) {
        caps->max_alloc = most;
    }
}

static void no_vectors(ivl__caps *caps)
{
    caps->cpu = false;
}

static void software(ivl__device_info *info)
{
    info->software = true;
}

static const quirk quirks[] = {
    {.name = "own-program-cache",
     .platform = "Portable Computing Language",
     .caps = no_program_cache,
     .reason = "PoCL keeps compiled kernels itself; asking it for a binary compiles everything "
               "again, and a damaged binary aborts the process"},
    {.name = "local-memory-aborts",
     .platform = "Portable Computing Language",
     .reason = "PoCL aborts the process when a kernel needs more local memory than there is; the "
               "host checks before every launch"},
    {.name = "memory-follows-free",
     .platform = "Portable Computing Language",
     .reason = "PoCL reports memory by what is free at the moment; the default budget is half of "
               "physical memory instead"},
    {.name = "view-alignment",
     .platform = "Intel",
     .type = "cpu",
     .reason = "Intel's CPU runtime crashes on views of read-only maps at odd offsets; views begin "
               "at multiples of 4096"},
    {.name = "buffers-below-4GiB",
     .platform = "Intel",
     .type = "gpu",
     .caps = below_4_gib,
     .reason = "Intel GPUs address larger buffers only with non-standard flags and slower"},
    {.name = "max-alloc-quarter",
     .platform = "NVIDIA",
     .reason = "NVIDIA reports a quarter of the memory as the largest buffer and may grant more; "
               "the reported limit is kept"},
    {.name = "local-memory-unchecked",
     .platform = "rusticl",
     .caps = small_local_memory,
     .reason = "rusticl accepts kernels with more local memory than it reports and runs them "
               "wrongly; some kernels count twice, so that 28 of 32 KiB are too many"},
    {.name = "loops-end-at-65535",
     .platform = "rusticl",
     .driver = "22.",
     .reason = "loops of more than 65,535 turns stop there silently; no kernel has longer ones"},
    {.name = "no-event-times",
     .platform = "rusticl",
     .driver = "22.",
     .caps = no_event_times,
     .reason = "events carry no times, so there is no profile by stage"},
    {.name = "software-rasteriser",
     .device = "llvmpipe",
     .info = software,
     .reason = "runs on the processor, slower than the CPU drivers; used only when asked for"},
    {.name = "vectors-taken-apart",
     .device = "llvmpipe",
     .caps = no_vectors,
     .reason = "vectors are taken apart before they are compiled, and a kernel of CPUs takes "
               "minutes; the kernels of GPUs are used"},
    {.name = "simulator",
     .platform = "Oclgrind",
     .info = software,
     .caps = simulated,
     .reason = "Oclgrind answers to every device type and simulates a device without shared "
               "memory; used only when asked for"},
};

#define N_QUIRKS (sizeof quirks / sizeof quirks[0])

static bool matches(const quirk *q, const ivl__device_info *info)
{
    return (!q->platform || strstr(info->platform, q->platform)) &&
           (!q->vendor || strstr(info->vendor, q->vendor)) &&
           (!q->device || strstr(info->name, q->device)) &&
           (!q->driver || strncmp(info->driver, q->driver, strlen(q->driver)) == 0) &&
           (!q->type || strcmp(info->type, q->type) == 0);
}

/* fp32 lanes of a GPU's compute unit: the same number of units means different things. */
static double lanes_per_unit(const ivl__device_info *info)
{
    static const struct {
        const char *vendor;
        double lanes;
    } table[] = {
        {"NVIDIA", 128.0}, {"Advanced Micro Devices", 64.0}, {"AMD", 64.0}, {"Intel", 8.0}};

    for (size_t i = 0; strcmp(info->type, "gpu") == 0 && i < sizeof table / sizeof table[0]; i++) {
        if (strstr(info->vendor, table[i].vendor)) {
            return table[i].lanes;
        }
    }
    return 1.0;
}

void ivl__quirks_info(ivl__device_info *info)
{
    size_t used = 0;

    info->speed *= lanes_per_unit(info);
    info->quirks[0] = '\0';
    for (size_t i = 0; i < N_QUIRKS; i++) {
        if (!matches(&quirks[i], info)) {
            continue;
        }
        if (quirks[i].info) {
            quirks[i].info(info);
        }
        if (used < sizeof info->quirks) {
            used += (size_t)snprintf(info->quirks + used, sizeof info->quirks - used, "%s%s",
                                     used ? "," : "", quirks[i].name);
        }
    }
}

void ivl__quirks_apply(const ivl__device_info *info, ivl__caps *caps)
{
    for (size_t i = 0; i < N_QUIRKS; i++) {
        if (quirks[i].caps && matches(&quirks[i], info)) {
            quirks[i].caps(caps);
        }
    }
}

const char *ivl__quirk_reason(const char *name)
{
    for (size_t i = 0; i < N_QUIRKS; i++) {
        if (strcmp(quirks[i].name, name) == 0) {
            return quirks[i].reason;
        }
    }
    return NULL;
}
