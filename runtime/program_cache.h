/* program_cache.h - the programs and kernels of one open device. Used by device.c only. */
#ifndef IVL_RUNTIME_PROGRAM_CACHE_H
#define IVL_RUNTIME_PROGRAM_CACHE_H

#include "runtime/device.h"

ivl_status ivl__program_cache_open(ivl__device *device, ivl_error *error);
void ivl__program_cache_close(ivl__device *device);

#endif
