# Host only: no OpenCL.
ivl_test(test_base unit)
