/* gemm_cpu_pack.h - panels of weights for the CPU's products: K outermost, PANEL columns inside.
 *
 * pack_panel() brings `depth` values of K of PANEL neighbouring columns of W into a panel:
 *   exact (BF16_DOT 0): float [depth][PANEL], widened;
 *   fast  (BF16_DOT 1): uint [(depth + 1) / 2][PANEL], pairs of bf16 along K, the even k below; an
 *                       odd depth is filled up by a zero. Weights of other types are rounded.
 * Columns beyond the last repeat it; nothing beyond the matrix is read. Whole blocks of STEP x 16
 * values go through registers: 16 rows of 16 words, transposed in four rounds.
 *
 * WTYPE: 0 fp32, 1 fp16, 2 bf16. LAYOUT: 0 w is [n, k]; else [k, n].
 * PANEL_MEMORY: where panels lie, __local unless said otherwise.
 */
#include "transpose.h"

#ifndef PANEL_MEMORY
#define PANEL_MEMORY __local
#endif

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
    const uint8 low = as_uint8(vload16(0, w));
    const uint8 high = as_uint8(vload16(1, w));

    return JOIN_LANES(low, high);
#elif BF16_DOT
    const float16 a = WIDE16(w);
    const float16 b = WIDE16(w + 16);

    return bf16_bits((float16)(a.even, b.even)) | (bf16_bits((float16)(a.odd, b.odd)) << 16);
#else
    return as_uint16(WIDE16(w));
#endif
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* STEP values of K of 16 columns; columns are ld apart, those from `left` on repeat the last. */
static void pack_block(const __global wtype *w, size_t ld, int left, PANEL_MEMORY packed *panel)
{
    uint16 a[16];

#pragma unroll
    for (int c = 0; c < 16; c++) {
        a[c] = load_words(w + (size_t)min(c, left - 1) * ld);
    }
    TRANSPOSE_16(a)
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

static void pack_value(PANEL_MEMORY packed *panel, int k, int column, float value)
{
#if BF16_DOT
    ((PANEL_MEMORY ushort *)panel)[(k / 2 * PANEL + column) * 2 + k % 2] = bf16_of(value);
#else
    panel[k * PANEL + column] = value;
#endif
}

/* w points at the panel's first column and value; `left` of its columns exist. */
static void pack_panel(const __global wtype *w, size_t ld, int left, int depth,
                       PANEL_MEMORY packed *panel)
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

/* ---- ahead of time -------------------------------------------------------------------------- */

/* Brings weights of the next block nearer; rows of it are ld apart. A hint: left out where the
 * compiler does not say that it compiles for x86. */
static void prefetch_rows(const __global wtype *w, size_t ld, int first, int end, int depth)
{
#if LAYOUT == 0 && defined(__x86_64__) && defined(__clang__)
    for (int row = first; row < end; row++) {
        for (int k = 0; k < depth; k += 64 / (int)sizeof(wtype)) {
            __builtin_prefetch((const void *)(size_t)(w + (size_t)row * ld + k), 0, 2);
        }
    }
#endif
}
