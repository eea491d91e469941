/* gemm_cpu_amx.cl - Y = epilogue(X . W^T) on x86 CPUs by matrix tiles (AMX): bf16 products, fp32 sums.
 *
 * The tile product is W . X^T: rows of W go into tiles as they lie in the checkpoint, and x is what
 * is brought into pairs along K, once per call (gemm_cpu_pack_x.cl) instead of the many times larger
 * weights. An item copies `chunk` values of K of its panels of 32 columns (rounding what is not
 * bf16) and multiplies them with all its rows, 2 x 2 tiles of sums at a time; sums wait in local
 * memory until the next chunk and are transposed at the end. The host has checked caps.x86_amx_bf16.
 * Order of summation: per 32 values of K one chain of fma over the even and one over the odd ones, from
 * zero, their sum added to the chain of these; subnormals are flushed. Rows and columns beyond the
 * matrix repeat the last one, values of K beyond the last are zeros: neither reaches another's sum.
 * Bound: an output is rounded 15 times within a step, once for even + odd, once per step:
 * |sum - exact| <= K 2^-24 sum |x||w| of the rounded operands (first order, no subnormals);
 * test: tests/op/test_gemm.c.
 *
 * LAYOUT, WTYPE: as gemm_cpu.cl; VW is 16. x [m / 32][x_ld / 2][32] pairs, x_ld = K rounded up to 32.
 * Grid: (blocks of rows, shares of the panels), local size 1.
 */
#ifndef VW
#define LAYOUT 0
#define WTYPE  2
#define VW     16
#define GELU   0
#endif
#define BF16_DOT 1
#define PANEL    16 /* columns of a tile of sums */
#define WIDTH    32 /* columns, and rows, of a block of 2 x 2 tiles */

#include "gemm_amx.h"
#include "gemm_cpu_pack.h"
#include "gemm_cpu_rows.h"

#include "gemm_cpu_finish.h"

/* Words of 32 values of K of W, of x, and of the sums of a block. */
#define W_STEP     512
#define X_STEP     512
#define BLOCK_SUMS (WIDTH * WIDTH)
/* Steps that go through the tiles at a time: 20 KB of x stay in a first-level cache of 48 KB beside 20 KB of w. */
#define PIECE 10

/* ---- products ------------------------------------------------------------------------------- */

/* Weights to be brought into the second-level cache on the way, a line of four rows a step: asked for all at
 * once, they would hold up the loads of tiles. */
typedef struct ahead {
    const __global char *at;
    long ld; /* bytes; 0: one row */
} ahead;

#define AHEAD                               \
    "prefetcht1 (%[at])\n\t"                \
    "prefetcht1 (%[at],%[ld],1)\n\t"        \
    "prefetcht1 (%[at],%[ld],2)\n\t"        \
    "prefetcht1 (%[at],%[ld3],1)\n\t"       \
    "addq %[ahead_step], %[at]\n\t"

/* sums [2 of w][2 of x][16][16] += w . x over `steps` times 32 values of K; begins with zero if
 * `first`. */
static void multiply_2x2(const __local uint *w, const __global uint *x, long steps, int first,
                         ahead next, __local float *sums)
{
    __asm__ volatile("testl %k[first], %k[first]\n\t"
                     "jz 1f\n\t"
                     "tilezero %%tmm0\n\t"
                     "tilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\t"
                     "tilezero %%tmm3\n\t"
                     "jmp 2f\n"
                     "1:\n\t"
                     "tileloadd (%[sums],%[line],1), %%tmm0\n\t"
                     "tileloadd 1024(%[sums],%[line],1), %%tmm1\n\t"
                     "tileloadd 2048(%[sums],%[line],1), %%tmm2\n\t"
                     "tileloadd 3072(%[sums],%[line],1), %%tmm3\n"
                     "2:\n\t"
                     "tileloadd (%[w],%[line],1), %%tmm4\n\t"
                     "tileloadd (%[x],%[pair],1), %%tmm6\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tileloadd 64(%[x],%[pair],1), %%tmm7\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
                     "tileloadd 1024(%[w],%[line],1), %%tmm5\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
                     "addq $2048, %[w]\n\t"
                     "addq $2048, %[x]\n\t" AHEAD
                     "decq %[steps]\n\t"
                     "jnz 2b\n\t"
                     "tilestored %%tmm0, (%[sums],%[line],1)\n\t"
                     "tilestored %%tmm1, 1024(%[sums],%[line],1)\n\t"
                     "tilestored %%tmm2, 2048(%[sums],%[line],1)\n\t"
                     "tilestored %%tmm3, 3072(%[sums],%[line],1)"
                     : [w] "+r"(w), [x] "+r"(x), [steps] "+r"(steps), [at] "+r"(next.at)
                     : [sums] "r"(sums), [first] "r"(first), [line] "r"(64L), [pair] "r"(128L),
                       [ld] "r"(next.ld), [ld3] "r"(3 * next.ld),
                       [ahead_step] "i"(32 * sizeof(wtype))
                     : "memory", "cc");
}

/* The same of one tile of x (the last rows) and four of w: two panels, whose sums lie apart. */
static void multiply_4x1(const __local uint *w, const __local uint *w2, const __global uint *x,
                         long steps, int first, ahead next, __local float *sums,
                         __local float *sums2)
{
    __asm__ volatile("testl %k[first], %k[first]\n\t"
                     "jz 1f\n\t"
                     "tilezero %%tmm0\n\t"
                     "tilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\t"
                     "tilezero %%tmm3\n\t"
                     "jmp 2f\n"
                     "1:\n\t"
                     "tileloadd (%[sums],%[line],1), %%tmm0\n\t"
                     "tileloadd 2048(%[sums],%[line],1), %%tmm1\n\t"
                     "tileloadd (%[sums2],%[line],1), %%tmm2\n\t"
                     "tileloadd 2048(%[sums2],%[line],1), %%tmm3\n"
                     "2:\n\t"
                     "tileloadd (%[x],%[pair],1), %%tmm6\n\t"
                     "tileloadd (%[w],%[line],1), %%tmm4\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tileloadd 1024(%[w],%[line],1), %%tmm5\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm1\n\t"
                     "tileloadd (%[w2],%[line],1), %%tmm4\n\t"
                     "tdpbf16ps %%tmm6, %%tmm4, %%tmm2\n\t"
                     "tileloadd 1024(%[w2],%[line],1), %%tmm5\n\t"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm3\n\t"
                     "addq $2048, %[w]\n\t"
                     "addq $2048, %[w2]\n\t"
                     "addq $2048, %[x]\n\t" AHEAD
                     "decq %[steps]\n\t"
                     "jnz 2b\n\t"
                     "tilestored %%tmm0, (%[sums],%[line],1)\n\t"
                     "tilestored %%tmm1, 2048(%[sums],%[line],1)\n\t"
                     "tilestored %%tmm2, (%[sums2],%[line],1)\n\t"
                     "tilestored %%tmm3, 2048(%[sums2],%[line],1)"
                     : [w] "+r"(w), [w2] "+r"(w2), [x] "+r"(x), [steps] "+r"(steps), [at] "+r"(next.at)
                     : [sums] "r"(sums), [sums2] "r"(sums2), [first] "r"(first), [line] "r"(64L),
                       [pair] "r"(128L), [ld] "r"(next.ld), [ld3] "r"(3 * next.ld),
                       [ahead_step] "i"(32 * sizeof(wtype))
                     : "memory", "cc");
}

/* ---- weights -------------------------------------------------------------------------------- */

/* 32 values of K of a column, of which `depth` exist; the others are zeros. */
static void copy_tail(const __global wtype *w, size_t step, int depth, __local uint *to)
{
    __local ushort *values = (__local ushort *)to;

    for (int k = 0; k < 32; k++) {
        values[k] = k < depth ? bf16_of(WIDE(w + (size_t)k * step)) : (ushort)0;
    }
}

#if WTYPE == 2
/* 16 words, aligned as bf16 is. */
typedef uint words16 __attribute__((ext_vector_type(16), aligned(2)));
#define LOAD_WORDS(p) (*(const __global words16 *)(p))
#else
#define LOAD_WORDS(p) load_words(p)
#endif

/* A panel [steps][32 columns][16 words] of `depth` values of K; w points at its first column, of
 * which `left` follow. */
static void copy_panel(const __global wtype *w, size_t ld, int left, int depth, __local uint *panel)
{
    const size_t column = LAYOUT == 0 ? ld : 1;
    const size_t step = LAYOUT == 0 ? 1 : ld;
    int k = 0;

    for (; LAYOUT == 0 && left >= WIDTH && k + 32 <= depth; k += 32) {
        const __global wtype *from = w + k;

#pragma unroll 8
        for (int c = 0; c < WIDTH; c++) {
            vstore16(LOAD_WORDS(from), 0, panel);
            from += ld;
            panel += 16;
        }
    }
    for (; k < depth; k += 32) {
        for (int c = 0; c < WIDTH; c++) {
            const __global wtype *from = w + (size_t)min(c, left - 1) * column + (size_t)k * step;

            if (LAYOUT == 0 && k + 32 <= depth) {
                vstore16(LOAD_WORDS(from), 0, panel);
            } else {
                copy_tail(from, step, depth - k, panel);
            }
            panel += 16;
        }
    }
}

/* ---- an item -------------------------------------------------------------------------------- */

/* One tile of sums, 16 columns x 16 rows, becomes rows. */
static void transpose(__local float *sums)
{
    uint16 a[16];

#pragma unroll
    for (int i = 0; i < 16; i++) {
        a[i] = as_uint16(vload16(i, sums));
    }
    TRANSPOSE_16(a)
#pragma unroll
    for (int i = 0; i < 16; i++) {
        vstore16(as_float16(a[i]), i, sums);
    }
}

/* The weights that come after a chunk: rows of which each gives `pieces` pieces of `steps` lines. Piece `at` of
 * `of` products takes its share of them; where there are more than products, the processor finds out by itself
 * what is read next. */
static ahead look_ahead(const __global wtype *w, size_t ld, int rows, int pieces, int steps, int at,
                        int of, const __local uint *nothing)
{
    const int all = rows / 4 * pieces;
    const int unit = (int)((long)all * at / of);

    if (LAYOUT != 0 || unit == (int)((long)all * (at + 1) / of)) {
        return (ahead){(const __global char *)(size_t)nothing, 0};
    }
    return (ahead){(const __global char *)(w + (size_t)(unit / pieces * 4) * ld +
                                           (size_t)(unit % pieces * steps * 32)),
                   (long)(ld * sizeof(wtype))};
}

/* The arguments are those of gemm_cpu.cl. `block` and `chunk` are multiples of 32; sums hold a whole
 * block of rows where K is longer than a chunk, else 32 rows. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_cpu(int m, int n, int k, const __global uint *x, ulong x_offset, int x_ld,
         const __global wtype *w, ulong w_offset, int w_ld, const __global float *bias,
         ulong bias_offset, const __global float *scale, ulong scale_offset, __global void *y,
         ulong y_offset, int y_ld, int y_type, int flags, int block, int chunk,
         __local packed *panels, __local float *sums)
{
    const int row0 = (int)get_group_id(0) * block;
    const int rows = min(block, m - row0);
    const int all = (n + WIDTH - 1) / WIDTH;
    const int shares = (int)get_num_groups(1);
    const int share = (int)get_group_id(1);
    const int p0 = (int)((long)all * share / shares);
    const int used = (int)((long)all * (share + 1) / shares) - p0;
    const int col0 = p0 * WIDTH;
    const int blocks = (rows + WIDTH - 1) / WIDTH;
    const size_t w_col = LAYOUT == 0 ? (size_t)w_ld : 1;
    const size_t w_step = LAYOUT == 0 ? 1 : (size_t)w_ld;
    const int panel_size = chunk * WIDTH / 2;
    __local float *spare = sums + (k > chunk ? blocks : 1) * used * BLOCK_SUMS;

    x += x_offset + (size_t)row0 * (size_t)(x_ld / 2);
    w += w_offset + (size_t)col0 * w_col;
    tiles_begin();
    for (int k0 = 0; k0 < k; k0 += chunk) {
        const int depth = min(chunk, k - k0);
        const int steps = (depth + 31) / 32;
        const int pieces = (steps + PIECE - 1) / PIECE;
        const int piece = (steps + pieces - 1) / pieces;
        const int last = k0 + depth == k; /* the weights to come are those of the next item */
        const __global wtype *coming = last ? w + (size_t)(WIDTH * used) * w_col
                                            : w + (size_t)(k0 + depth) * w_step;
        const int coming_rows = clamp(n - col0 - (last ? WIDTH * used : 0), 0, WIDTH * used);
        int done = 0;

        for (int p = 0; p < used; p++) {
            copy_panel(w + (size_t)(p * WIDTH) * w_col + (size_t)k0 * w_step, (size_t)w_ld,
                       n - col0 - p * WIDTH, depth, panels + p * panel_size);
        }
        for (int b = 0; b < blocks; b++) {
            __local float *block_sums = sums + (k > chunk ? b : 0) * used * BLOCK_SUMS;
            const int left = rows - b * WIDTH;
            const int tiles = left > 16 ? 1 : 2; /* panels of a product */

            for (int s = 0; s < steps; s += piece) {
                const __global uint *rows_x = x + (size_t)b * (size_t)(x_ld * 16) +
                                              (size_t)(k0 * 16 + s * X_STEP);
                const long now = min(piece, steps - s);
                const int first = k0 == 0 && s == 0;

                for (int p = 0; p < used; p += tiles) {
                    const __local uint *panel = panels + p * panel_size + s * W_STEP;
                    const ahead next = look_ahead(coming, (size_t)w_ld, coming_rows, pieces, piece,
                                                  done, blocks * pieces * used, panel);

                    done += tiles;
                    if (tiles == 1) {
                        multiply_2x2(panel, rows_x, now, first, next, block_sums + p * BLOCK_SUMS);
                    } else {
                        const int both = p + 1 < used;

                        multiply_4x1(panel, panel + both * panel_size, rows_x, now, first, next,
                                     block_sums + p * BLOCK_SUMS,
                                     both ? block_sums + (p + 1) * BLOCK_SUMS : spare);
                    }
                }
            }
            for (int t = 0; last && t < 4 * used; t++) {
                const int row = t % 2 * 16;
                const int col = col0 + t / 2 * 16;

                if (row < left && col < n) {
                    transpose(block_sums + t * 256);
                    finish(block_sums + t * 256, min(16, left - row), n - col, flags,
                           bias + bias_offset + col, scale + scale_offset + col, y,
                           y_offset + (ulong)(row0 + b * WIDTH + row) * (ulong)y_ld + (ulong)col, y_ld,
                           y_type);
                }
            }
        }
    }
    tiles_end();
}
