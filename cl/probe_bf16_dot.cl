/* probe_bf16_dot.cl - does inline assembler reach the processor's dot product of bf16 pairs?
 *
 * x86 CPUs only; the host has checked CPUID before it builds this. One work-item.
 * out [16] fp32: lane i = 100 + (i + 1) * 3 + (i + 2) * 5, exact.
 */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void probe_bf16_dot(__global float *out)
{
    float16 acc = (float16)(100.0f);
    float16 low = (float16)(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    float16 high = low + 1.0f;
    /* bf16 is the upper half of fp32: the even element of a pair lies in the low half. */
    uint16 a = (as_uint16(high) & 0xffff0000u) | (as_uint16(low) >> 16);
    uint16 b = (as_uint16((float16)(5.0f)) & 0xffff0000u) | (as_uint16((float16)(3.0f)) >> 16);

    __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    vstore16(acc, 0, out);
}
