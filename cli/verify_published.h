/* verify_published.h - `verify --published`: does this port reproduce the model card's table? */
#ifndef IVL_CLI_VERIFY_PUBLISHED_H
#define IVL_CLI_VERIFY_PUBLISHED_H

#include "cli/clip.h"

typedef struct cli_verify_published_options {
    const char *model, *photos; /* photos: the folder that holds image1.jpg .. image3.jpg */
    cli_clip_options clip;      /* mode NULL: all that the checkpoint has */
    bool json;
} cli_verify_published_options;

/* Prints the table; CLI_VERIFY where a cell is beyond the bound, else the exit code of what was
 * printed. */
int cli_verify_published(const cli_globals *globals, const cli_verify_published_options *options);

#endif
