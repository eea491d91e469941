/* input_walk.c - the names of the inputs; see input_walk.h. */
#include "cli/input_walk.h"

#include <string.h>

bool cli_inputs_can_walk(const cli_picture_options *pictures)
{
    bool can = !pictures->stdin_tar;

    for (size_t i = 0; i < pictures->n_inputs; i++) {
        can = can && strcmp(pictures->inputs[i], "-") != 0 &&
              strcmp(pictures->inputs[i], "-0") != 0;
    }
    return can;
}

ivl_status cli_inputs_walk(const cli_picture_options *pictures, cli_key_fn *each, void *user,
                           ivl_error *error)
{
    ivl__image_source *source = NULL;
    bool end = false;
    ivl_status status = ivl__image_source_open(pictures->inputs, pictures->n_inputs,
                                               &pictures->source, &source, error);

    while (status == IVL_OK) {
        ivl__item item;

        status = ivl__image_source_next(source, &item, &end, error);
        if (status != IVL_OK || end) {
            break;
        }
        if (item.kind != IVL__ITEM_UNIT_BEGIN && item.kind != IVL__ITEM_UNIT_END) {
            status = each(user, &item.key, error);
        }
        ivl__item_free(&item);
    }
    ivl__image_source_free(source);
    return status;
}
