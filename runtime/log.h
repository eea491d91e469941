/* log.h - the log hook. The library never prints: it hands lines to the program's callback. */
#ifndef IVL_RUNTIME_LOG_H
#define IVL_RUNTIME_LOG_H

#include "runtime/status.h"

#include <stdint.h>

typedef enum ivl_log_level {
    IVL_LOG_ERROR = 0,
    IVL_LOG_WARNING = 1,
    IVL_LOG_INFO = 2,   /* what a person should see once: compiling, tuning, fall-backs */
    IVL_LOG_VERBOSE = 3 /* every decision and timing (-v) */
} ivl_log_level;

/* Called from any thread, possibly several at once; text has no line feed at its end. */
typedef void ivl_log_fn(void *user, ivl_log_level level, const char *text);

/* Sets the process-wide hook; NULL (the default) drops everything. Not to be called while
 * another thread is inside the library. */
IVL_API void ivl_set_log(ivl_log_fn *fn, void *user);

void ivl__log(ivl_log_level level, const char *format, ...) IVL__PRINTF(2, 3);

/* For a text of bytes: "11.0 GiB", "3.1 MiB", "28 bytes". */
typedef char ivl__size_buffer[24];
const char *ivl__size_text(uint64_t bytes, ivl__size_buffer text);

#endif
