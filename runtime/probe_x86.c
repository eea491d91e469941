/* probe_x86.c - runs the probes of vdpbf16ps and of tiles (AMX); see probe_x86.h. */
#include "runtime/probe_x86.h"

#include "runtime/facts.h"
#include "runtime/log.h"
#include "runtime/os.h"
#include "runtime/program.h"

#include <string.h>

#define TILE 16

/* out [n] of the one kernel of a file, run as one item. */
static ivl_status run_kernel(ivl__device *device, const char *file, const char *name, float *result,
                             size_t n, ivl_error *detail)
{
    const size_t one = 1;
    ivl__kernel *kernel;
    cl_mem out = NULL;
    ivl_status status = ivl__kernel_get(device, file, "", name, &kernel, detail);

    if (status == IVL_OK) {
        status = ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, n * sizeof *result, "probe", &out,
                                detail);
    }
    if (status == IVL_OK) {
        status = IVL__LAUNCH(device, kernel, 1, &one, &one, detail, ivl__arg_mem(out));
    }
    if (status == IVL_OK) {
        status = ivl__cl_read(&device->cl, device->cl.compute, out, 0, result, n * sizeof *result,
                              0, NULL, NULL, detail);
    }
    ivl__cl_buffer_free(&device->cl, out);
    return status;
}

/* Whether a probe ran and gave what it should, and one line where not. */
static bool judge(const ivl__device *device, const char *unit, ivl_status status, bool right,
                  const ivl_error *detail)
{
    if (status != IVL_OK) {
        ivl__log(IVL_LOG_VERBOSE, "%s: no %s: %s", device->info.name, unit, detail->message);
        return false;
    }
    if (!right) {
        ivl__log(IVL_LOG_WARNING, "%s (driver %s): %s give wrong results; not used",
                 device->info.name, device->info.driver, unit);
    }
    return right;
}

/* Lane i: 100 + (i + 1) * 3 + (i + 2) * 5, exact in bf16 and fp32. */
static bool run_dot(ivl__device *device)
{
    float result[TILE] = {0};
    ivl_error detail = {0};
    ivl_status status = run_kernel(device, "probe_bf16_dot.cl", "probe_bf16_dot", result, TILE,
                                   &detail);
    bool right = true;

    for (int i = 0; i < TILE; i++) {
        right = right && result[i] == (float)(100 + (i + 1) * 3 + (i + 2) * 5);
    }
    return judge(device, "dot products of bf16", status, right, &detail);
}

/* Element (i, j): 100 + sum over k < 32 of (i + k) (k % 7 + j), exact likewise. */
static bool run_tiles(ivl__device *device)
{
    float result[TILE * TILE] = {0};
    ivl_error detail = {0};
    ivl_status status = run_kernel(device, "probe_amx.cl", "probe_amx", result, TILE * TILE,
                                   &detail);
    bool right = true;

    for (int i = 0; i < TILE; i++) {
        for (int j = 0; j < TILE; j++) {
            int want = 100;

            for (int k = 0; k < 2 * TILE; k++) {
                want += (i + k) * (k % 7 + j);
            }
            right = right && result[i * TILE + j] == (float)want;
        }
    }
    return judge(device, "tiles of bf16 (AMX)", status, right, &detail);
}

/* ---- speed ------------------------------------------------------------------------------- */

#define TURNS  20000 /* a tenth of a millisecond */
#define ROUNDS 7
/* A vdpbf16ps does the work of two fma. Processors issue as many of them as of fma (twice the
 * speed), or a quarter (half the speed): the bound stands between twice the speed and the same. */
#define CLEARLY 1.4

static ivl_status time_loop(ivl__device *device, const char *defines, cl_mem out, double *best,
                            ivl_error *detail)
{
    const size_t one = 1;
    ivl__kernel *kernel;
    double start;

    IVL__TRY(ivl__kernel_get(device, "peak.cl", defines, "peak", &kernel, detail));
    start = ivl__now();
    IVL__TRY(IVL__LAUNCH(device, kernel, 1, &one, &one, detail, ivl__arg_mem(out),
                         ivl__arg_int(TURNS), ivl__arg_float(1e-3f)));
    IVL__TRY(ivl__cl_finish(&device->cl, device->cl.compute, detail));
    *best = ivl__now() - start < *best ? ivl__now() - start : *best;
    return IVL_OK;
}

/* The loops take turns, and the best of each counts: others may use the machine, too. */
static bool dot_pays(ivl__device *device)
{
    double fma = 1e9, dot = 1e9;
    ivl_error detail = {0};
    cl_mem out = NULL;
    ivl_status status = ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, sizeof(float), "probe", &out,
                                       &detail);

    for (int i = 0; status == IVL_OK && i < ROUNDS; i++) {
        status = time_loop(device, "", out, &fma, &detail);
        if (status == IVL_OK) {
            status = time_loop(device, "-DBF16_DOT=1", out, &dot, &detail);
        }
    }
    ivl__cl_buffer_free(&device->cl, out);
    if (status != IVL_OK) {
        return judge(device, "speed of bf16 dot products", status, false, &detail);
    }
    ivl__log(IVL_LOG_VERBOSE, "%s: bf16 dot products at %.2f times the speed of fp32",
             device->info.name, 2.0 * fma / dot);
    return 2.0 * fma / dot > CLEARLY;
}

/* ---- all of them ------------------------------------------------------------------------- */

static ivl_status ask(ivl__device *device, const char *name, bool (*run)(ivl__device *), bool *out,
                      ivl_error *error)
{
    const char *known = ivl__facts_get(device, name);

    *out = known ? strcmp(known, "yes") == 0 : run(device);
    return ivl__facts_set(device, name, *out ? "yes" : "no", error);
}

ivl_status ivl__probe_x86(ivl__device *device, ivl_error *error)
{
    ivl__caps *caps = &device->caps;
    const char *denied;

    if (!caps->cpu || !ivl__cpu_features_of_host().avx512_bf16) {
        return IVL_OK;
    }
    IVL__TRY(ask(device, "probe.x86_bf16_dot", run_dot, &caps->x86_bf16_dot, error));
    if (!caps->x86_bf16_dot) {
        return IVL_OK;
    }
    IVL__TRY(ask(device, "probe.x86_dot_pays", dot_pays, &caps->x86_dot_pays, error));
    denied = ivl__cpu_allow_amx(); /* of this process: asked every time */
    if (denied) {
        ivl__log(IVL_LOG_VERBOSE, "%s: no tiles: %s", device->info.name, denied);
        return IVL_OK;
    }
    return ask(device, "probe.x86_amx_bf16", run_tiles, &caps->x86_amx_bf16, error);
}
