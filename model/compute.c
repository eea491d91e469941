/* compute.c - the step that forward passes share; see compute.h. */
#include "model/compute.h"

ivl__span ivl__vector_at(cl_mem vectors, uint64_t place)
{
    return place == IVL__ABSENT ? (ivl__span){NULL, 0} : (ivl__span){vectors, place};
}

ivl_status ivl__compute_linear(const ivl__compute *compute, const ivl__placed_stage *at,
                               const ivl__linear *call, ivl_error *error)
{
    ivl__weight weight;
    const ivl__gemm_call gemm = {
        .layout = IVL__GEMM_NT,
        .m = call->rows,
        .x = call->x,
        .x_type = compute->act,
        .w = &weight,
        .epilogue = call->epilogue,
        .bias = ivl__vector_at(at->vectors, call->bias),
        .scale = ivl__vector_at(at->vectors, call->scale),
        .y = call->y,
        .y_type = call->y_type,
        .y_ld = call->matrix->rows,
    };

    ivl__device_stage(compute->device, call->name);
    ivl__stage_weight(at->list, at->stage, call->matrix, at->spans, &weight);
    return ivl__gemm_run(compute->gemm, &gemm, error);
}

int ivl__add_gemm_shape(ivl__gemm_shape *shapes, int n_shapes, int32_t n, int32_t k,
                        ivl_dtype dtype)
{
    for (int i = 0; i < n_shapes; i++) {
        if (shapes[i].n == n && shapes[i].k == k && shapes[i].w_type == dtype) {
            return n_shapes;
        }
    }
    if (n_shapes < IVL__GEMM_MAX_CHOICES) {
        shapes[n_shapes++] = (ivl__gemm_shape){n, k, dtype};
    }
    return n_shapes;
}

uint64_t ivl__gemm_scratch_of(const ivl__gemm_shape *shapes, int n, const ivl__gemm *gemm,
                              int32_t rows)
{
    uint64_t most = 0;

    for (int i = 0; i < n; i++) {
        most = ivl__larger(
            most, ivl__gemm_scratch(gemm, rows, shapes[i].n, shapes[i].k, shapes[i].w_type));
    }
    return most;
}
