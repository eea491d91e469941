/* synth_fill.h - the bytes of stand-in tensors, made by all processors and put into files. */
#ifndef IVL_MODEL_SYNTH_FILL_H
#define IVL_MODEL_SYNTH_FILL_H

#include "model/internvl.h"
#include "model/synth_tensors.h"

/* Tensors first .. first + count - 1 lie in this file, in that order. */
typedef struct ivl__synth_file {
    char name[64];
    size_t first, count;
    ivl__tensor_writer *writer;
} ivl__synth_file;

typedef struct ivl__synth_filling {
    const ivl__synth_tensor *tensors; /* [n_tensors] */
    const ivl__synth_file *files;     /* [n_files]: their writers are created */
    size_t n_files;
    ivl_dtype dtype;
    uint64_t seed;
    int threads;
    ivl_progress_fn *progress; /* called by the caller's thread; may be NULL */
    void *progress_user;
} ivl__synth_filling;

/* IVL_CANCELLED when the progress function asks for it. */
ivl_status ivl__synth_fill_files(const ivl__synth_filling *filling, ivl_error *error);

#endif
