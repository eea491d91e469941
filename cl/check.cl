/* check.cl - is every value finite?
 *
 * x [count] fp32; flag (int32) becomes 1 if one of them is infinite or NaN and is left alone otherwise.
 * One work-item per 64 values; offsets count elements. Bits are tested, so that no compiler option can
 * assume the question away. Test: tests/op/test_convert.c, finite.
 */
__kernel void check_finite(__global const float *x, ulong x_at, ulong count, __global int *flag, ulong flag_at)
{
    const ulong begin = (ulong)get_global_id(0) * 64;
    if (begin >= count) {
        return;
    }
    const int n = (int)min(count - begin, (ulong)64);
    uint bad = 0;
    x += x_at + begin;
    for (int i = 0; i < n; i++) {
        bad |= (as_uint(x[i]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    }
    if (bad) {
        atomic_or(flag + flag_at, 1);
    }
}
