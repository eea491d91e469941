/* probe.cl - the parts of OpenCL C 1.2 that every other kernel relies on, in one tiny case.
 *
 * global (64), local (32). in [64] fp32, bits [65] uint16 (bf16), halves [64] fp16,
 * out [4, 64] fp32, exact on every device:
 *   out[0] = sum of the work-group's `in` by a tree in local memory with barriers
 *   out[1] = bf16 widened by a shift, at an odd element offset by vload
 *   out[2] = vload_half
 *   out[3] = fma(in, in, -1) with the one rounding of fma
 */
__kernel __attribute__((reqd_work_group_size(32, 1, 1))) void probe_language(
    __global const float *in, __global const ushort *bits, __global const half *halves,
    __global float *out, __local float *tree)
{
    int i = (int)get_global_id(0);
    int l = (int)get_local_id(0);
    int n = (int)get_global_size(0);

    tree[l] = in[i];
    for (int step = 16; step > 0; step /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < step) {
            tree[l] += tree[l + step];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    out[i] = tree[0];
    out[n + i] = as_float(convert_uint(vload2(0, bits + i).s0) << 16);
    out[2 * n + i] = vload_half((size_t)i, halves);
    out[3 * n + i] = fma(in[i], in[i], -1.0f);
}
