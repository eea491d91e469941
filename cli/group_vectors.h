/* group_vectors.h - groups of texts to one vector each: the classes of a zero-shot classifier, each
 * with all its templates; the captions of a retrieval set, each alone.
 *
 * As clip_benchmark's zero_shot_classifier: every text's vector normalised, their mean, normalised.
 * Finished groups are kept in the cache folder under a hash of program version, model, device,
 * precision and token ids, after every few seconds of work, so that a run that was cut off goes on
 * and a second run computes nothing. Only where something is left to do a session is opened, for
 * the text tower alone, and closed again: the device's memory is free for the images.
 */
#ifndef IVL_CLI_GROUP_VECTORS_H
#define IVL_CLI_GROUP_VECTORS_H

#include "cli/text_encoder.h"

typedef struct cli_group_request {
    const char *what; /* "classes", "captions": for messages and progress */
    const cli_globals *globals;
    const ivl_model *model;
    const cli_token_list *texts; /* group by group */
    size_t per_group;            /* texts of a group; divides texts->n */
} cli_group_request;

/* *vectors is a new block (ivl__free), [texts->n / per_group, embed_dim]. IVL_CANCELLED when the
 * user asked to stop: what is finished is kept. */
ivl_status cli_group_vectors(const cli_group_request *request, float **vectors, ivl_error *error);

#endif
