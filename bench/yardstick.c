/* yardstick.c - register-only peaks of the device; see yardstick.h. */
#include "bench/yardstick.h"

#include "runtime/os.h"

#include <stdlib.h>
#include <time.h>

#define PEAK_TURNS      60000
#define GROUPS_PER_UNIT 8
#define FLOPS_PER_TURN  (24.0 * 16.0 * 2.0)

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

    *flops = (double)groups * PEAK_TURNS * FLOPS_PER_TURN * (kind == BENCH_PEAK_DOT ? 2.0 : 1.0);
    IVL__TRY(IVL__LAUNCH(device, peak->kernel[kind], 1, &groups, &local, error,
                         ivl__arg_mem(peak->out), ivl__arg_int(PEAK_TURNS), ivl__arg_float(1e-3f)));
    return ivl__cl_finish(&device->cl, device->cl.compute, error);
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
