/* op_token.c - rows of tokens: picked and added by index, turned by position, gated. Launchers of
 * cl/gather.cl, cl/rope.cl and cl/swiglu.cl. */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <math.h>
#include <stdio.h>

/* ---- by index ---------------------------------------------------------------------------- */

ivl_status ivl__op_gather_rows(ivl__device *device, int32_t rows, ivl__span index,
                               const ivl__weight *table, ivl__span out, int32_t out_ld,
                               ivl_error *error)
{
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    char defines[32];
    ivl_status status = ivl__op_check_weight("gather", table, error);

    if (status == IVL_OK && (rows < 0 || out_ld < table->cols)) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "gather: %d rows of width %d, output rows %d apart", rows, table->cols,
                           out_ld);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("gather", "index", index, sizeof(cl_int), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("gather", "out", out, sizeof(float), error);
    }
    if (status != IVL_OK) {
        return status;
    }
    snprintf(defines, sizeof defines, "-DIN_TYPE=%d", (int)table->dtype);
    status = ivl__op_row_kernel(device, "gather.cl", defines, "gather_rows", (size_t)table->cols,
                                (size_t)rows, &kernel, groups, items, error);
    for (int i = 0; status == IVL_OK && i < table->n_tiles; i++) {
        const ivl__weight_tile *tile = &table->tiles[i];

        status = IVL__LAUNCH(
            device, kernel, 2, groups, items, error, ivl__arg_mem(tile->data.mem),
            ivl__arg_at(tile->data, ivl__dtype_bytes(table->dtype)), ivl__arg_int(tile->first_row),
            ivl__arg_int(tile->rows), ivl__arg_int(table->rows), ivl__arg_mem(index.mem),
            ivl__arg_at(index, sizeof(cl_int)), IVL__ARG_F32(out), ivl__arg_int(out_ld),
            ivl__arg_int(table->cols), ivl__arg_ulong((uint64_t)rows));
    }
    return status;
}

static ivl_status check_add_rows(const ivl__add_rows_call *call, ivl_error *error)
{
    ivl_status status;

    if (call->rows < 0 || call->width < 1 || call->x_rows < 1 || call->x_ld < call->width ||
        call->y_ld < call->width || (!call->index.mem && call->x_rows < call->rows)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "sum of rows: %d rows of width %d, %d apart, take from %d rows %d apart",
                         call->rows, call->width, call->y_ld, call->x_rows, call->x_ld);
    }
    status = ivl__op_check_span("sum of rows", "x", call->x, sizeof(float), error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("sum of rows", "y", call->y, sizeof(float), error);
    }
    if (status == IVL_OK && call->index.mem) {
        status = ivl__op_check_span("sum of rows", "index", call->index, sizeof(cl_int), error);
    }
    return status;
}

ivl_status ivl__op_add_rows(ivl__device *device, const ivl__add_rows_call *call, ivl_error *error)
{
    /* A kernel argument must be some buffer. */
    const ivl__span index = call->index.mem ? call->index : call->x;
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    ivl_status status = check_add_rows(call, error);

    if (status == IVL_OK) {
        status = ivl__op_row_kernel(device, "gather.cl", "-DIN_TYPE=0", "add_rows",
                                    (size_t)call->width, (size_t)call->rows, &kernel, groups, items,
                                    error);
    }
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(
        device, kernel, 2, groups, items, error, IVL__ARG_F32(call->x), ivl__arg_int(call->x_ld),
        ivl__arg_int(call->x_rows), ivl__arg_mem(index.mem), ivl__arg_at(index, sizeof(cl_int)),
        ivl__arg_int(call->index.mem != NULL), IVL__ARG_F32(call->y), ivl__arg_int(call->y_ld),
        ivl__arg_int(call->width), ivl__arg_ulong((uint64_t)call->rows));
}

/* ---- by position ------------------------------------------------------------------------- */

void ivl__rope_table(int32_t max_positions, int32_t head_dim, double theta, float *table)
{
    const int32_t half = head_dim / 2;

    for (int32_t j = 0; j < half; j++) {
        const double frequency = pow(theta, -2.0 * j / head_dim);

        for (int32_t p = 0; p < max_positions; p++) {
            float *row = table + (size_t)p * 2 * (size_t)half;

            row[j] = (float)cos(p * frequency);
            row[half + j] = (float)sin(p * frequency);
        }
    }
}

static ivl_status check_rope(const ivl__rope_call *call, ivl_error *error)
{
    ivl_status status;

    if (call->rows < 0 || call->heads < 1 || call->head_dim < 2 || call->head_dim % 2 ||
        (int64_t)call->heads * call->head_dim > call->x_ld) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "rotary embedding: %d rows %d apart, %d heads of %d columns (even)",
                         call->rows, call->x_ld, call->heads, call->head_dim);
    }
    if (call->max_positions < 1) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "rotary embedding: a table of %d positions",
                         call->max_positions);
    }
    status = ivl__op_check_span("rotary embedding", "x", call->x, sizeof(float), error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("rotary embedding", "positions", call->positions,
                                    sizeof(cl_int), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("rotary embedding", "table", call->table, sizeof(float), error);
    }
    return status;
}

ivl_status ivl__op_rope(ivl__device *device, const ivl__rope_call *call, ivl_error *error)
{
    const int32_t half = call->head_dim / 2;
    const size_t span = (size_t)ivl__op_row_span(device);
    size_t per_head;
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    ivl_status status = check_rope(call, error);

    if (status != IVL_OK) {
        return status;
    }
    /* An item has pairs of one head only. */
    per_head = ivl__ceil_div((size_t)half, span);
    status = ivl__op_row_kernel(device, "rope.cl", "", "rope",
                                (size_t)call->heads * per_head * span, (size_t)call->rows, &kernel,
                                groups, items, error);
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, IVL__ARG_F32(call->x),
                       ivl__arg_int(call->x_ld), ivl__arg_mem(call->positions.mem),
                       ivl__arg_at(call->positions, sizeof(cl_int)), IVL__ARG_F32(call->table),
                       ivl__arg_int(call->max_positions), ivl__arg_int(half),
                       ivl__arg_int((int32_t)per_head), ivl__arg_int(call->heads),
                       ivl__arg_ulong((uint64_t)call->rows));
}

/* ---- gate -------------------------------------------------------------------------------- */

static ivl_status check_swiglu(const ivl__swiglu_call *call, ivl_error *error)
{
    ivl_status status;

    if (call->rows < 0 || call->width < 1 || call->gate_ld < call->width ||
        call->up_ld < call->width || call->out_ld < call->width) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "SwiGLU: %d rows of width %d, %d, %d and %d apart", call->rows,
                         call->width, call->gate_ld, call->up_ld, call->out_ld);
    }
    status = ivl__op_check_type("SwiGLU", call->out_type, error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("SwiGLU", "gate", call->gate, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("SwiGLU", "up", call->up, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("SwiGLU", "out", call->out, ivl__dtype_bytes(call->out_type),
                                    error);
    }
    return status;
}

ivl_status ivl__op_swiglu(ivl__device *device, const ivl__swiglu_call *call, ivl_error *error)
{
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    char defines[32];
    ivl_status status = check_swiglu(call, error);

    if (status != IVL_OK) {
        return status;
    }
    snprintf(defines, sizeof defines, "-DOUT_TYPE=%d", (int)call->out_type);
    status = ivl__op_row_kernel(device, "swiglu.cl", defines, "swiglu", (size_t)call->width,
                                (size_t)call->rows, &kernel, groups, items, error);
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, IVL__ARG_F32(call->gate),
                       ivl__arg_int(call->gate_ld), IVL__ARG_F32(call->up),
                       ivl__arg_int(call->up_ld), ivl__arg_mem(call->out.mem),
                       ivl__arg_at(call->out, ivl__dtype_bytes(call->out_type)),
                       ivl__arg_int(call->out_ld), ivl__arg_int(call->width),
                       ivl__arg_ulong((uint64_t)call->rows));
}
