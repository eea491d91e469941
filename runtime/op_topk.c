/* op_topk.c - launches of cl/topk.cl: the best scores of each query. */
#include "runtime/op_launch.h"
#include "runtime/ops.h"

#include <stdio.h>
#include <string.h>

/* Columns that an item of topk_group takes between two looks at its pool; see cl/topk.cl. */
#define EACH 4
/* Columns that topk_heap takes in one turn of its loop. */
#define HEAP_STEP 16

/* ---- the pool of topk_group -------------------------------------------------------------- */

static size_t group_items(const ivl__device *device)
{
    size_t items = 256;

    while (items > 16 && items > device->caps.max_work_group) {
        items /= 2;
    }
    return items;
}

/* Keys of the pool, 0 where the device's local memory has no room for it (and the counter). */
static size_t pool_keys(const ivl__device *device, int32_t k)
{
    const size_t need = (size_t)k + EACH * group_items(device);
    size_t keys = 1;

    while (keys < need) {
        keys *= 2;
    }
    return keys <= ((size_t)1 << 20) && keys * sizeof(uint64_t) + 64 <= device->caps.local_mem
               ? keys
               : 0;
}

/* ---- launch ------------------------------------------------------------------------------ */

/* Columns of a part: parts differ by less than a vector. */
static size_t part_of(const ivl__topk_call *call)
{
    return (ivl__ceil_div((size_t)call->rows, (size_t)call->parts) + HEAP_STEP - 1) / HEAP_STEP *
           HEAP_STEP;
}

static ivl_status check(const ivl__topk_call *call, ivl_error *error)
{
    if (call->queries < 0 || call->rows < 0 || call->k < 1 || call->parts < 1 ||
        call->scores_ld < call->rows || call->k > INT32_MAX / 2) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "topk: the %d best of %d scores of %d queries, %d apart, in %d parts",
                         call->k, call->rows, call->queries, call->scores_ld, call->parts);
    }
    if (part_of(call) > (size_t)HEAP_STEP * IVL__MAX_TURNS) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "topk: %d scores at once in %d parts; up to %d a part work", call->rows,
                         call->parts, HEAP_STEP * IVL__MAX_TURNS);
    }
    if ((uint64_t)call->first_row + (uint64_t)call->rows > IVL__TOPK_MAX_ROWS) {
        return ivl__fail(error, IVL_UNSUPPORTED, "topk: rows %u .. +%d; rows below %llu work",
                         (unsigned)call->first_row, call->rows,
                         (unsigned long long)IVL__TOPK_MAX_ROWS);
    }
    IVL__TRY(ivl__op_check_span("topk", "scores", call->scores, sizeof(float), error));
    return ivl__op_check_span("topk", "best", call->best, sizeof(uint64_t), error);
}

static ivl_status launch_heap(ivl__device *device, const ivl__topk_call *call, ivl_error *error)
{
    const size_t groups[2] = {(size_t)call->parts, (size_t)call->queries};
    const size_t one[2] = {1, 1};
    ivl__kernel *kernel;

    IVL__TRY(ivl__kernel_get(device, "topk.cl", "", "topk_heap", &kernel, error));
    return IVL__LAUNCH(device, kernel, 2, groups, one, error, ivl__arg_int(call->rows),
                       ivl__arg_int((int32_t)call->first_row), IVL__ARG_F32(call->scores),
                       ivl__arg_int(call->scores_ld), ivl__arg_mem(call->best.mem),
                       ivl__arg_at(call->best, sizeof(uint64_t)), ivl__arg_int(call->k),
                       ivl__arg_int((int32_t)part_of(call)));
}

static ivl_status launch_group(ivl__device *device, const ivl__topk_call *call, ivl_error *error)
{
    const size_t keys = pool_keys(device, call->k);
    const size_t items[2] = {group_items(device), 1};
    const size_t groups[2] = {(size_t)call->parts, (size_t)call->queries};
    ivl__kernel *kernel;
    char defines[32];

    if (!keys) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "topk: local memory of %llu bytes has no room for the %d best",
                         (unsigned long long)device->caps.local_mem, call->k);
    }
    snprintf(defines, sizeof defines, "-DGROUP=%d", (int)items[0]);
    IVL__TRY(ivl__kernel_get(device, "topk.cl", defines, "topk_group", &kernel, error));
    return IVL__LAUNCH(device, kernel, 2, groups, items, error, ivl__arg_int(call->rows),
                       ivl__arg_int((int32_t)call->first_row), IVL__ARG_F32(call->scores),
                       ivl__arg_int(call->scores_ld), ivl__arg_mem(call->best.mem),
                       ivl__arg_at(call->best, sizeof(uint64_t)), ivl__arg_int(call->k),
                       ivl__arg_int((int32_t)part_of(call)),
                       ivl__arg_local(keys * sizeof(uint64_t)), ivl__arg_int((int32_t)keys));
}

ivl_status ivl__op_topk(ivl__device *device, const ivl__topk_call *call, ivl_error *error)
{
    const bool group = call->variant ? strcmp(call->variant, "group") == 0
                                     : !device->caps.cpu && pool_keys(device, call->k) != 0;

    IVL__TRY(check(call, error));
    if (call->variant && !group && strcmp(call->variant, "heap") != 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "topk: no variant '%s'; heap, group",
                         call->variant);
    }
    if (call->rows == 0) {
        return IVL_OK;
    }
    return group ? launch_group(device, call, error) : launch_heap(device, call, error);
}
