/* exif.h - the orientation tag of a JPEG, PNG or WebP file; nothing else of EXIF is read. */
#ifndef IVL_LOADER_EXIF_H
#define IVL_LOADER_EXIF_H

#include <stddef.h>

/* 1..8 as the EXIF standard numbers them; 1 (upright) where there is none or it is damaged. */
int ivl__exif_orientation(const unsigned char *data, size_t bytes);

#endif
