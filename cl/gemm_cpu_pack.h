/* gemm_cpu_pack.h - panels of weights for the CPU's products: K outermost, PANEL columns inside.
 *
 * pack_panel() brings `depth` values of K of PANEL neighbouring columns of W into a panel:
 *   exact (BF16_DOT 0): float [depth][PANEL], widened;
 *   fast  (BF16_DOT 1): uint [(depth + 1) / 2][PANEL], pairs of bf16 along K, the even k below; an
 *                       odd depth is filled up by a zero. Weights of other types are rounded.
 * Columns beyond the last repeat it; nothing beyond the matrix is read. Whole blocks of STEP x 16
 * values go through registers: 16 rows of 16 words, transposed by four rounds of interleaving.
 *
 * WTYPE: 0 fp32, 1 fp16, 2 bf16. LAYOUT: 0 w is [n, k]; else [k, n].
 */
#if WTYPE == 0
typedef float wtype;
#define WIDE(p)   (*(p))
#define WIDE16(p) vload16(0, p)
#elif WTYPE == 1
typedef half wtype;
#define WIDE(p)   vload_half(0, p)
#define WIDE16(p) vload_half16(0, p)
#else
typedef ushort wtype;
#define WIDE(p) as_float((uint)(*(p)) << 16)
#endif

#define PAIRS (BF16_DOT || WTYPE == 2) /* a word holds two values of K */
#define STEP  (PAIRS ? 32 : 16)

#if BF16_DOT
typedef uint packed;
#else
typedef float packed;
#endif

/* ---- words ---------------------------------------------------------------------------------- */

#if BF16_DOT
static uint16 bf16_bits(const float16 x)
{
    const uint16 bits = as_uint16(x);
    const uint16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;

    return as_uint16(select(as_int16(rounded), as_int16((bits >> 16) | 0x40u), isnan(x)));
}

static ushort bf16_of(const float x)
{
    const uint bits = as_uint(x);

    return (ushort)(isnan(x) ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#endif

/* 16 words of one row: STEP values. */
static uint16 load_words(const __global wtype *w)
{
#if WTYPE == 2
    return (uint16)(as_uint8(vload16(0, w)), as_uint8(vload16(1, w)));
#elif BF16_DOT
    const float16 a = WIDE16(w);
    const float16 b = WIDE16(w + 16);

    return bf16_bits((float16)(a.even, b.even)) | (bf16_bits((float16)(a.odd, b.odd)) << 16);
#else
    return as_uint16(WIDE16(w));
#endif
}

/* ---- blocks --------------------------------------------------------------------------------- */

#define ZIP_LOW(a, b)                                                                             \
    (uint16)((a).s0, (b).s0, (a).s1, (b).s1, (a).s2, (b).s2, (a).s3, (b).s3, (a).s4, (b).s4,       \
             (a).s5, (b).s5, (a).s6, (b).s6, (a).s7, (b).s7)
#define ZIP_HIGH(a, b)                                                                            \
    (uint16)((a).s8, (b).s8, (a).s9, (b).s9, (a).sa, (b).sa, (a).sb, (b).sb, (a).sc, (b).sc,       \
             (a).sd, (b).sd, (a).se, (b).se, (a).sf, (b).sf)
/* One round: row i and row i + 8 become rows 2 i and 2 i + 1. */
#define ZIP(to, from, i)                               \
    to[2 * (i)] = ZIP_LOW(from[i], from[(i) + 8]);     \
    to[2 * (i) + 1] = ZIP_HIGH(from[i], from[(i) + 8]);
#define ROUND(to, from) \
    ZIP(to, from, 0)    \
    ZIP(to, from, 1)    \
    ZIP(to, from, 2)    \
    ZIP(to, from, 3)    \
    ZIP(to, from, 4)    \
    ZIP(to, from, 5)    \
    ZIP(to, from, 6)    \
    ZIP(to, from, 7)

/* STEP values of K of 16 columns; columns are ld apart, those from `left` on repeat the last. */
static void pack_block(const __global wtype *w, size_t ld, int left, __local packed *panel)
{
    uint16 a[16], b[16];

#pragma unroll
    for (int c = 0; c < 16; c++) {
        a[c] = load_words(w + (size_t)min(c, left - 1) * ld);
    }
    ROUND(b, a)
    ROUND(a, b)
    ROUND(b, a)
    ROUND(a, b)
#pragma unroll
    for (int i = 0; i < 16; i++) {
#if BF16_DOT
        vstore16(a[i], 0, panel + i * PANEL);
#elif PAIRS
        vstore16(as_float16(a[i] << 16), 0, panel + 2 * i * PANEL);
        vstore16(as_float16(a[i] & 0xffff0000u), 0, panel + (2 * i + 1) * PANEL);
#else
        vstore16(as_float16(a[i]), 0, panel + i * PANEL);
#endif
    }
}

static void pack_value(__local packed *panel, int k, int column, float value)
{
#if BF16_DOT
    ((__local ushort *)panel)[(k / 2 * PANEL + column) * 2 + k % 2] = bf16_of(value);
#else
    panel[k * PANEL + column] = value;
#endif
}

/* w points at the panel's first column and value; `left` of its columns exist. */
static void pack_panel(const __global wtype *w, size_t ld, int left, int depth,
                       __local packed *panel)
{
    int k = 0;

#if LAYOUT == 0
    for (; k + STEP <= depth; k += STEP) {
        for (int c = 0; c < PANEL; c += 16) {
            const int first = min(c, left - 1);

            pack_block(w + (size_t)first * ld + k, ld, left - first,
                       panel + (BF16_DOT ? k / 2 : k) * PANEL + c);
        }
    }
#endif
    for (; k < depth; k++) {
        for (int c = 0; c < PANEL; c++) {
            const size_t column = (size_t)min(c, left - 1);

            pack_value(panel, k, c,
                       LAYOUT == 0 ? WIDE(w + column * ld + k) : WIDE(w + (size_t)k * ld + column));
        }
    }
#if BF16_DOT
    for (int c = 0; c < PANEL && depth % 2; c++) {
        pack_value(panel, depth, c, 0.0f);
    }
#endif
}
