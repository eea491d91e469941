# Kernels on a device: IVL_TEST_DEVICE chooses, IVL_TEST_TINY=1 asks for tiny shapes.
ivl_test(test_opencl op)
ivl_test(test_gemm op)
ivl_test(test_norm op)
ivl_test(test_patchify op)
ivl_test(test_position op)
ivl_test(test_pool op)
ivl_test(test_convert op)
ivl_test(test_program op)
