/* item.h - one input of an image command: what an image source yields.
 *
 * An item names its bytes; ivl__item_load() fetches them, so that worker threads read in parallel
 * while the source only walks names. Two more kinds of item mark where a unit begins and ends.
 */
#ifndef IVL_LOADER_ITEM_H
#define IVL_LOADER_ITEM_H

#include "loader/shared_file.h"
#include "runtime/status.h"

#include <stddef.h>
#include <stdint.h>

/* No single picture file is read beyond this. */
#define IVL__ITEM_MAX_BYTES ((size_t)1 << 30)

typedef enum ivl__item_kind {
    IVL__ITEM_PICTURE,    /* bytes of a picture file */
    IVL__ITEM_TENSOR,     /* normalised pixel values, one row of a .npy array */
    IVL__ITEM_FAILED,     /* an input that cannot be read; error_text says why */
    IVL__ITEM_UNIT_BEGIN, /* before the first input of a unit; key is the tar's, else NULL */
    IVL__ITEM_UNIT_END    /* after its last; position is the number of inputs it had */
} ivl__item_kind;

/* Everything an item points to is its own, or counted (file); ivl__item_free releases it. An item
 * may be moved to another thread, and copied as a struct as long as one copy is freed. */
typedef struct ivl__item {
    ivl__item_kind kind;
    uint64_t index;    /* position in the order of all inputs, from 0; shards leave gaps */
    uint64_t unit;     /* number of the unit */
    uint64_t position; /* position within the unit, from 0 */
    char *key;         /* byte string as the system has it; may not be UTF-8 */
    uint64_t content; /* hash of what a key that is a mere number stands for (lines of a text); else
                         0 */
    char *caption;    /* of a tar member's .txt (or the .json's "caption"), UTF-8, or NULL */
    char *fields; /* members of its .json, ready to stand in an object: "\"a\":1,...", or NULL */
    char *error_text; /* IVL__ITEM_FAILED: one line */

    /* After ivl__item_load. */
    unsigned char *bytes; /* IVL__ITEM_PICTURE */
    size_t n_bytes;
    float *tensor;     /* IVL__ITEM_TENSOR: [3, height, width] f32 */
    int height, width; /* IVL__ITEM_TENSOR, known before the load */

    /* Where the bytes are: a path of their own, or a range of a shared file. */
    char *path;
    ivl__shared_file *file;
    uint64_t offset, range;
} ivl__item;

/* Reads the bytes (or the tensor); does nothing when they are there. Safe from any thread for
 * distinct items. A failure belongs to this input alone: IVL_IO_ERROR, IVL_BAD_INPUT or
 * IVL_OUT_OF_MEMORY, and for IVL__ITEM_FAILED IVL_BAD_INPUT with error_text. */
ivl_status ivl__item_load(ivl__item *item, ivl_error *error);
/* Frees everything and zeroes the item; a zeroed item is fine. */
void ivl__item_free(ivl__item *item);

#endif
