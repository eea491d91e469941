/* act.h - storing fp32 results as activations: fp32, fp16 or bf16, rounded to nearest even.
 *
 * -DOUT_TYPE=0|1|2 (fp32, fp16, bf16: the values of ivl_dtype). OUT is the element type for pointers;
 * an address needs the alignment of one element only. fp16: vstore_half, core, no extension; values
 * beyond 65504 become infinite. NaN stays NaN in every type.
 * Test: tests/op/test_convert.c (all rounding cases, bit for bit).
 */
#if OUT_TYPE == 0
#define OUT            float
#define STORE(p, i, x) ((p)[i] = (x))
#define STORE4(p, x)   vstore4(x, 0, p)
#define STORE16(p, x)  vstore16(x, 0, p)
#elif OUT_TYPE == 1
#define OUT            half
#define STORE(p, i, x) vstore_half_rte(x, i, p)
#define STORE4(p, x)   vstore_half4_rte(x, 0, p)
#define STORE16(p, x)  vstore_half16_rte(x, 0, p)
#else
#define OUT            ushort
#define STORE(p, i, x) ((p)[i] = bf16_1(x))
#define STORE4(p, x)   vstore4(bf16_4(x), 0, p)
#define STORE16(p, x)  vstore16(bf16_16(x), 0, p)

/* A NaN whose payload lies in the lower half must not become an infinity: it gets the quiet bit. */
#define BF16(NAME, F, U, CONVERT, AS)                                       \
    static inline U NAME(F x)                                               \
    {                                                                       \
        const AS bits = as_##AS(x);                                         \
        const AS round = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;      \
        return CONVERT(isnan(x) ? ((bits >> 16) | 0x40u) : round);          \
    }
BF16(bf16_1, float, ushort, convert_ushort, uint)
BF16(bf16_4, float4, ushort4, convert_ushort4, uint4)
BF16(bf16_16, float16, ushort16, convert_ushort16, uint16)
#endif
