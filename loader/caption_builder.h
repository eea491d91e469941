/* caption_builder.h - how the readers of annotation files (caption_set.h) fill a set. */
#ifndef IVL_LOADER_CAPTION_BUILDER_H
#define IVL_LOADER_CAPTION_BUILDER_H

#include "loader/caption_set.h"

#include <jansson.h>

typedef struct ivl__caption_builder {
    ivl__caption_set *set;
    json_t *by_name; /* name of a picture -> its index; made at the first use */
} ivl__caption_builder;

/* Index of the picture of this name, which is added where it is new. IVL_BAD_INPUT for an empty
 * name and for NUL bytes. */
ivl_status ivl__caption_builder_image(ivl__caption_builder *builder, const char *name, size_t bytes,
                                      uint32_t *image, ivl_error *error);
/* Appends a caption. IVL_BAD_INPUT for NUL bytes and for what is not UTF-8. */
ivl_status ivl__caption_builder_add(ivl__caption_builder *builder, uint32_t image, const char *text,
                                    size_t bytes, ivl_error *error);

/* The four JSON forms (caption_json.c). */
ivl_status ivl__caption_json(ivl__caption_builder *builder, const void *data, size_t bytes,
                             const char *split, ivl_error *error);

#endif
