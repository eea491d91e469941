/* opencl_query.c - what platforms and devices say about themselves; see opencl.h. */
#include "runtime/opencl_internal.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

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
    code = CALL(clGetPlatformIDs, n, ids, NULL);
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
    code = CALL(clGetDeviceIDs, platform, CL_DEVICE_TYPE_ALL, n, ids, NULL);
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
