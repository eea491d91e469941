/* prompt_files.c - published class names and templates; see prompt_files.h. */
#include "loader/prompt_files.h"

#include "runtime/memory.h"
#include "runtime/os.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* The largest published one has 76 kB. */
#define MAX_FILE_BYTES ((size_t)16 << 20)

#define DEFAULT_DATASET "imagenet1k"

static const struct {
    const char *name, *file;
} languages[] = {{"en", "en"}, {"cn", "cn"}, {"zh", "cn"},
                 {"jp", "jp"}, {"it", "it"}, {"ar", "ar"}};

/* Data sets of pictures of ImageNet's 1000 classes. */
static const char *const imagenet_names[] = {"imagenet1k-unverified", "imagenetv2",
                                             "imagenet_sketch"};

const char *ivl__prompt_language(const char *name)
{
    for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++) {
        if (strcmp(languages[i].name, name) == 0) {
            return languages[i].file;
        }
    }
    return NULL;
}

/* ---- one object -------------------------------------------------------------------------- */

static ivl_status no_such_list(const json_t *root, const char *name, ivl_error *error)
{
    ivl__text known = {0};
    const char *key;
    json_t *value;
    ivl_status status;

    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        if (known.bytes < 600) {
            ivl__text_printf(&known, "%s%s", known.bytes ? ", " : "", key);
        }
    }
    status = ivl__fail(error, IVL_BAD_INPUT, "nothing for \"%.60s\"; there is: %s", name,
                       known.data && !known.failed ? known.data : "nothing");
    ivl__text_free(&known);
    return status;
}

static ivl_status copy_list(const json_t *values, const char *name, ivl__prompt_list *list,
                            ivl_error *error)
{
    if (!json_is_array(values) || json_array_size(values) == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "\"%.60s\" is no list of texts", name);
    }
    for (size_t i = 0; i < json_array_size(values); i++) {
        const json_t *value = json_array_get(values, i);
        ivl_status status;

        if (!json_is_string(value)) {
            return ivl__fail(error, IVL_BAD_INPUT, "\"%.60s\": element %zu is no text", name, i);
        }
        status = ivl__prompt_list_add(list, json_string_value(value), json_string_length(value),
                                      error);
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "\"%.60s\": element %zu", name, i);
        }
    }
    return IVL_OK;
}

ivl_status ivl__prompt_json_list(const void *data, size_t bytes, const char *name,
                                 const char *fallback, ivl__prompt_list *list, ivl_error *error)
{
    json_error_t detail;
    json_t *root = json_loadb(data, bytes, JSON_ALLOW_NUL, &detail);
    const json_t *values = json_object_get(root, name);
    ivl_status status;

    *list = (ivl__prompt_list){0};
    if (!values && fallback) {
        values = json_object_get(root, fallback);
    }
    if (!root) {
        status = ivl__fail(error, IVL_BAD_INPUT, "not valid JSON: %s (line %d)", detail.text,
                           detail.line);
    } else if (!json_is_object(root)) {
        status = ivl__fail(error, IVL_BAD_INPUT, "not a JSON object of lists");
    } else {
        status = values ? copy_list(values, name, list, error) : no_such_list(root, name, error);
    }
    json_decref(root);
    if (status != IVL_OK) {
        ivl__prompt_list_free(list);
    }
    return status;
}

/* ---- the files --------------------------------------------------------------------------- */

static ivl_status read_file(const char *folder, const char *language, const char *kind,
                            const char *name, const char *fallback, ivl__prompt_list *list,
                            ivl_error *error)
{
    char file[80];
    unsigned char *data = NULL;
    ivl_error detail = {0};
    size_t bytes = 0;
    char *path;
    ivl_status status;

    snprintf(file, sizeof file, "%s_%s.json", language, kind);
    path = ivl__path_join(folder, file);
    if (!path) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
    }
    status = ivl__file_read(path, MAX_FILE_BYTES, &data, &bytes, error);
    if (status == IVL_OK) {
        status = ivl__prompt_json_list(data, bytes, name, fallback, list, &detail);
        if (status != IVL_OK) {
            ivl__fail(error, status, "'%s': %s", path, detail.message);
        }
    }
    ivl__free(data);
    ivl__free(path);
    return status;
}

static const char *names_of(const char *dataset)
{
    for (size_t i = 0; i < sizeof imagenet_names / sizeof imagenet_names[0]; i++) {
        if (strcmp(imagenet_names[i], dataset) == 0) {
            return DEFAULT_DATASET;
        }
    }
    return dataset;
}

static ivl_status check_templates(const ivl__prompt_list *templates, const char *folder,
                                  ivl_error *error)
{
    for (size_t i = 0; i < templates->n; i++) {
        if (!ivl__template_has_place(templates->items[i])) {
            return ivl__fail(error, IVL_BAD_INPUT, "'%s': template \"%.60s\" has no {c}", folder,
                             templates->items[i]);
        }
    }
    return IVL_OK;
}

ivl_status ivl__prompt_files_read(const char *folder, const char *dataset, const char *language,
                                  ivl__prompt_list *classes, ivl__prompt_list *templates,
                                  ivl_error *error)
{
    const char *slash = strrchr(dataset, '/');
    const char *name = slash ? slash + 1 : dataset;
    ivl_status status;

    *templates = (ivl__prompt_list){0};
    if (classes) {
        *classes = (ivl__prompt_list){0};
        IVL__TRY(read_file(folder, language, "classnames", names_of(name), NULL, classes, error));
    }
    status = read_file(folder, language, "zeroshot_classification_templates", name, DEFAULT_DATASET,
                       templates, error);
    if (status == IVL_OK) {
        status = check_templates(templates, folder, error);
    }
    if (status != IVL_OK) {
        ivl__prompt_list_free(templates);
        if (classes) {
            ivl__prompt_list_free(classes);
        }
    }
    return status;
}
