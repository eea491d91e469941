/* facts.h - what was found out about a device and driver, kept as a small text file.
 *
 * One line "name value" each: probe results and self-test verdicts. The file's name is a key over
 * device, driver, host processor and this program's kernels, so that an update asks anew. Without
 * a cache folder facts live as long as the open device.
 */
#ifndef IVL_RUNTIME_FACTS_H
#define IVL_RUNTIME_FACTS_H

#include "runtime/device.h"
#include "runtime/hash.h"

/* Adds everything that tells this device and driver from others (no memory sizes: those change). */
void ivl__device_identity(const ivl__device *device, ivl__sha256 *hash);

/* A key over that, the program's version and its kernels: what was found out under another key is
 * to be found out anew. `format` names what is kept, and in which form. */
void ivl__device_key(const ivl__device *device, const char *format, char hex[65]);

ivl_status ivl__facts_open(ivl__device *device, ivl_error *error);
void ivl__facts_close(ivl__device *device);

/* NULL when nothing is known. */
const char *ivl__facts_get(const ivl__device *device, const char *name);
/* Name and value without blanks and line feeds. Saved by ivl__facts_save. */
ivl_status ivl__facts_set(ivl__device *device, const char *name, const char *value,
                          ivl_error *error);
/* Writes the file if something changed; a failure is logged only. */
void ivl__facts_save(ivl__device *device);

#endif
