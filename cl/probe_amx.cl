/* probe_amx.cl - does inline assembler reach the processor's matrix tiles of bf16 pairs (AMX)?
 *
 * x86 CPUs only; the host has checked CPUID and got the system's permission before it runs this.
 * One work-item. out [16][16] fp32: 100 + sum over k < 32 of (row + k) (k % 7 + column), exact.
 */
#include "gemm_amx.h"

static ushort bf16_of_small(int value)
{
    return (ushort)(as_uint((float)value) >> 16);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void probe_amx(__global float *out)
{
    ushort a[16 * 32];
    ushort b[16 * 32];
    float c[16 * 16];

    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 32; j++) {
            a[32 * i + j] = bf16_of_small(i + j);                     /* row i, k = j */
            b[32 * i + j] = bf16_of_small((2 * i + j % 2) % 7 + j / 2); /* k of the pair, column */
        }
        for (int j = 0; j < 16; j++) {
            c[16 * i + j] = 100.0f;
        }
    }
    tiles_begin();
    __asm__ volatile("tileloadd (%0,%3,1), %%tmm0\n\t"
                     "tileloadd (%1,%3,1), %%tmm4\n\t"
                     "tileloadd (%2,%3,1), %%tmm6\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tilestored %%tmm0, (%0,%3,1)"
                     :
                     : "r"(c), "r"(a), "r"(b), "r"(64L)
                     : "memory");
    tiles_end();
    for (int i = 0; i < 16 * 16; i++) {
        out[i] = c[i];
    }
}
