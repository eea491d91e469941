/* test_device_select.c - what --device means, duplicates, quirks, and GPUs that nobody serves. */
#include "runtime/device_pci.h"
#include "runtime/memory.h"
#include "runtime/quirks.h"
#include "tests/test.h"

#include <sys/stat.h>
#include <unistd.h>

#define N 6

/* A machine with an integrated GPU, a discrete one under two platforms, a software rasteriser, a
 * CPU and a refused device. */
static void machine(ivl__device_info list[N])
{
    static const struct {
        const char *platform, *name, *vendor, *type, *pci;
        uint32_t units, clock;
        bool unified, usable;
    } rows[N] = {
        {"rusticl", "llvmpipe (LLVM 15.0.6, 256 bits)", "Mesa/X.org", "gpu", "", 8, 300, true,
         true},
        {"Portable Computing Language", "pthread-EPYC", "AuthenticAMD", "cpu", "", 64, 3000, true,
         true},
        {"Intel(R) OpenCL HD Graphics", "Intel(R) UHD Graphics 770", "Intel(R) Corporation", "gpu",
         "0000:00:02.0", 32, 1550, true, true},
        {"AMD Accelerated Parallel Processing", "gfx1100", "Advanced Micro Devices, Inc.", "gpu",
         "0000:03:00.0", 48, 2300, false, true},
        {"rusticl", "AMD Radeon RX 7900 XT", "AMD", "gpu", "0000:03:00.0", 84, 2300, false, true},
        {"Clover", "old thing", "Mesa", "gpu", "0000:04:00.0", 10, 900, false, false},
    };

    memset(list, 0, N * sizeof *list);
    for (int i = 0; i < N; i++) {
        ivl__device_info *d = &list[i];

        d->index = i;
        d->platform_id = (cl_platform_id)(uintptr_t)(i + 1);
        d->duplicate_of = -1;
        snprintf(d->platform, sizeof d->platform, "%s", rows[i].platform);
        snprintf(d->name, sizeof d->name, "%s", rows[i].name);
        snprintf(d->vendor, sizeof d->vendor, "%s", rows[i].vendor);
        snprintf(d->type, sizeof d->type, "%s", rows[i].type);
        snprintf(d->pci, sizeof d->pci, "%s", rows[i].pci);
        d->unified = rows[i].unified;
        d->usable = rows[i].usable;
        d->speed = (double)rows[i].units * rows[i].clock;
        if (!d->usable) {
            snprintf(d->reason, sizeof d->reason, "needs OpenCL 1.2");
        }
        ivl__quirks_info(d);
    }
    ivl__device_mark_duplicates(list, N);
}

/* Picks with one selector and compares with the expected indices, ended by -1. */
static void expect(const ivl__device_info *list, size_t count, const char *selector,
                   const int *wanted)
{
    int picked[N];
    size_t n = 0;
    ivl_error error = {0};

    assert_ok(ivl__device_select(list, count, &selector, selector ? 1 : 0, picked, &n, &error),
              error);
    for (size_t i = 0; i < n; i++) {
        if (picked[i] != wanted[i]) {
            fail_msg("%s: entry %zu is %d, should be %d", selector, i, picked[i], wanted[i]);
        }
    }
    assert_int_equal(wanted[n], -1);
}

static void selectors_name_devices(void **state)
{
    ivl__device_info list[N];

    (void)state;
    machine(list);
    expect(list, N, NULL, (int[]){3, -1});
    expect(list, N, "auto", (int[]){3, -1});
    expect(list, N, "0", (int[]){0, -1});
    expect(list, N, "4", (int[]){4, -1}); /* an index names an entry, duplicate or not */
    expect(list, N, "cpu", (int[]){1, -1});
    expect(list, N, "gpu", (int[]){0, 2, 3, -1});
    expect(list, N, "all", (int[]){0, 1, 2, 3, -1});
    expect(list, N, "pci:03:00.0", (int[]){3, -1});
    expect(list, N, "pci:0000:00:02.0", (int[]){2, -1});
    expect(list, N, "radeon", (int[]){4, -1}); /* only the second entry has that name */
    expect(list, N, "RUSTICL", (int[]){0, 4, -1});
    expect(list, N, "amd", (int[]){3, -1}); /* platform of one, name of its duplicate */
}

static void auto_prefers_fast_gpus(void **state)
{
    ivl__device_info list[N];

    (void)state;
    machine(list);
    list[3].usable = list[4].usable = false;
    expect(list, N, "auto", (int[]){2, -1}); /* the integrated GPU before the CPU */
    list[2].usable = false;
    expect(list, N, "auto", (int[]){1, -1}); /* the CPU before software that claims to be a GPU */
    list[1].usable = false;
    expect(list, N, "auto", (int[]){0, -1});
}

static void two_selectors_pick_once(void **state)
{
    const char *const selectors[] = {"3", "gpu"};
    ivl__device_info list[N];
    int picked[N];
    size_t n = 0;
    ivl_error error = {0};

    (void)state;
    machine(list);
    assert_ok(ivl__device_select(list, N, selectors, 2, picked, &n, &error), error);
    assert_int_equal(n, 3);
    assert_int_equal(picked[0], 3);
    assert_ok(ivl__device_select(list, N, (const char *const[]){"3", "3"}, 2, picked, &n, &error),
              error);
    assert_int_equal(n, 1);
}

static void misses_are_told(void **state)
{
    const char *nothing = "fpga";
    const char *refused = "old thing";
    const char *beyond = "99999999999999999999";
    ivl__device_info list[N];
    int picked[N];
    size_t n = 77;
    ivl_error error = {0};

    (void)state;
    machine(list);
    assert_fails(ivl__device_select(list, N, &nothing, 1, picked, &n, &error), IVL_NO_DEVICE, error,
                 "gfx1100");
    assert_fails(ivl__device_select(list, N, &refused, 1, picked, &n, &error), IVL_NO_DEVICE, error,
                 "needs OpenCL 1.2");
    assert_fails(ivl__device_select(list, N, &beyond, 1, picked, &n, &error), IVL_NO_DEVICE, error,
                 "matches none");
    assert_fails(ivl__device_select(list, 0, NULL, 0, picked, &n, &error), IVL_NO_DEVICE, error,
                 "install");
    assert_int_equal(n, 77);
}

static void duplicates_are_seen(void **state)
{
    ivl__device_info list[N];

    (void)state;
    machine(list);
    assert_int_equal(list[3].duplicate_of, -1);
    assert_int_equal(list[4].duplicate_of, 3);
    /* By UUID where there is no address; never within one platform (two PoCL devices). */
    snprintf(list[0].uuid, sizeof list[0].uuid, "00112233445566778899aabbccddeeff");
    snprintf(list[1].uuid, sizeof list[1].uuid, "00112233445566778899aabbccddeeff");
    ivl__device_mark_duplicates(list, N);
    assert_int_equal(list[1].duplicate_of, 0);
    list[1].duplicate_of = -1;
    list[1].platform_id = list[0].platform_id;
    ivl__device_mark_duplicates(list, N);
    assert_int_equal(list[1].duplicate_of, -1);
    /* A different address is a different card, whatever a driver says about UUIDs. */
    list[1].platform_id = (cl_platform_id)(uintptr_t)99;
    snprintf(list[0].pci, sizeof list[0].pci, "0000:07:00.0");
    snprintf(list[1].pci, sizeof list[1].pci, "0000:08:00.0");
    ivl__device_mark_duplicates(list, N);
    assert_int_equal(list[1].duplicate_of, -1);
}

static void quirks_have_effects_and_reasons(void **state)
{
    ivl__device_info list[N];
    ivl__caps caps = {.program_cache = true, .max_alloc = UINT64_C(1) << 40};

    (void)state;
    machine(list);
    assert_non_null(strstr(list[0].quirks, "software-rasteriser"));
    assert_true(list[0].software);
    ivl__quirks_apply(&list[1], &caps);
    assert_false(caps.program_cache);
    ivl__quirks_apply(&list[2], &caps);
    assert_true(caps.max_alloc < UINT64_C(1) << 32);
    assert_non_null(ivl__quirk_reason("own-program-cache"));
    assert_null(ivl__quirk_reason("no such quirk"));
    for (int i = 0; i < N; i++) {
        char names[512];
        char *rest = NULL;

        snprintf(names, sizeof names, "%s", list[i].quirks);
        for (char *q = strtok_r(names, ",", &rest); q; q = strtok_r(NULL, ",", &rest)) {
            assert_non_null(ivl__quirk_reason(q));
        }
    }
}

/* ---- GPUs that nobody serves ------------------------------------------------------------- */

static char root[] = "/tmp/ivl-test-pci-XXXXXX";

static void put_folder(const char *name)
{
    char path[300];

    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0755);
            *p = '/';
        }
    }
    (void)mkdir(path, 0755);
}

static void put_file(const char *folder, const char *name, const char *text, unsigned mode)
{
    char path[600];
    FILE *file;

    put_folder(folder);
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void put_card(const char *address, const char *class, const char *vendor, const char *device)
{
    char folder[100];

    snprintf(folder, sizeof folder, "pci/%s", address);
    put_file(folder, "class", class, 0644);
    put_file(folder, "vendor", vendor, 0644);
    put_file(folder, "device", device, 0644);
}

/* As recorded on real machines: an AMD card with everything, an NVIDIA card without its driver, an
 * Intel GPU whose render node is closed, and things that are no GPUs. */
static void put_tree(void)
{
    put_card("0000:00:00.0", "0x060000\n", "0x8086\n", "0x0d57\n");
    put_card("0000:03:00.0", "0x030000\n", "0x1002\n", "0x744c\n");
    put_folder("pci/0000:03:00.0/driver");
    put_folder("pci/0000:03:00.0/drm/card0");
    put_folder("pci/0000:03:00.0/drm/renderD128");
    put_card("0000:03:00.1", "0x040300\n", "0x1002\n", "0xab30\n"); /* its audio */
    put_card("0000:81:00.0", "0x030200\n", "0x10de\n", "0x2330\n");
    put_card("0000:00:02.0", "0x030000\n", "0x8086\n", "0x4680\n");
    put_folder("pci/0000:00:02.0/driver");
    put_folder("pci/0000:00:02.0/drm/renderD129");
    put_card("0000:c1:00.0", "0x030000\n", "0x1a03\n", "0x2000\n"); /* a server's console */
    put_file("dev", "kfd", "", 0666);
    put_file("dev/dri", "renderD128", "", 0666);
    put_file("dev/dri", "renderD129", "", 0600);
    put_file("etc", "os-release", "PRETTY_NAME=\"x\"\nID=debian\n", 0644);
    put_file("etc", "mint", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", 0644);
}

static size_t find(const char *os_release, const ivl__device_info *list, size_t count,
                   ivl__unserved_gpu **gpus)
{
    char pci[100];
    char dev[100];
    char os[100];
    const ivl__pci_places places = {pci, dev, os};
    size_t n = 0;
    ivl_error error = {0};

    snprintf(pci, sizeof pci, "%s/pci", root);
    snprintf(dev, sizeof dev, "%s/dev", root);
    snprintf(os, sizeof os, "%s/etc/%s", root, os_release);
    assert_ok(ivl__device_unserved_in(&places, list, count, gpus, &n, &error), error);
    return n;
}

static void unserved_gpus_get_advice(void **state)
{
    ivl__unserved_gpu *gpus = NULL;
    bool root_user = geteuid() == 0;

    (void)state;
    /* Root may open everything: look with somebody else's eyes. */
    assert_int_equal(root_user ? seteuid(65534) : 0, 0);
    assert_int_equal(find("os-release", NULL, 0, &gpus), 3);
    assert_int_equal(root_user ? seteuid(0) : 0, 0);
    assert_string_equal(gpus[0].pci, "0000:00:02.0");
    assert_string_equal(gpus[0].vendor, "Intel");
    assert_string_equal(gpus[0].id, "8086:4680");
    assert_non_null(strstr(gpus[0].advice, "no permission for /dev/dri/renderD129"));
    assert_non_null(strstr(gpus[0].advice, "intel-opencl-icd"));
    assert_string_equal(gpus[1].vendor, "AMD");
    assert_non_null(strstr(gpus[1].advice, "RUSTICL_ENABLE=radeonsi"));
    assert_null(strstr(gpus[1].advice, "permission"));
    assert_string_equal(gpus[2].vendor, "NVIDIA");
    assert_non_null(strstr(gpus[2].advice, "no kernel driver"));
    assert_non_null(strstr(gpus[2].advice, "nvidia-opencl-icd"));
    for (int i = 0; i < 3; i++) {
        printf("%s %s (%s): %s\n", gpus[i].pci, gpus[i].vendor, gpus[i].id, gpus[i].advice);
    }
    ivl__free(gpus);
    gpus = NULL;
    assert_int_equal(find("mint", NULL, 0, &gpus), 3);
    assert_non_null(strstr(gpus[2].advice, "ubuntu-drivers"));
    ivl__free(gpus);
    gpus = NULL;
    assert_int_equal(find("missing", NULL, 0, &gpus), 3);
    assert_non_null(strstr(gpus[1].advice, "vendor's OpenCL driver"));
    ivl__free(gpus);
}

static void served_gpus_are_left_out(void **state)
{
    ivl__device_info list[2] = {{.type = "gpu", .pci = "0000:03:00.0", .vendor = "AMD"},
                                {.type = "gpu", .vendor = "NVIDIA Corporation"}};
    ivl__unserved_gpu *gpus = NULL;

    (void)state;
    /* One by its address, one by its vendor as the driver does not tell where it sits. */
    assert_int_equal(find("os-release", list, 2, &gpus), 1);
    assert_string_equal(gpus[0].vendor, "Intel");
    ivl__free(gpus);
}

static void no_bus_is_no_advice(void **state)
{
    const ivl__pci_places places = {"/nowhere", "/nowhere", "/nowhere"};
    ivl__unserved_gpu *gpus = NULL;
    size_t n = 7;
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__device_unserved_in(&places, NULL, 0, &gpus, &n, &error), error);
    assert_int_equal(n, 0);
    ivl__free(gpus);
    /* The machine itself: whatever it has, reading it works. */
    assert_ok(ivl__device_unserved(NULL, 0, &gpus, &n, &error), error);
    ivl__free(gpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selectors_name_devices),
        cmocka_unit_test(auto_prefers_fast_gpus),
        cmocka_unit_test(two_selectors_pick_once),
        cmocka_unit_test(misses_are_told),
        cmocka_unit_test(duplicates_are_seen),
        cmocka_unit_test(quirks_have_effects_and_reasons),
        cmocka_unit_test(unserved_gpus_get_advice),
        cmocka_unit_test(served_gpus_are_left_out),
        cmocka_unit_test(no_bus_is_no_advice),
    };
    char command[100];
    int failed;

    if (!mkdtemp(root) || chmod(root, 0755) != 0) {
        perror(root);
        return 1;
    }
    put_tree();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return failed + (system(command) != 0);
}
