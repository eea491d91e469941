/* device_select.c - which devices --device means; see device.h. Works on the list alone. */
#include "runtime/device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Where both say where they sit, that decides; else the UUID does. */
static bool same_card(const ivl__device_info *a, const ivl__device_info *b)
{
    if (a->platform_id == b->platform_id) {
        return false;
    }
    if (a->pci[0] && b->pci[0]) {
        return strcmp(a->pci, b->pci) == 0;
    }
    return a->uuid[0] && strcmp(a->uuid, b->uuid) == 0;
}

void ivl__device_mark_duplicates(ivl__device_info *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i && list[i].duplicate_of < 0; j++) {
            if (list[j].duplicate_of < 0 && same_card(&list[i], &list[j])) {
                list[i].duplicate_of = (int)j;
            }
        }
    }
}

static bool contains(const char *text, const char *part)
{
    size_t length = strlen(part);

    for (; *text; text++) {
        if (strncasecmp(text, part, length) == 0) {
            return true;
        }
    }
    return false;
}

/* "pci:03:00.0" means domain 0. */
static bool pci_matches(const char *pci, const char *wanted)
{
    size_t length = strlen(pci);
    size_t n = strlen(wanted);

    return n && length >= n && strcasecmp(pci + length - n, wanted) == 0 &&
           (length == n || strncmp(pci, "0000:", 5) == 0);
}

static bool selector_matches(const ivl__device_info *info, const char *selector)
{
    if (strcmp(selector, "all") == 0) {
        return true;
    }
    if (strcmp(selector, "gpu") == 0 || strcmp(selector, "cpu") == 0) {
        return strcmp(info->type, selector) == 0;
    }
    if (strncmp(selector, "pci:", 4) == 0) {
        return pci_matches(info->pci, selector + 4);
    }
    if (selector[0] && strspn(selector, "0123456789") == strlen(selector)) {
        return strtoul(selector, NULL, 10) == (unsigned long)info->index;
    }
    return selector[0] && (contains(info->platform, selector) || contains(info->name, selector));
}

/* GPUs with memory of their own, GPUs that share the host's, CPUs, the rest; simulators last. */
static int class_of(const ivl__device_info *info)
{
    if (info->software) {
        return 0;
    }
    if (strcmp(info->type, "gpu") == 0) {
        return info->unified ? 3 : 4;
    }
    return strcmp(info->type, "cpu") == 0 ? 2 : 1;
}

static bool better(const ivl__device_info *a, const ivl__device_info *b)
{
    int difference = class_of(a) - class_of(b);

    return difference ? difference > 0 : a->speed > b->speed;
}

static void add(int *picked, size_t *n, int index)
{
    for (size_t i = 0; i < *n; i++) {
        if (picked[i] == index) {
            return;
        }
    }
    picked[(*n)++] = index;
}

static ivl_status pick_auto(const ivl__device_info *list, size_t count, int *picked, size_t *n,
                            ivl_error *error)
{
    const ivl__device_info *best = NULL;

    for (size_t i = 0; i < count; i++) {
        if (list[i].usable && list[i].duplicate_of < 0 && (!best || better(&list[i], best))) {
            best = &list[i];
        }
    }
    if (!best) {
        return ivl__fail(error, IVL_NO_DEVICE,
                         "none of the %zu OpenCL devices can be used (first: "
                         "%s: %s)",
                         count, list[0].name, list[0].reason);
    }
    add(picked, n, best->index);
    return IVL_OK;
}

static ivl_status no_match(const ivl__device_info *list, size_t count, const char *selector,
                           ivl_error *error)
{
    char names[600] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof names; i++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%d: %s (%s)", i ? ", " : "",
                                 list[i].index, list[i].name, list[i].platform);
    }
    return ivl__fail(error, IVL_NO_DEVICE, "--device %s matches none of the devices: %s", selector,
                     names);
}

static ivl_status pick_one(const ivl__device_info *list, size_t count, const char *selector,
                           int *picked, size_t *n, ivl_error *error)
{
    const ivl__device_info *refused = NULL;
    bool found = false; /* perhaps one that another selector has named already */

    if (strcmp(selector, "auto") == 0) {
        return pick_auto(list, count, picked, n, error);
    }
    for (size_t i = 0; i < count; i++) {
        /* An index names one entry even where it shows a card for the second time. */
        bool by_index = isdigit((unsigned char)selector[0]) && selector_matches(&list[i], selector);

        if (!selector_matches(&list[i], selector)) {
            continue;
        }
        if (!list[i].usable) {
            refused = &list[i];
        } else if (by_index || list[i].duplicate_of < 0 ||
                   !selector_matches(&list[list[i].duplicate_of], selector)) {
            add(picked, n, list[i].index);
            found = true;
        }
    }
    if (found) {
        return IVL_OK;
    }
    if (refused) {
        return ivl__fail(error, IVL_NO_DEVICE, "--device %s: device %d (%s) cannot be used: %s",
                         selector, refused->index, refused->name, refused->reason);
    }
    return no_match(list, count, selector, error);
}

ivl_status ivl__device_select(const ivl__device_info *list, size_t count,
                              const char *const *selectors, size_t n_selectors, int *picked,
                              size_t *n_picked, ivl_error *error)
{
    static const char *const automatic[] = {"auto"};
    size_t n = 0;

    if (!count) {
        return ivl__fail(error, IVL_NO_DEVICE,
                         "no OpenCL device found; install a driver (on Debian: pocl-opencl-icd for "
                         "CPUs; see `internvl devices` for GPUs)");
    }
    if (!n_selectors) {
        selectors = automatic;
        n_selectors = 1;
    }
    for (size_t s = 0; s < n_selectors; s++) {
        ivl_status status = pick_one(list, count, selectors[s], picked, &n, error);

        if (status != IVL_OK) {
            return status;
        }
    }
    *n_picked = n;
    return IVL_OK;
}
