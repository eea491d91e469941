/* trial.h - operands and verdict of one known-answer test, for writers of self-tests (selftest.h).
 */
#ifndef IVL_RUNTIME_TRIAL_H
#define IVL_RUNTIME_TRIAL_H

#include "runtime/device.h"
#include "runtime/tensor.h"

#define IVL__TRIAL_BUFFERS 32

typedef struct ivl__trial {
    ivl__device *device;
    const void *user; /* what the test wants to know */
    cl_mem buffers[IVL__TRIAL_BUFFERS];
    int n_buffers;
    uint64_t checked;
    double max_error, bound; /* of the value that came closest to its bound, or went beyond it */
} ivl__trial;

/* Runs fn and frees its buffers. A test that compared nothing is IVL_INTERNAL. */
typedef ivl_status ivl__trial_fn(ivl__trial *t, ivl_error *error);
ivl_status ivl__trial_run(ivl__device *device, ivl__trial_fn *fn, const void *user,
                          double *max_error, double *bound, ivl_error *error);

/* Defines ivl__selftest_<name>, as selftest.h wants it, from a static function of that name. */
#define IVL__SELFTEST(name)                                                                \
    ivl_status ivl__selftest_##name(ivl__device *device, double *max_error, double *bound, \
                                    ivl_error *error);                                     \
    ivl_status ivl__selftest_##name(ivl__device *device, double *max_error, double *bound, \
                                    ivl_error *error)                                      \
    {                                                                                      \
        return ivl__trial_run(device, name, NULL, max_error, bound, error);                \
    }

/* A value of a fixed sequence, uniform in [-1, 1): element `index` of stream `stream`. */
float ivl__selftest_value(uint32_t stream, uint32_t index);

/* A buffer with the given content; NULL: filled with NaN of every type. */
ivl_status ivl__trial_upload(ivl__trial *t, const void *data, size_t bytes, ivl__span *out,
                             ivl_error *error);
/* n values of a stream, times `scale`, rounded to `type`; host gets what they became. */
ivl_status ivl__trial_values(ivl__trial *t, uint32_t stream, float scale, ivl_dtype type, size_t n,
                             float *host, ivl__span *out, ivl_error *error);
/* n values of `type`, widened. */
ivl_status ivl__trial_download(ivl__trial *t, ivl__span from, ivl_dtype type, size_t n, float *host,
                               ivl_error *error);
/* |got - want| against its bound; a result that is not finite counts as an infinite error. */
void ivl__trial_check(ivl__trial *t, double got, double want, double bound);

/* The types that activations have on this device: fp32, and the 16-bit input of its fast unit. */
int ivl__trial_act_types(const ivl__device *device, ivl_dtype types[2]);
/* Half a unit in the last place of a value of `type` near `value`, 0 for fp32: what storing it
 * adds to an error. */
double ivl__trial_rounding(ivl_dtype type, double value);

#endif
