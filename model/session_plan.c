/* session_plan.c - from a model, options and a device to a plan. */
#include "model/session.h"

#include "runtime/log.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

/* Of a GPU's memory, what is left to the driver and the desktop where the user gives no budget. */
#define GPU_SHARE 0.9

/* ---- device ------------------------------------------------------------------------------ */

static ivl_status pick_from(const ivl__device_info *list, size_t count,
                            const ivl_session_options *options, ivl__device_info *info,
                            ivl_error *error)
{
    int *picked = ivl__calloc(count + 1, sizeof *picked);
    size_t n = 0;
    ivl_status status;

    if (!picked) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the device list");
    }
    status = ivl__device_select(list, count, options->devices, options->n_devices, picked, &n,
                                error);
    if (status == IVL_OK && n > 1) {
        status = ivl__fail(error, IVL_UNSUPPORTED,
                           "--device names %zu devices (%d: %s, %d: %s, ...); one run uses one "
                           "device, choose by index",
                           n, picked[0], list[picked[0]].name, picked[1], list[picked[1]].name);
    }
    if (status == IVL_OK) {
        *info = list[picked[0]];
    }
    ivl__free(picked);
    return status;
}

ivl_status ivl__session_pick_device(const ivl_session_options *options, ivl__device_info *info,
                                    ivl_error *error)
{
    ivl__device_info *list = NULL;
    size_t count = 0;
    ivl_status status = ivl__device_list(&list, &count, error);

    if (status == IVL_OK) {
        status = pick_from(list, count, options, info, error);
    }
    ivl__free(list);
    return status;
}

/* AUTO takes fast where the device can and says so; FAST where it cannot is an error. */
static ivl_status open_gemm(ivl_session *s, ivl_error *error)
{
    const ivl_session_options *o = &s->options;
    ivl_error detail = {0};
    ivl_status status;

    if (o->precision == IVL_PRECISION_EXACT) {
        return ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error);
    }
    status = ivl__gemm_open(s->device, o->gemm, IVL_FAST, &s->gemm, &detail);
    if (status == IVL_UNSUPPORTED && o->precision == IVL_PRECISION_AUTO) {
        ivl__log(IVL_LOG_VERBOSE, "precision exact: %s", detail.message);
        return ivl__gemm_open(s->device, o->gemm, IVL_EXACT, &s->gemm, error);
    }
    return status == IVL_OK ? status : ivl__fail(error, status, "%s", detail.message);
}

/* ---- budget ------------------------------------------------------------------------------ */

static uint64_t default_budget(const ivl__device *device)
{
    uint64_t physical = ivl__physical_memory();

    /* A CPU driver reports what happens to be free; half of the machine is a promise. */
    if (device->caps.cpu && physical) {
        return physical / 2;
    }
    return (uint64_t)(GPU_SHARE * (double)device->caps.global_mem);
}

ivl_status ivl__find_budget(const ivl__device *device, const ivl_session_options *o,
                            uint64_t *budget, bool *given, ivl_error *error)
{
    const ivl__caps *caps = &device->caps;
    uint64_t physical = ivl__physical_memory();
    uint64_t most = caps->cpu && physical ? physical : caps->global_mem;
    uint64_t found = default_budget(device);

    *given = o->device_memory_share > 0.0 || o->device_memory;
    if (*given) {
        found = o->device_memory_share > 0.0 ? (uint64_t)(o->device_memory_share * (double)most)
                                             : o->device_memory;
    }
    if (found > most) {
        return ivl__fail(error, IVL_OUT_OF_DEVICE_MEMORY,
                         "--device-memory %.1f GiB is more than device %d (%s) has: %.1f GiB",
                         (double)found / 0x1p30, device->info.index, device->info.name,
                         (double)most / 0x1p30);
    }
    *budget = found;
    return IVL_OK;
}

static ivl_status find_budget(const ivl_session *s, ivl__plan_request *r, ivl_error *error)
{
    IVL__TRY(ivl__find_budget(s->device, &s->options, &r->budget, &r->budget_given, error));
    if (s->most_memory && s->most_memory < r->budget) {
        r->budget = s->most_memory;
    }
    return IVL_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

/* Measuring keeps to the budget as well. */
static ivl_status tune(ivl_session *s, bool measure, ivl_error *error)
{
    ivl__gemm_shape shapes[IVL__GEMM_MAX_CHOICES];
    const ivl__tuning_request request = {
        .shapes = shapes,
        .n_shapes = ivl__vit_gemm_shapes(s->model->stages, shapes),
        .file = s->options.tuning_file,
        .measure = measure,
    };
    ivl__plan_request budget = {0};

    IVL__TRY(find_budget(s, &budget, error));
    s->device->cl.ledger.budget = budget.budget;
    return ivl__gemm_tune(&s->gemm, &request, error);
}

/* There are no stages yet to tell of: 0 of 0. */
static bool stop_asked(void *user)
{
    const ivl_session_options *o = user;

    return o->progress && o->progress(o->progress_user, "start-up", 0, 0) != 0;
}

ivl_status ivl__session_open_device(ivl_session *s, bool measure, ivl_error *error)
{
    ivl__device_info info;
    const ivl__device_options options = {.cache_dir = s->options.cache_dir,
                                         .kernel_dir = s->options.kernel_dir,
                                         .profiling = s->options.profiling || s->options.trace,
                                         .stop = stop_asked,
                                         .stop_user = &s->options};

    IVL__TRY(ivl__session_pick_device(&s->options, &info, error));
    IVL__TRY(ivl__device_open(&info, &options, &s->device, error));
    IVL__TRY(open_gemm(s, error));
    s->gemm_open = true;
    IVL__TRY(tune(s, measure, error));
    /* Probes, self-tests and measurements have handed back what they took. */
    atomic_store(&s->device->cl.ledger.peak_bytes, atomic_load(&s->device->cl.ledger.bytes));
    return IVL_OK;
}

/* ---- plan -------------------------------------------------------------------------------- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void sum_stages(const ivl__vit_stages *stages, uint64_t *stage_bytes, ivl__plan_request *r)
{
    for (int i = 0; i < stages->list.n_stages; i++) {
        stage_bytes[i] = ivl__stage_copied_bytes(&stages->list.stages[i]);
        r->copied_bytes += ivl__stage_unmappable_bytes(&stages->list.stages[i]);
    }
    r->stage_bytes = stage_bytes;
    r->n_stages = stages->list.n_stages;
}

static uint64_t gemm_scratch(const ivl_session *s, int sub_batch)
{
    return ivl__vit_gemm_scratch(s->model->stages, &s->gemm, sub_batch * s->vit.sizes.tokens);
}

/* Small things whatever the sub-batch: flags, the first offset, sizes rounded up. */
static uint64_t small_scratch(const ivl_session *s)
{
    return 4096 + 64 * (uint64_t)s->model->stages->list.n_stages;
}

/* The products' scratch depends on the sub-batch, which is what the budget leaves room for: begins
 * with the largest that is useful and gives way until both agree. */
static ivl_status make_plan(ivl_session *s, ivl__plan_request *r, ivl_error *error)
{
    const ivl__vit_sizes *sizes = &s->vit.sizes;
    uint64_t c = (uint64_t)s->model->config.vit.hidden * sizeof(float);
    ivl__plan plan;
    ivl_status status;

    r->vector_bytes = s->model->stages->list.vector_bytes + sizes->rows; /* with a resized table */
    r->image_bytes = sizes->rows + sizes->pixels + c;
    r->image_largest = max_u64(sizes->rows, sizes->pixels);
    r->scratch_bytes = sizes->normed + sizes->wide + sizeof(int32_t);
    r->scratch_largest = max_u64(sizes->wide, sizes->normed);
    r->tokens = sizes->tokens;
    r->least_scratch = small_scratch(s) + gemm_scratch(s, 1);
    for (r->sub_batch = IVL__SUB_BATCH_ROWS(s->device->caps.cpu) / sizes->tokens + 1;;) {
        r->fixed_largest = gemm_scratch(s, r->sub_batch);
        r->fixed_scratch = small_scratch(s) + r->fixed_largest;
        status = ivl__plan_make(r, &plan, r->sub_batch == 1 ? error : NULL);
        if (r->sub_batch == 1 || (status == IVL_OK && plan.sub_batch == r->sub_batch)) {
            break;
        }
        r->sub_batch = status == IVL_OK ? plan.sub_batch : r->sub_batch / 2;
    }
    if (status == IVL_OK) {
        s->plan = plan;
    }
    return status;
}

ivl_status ivl__session_plan(ivl_session *s, int width, int height, bool normalized_pixels,
                             ivl_error *error)
{
    ivl__plan_request r = {
        .residency = (ivl__residency_kind)s->options.residency,
        .batch = s->options.batch,
        .cpu = s->device->caps.cpu,
        .unified = s->device->caps.unified && !s->copies,
        .max_alloc = s->device->caps.max_alloc,
        .host_memory = ivl__physical_memory(),
    };
    uint64_t *stage_bytes;
    ivl_status status;

    s->vit.act = ivl__gemm_input_type(&s->gemm);
    IVL__TRY(ivl__vit_sizes_for(&s->model->config.vit, width, height, normalized_pixels, s->vit.act,
                                &s->vit.sizes, error));
    IVL__TRY(find_budget(s, &r, error));
    stage_bytes = ivl__calloc((size_t)s->model->stages->list.n_stages, sizeof *stage_bytes);
    if (!stage_bytes) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the plan");
    }
    sum_stages(s->model->stages, stage_bytes, &r);
    status = make_plan(s, &r, error);
    ivl__free(stage_bytes);
    if (status == IVL_OK) {
        s->device->cl.ledger.budget = r.budget;
        s->vit.width = width;
        s->vit.height = height;
        s->vit.normalized_pixels = normalized_pixels;
        if (s->options.batch > s->plan.batch) {
            ivl__log(IVL_LOG_WARNING, "--batch %d does not fit the device budget; using %d",
                     s->options.batch, s->plan.batch);
        }
    }
    return status;
}

void ivl__session_describe_plan(const ivl_session *s, ivl_plan *plan)
{
    const ivl__plan *p = &s->plan;
    uint64_t stored = 0;
    uint64_t in_place = 0;

    for (int i = 0; i < s->model->stages->list.n_stages; i++) {
        ivl__stage_stored_bytes(&s->model->stages->list.stages[i], &stored, &in_place);
    }
    *plan = (ivl_plan){
        .size = sizeof *plan,
        .residency = (ivl_residency)p->residency,
        .budget = s->device->cl.ledger.budget,
        .batch = p->batch,
        .sub_batch = p->sub_batch,
        .stages = s->model->stages->list.n_stages,
        .resident_stages = p->resident_stages,
        .weight_bytes = stored,
        .resident_bytes = p->resident_bytes,
        .mapped_bytes = p->residency == IVL__MAPPED ? in_place : 0,
        .slot_bytes = IVL__STREAM_SLOTS * p->slot_bytes,
        .activation_bytes = p->activation_bytes,
        .scratch_bytes = p->scratch_bytes,
        .peak_bytes = p->peak_bytes,
        .streamed_per_pass = p->streamed_per_pass,
        .minimum_budget = p->minimum_budget,
    };
    snprintf(plan->device, sizeof plan->device, "%s", s->device->info.name);
    snprintf(plan->platform, sizeof plan->platform, "%s", s->device->info.platform);
}
