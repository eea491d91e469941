/* gemm_amx.h - blocks of tile products for gemm_cpu_amx.cl and its probe: inline assembler (AMX).
 *
 * A tile is 16 rows of 64 bytes: of W 16 columns' 32 values of K, of x 16 pairs along K of 16 rows,
 * of sums 16 columns x 16 rows in fp32. The compiler does not know of tiles, so nothing stays in
 * one between two pieces of assembler, and each thread loads the one configuration it needs at the
 * start of an item and releases it at the end (a thread with tiles in use is slower to switch).
 */

/* All eight tiles: 16 rows of 64 bytes. */
static void tiles_begin(void)
{
    uint config[16];

    for (int i = 0; i < 16; i++) {
        /* byte 0: palette 1; bytes 16 ..: bytes of a row, 16 bits each; bytes 48 ..: rows, 8 bits */
        config[i] = i == 0 ? 1u : i >= 4 && i < 8 ? 0x00400040u : i == 12 || i == 13 ? 0x10101010u : 0u;
    }
    __asm__ volatile("ldtilecfg (%0)" : : "r"(config) : "memory");
}

static void tiles_end(void)
{
    __asm__ volatile("tilerelease" : : : "memory");
}
