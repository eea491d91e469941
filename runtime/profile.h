/* profile.h - where device time goes: seconds by stage, and a timeline for a trace.
 *
 * Only with options.profiling: launches leave their events here, under the name of the stage that
 * is set when they are enqueued. Times are read when commands have finished, so nothing waits
 * before ivl__profile_collect (or until several thousand events are pending).
 */
#ifndef IVL_RUNTIME_PROFILE_H
#define IVL_RUNTIME_PROFILE_H

#include "runtime/device.h"

typedef enum ivl__queue_kind { IVL__QUEUE_COMPUTE = 0, IVL__QUEUE_UPLOAD = 1 } ivl__queue_kind;

/* One finished command. Times are seconds on the host's clock (ivl__now). */
typedef struct ivl__profile_span {
    const char *name, *stage;
    ivl__queue_kind queue;
    double start, end;
} ivl__profile_span;

typedef void ivl__profile_fn(void *user, const ivl__profile_span *span);

typedef struct ivl__profile_stage {
    const char *name;
    double seconds;
    uint64_t commands;
} ivl__profile_stage;

/* Names what is enqueued from now on; `stage` must outlive the device (a literal). NULL: none. */
void ivl__device_stage(ivl__device *device, const char *stage);

/* Records a command that was not enqueued by ivl__launch (an upload, a library's kernel). The
 * caller keeps its event. `name` must outlive the device. A no-op without profiling. */
ivl_status ivl__profile_note(ivl__device *device, ivl__queue_kind queue, const char *name,
                             cl_event event, ivl_error *error);

/* Every span goes to `fn` when it is collected: what a trace writer listens to. */
void ivl__profile_listen(ivl__device *device, ivl__profile_fn *fn, void *user);

/* Waits for what was recorded and adds it up. */
ivl_status ivl__profile_collect(ivl__device *device, ivl_error *error);
/* Seconds that uploads took so far, and the part of them during which the compute queue worked. */
void ivl__profile_overlap(const ivl__device *device, double *upload, double *hidden);

/* Sums so far, in order of first appearance; valid until the next launch. */
size_t ivl__profile_stages(const ivl__device *device, const ivl__profile_stage **stages);

/* device.c and program.c only. */
ivl_status ivl__profile_open(ivl__device *device, ivl_error *error);
void ivl__profile_close(ivl__device *device);
/* Takes the event over, also on failure. */
ivl_status ivl__profile_add(ivl__device *device, ivl__queue_kind queue, const char *name,
                            cl_event event, ivl_error *error);

#endif
