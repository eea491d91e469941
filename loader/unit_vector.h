/* unit_vector.h - vectors of length 1, the same on every machine. */
#ifndef IVL_LOADER_UNIT_VECTOR_H
#define IVL_LOADER_UNIT_VECTOR_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* Divides by the Euclidean norm, in double. false, and the vector untouched, where it has no
 * direction: all zero, or a value that is not finite. */
static inline bool ivl__unit_vector(float *vector, size_t n)
{
    double sum = 0.0;
    double norm;

    for (size_t i = 0; i < n; i++) {
        sum += (double)vector[i] * (double)vector[i];
    }
    norm = sqrt(sum);
    if (!(norm > 0.0) || !isfinite(norm)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        vector[i] = (float)((double)vector[i] / norm);
    }
    return true;
}

#endif
