/* path_range.h - "{00000..00099}" in a path: the paths it stands for, made one at a time.
 *
 * As in a shell: a leading zero in either bound pads all numbers to the longer bound, a falling
 * range counts down, several ranges multiply with the last one turning fastest.
 */
#ifndef IVL_LOADER_PATH_RANGE_H
#define IVL_LOADER_PATH_RANGE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

/* True when text contains at least one range. */
bool ivl__path_has_range(const char *text);
/* How many paths; IVL_INVALID_ARGUMENT beyond 2^63. */
ivl_status ivl__path_range_count(const char *text, uint64_t *count, ivl_error *error);
/* Path number `index` (ivl__free); NULL when memory is short. index < count. */
char *ivl__path_range_at(const char *text, uint64_t index);

#endif
