/* gemm_tile.cl - Y = epilogue(X . W^T) for GPUs: tiles in local memory and in registers.
 *
 * A work-group of NDIM x MDIM items makes MWG x NWG outputs. It walks along K in steps of KWG, each
 * time widening an MWG x KWG block of x and an NWG x KWG block of w to fp32 in local memory (K
 * outermost, so that the inner loop reads neighbours). An item holds (MWG / MDIM) x (NWG / NDIM)
 * sums in registers; its rows and columns are interleaved in vectors of VWM and VWN, so that the
 * items of a row read consecutive words. Blocks pass through registers, VWK values at a
 * time.
 *
 * Order of summation: one fma() chain per output along k = 0 .. K - 1, whatever the parameters; the
 * tail of K is padded by zeros in both operands. Rows and columns beyond the matrix repeat its last
 * one and are not stored. Bound: |sum - exact| <= (K + 1) 2^-24 sum |x||w|; tests/op/test_gemm.c.
 *
 * LAYOUT: 0 NT x [m, k], w [n, k]; 1 NN x [m, k], w [k, n]; 2 TN x [k, m], w [k, n].
 * WTYPE: 0 fp32, 1 fp16, 2 bf16. ALIGNED: rows of x and w begin at multiples of a vector.
 * Parameters and their constraints: runtime/gemm_tile.c (ivl__gemm_tile_params_valid).
 * Grid: local (NDIM, MDIM), groups (blocks of rows, blocks of columns): neighbours in time share
 * the block of w, which is the large operand. At most 65,535 blocks of K a launch (one driver
 * stops there silently): longer products come in several launches through `partial`.
 */
#ifndef LAYOUT
#define LAYOUT  0
#define WTYPE   2
#define ALIGNED 0
#endif
#ifndef MWG
#define MWG     64
#define NWG     64
#define KWG     16
#define MDIM    16
#define NDIM    16
#define VWM     4
#define VWN     4
#define VWK     4
#define PAD     4
#define ROWWISE 0  /* lanes of a fetch lie along rows, not along K */
#define PREFETCH 1 /* fetch the next block before the current one is used */
#define KUNROLL 4
#endif

#include "gemm_epilogue.h"

/* Further flags: the sums of earlier parts of K, see `partial`. */
#define FROM_PARTIAL 8
#define TO_PARTIAL   16

#define ITEMS (MDIM * NDIM)
#define MWI   (MWG / MDIM)
#define NVI   (NWG / NDIM / VWN) /* vectors of columns of an item */
#define LDA   (MWG + PAD)
#define LDB   (NWG + PAD)

/* ---- vectors of the widths chosen ---------------------------------------------------------- */

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#if VWM == 1
typedef float floatm;
#else
typedef JOIN(float, VWM) floatm;
#endif
#if VWN == 1
typedef float floatn;
#else
typedef JOIN(float, VWN) floatn;
#endif
typedef JOIN(float, VWK) floatk;
typedef JOIN(ushort, VWK) ushortk;

/* Their components one by one; the compiler keeps all of it in registers. */
typedef union {
    floatm v;
    float s[VWM];
} unionm;
typedef union {
    floatn v;
    float s[VWN];
} unionn;
typedef union {
    floatk v;
    float s[VWK];
} unionk;

/* ---- weights in their stored type ---------------------------------------------------------- */

#if WTYPE == 0
typedef float wtype;
typedef floatk wraw;
#define WIDEN(raw) (raw)
#define WIDE(p)    (*(p))
#define LOAD_W(p)  JOIN(vload, VWK)(0, p)
#elif WTYPE == 1
/* Without cl_khr_fp16 a half can only be widened while it is loaded. */
typedef half wtype;
typedef floatk wraw;
#define WIDEN(raw) (raw)
#define WIDE(p)    vload_half(0, p)
#if ALIGNED
#define LOAD_W(p) JOIN(vloada_half, VWK)(0, p)
#else
#define LOAD_W(p) JOIN(vload_half, VWK)(0, p)
#endif
#else
typedef ushort wtype;
typedef ushortk wraw;
#define WIDEN(raw) JOIN(as_float, VWK)(JOIN(convert_uint, VWK)(raw) << 16)
#define WIDE(p)    as_float((uint)(*(p)) << 16)
#define LOAD_W(p)  JOIN(vload, VWK)(0, p)
#endif
#if ALIGNED
#define LOAD_X(p) (*(const __global floatk *)(p))
#if WTYPE != 1
#undef LOAD_W
#define LOAD_W(p) (*(const __global wraw *)(p))
#endif
#else
#define LOAD_X(p) JOIN(vload, VWK)(0, p)
#endif

/* ---- from global memory to registers to local memory ---------------------------------------- */

/* Vectors of an operand that one item fetches, and which. */
#define FETCHES(rows) ((rows) * KWG / VWK / ITEMS)
#if ROWWISE
#define FETCH_ROW(i, rows) (((i) * ITEMS + item) % (rows))
#define FETCH_K(i, rows)   (((i) * ITEMS + item) / (rows) * VWK)
#else
#define FETCH_ROW(i, rows) (((i) * ITEMS + item) / (KWG / VWK))
#define FETCH_K(i, rows)   (((i) * ITEMS + item) % (KWG / VWK) * VWK)
#endif

/* Operand with K innermost: place of vector i relative to the first row of the block. Rows beyond
 * the last repeat it. */
#define PLACE(i, rows, left, ld) (min(FETCH_ROW(i, rows), (left) - 1) * (ld) + FETCH_K(i, rows))

/* The next block into x_next and w_next; x and w point at it. */
#define FETCH_BLOCK                                          \
    _Pragma("unroll") for (int i = 0; i < FETCHES(MWG); i++) \
    {                                                        \
        x_next[i] = LOAD_X(x + x_place[i]);                  \
    }                                                        \
    _Pragma("unroll") for (int i = 0; i < FETCHES(NWG); i++) \
    {                                                        \
        w_next[i] = LOAD_W(w + w_place[i]);                  \
    }

/* The same for single values of an operand with K outermost. */
#define SINGLES(rows)         ((rows) * KWG / ITEMS)
#define SINGLE_ROW(i, rows)   (((i) * ITEMS + item) % (rows))
#define SINGLE_K(i, rows)     (((i) * ITEMS + item) / (rows))

static void put_transposed(__local float *tile, int ld, int row, int k, floatk value)
{
    unionk u;

    u.v = value;
#pragma unroll
    for (int c = 0; c < VWK; c++) {
        tile[(k + c) * ld + row] = u.s[c];
    }
}

/* One block of x whose K is incomplete or outermost; `left` rows and k_left values are there. */
static void fill_x_slowly(__local float *tile, const __global float *x, int ld, int left,
                          int k_left, int item)
{
    for (int i = 0; i < SINGLES(MWG); i++) {
        int row = min(SINGLE_ROW(i, MWG), left - 1);
        int k = SINGLE_K(i, MWG);
#if LAYOUT == 2
        size_t at = (size_t)k * (size_t)ld + (size_t)row;
#else
        size_t at = (size_t)row * (size_t)ld + (size_t)k;
#endif
        tile[k * LDA + SINGLE_ROW(i, MWG)] = k < k_left ? x[at] : 0.0f;
    }
}

static void fill_w_slowly(__local float *tile, const __global wtype *w, int ld, int left,
                          int k_left, int item)
{
    for (int i = 0; i < SINGLES(NWG); i++) {
        int row = min(SINGLE_ROW(i, NWG), left - 1);
        int k = SINGLE_K(i, NWG);
#if LAYOUT == 0
        size_t at = (size_t)row * (size_t)ld + (size_t)k;
#else
        size_t at = (size_t)k * (size_t)ld + (size_t)row;
#endif
        tile[k * LDB + SINGLE_ROW(i, NWG)] = k < k_left ? WIDE(w + at) : 0.0f;
    }
}

/* ---- the inner loop -------------------------------------------------------------------------- */

static void multiply(const __local float *a_tile, const __local float *b_tile, int tx, int ty,
                     floatn sum[MWI][NVI])
{
#pragma unroll KUNROLL
    for (int k = 0; k < KWG; k++) {
        floatn b[NVI];

#pragma unroll
        for (int j = 0; j < NVI; j++) {
            b[j] = *(const __local floatn *)(b_tile + k * LDB + (j * NDIM + tx) * VWN);
        }
#pragma unroll
        for (int i = 0; i < MWI / VWM; i++) {
            unionm a;

            a.v = *(const __local floatm *)(a_tile + k * LDA + (i * MDIM + ty) * VWM);
#pragma unroll
            for (int r = 0; r < VWM; r++) {
#pragma unroll
                for (int j = 0; j < NVI; j++) {
                    sum[i * VWM + r][j] = fma((floatn)(a.s[r]), b[j], sum[i * VWM + r][j]);
                }
            }
        }
    }
}

/* x [m, k], w: this tile's n rows; offsets in elements; partial [m, n] fp32. */
/* The host names the smallest sub-group of a device that lets it choose: it leaves an item the most registers. */
#ifdef SUB_GROUP
__attribute__((intel_reqd_sub_group_size(SUB_GROUP)))
#endif
__kernel __attribute__((reqd_work_group_size(NDIM, MDIM, 1))) void
gemm_tile(int m, int n, int k, const __global float *x, ulong x_offset, int x_ld,
          const __global wtype *w, ulong w_offset, int w_ld, const __global float *bias,
          ulong bias_offset, const __global float *scale, ulong scale_offset, __global void *y,
          ulong y_offset, int y_ld, int y_type, int flags, __global float *partial)
{
    __local float a_tile[KWG * LDA] __attribute__((aligned(64)));
    __local float b_tile[KWG * LDB] __attribute__((aligned(64)));
    const int tx = (int)get_local_id(0);
    const int ty = (int)get_local_id(1);
    const int item = ty * NDIM + tx;
    const int row0 = (int)get_group_id(0) * MWG;
    const int col0 = (int)get_group_id(1) * NWG;
    const int full = LAYOUT == 0 ? k / KWG : 0;
    const int blocks = (k + KWG - 1) / KWG;
    floatn sum[MWI][NVI];

#if LAYOUT == 2
    x += x_offset + (ulong)row0;
#else
    x += x_offset + (ulong)row0 * (ulong)x_ld;
#endif
#if LAYOUT == 0
    w += w_offset + (ulong)col0 * (ulong)w_ld;
#else
    w += w_offset + (ulong)col0;
#endif

#pragma unroll
    for (int i = 0; i < MWI; i++) {
#pragma unroll
        for (int j = 0; j < NVI; j++) {
            sum[i][j] = (floatn)(0.0f);
        }
    }
    if (flags & FROM_PARTIAL) {
#pragma unroll
        for (int i = 0; i < MWI; i++) {
            int row = row0 + (i / VWM * MDIM + ty) * VWM + i % VWM;
#pragma unroll
            for (int j = 0; j < NVI; j++) {
                unionn u;
#pragma unroll
                for (int c = 0; c < VWN; c++) {
                    int col = col0 + (j * NDIM + tx) * VWN + c;
                    u.s[c] = row < m && col < n ? partial[(ulong)row * (ulong)n + (ulong)col] : 0.0f;
                }
                sum[i][j] = u.v;
            }
        }
    }

#if LAYOUT == 0
    int x_place[FETCHES(MWG)], w_place[FETCHES(NWG)];
    floatk x_next[FETCHES(MWG)];
    wraw w_next[FETCHES(NWG)];

#pragma unroll
    for (int i = 0; i < FETCHES(MWG); i++) {
        x_place[i] = PLACE(i, MWG, m - row0, x_ld);
    }
#pragma unroll
    for (int i = 0; i < FETCHES(NWG); i++) {
        w_place[i] = PLACE(i, NWG, n - col0, w_ld);
    }
#if PREFETCH
    if (full > 0) {
        FETCH_BLOCK
    }
#endif
#endif
    for (int block = 0; block < blocks; block++) {
#if LAYOUT == 0 && !PREFETCH
        if (block < full) {
            FETCH_BLOCK
        }
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
#if LAYOUT == 0
        if (block < full) {
#pragma unroll
            for (int i = 0; i < FETCHES(MWG); i++) {
                put_transposed(a_tile, LDA, FETCH_ROW(i, MWG), FETCH_K(i, MWG), x_next[i]);
            }
#pragma unroll
            for (int i = 0; i < FETCHES(NWG); i++) {
                put_transposed(b_tile, LDB, FETCH_ROW(i, NWG), FETCH_K(i, NWG), WIDEN(w_next[i]));
            }
        } else
#endif
        {
            fill_x_slowly(a_tile, x, x_ld, m - row0, k - block * KWG, item);
            fill_w_slowly(b_tile, w, w_ld, n - col0, k - block * KWG, item);
        }
        x += LAYOUT == 2 ? (size_t)KWG * (size_t)x_ld : KWG;
        w += LAYOUT == 0 ? KWG : (size_t)KWG * (size_t)w_ld;
        barrier(CLK_LOCAL_MEM_FENCE);
#if LAYOUT == 0 && PREFETCH
        if (block + 1 < full) {
            FETCH_BLOCK
        }
#endif
        multiply(a_tile, b_tile, tx, ty, sum);
    }

#pragma unroll
    for (int i = 0; i < MWI; i++) {
        int row = row0 + (i / VWM * MDIM + ty) * VWM + i % VWM;
#pragma unroll
        for (int j = 0; j < NVI; j++) {
            unionn u;

            u.v = sum[i][j];
#pragma unroll
            for (int c = 0; c < VWN; c++) {
                int col = col0 + (j * NDIM + tx) * VWN + c;

                if (row >= m || col >= n) {
                    continue;
                }
                if (flags & TO_PARTIAL) {
                    partial[(ulong)row * (ulong)n + (ulong)col] = u.s[c];
                } else {
                    store_result(y, y_offset + (ulong)row * (ulong)y_ld + (ulong)col, y_type,
                                 u.s[c], col, flags, bias + bias_offset, scale + scale_offset);
                }
            }
        }
    }
}
