/* gemm_cpu.c - the `cpu` backend: launches of cl/gemm_cpu.cl and, for `fast`, cl/gemm_cpu_bf16.cl.
 *
 * One item of work (local size 1) makes some panels of columns of a block of rows; panels and
 * partial sums live in local memory, which CPU drivers take from ordinary memory, one piece per
 * thread. Row tiles of a weight are launches of their own. Neither they nor the blocking change
 * the order in which an output is summed up.
 */
#include "runtime/gemm.h"
#include "runtime/op_launch.h"
#include "runtime/os.h"
#include "runtime/program.h"

#include <stdio.h>

/* Flags of the kernel; see cl/gemm_cpu_body.h. */
#define HAS_BIAS     1
#define HAS_SCALE    2
#define HAS_RESIDUAL 4

/* How an item's work is cut up. */
typedef struct blocking {
    int32_t vector; /* floats of a register */
    int32_t panel;  /* columns of a panel: two registers */
    int32_t panels; /* of an item */
    int32_t block;  /* rows of an item */
    int32_t chunk;  /* values of K packed at a time */
    size_t panel_bytes, sum_bytes;
} blocking;

static void fill_bytes(blocking *b, ivl_precision precision)
{
    const size_t columns = (size_t)b->panel * (size_t)b->panels;

    b->panel_bytes = columns * (size_t)b->chunk * (precision == IVL_FAST ? 2 : sizeof(float));
    b->sum_bytes = columns * (size_t)b->block * sizeof(float);
}

/* The largest blocks that leave room for x in a second-level cache of 1 MB, made smaller until they
 * fit the device's local memory. */
static blocking blocking_for(const ivl__device *device, ivl_precision precision, int32_t m)
{
    const bool wide = ivl__cpu_features_of_host().avx512f;
    const uint64_t limit = device->caps.local_mem;
    blocking b = {.vector = wide ? 16 : 8,
                  .panel = wide ? 32 : 16,
                  .panels = 2,
                  .block = 1056,
                  .chunk = precision == IVL_FAST ? 1024 : 512};

    for (;;) {
        const int32_t blocks = (m + b.block - 1) / b.block;
        const int32_t even = (m + blocks - 1) / blocks;
        const int32_t block = b.block;

        /* Blocks of equal size, in whole sweeps of 12 rows. */
        b.block = (even + 11) / 12 * 12 < block ? (even + 11) / 12 * 12 : block;
        fill_bytes(&b, precision);
        if (b.panel_bytes + b.sum_bytes <= limit || (b.chunk <= 32 && block <= 12)) {
            return b;
        }
        b.block = block;
        if (b.chunk > 32 && b.panel_bytes > b.sum_bytes) {
            b.chunk /= 2;
        } else if (b.block > 12) {
            b.block = b.block / 24 * 12 > 12 ? b.block / 24 * 12 : 12;
        } else {
            b.chunk /= 2;
        }
    }
}

/* ---- backend ----------------------------------------------------------------------------- */

static bool cpu_available(ivl__device *device, ivl_precision precision, const char **reason)
{
    blocking least;

    if (!device->caps.cpu) {
        *reason = "it is made for CPUs";
        return false;
    }
    if (precision == IVL_FAST && !device->caps.x86_bf16_dot) {
        *reason = "the processor or the driver has no bf16 dot product (vdpbf16ps)";
        return false;
    }
    least = blocking_for(device, precision, INT32_MAX / 2);
    if (least.panel_bytes + least.sum_bytes > device->caps.local_mem) {
        *reason = "the device has too little local memory";
        return false;
    }
    return true;
}

static ivl_dtype cpu_input_type(ivl_precision precision)
{
    return precision == IVL_FAST ? IVL_BF16 : IVL_F32;
}

static size_t cpu_scratch(ivl__device *device, ivl_precision precision, int32_t m, int32_t n,
                          int32_t k, ivl_dtype w_type)
{
    (void)device;
    (void)precision;
    (void)m;
    (void)n;
    (void)k;
    (void)w_type;
    return 0;
}

static ivl_status get_kernel(ivl__gemm *gemm, const ivl__gemm_call *call, const blocking *b,
                             ivl__kernel **kernel, ivl_error *error)
{
    const char *file = gemm->precision == IVL_FAST ? "gemm_cpu_bf16.cl" : "gemm_cpu.cl";
    const int w_type = call->w->dtype == IVL_F32 ? 0 : call->w->dtype == IVL_F16 ? 1 : 2;
    char defines[120];

    snprintf(defines, sizeof defines, "-DLAYOUT=%d -DWTYPE=%d -DVW=%d -DPANELS=%d -DGELU=%d",
             (int)call->layout, w_type, b->vector, b->panels, call->epilogue == IVL__EPILOGUE_GELU);
    return ivl__kernel_get(gemm->device, file, defines, "gemm_cpu", kernel, error);
}

/* Absent operands are passed as x: a kernel argument must be some buffer. */
static ivl_status launch(ivl__gemm *gemm, const ivl__gemm_call *call, const blocking *b,
                         ivl__kernel *kernel, const ivl__weight_tile *tile, ivl_error *error)
{
    const ivl__weight *w = call->w;
    const bool nt = call->layout == IVL__GEMM_NT;
    const int32_t n = nt ? tile->rows : w->cols;
    const int32_t k = nt ? w->cols : w->rows;
    const int32_t columns = b->panel * b->panels;
    const uint64_t first = nt ? (uint64_t)tile->first_row : 0;
    const int flags = (call->bias.mem ? HAS_BIAS : 0) | (call->scale.mem ? HAS_SCALE : 0) |
                      (call->epilogue == IVL__EPILOGUE_RESIDUAL ? HAS_RESIDUAL : 0);
    const size_t groups[2] = {((size_t)n + (size_t)columns - 1) / (size_t)columns,
                              ((size_t)call->m + (size_t)b->block - 1) / (size_t)b->block};
    const size_t local[2] = {1, 1};
    const cl_mem x = call->x.mem;

    return IVL__LAUNCH(
        gemm->device, kernel, 2, groups, local, error, ivl__arg_int(call->m), ivl__arg_int(n),
        ivl__arg_int(k), ivl__arg_mem(x),
        ivl__arg_ulong(call->x.offset / ivl__dtype_bytes(call->x_type)),
        ivl__arg_int(call->layout == IVL__GEMM_TN ? call->m : k), ivl__arg_mem(tile->data.mem),
        ivl__arg_ulong(tile->data.offset / ivl__dtype_bytes(w->dtype)), ivl__arg_int(w->cols),
        ivl__arg_mem(call->bias.mem ? call->bias.mem : x),
        ivl__arg_ulong(call->bias.offset / sizeof(float) + first),
        ivl__arg_mem(call->scale.mem ? call->scale.mem : x),
        ivl__arg_ulong(call->scale.offset / sizeof(float) + first), ivl__arg_mem(call->y.mem),
        ivl__arg_ulong(call->y.offset / ivl__dtype_bytes(call->y_type) + first),
        ivl__arg_int(call->y_ld), ivl__arg_int((int32_t)call->y_type), ivl__arg_int(flags),
        ivl__arg_int(b->block), ivl__arg_int(b->chunk), ivl__arg_local(b->panel_bytes),
        ivl__arg_local(b->sum_bytes));
}

static ivl_status cpu_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const blocking b = blocking_for(gemm->device, gemm->precision, call->m);
    const int32_t k = call->layout == IVL__GEMM_NT ? call->w->cols : call->w->rows;
    ivl__kernel *kernel;
    ivl_status status;

    if (k / b.chunk >= IVL__MAX_TURNS) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "sums of %d values are too long for the cpu backend", k);
    }
    status = get_kernel(gemm, call, &b, &kernel, error);
    for (int i = 0; status == IVL_OK && i < call->w->n_tiles; i++) {
        status = launch(gemm, call, &b, kernel, &call->w->tiles[i], error);
    }
    return status;
}

const ivl__gemm_backend ivl__gemm_cpu = {.name = "cpu",
                                         .available = cpu_available,
                                         .input_type = cpu_input_type,
                                         .scratch = cpu_scratch,
                                         .run = cpu_run};
