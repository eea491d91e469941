# Host only: no OpenCL.
ivl_test(test_base unit)
ivl_test(test_image_decode unit)
ivl_test(test_image_resize unit)
ivl_test(test_preprocess unit)
ivl_test(test_image_source unit)
ivl_test(test_npy unit)
ivl_test(test_device_select unit)
