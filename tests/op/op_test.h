/* op_test.h - a device and checked buffers for tests of kernels.
 *
 * Device: the selector in IVL_TEST_DEVICE (as --device takes it), else automatic. Without a device
 * the program prints why and exits with 77, which ctest shows as skipped.
 * IVL_TEST_TINY=1 asks for tiny shapes (simulators run a few million operations a second).
 */
#ifndef IVL_TESTS_OP_TEST_H
#define IVL_TESTS_OP_TEST_H

#include "runtime/device.h"
#include "runtime/dtype.h"
#include "runtime/memory.h"
#include "runtime/program.h"
#include "runtime/tensor.h"
#include "tests/test.h"

#include <math.h>

static ivl__device *device;

static inline bool test_tiny(void)
{
    const char *tiny = getenv("IVL_TEST_TINY");

    return tiny && strcmp(tiny, "0") != 0;
}

/* What IVL_TEST_DEVICE names, or exits with 77. */
static inline void op_test_choose(ivl__device_info *info)
{
    const char *selector = getenv("IVL_TEST_DEVICE");
    ivl__device_info *list = NULL;
    size_t count = 0;
    size_t n = 0;
    int picked[64];
    ivl_error error = {0};
    ivl_status status = ivl__device_list(&list, &count, &error);

    if (status == IVL_OK && count <= 64) {
        status = ivl__device_select(list, count, &selector, selector ? 1 : 0, picked, &n, &error);
    }
    if (status == IVL_NO_DEVICE) {
        printf("SKIPPED: %s\n", error.message);
        exit(77);
    }
    if (status != IVL_OK || !n) {
        fprintf(stderr, "cannot choose a device: %s\n", error.message);
        exit(1);
    }
    *info = list[picked[0]];
    ivl__free(list);
}

/* Opens the device of the tests, or exits with 77. */
static inline void op_test_open(void)
{
    static const ivl__device_options options = {.skip_self_test = true};
    ivl__device_info info;
    ivl_error error = {0};

    op_test_choose(&info);
    if (ivl__device_open(&info, &options, &device, &error) != IVL_OK) {
        fprintf(stderr, "cannot open the device: %s\n", error.message);
        exit(1);
    }
    printf("device: %s (%s)\n", device->info.name, device->info.platform);
}

/* Closes it and fails when anything was left behind. */
static inline void op_test_close(void)
{
    int64_t bytes = atomic_load(&device->cl.ledger.bytes);

    ivl__device_close(device);
    if (bytes != 0 || ivl__cl_live_objects() != 0) {
        fprintf(stderr, "%lld bytes and %lld OpenCL objects were not released\n", (long long)bytes,
                (long long)ivl__cl_live_objects());
        exit(1);
    }
}

/* Uniform in [-1, 1). */
static inline float test_uniform(uint64_t *state)
{
    return (float)((double)(test_random(state) >> 11) * 0x1p-52 - 1.0);
}

/* n values, uniform around `mean`; the caller's to free. */
static inline float *test_values(size_t n, uint64_t seed, float mean, float spread)
{
    float *x = calloc(n ? n : 1, sizeof *x);

    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = mean + spread * test_uniform(&seed);
    }
    return x;
}

/* Element `index` of an array of `type`, rounded to it. */
static inline void test_store(ivl_dtype type, void *data, size_t index, float value)
{
    if (type == IVL_F32) {
        ((float *)data)[index] = value;
    } else {
        ((uint16_t *)data)[index] = type == IVL_F16 ? ivl__float_to_f16(value)
                                                    : ivl__float_to_bf16(value);
    }
}

#define GUARD_BYTES 4096u
#define GUARD_VALUE 0xA5u

/* A device buffer with guard bands on both sides: span points at the data. `shift` bytes are put
 * before the data, to try offsets that are aligned to the element only. Rubbish (NaN patterns)
 * fills what `host` does not. */
typedef struct test_buffer {
    ivl__span span;
    size_t bytes, total;
} test_buffer;

static inline test_buffer test_upload(const void *host, size_t bytes, size_t shift)
{
    test_buffer b = {.bytes = bytes, .total = 2 * GUARD_BYTES + bytes + shift};
    unsigned char *all = malloc(b.total);
    ivl_error error = {0};

    assert_non_null(all);
    memset(all, GUARD_VALUE, b.total);
    if (host) {
        memcpy(all + GUARD_BYTES + shift, host, bytes);
    } else {
        memset(all + GUARD_BYTES + shift, 0xff, bytes); /* NaN in every float type */
    }
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, b.total, "test", &b.span.mem, &error),
              error);
    assert_ok(ivl__cl_write(&device->cl, device->cl.compute, b.span.mem, 0, all, b.total, 0, NULL,
                            NULL, &error),
              error);
    b.span.offset = GUARD_BYTES + shift;
    free(all);
    return b;
}

/* Reads the data back and fails when a kernel wrote outside it. */
static inline void test_download(const test_buffer *b, void *host)
{
    unsigned char *all = malloc(b->total);
    ivl_error error = {0};

    assert_non_null(all);
    assert_ok(ivl__cl_read(&device->cl, device->cl.compute, b->span.mem, 0, all, b->total, 0, NULL,
                           NULL, &error),
              error);
    for (size_t i = 0; i < b->total; i++) {
        if ((i < b->span.offset || i >= b->span.offset + b->bytes) && all[i] != GUARD_VALUE) {
            fail_msg("a kernel wrote %lld bytes off the data (of %zu bytes)",
                     (long long)i - (long long)b->span.offset, b->bytes);
        }
    }
    memcpy(host, all + b->span.offset, b->bytes);
    free(all);
}

static inline void test_release(test_buffer *b)
{
    ivl__cl_buffer_free(&device->cl, b->span.mem);
    b->span.mem = NULL;
}

/* Fails unless |got - want| <= bound everywhere; prints the largest error and its bound. */
static inline void test_compare(const char *what, const float *got, const double *want, size_t n,
                                double bound)
{
    double worst = 0.0;
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - want[i]);

        if (!(difference <= worst)) {
            worst = difference;
            at = i;
        }
        if (isnan(difference)) {
            break;
        }
    }
    printf("%s: largest error %.3g, bound %.3g\n", what, worst, bound);
    if (!(worst <= bound)) {
        fail_msg("%s: element %zu is %.9g, should be %.9g (error %.3g > %.3g)", what, at,
                 (double)got[at], want[at], worst, bound);
    }
}

#endif
