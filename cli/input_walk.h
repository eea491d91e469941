/* input_walk.h - the names of all pictures among the inputs, without reading one. */
#ifndef IVL_CLI_INPUT_WALK_H
#define IVL_CLI_INPUT_WALK_H

#include "cli/picture_options.h"

/* Gets the key of each input in order; it may keep the string by setting *key to NULL. */
typedef ivl_status cli_key_fn(void *user, char **key, ivl_error *error);

/* False where inputs come from standard input, which can be read once only. */
bool cli_inputs_can_walk(const cli_picture_options *pictures);
/* Inputs that cannot be read are named too. */
ivl_status cli_inputs_walk(const cli_picture_options *pictures, cli_key_fn *each, void *user,
                           ivl_error *error);

#endif
