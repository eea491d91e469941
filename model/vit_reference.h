/* vit_reference.h - InternViT on the host in double precision, with a bound of what fp32 may miss.
 *
 * For checks only: the self-test compares the device with it, and one block of a full-size model
 * can be recomputed for a few rows. Written from the equations, not from the kernels.
 *
 * Beside every value goes the standard deviation of the error that a run on the device may have
 * there: what its operands may be off, carried through the operation to first order, plus the
 * roundings of the operation itself, all added in quadrature as if they were independent. (Worst
 * cases added up grow a millionfold in a block and bound nothing. With n independent roundings the
 * chance of lambda deviations is below 2 exp(-lambda^2 / 2): Higham and Mary, "A new approach to
 * probabilistic rounding error analysis", 2019.) A rounding counts with the most it can be.
 */
#ifndef IVL_MODEL_VIT_REFERENCE_H
#define IVL_MODEL_VIT_REFERENCE_H

#include "model/weight_names.h"

/* Of that many deviations a right result has no chance: 2 exp(-32), 3e-14 a value. */
#define IVL__REFERENCE_DEVIATIONS 8.0

/* A value, and the deviation of what the device makes of it. */
typedef struct ivl__estimate {
    double value, deviation;
} ivl__estimate;

typedef struct ivl__vit_reference {
    const ivl__vit_config *config;
    const ivl__vit_weights *weights;
    int tokens;
    ivl_dtype act; /* what the device stores between operations: fp32, or the 16-bit input type */
} ivl__vit_reference;

/* x [tokens, hidden] of one picture: rgb [height, width, 3]. The position table must fit the
 * picture. */
ivl_status ivl__vit_reference_embed(const ivl__vit_reference *r, const uint8_t *rgb, int width,
                                    int height, const float mean[3], const float std[3],
                                    ivl__estimate *x, ivl_error *error);

/* Block `index` for the token rows rows[0 .. n_rows - 1] of its input x [tokens, hidden]:
 * out [n_rows, hidden]. All keys and values are computed, the rest for those rows only. */
ivl_status ivl__vit_reference_block(const ivl__vit_reference *r, int index, const ivl__estimate *x,
                                    const int *rows, int n_rows, ivl__estimate *out,
                                    ivl_error *error);

#endif
