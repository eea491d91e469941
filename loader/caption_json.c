/* caption_json.c - retrieval annotations in JSON; see caption_set.h. */
#include "loader/caption_builder.h"

#include <stdio.h>
#include <string.h>

static ivl_status missing(const char *list, size_t index, const char *key, ivl_error *error)
{
    return ivl__fail(error, IVL_BAD_INPUT, "%s[%zu] has no \"%s\", or it is of another type", list,
                     index, key);
}

static ivl_status add_image(ivl__caption_builder *b, const json_t *name, const char *list,
                            size_t index, const char *key, uint32_t *image, ivl_error *error)
{
    ivl_status status;

    if (!json_is_string(name)) {
        return missing(list, index, key, error);
    }
    status = ivl__caption_builder_image(b, json_string_value(name), json_string_length(name), image,
                                        error);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "%s[%zu]", list, index);
}

static ivl_status add_caption(ivl__caption_builder *b, uint32_t image, const json_t *text,
                              const char *list, size_t index, const char *key, ivl_error *error)
{
    ivl_status status;

    if (!json_is_string(text)) {
        return missing(list, index, key, error);
    }
    status = ivl__caption_builder_add(b, image, json_string_value(text), json_string_length(text),
                                      error);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "%s[%zu]", list, index);
}

/* ---- COCO -------------------------------------------------------------------------------- */

/* An id as text: a number or a string. */
static bool id_text(const json_t *id, char text[80])
{
    if (json_is_integer(id)) {
        snprintf(text, 80, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
        return true;
    }
    return json_is_string(id) && snprintf(text, 80, "%s", json_string_value(id)) < 80;
}

static ivl_status read_coco_images(ivl__caption_builder *b, const json_t *images, json_t *ids,
                                   ivl_error *error)
{
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *image = json_array_get(images, i);
        char id[80];
        uint32_t index;

        if (!id_text(json_object_get(image, "id"), id)) {
            return missing("images", i, "id", error);
        }
        IVL__TRY(add_image(b, json_object_get(image, "file_name"), "images", i, "file_name", &index,
                           error));
        if (json_object_set_new(ids, id, json_integer((json_int_t)index)) != 0) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for ids");
        }
    }
    return IVL_OK;
}

static ivl_status read_coco_captions(ivl__caption_builder *b, const json_t *annotations,
                                     const json_t *ids, ivl_error *error)
{
    for (size_t i = 0; i < json_array_size(annotations); i++) {
        const json_t *annotation = json_array_get(annotations, i);
        const json_t *index;
        char id[80];

        if (!id_text(json_object_get(annotation, "image_id"), id)) {
            return missing("annotations", i, "image_id", error);
        }
        index = json_object_get(ids, id);
        if (!index) {
            return ivl__fail(error, IVL_BAD_INPUT, "annotations[%zu]: no image has the id %s", i,
                             id);
        }
        IVL__TRY(add_caption(b, (uint32_t)json_integer_value(index),
                             json_object_get(annotation, "caption"), "annotations", i, "caption",
                             error));
    }
    return IVL_OK;
}

static ivl_status read_coco(ivl__caption_builder *b, const json_t *root, ivl_error *error)
{
    json_t *ids = json_object();
    ivl_status status;

    if (!ids) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for ids");
    }
    status = read_coco_images(b, json_object_get(root, "images"), ids, error);
    if (status == IVL_OK) {
        status = read_coco_captions(b, json_object_get(root, "annotations"), ids, error);
    }
    json_decref(ids);
    return status;
}

/* ---- Karpathy ---------------------------------------------------------------------------- */

static ivl_status read_sentences(ivl__caption_builder *b, const json_t *sentences, uint32_t image,
                                 size_t index, ivl_error *error)
{
    if (!json_is_array(sentences)) {
        return missing("images", index, "sentences", error);
    }
    for (size_t i = 0; i < json_array_size(sentences); i++) {
        IVL__TRY(add_caption(b, image, json_object_get(json_array_get(sentences, i), "raw"),
                             "images", index, "raw", error));
    }
    return IVL_OK;
}

/* "filepath" is the folder of a picture ("val2014"); Flickr30K has none. */
static ivl_status add_karpathy_image(ivl__caption_builder *b, const json_t *image, size_t index,
                                     uint32_t *out, ivl_error *error)
{
    const char *folder = json_string_value(json_object_get(image, "filepath"));
    const json_t *name = json_object_get(image, "filename");
    json_t *joined;
    ivl_status status;

    if (!folder || !*folder || !json_is_string(name)) {
        return add_image(b, name, "images", index, "filename", out, error);
    }
    joined = json_sprintf("%s/%s", folder, json_string_value(name));
    status = add_image(b, joined, "images", index, "filename", out, error);
    json_decref(joined);
    return status;
}

static ivl_status read_karpathy(ivl__caption_builder *b, const json_t *root, const char *split,
                                ivl_error *error)
{
    const json_t *images = json_object_get(root, "images");

    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *image = json_array_get(images, i);
        const char *of = json_string_value(json_object_get(image, "split"));
        uint32_t index;

        if (of && strcmp(of, split) != 0) {
            continue;
        }
        IVL__TRY(add_karpathy_image(b, image, i, &index, error));
        IVL__TRY(read_sentences(b, json_object_get(image, "sentences"), index, i, error));
    }
    if (b->set->n_images == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "no image is of the split \"%.40s\"", split);
    }
    return IVL_OK;
}

/* ---- lists ------------------------------------------------------------------------------- */

static ivl_status read_xtd(ivl__caption_builder *b, const json_t *root, ivl_error *error)
{
    const json_t *paths = json_object_get(root, "image_paths");
    const json_t *texts = json_object_get(root, "annotations");

    if (json_array_size(paths) != json_array_size(texts)) {
        return ivl__fail(error, IVL_BAD_INPUT, "%zu image_paths, but %zu annotations",
                         json_array_size(paths), json_array_size(texts));
    }
    for (size_t i = 0; i < json_array_size(paths); i++) {
        uint32_t image;

        IVL__TRY(add_image(b, json_array_get(paths, i), "image_paths", i, "path", &image, error));
        IVL__TRY(add_caption(b, image, json_array_get(texts, i), "annotations", i, "text", error));
    }
    return IVL_OK;
}

static ivl_status read_objects(ivl__caption_builder *b, const json_t *root, ivl_error *error)
{
    for (size_t i = 0; i < json_array_size(root); i++) {
        const json_t *object = json_array_get(root, i);
        const json_t *caption = json_object_get(object, "caption");
        size_t n = json_is_array(caption) ? json_array_size(caption) : 1;
        uint32_t image;

        IVL__TRY(add_image(b, json_object_get(object, "image"), "list", i, "image", &image, error));
        for (size_t k = 0; k < n; k++) {
            IVL__TRY(add_caption(b, image,
                                 json_is_array(caption) ? json_array_get(caption, k) : caption,
                                 "list", i, "caption", error));
        }
    }
    return IVL_OK;
}

/* ---- any of them ------------------------------------------------------------------------- */

static ivl_status read_root(ivl__caption_builder *b, const json_t *root, const char *split,
                            ivl_error *error)
{
    const json_t *images = json_object_get(root, "images");
    bool annotations = json_is_array(json_object_get(root, "annotations"));

    if (json_is_array(root)) {
        return read_objects(b, root, error);
    }
    if (annotations && json_is_array(json_object_get(root, "image_paths"))) {
        return read_xtd(b, root, error);
    }
    if (annotations && json_is_array(images)) {
        return read_coco(b, root, error);
    }
    if (json_is_array(images)) {
        return read_karpathy(b, root, split, error);
    }
    return ivl__fail(error, IVL_BAD_INPUT,
                     "none of the known forms: a list of {\"image\", \"caption\"}, or an object "
                     "with \"images\" and \"annotations\", \"images\" with \"sentences\", or "
                     "\"image_paths\" and \"annotations\"");
}

ivl_status ivl__caption_json(ivl__caption_builder *builder, const void *data, size_t bytes,
                             const char *split, ivl_error *error)
{
    json_error_t detail;
    json_t *root = json_loadb(data, bytes, JSON_ALLOW_NUL, &detail);
    ivl_status status;

    if (!root) {
        return ivl__fail(error, IVL_BAD_INPUT, "not valid JSON: %s (line %d)", detail.text,
                         detail.line);
    }
    status = read_root(builder, root, split, error);
    json_decref(root);
    return status;
}
