/* opencl_error.c - injected faults, live objects, and what error codes mean; see opencl.h. */
#include "runtime/opencl_internal.h"

#include <string.h>

/* ---- fault injection --------------------------------------------------------------------- */

static const char *fail_call;
static atomic_int_fast64_t fail_after = -1, calls_seen;
static atomic_bool fail_forever;
static cl_int fail_code;

void ivl__cl_fail(const char *call, int64_t after, bool forever, cl_int code)
{
    fail_call = call;
    fail_code = code;
    atomic_store(&fail_forever, forever);
    atomic_store(&calls_seen, 0);
    atomic_store(&fail_after, after);
}

int64_t ivl__cl_calls(void)
{
    return atomic_load(&calls_seen);
}

cl_int ivl__cl_injected(const char *call)
{
    int64_t after = atomic_load(&fail_after);
    int64_t n;

    if (fail_call && strcmp(fail_call, call) != 0) {
        return CL_SUCCESS;
    }
    n = atomic_fetch_add(&calls_seen, 1);
    if (after < 0 || (atomic_load(&fail_forever) ? n < after : n != after)) {
        return CL_SUCCESS;
    }
    return fail_code;
}

cl_int ivl__cl_fault_code(void)
{
    return fail_code;
}

/* ---- live objects ------------------------------------------------------------------------ */

static atomic_int_fast64_t live_objects;

int64_t ivl__cl_live_objects(void)
{
    return atomic_load(&live_objects);
}

void ivl__cl_object_made(ivl__cl *cl)
{
    atomic_fetch_add(&cl->ledger.objects, 1);
    atomic_fetch_add(&live_objects, 1);
}

void ivl__cl_object_gone(ivl__cl *cl)
{
    atomic_fetch_sub(&cl->ledger.objects, 1);
    atomic_fetch_sub(&live_objects, 1);
}

/* ---- errors ------------------------------------------------------------------------------ */

const char *ivl__cl_error_name(cl_int code)
{
#define NAME(x) \
    case x: return #x
    switch (code) {
        NAME(CL_SUCCESS);
        NAME(CL_DEVICE_NOT_FOUND);
        NAME(CL_DEVICE_NOT_AVAILABLE);
        NAME(CL_COMPILER_NOT_AVAILABLE);
        NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE);
        NAME(CL_OUT_OF_RESOURCES);
        NAME(CL_OUT_OF_HOST_MEMORY);
        NAME(CL_PROFILING_INFO_NOT_AVAILABLE);
        NAME(CL_MEM_COPY_OVERLAP);
        NAME(CL_IMAGE_FORMAT_MISMATCH);
        NAME(CL_IMAGE_FORMAT_NOT_SUPPORTED);
        NAME(CL_BUILD_PROGRAM_FAILURE);
        NAME(CL_MAP_FAILURE);
        NAME(CL_MISALIGNED_SUB_BUFFER_OFFSET);
        NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
        NAME(CL_COMPILE_PROGRAM_FAILURE);
        NAME(CL_LINKER_NOT_AVAILABLE);
        NAME(CL_LINK_PROGRAM_FAILURE);
        NAME(CL_DEVICE_PARTITION_FAILED);
        NAME(CL_KERNEL_ARG_INFO_NOT_AVAILABLE);
        NAME(CL_INVALID_VALUE);
        NAME(CL_INVALID_DEVICE_TYPE);
        NAME(CL_INVALID_PLATFORM);
        NAME(CL_INVALID_DEVICE);
        NAME(CL_INVALID_CONTEXT);
        NAME(CL_INVALID_QUEUE_PROPERTIES);
        NAME(CL_INVALID_COMMAND_QUEUE);
        NAME(CL_INVALID_HOST_PTR);
        NAME(CL_INVALID_MEM_OBJECT);
        NAME(CL_INVALID_BINARY);
        NAME(CL_INVALID_BUILD_OPTIONS);
        NAME(CL_INVALID_PROGRAM);
        NAME(CL_INVALID_PROGRAM_EXECUTABLE);
        NAME(CL_INVALID_KERNEL_NAME);
        NAME(CL_INVALID_KERNEL_DEFINITION);
        NAME(CL_INVALID_KERNEL);
        NAME(CL_INVALID_ARG_INDEX);
        NAME(CL_INVALID_ARG_VALUE);
        NAME(CL_INVALID_ARG_SIZE);
        NAME(CL_INVALID_KERNEL_ARGS);
        NAME(CL_INVALID_WORK_DIMENSION);
        NAME(CL_INVALID_WORK_GROUP_SIZE);
        NAME(CL_INVALID_WORK_ITEM_SIZE);
        NAME(CL_INVALID_GLOBAL_OFFSET);
        NAME(CL_INVALID_EVENT_WAIT_LIST);
        NAME(CL_INVALID_EVENT);
        NAME(CL_INVALID_OPERATION);
        NAME(CL_INVALID_BUFFER_SIZE);
        NAME(CL_INVALID_GLOBAL_WORK_SIZE);
        NAME(CL_INVALID_PROPERTY);
    case -1001: return "CL_PLATFORM_NOT_FOUND_KHR";
    default: return "unknown OpenCL error";
    }
#undef NAME
}

ivl_status ivl__cl_status(cl_int code)
{
    switch (code) {
    case CL_SUCCESS: return IVL_OK;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_INVALID_BUFFER_SIZE:
    case CL_OUT_OF_RESOURCES: return IVL_OUT_OF_DEVICE_MEMORY;
    case CL_OUT_OF_HOST_MEMORY: return IVL_OUT_OF_MEMORY;
    case CL_DEVICE_NOT_FOUND:
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_COMPILER_NOT_AVAILABLE:
    case -1001: return IVL_NO_DEVICE;
    default: return IVL_DEVICE_FAILED;
    }
}

ivl_status ivl__cl_check(cl_int code, const char *call, const char *what, ivl_error *error)
{
    if (code == CL_SUCCESS) {
        return IVL_OK;
    }
    return ivl__fail(error, ivl__cl_status(code), "%s: %s: %s (%d)", call, what,
                     ivl__cl_error_name(code), (int)code);
}
