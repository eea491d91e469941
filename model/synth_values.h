/* synth_values.h - the random numbers of stand-in weights.
 *
 * An element depends on nothing but seed, role and its index in the role, so any piece can be made
 * by any thread, and every naming and layout gets the same values. Generator: SplitMix64 (Steele,
 * Lea, Flood 2014) by counter, four elements of 16 bits from each word. Uniform over 65536 equally
 * spaced levels around a centre; what is added up in a product of some hundred terms is normal
 * anyway. fp16 and bf16 are the fp32 values, rounded to nearest even.
 */
#ifndef IVL_MODEL_SYNTH_VALUES_H
#define IVL_MODEL_SYNTH_VALUES_H

#include "runtime/dtype.h"

/* centre + step * k, where k is an odd number in -65535 .. 65535. */
typedef struct ivl__synth_range {
    float centre, step;
} ivl__synth_range;

/* From centre - half_width to centre + half_width; the deviation is half_width / sqrt(3). */
ivl__synth_range ivl__synth_range_of(double centre, double half_width);

uint64_t ivl__synth_key(uint64_t seed, const char *role);

/* Elements [first, first + n) of the role as F32, F16 or BF16 at out, which is aligned to 4. */
void ivl__synth_fill(uint64_t key, const ivl__synth_range *range, uint64_t first, size_t n,
                     ivl_dtype dtype, void *out);

#endif
