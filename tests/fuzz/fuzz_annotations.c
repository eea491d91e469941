/* fuzz_annotations.c - any bytes as CSV, labels, captions of every form, published lists and a
 * caption to be cleaned: what is accepted is whole, and cleaning twice changes no more than once.
 */
#include "loader/caption_clean.h"
#include "loader/caption_set.h"
#include "loader/label_file.h"
#include "loader/prompt_files.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_captions(const uint8_t *data, size_t size, ivl__caption_form form)
{
    const ivl__caption_options options = {.form = form};
    ivl__caption_set set;

    /* In lines, the first half names the pictures. */
    if (ivl__caption_set_parse(data + (form == IVL__CAPTIONS_LINES ? size / 2 : 0),
                               form == IVL__CAPTIONS_LINES ? size - size / 2 : size, data, size / 2,
                               &options, &set, NULL) != IVL_OK) {
        return;
    }
    for (size_t i = 0; i < set.n_captions; i++) {
        if (set.captions[i].image >= set.n_images || !*set.images[set.captions[i].image]) {
            abort();
        }
    }
    ivl__caption_set_free(&set);
}

static void read_labels(const uint8_t *data, size_t size)
{
    static ivl__prompt_list classes;
    ivl__labels labels;

    if (!classes.n && (ivl__prompt_list_add(&classes, "cat", 3, NULL) != IVL_OK ||
                       ivl__prompt_list_add(&classes, "dog", 3, NULL) != IVL_OK)) {
        abort();
    }
    if (ivl__labels_parse(data, size, &classes, &labels, NULL) != IVL_OK) {
        return;
    }
    for (size_t i = 0; i < labels.n; i++) {
        if (ivl__labels_find(&labels, labels.items[i].key) != labels.items[i].index ||
            labels.items[i].index > 1) {
            abort();
        }
    }
    ivl__labels_free(&labels);
}

/* No mark is left, and cleaned text does not grow any more. */
static void clean(const uint8_t *data, size_t size)
{
    ivl__text once = {0};
    ivl__text twice = {0};

    ivl__caption_clean((const char *)data, size, &once);
    ivl__caption_clean(once.data ? once.data : "", once.bytes, &twice);
    if (once.failed || twice.failed || twice.bytes > once.bytes ||
        (once.bytes && memchr(once.data, '!', once.bytes))) {
        abort();
    }
    ivl__text_free(&once);
    ivl__text_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ivl__prompt_list list;

    read_captions(data, size, IVL__CAPTIONS_JSON);
    read_captions(data, size, IVL__CAPTIONS_FLICKR);
    read_captions(data, size, IVL__CAPTIONS_CSV);
    read_captions(data, size, IVL__CAPTIONS_LINES);
    read_labels(data, size);
    clean(data, size);
    if (ivl__prompt_json_list(data, size, "imagenet1k", "a", &list, NULL) == IVL_OK) {
        ivl__prompt_list_free(&list);
    }
    return 0;
}
