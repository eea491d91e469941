/* test_plan.c - the planner over many made-up programs and devices: never over budget, never
 * beyond the largest buffer, the smallest budget is the smallest, more memory never hurts. */
#include "runtime/plan.h"
#include "tests/test.h"

#define MAX_STAGES 64
#define CASES      400
#define PLENTY     (1ull << 50)

static uint64_t between(uint64_t *state, uint64_t least, uint64_t most)
{
    return least + test_random(state) % (most - least + 1);
}

typedef struct made_up {
    ivl__plan_request request;
    uint64_t stages[MAX_STAGES];
} made_up;

/* A program of 1 .. 60 stages on a device with room for all of its buffers; sizes from bytes to
 * gigabytes. */
static void make_up(uint64_t seed, made_up *m)
{
    uint64_t s = seed;
    uint64_t scale = 1ull << between(&s, 0, 24);
    ivl__plan_request *r = &m->request;

    memset(m, 0, sizeof *m);
    r->n_stages = (int)between(&s, 1, 60);
    for (int i = 0; i < r->n_stages; i++) {
        m->stages[i] = scale * between(&s, 1, 100);
        r->copied_bytes += seed % 3 == 0 ? m->stages[i] / 2 : seed % 3 == 1 ? m->stages[i] : 0;
    }
    r->stage_bytes = m->stages;
    r->vector_bytes = scale * between(&s, 1, 10);
    r->image_bytes = scale * between(&s, 2, 20);
    r->image_largest = r->image_bytes / 2;
    r->scratch_bytes = scale * between(&s, 2, 40);
    r->scratch_largest = r->scratch_bytes / 2;
    r->fixed_scratch = r->least_scratch = between(&s, 0, scale);
    r->tokens = (int)between(&s, 2, 1500);
    r->batch = seed % 4 == 0 ? (int)between(&s, 1, 100) : 0;
    r->sub_batch = seed % 5 == 0 ? (int)between(&s, 1, 8) : 0;
    r->cpu = between(&s, 0, 1) == 1;
    r->unified = between(&s, 0, 1) == 1;
    r->budget_given = true;
    r->budget = PLENTY;
    r->max_alloc = PLENTY;
    r->host_memory = seed % 7 == 0 ? 0 : scale * between(&s, 1, 3000);
}

static uint64_t stages_sum(const ivl__plan_request *r, int first, int end)
{
    uint64_t sum = 0;

    for (int i = first; i < end; i++) {
        sum += r->stage_bytes[i];
    }
    return sum;
}

static uint64_t stages_largest(const ivl__plan_request *r)
{
    uint64_t largest = 0;

    for (int i = 0; i < r->n_stages; i++) {
        largest = r->stage_bytes[i] > largest ? r->stage_bytes[i] : largest;
    }
    return largest;
}

/* Device bytes of a placement, from the description of the plan alone. */
static uint64_t bytes_of(const ivl__plan_request *r, ivl__residency_kind kind, int residents,
                         int batch, int sub_batch)
{
    uint64_t bytes = r->vector_bytes + r->fixed_scratch + (uint64_t)batch * r->image_bytes +
                     (uint64_t)sub_batch * r->scratch_bytes + stages_sum(r, 0, residents);

    if (kind == IVL__MAPPED) {
        bytes += r->copied_bytes;
    }
    return kind == IVL__STREAM ? bytes + 2 * stages_largest(r) : bytes;
}

/* ---- what holds for every plan ----------------------------------------------------------- */

static void check_sums(const ivl__plan_request *r, const ivl__plan *p)
{
    uint64_t weights = stages_sum(r, 0, r->n_stages);

    assert_int_equal(p->weight_bytes, weights);
    assert_int_equal(p->peak_bytes,
                     bytes_of(r, p->residency, p->resident_stages, p->batch, p->sub_batch));
    assert_true(p->peak_bytes <= r->budget);
    assert_true(p->resident_bytes + 2 * p->slot_bytes + p->activation_bytes + p->scratch_bytes ==
                p->peak_bytes);
    assert_int_equal(p->slot_bytes, p->residency == IVL__STREAM ? stages_largest(r) : 0);
    assert_int_equal(p->streamed_per_pass, p->residency == IVL__STREAM
                                               ? stages_sum(r, p->resident_stages, r->n_stages)
                                               : 0);
}

static void check_rules(const ivl__plan_request *r, const ivl__plan *p)
{
    assert_true(p->residency == IVL__MAPPED || p->residency == IVL__RESIDENT ||
                p->residency == IVL__STREAM);
    if (r->residency != IVL__AUTO) {
        assert_int_equal(p->residency, r->residency);
    }
    assert_true(p->residency != IVL__MAPPED || r->unified);
    assert_true(p->batch >= 1 && (r->batch == 0 || p->batch <= r->batch));
    assert_true(p->sub_batch >= 1 && p->sub_batch <= p->batch);
    assert_true(r->sub_batch == 0 || p->sub_batch <= r->sub_batch);
    assert_true((p->sub_batch - 1) * r->tokens < IVL__SUB_BATCH_ROWS(r->cpu));
    assert_true((uint64_t)p->batch * r->image_largest <= r->max_alloc);
    assert_true((uint64_t)p->sub_batch * r->scratch_largest <= r->max_alloc);
    assert_true(p->residency == IVL__MAPPED || stages_largest(r) <= r->max_alloc);
}

/* Nothing that could be used lies idle: a larger batch as wished, a further resident stage. */
static void check_greed(const ivl__plan_request *r, const ivl__plan *p)
{
    if (p->batch < r->batch) {
        assert_true(bytes_of(r, p->residency, p->residency == IVL__RESIDENT ? r->n_stages : 0,
                             p->batch + 1, 1) > r->budget ||
                    (uint64_t)(p->batch + 1) * r->image_largest > r->max_alloc);
    }
    if (p->residency == IVL__RESIDENT) {
        assert_int_equal(p->resident_stages, r->n_stages);
    } else if (p->residency == IVL__MAPPED || r->residency == IVL__STREAM) {
        assert_int_equal(p->resident_stages, 0);
    } else if (p->resident_stages < r->n_stages) {
        assert_true(p->peak_bytes + r->stage_bytes[p->resident_stages] > r->budget);
    }
}

static ivl__plan check(const ivl__plan_request *r)
{
    ivl__plan plan = {0};
    ivl_error error = {0};

    assert_ok(ivl__plan_make(r, &plan, &error), error);
    check_sums(r, &plan);
    check_rules(r, &plan);
    check_greed(r, &plan);
    return plan;
}

static const ivl__residency_kind kinds[] = {IVL__AUTO, IVL__MAPPED, IVL__RESIDENT, IVL__STREAM};

/* ---- tests ------------------------------------------------------------------------------- */

static void smallest_budget(void **state)
{
    int tried = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        made_up m;

        make_up(seed, &m);
        for (int k = 0; k < 4; k++) {
            ivl__plan plan = {0};
            ivl_error error = {0};

            m.request.residency = kinds[k];
            m.request.budget = PLENTY;
            if (kinds[k] == IVL__MAPPED && !m.request.unified) {
                assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_UNSUPPORTED, error,
                             "resident or stream");
                continue;
            }
            plan = check(&m.request);
            m.request.budget = plan.minimum_budget;
            assert_int_equal(check(&m.request).minimum_budget, plan.minimum_budget);
            m.request.budget = plan.minimum_budget - 1;
            memset(&plan, 0x55, sizeof plan);
            assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                         kinds[k] == IVL__RESIDENT ? "--" : "--device-memory");
            assert_int_equal(plan.batch, 0x55555555); /* results are written on success only */
            tried++;
        }
    }
    assert_true(tried > 3 * CASES);
}

/* A scratch that grows with the sub-batch does not change what the smallest budget is. */
static void smallest_budget_of_growing_scratch(void **state)
{
    made_up m;
    uint64_t minimum;

    (void)state;
    make_up(21, &m);
    m.request.residency = IVL__STREAM;
    m.request.sub_batch = 1;
    minimum = check(&m.request).minimum_budget;
    m.request.sub_batch = 8;
    m.request.fixed_scratch += 12345;
    assert_int_equal(check(&m.request).minimum_budget, minimum);
}

/* Budgets from the smallest upwards: all work, and a batch never shrinks while the weights stay
 * where they are. */
static void more_memory_never_hurts(void **state)
{
    int plans = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        made_up m;

        make_up(seed, &m);
        for (int k = 0; k < 4; k++) {
            ivl__plan last = {0};
            uint64_t budget;

            m.request.residency = kinds[k];
            m.request.budget = PLENTY;
            if (kinds[k] == IVL__MAPPED && !m.request.unified) {
                continue;
            }
            for (budget = check(&m.request).minimum_budget; budget < PLENTY / 4;
                 budget += budget / 16 + 1) {
                ivl__plan plan;

                m.request.budget = budget;
                plan = check(&m.request);
                assert_true(plan.residency != last.residency || plan.batch >= last.batch);
                /* What a plan found room for, a larger budget has room for. */
                assert_true(kinds[k] != IVL__AUTO || last.residency != IVL__RESIDENT ||
                            plan.residency != IVL__STREAM);
                last = plan;
                plans++;
                if (plan.batch >= 100 && plan.peak_bytes < budget / 8) {
                    break;
                }
                if (budget > 64 * plan.weight_bytes && plan.peak_bytes < budget / 8) {
                    break;
                }
            }
        }
    }
    assert_true(plans > 10 * CASES);
}

static void largest_buffer(void **state)
{
    int refused = 0;
    int fitted = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        made_up m;

        make_up(seed, &m);
        for (int k = 0; k < 4; k++) {
            ivl__plan plan;
            ivl_error error = {0};
            uint64_t state_of_case = seed;
            ivl_status status;

            m.request.residency = kinds[k];
            m.request.budget = between(&state_of_case, 1, 2 * stages_sum(&m.request, 0, 60));
            m.request.max_alloc = between(&state_of_case, 1, 2 * stages_largest(&m.request));
            status = ivl__plan_make(&m.request, &plan, &error);
            if (status == IVL_OK) {
                check(&m.request);
                fitted++;
            } else if (status != IVL_UNSUPPORTED) {
                assert_int_equal(status, IVL_OUT_OF_DEVICE_MEMORY);
                refused++;
            }
        }
    }
    assert_true(refused > CASES / 4);
    assert_true(fitted > CASES / 4);
}

/* ---- the rules of --residency ------------------------------------------------------------ */

/* Ten stages of 1000 bytes; everything else is small. */
static made_up ten_stages(bool unified)
{
    made_up m = {.request = {.n_stages = 10,
                             .vector_bytes = 100,
                             .image_bytes = 10,
                             .image_largest = 5,
                             .scratch_bytes = 20,
                             .scratch_largest = 10,
                             .fixed_scratch = 7,
                             .least_scratch = 7,
                             .tokens = 17,
                             .cpu = unified,
                             .unified = unified,
                             .budget = 100000,
                             .max_alloc = 100000,
                             .host_memory = 100000}};

    for (int i = 0; i < 10; i++) {
        m.stages[i] = 1000;
    }
    return m;
}

static ivl__plan plan_of(made_up *m)
{
    m->request.stage_bytes = m->stages;
    return check(&m->request);
}

static void automatic_on_unified_memory(void **state)
{
    made_up m = ten_stages(true);
    ivl__plan plan;

    (void)state;
    /* No budget by the user: mapped, even where the default budget is below the model. */
    m.request.budget = 5000;
    assert_int_equal(plan_of(&m).residency, IVL__MAPPED);
    m.request.budget_given = true;
    m.request.budget = 10000;
    assert_int_equal(plan_of(&m).residency, IVL__MAPPED);
    /* An explicit budget below the model means streaming, with what stays resident beside it. */
    m.request.budget = 9999;
    plan = plan_of(&m);
    assert_int_equal(plan.residency, IVL__STREAM);
    assert_true(plan.resident_stages > 0);
    /* Tensors that cannot be mapped count; where they do not fit, they stream. */
    m.request.budget = 10000;
    m.request.copied_bytes = 10000;
    assert_int_equal(plan_of(&m).residency, IVL__STREAM);
}

static void automatic_on_a_card(void **state)
{
    made_up m = ten_stages(false);
    const uint64_t all = 10000 + 100 + 7 + 10 + 20;

    (void)state;
    m.request.budget = all;
    assert_int_equal(plan_of(&m).residency, IVL__RESIDENT);
    m.request.budget = all - 1;
    assert_int_equal(plan_of(&m).residency, IVL__STREAM);
    m.request.budget = 100 + 7 + 10 + 20 + 2000;
    assert_int_equal(plan_of(&m).resident_stages, 0);
    assert_int_equal(plan_of(&m).minimum_budget, m.request.budget);
}

static void asked_for(void **state)
{
    made_up m = ten_stages(true);
    ivl__plan plan;
    ivl_error error = {0};

    (void)state;
    /* stream: through slots, even where everything would fit or a view is possible. */
    m.request.residency = IVL__STREAM;
    assert_int_equal(plan_of(&m).streamed_per_pass, 10000);
    m.request.residency = IVL__RESIDENT;
    assert_int_equal(plan_of(&m).resident_bytes, 10100);
    m.request.budget = 5000;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "--residency stream");
    /* Mapped bytes do not count against the budget. */
    m.request.residency = IVL__MAPPED;
    m.request.budget_given = true;
    m.request.budget = 100 + 7 + 10 + 20;
    assert_int_equal(plan_of(&m).peak_bytes, m.request.budget);
    m.request.unified = false;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_UNSUPPORTED, error, "mapped");
}

static void buffers_too_small(void **state)
{
    made_up m = ten_stages(true);
    ivl__plan plan;
    ivl_error error = {0};

    (void)state;
    m.request.stage_bytes = m.stages;
    m.request.residency = IVL__STREAM;
    m.request.max_alloc = 999;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "--residency mapped");
    m.request.unified = false;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "another --device");
    m.request.max_alloc = 1000;
    m.request.image_largest = 1001;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "one picture");
    m.request.image_largest = 300;
    assert_int_equal(plan_of(&m).batch, 3);
    m.request.fixed_largest = 1001;
    assert_fails(ivl__plan_make(&m.request, &plan, &error), IVL_OUT_OF_DEVICE_MEMORY, error,
                 "another --gemm");
}

/* A wish of any size is cut to what fits at once, and counting does not wrap. */
static void batches_beyond_all_memory(void **state)
{
    made_up m = ten_stages(false);

    (void)state;
    m.request.batch = INT32_MAX;
    m.request.residency = IVL__STREAM;
    m.request.budget = 100 + 7 + 20 + 2000 + 10 * 1234;
    assert_int_equal(plan_of(&m).batch, 1234);
    m.request.max_alloc = 1ull << 40;
    m.request.image_bytes = m.request.image_largest = 1ull << 33;
    m.request.budget = 5ull << 33;
    assert_int_equal(plan_of(&m).batch, 4);
}

/* A mapped file that does not stay in memory is read from the disk on every pass. */
static void default_batches(void **state)
{
    made_up m = ten_stages(true);

    (void)state;
    assert_int_equal(plan_of(&m).batch, 4);
    m.request.host_memory = 12000;
    assert_int_equal(plan_of(&m).batch, 32);
    m.request.residency = IVL__RESIDENT;
    assert_int_equal(plan_of(&m).batch, 16);
    m.request.residency = IVL__STREAM;
    assert_int_equal(plan_of(&m).batch, 32);
    m.request.batch_scale = 16; /* smaller items: as many as take about as long */
    assert_int_equal(plan_of(&m).batch, 16 * 32);
    m.request.batch = 3;
    assert_int_equal(plan_of(&m).batch, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smallest_budget),
        cmocka_unit_test(smallest_budget_of_growing_scratch),
        cmocka_unit_test(more_memory_never_hurts),
        cmocka_unit_test(largest_buffer),
        cmocka_unit_test(automatic_on_unified_memory),
        cmocka_unit_test(automatic_on_a_card),
        cmocka_unit_test(asked_for),
        cmocka_unit_test(buffers_too_small),
        cmocka_unit_test(batches_beyond_all_memory),
        cmocka_unit_test(default_batches),
    };

    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
