/* gemm_clblast.c - the `clblast` backend: the portable baseline of GPUs.
 *
 * CLBlast's single precision GEMM, then the epilogue by cl/gemm_finish.cl. Weights of 16 bits are
 * widened, tile by tile, into the scratch; its half precision GEMM is of no use, it accumulates in
 * half.
 *
 * Equal bits: CLBlast has two ways to a product and takes one by M * N * K. Here it always goes the
 * indirect way (matrices copied into whole blocks, the rest zeros), where the sum of an element
 * runs over K in one order wherever it stands. Rows are given to it in fixed blocks.
 *
 * Version 1.5.3 (Debian 12) is not safe to call from two threads, not even with two contexts: one
 * mutex for the process. Its first call compiles for seconds; nothing of that is kept on disk.
 */
#include "runtime/gemm.h"
#include "runtime/op_launch.h"
#include "runtime/opencl_internal.h"
#include "runtime/ops.h"
#include "runtime/os.h"
#include "runtime/profile.h"
#include "runtime/program.h"

#include <clblast_c.h>
#include <stdio.h>

/* Rows of a block. The weights are copied into CLBlast's blocks again for each: few enough to bound
 * the scratch, many enough to hide that. */
#define BLOCK 2048

/* Parts of the scratch begin on multiples of this. */
#define PART_ALIGN 256u

/* Flags of the kernel; see cl/gemm_epilogue.h. */
#define HAS_BIAS     1
#define HAS_SCALE    2
#define HAS_RESIDUAL 4

/* ---- the library ------------------------------------------------------------------------- */

static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

#define MAX_DEVICES 64

/* Devices that the library was told to go the indirect way on: it keeps that until the process
 * ends. Under the mutex. */
static cl_device_id prepared[MAX_DEVICES];
static int n_prepared;

static CLBlastStatusCode prepare(cl_device_id device)
{
    const char *names[1] = {"XGEMM_MIN_INDIRECT_SIZE"};
    const size_t none[1] = {0};
    CLBlastStatusCode code;

    for (int i = 0; i < n_prepared; i++) {
        if (prepared[i] == device) {
            return CLBlastSuccess;
        }
    }
    if (n_prepared == MAX_DEVICES) {
        return CLBlastOpenCLOutOfResources;
    }
    code = CLBlastOverrideParameters(device, "GemmRoutine", CLBlastPrecisionSingle, 1, names, none);
    if (code == CLBlastSuccess) {
        prepared[n_prepared++] = device;
    }
    return code;
}

/* Codes of its own are far below those of OpenCL. */
static ivl_status check(CLBlastStatusCode code, const char *call, ivl_error *error)
{
    if (code == CLBlastSuccess) {
        return IVL_OK;
    }
    if (code <= CLBlastNotImplemented) {
        return ivl__fail(error, IVL_DEVICE_FAILED, "%s: error %d of CLBlast", call, (int)code);
    }
    return ivl__cl_check((cl_int)code, call, "product", error);
}

/* ---- scratch ----------------------------------------------------------------------------- */

/* CLBlast's own blocks come first: it takes no offset for them. */
typedef struct parts {
    size_t blocks;       /* bytes */
    size_t weight, sums; /* where they begin */
    size_t total;
} parts;

static size_t aligned(size_t bytes)
{
    return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

/* With odd offsets nothing can be used in place: the most that any call may need. */
static bool blocks_for(ivl__device *device, size_t m, size_t n, size_t k, size_t *bytes)
{
    cl_command_queue queue = device->cl.compute;
    CLBlastStatusCode code;

    pthread_mutex_lock(&library);
    code = prepare(device->cl.device);
    if (code == CLBlastSuccess) {
        code = CLBlastSGemmTempBufferSize(CLBlastLayoutColMajor, CLBlastTransposeYes,
                                          CLBlastTransposeNo, n, m, k, 1, k, 1, k, 1, n, &queue,
                                          bytes);
    }
    pthread_mutex_unlock(&library);
    return code == CLBlastSuccess;
}

static bool parts_for(ivl__device *device, int32_t m, int32_t n, int32_t k, ivl_dtype w_type,
                      parts *p)
{
    const size_t rows = (size_t)(m < BLOCK ? m : BLOCK);

    if (!blocks_for(device, rows, (size_t)n, (size_t)k, &p->blocks)) {
        return false;
    }
    p->weight = aligned(p->blocks);
    p->sums = p->weight;
    if (w_type != IVL_F32) {
        p->sums += aligned((size_t)n * (size_t)k * sizeof(float));
    }
    p->total = p->sums + aligned(rows * (size_t)n * sizeof(float));
    return true;
}

/* ---- backend ----------------------------------------------------------------------------- */

static bool clblast_available(ivl__device *device, ivl_precision precision, const char **reason)
{
    if (!device->caps.clblast) {
        *reason = "its results on this device are wrong";
        return false;
    }
    if (precision != IVL_EXACT) {
        *reason = "its half precision accumulates in half";
        return false;
    }
    return true;
}

static ivl_dtype clblast_input_type(ivl_precision precision)
{
    (void)precision;
    return IVL_F32;
}

/* A size that no device has where the library does not answer: reserving it tells. */
static size_t clblast_scratch(ivl__device *device, ivl_precision precision, int32_t m, int32_t n,
                              int32_t k, ivl_dtype w_type)
{
    parts p;

    (void)precision;
    return parts_for(device, m, n, k, w_type, &p) ? p.total : SIZE_MAX / 2;
}

/* The weights of a tile as fp32: in place, or widened. Offsets in elements. */
typedef struct wide_tile {
    cl_mem mem;
    size_t at;
} wide_tile;

static ivl_status widen(ivl__gemm *gemm, const ivl__weight *w, const ivl__weight_tile *tile,
                        const parts *p, wide_tile *out, ivl_error *error)
{
    const uint64_t count = (uint64_t)tile->rows * (uint64_t)w->cols;
    const ivl__span to = {gemm->scratch, p->weight};

    if (w->dtype == IVL_F32) {
        *out = (wide_tile){tile->data.mem, (size_t)tile->data.offset / sizeof(float)};
        return IVL_OK;
    }
    *out = (wide_tile){gemm->scratch, p->weight / sizeof(float)};
    return ivl__op_convert(gemm->device, count, tile->data, w->dtype, to, IVL_F32, error);
}

/* sums [rows, n] = the block of x from row `first` on, times a tile: its columns of the sums.
 * To CLBlast, with columns one behind the other, these are sums^T [n, rows] = W X^T. */
static ivl_status multiply(ivl__gemm *gemm, const ivl__gemm_call *call, int32_t first, int32_t rows,
                           const ivl__weight_tile *tile, wide_tile w, const parts *p,
                           ivl_error *error)
{
    const bool nt = call->layout == IVL__GEMM_NT;
    const bool tn = call->layout == IVL__GEMM_TN;
    const size_t n = (size_t)(nt ? tile->rows : call->w->cols);
    const size_t k = (size_t)(nt ? call->w->cols : call->w->rows);
    const size_t y_ld = (size_t)(nt ? call->w->rows : call->w->cols);
    const size_t x_at = (size_t)call->x.offset / sizeof(float) + (size_t)first * (tn ? 1 : k);
    const size_t y_at = p->sums / sizeof(float) + (size_t)(nt ? tile->first_row : 0);
    cl_command_queue queue = gemm->device->cl.compute;
    cl_event event = NULL; /* of CLBlast's last kernel */
    CLBlastStatusCode code = (CLBlastStatusCode)ivl__cl_injected("CLBlastSgemm");
    ivl_status status;

    if (code == CLBlastSuccess) {
        pthread_mutex_lock(&library);
        code = CLBlastSgemmWithTempBuffer(
            CLBlastLayoutColMajor, nt ? CLBlastTransposeYes : CLBlastTransposeNo,
            tn ? CLBlastTransposeYes : CLBlastTransposeNo, n, (size_t)rows, k, 1.0f, w.mem, w.at,
            nt ? k : n, call->x.mem, x_at, tn ? (size_t)call->m : k, 0.0f, gemm->scratch, y_at,
            y_ld, &queue, &event, gemm->scratch);
        gemm->library_used = true;
        pthread_mutex_unlock(&library);
    }
    status = check(code, "CLBlastSgemm", error);
    if (status == IVL_OK && event) {
        ivl__cl_object_made(&gemm->device->cl);
        status = ivl__profile_note(gemm->device, IVL__QUEUE_COMPUTE, "CLBlastSgemm", event, error);
        ivl__cl_event_free(&gemm->device->cl, event);
    }
    return status;
}

static ivl_status finish(ivl__gemm *gemm, const ivl__gemm_call *call, int32_t first, int32_t rows,
                         const parts *p, ivl_error *error)
{
    const int32_t n = call->layout == IVL__GEMM_NT ? call->w->rows : call->w->cols;
    const int flags = (call->bias.mem ? HAS_BIAS : 0) | (call->scale.mem ? HAS_SCALE : 0) |
                      (call->epilogue == IVL__EPILOGUE_RESIDUAL ? HAS_RESIDUAL : 0);
    const size_t span = gemm->device->caps.cpu ? 64 : 1;
    const cl_mem x = call->x.mem;
    size_t groups[2], items[2];
    char defines[40];
    ivl__kernel *kernel;

    snprintf(defines, sizeof defines, "-DGELU=%d -DSPAN=%zu", call->epilogue == IVL__EPILOGUE_GELU,
             span);
    IVL__TRY(
        ivl__kernel_get(gemm->device, "gemm_finish.cl", defines, "gemm_finish", &kernel, error));
    items[0] = ivl__op_items(gemm->device, kernel);
    items[1] = 1;
    groups[0] = ivl__ceil_div((size_t)n, span * items[0]);
    groups[1] = (size_t)rows;
    /* Absent operands are passed as x: a kernel argument must be some buffer. */
    return IVL__LAUNCH(
        gemm->device, kernel, 2, groups, items, error, ivl__arg_mem(gemm->scratch),
        ivl__arg_ulong(p->sums / sizeof(float)), ivl__arg_int(n),
        ivl__arg_mem(call->bias.mem ? call->bias.mem : x),
        ivl__arg_ulong(call->bias.offset / sizeof(float)),
        ivl__arg_mem(call->scale.mem ? call->scale.mem : x),
        ivl__arg_ulong(call->scale.offset / sizeof(float)), ivl__arg_mem(call->y.mem),
        ivl__arg_ulong(call->y.offset / ivl__dtype_bytes(call->y_type) +
                       (uint64_t)first * (uint64_t)call->y_ld),
        ivl__arg_int(call->y_ld), ivl__arg_int((int32_t)call->y_type), ivl__arg_int(flags));
}

/* CLBlast's kernels count elements by 32-bit numbers. */
static ivl_status check_size(const ivl__gemm_call *call, const parts *p, ivl_error *error)
{
    const uint64_t most = INT32_MAX;
    const uint64_t x = call->x.offset / sizeof(float) +
                       (uint64_t)call->m *
                           (uint64_t)(call->layout == IVL__GEMM_NT ? call->w->cols : call->w->rows);
    const int32_t k = call->layout == IVL__GEMM_NT ? call->w->cols : call->w->rows;
    uint64_t w = p->total / sizeof(float);

    /* Its kernels sum up 16 values a turn at least. */
    if (k / 16 >= IVL__MAX_TURNS) {
        return ivl__fail(error, IVL_UNSUPPORTED, "sums of %d values are too long for CLBlast", k);
    }
    for (int i = 0; call->w->dtype == IVL_F32 && i < call->w->n_tiles; i++) {
        const ivl__weight_tile *tile = &call->w->tiles[i];
        const uint64_t end = tile->data.offset / sizeof(float) +
                             (uint64_t)tile->rows * (uint64_t)call->w->cols;

        w = end > w ? end : w;
    }
    if (x > most || w > most) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "operands end at %llu and %llu elements, CLBlast counts to %llu; pass "
                         "--gemm tile",
                         (unsigned long long)x, (unsigned long long)w, (unsigned long long)most);
    }
    return IVL_OK;
}

static ivl_status clblast_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const ivl__weight *w = call->w;
    const bool nt = call->layout == IVL__GEMM_NT;
    parts p;

    if (!parts_for(gemm->device, call->m, nt ? w->rows : w->cols, nt ? w->cols : w->rows, w->dtype,
                   &p)) {
        return ivl__fail(error, IVL_DEVICE_FAILED, "CLBlast does not know this device");
    }
    IVL__TRY(check_size(call, &p, error));
    for (int32_t first = 0; first < call->m; first += BLOCK) {
        const int32_t rows = call->m - first < BLOCK ? call->m - first : BLOCK;

        for (int i = 0; i < w->n_tiles; i++) {
            wide_tile wide;

            IVL__TRY(widen(gemm, w, &w->tiles[i], &p, &wide, error));
            IVL__TRY(multiply(gemm, call, first, rows, &w->tiles[i], wide, &p, error));
        }
        IVL__TRY(finish(gemm, call, first, rows, &p, error));
    }
    return IVL_OK;
}

/* CLBlast's programs hold on to the context, for as long as the process lives. */
static void clblast_close(ivl__gemm *gemm)
{
    if (gemm->library_used) {
        (void)ivl__cl_finish(&gemm->device->cl, gemm->device->cl.compute, NULL);
        pthread_mutex_lock(&library);
        (void)CLBlastClearCache();
        pthread_mutex_unlock(&library);
        gemm->library_used = false;
    }
}

const ivl__gemm_backend ivl__gemm_clblast = {.name = "clblast",
                                             .available = clblast_available,
                                             .input_type = clblast_input_type,
                                             .scratch = clblast_scratch,
                                             .run = clblast_run,
                                             .close = clblast_close};
