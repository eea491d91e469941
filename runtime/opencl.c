/* opencl.c - the one wrapper layer over cl*: context, queues, buffers, transfers, order.
 *
 * Programs and kernels are in opencl_program.c, queries in opencl_query.c, errors and injected
 * faults in opencl_error.c. Every object made here is counted in the ledger until it is freed.
 */
#include "runtime/opencl_internal.h"

#include <string.h>

/* ---- the ledger -------------------------------------------------------------------------- */

/* Drivers need not refuse a buffer beyond their own limit, and then fail in a kernel. */
static ivl_status check_limit(const ivl__cl *cl, size_t bytes, const char *what, ivl_error *error)
{
    uint64_t most = cl->ledger.max_buffer;

    if (bytes > INT64_MAX || (most && bytes > most)) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "%s: one buffer of %.1f MiB, the device allows %.1f MiB", what,
                         (double)bytes / 1048576.0, (double)most / 1048576.0);
    }
    return IVL_OK;
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

/* Bytes of all devices, whatever ledger they are in. */
static atomic_int_fast64_t live_bytes;

int64_t ivl__cl_live_bytes(void)
{
    return atomic_load(&live_bytes);
}

/* ---- context and queues ------------------------------------------------------------------ */

static ivl_status make_queue(ivl__cl *cl, cl_command_queue *queue, ivl_error *error)
{
    cl_command_queue_properties properties = cl->profiling ? CL_QUEUE_PROFILING_ENABLE : 0;
    cl_int code = ivl__cl_injected("clCreateCommandQueue");
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
    ivl__cl_object_made(cl);
    *queue = made;
    return IVL_OK;
}

ivl_status ivl__cl_open(cl_platform_id platform, cl_device_id device, bool profiling, ivl__cl *cl,
                        ivl_error *error)
{
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)platform, 0};
    cl_int code = ivl__cl_injected("clCreateContext");
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
    ivl__cl_object_made(cl);
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
            ivl__cl_object_gone(cl);
        }
    }
    if (cl->context) {
        clReleaseContext(cl->context);
        ivl__cl_object_gone(cl);
    }
    cl->upload = cl->compute = NULL;
    cl->context = NULL;
}

/* ---- buffers ----------------------------------------------------------------------------- */

static ivl_status make_buffer(ivl__cl *cl, cl_mem_flags flags, size_t bytes, void *host,
                              const char *what, cl_mem *out, ivl_error *error)
{
    cl_int code = ivl__cl_injected("clCreateBuffer");
    cl_mem made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateBuffer(cl->context, flags, bytes, host, &code);
    }
    if (code != CL_SUCCESS) {
        ivl__cl_check(code, "clCreateBuffer", what, error);
        return ivl__fail_context(error, ivl__cl_status(code), "%.1f MiB",
                                 (double)bytes / 1048576.0);
    }
    ivl__cl_object_made(cl);
    atomic_fetch_add(&live_bytes, (int64_t)bytes);
    *out = made;
    return IVL_OK;
}

ivl_status ivl__cl_buffer(ivl__cl *cl, cl_mem_flags flags, size_t bytes, const char *what,
                          cl_mem *out, ivl_error *error)
{
    ivl_status status;

    bytes = bytes ? bytes : 1;
    status = check_limit(cl, bytes, what, error);
    if (status == IVL_OK) {
        status = take_bytes(cl, bytes, what, error);
    }
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
    ivl_status status = check_limit(cl, bytes, what, error);

    /* Intel's runtime crashes on maps of odd offsets; rusticl wants 512, Intel GPUs 4096. */
    if ((uintptr_t)host % IVL__VIEW_ALIGN != 0 || !bytes) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "%s: a view needs memory aligned to %d bytes, and not 0 of them", what,
                         IVL__VIEW_ALIGN);
    }
    if (status == IVL_OK) {
        status = make_buffer(cl, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
                             (void *)(uintptr_t)host, what, out, error);
    }
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
    atomic_fetch_sub(&live_bytes, (int64_t)bytes);
    clReleaseMemObject(buffer);
    ivl__cl_object_gone(cl);
}

/* ---- transfers --------------------------------------------------------------------------- */

static void event_made(ivl__cl *cl, const cl_event *event)
{
    if (event) {
        ivl__cl_object_made(cl);
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
        ivl__cl_object_gone(cl);
    }
}

ivl_status ivl__cl_event_keep(ivl__cl *cl, cl_event event, ivl_error *error)
{
    cl_int code = CALL(clRetainEvent, event);

    if (code == CL_SUCCESS) {
        ivl__cl_object_made(cl);
    }
    return ivl__cl_check(code, "clRetainEvent", "event", error);
}

ivl_status ivl__cl_event_times(cl_event event, double *start, double *end, ivl_error *error)
{
    cl_ulong a = 0;
    cl_ulong b = 0;
    cl_int code = CALL(clGetEventProfilingInfo, event, CL_PROFILING_COMMAND_START, sizeof a, &a,
                       NULL);

    if (code == CL_SUCCESS) {
        code = CALL(clGetEventProfilingInfo, event, CL_PROFILING_COMMAND_END, sizeof b, &b, NULL);
    }
    if (code == CL_SUCCESS) {
        *start = 1e-9 * (double)a;
        *end = 1e-9 * (double)b;
    }
    return ivl__cl_check(code, "clGetEventProfilingInfo", "event", error);
}
