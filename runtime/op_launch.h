/* op_launch.h - what the launchers of ops.h share: operands checked and turned into arguments. */
#ifndef IVL_RUNTIME_OP_LAUNCH_H
#define IVL_RUNTIME_OP_LAUNCH_H

#include "runtime/program.h"
#include "runtime/tensor.h"

/* Fails unless the span is there and its offset is a multiple of the element size. */
ivl_status ivl__op_check_span(const char *op, const char *operand, ivl__span span,
                              size_t element_bytes, ivl_error *error);

/* What kernels take: fp32, fp16 and bf16. */
bool ivl__op_is_type(ivl_dtype type);
ivl_status ivl__op_check_type(const char *op, ivl_dtype type, ivl_error *error);

/* Fails unless the tiles of a weight are there, aligned to its elements, and hold every row once,
 * in order. */
ivl_status ivl__op_check_weight(const char *op, const ivl__weight *w, ivl_error *error);

/* The offset in elements; ivl__op_check_span has seen the span. */
static inline ivl__arg ivl__arg_at(ivl__span span, size_t element_bytes)
{
    return ivl__arg_ulong(span.offset / element_bytes);
}

/* A span of fp32 as two arguments of a kernel. */
#define IVL__ARG_F32(span) ivl__arg_mem((span).mem), ivl__arg_at(span, sizeof(float))

/* One driver ends longer loops silently (quirk loops-end-at-65535): no kernel may have them. */
#define IVL__MAX_TURNS 65535

/* Work-items in x for kernels that take any local size: 64 on GPUs, `on_cpu` on CPUs, never more
 * than kernel and device allow. */
size_t ivl__op_items_of(const ivl__device *device, const ivl__kernel *kernel, size_t on_cpu);
static inline size_t ivl__op_items(const ivl__device *device, const ivl__kernel *kernel)
{
    return ivl__op_items_of(device, kernel, 1);
}

/* Kernels over rows that take SPAN columns (y) of a row (x) a work-item: a column each on GPUs,
 * whole vectors and few items on CPUs. Rows are x because some drivers take no more than 65,535
 * groups of any other dimension. */
static inline int32_t ivl__op_row_span(const ivl__device *device)
{
    return device->caps.cpu ? 4096 : 1;
}
/* Such a kernel, built with `defines` and its -DSPAN, and the launch over `width` columns. */
ivl_status ivl__op_row_kernel(ivl__device *device, const char *file, const char *defines,
                              const char *name, size_t width, size_t rows, ivl__kernel **kernel,
                              size_t groups[2], size_t items[2], ivl_error *error);

static inline size_t ivl__ceil_div(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

#endif
