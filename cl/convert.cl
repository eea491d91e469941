/* convert.cl - changes the element type of a matrix; exact when it widens, to nearest even otherwise.
 *
 * from [count] of IN_TYPE -> to [count] of OUT_TYPE (0 fp32, 1 fp16, 2 bf16; one of them is fp32).
 * One work-item per 16 elements; offsets count elements; alignment of one element is enough.
 * Test: tests/op/test_convert.c, all 65,536 codes and every rounding case, bit for bit.
 */
#include "act.h"
#include "widen.h"

__kernel void convert(__global const IN *from, ulong from_at, __global OUT *to, ulong to_at, ulong count)
{
    const ulong begin = (ulong)get_global_id(0) * 16;
    if (begin >= count) {
        return;
    }
    from += from_at + begin;
    to += to_at + begin;
    if (count - begin >= 16) {
        STORE16(to, LOAD16(from));
        return;
    }
    for (int i = 0; i < (int)(count - begin); i++) {
        STORE(to, i, LOAD(from, i));
    }
}
