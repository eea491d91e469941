/* quirks.c - what drivers get wrong, as a table.
 *
 * A quirk is an observation about a driver with its reason; nothing else in the project looks at
 * the name of a platform or vendor.
 */
#include "runtime/quirks.h"

#include <stdio.h>
#include <string.h>

typedef struct quirk {
    const char *name;
    const char *platform; /* part of the platform's name */
    const char *driver;   /* beginning of the driver's version, NULL any */
    void (*apply)(ivl__caps *caps);
    const char *reason;
} quirk;

static void no_program_cache(ivl__caps *caps)
{
    caps->program_cache = false;
}

static void small_local_memory(ivl__caps *caps)
{
    if (caps->local_mem > 32768) {
        caps->local_mem = 32768;
    }
}

static void is_simulated_cpu(ivl__caps *caps)
{
    caps->cpu = true;
    caps->unified = false;
}

static const quirk quirks[] = {
    {"own-program-cache", "Portable Computing Language", NULL, no_program_cache,
     "PoCL keeps compiled kernels itself; asking it for a binary compiles everything again, and a "
     "damaged binary aborts the process"},
    {"local-memory-unchecked", "rusticl", NULL, small_local_memory,
     "rusticl accepts kernels with more local memory than it reports and runs them wrongly"},
    {"simulator", "Oclgrind", NULL, is_simulated_cpu,
     "Oclgrind answers to every device type and simulates a device without shared memory"},
};

static bool matches(const quirk *q, const ivl__device_info *info)
{
    return strstr(info->platform, q->platform) &&
           (!q->driver || strncmp(info->driver, q->driver, strlen(q->driver)) == 0);
}

void ivl__quirks_describe(const ivl__device_info *info, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < sizeof quirks / sizeof quirks[0]; i++) {
        if (matches(&quirks[i], info) && used < bytes) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? "," : "",
                                     quirks[i].name);
        }
    }
}

void ivl__quirks_apply(const ivl__device_info *info, ivl__caps *caps)
{
    for (size_t i = 0; i < sizeof quirks / sizeof quirks[0]; i++) {
        if (matches(&quirks[i], info)) {
            quirks[i].apply(caps);
        }
    }
}
