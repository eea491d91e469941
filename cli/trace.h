/* trace.h - the timeline of --trace: Chrome's trace format, for chrome://tracing and Perfetto.
 *
 * One track per queue of the device and per thread that tells what it does. Device commands come
 * from the sessions that cli_session_options prepares; threads of the program add their own spans.
 * Without --trace everything here does nothing.
 */
#ifndef IVL_CLI_TRACE_H
#define IVL_CLI_TRACE_H

#include "cli/cli.h"

/* Opens PATH.part. IVL_IO_ERROR. */
ivl_status cli_trace_begin(const char *path, ivl_error *error);
/* Renames to PATH, also after a failure of the run. `code`, or CLI_FAILED with a message when the
 * trace could not be written and the run had succeeded. */
int cli_trace_end(int code);

bool cli_trace_on(void);
/* Seconds on ivl__now's clock. track: "decode 3"; category: "decode", "resize". Thread-safe. */
void cli_trace_span(const char *track, const char *category, const char *name, double start,
                    double end);

/* For ivl_session_options.trace. */
void cli_trace_device_span(void *user, const ivl_trace_span *span);

#endif
