/* test_opencl.c - the wrapper layer, the ledger, programs, launches and injected faults. */
#include "tests/op/op_test.h"

static void ledger_counts(void **state)
{
    int64_t objects = atomic_load(&device->cl.ledger.objects);
    ivl_error error = {0};
    cl_mem buffer;

    (void)state;
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, 1000, "b", &buffer, &error), error);
    assert_int_equal(atomic_load(&device->cl.ledger.bytes), 1000);
    assert_int_equal(atomic_load(&device->cl.ledger.objects), objects + 1);
    ivl__cl_buffer_free(&device->cl, buffer);
    assert_int_equal(atomic_load(&device->cl.ledger.bytes), 0);
    assert_int_equal(atomic_load(&device->cl.ledger.objects), objects);
}

static void budget_is_kept(void **state)
{
    ivl_error error = {0};
    cl_mem buffer;

    (void)state;
    device->cl.ledger.budget = 500;
    assert_fails(
        ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, 1000, "residual rows", &buffer, &error),
        IVL_OUT_OF_DEVICE_MEMORY, error, "residual rows");
    device->cl.ledger.budget = 0;
    assert_int_equal(atomic_load(&device->cl.ledger.bytes), 0);
}

static void unknown_kernels_are_errors(void **state)
{
    ivl_error error = {0};
    ivl__kernel *kernel;

    (void)state;
    assert_fails(ivl__kernel_get(device, "no.cl", "", "x", &kernel, &error), IVL_INTERNAL, error,
                 "no.cl");
}

static void injected_faults_come_through(void **state)
{
    ivl_error error = {0};
    cl_mem buffer;

    (void)state;
    ivl__cl_fail("clCreateBuffer", 0, false, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_fails(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, 10, "b", &buffer, &error),
                 IVL_OUT_OF_DEVICE_MEMORY, error, "CL_MEM_OBJECT_ALLOCATION_FAILURE");
    assert_ok(ivl__cl_buffer(&device->cl, CL_MEM_READ_WRITE, 10, "b", &buffer, &error), error);
    ivl__cl_fail(NULL, -1, false, CL_SUCCESS);
    ivl__cl_buffer_free(&device->cl, buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ledger_counts),
        cmocka_unit_test(budget_is_kept),
        cmocka_unit_test(unknown_kernels_are_errors),
        cmocka_unit_test(injected_faults_come_through),
    };
    int failed;

    op_test_open();
    printf("bf16 dot products: %s\n", device->caps.x86_bf16_dot ? "yes" : "no");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    op_test_close();
    return failed;
}
