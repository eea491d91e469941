/* widen.h - reading elements of a stored type as fp32, exactly.
 *
 * -DIN_TYPE=0|1|2 (fp32, fp16, bf16: the values of ivl_dtype). IN is the element type for pointers; an
 * address needs the alignment of one element only.
 * Test: tests/op/test_convert.c, all 65,536 codes, bit for bit.
 */
#if IN_TYPE == 0
#define IN         float
#define LOAD(p, i) (p)[i]
#define LOAD16(p)  vload16(0, p)
#elif IN_TYPE == 1
#define IN         half
#define LOAD(p, i) vload_half(i, p)
#define LOAD16(p)  vload_half16(0, p)
#else
#define IN         ushort
#define LOAD(p, i) as_float((uint)(p)[i] << 16)
#define LOAD16(p)  as_float16(convert_uint16(vload16(0, p)) << 16)
#endif
