/* common.h - what every kernel file begins with. Baseline OpenCL C 1.2, no optional feature. */

/* Equal bits everywhere: products and sums are fused where the source says fma(), nowhere else. */
#pragma OPENCL FP_CONTRACT OFF
