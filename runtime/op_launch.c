/* op_launch.c - checks that every launcher makes; see op_launch.h. */
#include "runtime/op_launch.h"

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

ivl_status ivl__op_check_type(const char *op, ivl_dtype type, ivl_error *error)
{
    if (type != IVL_F32 && type != IVL_F16 && type != IVL_BF16) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "%s: no kernel for elements of type %s", op,
                         ivl__dtype_name(type));
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
