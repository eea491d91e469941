/* torch_pickle.h - the tensors that the pickle of a torch.save file describes.
 *
 * A reader of data, not an unpickler: a short list of opcodes, a few globals that stand for plain
 * values, nothing is ever called. Memory is proportional to the bytes of the pickle, which are
 * limited, and no step recurses.
 */
#ifndef IVL_LOADER_TORCH_PICKLE_H
#define IVL_LOADER_TORCH_PICKLE_H

#include "loader/tensor_table.h"

#define IVL__MAX_PICKLE_BYTES (64u << 20)

/* The element types torch stores. */
typedef struct ivl__torch_type {
    const char *storage; /* "HalfStorage"; NULL for a type that only a dtype names */
    const char *name;    /* "float16" */
    ivl_dtype dtype;
    unsigned bytes; /* of an element */
} ivl__torch_type;

/* A tensor as a view of a storage; nothing is checked against the storage's member yet. Sizes,
 * strides and offset are not negative. */
typedef struct ivl__pickle_tensor {
    char *name;
    char *key;                   /* of the storage: member data/<key> */
    const ivl__torch_type *type; /* of the elements */
    uint64_t storage_bytes;      /* what the pickle says that the storage holds */
    uint64_t offset;             /* in elements */
    int rank;                    /* of size and stride */
    uint64_t size[IVL__MAX_RANK];
    uint64_t stride[IVL__MAX_RANK];
} ivl__pickle_tensor;

typedef struct ivl__pickle {
    ivl__pickle_tensor *tensors;
    size_t count, capacity;
} ivl__pickle;

/* The dictionary of tensors at the top, or under state_dict, module or model. IVL_BAD_MODEL says
 * what is wrong and where; a refused global is named. */
ivl_status ivl__pickle_parse(const unsigned char *data, size_t bytes, ivl__pickle *pickle,
                             ivl_error *error);
/* Frees the contents and clears the struct. */
void ivl__pickle_free(ivl__pickle *pickle);

#endif
