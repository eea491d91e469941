/* op_image.c - from pictures to token rows: patches, class token, positions. */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <math.h>
#include <stdio.h>

/* ---- patchify ---------------------------------------------------------------------------- */

static ivl_status check_patchify(const ivl__patchify_call *call, ivl_error *error)
{
    size_t in_bytes = call->normalized ? sizeof(float) : 1;
    ivl_status status;

    if (call->images < 0 || call->channels < 1 || call->channels > 3 || call->patch < 1 ||
        call->stride < 1 || call->height < call->patch || call->width < call->patch ||
        call->patch > 4096) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "patchify: %d pictures of %dx%d with %d channels (1 to 3) do not make "
                         "patches of %d pixels every %d",
                         call->images, call->width, call->height, call->channels, call->patch,
                         call->stride);
    }
    for (int c = 0; !call->normalized && c < call->channels; c++) {
        if (!isfinite(call->mean[c]) || !isfinite(call->std[c]) || !(call->std[c] > 0.0f)) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "patchify: channel %d has mean %g and standard deviation %g", c,
                             (double)call->mean[c], (double)call->std[c]);
        }
    }
    status = ivl__op_check_type("patchify", call->out_type, error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("patchify", "pixels", call->pixels, in_bytes, error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("patchify", "out", call->out, ivl__dtype_bytes(call->out_type),
                                    error);
    }
    return status;
}

ivl_status ivl__op_patchify(ivl__device *device, const ivl__patchify_call *call, ivl_error *error)
{
    ivl_status status = check_patchify(call, error);
    ivl__kernel *kernel;
    ivl__arg args[24];
    size_t n = 0;
    size_t work_items, groups, items;
    int32_t grid_h, grid_w;
    char defines[32];

    if (status != IVL_OK || call->images == 0) {
        return status;
    }
    grid_h = (call->height - call->patch) / call->stride + 1;
    grid_w = (call->width - call->patch) / call->stride + 1;
    work_items = (size_t)call->images * (size_t)grid_h * (size_t)grid_w * (size_t)call->patch;
    snprintf(defines, sizeof defines, "-DOUT_TYPE=%d", (int)call->out_type);
    status = ivl__kernel_get(device, "patchify.cl", defines,
                             call->normalized ? "patchify_f32" : "patchify_u8", &kernel, error);
    if (status != IVL_OK) {
        return status;
    }
    args[n++] = ivl__arg_mem(call->pixels.mem);
    args[n++] = ivl__arg_at(call->pixels, call->normalized ? sizeof(float) : 1);
    if (!call->normalized) {
        for (int c = 0; c < 3; c++) {
            args[n++] = ivl__arg_float(c < call->channels ? call->mean[c] : 0.0f);
        }
        for (int c = 0; c < 3; c++) {
            args[n++] = ivl__arg_float(c < call->channels ? call->std[c] : 1.0f);
        }
        for (int c = 0; c < 3; c++) {
            args[n++] = ivl__arg_float(c < call->channels ? 1.0f / call->std[c] : 1.0f);
        }
    }
    args[n++] = ivl__arg_int(call->height);
    args[n++] = ivl__arg_int(call->width);
    args[n++] = ivl__arg_int(call->channels);
    args[n++] = ivl__arg_int(call->patch);
    args[n++] = ivl__arg_int(call->stride);
    args[n++] = ivl__arg_int(grid_h);
    args[n++] = ivl__arg_int(grid_w);
    args[n++] = ivl__arg_mem(call->out.mem);
    args[n++] = ivl__arg_at(call->out, ivl__dtype_bytes(call->out_type));
    args[n++] = ivl__arg_ulong(work_items);
    items = ivl__op_items(device, kernel);
    groups = ivl__ceil_div(work_items, items);
    return ivl__launch(device, kernel, 1, &groups, &items, args, n, error);
}

/* ---- token rows ----------------------------------------------------------------------------- */

ivl_status ivl__op_embed(ivl__device *device, int32_t images, int32_t tokens, int32_t width,
                         ivl__span patches, ivl__span class_embedding, ivl__span position,
                         ivl__span x, ivl_error *error)
{
    ivl__kernel *kernel;
    size_t rows, groups[2], items[2];
    ivl_status status;

    if (images < 0 || tokens < 1 || width < 1) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "embed: %d pictures of %d tokens of width %d",
                         images, tokens, width);
    }
    status = ivl__op_check_span("embed", "patches", patches, sizeof(float), error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("embed", "class", class_embedding, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("embed", "position", position, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_check_span("embed", "x", x, sizeof(float), error);
    }
    if (status != IVL_OK) {
        return status;
    }
    rows = (size_t)images * (size_t)tokens;
    status = ivl__op_row_kernel(device, "embed.cl", "", "embed", (size_t)width, rows, &kernel,
                                groups, items, error);
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, IVL__ARG_F32(patches),
                       IVL__ARG_F32(class_embedding), IVL__ARG_F32(position), IVL__ARG_F32(x),
                       ivl__arg_int(tokens), ivl__arg_int(width), ivl__arg_ulong(rows));
}

ivl_status ivl__op_position_resize(ivl__device *device, int32_t from_h, int32_t from_w,
                                   int32_t to_h, int32_t to_w, int32_t width, ivl__span from,
                                   ivl__span to, ivl_error *error)
{
    /* (2 d + 1) * from must stay inside int32, and to_h * to_w too. */
    const int32_t most = 16384;
    ivl__kernel *kernel;
    size_t groups[2], items[2];
    ivl_status status;

    if (from_h < 1 || from_w < 1 || to_h < 1 || to_w < 1 || width < 1 || from_h > most ||
        from_w > most || to_h > most || to_w > most) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "positions: from a grid of %dx%d to %dx%d (1 to %d), width %d", from_h,
                         from_w, to_h, to_w, most, width);
    }
    status = ivl__op_check_span("positions", "from", from, sizeof(float), error);
    if (status == IVL_OK) {
        status = ivl__op_check_span("positions", "to", to, sizeof(float), error);
    }
    if (status == IVL_OK) {
        status = ivl__op_row_kernel(device, "position.cl", "", "position_resize", (size_t)width,
                                    1 + (size_t)to_h * (size_t)to_w, &kernel, groups, items, error);
    }
    if (status != IVL_OK) {
        return status;
    }
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, IVL__ARG_F32(from),
                       IVL__ARG_F32(to), ivl__arg_int(from_h), ivl__arg_int(from_w),
                       ivl__arg_int(to_h), ivl__arg_int(to_w), ivl__arg_int(width));
}
