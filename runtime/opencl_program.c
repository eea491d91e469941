/* opencl_program.c - programs, kernels and launches of the wrapper layer; see opencl.h. */
#include "runtime/opencl_internal.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

ivl_status ivl__cl_program_source(ivl__cl *cl, const char *text, size_t bytes, cl_program *out,
                                  ivl_error *error)
{
    cl_int code = ivl__cl_injected("clCreateProgramWithSource");
    cl_program made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateProgramWithSource(cl->context, 1, &text, &bytes, &code);
    }
    if (code == CL_SUCCESS) {
        ivl__cl_object_made(cl);
        *out = made;
    }
    return ivl__cl_check(code, "clCreateProgramWithSource", "program", error);
}

ivl_status ivl__cl_program_binary(ivl__cl *cl, const unsigned char *binary, size_t bytes,
                                  cl_program *out, ivl_error *error)
{
    cl_int code = ivl__cl_injected("clCreateProgramWithBinary");
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
        ivl__cl_object_made(cl);
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
        ivl__cl_object_gone(cl);
    }
}

ivl_status ivl__cl_kernel(ivl__cl *cl, cl_program program, const char *name, cl_kernel *out,
                          ivl_error *error)
{
    cl_int code = ivl__cl_injected("clCreateKernel");
    cl_kernel made = NULL;

    if (code == CL_SUCCESS) {
        made = clCreateKernel(program, name, &code);
    }
    if (code == CL_SUCCESS) {
        ivl__cl_object_made(cl);
        *out = made;
    }
    return ivl__cl_check(code, "clCreateKernel", name, error);
}

void ivl__cl_kernel_free(ivl__cl *cl, cl_kernel kernel)
{
    if (kernel) {
        clReleaseKernel(kernel);
        ivl__cl_object_gone(cl);
    }
}

ivl_status ivl__cl_kernel_arg(cl_kernel kernel, cl_uint index, size_t bytes, const void *value,
                              const char *what, ivl_error *error)
{
    cl_int code = CALL(clSetKernelArg, kernel, index, bytes, value);

    if (code != CL_SUCCESS) {
        ivl__cl_check(code, "clSetKernelArg", what, error);
        return ivl__fail_context(error, ivl__cl_status(code), "argument %u", (unsigned)index);
    }
    return IVL_OK;
}

ivl_status ivl__cl_kernel_limits(ivl__cl *cl, cl_kernel kernel, size_t *work_group,
                                 cl_ulong *local_bytes, size_t required[3], ivl_error *error)
{
    cl_int code = CALL(clGetKernelWorkGroupInfo, kernel, cl->device, CL_KERNEL_WORK_GROUP_SIZE,
                       sizeof *work_group, work_group, NULL);

    if (code == CL_SUCCESS) {
        code = CALL(clGetKernelWorkGroupInfo, kernel, cl->device, CL_KERNEL_LOCAL_MEM_SIZE,
                    sizeof *local_bytes, local_bytes, NULL);
    }
    if (code == CL_SUCCESS) {
        code = CALL(clGetKernelWorkGroupInfo, kernel, cl->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
                    3 * sizeof *required, required, NULL);
    }
    return ivl__cl_check(code, "clGetKernelWorkGroupInfo", "kernel", error);
}

ivl_status ivl__cl_enqueue(ivl__cl *cl, cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                           const size_t *global, const size_t *local, const char *what,
                           cl_event *event, ivl_error *error)
{
    cl_int code = CALL(clEnqueueNDRangeKernel, queue, kernel, dims, NULL, global, local, 0, NULL,
                       event);

    if (code == CL_SUCCESS && event) {
        ivl__cl_object_made(cl);
    }
    return ivl__cl_check(code, "clEnqueueNDRangeKernel", what, error);
}
