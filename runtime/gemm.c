/* gemm.c - opening, checking and dispatching matrix products; see gemm.h.
 *
 * Everything a backend may rely on is checked here once: element types, sizes, row tiles that cover
 * the weight exactly, aligned offsets, enough scratch.
 */
#include "runtime/gemm.h"

#include "runtime/log.h"
#include "runtime/op_launch.h"

#include <stdio.h>
#include <string.h>

const ivl__gemm_backend *const ivl__gemm_backends[] = {&ivl__gemm_cpu, &ivl__gemm_tile,
                                                       &ivl__gemm_clblast, NULL};

/* ---- open -------------------------------------------------------------------------------- */

static void list_names(char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "auto");

    for (size_t i = 0; ivl__gemm_backends[i] && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, ", %s", ivl__gemm_backends[i]->name);
    }
}

static ivl_status open_named(ivl__device *device, const char *name, ivl_precision precision,
                             const ivl__gemm_backend **out, ivl_error *error)
{
    char names[200];

    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        const ivl__gemm_backend *backend = ivl__gemm_backends[i];
        const char *reason = "";

        if (strcmp(backend->name, name) != 0) {
            continue;
        }
        if (!backend->available(device, precision, &reason)) {
            return ivl__fail(error, IVL_UNSUPPORTED,
                             "GEMM backend '%s' cannot serve %s with %s precision: %s", name,
                             device->info.name, precision == IVL_FAST ? "fast" : "exact", reason);
        }
        *out = backend;
        return IVL_OK;
    }
    list_names(names, sizeof names);
    return ivl__fail(error, IVL_INVALID_ARGUMENT, "unknown GEMM backend '%s'; there are: %s", name,
                     names);
}

bool ivl__gemm_fast_pays(const ivl__device *device)
{
    const ivl__caps *caps = &device->caps;

    return !caps->x86_bf16_dot || caps->x86_dot_pays || caps->x86_amx_bf16;
}

bool ivl__gemm_is_candidate(ivl__device *device, ivl_precision precision,
                            const ivl__gemm_backend *backend, const char **reason)
{
    if (!backend->available(device, precision, reason)) {
        return false;
    }
    if (device->caps.cpu && strcmp(backend->name, "clblast") == 0) {
        *reason = "measured at a tenth of the others on CPUs; ask for it by name";
        return false;
    }
    if (device->caps.cpu && strcmp(backend->name, "tile") == 0) {
        *reason = "made for GPUs; ask for it by name";
        return false;
    }
    return true;
}

/* The first candidate; else, on CPUs, the first one that works at all. */
static ivl_status open_auto(ivl__device *device, ivl_precision precision,
                            const ivl__gemm_backend **out, ivl_error *error)
{
    const char *reason = "";

    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        if (ivl__gemm_is_candidate(device, precision, ivl__gemm_backends[i], &reason)) {
            *out = ivl__gemm_backends[i];
            return IVL_OK;
        }
    }
    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        if (ivl__gemm_backends[i]->available(device, precision, &reason)) {
            *out = ivl__gemm_backends[i];
            return IVL_OK;
        }
    }
    return ivl__fail(error, IVL_UNSUPPORTED, "no GEMM backend serves %s with %s precision (%s)%s",
                     device->info.name, precision == IVL_FAST ? "fast" : "exact", reason,
                     precision == IVL_FAST ? "; pass --precision exact" : "");
}

ivl_status ivl__gemm_open(ivl__device *device, const char *name, ivl_precision precision,
                          ivl__gemm *gemm, ivl_error *error)
{
    const ivl__gemm_backend *backend = NULL;
    const bool automatic = !name || strcmp(name, "auto") == 0;
    ivl_status status;

    if (precision != IVL_EXACT && precision != IVL_FAST) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "unknown precision %d", (int)precision);
    }
    status = automatic ? open_auto(device, precision, &backend, error)
                       : open_named(device, name, precision, &backend, error);
    if (status != IVL_OK) {
        return status;
    }
    *gemm = (ivl__gemm){
        .device = device, .backend = backend, .precision = precision, .automatic = automatic};
    return IVL_OK;
}

void ivl__gemm_close(ivl__gemm *gemm)
{
    if (!gemm || !gemm->device) {
        return;
    }
    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        if (ivl__gemm_backends[i]->close) {
            ivl__gemm_backends[i]->close(gemm);
        }
    }
    ivl__cl_buffer_free(&gemm->device->cl, gemm->scratch);
    *gemm = (ivl__gemm){0};
}

/* ---- choices ----------------------------------------------------------------------------- */

static const ivl__gemm_choice *find_choice(const ivl__gemm *gemm, int32_t n, int32_t k,
                                           ivl_dtype w_type)
{
    for (int i = 0; i < gemm->n_choices; i++) {
        const ivl__gemm_choice *choice = &gemm->choices[i];

        if (choice->n == n && choice->k == k && choice->w_type == w_type) {
            return choice;
        }
    }
    return NULL;
}

static int32_t columns_of(const ivl__gemm_call *call)
{
    return call->layout == IVL__GEMM_NT ? call->w->rows : call->w->cols;
}

static int32_t depth_of(const ivl__gemm_call *call)
{
    return call->layout == IVL__GEMM_NT ? call->w->cols : call->w->rows;
}

const ivl__gemm_choice *ivl__gemm_choice_for(const ivl__gemm *gemm, const ivl__gemm_call *call)
{
    return find_choice(gemm, columns_of(call), depth_of(call), call->w->dtype);
}

void ivl__gemm_choose(ivl__gemm *gemm, const ivl__gemm_choice *choice)
{
    for (int i = 0; i < gemm->n_choices; i++) {
        ivl__gemm_choice *old = &gemm->choices[i];

        if (old->n == choice->n && old->k == choice->k && old->w_type == choice->w_type) {
            *old = *choice;
            return;
        }
    }
    if (gemm->n_choices < IVL__GEMM_MAX_CHOICES) {
        gemm->choices[gemm->n_choices++] = *choice;
    }
}

static const ivl__gemm_backend *backend_for(const ivl__gemm *gemm, int32_t n, int32_t k,
                                            ivl_dtype w_type)
{
    const ivl__gemm_choice *choice = find_choice(gemm, n, k, w_type);

    return choice ? choice->backend : gemm->backend;
}

void ivl__gemm_describe(const ivl__gemm *gemm, char *text, size_t bytes)
{
    size_t used = 0;

    snprintf(text, bytes, "%s", gemm->backend->name);
    for (size_t b = 0; gemm->n_choices && ivl__gemm_backends[b] && used < bytes; b++) {
        bool chosen = false;

        for (int i = 0; i < gemm->n_choices; i++) {
            chosen = chosen || gemm->choices[i].backend == ivl__gemm_backends[b];
        }
        if (chosen) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? "+" : "",
                                     ivl__gemm_backends[b]->name);
        }
    }
}

/* ---- scratch ----------------------------------------------------------------------------- */

ivl_dtype ivl__gemm_input_type(const ivl__gemm *gemm)
{
    return gemm->backend->input_type(gemm->precision);
}

size_t ivl__gemm_scratch(const ivl__gemm *gemm, int32_t m, int32_t n, int32_t k, ivl_dtype w_type)
{
    return backend_for(gemm, n, k, w_type)->scratch(gemm->device, gemm->precision, m, n, k, w_type);
}

ivl_status ivl__gemm_reserve(ivl__gemm *gemm, size_t bytes, ivl_error *error)
{
    cl_mem scratch = NULL;
    ivl_status status;

    if (bytes <= gemm->scratch_bytes) {
        return IVL_OK;
    }
    status = ivl__cl_buffer(&gemm->device->cl, CL_MEM_READ_WRITE, bytes, "scratch of the GEMM",
                            &scratch, error);
    if (status != IVL_OK) {
        return status;
    }
    ivl__cl_buffer_free(&gemm->device->cl, gemm->scratch);
    gemm->scratch = scratch;
    gemm->scratch_bytes = bytes;
    return IVL_OK;
}

/* ---- run --------------------------------------------------------------------------------- */

static ivl_status check_weight(const ivl__gemm_call *call, ivl_error *error)
{
    const ivl__weight *w = call->w;
    ivl_status status = ivl__op_check_weight("GEMM", w, error);

    if (status != IVL_OK) {
        return status;
    }
    if (call->layout != IVL__GEMM_NT && w->n_tiles > 1) {
        return ivl__fail(error, IVL_UNSUPPORTED,
                         "GEMM: weights in %d row tiles with a layout that sums over rows",
                         w->n_tiles);
    }
    return IVL_OK;
}

static ivl_status check_operands(const ivl__gemm *gemm, const ivl__gemm_call *call,
                                 ivl_error *error)
{
    const ivl_dtype x_type = ivl__gemm_input_type(gemm);

    if (call->x_type != x_type) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: x is %s, this backend takes %s",
                         ivl__dtype_name(call->x_type), ivl__dtype_name(x_type));
    }
    if (!call->x.mem || call->x.offset % ivl__dtype_bytes(x_type)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: x is absent or misaligned");
    }
    if (!ivl__op_is_type(call->y_type) || !call->y.mem ||
        call->y.offset % ivl__dtype_bytes(call->y_type)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: y is absent, misaligned or %s",
                         ivl__dtype_name(call->y_type));
    }
    if (call->y_ld < columns_of(call)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "GEMM: rows of y are %d apart and have %d columns", call->y_ld,
                         columns_of(call));
    }
    return IVL_OK;
}

static ivl_status check_epilogue(const ivl__gemm_call *call, ivl_error *error)
{
    if (call->epilogue != IVL__EPILOGUE_BIAS && call->epilogue != IVL__EPILOGUE_GELU &&
        call->epilogue != IVL__EPILOGUE_RESIDUAL) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: unknown epilogue %d",
                         (int)call->epilogue);
    }
    if (call->epilogue == IVL__EPILOGUE_RESIDUAL && call->y_type != IVL_F32) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: the residual must be fp32, is %s",
                         ivl__dtype_name(call->y_type));
    }
    if (call->epilogue != IVL__EPILOGUE_RESIDUAL && call->scale.mem) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: scale without a residual");
    }
    if ((call->bias.mem && call->bias.offset % sizeof(float)) ||
        (call->scale.mem && call->scale.offset % sizeof(float))) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: bias or scale is misaligned");
    }
    return IVL_OK;
}

ivl_status ivl__gemm_run(ivl__gemm *gemm, const ivl__gemm_call *call, ivl_error *error)
{
    ivl_status status;
    size_t scratch;

    if (call->m < 0 || (call->layout != IVL__GEMM_NT && call->layout != IVL__GEMM_NN &&
                        call->layout != IVL__GEMM_TN)) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "GEMM: %d rows, layout %d", call->m,
                         (int)call->layout);
    }
    status = check_weight(call, error);
    if (status == IVL_OK) {
        status = check_operands(gemm, call, error);
    }
    if (status == IVL_OK) {
        status = check_epilogue(call, error);
    }
    if (status != IVL_OK || call->m == 0) {
        return status;
    }
    scratch = ivl__gemm_scratch(gemm, call->m, columns_of(call), depth_of(call), call->w->dtype);
    if (scratch > gemm->scratch_bytes) {
        return ivl__fail(error, IVL_INTERNAL, "GEMM: needs %zu bytes of scratch, %zu are reserved",
                         scratch, gemm->scratch_bytes);
    }
    return backend_for(gemm, columns_of(call), depth_of(call), call->w->dtype)
        ->run(gemm, call, error);
}
