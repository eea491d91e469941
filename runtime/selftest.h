/* selftest.h - known-answer tests of kernels on the user's own device.
 *
 * Those that the models run on a device are run at its first use with a driver and program version
 * (a verdict is remembered in cache_dir), and all of them by the `selftest` command. Failing
 * baseline kernels refuse the device; failing optional units are switched off with one line in the
 * log.
 *
 * To add one: a static function <name> and IVL__SELFTEST(name) (trial.h) in a file selftest_*.c,
 * and one line in selftest_list.h. A test is small (milliseconds), computes its reference in double
 * precision and derives its bound beside it. It answers IVL_UNSUPPORTED where the device lacks what
 * it tests, and other statuses only when a call failed.
 */
#ifndef IVL_RUNTIME_SELFTEST_H
#define IVL_RUNTIME_SELFTEST_H

#include "runtime/device.h"

typedef enum ivl__selftest_verdict {
    IVL__SELFTEST_PASSED,
    IVL__SELFTEST_FAILED,
    IVL__SELFTEST_SKIPPED /* the device lacks it, or it was switched off */
} ivl__selftest_verdict;

typedef struct ivl__selftest_result {
    const char *name;
    bool baseline; /* the models cannot run on this device without it */
    ivl__selftest_verdict verdict;
    double max_error, bound; /* of the value that came closest to its bound, or went beyond */
    double seconds;
    const char *message; /* why it failed or was skipped, "" else; valid during the callback */
} ivl__selftest_result;

/* A non-zero answer ends the run with IVL_CANCELLED. */
typedef int ivl__selftest_fn(void *user, const ivl__selftest_result *result);

/* Runs every test, whatever is remembered; fn (may be NULL) gets each result. Optional units that
 * fail are switched off in device->caps. *n_failed counts every failure; the status is IVL_OK
 * unless the machinery itself failed (memory). */
ivl_status ivl__selftest_run(ivl__device *device, ivl__selftest_fn *fn, void *user, int *n_failed,
                             ivl_error *error);

/* At open: does what is remembered, else runs the tests and remembers. A failing baseline kernel
 * is IVL_DEVICE_FAILED naming device, driver, kernel and error. */
ivl_status ivl__selftest_at_open(ivl__device *device, ivl_error *error);

/* The first test of the list: what every kernel relies on. */
ivl_status ivl__selftest_language(ivl__device *device, double *max_error, double *bound,
                                  ivl_error *error);

#endif
