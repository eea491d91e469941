/* profile.c - where device time goes; see profile.h. */
#include "runtime/profile.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

/* Drivers keep memory for every event: old ones are read and released at this many. */
#define MAX_PENDING 4096u
#define MAX_STAGES  64

typedef struct pending {
    cl_event event;
    const char *name, *stage;
    ivl__queue_kind queue;
} pending;

struct ivl__profile {
    pending *pending;
    size_t n_pending, capacity;
    ivl__profile_stage stages[MAX_STAGES];
    size_t n_stages;
    ivl__profile_fn *fn;
    void *user;
    double host_offset; /* host clock - device clock */
    double upload_seconds, hidden_seconds;
};

/* The end of a command, on both clocks. (Drivers disagree about the other times of a marker.) */
static ivl_status compare_clocks(ivl__device *device, ivl_error *error)
{
    ivl__cl *cl = &device->cl;
    cl_event event = NULL;
    double now = 0.0;
    double start = 0.0;
    double end = 0.0;
    ivl_status status = ivl__cl_marker(cl, cl->compute, &event, error);

    if (status == IVL_OK) {
        status = ivl__cl_wait(cl, event, error);
        now = ivl__now();
    }
    if (status == IVL_OK) {
        status = ivl__cl_event_times(event, &start, &end, error);
        device->profile->host_offset = now - end;
    }
    ivl__cl_event_free(cl, event);
    return status;
}

ivl_status ivl__profile_open(ivl__device *device, ivl_error *error)
{
    if (!device->options.profiling || !device->caps.event_times) {
        return IVL_OK;
    }
    device->profile = ivl__calloc(1, sizeof *device->profile);
    if (!device->profile) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the profile");
    }
    return compare_clocks(device, error);
}

void ivl__profile_close(ivl__device *device)
{
    struct ivl__profile *profile = device->profile;

    if (!profile) {
        return;
    }
    for (size_t i = 0; i < profile->n_pending; i++) {
        ivl__cl_event_free(&device->cl, profile->pending[i].event);
    }
    ivl__free(profile->pending);
    ivl__free(profile);
    device->profile = NULL;
}

void ivl__device_stage(ivl__device *device, const char *stage)
{
    device->stage = stage;
}

void ivl__profile_listen(ivl__device *device, ivl__profile_fn *fn, void *user)
{
    if (device->profile) {
        device->profile->fn = fn;
        device->profile->user = user;
    }
}

static void add_up(struct ivl__profile *profile, const ivl__profile_span *span)
{
    size_t i = 0;

    while (i < profile->n_stages && strcmp(profile->stages[i].name, span->stage) != 0) {
        i++;
    }
    /* More stages than anyone names: the last entry takes the rest. */
    if (i == MAX_STAGES) {
        i = MAX_STAGES - 1;
    } else if (i == profile->n_stages) {
        profile->stages[profile->n_stages++].name = span->stage;
    }
    profile->stages[i].seconds += span->end - span->start;
    profile->stages[i].commands++;
    if (profile->fn) {
        profile->fn(profile->user, span);
    }
}

/* ---- overlap ------------------------------------------------------------------------------- */

typedef struct interval {
    double start, end;
} interval;

/* Each queue is in order, so that both lists are sorted and free of overlaps of their own. */
static double common_seconds(const interval *a, size_t n_a, const interval *b, size_t n_b)
{
    double sum = 0.0;
    size_t i = 0;
    size_t j = 0;

    while (i < n_a && j < n_b) {
        double start = a[i].start > b[j].start ? a[i].start : b[j].start;
        double end = a[i].end < b[j].end ? a[i].end : b[j].end;

        sum += end > start ? end - start : 0.0;
        if (a[i].end < b[j].end) {
            i++;
        } else {
            j++;
        }
    }
    return sum;
}

/* Uploads at the edge of what is collected together count as not hidden: a lower bound. */
static void add_overlap(struct ivl__profile *profile, const interval *compute, size_t n_compute,
                        const interval *uploads, size_t n_uploads)
{
    for (size_t i = 0; i < n_uploads; i++) {
        profile->upload_seconds += uploads[i].end - uploads[i].start;
    }
    profile->hidden_seconds += common_seconds(compute, n_compute, uploads, n_uploads);
}

void ivl__profile_overlap(const ivl__device *device, double *upload, double *hidden)
{
    *upload = device->profile ? device->profile->upload_seconds : 0.0;
    *hidden = device->profile ? device->profile->hidden_seconds : 0.0;
}

/* ---- collecting ---------------------------------------------------------------------------- */

/* Reads and releases the oldest `count` events. All are released, also after a failure. */
static ivl_status collect(ivl__device *device, size_t count, ivl_error *error)
{
    struct ivl__profile *profile = device->profile;
    interval *times[2] = {ivl__calloc(count, sizeof(interval)),
                          ivl__calloc(count, sizeof(interval))};
    size_t n[2] = {0, 0};
    ivl_status status = times[0] && times[1]
                            ? IVL_OK
                            : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the profile");

    for (size_t i = 0; i < count; i++) {
        pending *p = &profile->pending[i];
        ivl__profile_span span = {.name = p->name, .stage = p->stage, .queue = p->queue};

        if (status == IVL_OK) {
            status = ivl__cl_wait(&device->cl, p->event, error);
        }
        if (status == IVL_OK) {
            status = ivl__cl_event_times(p->event, &span.start, &span.end, error);
        }
        if (status == IVL_OK) {
            span.start += profile->host_offset;
            span.end += profile->host_offset;
            times[p->queue][n[p->queue]++] = (interval){span.start, span.end};
            add_up(profile, &span);
        }
        ivl__cl_event_free(&device->cl, p->event);
    }
    add_overlap(profile, times[IVL__QUEUE_COMPUTE], n[IVL__QUEUE_COMPUTE], times[IVL__QUEUE_UPLOAD],
                n[IVL__QUEUE_UPLOAD]);
    ivl__free(times[0]);
    ivl__free(times[1]);
    memmove(profile->pending, profile->pending + count,
            (profile->n_pending - count) * sizeof *profile->pending);
    profile->n_pending -= count;
    return status;
}

ivl_status ivl__profile_collect(ivl__device *device, ivl_error *error)
{
    if (!device->profile || !device->profile->n_pending) {
        return IVL_OK;
    }
    return collect(device, device->profile->n_pending, error);
}

ivl_status ivl__profile_add(ivl__device *device, ivl__queue_kind queue, const char *name,
                            cl_event event, ivl_error *error)
{
    struct ivl__profile *profile = device->profile;

    if (!ivl__grow((void **)&profile->pending, &profile->capacity, profile->n_pending + 1,
                   sizeof *profile->pending)) {
        ivl__cl_event_free(&device->cl, event);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the profile");
    }
    profile->pending[profile->n_pending++] = (pending){
        event, name, device->stage ? device->stage : "other", queue};
    /* Half stays: those are likely to be still running. */
    return profile->n_pending < MAX_PENDING ? IVL_OK : collect(device, MAX_PENDING / 2, error);
}

ivl_status ivl__profile_note(ivl__device *device, ivl__queue_kind queue, const char *name,
                             cl_event event, ivl_error *error)
{
    ivl_status status;

    if (!device->profile) {
        return IVL_OK;
    }
    status = ivl__cl_event_keep(&device->cl, event, error);
    return status == IVL_OK ? ivl__profile_add(device, queue, name, event, error) : status;
}

size_t ivl__profile_stages(const ivl__device *device, const ivl__profile_stage **stages)
{
    if (!device->profile) {
        *stages = NULL;
        return 0;
    }
    *stages = device->profile->stages;
    return device->profile->n_stages;
}
