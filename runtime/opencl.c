/* opencl.c - the one wrapper layer over cl*; see opencl.h. */
#include "runtime/opencl.h"

#include "runtime/memory.h"

#include <stdio.h>
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

/* CL_SUCCESS, or the code that the injected fault answers instead of making the call. */
static cl_int injected(const char *call)
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

static ivl_status status_of(cl_int code)
{
    switch (code) {
    case CL_SUCCESS: return IVL_OK;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_RESOURCES: return IVL_OUT_OF_DEVICE_MEMORY;
    case CL_OUT_OF_HOST_MEMORY: return IVL_OUT_OF_MEMORY;
    case CL_DEVICE_NOT_FOUND:
    case CL_DEVICE_NOT_AVAILABLE:
    case -1001: return IVL_NO_DEVICE;
    default: return IVL_DEVICE_FAILED;
    }
}

ivl_status ivl__cl_check(cl_int code, const char *call, const char *what, ivl_error *error)
{
    if (code == CL_SUCCESS) {
        return IVL_OK;
    }
    return ivl__fail(error, status_of(code), "%s: %s: %s (%d)", call, what,
                     ivl__cl_error_name(code), (int)code);
}

/* Calls a function that answers a code, unless a fault is injected. */
#define CALL(function, ...) (injected(#function) != CL_SUCCESS ? fail_code : function(__VA_ARGS__))

/* ---- the ledger -------------------------------------------------------------------------- */

static void object_made(ivl__cl *cl)
{
    atomic_fetch_add(&cl->ledger.objects, 1);
}

static void object_gone(ivl__cl *cl)
{
    atomic_fetch_sub(&cl->ledger.objects, 1);
}

static ivl_status take_bytes(ivl__cl *cl, size_t bytes, const char *what, ivl_error *error)
{
    int64_t live = atomic_fetch_add(&cl->ledger.bytes, (int64_t)bytes) + (int64_t)bytes;
    int64_t peak = atomic_load(&cl->ledger.peak_bytes);

    if (cl->ledger.budget && (uint64_t)live > cl->ledger.budget) {
        atomic_fetch_sub(&cl->ledger.bytes, (int64_t)bytes);
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "%s: %.1f MiB more would exceed the device budget of %.1f MiB (%.1f MiB "
                         "in use)",
                         what, (double)bytes / 1048576.0, (double)cl->ledger.budget / 1048576.0,
                         (double)(live - (int64_t)bytes) / 1048576.0);
    }
    while (live > peak && !atomic_compare_exchange_weak(&cl->ledger.peak_bytes, &peak, live)) {
    }
    return IVL_OK;
}

/* ---- context and queues ------------------------------------------------------------------ */

static ivl_status make_queue(ivl__cl *cl, cl_command_queue *queue, ivl_error *error)
{
    cl_command_queue_properties properties = cl->profiling ? CL_QUEUE_PROFILING_ENABLE : 0;
    cl_int code = injected("clCreateCommandQueue");
    cl_command_queue made = NULL;

    /* The 1.2 call: every driver has it, also those that answer 3.0. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    if (code == CL_SUCCESS) {
        made = clCreateCommandQueue(cl->context, cl->device, properties, &code);
    }
#pragma GCC diagnostic pop
    if (code != CL_SUCCESS) {
        return ivl__cl_check(code, "clCreateCommandQueue", "queue", error);
    }
    object_made(cl);
    *queue = made;
    return IVL_OK;
}

ivl_status ivl__cl_open(cl_platform_id platform, cl_device_id device, bool profiling, ivl__cl *cl,
                        ivl_error *error)
{
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)platform, 0};
    cl_int code = injected("clCreateContext");
    ivl_status status;

    memset(cl, 0, sizeof *cl);
    cl->platform = platform;
    cl->device = device;
    cl->profiling = profiling;
    if (code == CL_SUCCESS) {
        cl->context = clCreateContext(properties, 1, &device, NULL, NULL, &code);
    }
    if (code != CL_SUCCESS) {
        cl->context = NULL;
        return ivl__cl_check(code, "clCreateContext", "context", error);
    }
    object_made(cl);
    status = make_queue(cl, &cl->compute, error);
    if (status == IVL_OK) {
        status = make_queue(cl, &cl->upload, error);
    }
    if (status != IVL_OK) {
        ivl__cl_close(cl);
    }
    return status;
}

void ivl__cl_close(ivl__cl *cl)
{
    cl_command_queue queues[2] = {cl->upload, cl->compute};

    for (int i = 0; i < 2; i++) {
        if (queues[i]) {
            clFinish(queues[i]);
            clReleaseCommandQueue(queues[i]);
            object_gone(cl);
        }
    }
    if (cl->context) {
        clReleaseContext(cl->context);
        object_gone(cl);
    }
    cl->upload = cl->compute = NULL;
    cl->context = NULL;
}

/* ---- buffers ----------------------------------------------------------------------------- */

static ivl_status make_buffer(ivl__cl *cl, cl_mem_flags flags, size_t bytes, void *host,
                              const char *what, cl_mem *out, ivl_error *error)
{
    cl_int code = injected("clCreateBuffer");
    cl_mem made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateBuffer(cl->context, flags, bytes, host, &code);
    }
    if (code != CL_SUCCESS) {
        ivl__cl_check(code, "clCreateBuffer", what, error);
        return ivl__fail_context(error, status_of(code), "%.1f MiB", (double)bytes / 1048576.0);
    }
    object_made(cl);
    *out = made;
    return IVL_OK;
}

ivl_status ivl__cl_buffer(ivl__cl *cl, cl_mem_flags flags, size_t bytes, const char *what,
                          cl_mem *out, ivl_error *error)
{
    ivl_status status;

    bytes = bytes ? bytes : 1;
    status = take_bytes(cl, bytes, what, error);
    if (status != IVL_OK) {
        return status;
    }
    status = make_buffer(cl, flags, bytes, NULL, what, out, error);
    if (status != IVL_OK) {
        atomic_fetch_sub(&cl->ledger.bytes, (int64_t)bytes);
    }
    return status;
}

ivl_status ivl__cl_buffer_view(ivl__cl *cl, const void *host, size_t bytes, const char *what,
                               cl_mem *out, ivl_error *error)
{
    ivl_status status = make_buffer(cl, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
                                    (void *)(uintptr_t)host, what, out, error);

    if (status == IVL_OK) {
        atomic_fetch_add(&cl->ledger.mapped_bytes, (int64_t)bytes);
    }
    return status;
}

ivl_status ivl__cl_buffer_touch(ivl__cl *cl, cl_mem buffer, size_t bytes, const char *what,
                                ivl_error *error)
{
    const cl_uint zero = 0;
    ivl_status status = ivl__cl_fill(cl, cl->compute, buffer, &zero, sizeof zero, 0,
                                     bytes & ~(size_t)3, error);

    if (status == IVL_OK) {
        status = ivl__cl_finish(cl, cl->compute, error);
    }
    return status == IVL_OK ? status : ivl__fail_context(error, status, "%s", what);
}

void ivl__cl_buffer_free(ivl__cl *cl, cl_mem buffer)
{
    cl_mem_flags flags = 0;
    size_t bytes = 0;

    if (!buffer) {
        return;
    }
    clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL);
    clGetMemObjectInfo(buffer, CL_MEM_FLAGS, sizeof flags, &flags, NULL);
    atomic_fetch_sub(flags & CL_MEM_USE_HOST_PTR ? &cl->ledger.mapped_bytes : &cl->ledger.bytes,
                     (int64_t)bytes);
    clReleaseMemObject(buffer);
    object_gone(cl);
}

/* ---- transfers --------------------------------------------------------------------------- */

static void event_made(ivl__cl *cl, const cl_event *event)
{
    if (event) {
        object_made(cl);
    }
}

ivl_status ivl__cl_write(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, size_t offset,
                         const void *host, size_t bytes, cl_uint n_wait, const cl_event *wait,
                         cl_event *event, ivl_error *error)
{
    cl_int code = CALL(clEnqueueWriteBuffer, queue, buffer, event ? CL_FALSE : CL_TRUE, offset,
                       bytes, host, n_wait, wait, event);

    if (code == CL_SUCCESS) {
        event_made(cl, event);
    }
    return ivl__cl_check(code, "clEnqueueWriteBuffer", "upload", error);
}

ivl_status ivl__cl_read(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, size_t offset,
                        void *host, size_t bytes, cl_uint n_wait, const cl_event *wait,
                        cl_event *event, ivl_error *error)
{
    cl_int code = CALL(clEnqueueReadBuffer, queue, buffer, event ? CL_FALSE : CL_TRUE, offset,
                       bytes, host, n_wait, wait, event);

    if (code == CL_SUCCESS) {
        event_made(cl, event);
    }
    return ivl__cl_check(code, "clEnqueueReadBuffer", "download", error);
}

ivl_status ivl__cl_copy(ivl__cl *cl, cl_command_queue queue, cl_mem from, size_t from_offset,
                        cl_mem to, size_t to_offset, size_t bytes, ivl_error *error)
{
    (void)cl;
    return ivl__cl_check(
        CALL(clEnqueueCopyBuffer, queue, from, to, from_offset, to_offset, bytes, 0, NULL, NULL),
        "clEnqueueCopyBuffer", "copy", error);
}

ivl_status ivl__cl_fill(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, const void *pattern,
                        size_t pattern_bytes, size_t offset, size_t bytes, ivl_error *error)
{
    (void)cl;
    if (!bytes) {
        return IVL_OK;
    }
    return ivl__cl_check(CALL(clEnqueueFillBuffer, queue, buffer, pattern, pattern_bytes, offset,
                              bytes, 0, NULL, NULL),
                         "clEnqueueFillBuffer", "fill", error);
}

ivl_status ivl__cl_map(ivl__cl *cl, cl_mem buffer, size_t bytes, void **host, ivl_error *error)
{
    cl_int code = injected("clEnqueueMapBuffer");
    void *mapped = NULL;

    if (code == CL_SUCCESS) {
        mapped = clEnqueueMapBuffer(cl->compute, buffer, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                                    bytes, 0, NULL, NULL, &code);
    }
    if (code == CL_SUCCESS) {
        *host = mapped;
    }
    return ivl__cl_check(code, "clEnqueueMapBuffer", "map", error);
}

ivl_status ivl__cl_unmap(ivl__cl *cl, cl_mem buffer, void *host, ivl_error *error)
{
    return ivl__cl_check(CALL(clEnqueueUnmapMemObject, cl->compute, buffer, host, 0, NULL, NULL),
                         "clEnqueueUnmapMemObject", "unmap", error);
}

/* ---- order ------------------------------------------------------------------------------- */

ivl_status ivl__cl_flush(ivl__cl *cl, cl_command_queue queue, ivl_error *error)
{
    (void)cl;
    return ivl__cl_check(CALL(clFlush, queue), "clFlush", "queue", error);
}

ivl_status ivl__cl_finish(ivl__cl *cl, cl_command_queue queue, ivl_error *error)
{
    (void)cl;
    return ivl__cl_check(CALL(clFinish, queue), "clFinish", "queue", error);
}

ivl_status ivl__cl_wait(ivl__cl *cl, cl_event event, ivl_error *error)
{
    (void)cl;
    return ivl__cl_check(CALL(clWaitForEvents, 1, &event), "clWaitForEvents", "event", error);
}

ivl_status ivl__cl_barrier(ivl__cl *cl, cl_command_queue queue, cl_event event, ivl_error *error)
{
    (void)cl;
    return ivl__cl_check(CALL(clEnqueueBarrierWithWaitList, queue, 1, &event, NULL),
                         "clEnqueueBarrierWithWaitList", "barrier", error);
}

ivl_status ivl__cl_marker(ivl__cl *cl, cl_command_queue queue, cl_event *event, ivl_error *error)
{
    cl_int code = CALL(clEnqueueMarkerWithWaitList, queue, 0, NULL, event);

    if (code == CL_SUCCESS) {
        event_made(cl, event);
    }
    return ivl__cl_check(code, "clEnqueueMarkerWithWaitList", "marker", error);
}

void ivl__cl_event_free(ivl__cl *cl, cl_event event)
{
    if (event) {
        clReleaseEvent(event);
        object_gone(cl);
    }
}

ivl_status ivl__cl_event_times(cl_event event, double *start, double *end, ivl_error *error)
{
    cl_ulong a = 0;
    cl_ulong b = 0;
    cl_int code = CALL(clGetEventProfilingInfo, event, CL_PROFILING_COMMAND_START, sizeof a, &a,
                       NULL);

    if (code == CL_SUCCESS) {
        code = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof b, &b, NULL);
    }
    if (code == CL_SUCCESS) {
        *start = 1e-9 * (double)a;
        *end = 1e-9 * (double)b;
    }
    return ivl__cl_check(code, "clGetEventProfilingInfo", "event", error);
}

/* ---- programs and kernels ---------------------------------------------------------------- */

ivl_status ivl__cl_program_source(ivl__cl *cl, const char *text, size_t bytes, cl_program *out,
                                  ivl_error *error)
{
    cl_int code = injected("clCreateProgramWithSource");
    cl_program made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateProgramWithSource(cl->context, 1, &text, &bytes, &code);
    }
    if (code == CL_SUCCESS) {
        object_made(cl);
        *out = made;
    }
    return ivl__cl_check(code, "clCreateProgramWithSource", "program", error);
}

ivl_status ivl__cl_program_binary(ivl__cl *cl, const unsigned char *binary, size_t bytes,
                                  cl_program *out, ivl_error *error)
{
    cl_int code = injected("clCreateProgramWithBinary");
    cl_int per_device = CL_SUCCESS;
    cl_program made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateProgramWithBinary(cl->context, 1, &cl->device, &bytes, &binary, &per_device,
                                         &code);
    }
    if (code == CL_SUCCESS && per_device != CL_SUCCESS) {
        clReleaseProgram(made);
        code = per_device;
    } else if (code == CL_SUCCESS) {
        object_made(cl);
        *out = made;
    }
    return ivl__cl_check(code, "clCreateProgramWithBinary", "program", error);
}

/* Appends the first lines of the build log to the message. */
static void append_log(ivl__cl *cl, cl_program program, ivl_error *error)
{
    size_t used = strlen(error->message);
    size_t bytes = 0;
    char *log;
    int lines = 0;

    if (clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) !=
            CL_SUCCESS ||
        bytes < 2) {
        return;
    }
    log = ivl__calloc(bytes + 1, 1);
    if (!log) {
        return;
    }
    clGetProgramBuildInfo(program, cl->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
    for (char *p = log; *p; p++) {
        if (*p == '\n' && ++lines == 10) {
            *p = '\0';
            break;
        }
    }
    snprintf(error->message + used, sizeof error->message - used, "\n%s", log);
    ivl__free(log);
}

ivl_status ivl__cl_program_build(ivl__cl *cl, cl_program program, const char *options,
                                 const char *what, ivl_error *error)
{
    cl_int code = CALL(clBuildProgram, program, 1, &cl->device, options, NULL, NULL);
    ivl_status status = ivl__cl_check(code, "clBuildProgram", what, error);

    if (status != IVL_OK && error) {
        append_log(cl, program, error);
    }
    return status;
}

ivl_status ivl__cl_program_get_binary(ivl__cl *cl, cl_program program, unsigned char **binary,
                                      size_t *bytes, ivl_error *error)
{
    size_t size = 0;
    unsigned char *block;
    cl_int code = CALL(clGetProgramInfo, program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size,
                       NULL);

    (void)cl;
    if (code != CL_SUCCESS || !size) {
        return ivl__fail(error, IVL_DEVICE_FAILED, "the driver has no program binary: %s",
                         ivl__cl_error_name(code));
    }
    block = ivl__malloc(size);
    if (!block) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a program binary");
    }
    code = clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(unsigned char *), &block, NULL);
    if (code != CL_SUCCESS) {
        ivl__free(block);
        return ivl__cl_check(code, "clGetProgramInfo", "binary", error);
    }
    *binary = block;
    *bytes = size;
    return IVL_OK;
}

void ivl__cl_program_free(ivl__cl *cl, cl_program program)
{
    if (program) {
        clReleaseProgram(program);
        object_gone(cl);
    }
}

ivl_status ivl__cl_kernel(ivl__cl *cl, cl_program program, const char *name, cl_kernel *out,
                          ivl_error *error)
{
    cl_int code = injected("clCreateKernel");
    cl_kernel made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateKernel(program, name, &code);
    }
    if (code == CL_SUCCESS) {
        object_made(cl);
        *out = made;
    }
    return ivl__cl_check(code, "clCreateKernel", name, error);
}

void ivl__cl_kernel_free(ivl__cl *cl, cl_kernel kernel)
{
    if (kernel) {
        clReleaseKernel(kernel);
        object_gone(cl);
    }
}

ivl_status ivl__cl_kernel_arg(cl_kernel kernel, cl_uint index, size_t bytes, const void *value,
                              const char *what, ivl_error *error)
{
    cl_int code = CALL(clSetKernelArg, kernel, index, bytes, value);

    if (code != CL_SUCCESS) {
        ivl__cl_check(code, "clSetKernelArg", what, error);
        return ivl__fail_context(error, status_of(code), "argument %u", (unsigned)index);
    }
    return IVL_OK;
}

ivl_status ivl__cl_kernel_limits(ivl__cl *cl, cl_kernel kernel, size_t *work_group,
                                 cl_ulong *local_bytes, ivl_error *error)
{
    cl_int code = CALL(clGetKernelWorkGroupInfo, kernel, cl->device, CL_KERNEL_WORK_GROUP_SIZE,
                       sizeof *work_group, work_group, NULL);
    size_t required[3] = {0, 0, 0};

    if (code == CL_SUCCESS) {
        code = clGetKernelWorkGroupInfo(kernel, cl->device, CL_KERNEL_LOCAL_MEM_SIZE,
                                        sizeof *local_bytes, local_bytes, NULL);
    }
    /* A kernel compiled for one size runs with it: rusticl 22.3 answers 32 above, always. */
    if (code == CL_SUCCESS &&
        clGetKernelWorkGroupInfo(kernel, cl->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
                                 sizeof required, required, NULL) == CL_SUCCESS &&
        required[0] * required[1] * required[2] > *work_group) {
        *work_group = required[0] * required[1] * required[2];
    }
    return ivl__cl_check(code, "clGetKernelWorkGroupInfo", "kernel", error);
}

ivl_status ivl__cl_enqueue(ivl__cl *cl, cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                           const size_t *global, const size_t *local, const char *what,
                           cl_event *event, ivl_error *error)
{
    cl_int code = CALL(clEnqueueNDRangeKernel, queue, kernel, dims, NULL, global, local, 0, NULL,
                       event);

    if (code == CL_SUCCESS) {
        event_made(cl, event);
    }
    return ivl__cl_check(code, "clEnqueueNDRangeKernel", what, error);
}

/* ---- queries ----------------------------------------------------------------------------- */

ivl_status ivl__cl_platforms(cl_platform_id **platforms, cl_uint *count, ivl_error *error)
{
    cl_uint n = 0;
    cl_int code = CALL(clGetPlatformIDs, 0, NULL, &n);
    cl_platform_id *ids;

    /* No platform is an empty list, also where the loader calls it an error (-1001). */
    if (code == -1001 || (code == CL_SUCCESS && n == 0)) {
        *platforms = NULL;
        *count = 0;
        return IVL_OK;
    }
    if (code != CL_SUCCESS) {
        return ivl__cl_check(code, "clGetPlatformIDs", "platforms", error);
    }
    ids = ivl__calloc(n, sizeof(*ids));
    if (!ids) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %u platforms", (unsigned)n);
    }
    code = clGetPlatformIDs(n, ids, NULL);
    if (code != CL_SUCCESS) {
        ivl__free(ids);
        return ivl__cl_check(code, "clGetPlatformIDs", "platforms", error);
    }
    *platforms = ids;
    *count = n;
    return IVL_OK;
}

ivl_status ivl__cl_devices(cl_platform_id platform, cl_device_id **devices, cl_uint *count,
                           ivl_error *error)
{
    cl_uint n = 0;
    cl_int code = CALL(clGetDeviceIDs, platform, CL_DEVICE_TYPE_ALL, 0, NULL, &n);
    cl_device_id *ids;

    /* Platforms without devices exist (Clover, PoCL with an unwritable cache): an empty list. */
    if (code == CL_DEVICE_NOT_FOUND || (code == CL_SUCCESS && n == 0)) {
        *devices = NULL;
        *count = 0;
        return IVL_OK;
    }
    if (code != CL_SUCCESS) {
        return ivl__cl_check(code, "clGetDeviceIDs", "devices", error);
    }
    ids = ivl__calloc(n, sizeof(*ids));
    if (!ids) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %u devices", (unsigned)n);
    }
    code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, n, ids, NULL);
    if (code != CL_SUCCESS) {
        ivl__free(ids);
        return ivl__cl_check(code, "clGetDeviceIDs", "devices", error);
    }
    *devices = ids;
    *count = n;
    return IVL_OK;
}

static void trim(char *text)
{
    char *begin = text + strspn(text, " \t\n");
    size_t length = strlen(begin);

    while (length && strchr(" \t\n", begin[length - 1])) {
        length--;
    }
    memmove(text, begin, length);
    text[length] = '\0';
}

/* Drivers answer texts of any length: what does not fit is cut. */
static void take_text(const char *full, char *text, size_t bytes)
{
    snprintf(text, bytes, "%s", full);
    trim(text);
}

void ivl__cl_platform_text(cl_platform_id platform, cl_platform_info key, char *text, size_t bytes)
{
    char full[4096] = "";

    if (clGetPlatformInfo(platform, key, sizeof full - 1, full, NULL) != CL_SUCCESS) {
        full[0] = '\0';
    }
    take_text(full, text, bytes);
}

void ivl__cl_device_text(cl_device_id device, cl_device_info key, char *text, size_t bytes)
{
    char full[16384] = "";

    if (clGetDeviceInfo(device, key, sizeof full - 1, full, NULL) != CL_SUCCESS) {
        full[0] = '\0';
    }
    take_text(full, text, bytes);
}

bool ivl__cl_device_value(cl_device_id device, cl_device_info key, void *value, size_t bytes)
{
    unsigned char room[64];
    size_t got = 0;

    if (bytes > sizeof room ||
        clGetDeviceInfo(device, key, sizeof room, room, &got) != CL_SUCCESS || got != bytes) {
        return false;
    }
    memcpy(value, room, bytes);
    return true;
}
