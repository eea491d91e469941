/* gemm_cpu.c - the `cpu` backend: launches of cl/gemm_cpu.cl and, for `fast`, of cl/gemm_cpu_amx.cl
 * where the processor has tiles, else of cl/gemm_cpu_bf16.cl.
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

/* The kernels; what they have in common is the list of their arguments. */
typedef enum method { BY_FMA, BY_DOT, BY_TILES } method;

/* How an item's work is cut up. */
typedef struct blocking {
    method method;
    int32_t vector;  /* floats of a register */
    int32_t panel;   /* columns of a panel: two registers, or two tiles */
    int32_t panels;  /* of an item, at most */
    int32_t block;   /* rows of an item */
    int32_t chunk;   /* values of K packed at a time */
    int32_t shares;  /* items across the columns */
    bool rows_first; /* dimension of the grid that runs fastest */
    size_t panel_bytes, sum_bytes;
} blocking;

static int32_t ceil_div(int32_t a, int32_t b)
{
    return a / b + (a % b != 0);
}

/* Cuts `total` evenly into pieces of at most `most`, each a multiple of `unit` (as `most` is). */
static int32_t even_piece(int32_t total, int32_t most, int32_t unit)
{
    const int32_t pieces = ceil_div(total, most);

    return ceil_div(ceil_div(total, pieces), unit) * unit;
}

/* ---- blocks of rows in registers ---------------------------------------------------------- */

static void fill_bytes(blocking *b)
{
    const size_t columns = (size_t)b->panel * (size_t)b->panels;

    b->panel_bytes = columns * (size_t)b->chunk * (b->method == BY_FMA ? sizeof(float) : 2);
    b->sum_bytes = columns * (size_t)b->block * sizeof(float);
}

/* The largest blocks that leave room for x in a second-level cache of 1 MB, made smaller until they
 * fit the device's local memory. Where that is 2 MB (drivers take it from the second-level cache),
 * `exact` makes twice the columns and reads x half as often from behind that cache. */
#define WIDE_FROM ((uint64_t)2 << 20)

static blocking blocking_of_rows(const ivl__device *device, method by, int32_t m, int32_t n)
{
    const bool wide = ivl__cpu_features_of_host().avx512f;
    const uint64_t limit = device->caps.local_mem;
    blocking b = {.method = by,
                  .vector = wide ? 16 : 8,
                  .panel = wide ? 32 : 16,
                  .panels = by == BY_FMA && limit >= WIDE_FROM ? 4 : 2,
                  .block = 1056,
                  .chunk = by == BY_DOT ? 1024 : 512};

    b.shares = ceil_div(n, b.panel * b.panels);
    for (;;) {
        const int32_t block = b.block;
        const int32_t even = even_piece(m, block, 12); /* whole sweeps of 12 rows */

        b.block = even < block ? even : block;
        fill_bytes(&b);
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

/* ---- blocks of tiles ----------------------------------------------------------------------- */

#define TILES_WIDTH 32   /* rows and columns of 2 x 2 tiles of sums, values of K of a step */
#define X_PIECE     1024 /* values of K that an item of the packing of x takes */

/* Sums wait for the next chunk of K, if there is one; one more block is the kernel's to spoil. */
static void fill_bytes_of_tiles(blocking *b, int32_t k)
{
    const size_t rows = k > b->chunk ? (size_t)b->block : TILES_WIDTH;
    const size_t columns = (size_t)b->panel * (size_t)b->panels;

    b->panel_bytes = columns * (size_t)b->chunk * 2;
    b->sum_bytes = (columns * rows + TILES_WIDTH * TILES_WIDTH) * sizeof(float);
}

/* Panels and sums stay in a second-level cache, x comes by once per item; long rows of weights are
 * what the processor reads ahead best. At the end as many items as the device has units for. */
static blocking blocking_of_tiles(const ivl__device *device, int32_t m, int32_t n, int32_t k)
{
    const int32_t all = ceil_div(n, TILES_WIDTH);
    int32_t rows = 1056, depth = 800;
    blocking b = {
        .method = BY_TILES, .vector = 16, .panel = TILES_WIDTH, .panels = 8, .rows_first = true};

    for (;;) {
        b.block = even_piece(m, rows, TILES_WIDTH);
        b.chunk = even_piece(k, depth, TILES_WIDTH);
        fill_bytes_of_tiles(&b, k);
        if (b.panel_bytes + b.sum_bytes <= device->caps.local_mem ||
            (rows <= TILES_WIDTH && depth <= TILES_WIDTH)) {
            break;
        }
        if (b.panel_bytes > b.sum_bytes && depth > TILES_WIDTH) {
            depth = depth / 2 / TILES_WIDTH * TILES_WIDTH;
        } else if (rows > TILES_WIDTH) {
            rows = rows / 2 / TILES_WIDTH * TILES_WIDTH;
        } else {
            depth = depth / 2 / TILES_WIDTH * TILES_WIDTH;
        }
    }
    b.shares = ceil_div(all, b.panels);
    while (b.shares < all &&
           (uint64_t)b.shares * (uint64_t)ceil_div(m, b.block) % device->caps.compute_units) {
        b.shares++;
    }
    return b;
}

static blocking blocking_for(const ivl__device *device, ivl_precision precision, int32_t m,
                             int32_t n, int32_t k)
{
    if (precision == IVL_EXACT) {
        return blocking_of_rows(device, BY_FMA, m, n);
    }
    return device->caps.x86_amx_bf16 ? blocking_of_tiles(device, m, n, k)
                                     : blocking_of_rows(device, BY_DOT, m, n);
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
    least = blocking_for(device, precision, INT32_MAX / 2, INT32_MAX / 2, INT32_MAX / 2);
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

/* Tiles take x in panels (cl/gemm_cpu_pack_x.cl). */
static size_t cpu_scratch(ivl__device *device, ivl_precision precision, int32_t m, int32_t n,
                          int32_t k, ivl_dtype w_type)
{
    (void)n;
    (void)w_type;
    if (precision == IVL_EXACT || !device->caps.x86_amx_bf16) {
        return 0;
    }
    return (size_t)ceil_div(m, TILES_WIDTH) * (size_t)ceil_div(k, TILES_WIDTH) * TILES_WIDTH *
           TILES_WIDTH * 2;
}

static ivl_status get_kernel(ivl__gemm *gemm, const ivl__gemm_call *call, const blocking *b,
                             ivl__kernel **kernel, ivl_error *error)
{
    static const char *const files[] = {"gemm_cpu.cl", "gemm_cpu_bf16.cl", "gemm_cpu_amx.cl"};
    const int w_type = call->w->dtype == IVL_F32 ? 0 : call->w->dtype == IVL_F16 ? 1 : 2;
    char panels[20] = "";
    char defines[120];

    if (b->method != BY_TILES) {
        snprintf(panels, sizeof panels, " -DPANELS=%d", b->panels);
    }
    snprintf(defines, sizeof defines, "-DLAYOUT=%d -DWTYPE=%d -DVW=%d%s -DGELU=%d",
             (int)call->layout, w_type, b->vector, panels, call->epilogue == IVL__EPILOGUE_GELU);
    return ivl__kernel_get(gemm->device, files[b->method], defines, "gemm_cpu", kernel, error);
}

/* x as the kernel takes it. */
typedef struct operand_x {
    ivl__span at;
    int32_t ld;
    size_t element_bytes;
} operand_x;

static ivl_status pack_x(ivl__gemm *gemm, const ivl__gemm_call *call, int32_t k, operand_x *x,
                         ivl_error *error)
{
    const bool transposed = call->layout == IVL__GEMM_TN;
    const int32_t padded = ceil_div(k, TILES_WIDTH) * TILES_WIDTH;
    const size_t groups[2] = {(size_t)ceil_div(call->m, TILES_WIDTH), (size_t)ceil_div(k, X_PIECE)};
    const size_t local[2] = {1, 1};
    ivl__kernel *kernel;

    IVL__TRY(ivl__kernel_get(gemm->device, "gemm_cpu_pack_x.cl",
                             transposed ? "-DTRANSPOSED=1" : "-DTRANSPOSED=0", "gemm_cpu_pack_x",
                             &kernel, error));
    *x = (operand_x){.at = {gemm->scratch, 0}, .ld = padded, .element_bytes = 4};
    return IVL__LAUNCH(gemm->device, kernel, 2, groups, local, error, ivl__arg_int(call->m),
                       ivl__arg_int(k), ivl__arg_mem(call->x.mem), ivl__arg_at(call->x, 2),
                       ivl__arg_int(padded), ivl__arg_int(X_PIECE), ivl__arg_mem(gemm->scratch));
}

/* Absent operands are passed as x: a kernel argument must be some buffer. */
static ivl_status launch(ivl__gemm *gemm, const ivl__gemm_call *call, const blocking *b,
                         ivl__kernel *kernel, const operand_x *x, const ivl__weight_tile *tile,
                         ivl_error *error)
{
    const ivl__weight *w = call->w;
    const bool nt = call->layout == IVL__GEMM_NT;
    const uint64_t first = nt ? (uint64_t)tile->first_row : 0;
    const int flags = (call->bias.mem ? HAS_BIAS : 0) | (call->scale.mem ? HAS_SCALE : 0) |
                      (call->epilogue == IVL__EPILOGUE_RESIDUAL ? HAS_RESIDUAL : 0);
    const size_t blocks = (size_t)ceil_div(call->m, b->block);
    const size_t groups[2] = {b->rows_first ? blocks : (size_t)b->shares,
                              b->rows_first ? (size_t)b->shares : blocks};
    const size_t local[2] = {1, 1};

    return IVL__LAUNCH(
        gemm->device, kernel, 2, groups, local, error, ivl__arg_int(call->m),
        ivl__arg_int(nt ? tile->rows : w->cols), ivl__arg_int(nt ? w->cols : w->rows),
        ivl__arg_mem(x->at.mem), ivl__arg_at(x->at, x->element_bytes), ivl__arg_int(x->ld),
        ivl__arg_mem(tile->data.mem), ivl__arg_at(tile->data, ivl__dtype_bytes(w->dtype)),
        ivl__arg_int(w->cols), ivl__arg_mem(call->bias.mem ? call->bias.mem : x->at.mem),
        ivl__arg_ulong(call->bias.offset / sizeof(float) + first),
        ivl__arg_mem(call->scale.mem ? call->scale.mem : x->at.mem),
        ivl__arg_ulong(call->scale.offset / sizeof(float) + first), ivl__arg_mem(call->y.mem),
        ivl__arg_ulong(call->y.offset / ivl__dtype_bytes(call->y_type) + first),
        ivl__arg_int(call->y_ld), ivl__arg_int((int32_t)call->y_type), ivl__arg_int(flags),
        ivl__arg_int(b->block), ivl__arg_int(b->chunk), ivl__arg_local(b->panel_bytes),
        ivl__arg_local(b->sum_bytes));
}

static ivl_status cpu_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    const bool nt = call->layout == IVL__GEMM_NT;
    const int32_t k = nt ? call->w->cols : call->w->rows;
    operand_x x = {.at = call->x,
                   .ld = call->layout == IVL__GEMM_TN ? call->m : k,
                   .element_bytes = ivl__dtype_bytes(call->x_type)};

    for (int i = 0; i < call->w->n_tiles; i++) {
        const int32_t n = nt ? call->w->tiles[i].rows : call->w->cols;
        const blocking b = blocking_for(gemm->device, gemm->precision, call->m, n, k);
        ivl__kernel *kernel;

        if (k / b.chunk >= IVL__MAX_TURNS) {
            return ivl__fail(error, IVL_UNSUPPORTED,
                             "sums of %d values are too long for the cpu backend", k);
        }
        IVL__TRY(get_kernel(gemm, call, &b, &kernel, error));
        if (i == 0 && b.method == BY_TILES) {
            IVL__TRY(pack_x(gemm, call, k, &x, error));
        }
        IVL__TRY(launch(gemm, call, &b, kernel, &x, &call->w->tiles[i], error));
    }
    return IVL_OK;
}

const ivl__gemm_backend ivl__gemm_cpu = {.name = "cpu",
                                         .available = cpu_available,
                                         .input_type = cpu_input_type,
                                         .scratch = cpu_scratch,
                                         .run = cpu_run};
