/* quirks.h - what drivers get wrong, as a table: pattern, effect, reason. */
#ifndef IVL_RUNTIME_QUIRKS_H
#define IVL_RUNTIME_QUIRKS_H

#include "runtime/device.h"

/* Comma-separated names of the quirks that match a device. */
void ivl__quirks_describe(const ivl__device_info *info, char *text, size_t bytes);
/* Lets the matching quirks correct the capabilities. */
void ivl__quirks_apply(const ivl__device_info *info, ivl__caps *caps);

#endif
