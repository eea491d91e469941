/* opencl_internal.h - shared by the files of the wrapper layer (opencl*.c), and by the one that
 * calls a library which calls OpenCL (gemm_clblast.c). */
#ifndef IVL_RUNTIME_OPENCL_INTERNAL_H
#define IVL_RUNTIME_OPENCL_INTERNAL_H

#include "runtime/opencl.h"

/* CL_SUCCESS, or the code that an injected fault answers instead of the call. */
cl_int ivl__cl_injected(const char *call);
cl_int ivl__cl_fault_code(void);
/* Status of a code alone. */
ivl_status ivl__cl_status(cl_int code);

/* Counts an object in the ledger and in the process. */
void ivl__cl_object_made(ivl__cl *cl);
void ivl__cl_object_gone(ivl__cl *cl);

/* Calls a function that answers a code, unless a fault is injected. */
#define CALL(function, ...) \
    (ivl__cl_injected(#function) != CL_SUCCESS ? ivl__cl_fault_code() : function(__VA_ARGS__))

#endif
