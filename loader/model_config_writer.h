/* model_config_writer.h - config.json and preprocessor_config.json as the releases have them.
 *
 * Published keys with published values, in the words of the scheme: "hub" and "pth" (model_type
 * intern_vit_6b, internvl) or "hf" (the transformers port, internvl_vision). Keys can be set to
 * other values; what results is read back with model_config.h, so everything that a reader would
 * refuse is refused here, in the same words.
 */
#ifndef IVL_LOADER_MODEL_CONFIG_WRITER_H
#define IVL_LOADER_MODEL_CONFIG_WRITER_H

#include "loader/model_config.h"

typedef struct ivl__config_request {
    const char *arch;            /* of ivl__known_architecture_find */
    const char *naming;          /* "hub", "pth" or "hf" */
    const char *torch_dtype;     /* "bfloat16", "float16", "float32" */
    const char *const *settings; /* [n] "key=value"; nested keys by a dot */
    size_t n_settings;
} ivl__config_request;

typedef struct ivl__config_files {
    char *config, *preprocessor; /* JSON texts; ivl__config_files_free */
    ivl__model_config parsed;    /* vit.image: the size that the position table is made for */
} ivl__config_files;

/* IVL_INVALID_ARGUMENT names the setting, with the known keys or the values that fit. */
ivl_status ivl__config_files_make(const ivl__config_request *request, ivl__config_files *files,
                                  ivl_error *error);
void ivl__config_files_free(ivl__config_files *files);

#endif
