/* facts.c - what was found out about a device and driver; see facts.h. */
#include "runtime/facts.h"

#include "runtime/kernel_source.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

#define MAX_FACTS      64
#define MAX_FILE_BYTES 16384u
#define FACTS_FORMAT   "facts-1"

typedef struct fact {
    char name[48], value[32];
} fact;

struct ivl__facts {
    fact facts[MAX_FACTS];
    int n;
    bool changed;
    char *path; /* NULL: not kept */
};

static void add_text(ivl__sha256 *hash, const char *text)
{
    ivl__sha256_add(hash, text, strlen(text) + 1);
}

void ivl__device_identity(const ivl__device *device, ivl__sha256 *hash)
{
    const ivl__device_info *info = &device->info;

    add_text(hash, info->platform);
    add_text(hash, info->platform_version);
    add_text(hash, info->name);
    add_text(hash, info->vendor);
    add_text(hash, info->version);
    add_text(hash, info->driver);
    /* A shared cache may meet two processors that a hypervisor gives the same name. */
    if (device->caps.cpu) {
        ivl__cpu_features host = ivl__cpu_features_of_host();
        char text[48];

        snprintf(text, sizeof text, "avx2 %d avx512f %d bf16 %d amx %d", host.avx2_fma,
                 host.avx512f, host.avx512_bf16, host.amx_bf16);
        add_text(hash, text);
    }
}

void ivl__device_key(const ivl__device *device, const char *format, char hex[65])
{
    ivl__sha256 hash;

    ivl__sha256_init(&hash);
    add_text(&hash, format);
    add_text(&hash, IVL_VERSION);
    ivl__device_identity(device, &hash);
    for (const ivl__kernel_source *s = ivl__kernel_sources; s->name; s++) {
        add_text(&hash, s->name);
        add_text(&hash, s->sha256);
    }
    ivl__sha256_hex(&hash, hex);
}

static char *path_of(const ivl__device *device)
{
    size_t room = strlen(device->options.cache_dir) + 64;
    char *path = ivl__malloc(room);
    char key[65];

    if (path) {
        ivl__device_key(device, FACTS_FORMAT, key);
        snprintf(path, room, "%s/devices/%.32s.txt", device->options.cache_dir, key);
    }
    return path;
}

static void parse(struct ivl__facts *facts, char *text)
{
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        fact one;

        if (line[0] != '#' && facts->n < MAX_FACTS &&
            sscanf(line, "%47s %31s", one.name, one.value) == 2) {
            facts->facts[facts->n++] = one;
        }
    }
}

ivl_status ivl__facts_open(ivl__device *device, ivl_error *error)
{
    struct ivl__facts *facts = ivl__calloc(1, sizeof *facts);
    unsigned char *text = NULL;
    size_t bytes = 0;

    if (!facts) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for what is known of a device");
    }
    device->facts = facts;
    /* Developers' kernels from a folder change at any time: nothing is remembered of them. */
    if (!device->options.cache_dir || device->options.kernel_dir) {
        return IVL_OK;
    }
    facts->path = path_of(device);
    if (!facts->path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for what is known of a device");
    }
    if (ivl__file_kind_of(facts->path) == IVL__FILE_REGULAR &&
        ivl__file_read(facts->path, MAX_FILE_BYTES, &text, &bytes, NULL) == IVL_OK) {
        parse(facts, (char *)text);
        ivl__free(text);
    }
    return IVL_OK;
}

void ivl__facts_close(ivl__device *device)
{
    if (device->facts) {
        ivl__free(device->facts->path);
        ivl__free(device->facts);
        device->facts = NULL;
    }
}

const char *ivl__facts_get(const ivl__device *device, const char *name)
{
    for (int i = 0; i < device->facts->n; i++) {
        if (strcmp(device->facts->facts[i].name, name) == 0) {
            return device->facts->facts[i].value;
        }
    }
    return NULL;
}

ivl_status ivl__facts_set(ivl__device *device, const char *name, const char *value,
                          ivl_error *error)
{
    struct ivl__facts *facts = device->facts;
    int at = 0;

    while (at < facts->n && strcmp(facts->facts[at].name, name) != 0) {
        at++;
    }
    if (at == MAX_FACTS || strlen(name) >= sizeof facts->facts[0].name ||
        strlen(value) >= sizeof facts->facts[0].value) {
        return ivl__fail(error, IVL_INTERNAL, "no room for the fact '%s %s'", name, value);
    }
    if (at < facts->n && strcmp(facts->facts[at].value, value) == 0) {
        return IVL_OK;
    }
    memset(&facts->facts[at], 0, sizeof facts->facts[at]);
    memcpy(facts->facts[at].name, name, strlen(name));
    memcpy(facts->facts[at].value, value, strlen(value));
    facts->n += at == facts->n;
    facts->changed = true;
    return IVL_OK;
}

void ivl__facts_save(ivl__device *device)
{
    struct ivl__facts *facts = device->facts;
    char text[MAX_FILE_BYTES];
    char *folder;
    ivl_error error = {0};
    ivl_status status = IVL_OUT_OF_MEMORY;
    size_t used;

    if (!facts->path || !facts->changed) {
        return;
    }
    used = (size_t)snprintf(text, sizeof text,
                            "# What was found out about %s (%s, driver %s).\n"
                            "# Delete this file to have it found out again.\n",
                            device->info.name, device->info.platform, device->info.driver);
    for (int i = 0; i < facts->n; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s\n", facts->facts[i].name,
                                 facts->facts[i].value);
    }
    folder = ivl__path_folder(facts->path);
    if (folder) {
        status = ivl__folder_create(folder, &error);
    }
    if (status == IVL_OK) {
        status = ivl__file_replace(facts->path, text, used, &error);
    }
    ivl__free(folder);
    facts->changed = status != IVL_OK;
    if (status != IVL_OK) {
        ivl__log(IVL_LOG_VERBOSE, "what was found out about the device is not kept: %s",
                 error.message);
    }
}
