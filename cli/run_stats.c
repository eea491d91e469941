/* run_stats.c - what a run did; see run_stats.h. */
#include "cli/run_stats.h"

#include "loader/json_text.h"
#include "runtime/os.h"

#include <string.h>

static void add_text(ivl__text *t, const char *name, const char *value)
{
    ivl__text_printf(t, ",\n \"%s\": ", name);
    ivl__text_json(t, value);
}

static void add_count(ivl__text *t, const char *name, uint64_t value)
{
    ivl__text_printf(t, ",\n \"%s\": %llu", name, (unsigned long long)value);
}

/* Seconds of the device and of the host; those of threads that work side by side are summed. */
static void add_stages(ivl__text *t, const cli_run_stats *s)
{
    ivl__text_printf(t, ",\n \"stages\": {\"read\": %.6f, \"decode\": %.6f, \"resize\": %.6f",
                     s->times.read, s->times.decode, s->times.resize);
    for (int i = 0; i < s->session.n_stages; i++) {
        ivl__text_puts(t, ", ");
        ivl__text_json(t, s->session.stage_names[i]);
        ivl__text_printf(t, ": %.6f", s->session.stage_seconds[i]);
    }
    ivl__text_printf(t, ", \"write\": %.6f}", s->write_seconds);
}

static void add_session(ivl__text *t, const ivl_stats *s)
{
    add_count(t, "bytes_streamed", s->bytes_streamed);
    add_count(t, "weight_bytes_read", s->weight_bytes_read);
    add_count(t, "weight_passes", s->weight_passes);
    add_count(t, "mapped_bytes", s->mapped_bytes);
    ivl__text_printf(t, ",\n \"overlap\": %.4f", s->overlap);
    add_count(t, "peak_device_memory", s->peak_device_memory);
    add_text(t, "residency", s->residency);
    add_count(t, "batch", (uint64_t)s->batch);
    add_text(t, "device", s->device);
    add_text(t, "platform", s->platform);
    add_text(t, "driver", s->driver);
    add_text(t, "precision", s->precision);
    add_text(t, "gemm", s->gemm);
}

ivl_status cli_run_stats_write(const cli_run_stats *s, const char *path, ivl_error *error)
{
    ivl__text t = {0};
    ivl_status status;

    ivl__text_printf(&t, "{\"images\": %llu", (unsigned long long)s->images);
    add_count(&t, "failed", s->failed);
    ivl__text_printf(&t, ",\n \"seconds\": %.6f,\n \"startup_seconds\": %.6f", s->seconds,
                     s->startup_seconds);
    ivl__text_printf(&t, ",\n \"images_per_second\": %.6f",
                     s->seconds > 0.0 ? (double)s->images / s->seconds : 0.0);
    add_stages(&t, s);
    add_session(&t, &s->session);
    add_text(&t, "version", ivl_version());
    ivl__text_puts(&t, "}\n");
    status = t.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for --stats")
                      : ivl__file_replace(path, t.data, t.bytes, error);
    ivl__text_free(&t);
    return status;
}
