/* shard_index.h - model.safetensors.index.json: which tensor lies in which file. */
#ifndef IVL_LOADER_SHARD_INDEX_H
#define IVL_LOADER_SHARD_INDEX_H

#include "loader/tensor_writer.h"

typedef struct ivl__sharded_tensor {
    const char *name, *file;
    uint64_t bytes;
} ivl__sharded_tensor;

/* Sorts the tensors by name and answers the text (ivl__free), NULL when memory is short. */
char *ivl__shard_index_text(ivl__sharded_tensor *tensors, size_t n);

#endif
