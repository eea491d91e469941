/* yardstick.h - what benchmarks measure against: the processor's multiply-add peak, and how fast it
 * reads memory, in the same run.
 */
#ifndef IVL_BENCH_YARDSTICK_H
#define IVL_BENCH_YARDSTICK_H

#include "runtime/program.h"

typedef enum bench_peak_kind {
    BENCH_PEAK_FMA = 0,
    BENCH_PEAK_DOT,
    BENCH_PEAK_TILES,
    BENCH_PEAKS
} bench_peak_kind;

/* Register-only loops of fma and, where the processor has them, vdpbf16ps and products of tiles
 * (cl/peak.cl). */
typedef struct bench_peak {
    ivl__device *device;
    ivl__kernel *kernel[BENCH_PEAKS]; /* by kind; NULL where there is no such instruction */
    ivl__kernel *read;
    cl_mem out;
} bench_peak;

/* IVL_UNSUPPORTED on devices that are no CPUs: vectors of 16 in 24 registers are a processor's. */
ivl_status bench_peak_open(ivl__device *device, bench_peak *peak, ivl_error *error);
void bench_peak_close(bench_peak *peak);
/* Runs one to its end and tells how many operations that were. */
ivl_status bench_peak_run(bench_peak *peak, bench_peak_kind kind, double *flops, ivl_error *error);

/* Reads host memory in place, in pieces of 64 MiB, all units at once (what is left of a piece
 * beyond whole stretches of the units is not read); tells how many bytes that were. */
ivl_status bench_read_run(bench_peak *peak, const void *data, size_t bytes, double *read,
                          ivl_error *error);

/* The first device of a selector, untested. */
ivl_status bench_open_device(const char *selector, const char *kernels, ivl__device **device,
                             ivl_error *error);

/* Seconds on the wall clock, or with cpu_time the processor's seconds divided by the device's
 * compute units: for machines that others use too (time that a thread waits for another is not
 * seen). */
double bench_now(const ivl__device *device, bool cpu_time);

/* Sorts n > 0 measurements upwards: the best of rates is the last, of times the first. */
void bench_sort(double *values, int n);

#endif
