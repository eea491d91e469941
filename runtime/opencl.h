/* opencl.h - the one wrapper layer over cl*.
 *
 * No other file of the project calls a cl* function by name (CLBlast's and the drivers' own calls
 * apart). A wrapper turns an error code into a status and a message that names the call and the
 * code, keeps the ledger of live objects and bytes, and is a fault-injection point.
 */
#ifndef IVL_RUNTIME_OPENCL_H
#define IVL_RUNTIME_OPENCL_H

#include "runtime/status.h"

#include <CL/cl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What one device has been given and not handed back. Bytes are those of buffers that take device
 * memory; views of host memory (CL_MEM_USE_HOST_PTR) are counted in mapped_bytes. */
typedef struct ivl__ledger {
    atomic_int_fast64_t objects;
    atomic_int_fast64_t bytes, peak_bytes;
    atomic_int_fast64_t mapped_bytes;
    uint64_t budget;     /* a buffer that would exceed it is refused; 0: no limit */
    uint64_t max_buffer; /* the largest single buffer; 0: no limit */
} ivl__ledger;

/* Objects of all devices of the process that were made and not released. Tests only. */
int64_t ivl__cl_live_objects(void);
/* The same for bytes of buffers, views included. */
int64_t ivl__cl_live_bytes(void);

/* "CL_OUT_OF_RESOURCES", or "unknown OpenCL error" for codes outside the specification. */
const char *ivl__cl_error_name(cl_int code);

/* IVL_OK for CL_SUCCESS, else the fitting status with "<call>: <what>: CL_... (-5)". */
ivl_status ivl__cl_check(cl_int code, const char *call, const char *what, ivl_error *error);

/* Fault injection: calls of `call` ("clCreateBuffer"; NULL: any) are counted; the one after
 * `after` others, or every one from then on (forever), answers `code`. after < 0: off. Tests only.
 */
void ivl__cl_fail(const char *call, int64_t after, bool forever, cl_int code);
int64_t ivl__cl_calls(void);

/* One context with its queues. All calls on one ivl__cl come from one host thread at a time. */
typedef struct ivl__cl {
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue compute; /* in order */
    cl_command_queue upload;  /* in order; weights of streamed stages only */
    ivl__ledger ledger;
    bool profiling;
} ivl__cl;

ivl_status ivl__cl_open(cl_platform_id platform, cl_device_id device, bool profiling, ivl__cl *cl,
                        ivl_error *error);
/* Waits for both queues, then releases them and the context. */
void ivl__cl_close(ivl__cl *cl);

/* Buffers. `what` names the buffer in messages ("weights of block 7"). Memory may be given lazily
 * by the driver: ivl__cl_buffer_touch makes it real. */
ivl_status ivl__cl_buffer(ivl__cl *cl, cl_mem_flags flags, size_t bytes, const char *what,
                          cl_mem *out, ivl_error *error);
/* A read-only view of host memory; host must be aligned and outlive the buffer. */
#define IVL__VIEW_ALIGN 4096
ivl_status ivl__cl_buffer_view(ivl__cl *cl, const void *host, size_t bytes, const char *what,
                               cl_mem *out, ivl_error *error);
ivl_status ivl__cl_buffer_touch(ivl__cl *cl, cl_mem buffer, size_t bytes, const char *what,
                                ivl_error *error);
/* NULL is ignored. */
void ivl__cl_buffer_free(ivl__cl *cl, cl_mem buffer);

/* Transfers on a queue of this cl. Blocking where event is NULL; else *event is the caller's to
 * release and host must stay valid until it completes. */
ivl_status ivl__cl_write(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, size_t offset,
                         const void *host, size_t bytes, cl_uint n_wait, const cl_event *wait,
                         cl_event *event, ivl_error *error);
ivl_status ivl__cl_read(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, size_t offset,
                        void *host, size_t bytes, cl_uint n_wait, const cl_event *wait,
                        cl_event *event, ivl_error *error);
ivl_status ivl__cl_fill(ivl__cl *cl, cl_command_queue queue, cl_mem buffer, const void *pattern,
                        size_t pattern_bytes, size_t offset, size_t bytes, ivl_error *error);

ivl_status ivl__cl_flush(ivl__cl *cl, cl_command_queue queue, ivl_error *error);
ivl_status ivl__cl_finish(ivl__cl *cl, cl_command_queue queue, ivl_error *error);
ivl_status ivl__cl_wait(ivl__cl *cl, cl_event event, ivl_error *error);
/* Orders `queue` after `event` without blocking the host. */
ivl_status ivl__cl_barrier(ivl__cl *cl, cl_command_queue queue, cl_event event, ivl_error *error);
/* An event that completes when everything enqueued on `queue` so far has. */
ivl_status ivl__cl_marker(ivl__cl *cl, cl_command_queue queue, cl_event *event, ivl_error *error);
void ivl__cl_event_free(ivl__cl *cl, cl_event event);
/* One more owner of an event, who frees it too. */
ivl_status ivl__cl_event_keep(ivl__cl *cl, cl_event event, ivl_error *error);
/* Start and end in seconds on the device's clock; needs profiling. */
ivl_status ivl__cl_event_times(cl_event event, double *start, double *end, ivl_error *error);

/* Programs and kernels; see program.h for the functions everyone else uses. */
ivl_status ivl__cl_program_source(ivl__cl *cl, const char *text, size_t bytes, cl_program *out,
                                  ivl_error *error);
ivl_status ivl__cl_program_binary(ivl__cl *cl, const unsigned char *binary, size_t bytes,
                                  cl_program *out, ivl_error *error);
/* On failure the message ends with the first lines of the driver's build log. */
ivl_status ivl__cl_program_build(ivl__cl *cl, cl_program program, const char *options,
                                 const char *what, ivl_error *error);
/* A new block (ivl__free) with the device's binary. */
ivl_status ivl__cl_program_get_binary(ivl__cl *cl, cl_program program, unsigned char **binary,
                                      size_t *bytes, ivl_error *error);
void ivl__cl_program_free(ivl__cl *cl, cl_program program);
ivl_status ivl__cl_kernel(ivl__cl *cl, cl_program program, const char *name, cl_kernel *out,
                          ivl_error *error);
void ivl__cl_kernel_free(ivl__cl *cl, cl_kernel kernel);
ivl_status ivl__cl_kernel_arg(cl_kernel kernel, cl_uint index, size_t bytes, const void *value,
                              const char *what, ivl_error *error);
/* The largest work-group, the static local memory, and the work-group size that the source
 * requires (0, 0, 0 where it requires none). */
ivl_status ivl__cl_kernel_limits(ivl__cl *cl, cl_kernel kernel, size_t *work_group,
                                 cl_ulong *local_bytes, size_t required[3], ivl_error *error);
/* event may be NULL. */
ivl_status ivl__cl_enqueue(ivl__cl *cl, cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                           const size_t *global, const size_t *local, const char *what,
                           cl_event *event, ivl_error *error);

/* Queries. Strings are trimmed and always NUL-terminated. */
ivl_status ivl__cl_platforms(cl_platform_id **platforms, cl_uint *count, ivl_error *error);
ivl_status ivl__cl_devices(cl_platform_id platform, cl_device_id **devices, cl_uint *count,
                           ivl_error *error);
void ivl__cl_platform_text(cl_platform_id platform, cl_platform_info key, char *text, size_t bytes);
void ivl__cl_device_text(cl_device_id device, cl_device_info key, char *text, size_t bytes);
/* false when the driver does not know the key; *value is then untouched. */
bool ivl__cl_device_value(cl_device_id device, cl_device_info key, void *value, size_t bytes);

#endif
