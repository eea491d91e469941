/* kernel_source.h - the OpenCL C files of cl/ as embedded by the build (cmake/embed_kernels.cmake).
 */
#ifndef IVL_RUNTIME_KERNEL_SOURCE_H
#define IVL_RUNTIME_KERNEL_SOURCE_H

#include <stddef.h>

typedef struct ivl__kernel_source {
    const char *name; /* file name, "norm.cl" */
    const char *text; /* NUL-terminated */
    size_t bytes;     /* without the NUL */
    const char *sha256;
} ivl__kernel_source;

/* Ends with an entry whose name is NULL. */
extern const ivl__kernel_source ivl__kernel_sources[];

#endif
