/* yardstick.c - register-only peaks of the device and the rate of reading; see yardstick.h. */
#include "bench/yardstick.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdlib.h>
#include <time.h>

#define PEAK_TURNS      60000
#define GROUPS_PER_UNIT 8

/* cl/peak.cl */
static const double flops_per_turn[BENCH_PEAKS] = {24.0 * 16 * 2, 24.0 * 16 * 2 * 2,
                                                   4.0 * 16 * 16 * 32 * 2};

ivl_status bench_peak_open(ivl__device *device, bench_peak *peak, ivl_error *error)
{
    *peak = (bench_peak){.device = device};
    if (!device->caps.cpu) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "%s is no CPU, and the yardstick of this benchmark is a processor's; pass "
                         "--device cpu",
                         device->info.name);
    }
    IVL__TRY(ivl__kernel_get(device, "peak.cl", "", "peak", &peak->kernel[BENCH_PEAK_FMA], error));
    if (device->caps.x86_bf16_dot) {
        IVL__TRY(ivl__kernel_get(device, "peak.cl", "-DBF16_DOT=1", "peak",
                                 &peak->kernel[BENCH_PEAK_DOT], error));
    }
    if (device->caps.x86_amx_bf16) {
        IVL__TRY(ivl__kernel_get(device, "peak.cl", "-DTILES=1", "peak",
                                 &peak->kernel[BENCH_PEAK_TILES], error));
    }
    IVL__TRY(ivl__kernel_get(device, "peak.cl", "", "read_all", &peak->read, error));
    return ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE,
                          device->caps.compute_units * GROUPS_PER_UNIT * sizeof(float), "yardstick",
                          &peak->out, error);
}

void bench_peak_close(bench_peak *peak)
{
    if (peak->device) {
        ivl__cl_buffer_free(&peak->device->cl, peak->out);
    }
    *peak = (bench_peak){0};
}

ivl_status bench_peak_run(bench_peak *peak, bench_peak_kind kind, double *flops, ivl_error *error)
{
    ivl__device *device = peak->device;
    const size_t groups = device->caps.compute_units * GROUPS_PER_UNIT, local = 1;

    *flops = (double)groups * PEAK_TURNS * flops_per_turn[kind];
    IVL__TRY(IVL__LAUNCH(device, peak->kernel[kind], 1, &groups, &local, error,
                         ivl__arg_mem(peak->out), ivl__arg_int(PEAK_TURNS), ivl__arg_float(1e-3f)));
    return ivl__cl_finish(&device->cl, device->cl.compute, error);
}

#define READ_PIECE ((size_t)64 << 20)
#define TURN_BYTES (64 * sizeof(float))
#define MOST_TURNS ((size_t)65535)

/* One piece: a view of it, and a stretch for each unit. */
static ivl_status read_piece(bench_peak *peak, const unsigned char *data, size_t bytes,
                             double *read, ivl_error *error)
{
    ivl__device *device = peak->device;
    const size_t groups = device->caps.compute_units * GROUPS_PER_UNIT, local = 1;
    const size_t whole = bytes / TURN_BYTES / groups;
    const size_t turns = whole < MOST_TURNS ? whole : MOST_TURNS;
    cl_mem view = NULL;
    ivl_status status;

    IVL__TRY(ivl__cl_buffer_view(&device->cl, data, bytes, "yardstick", &view, error));
    status = IVL__LAUNCH(device, peak->read, 1, &groups, &local, error, ivl__arg_mem(view),
                         ivl__arg_mem(peak->out), ivl__arg_int((int32_t)turns));
    ivl__cl_buffer_free(&device->cl, view); /* The driver keeps it until the kernel has ended. */
    *read += (double)(turns * groups * TURN_BYTES);
    return status;
}

ivl_status bench_read_run(bench_peak *peak, const void *data, size_t bytes, double *read,
                          ivl_error *error)
{
    ivl__cl *cl = &peak->device->cl;

    *read = 0.0;
    for (size_t at = 0; at < bytes; at += READ_PIECE) {
        IVL__TRY(read_piece(peak, (const unsigned char *)data + at,
                            bytes - at < READ_PIECE ? bytes - at : READ_PIECE, read, error));
    }
    return ivl__cl_finish(cl, cl->compute, error);
}

ivl_status bench_open_device(const char *selector, const char *kernels, ivl__device **device,
                             ivl_error *error)
{
    const ivl__device_options options = {.skip_self_test = true, .kernel_dir = kernels};
    ivl__device_info *list = NULL;
    size_t count = 0, picked_count = 0;
    int *picked;
    ivl_status status = ivl__device_list(&list, &count, error);

    if (status != IVL_OK) {
        return status;
    }
    picked = ivl__calloc(count + 1, sizeof *picked);
    status = picked ? ivl__device_select(list, count, &selector, 1, picked, &picked_count, error)
                    : ivl__fail(error, IVL_OUT_OF_MEMORY, "no memory for devices");
    if (status == IVL_OK) {
        status = ivl__device_open(&list[picked[0]], &options, device, error);
    }
    ivl__free(picked);
    ivl__free(list);
    return status;
}

double bench_now(const ivl__device *device, bool cpu_time)
{
    return cpu_time ? (double)clock() / CLOCKS_PER_SEC / device->caps.compute_units : ivl__now();
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_sort(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
}
