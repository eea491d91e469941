/* eval_classification.c - zero-shot classification of a folder with a folder per class: from
 * pictures to predictions; see eval.h. */
#include "cli/classifier.h"
#include "cli/eval.h"

#include "runtime/file.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    cli_eval_options *options;
    const char *folder;
    cli_clip clip;
    ivl__prompt_list classes, templates;
    ivl__prompt_list folders; /* names of the folders, sorted bytewise */
    uint32_t *class_of;       /* [folders.n] */
    cli_eval_images images;
    cli_classifier classifier;
    ivl__text predictions;
} evaluation;

/* ---- folders ----------------------------------------------------------------------------- */

typedef struct listing {
    evaluation *e;
    ivl_status status;
    ivl_error *error;
} listing;

static bool add_folder(void *user, const char *name, ivl__entry_kind kind)
{
    listing *l = user;
    char *path = ivl__path_join(l->e->folder, name);

    if (!path) {
        l->status = ivl__fail(l->error, IVL_OUT_OF_MEMORY, "out of memory for a path");
    } else if (kind == IVL__ENTRY_FOLDER ||
               (kind == IVL__ENTRY_UNKNOWN && ivl__file_kind_of(path) == IVL__FILE_FOLDER)) {
        l->status = ivl__prompt_list_add(&l->e->folders, name, strlen(name), l->error);
    }
    ivl__free(path);
    return l->status == IVL_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ivl_status list_folders(evaluation *e, ivl_error *error)
{
    listing l = {e, IVL_OK, error};

    IVL__TRY(ivl__folder_list(e->folder, add_folder, &l, error));
    IVL__TRY(l.status);
    if (e->folders.n == 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' holds no folders; there should be one for each class", e->folder);
    }
    qsort(e->folders.items, e->folders.n, sizeof *e->folders.items, by_bytes);
    e->class_of = ivl__calloc(e->folders.n, sizeof *e->class_of);
    return e->class_of ? IVL_OK
                       : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the folders");
}

/* By the names in `names`, whose order is that of the classes; the first folder that is none of
 * them in *unknown. */
static bool map_by_names(evaluation *e, const ivl__prompt_list *names, size_t *unknown)
{
    for (size_t i = 0; i < e->folders.n; i++) {
        int64_t index = ivl__class_list_find(names, e->folders.items[i]);

        if (index < 0) {
            *unknown = i;
            return false;
        }
        e->class_of[i] = (uint32_t)index;
    }
    return true;
}

static ivl_status map_by_file(evaluation *e, const char *file, ivl_error *error)
{
    ivl__prompt_list names;
    size_t unknown;
    ivl_status status;

    IVL__TRY(ivl__class_list_read(file, &names, error));
    if (names.n != e->classes.n) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "'%s' names %zu folders, but there are %zu classes", file, names.n,
                           e->classes.n);
    } else if (!map_by_names(e, &names, &unknown)) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT,
                           "the folder '%s' of '%s' is not in '%s', or there twice",
                           e->folders.items[unknown], e->folder, file);
    } else {
        status = IVL_OK;
    }
    ivl__prompt_list_free(&names);
    return status;
}

/* Folders have the names of their classes, or their sorted order is that of the classes, as with
 * ImageNet's ids and torchvision's ImageFolder. */
static ivl_status map_folders(evaluation *e, ivl_error *error)
{
    size_t unknown;

    if (e->options->folders) {
        return map_by_file(e, e->options->folders, error);
    }
    if (map_by_names(e, &e->classes, &unknown)) {
        return IVL_OK;
    }
    if (e->folders.n != e->classes.n) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' has %zu folders for %zu classes, and '%s' is the name of none or of "
                         "several; give --folders FILE with the folder of each class",
                         e->folder, e->folders.n, e->classes.n, e->folders.items[unknown]);
    }
    for (size_t i = 0; i < e->folders.n; i++) {
        e->class_of[i] = (uint32_t)i;
    }
    cli_say(IVL_LOG_INFO, "eval: folders in their sorted order are the classes: '%s' is \"%s\"",
            e->folders.items[0], e->classes.items[0]);
    return IVL_OK;
}

/* The class of the folder that a key lies in; false for a picture outside of all. */
static bool label_of(const evaluation *e, const char *key, uint32_t *label)
{
    const char *name = key + strlen(e->folder);
    size_t length;

    name += strspn(name, "/");
    length = strcspn(name, "/");
    for (size_t low = 0, high = e->folders.n; low < high && name[length];) {
        size_t middle = low + (high - low) / 2;
        const char *folder = e->folders.items[middle];
        int order = strncmp(folder, name, length);

        order = order ? order : folder[length] != '\0';
        if (order == 0) {
            *label = e->class_of[middle];
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* ---- predictions ------------------------------------------------------------------------- */

static void add_prediction(evaluation *e, const char *key, uint32_t label, const float *vector)
{
    uint32_t top[CLI_EVAL_CLASSES];
    size_t n = cli_classifier_score(&e->classifier, vector, CLI_EVAL_CLASSES, top);
    ivl__text *t = &e->predictions;

    ivl__text_puts(t, "{\"key\": ");
    ivl__text_json(t, key);
    ivl__text_printf(t, ", \"label\": %u, \"top\": [", label);
    for (size_t i = 0; i < n; i++) {
        ivl__text_puts(t, i ? ", {\"class\": " : "{\"class\": ");
        ivl__text_json(t, e->classes.items[top[i]]);
        ivl__text_printf(t, ", \"index\": %u, \"score\": %.9g}", top[i],
                         (double)e->classifier.scores[top[i]]);
    }
    ivl__text_puts(t, "]}\n");
}

static ivl_status predict(evaluation *e, ivl_error *error)
{
    size_t dim = (size_t)e->clip.info.embed_dim;
    size_t outside = 0;

    cli_eval_head(e->options, &e->clip, "classification", &e->predictions);
    ivl__text_printf(&e->predictions, ", \"classes\": %zu}\n", e->classes.n);
    for (size_t i = 0; i < e->images.n; i++) {
        int64_t row = e->images.row_of[i];
        uint32_t label = 0;

        if (!label_of(e, e->images.keys[i], &label)) {
            outside++;
        } else if (row >= 0) {
            add_prediction(e, e->images.keys[i], label, e->images.vectors + (size_t)row * dim);
        }
    }
    if (outside) {
        cli_say(IVL_LOG_WARNING, "eval: %zu pictures of '%s' lie in no folder and are not counted",
                outside, e->folder);
    }
    return e->predictions.failed ? ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory") : IVL_OK;
}

static ivl_status make_predictions(evaluation *e, ivl_error *error)
{
    char *path = cli_eval_path(e->options, "predictions.jsonl");
    ivl_status status;

    e->classifier = (cli_classifier){
        .clip = &e->clip, .classes = &e->classes, .templates = &e->templates};
    status = path ? cli_classifier_encode(&e->classifier, e->options->globals, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
    if (status == IVL_OK) {
        status = predict(e, error);
    }
    if (status == IVL_OK) {
        status = ivl__file_replace(path, e->predictions.data, e->predictions.bytes, error);
    }
    ivl__free(path);
    return status;
}

/* ---- the task ---------------------------------------------------------------------------- */

static int prepare(evaluation *e)
{
    cli_eval_options *o = e->options;
    ivl_error error = {0};
    ivl_status status;
    int code = cli_prompt_options_read(&o->prompts, "eval", &e->classes, &e->templates);

    if (code != CLI_DONE) {
        return code;
    }
    status = list_folders(e, &error);
    status = status == IVL_OK ? map_folders(e, &error) : status;
    return status == IVL_OK              ? CLI_DONE
           : status == IVL_OUT_OF_MEMORY ? cli_fail(&error)
                                         : cli_usage_error("eval", "%s", error.message);
}

int cli_eval_classification(cli_eval_options *o, const cli_arguments *arguments)
{
    evaluation e = {.options = o};
    ivl_error error = {0};
    int code = CLI_DONE;

    if (arguments->n != 2) {
        return cli_usage_error("eval",
                               "classification needs a MODEL and a folder with a folder "
                               "for each class, got %zu arguments",
                               arguments->n);
    }
    e.folder = arguments->items[1];
    if (o->suite && !o->prompts.dataset && o->prompts.prompts) {
        o->prompts.dataset = o->suite->dataset;
        o->prompts.language = o->prompts.language ? o->prompts.language : o->suite->language;
    }
    o->pictures.resize = o->pictures.resize ? o->pictures.resize : "crop";
    if (!cli_prompt_options_check(&o->prompts, "eval", &code) ||
        !cli_picture_options_check(&o->pictures, "eval", &arguments->items[1], 1, &code)) {
        return code;
    }
    code = prepare(&e);
    if (code == CLI_DONE) {
        code = cli_clip_open("eval", arguments->items[0], &o->clip, &e.clip);
    }
    if (code == CLI_DONE) {
        code = cli_eval_images_encode(o, &e.clip, 0, &e.images);
    }
    if (code == CLI_DONE || code == CLI_SKIPPED) {
        code = make_predictions(&e, &error) == IVL_OK ? code : cli_fail(&error);
    }
    cli_classifier_free(&e.classifier);
    cli_eval_images_free(&e.images);
    cli_clip_close(&e.clip);
    ivl__prompt_list_free(&e.classes);
    ivl__prompt_list_free(&e.templates);
    ivl__prompt_list_free(&e.folders);
    ivl__free(e.class_of);
    ivl__text_free(&e.predictions);
    return code;
}
