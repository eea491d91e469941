/* folder_walk.h - the picture files below a folder, depth first, bytewise sorted in each folder.
 *
 * Symbolic links are followed; each folder (device, inode) is entered once, which also ends loops.
 * Held in memory are the names of the folders on the way down, not of the whole tree.
 */
#ifndef IVL_LOADER_FOLDER_WALK_H
#define IVL_LOADER_FOLDER_WALK_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ivl__folder_walk ivl__folder_walk;

/* Slashes at the end of `folder` do not appear in the paths. */
ivl_status ivl__folder_walk_open(const char *folder, ivl__folder_walk **walk, ivl_error *error);
/* The next path, which is the folder as given, '/', and the relative path (ivl__free); or *path
 * NULL at the end. A folder that cannot be listed is answered once, with *unreadable set to the
 * reason (ivl__free), else NULL. Fails only when memory is short. */
ivl_status ivl__folder_walk_next(ivl__folder_walk *walk, char **path, char **unreadable,
                                 ivl_error *error);
/* Files so far that are no pictures. */
uint64_t ivl__folder_walk_other(const ivl__folder_walk *walk);
void ivl__folder_walk_free(ivl__folder_walk *walk);

#endif
