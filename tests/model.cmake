# The whole encoder on tiny recorded models: IVL_TEST_DEVICE chooses the device.
ivl_test(test_golden model)
ivl_test(test_session model)
ivl_test(test_selftest model)
ivl_test(test_faults model)
