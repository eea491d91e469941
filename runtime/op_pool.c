/* op_pool.c - what is done with finished rows: pooling, the check for finite values, and changes
 * of element type. */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <stdio.h>

/* Rows of a partial sum; see pool.cl. */
#define POOL_BLOCK 32

ivl_status ivl__op_pool(ivl__device *device, int32_t images, int32_t tokens, int32_t width,
                        int32_t first, int32_t rows, ivl__span x, ivl__span out, int32_t out_ld,
                        ivl_error *error)
{
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    ivl_status status;

    if (images < 0 || tokens < 1 || width < 1 || first < 0 || rows < 1 || first >= tokens ||
        rows > tokens - first || out_ld < width) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "pool: %d rows from row %d on of %d, width %d, output rows %d apart", rows,
                         first, tokens, width, out_ld);
    }
    if (rows > POOL_BLOCK * IVL__MAX_TURNS) {
        return ivl__fail(error, IVL_UNSUPPORTED, "pool: the mean of %d rows; up to %d work", rows,
                         POOL_BLOCK * IVL__MAX_TURNS);
    }
    status = ivl__op_check_span("pool", "x", x, sizeof(float), error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("pool", "out", out, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__kernel_get(device, "pool.cl", "", "pool", &kernel, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    items[0] = ivl__op_items_of(device, kernel, 16);
    items[1] = 1;
    groups[0] = ivl__ceil_div((size_t)width, items[0]);
    groups[1] = (size_t)images;
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, IVL__ARG_F32(x), IVL__ARG_F32(out),
                       ivl__arg_int(out_ld), ivl__arg_int(tokens), ivl__arg_int(width),
                       ivl__arg_int(first), ivl__arg_int(rows));
}

ivl_status ivl__op_check_finite(ivl__device *device, uint64_t count, ivl__span x, ivl__span flag,
                                ivl_error *error)
{
    ivl__kernel *kernel;
    size_t groups, items;
    ivl_status status = ivl__op_check_span("check of finite values", "x", x, sizeof(float), error);

    if (status == IVL_OK) {
        status = ivl__op_check_span("check of finite values", "flag", flag, sizeof(cl_int), error);
    }
    if (status == IVL_OK) {
        status = ivl__kernel_get(device, "check.cl", "", "check_finite", &kernel, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    items = ivl__op_items_of(device, kernel, 16);
    groups = ivl__ceil_div(ivl__ceil_div((size_t)count, 64), items);
    return IVL__LAUNCH(device, kernel, 1, &groups, &items, error, IVL__ARG_F32(x),
                       ivl__arg_ulong(count), ivl__arg_mem(flag.mem),
                       ivl__arg_at(flag, sizeof(cl_int)));
}

ivl_status ivl__op_convert(ivl__device *device, uint64_t count, ivl__span from, ivl_dtype from_type,
                           ivl__span to, ivl_dtype to_type, ivl_error *error)
{
    ivl__kernel *kernel;
    size_t groups, items;
    char defines[64];
    ivl_status status = ivl__op_check_type("conversion", from_type, error);

    if (status == IVL_OK) {
        status = ivl__op_check_type("conversion", to_type, error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("conversion", "from", from, ivl__dtype_bytes(from_type), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("conversion", "to", to, ivl__dtype_bytes(to_type), error);
    }
    if (status != IVL_OK) {
        return status;
    }
    snprintf(defines, sizeof defines, "-DIN_TYPE=%d -DOUT_TYPE=%d", (int)from_type, (int)to_type);
    status = ivl__kernel_get(device, "convert.cl", defines, "convert", &kernel, error);
    if (status != IVL_OK) {
        return status;
    }
    items = ivl__op_items_of(device, kernel, 16);
    groups = ivl__ceil_div(ivl__ceil_div((size_t)count, 16), items);
    return IVL__LAUNCH(device, kernel, 1, &groups, &items, error, ivl__arg_mem(from.mem),
                       ivl__arg_at(from, ivl__dtype_bytes(from_type)), ivl__arg_mem(to.mem),
                       ivl__arg_at(to, ivl__dtype_bytes(to_type)), ivl__arg_ulong(count));
}
