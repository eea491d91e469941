/* peak.cl - yardsticks: what the processor's multiply-add units do on registers alone, and how fast it reads.
 *
 * An item (local size 1) runs `turns` (< 65,536) rounds over 24 independent vectors of 16 floats:
 * 24 * 16 * 2 flops a round by fma, twice that by vdpbf16ps (-DBF16_DOT=1; the host has checked
 * caps.x86_bf16_dot), 4 * 16 * 16 * 32 * 2 by products of tiles (-DTILES=1; caps.x86_amx_bf16). out [items]
 * fp32 keeps the work alive. Used by benchmarks, and by the probe that asks whether vdpbf16ps pays.
 *
 * read_all: each item (local size 1) sums up `turns` (< 65,536) pieces of 64 floats, one behind the other.
 */
#ifndef BF16_DOT
#define BF16_DOT 0
#endif
#define EACH_24(F)                                                                          \
    F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)    \
    F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23)

#define START(i) float16 sum##i = (float16)(i + start);
#if BF16_DOT
#define ROUND(i) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum##i) : "v"(a), "v"(b));
#else
#define ROUND(i) sum##i = fma(a, b, sum##i);
#endif
#define FINISH(i) total += sum##i;

#ifdef TILES
#include "gemm_amx.h"

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void peak(__global float *out, int turns,
                                                                  float start)
{
    float tile[256];
    long left = turns;

    for (int i = 0; i < 256; i++) {
        tile[i] = start;
    }
    tiles_begin();
    __asm__ volatile("tileloadd (%[tile],%[line],1), %%tmm4\n\t"
                     "tileloadd (%[tile],%[line],1), %%tmm5\n\t"
                     "tileloadd (%[tile],%[line],1), %%tmm6\n\t"
                     "tileloadd (%[tile],%[line],1), %%tmm7\n\t"
                     "tilezero %%tmm0\n\t"
                     "tilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\t"
                     "tilezero %%tmm3\n"
                     "1:\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
                     "decq %[left]\n\t"
                     "jnz 1b\n\t"
                     "tilestored %%tmm3, (%[tile],%[line],1)"
                     : [left] "+r"(left)
                     : [tile] "r"(tile), [line] "r"(64L)
                     : "memory", "cc");
    tiles_end();
    out[get_global_id(0)] = tile[0];
}
#else
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void peak(__global float *out, int turns,
                                                                  float start)
{
#if BF16_DOT
    const uint16 a = as_uint16((float16)(start));
    const uint16 b = as_uint16((float16)(start));
#else
    float16 a = (float16)(start);
    const float16 b = (float16)(start);
#endif
    float16 total = (float16)(0.0f);

    EACH_24(START)
    for (int t = 0; t < turns; t++) {
        EACH_24(ROUND)
    }
    EACH_24(FINISH)
    out[get_global_id(0)] = total.s0 + total.s7 + total.sf;
}
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void read_all(__global const float *data,
                                                                      __global float *out, int turns)
{
    float16 a = (float16)(0.0f), b = a, c = a, d = a;

    data += get_global_id(0) * (size_t)turns * 64;
    for (int t = 0; t < turns; t++) {
        a += vload16(0, data);
        b += vload16(1, data);
        c += vload16(2, data);
        d += vload16(3, data);
        data += 64;
    }
    a += b + c + d;
    out[get_global_id(0)] = a.s0 + a.s7 + a.sf;
}
