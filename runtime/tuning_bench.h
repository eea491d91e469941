/* tuning_bench.h - one weight matrix with random operands, on which candidates are tried. */
#ifndef IVL_RUNTIME_TUNING_BENCH_H
#define IVL_RUNTIME_TUNING_BENCH_H

#include "runtime/tuning.h"

typedef struct ivl__tuning_bench ivl__tuning_bench;

/* Operands on the device, and samples of the right result in double precision: three whole rows
 * and three whole columns. `gemm` runs the candidates; its choices and scratch are changed. */
ivl_status ivl__tuning_bench_open(ivl__gemm *gemm, const ivl__gemm_shape *shape, int32_t rows,
                                  ivl__tuning_bench **out, ivl_error *error);
void ivl__tuning_bench_close(ivl__tuning_bench *bench);

/* Runs the candidate and compares: IVL_DEVICE_FAILED where a sample is beyond what rounding may do,
 * or anything is not finite. */
ivl_status ivl__tuning_bench_check(ivl__tuning_bench *bench, const ivl__tuning_candidate *candidate,
                                   ivl_error *error);
/* Seconds of one run; the candidate has been checked, so that everything is compiled. */
ivl_status ivl__tuning_bench_time(ivl__tuning_bench *bench, const ivl__tuning_candidate *candidate,
                                  double *seconds, ivl_error *error);

#endif
