/* gemm_tile.c - the `tile` backend: launches of cl/gemm_tile.cl.
 *
 * The parameters of the kernel come from the choice for the weight's shape, else from the first
 * shipped set that fits the device. Row tiles of a weight are launches of their own. No parameter,
 * tile split or number of rows changes the order in which an output is summed up.
 */
#include "runtime/gemm_tile.h"

#include "runtime/gemm.h"
#include "runtime/program.h"

#include <stdio.h>
#include <string.h>

/* Values of K summed up by one launch. A multiple of every legal kwg, and few enough turns of the
 * kernel's loop for the driver that stops at 65,535 of them. */
#define SEGMENT (32768 * 8)

/* Flags of the kernel; see cl/gemm_epilogue.h and cl/gemm_tile.cl. */
#define HAS_BIAS     1
#define HAS_SCALE    2
#define HAS_RESIDUAL 4
#define FROM_PARTIAL 8
#define TO_PARTIAL   16

/* ---- parameters -------------------------------------------------------------------------- */

/* mwg nwg kwg, mdim ndim, vwm vwn vwk, pad, rowwise, prefetch, unroll. Not measured on a GPU yet,
 * apart from what their comments say. The first is what every GPU takes without a measurement: no
 * compiler spills its registers (tests/ci/offline_compile.sh). The second holds twice the sums an
 * item, too many for 128 registers a thread; only a measurement chooses it. */
static const ivl__gemm_tile_params sets[] = {
    {64, 64, 16, 16, 16, 4, 4, 4, 4, 0, 1, 4},
    {64, 64, 16, 8, 16, 4, 4, 4, 4, 0, 1, 4},
};

/* Measured on Intel's CPU runtime (docs/performance.md). Tiles of 8x8 values for an item are 7 %
 * faster there, and PoCL compiles them for ten times as long. */
static const ivl__gemm_tile_params cpu_set = {64, 128, 32, 16, 16, 4, 8, 8, 0, 1, 0, 1};

static bool is_one_of(int value, int a, int b, int c, int d)
{
    return value == a || value == b || value == c || value == d;
}

size_t ivl__gemm_tile_local_bytes(const ivl__gemm_tile_params *p)
{
    return (size_t)p->kwg * (size_t)(p->mwg + p->nwg + 2 * p->pad) * sizeof(float);
}

static const char *invalid_shape(const ivl__gemm_tile_params *p)
{
    const int items = p->mdim * p->ndim;

    if (p->mwg < 1 || p->nwg < 1 || p->mdim < 1 || p->ndim < 1 || p->mwg > 256 || p->nwg > 256 ||
        p->mdim > 64 || p->ndim > 64) {
        return "block and work-group within 1 .. 256 and 1 .. 64";
    }
    if (!is_one_of(p->kwg, 8, 16, 32, 64)) {
        return "kwg 8, 16, 32 or 64";
    }
    if (!is_one_of(p->vwm, 1, 2, 4, 8) || !is_one_of(p->vwn, 1, 2, 4, 8)) {
        return "vwm, vwn 1, 2, 4 or 8";
    }
    if (!is_one_of(p->vwk, 4, 8, 4, 8)) {
        return "vwk 4 or 8";
    }
    if (p->mwg % (p->mdim * p->vwm) || p->nwg % (p->ndim * p->vwn)) {
        return "mwg a multiple of mdim * vwm, nwg of ndim * vwn";
    }
    if (p->mwg * p->kwg % (p->vwk * items) || p->nwg * p->kwg % (p->vwk * items)) {
        return "mwg * kwg and nwg * kwg multiples of vwk * mdim * ndim";
    }
    /* Vectors in local memory must stay aligned from row to row. */
    if (p->pad < 0 || p->pad > 32 || p->pad % p->vwm || p->pad % p->vwn) {
        return "pad within 0 .. 32, a multiple of vwm and vwn";
    }
    if (!is_one_of(p->rowwise, 0, 1, 0, 1) || !is_one_of(p->prefetch, 0, 1, 0, 1) ||
        !is_one_of(p->unroll, 1, 2, 4, 8)) {
        return "rowwise and prefetch 0 or 1, unroll 1, 2, 4 or 8";
    }
    return NULL;
}

const char *ivl__gemm_tile_params_invalid(const ivl__gemm_tile_params *p, const ivl__caps *caps)
{
    const char *reason = invalid_shape(p);
    int sums, fetched;

    if (reason) {
        return reason;
    }
    sums = p->mwg / p->mdim * (p->nwg / p->ndim);
    fetched = (p->mwg + p->nwg) * p->kwg / (p->mdim * p->ndim);
    if (sums > 128 || sums + fetched > 160) {
        return "at most 128 sums an item, 160 with what it fetches (registers)";
    }
    if ((size_t)(p->mdim * p->ndim) > caps->max_work_group) {
        return "mdim * ndim within the device's work-group";
    }
    if (ivl__gemm_tile_local_bytes(p) > caps->local_mem) {
        return "blocks within the device's local memory";
    }
    return NULL;
}

void ivl__gemm_tile_params_text(const ivl__gemm_tile_params *p, char text[IVL__GEMM_TILE_TEXT])
{
    snprintf(text, IVL__GEMM_TILE_TEXT, "%dx%dx%d/%dx%d/%dx%dx%d/p%dr%df%du%d", p->mwg, p->nwg,
             p->kwg, p->mdim, p->ndim, p->vwm, p->vwn, p->vwk, p->pad, p->rowwise, p->prefetch,
             p->unroll);
}

bool ivl__gemm_tile_params_parse(const char *text, ivl__gemm_tile_params *params)
{
    ivl__gemm_tile_params p;
    int end = -1;

    if (strlen(text) >= IVL__GEMM_TILE_TEXT ||
        sscanf(text, "%4hdx%4hdx%4hd/%4hdx%4hd/%4hdx%4hdx%4hd/p%4hdr%4hdf%4hdu%4hd%n", &p.mwg,
               &p.nwg, &p.kwg, &p.mdim, &p.ndim, &p.vwm, &p.vwn, &p.vwk, &p.pad, &p.rowwise,
               &p.prefetch, &p.unroll, &end) != 12 ||
        end < 0 || text[end]) {
        return false;
    }
    *params = p;
    return true;
}

const ivl__gemm_tile_params *ivl__gemm_tile_sets(size_t *n)
{
    *n = sizeof sets / sizeof sets[0];
    return sets;
}

const ivl__gemm_tile_params *ivl__gemm_tile_default(const ivl__device *device)
{
    if (device->caps.cpu && ivl__gemm_tile_params_valid(&cpu_set, &device->caps)) {
        return &cpu_set;
    }
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (ivl__gemm_tile_params_valid(&sets[i], &device->caps)) {
            return &sets[i];
        }
    }
    return NULL;
}

/* ---- backend ----------------------------------------------------------------------------- */

static bool tile_available(ivl__device *device, ivl_precision precision, const char **reason)
{
    if (precision != IVL_EXACT) {
        *reason = "it has fp32 arithmetic only";
        return false;
    }
    if (!ivl__gemm_tile_default(device)) {
        *reason = "no set of parameters fits the device's local memory and work-group size";
        return false;
    }
    return true;
}

static ivl_dtype tile_input_type(ivl_precision precision)
{
    (void)precision;
    return IVL_F32;
}

static size_t tile_scratch(ivl__device *device, ivl_precision precision, int32_t m, int32_t n,
                           int32_t k, ivl_dtype w_type)
{
    (void)device;
    (void)precision;
    (void)w_type;
    return k > SEGMENT ? (size_t)m * (size_t)n * sizeof(float) : 0;
}

/* One row tile of w as the kernel sees it: everything in elements. */
typedef struct operands {
    int32_t m, n, k, x_ld, w_ld;
    uint64_t x_at, w_at;     /* first element of this segment */
    uint64_t x_step, w_step; /* from one k to the next */
    uint64_t y_at, vector_at;
} operands;

static operands operands_of(const ivl__gemm_call *call, const ivl__weight_tile *tile)
{
    const ivl__weight *w = call->w;
    const bool nt = call->layout == IVL__GEMM_NT;
    operands o = {.m = call->m,
                  .n = nt ? tile->rows : w->cols,
                  .k = nt ? w->cols : w->rows,
                  .w_ld = w->cols,
                  .x_at = call->x.offset / sizeof(float),
                  .w_at = tile->data.offset / ivl__dtype_bytes(w->dtype),
                  .x_step = 1,
                  .w_step = nt ? 1 : (uint64_t)w->cols,
                  .y_at = call->y.offset / ivl__dtype_bytes(call->y_type),
                  .vector_at = nt ? (uint64_t)tile->first_row : 0};

    o.x_ld = o.k;
    if (call->layout == IVL__GEMM_TN) {
        o.x_ld = call->m;
        o.x_step = (uint64_t)call->m;
    }
    o.y_at += o.vector_at;
    return o;
}

static ivl_status get_kernel(ivl__gemm *gemm, const ivl__gemm_call *call,
                             const ivl__gemm_tile_params *p, const operands *o,
                             ivl__kernel **kernel, ivl_error *error)
{
    const uint64_t vector = (uint64_t)p->vwk;
    const bool aligned = call->layout == IVL__GEMM_NT && o->x_at % vector == 0 &&
                         o->w_at % vector == 0 && (uint64_t)o->k % vector == 0;
    const int w_type = call->w->dtype == IVL_F32 ? 0 : call->w->dtype == IVL_F16 ? 1 : 2;
    const uint32_t sub_group = gemm->device->caps.sub_group;
    char defines[400];
    int length;

    length = snprintf(
        defines, sizeof defines,
        "-DLAYOUT=%d -DWTYPE=%d -DALIGNED=%d -DGELU=%d -DMWG=%d -DNWG=%d -DKWG=%d -DMDIM=%d "
        "-DNDIM=%d -DVWM=%d -DVWN=%d -DVWK=%d -DPAD=%d -DROWWISE=%d -DPREFETCH=%d "
        "-DKUNROLL=%d",
        (int)call->layout, w_type, aligned, call->epilogue == IVL__EPILOGUE_GELU, p->mwg, p->nwg,
        p->kwg, p->mdim, p->ndim, p->vwm, p->vwn, p->vwk, p->pad, p->rowwise, p->prefetch,
        p->unroll);
    if (sub_group > 0) {
        snprintf(defines + length, sizeof defines - (size_t)length, " -DSUB_GROUP=%u",
                 (unsigned)sub_group);
    }
    return ivl__kernel_get(gemm->device, "gemm_tile.cl", defines, "gemm_tile", kernel, error);
}

static int flags_of(const ivl__gemm_call *call)
{
    return (call->bias.mem ? HAS_BIAS : 0) | (call->scale.mem ? HAS_SCALE : 0) |
           (call->epilogue == IVL__EPILOGUE_RESIDUAL ? HAS_RESIDUAL : 0);
}

/* Absent operands are passed as x: a kernel argument must be some buffer. */
static ivl_status launch_segment(ivl__gemm *gemm, const ivl__gemm_call *call,
                                 const ivl__gemm_tile_params *p, ivl__kernel *kernel,
                                 const ivl__weight_tile *tile, const operands *o, int32_t k0,
                                 ivl_error *error)
{
    const int32_t k = o->k - k0 < SEGMENT ? o->k - k0 : SEGMENT;
    const int flags = flags_of(call) | (k0 > 0 ? FROM_PARTIAL : 0) |
                      (k0 + k < o->k ? TO_PARTIAL : 0);
    const size_t groups[2] = {((size_t)o->m + (size_t)p->mwg - 1) / (size_t)p->mwg,
                              ((size_t)o->n + (size_t)p->nwg - 1) / (size_t)p->nwg};
    const size_t local[2] = {(size_t)p->ndim, (size_t)p->mdim};
    const cl_mem x = call->x.mem;

    return IVL__LAUNCH(gemm->device, kernel, 2, groups, local, error, ivl__arg_int(o->m),
                       ivl__arg_int(o->n), ivl__arg_int(k), ivl__arg_mem(x),
                       ivl__arg_ulong(o->x_at + (uint64_t)k0 * o->x_step), ivl__arg_int(o->x_ld),
                       ivl__arg_mem(tile->data.mem),
                       ivl__arg_ulong(o->w_at + (uint64_t)k0 * o->w_step), ivl__arg_int(o->w_ld),
                       ivl__arg_mem(call->bias.mem ? call->bias.mem : x),
                       ivl__arg_ulong(call->bias.offset / sizeof(float) + o->vector_at),
                       ivl__arg_mem(call->scale.mem ? call->scale.mem : x),
                       ivl__arg_ulong(call->scale.offset / sizeof(float) + o->vector_at),
                       ivl__arg_mem(call->y.mem), ivl__arg_ulong(o->y_at), ivl__arg_int(call->y_ld),
                       ivl__arg_int((int32_t)call->y_type), ivl__arg_int(flags),
                       ivl__arg_mem(o->k > SEGMENT ? gemm->scratch : x));
}

static ivl_status tile_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const ivl__gemm_choice *choice = ivl__gemm_choice_for(gemm, call);
    const ivl__gemm_tile_params *p = choice && choice->tile.mwg
                                         ? &choice->tile
                                         : ivl__gemm_tile_default(gemm->device);

    for (int i = 0; i < call->w->n_tiles; i++) {
        const operands o = operands_of(call, &call->w->tiles[i]);
        ivl__kernel *kernel;
        ivl_status status;

        /* The kernel counts within a block by 32-bit numbers. */
        if ((int64_t)p->mwg * o.x_ld > INT32_MAX || (int64_t)p->nwg * o.w_ld > INT32_MAX) {
            return ivl__fail(error, IVL_UNSUPPORTED,
                             "rows of %d values are too long for the tile backend", o.k);
        }
        status = get_kernel(gemm, call, p, &o, &kernel, error);
        for (int32_t k0 = 0; status == IVL_OK && k0 < o.k;) {
            status = launch_segment(gemm, call, p, kernel, &call->w->tiles[i], &o, k0, error);
            if (o.k - k0 <= SEGMENT) {
                break;
            }
            k0 += SEGMENT;
        }
        if (status != IVL_OK) {
            return status;
        }
    }
    return IVL_OK;
}

const ivl__gemm_backend ivl__gemm_tile = {.name = "tile",
                                          .available = tile_available,
                                          .input_type = tile_input_type,
                                          .scratch = tile_scratch,
                                          .run = tile_run};
