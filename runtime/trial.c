/* trial.c - operands and verdict of one known-answer test; see trial.h. */
#include "runtime/trial.h"

#include "runtime/memory.h"

#include <math.h>

float ivl__selftest_value(uint32_t stream, uint32_t index)
{
    uint64_t z = ((uint64_t)stream << 32 | index) * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;

    /* The finaliser of splitmix64. */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

/* ---- run --------------------------------------------------------------------------------- */

ivl_status ivl__trial_run(ivl__device *device, ivl__trial_fn *fn, const void *user,
                          double *max_error, double *bound, ivl_error *error)
{
    ivl__trial t = {.device = device, .user = user};
    ivl_status status = fn(&t, error);

    if (status != IVL_OK) {
        /* Nothing may still read a buffer that goes. */
        (void)ivl__cl_finish(&device->cl, device->cl.compute, NULL);
    } else if (!t.checked) {
        status = ivl__fail(error, IVL_INTERNAL, "a self-test compared nothing");
    }
    for (int i = 0; i < t.n_buffers; i++) {
        ivl__cl_buffer_free(&device->cl, t.buffers[i]);
    }
    if (status == IVL_OK) {
        *max_error = t.max_error;
        *bound = t.bound;
    }
    return status;
}

/* How far towards its bound an error goes; beyond 1 it fails. */
static double reach(double error, double bound)
{
    if (error == 0.0) {
        return 0.0;
    }
    return bound > 0.0 ? error / bound : INFINITY;
}

void ivl__trial_check(ivl__trial *t, double got, double want, double bound)
{
    double error = fabs(got - want);

    error = isfinite(error) ? error : INFINITY;
    if (!t->checked || reach(error, bound) > reach(t->max_error, t->bound)) {
        t->max_error = error;
        t->bound = bound;
    }
    t->checked++;
}

/* ---- operands ---------------------------------------------------------------------------- */

ivl_status ivl__trial_upload(ivl__trial *t, const void *data, size_t bytes, ivl__span *out,
                             ivl_error *error)
{
    const cl_uchar nan = 0xff;
    ivl__cl *cl = &t->device->cl;
    cl_mem made = NULL;

    if (t->n_buffers == IVL__TRIAL_BUFFERS) {
        return ivl__fail(error, IVL_INTERNAL, "a self-test has more than %d buffers",
                         IVL__TRIAL_BUFFERS);
    }
    IVL__TRY(ivl__cl_buffer(cl, CL_MEM_READ_WRITE, bytes, "self-test", &made, error));
    t->buffers[t->n_buffers++] = made;
    *out = (ivl__span){made, 0};
    if (data) {
        return ivl__cl_write(cl, cl->compute, made, 0, data, bytes, 0, NULL, NULL, error);
    }
    return ivl__cl_fill(cl, cl->compute, made, &nan, 1, 0, bytes, error);
}

static void store(ivl_dtype type, void *data, size_t index, float value)
{
    if (type == IVL_F32) {
        ((float *)data)[index] = value;
    } else {
        ((uint16_t *)data)[index] = type == IVL_F16 ? ivl__float_to_f16(value)
                                                    : ivl__float_to_bf16(value);
    }
}

ivl_status ivl__trial_values(ivl__trial *t, uint32_t stream, float scale, ivl_dtype type, size_t n,
                             float *host, ivl__span *out, ivl_error *error)
{
    void *stored = ivl__calloc(n, ivl__dtype_bytes(type));
    ivl_status status;

    if (!stored) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a self-test");
    }
    for (size_t i = 0; i < n; i++) {
        store(type, stored, i, scale * ivl__selftest_value(stream, (uint32_t)i));
        host[i] = ivl__dtype_load(type, stored, i);
    }
    status = ivl__trial_upload(t, stored, n * ivl__dtype_bytes(type), out, error);
    ivl__free(stored);
    return status;
}

ivl_status ivl__trial_download(ivl__trial *t, ivl__span from, ivl_dtype type, size_t n, float *host,
                               ivl_error *error)
{
    ivl__cl *cl = &t->device->cl;
    size_t bytes = n * ivl__dtype_bytes(type);
    void *stored = ivl__calloc(n, ivl__dtype_bytes(type));
    ivl_status status;

    if (!stored) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a self-test");
    }
    status = ivl__cl_read(cl, cl->compute, from.mem, (size_t)from.offset, stored, bytes, 0, NULL,
                          NULL, error);
    for (size_t i = 0; status == IVL_OK && i < n; i++) {
        host[i] = ivl__dtype_load(type, stored, i);
    }
    ivl__free(stored);
    return status;
}

/* ---- types ------------------------------------------------------------------------------- */

int ivl__trial_act_types(const ivl__device *device, ivl_dtype types[2])
{
    types[0] = IVL_F32;
    types[1] = IVL_BF16;
    return device->caps.x86_bf16_dot ? 2 : 1;
}

double ivl__trial_rounding(ivl_dtype type, double value)
{
    switch (type) {
    case IVL_BF16: return 0x1p-8 * fabs(value);
    case IVL_F16: return 0x1p-11 * fabs(value) + 0x1p-25; /* subnormals */
    default: return 0.0;
    }
}
