/* cmd_devices.c - `internvl devices`: what there is to run on, what would be used and why not the
 * rest. */
#include "cli/json.h"
#include "cli/options.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

/* What ivl_devices_list answers, and which of it --device names. */
typedef struct listing {
    ivl_device *devices;
    size_t n;
    ivl_unserved_gpu *unserved;
    size_t n_unserved;
    int *picked;
    size_t n_picked;
} listing;

static void listing_free(listing *l)
{
    ivl_devices_free(l->devices, l->unserved);
    ivl__free(l->picked);
}

static bool is_picked(const listing *l, int index)
{
    for (size_t i = 0; i < l->n_picked; i++) {
        if (l->picked[i] == index) {
            return true;
        }
    }
    return false;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void add_device(cli_json *json, const ivl_device *d, bool selected)
{
    cli_json_begin(json, NULL, '{');
    cli_json_int(json, "index", d->index);
    cli_json_text(json, "platform", d->platform);
    cli_json_text(json, "name", d->name);
    cli_json_text(json, "vendor", d->vendor);
    cli_json_text(json, "driver", d->driver);
    cli_json_text(json, "version", d->version);
    cli_json_text(json, "type", d->type);
    cli_json_text(json, "pci", d->pci);
    cli_json_text(json, "uuid", d->uuid);
    if (d->duplicate_of < 0) {
        cli_json_null(json, "duplicate_of");
    } else {
        cli_json_int(json, "duplicate_of", d->duplicate_of);
    }
    cli_json_u64(json, "global_mem", d->global_mem);
    cli_json_u64(json, "max_alloc", d->max_alloc);
    cli_json_u64(json, "local_mem", d->local_mem);
    cli_json_u64(json, "compute_units", d->compute_units);
    cli_json_u64(json, "clock_mhz", d->clock_mhz);
    cli_json_text(json, "quirks", d->quirks);
    cli_json_bool(json, "selected", selected);
    cli_json_bool(json, "usable", d->usable);
    cli_json_text(json, "reason", d->reason);
    cli_json_end(json, '}');
}

static int print_json(const listing *l)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i) {
            cli_json_line(&json);
        }
        add_device(&json, &l->devices[i], is_picked(l, l->devices[i].index));
    }
    cli_json_end(&json, ']');
    return cli_json_print(&json);
}

/* ---- for people ------------------------------------------------------------------------------ */

static double gib(uint64_t bytes)
{
    return (double)bytes / 0x1p30;
}

static void print_device(const ivl_device *d, bool selected)
{
    printf("%c %d  %s\n", selected ? '*' : ' ', d->index, d->name);
    printf("     %s, platform %s, driver %s\n", d->type, d->platform, d->driver);
    printf("     memory %.1f GiB, largest buffer %.1f GiB, local %.0f KiB, %u compute units",
           gib(d->global_mem), gib(d->max_alloc), (double)d->local_mem / 1024.0, d->compute_units);
    printf(d->clock_mhz ? ", %u MHz\n" : "\n", d->clock_mhz);
    if (d->pci[0] || d->uuid[0]) {
        printf("     %s%s%s%s%s\n", d->pci[0] ? "PCI " : "", d->pci,
               d->pci[0] && d->uuid[0] ? ", " : "", d->uuid[0] ? "UUID " : "", d->uuid);
    }
    if (d->quirks[0]) {
        printf("     quirks in force: %s\n", d->quirks);
    }
    if (d->duplicate_of >= 0) {
        printf("     the same card as %d, used once\n", d->duplicate_of);
    }
    if (!d->usable) {
        printf("     not used: %s\n", d->reason);
    }
}

static void print_table(const listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        print_device(&l->devices[i], is_picked(l, l->devices[i].index));
    }
    if (l->n_picked) {
        printf("\n* would be used\n");
    }
}

static void say_unserved(const listing *l)
{
    for (size_t i = 0; i < l->n_unserved; i++) {
        cli_say(IVL_LOG_WARNING, "%s GPU at %s is served by no OpenCL platform: %s",
                l->unserved[i].vendor, l->unserved[i].pci, l->unserved[i].advice);
    }
}

/* ---- command --------------------------------------------------------------------------------- */

static ivl_status find_devices(const cli_globals *globals, listing *l, ivl_error *error)
{
    IVL__TRY(ivl_devices_list(&l->devices, &l->n, &l->unserved, &l->n_unserved, error));
    l->picked = ivl__calloc(l->n + 1, sizeof *l->picked);
    if (!l->picked) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    }
    return ivl_devices_select(globals->devices, globals->n_devices, l->picked, l->n, &l->n_picked,
                              error);
}

/* The list is printed whatever the selection says: it is where people look for the reason. */
static int run(const cli_globals *globals, int argc, char **argv)
{
    bool json = false;
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &json, NULL, "an array of objects on stdout", NULL}, {0}};
    listing l = {0};
    ivl_error error = {0};
    ivl_status status;
    int code;

    if (!cli_options_parse(&cli_devices, options, argc, argv, NULL, &code)) {
        return code;
    }
    status = find_devices(globals, &l, &error);
    code = CLI_DONE;
    if (status == IVL_OK || status == IVL_NO_DEVICE) {
        if (json) {
            code = print_json(&l);
        } else {
            print_table(&l);
        }
        say_unserved(&l);
    }
    if (status != IVL_OK) {
        code = cli_fail(&error);
    }
    listing_free(&l);
    return code;
}

const cli_command cli_devices = {
    .name = "devices",
    .summary = "platforms and devices, what would be used and why not the others",
    .synopsis = "[--json]",
    .examples = "internvl devices\n"
                "internvl devices --device gpu\n"
                "internvl devices --json",
    .run = run,
};
