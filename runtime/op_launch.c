/* op_launch.c - checks that every launcher makes; see op_launch.h. */
#include "runtime/op_launch.h"

#include <stdio.h>

ivl_status ivl__op_check_span(const char *op, const char *operand, ivl__span span,
                              size_t element_bytes, ivl_error *error)
{
    if (!span.mem) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s: operand '%s' is missing", op, operand);
    }
    if (span.offset % element_bytes) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "%s: operand '%s' lies at byte %llu, not a multiple of its element's %zu",
                         op, operand, (unsigned long long)span.offset, element_bytes);
    }
    return IVL_OK;
}

bool ivl__op_is_type(ivl_dtype type)
{
    return type == IVL_F32 || type == IVL_F16 || type == IVL_BF16;
}

ivl_status ivl__op_check_type(const char *op, ivl_dtype type, ivl_error *error)
{
    if (!ivl__op_is_type(type)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s: no kernel for elements of type %s", op,
                         ivl__dtype_name(type));
    }
    return IVL_OK;
}

ivl_status ivl__op_check_weight(const char *op, const ivl__weight *w, ivl_error *error)
{
    int64_t next = 0;

    if (!w || w->rows < 1 || w->cols < 1 || !ivl__op_is_type(w->dtype) || w->n_tiles < 1 ||
        w->n_tiles > IVL__MAX_TILES) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "%s: weight of %d x %d %s in %d tiles (at most %d)", op, w ? w->rows : 0,
                         w ? w->cols : 0, ivl__dtype_name(w ? w->dtype : IVL_OTHER),
                         w ? w->n_tiles : 0, IVL__MAX_TILES);
    }
    for (int i = 0; i < w->n_tiles; i++) {
        const ivl__weight_tile *tile = &w->tiles[i];

        if (tile->rows < 1 || tile->first_row != next) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "%s: tile %d has rows %d .. +%d, should begin at row %lld", op, i,
                             tile->first_row, tile->rows, (long long)next);
        }
        next += tile->rows;
        if (!tile->data.mem || tile->data.offset % ivl__dtype_bytes(w->dtype)) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "%s: tile %d is absent or misaligned (offset %llu, %s)", op, i,
                             (unsigned long long)tile->data.offset, ivl__dtype_name(w->dtype));
        }
    }
    if (next != w->rows) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s: tiles hold %lld of %d rows", op,
                         (long long)next, w->rows);
    }
    return IVL_OK;
}

size_t ivl__op_items_of(const ivl__device *device, const ivl__kernel *kernel, size_t on_cpu)
{
    size_t items = device->caps.cpu ? on_cpu : 64;

    while (items > 1 && (items > kernel->max_work_group || items > device->caps.max_work_group)) {
        items /= 2;
    }
    return items;
}

ivl_status ivl__op_row_kernel(ivl__device *device, const char *file, const char *defines,
                              const char *name, size_t width, size_t rows, ivl__kernel **kernel,
                              size_t groups[2], size_t items[2], ivl_error *error)
{
    const int32_t span = ivl__op_row_span(device);
    char all[80];
    ivl_status status;

    snprintf(all, sizeof all, "-DSPAN=%d%s%s", span, defines[0] ? " " : "", defines);
    status = ivl__kernel_get(device, file, all, name, kernel, error);
    if (status == IVL_OK) {
        items[0] = 1;
        items[1] = ivl__op_items(device, *kernel);
        groups[0] = rows;
        groups[1] = ivl__ceil_div(width, (size_t)span * items[1]);
    }
    return status;
}
