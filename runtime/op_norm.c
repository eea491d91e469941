/* op_norm.c - RMSNorm, LayerNorm and unit length: launchers of cl/norm.cl. */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <stdio.h>
#include <string.h>

#define KIND_L2 2

/* 16 values a turn; see norm.cl. */
#define MAX_WIDTH (16 * IVL__MAX_TURNS)

/* Smaller work-groups have too many turns: such a device gets one item per row. */
#define MIN_GROUP 16

/* Work-groups of up to 256; one item per row on CPUs, where local memory and barriers only cost. */
static size_t choose_group(const ivl__device *device)
{
    size_t group = 256;

    while (group > 1 && group > device->caps.max_work_group) {
        group /= 2;
    }
    return group;
}

static ivl_status launch_norm(ivl__device *device, const ivl__norm_call *call, int kind,
                              ivl_error *error)
{
    bool rows_variant = call->variant ? strcmp(call->variant, "rows") == 0
                                      : device->caps.cpu || choose_group(device) < MIN_GROUP;
    size_t group = rows_variant ? 1 : choose_group(device);
    size_t rows = (size_t)call->rows;
    ivl__span bias = call->bias.mem ? call->bias : call->weight;
    char defines[64];
    char group_define[32] = "";
    ivl__kernel *kernel;
    ivl_status status;

    if (!rows_variant) {
        snprintf(group_define, sizeof group_define, " -DGROUP=%zu", group);
    }
    snprintf(defines, sizeof defines, "-DKIND=%d -DOUT_TYPE=%d%s", kind, (int)call->y_type,
             group_define);
    status = ivl__kernel_get(device, "norm.cl", defines, rows_variant ? "norm_rows" : "norm_groups",
                             &kernel, error);
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(
        device, kernel, 1, &rows, &group, error, IVL__ARG_F32(call->x), ivl__arg_int(call->x_ld),
        IVL__ARG_F32(call->weight), IVL__ARG_F32(bias), ivl__arg_mem(call->y.mem),
        ivl__arg_at(call->y, ivl__dtype_bytes(call->y_type)), ivl__arg_int(call->y_ld),
        ivl__arg_int(call->width), ivl__arg_float(call->eps));
}

static ivl_status check_norm(const ivl__norm_call *call, ivl_error *error)
{
    ivl_status status;

    if (call->rows < 0 || call->width < 1 || call->width > MAX_WIDTH || call->x_ld < call->width ||
        call->y_ld < call->width) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "norm: %d rows of width %d (1 to %d), %d and %d apart", call->rows,
                         call->width, MAX_WIDTH, call->x_ld, call->y_ld);
    }
    if (call->variant && strcmp(call->variant, "rows") != 0 &&
        strcmp(call->variant, "groups") != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "norm: no variant '%s' (rows, groups)",
                         call->variant);
    }
    status = ivl__op_check_type("norm", call->y_type, error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("norm", "x", call->x, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("norm", "y", call->y, ivl__dtype_bytes(call->y_type), error);
    }
    return status;
}

ivl_status ivl__op_norm(ivl__device *device, const ivl__norm_call *call, ivl_error *error)
{
    ivl_status status = check_norm(call, error);

    if (status == IVL_OK) {
        status = ivl__op_check_span("norm", "weight", call->weight, sizeof(float), error);
    }
    if (status == IVL_OK && call->kind == IVL__NORM_LAYER) {
        status = ivl__op_check_span("norm", "bias", call->bias, sizeof(float), error);
    }
    if (status != IVL_OK || call->rows == 0) {
        return status;
    }
    return launch_norm(device, call, call->kind == IVL__NORM_LAYER ? 1 : 0, error);
}

ivl_status ivl__op_l2_normalize(ivl__device *device, int32_t rows, int32_t width, ivl__span x,
                                ivl_error *error)
{
    ivl__norm_call call = {.rows = rows,
                           .width = width,
                           .x = x,
                           .x_ld = width,
                           .weight = x, /* not read */
                           .y = x,
                           .y_type = IVL_F32,
                           .y_ld = width};
    ivl_status status = check_norm(&call, error);

    if (status != IVL_OK || rows == 0) {
        return status;
    }
    return launch_norm(device, &call, KIND_L2, error);
}
