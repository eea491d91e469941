/* fuzz_config.c - any bytes as config.json and preprocessor_config.json: what is accepted can be
 * divided and multiplied without care. */
#include "loader/model_config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ivl__model_config config;
    ivl_error error;

    ivl__model_config_init(&config);
    ivl__preprocessor_config_parse((const char *)data, size, &config, &error);
    if (!(config.std[0] > 0 && config.std[1] > 0 && config.std[2] > 0)) {
        abort();
    }
    if (ivl__model_config_parse((const char *)data, size, &config, &error) == IVL_OK &&
        (config.vit.heads < 1 || config.vit.hidden % config.vit.heads || config.vit.patch < 1 ||
         config.vit.image % config.vit.patch || config.vit.layers < 1 || config.vit.mlp < 1 ||
         !(config.vit.eps > 0))) {
        abort();
    }
    return 0;
}
