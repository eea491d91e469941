/* transpose.h - 16 rows of 16 words in registers, transposed in four rounds: TRANSPOSE_16(a), uint16 a[16].
 *
 * Every index is a constant, so that the rows stay in registers where these hold 16 words; each step is one
 * instruction there. Plain moves of bits: any 32-bit type may pass through as uint.
 */
/* JOIN_LANES: 8 words, then 8 more. */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define JOIN_LANES(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#else
#define SHUFFLE(a, b, ...) shuffle2(a, b, (uint16)(__VA_ARGS__))
#define JOIN_LANES(a, b)                                                                             \
    (uint16)((a).s0, (a).s1, (a).s2, (a).s3, (a).s4, (a).s5, (a).s6, (a).s7, (b).s0, (b).s1, (b).s2, \
             (b).s3, (b).s4, (b).s5, (b).s6, (b).s7)
#endif

/* Each of these is one instruction where registers hold 16 words. They interleave words and pairs
 * of words within quarters, and pick quarters. */
#define WORDS_LOW(a, b) \
    SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define WORDS_HIGH(a, b) \
    SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define PAIRS_LOW(a, b) \
    SHUFFLE(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define PAIRS_HIGH(a, b) \
    SHUFFLE(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define QUARTERS_LOW(a, b) \
    SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define QUARTERS_HIGH(a, b) \
    SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define QUARTERS_EVEN(a, b) \
    SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define QUARTERS_ODD(a, b) \
    SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)

/* Rows r .. r + 3 become, within each quarter q, columns 4 q .. 4 q + 3 of these rows. */
#define TRANSPOSE_4(a, r)                             \
    {                                                 \
        const uint16 t0 = WORDS_LOW(a[r], a[(r) + 1]);      \
        const uint16 t1 = WORDS_HIGH(a[r], a[(r) + 1]);     \
        const uint16 t2 = WORDS_LOW(a[(r) + 2], a[(r) + 3]);  \
        const uint16 t3 = WORDS_HIGH(a[(r) + 2], a[(r) + 3]); \
        a[r] = PAIRS_LOW(t0, t2);                     \
        a[(r) + 1] = PAIRS_HIGH(t0, t2);              \
        a[(r) + 2] = PAIRS_LOW(t1, t3);               \
        a[(r) + 3] = PAIRS_HIGH(t1, t3);              \
    }
/* Quarters of rows j, j + 4, j + 8, j + 12 become columns j, j + 4, j + 8, j + 12. */
#define TRANSPOSE_QUARTERS(a, j)                                 \
    {                                                            \
        const uint16 t0 = QUARTERS_LOW(a[j], a[(j) + 4]);        \
        const uint16 t1 = QUARTERS_HIGH(a[j], a[(j) + 4]);       \
        const uint16 t2 = QUARTERS_LOW(a[(j) + 8], a[(j) + 12]);  \
        const uint16 t3 = QUARTERS_HIGH(a[(j) + 8], a[(j) + 12]); \
        a[j] = QUARTERS_EVEN(t0, t2);                            \
        a[(j) + 4] = QUARTERS_ODD(t0, t2);                       \
        a[(j) + 8] = QUARTERS_EVEN(t1, t3);                      \
        a[(j) + 12] = QUARTERS_ODD(t1, t3);                      \
    }


#define TRANSPOSE_16(a)      \
    TRANSPOSE_4(a, 0)        \
    TRANSPOSE_4(a, 4)        \
    TRANSPOSE_4(a, 8)        \
    TRANSPOSE_4(a, 12)       \
    TRANSPOSE_QUARTERS(a, 0) \
    TRANSPOSE_QUARTERS(a, 1) \
    TRANSPOSE_QUARTERS(a, 2) \
    TRANSPOSE_QUARTERS(a, 3)
