/* quirks.h - what drivers get wrong, as a table: pattern, effect, reason. */
#ifndef IVL_RUNTIME_QUIRKS_H
#define IVL_RUNTIME_QUIRKS_H

#include "runtime/device.h"

/* Corrects what is known before opening (speed, software) and writes the names of the quirks that
 * match to info->quirks, comma-separated. */
void ivl__quirks_info(ivl__device_info *info);
/* Lets the matching quirks correct the capabilities. */
void ivl__quirks_apply(const ivl__device_info *info, ivl__caps *caps);
/* One sentence for a quirk's name, NULL when there is no such quirk. */
const char *ivl__quirk_reason(const char *name);

#endif
