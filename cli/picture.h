/* picture.h - one input on its way to the device: bytes in, a crop or a reason out.
 *
 * What fails here belongs to this input alone and becomes its failure text; the run goes on.
 */
#ifndef IVL_CLI_PICTURE_H
#define IVL_CLI_PICTURE_H

#include "loader/item.h"
#include "loader/preprocess.h"
#include "runtime/status.h"

#include <stdbool.h>

/* A filled picture has rgb or item.tensor or failure; a mark of a unit has none of them. */
typedef struct cli_picture {
    ivl__item item;
    unsigned char *rgb;              /* [height, width, 3] u8, owned */
    int width, height;               /* of the crop, or of item.tensor */
    int source_width, source_height; /* of the file; 0 when it was never opened */
    char *failure;                   /* one line, owned */
} cli_picture;

/* How files become crops. */
typedef struct cli_picture_rules {
    ivl__preprocess_options preprocess;
    ivl__decode_options decode;
    int patch;       /* sides of a .npy tensor are multiples of it */
    bool fixed_size; /* refuse tensors that are not size x size: rows of the output are equal */
    bool no_tensors; /* refuse them altogether */
    bool captioned;  /* refuse what has no caption, or one that is no UTF-8 */
} cli_picture_rules;

/* Seconds. */
typedef struct cli_picture_times {
    double read, decode, resize;
} cli_picture_times;

/* Asks for `bytes` of memory beyond what was granted before for this picture, and waits for it;
 * false: the run is over. */
typedef bool cli_admit_fn(void *user, uint64_t bytes);

/* What a thread that fills pictures keeps between them. */
typedef struct cli_picture_thread {
    const char *track; /* its name in a trace */
    ivl__resize_scratch scratch;
    cli_picture_times times; /* grows */
    cli_admit_fn *admit;
    void *user; /* of admit */
} cli_picture_thread;

/* Does everything from the file to the crop. IVL_CANCELLED when admit said no, IVL_OUT_OF_MEMORY
 * when not even a failure text can be had; all other trouble is picture->failure. */
ivl_status cli_picture_fill(cli_picture *picture, const cli_picture_rules *rules,
                            cli_picture_thread *thread, ivl_error *error);

bool cli_picture_is_mark(const cli_picture *picture);
/* Bytes it holds on to until it is freed. */
uint64_t cli_picture_bytes(const cli_picture *picture);
void cli_picture_free(cli_picture *picture);

#endif
