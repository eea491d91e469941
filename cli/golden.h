/* golden.h - a folder of recorded inputs and outputs, and how far results are from them.
 *
 * GOLDEN_DIR holds pixel_values.npy [N, 3, H, W] (already normalised) and what a published
 * implementation answers: embeddings.npy and block_<i>.npy [N, tokens, C], pooler_output.npy
 * [N, C]; float32, any of them. Of InternVL-C and InternVL-G also vision_last_hidden_state,
 * image_embeds_c and _g, query_layer_<i> (of the first images), query_output; and with text_ids.npy
 * [T, L] (int32, padded with 0) text_embeds, text_last_token, and text<j>_layer_<i> and
 * text<j>_final_norm (of text j without its padding). Embeddings may be there as _normalized, too.
 * fp64_errors.json says for each array its RMS ("rms") and how far the recorded fp32 run is from a
 * float64 one ("max_abs_err").
 */
#ifndef IVL_CLI_GOLDEN_H
#define IVL_CLI_GOLDEN_H

#include "loader/npy.h"
#include "model/internvl.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct cli_golden_array {
    char name[32]; /* of the file, without .npy */
    char tap[32];  /* what a session calls it */
    ivl__npy npy;  /* type and shape as recorded */
    double bound;  /* largest error allowed in precision exact; < 0: not known */
    size_t room;   /* floats of the tap over all pictures or texts */
    size_t first;  /* of those, where the recorded part begins */
    int unit;      /* width of rows that are recorded at unit length; 0: as they are */
} cli_golden_array;

typedef struct cli_golden {
    const char *folder;
    ivl__npy pixels_npy;
    float *pixels; /* [n, 3, height, width] */
    int n, height, width;
    int32_t *ids, *offsets; /* of texts; see ivl_texts */
    int n_texts;
    cli_golden_array *arrays; /* [n_arrays], in the order of the model */
    int n_arrays;
    size_t capacity;
} cli_golden;

/* Reads pixels and texts and says which arrays of the model are recorded. Bounds are needed with
 * `bounded`, and read if they are there without. On failure golden is empty.
 *
 * IVL_INVALID_ARGUMENT names the file that is missing or not what it should be;
 * IVL_VERIFY_FAILED where the folder has more blocks than the model, or arrays of other shapes. */
ivl_status cli_golden_open(const char *folder, const ivl_model_info *info, bool bounded,
                           cli_golden *golden, ivl_error *error);
void cli_golden_free(cli_golden *golden);

/* How far `got` is from what is recorded. */
typedef struct cli_golden_difference {
    double largest;  /* |got - recorded|; infinite where either is not finite */
    double relative; /* ||got - recorded|| / ||recorded|| */
    double cosine;
} cli_golden_difference;

/* Reads the recorded array and compares. got [room] is what the tap gave, and is brought to unit
 * length where the array is. */
ivl_status cli_golden_compare(const cli_golden *golden, const cli_golden_array *array, float *got,
                              cli_golden_difference *difference, ivl_error *error);

#endif
