/* synth_target.h - where a stand-in checkpoint goes: everything under a .part name, then renamed.
 *
 * A folder is written as PATH.part/ and a file as PATH.part. What is there already is refused, or
 * with force replaced at the very end: a file in any case, a folder only if ivl_synth made it, so
 * that no downloaded checkpoint is ever deleted. Free space must hold old and new together.
 */
#ifndef IVL_MODEL_SYNTH_TARGET_H
#define IVL_MODEL_SYNTH_TARGET_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ivl__synth_target {
    char *path;  /* without trailing slashes */
    char *part;  /* path.part */
    char *place; /* the folder that path lies in */
    bool folder; /* else one file */
    bool owned;  /* part is this process's to remove */
    int lock;    /* of the folder; -1 */
} ivl__synth_target;

/* Checks that path can be written later; creates nothing. IVL_INVALID_ARGUMENT when something is in
 * the way. In any case to be closed. */
ivl_status ivl__synth_target_open(const char *path, bool folder, bool force,
                                  ivl__synth_target *target, ivl_error *error);
/* Creates the folder that path lies in, checks that `bytes` fit there, and claims an empty part. */
ivl_status ivl__synth_target_begin(ivl__synth_target *target, uint64_t bytes, ivl_error *error);
/* Where a file of the checkpoint is written: part/name, or the part itself. ivl__free. */
char *ivl__synth_target_file(const ivl__synth_target *target, const char *name);
/* Gives the part its final name. */
ivl_status ivl__synth_target_publish(ivl__synth_target *target, ivl_error *error);
/* Removes the part unless it was published. */
void ivl__synth_target_close(ivl__synth_target *target);

#endif
