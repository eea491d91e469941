/* lower_case.h - lower-case letters of all scripts, one code point at a time. */
#ifndef IVL_LOADER_LOWER_CASE_H
#define IVL_LOADER_LOWER_CASE_H

#include <stdint.h>

/* The lower-case form of a letter; other code points as they are. As Python's str.lower() but for
 * two letters that have no simple mapping: U+0130 stays, and a capital sigma is never final. */
uint32_t ivl__lower_case(uint32_t code);

#endif
