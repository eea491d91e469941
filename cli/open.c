/* open.c - models and session options as the command line gives them; see cli.h. */
#include "cli/trace.h"

#include <string.h>

ivl_status cli_open_model(const char *path, const cli_model_options *options, ivl_model **model,
                          ivl_error *error)
{
    ivl_model_options o;
    ivl_error detail = {0};
    ivl_status status;

    ivl_model_options_init(&o);
    o.config = options->config;
    o.arch = options->arch;
    status = ivl_model_open(path, &o, model, &detail);
    if (status == IVL_OK) {
        return status;
    }
    /* A file that cannot be read is a checkpoint that cannot be used. */
    if (status == IVL_IO_ERROR || status == IVL_BAD_INPUT) {
        status = IVL_BAD_MODEL;
    }
    if (status == IVL_BAD_MODEL && !strstr(detail.message, path)) {
        return ivl__fail(error, status, "'%s': %s", path, detail.message);
    }
    return ivl__fail(error, status, "%s", detail.message);
}

void cli_session_options(const cli_globals *globals, ivl_session_options *options)
{
    ivl_session_options_init(options);
    options->devices = globals->devices;
    options->n_devices = globals->n_devices;
    options->device_memory = globals->device_memory;
    options->device_memory_share = globals->device_memory_share;
    options->residency = globals->residency;
    options->precision = globals->precision;
    options->gemm = globals->gemm;
    options->tuning_file = globals->tuning_file;
    options->kernel_dir = globals->kernel_dir;
    options->cache_dir = globals->cache_dir;
    if (cli_trace_on()) {
        options->trace = cli_trace_device_span;
    }
}
