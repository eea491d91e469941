/* caption_set.h - pictures and their captions: the annotation files of retrieval sets.
 *
 * json    one of four forms, told apart by their keys:
 *         COCO's {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
 *         (coco_test_karpathy.json, coco-cn_test.json), Karpathy's {"images": [{"filename",
 *         "filepath", "split", "sentences": [{"raw"}]}]}, XTD's {"image_paths": [..],
 *         "annotations": [..]}, and [{"image", "caption": text or list of texts}].
 * flickr  a header, then lines NAME.jpg,CAPTION without any quoting; commas belong to the caption
 *         (flickr30k_test_karpathy.txt, flickr30k_cn_test.txt).
 * csv     RFC 4180 with the columns key and caption.
 * lines   one caption a line, for the names of the lines of a second file (XTD's
 *         test_1kcaptions_<language>.txt and test_image_names.txt).
 *
 * Order is that of the file. Captions are as published; white space around those of flickr and
 * lines is dropped. A picture may have any number of captions.
 */
#ifndef IVL_LOADER_CAPTION_SET_H
#define IVL_LOADER_CAPTION_SET_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* dataset_coco.json has 144 MB. */
#define IVL__CAPTIONS_MAX_BYTES ((size_t)1 << 30)

typedef struct ivl__caption {
    char *text; /* UTF-8, NUL-terminated, owned */
    uint32_t image;
} ivl__caption;

typedef enum ivl__caption_form {
    IVL__CAPTIONS_AUTO, /* by the name and the first line */
    IVL__CAPTIONS_JSON,
    IVL__CAPTIONS_FLICKR,
    IVL__CAPTIONS_CSV,
    IVL__CAPTIONS_LINES
} ivl__caption_form;

typedef struct ivl__caption_set {
    ivl__caption_form form; /* as it was read: never AUTO */
    char **images;          /* [n_images] paths below the folder of pictures, owned */
    size_t n_images, images_capacity;
    ivl__caption *captions; /* [n_captions] */
    size_t n_captions, captions_capacity;
} ivl__caption_set;

/* "auto", "json", "flickr", "csv", "lines"; false for anything else. */
bool ivl__caption_form_parse(const char *name, ivl__caption_form *form);

typedef struct ivl__caption_options {
    ivl__caption_form form;
    const char *split; /* of Karpathy's form; NULL: "test" */
    const char *names; /* form lines: the file with the names of the pictures */
} ivl__caption_options;

void ivl__caption_set_free(ivl__caption_set *set);
/* IVL_BAD_INPUT names the file and the place; also for a set without captions. */
ivl_status ivl__caption_set_read(const char *path, const ivl__caption_options *options,
                                 ivl__caption_set *set, ivl_error *error);
/* The same from memory; names (form lines) are bytes too. The form may not be AUTO. */
ivl_status ivl__caption_set_parse(const void *data, size_t bytes, const void *names,
                                  size_t names_bytes, const ivl__caption_options *options,
                                  ivl__caption_set *set, ivl_error *error);

#endif
