/* golden.h - a folder of recorded inputs and outputs, and how far results are from them.
 *
 * GOLDEN_DIR holds pixel_values.npy [N, 3, H, W] (already normalised) and what a published
 * implementation answers: embeddings.npy and block_<i>.npy [N, tokens, C], pooler_output.npy
 * [N, C]; float32, any of them. fp64_errors.json says for each array its RMS ("rms") and how far
 * the recorded fp32 run is from a float64 one ("max_abs_err").
 */
#ifndef IVL_CLI_GOLDEN_H
#define IVL_CLI_GOLDEN_H

#include "loader/npy.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct cli_golden_array {
    char name[32]; /* of the file, without .npy */
    char tap[32];  /* what a session calls it */
    ivl__npy npy;  /* type and shape as recorded */
    double bound;  /* largest error allowed in precision exact; < 0: not known */
} cli_golden_array;

typedef struct cli_golden {
    const char *folder;
    ivl__npy pixels_npy;
    float *pixels; /* [n, 3, height, width] */
    int n, height, width;
    cli_golden_array *arrays; /* [n_arrays], in the order of the model */
    int n_arrays;
} cli_golden;

/* Reads the pixels and says which arrays of a model of so many blocks are recorded. Bounds are
 * needed with `bounded`, and read if they are there without. On failure golden is empty.
 *
 * IVL_INVALID_ARGUMENT names the file that is missing or not what it should be;
 * IVL_VERIFY_FAILED where the folder has more blocks than the model. */
ivl_status cli_golden_open(const char *folder, int layers, bool bounded, cli_golden *golden,
                           ivl_error *error);
void cli_golden_free(cli_golden *golden);

/* How far `got` is from what is recorded. */
typedef struct cli_golden_difference {
    double largest;  /* |got - recorded|; infinite where either is not finite */
    double relative; /* ||got - recorded|| / ||recorded|| */
    double cosine;
} cli_golden_difference;

/* Reads the recorded array and compares; got has npy.count values. */
ivl_status cli_golden_compare(const cli_golden *golden, const cli_golden_array *array,
                              const float *got, cli_golden_difference *difference,
                              ivl_error *error);

#endif
