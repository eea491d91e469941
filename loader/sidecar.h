/* sidecar.h - the .txt and .json that lie beside a picture in a webdataset tar. */
#ifndef IVL_LOADER_SIDECAR_H
#define IVL_LOADER_SIDECAR_H

#include "runtime/status.h"

#include <stddef.h>

/* Larger sidecars are not read. */
enum { IVL__SIDECAR_MAX_BYTES = 1 << 20 };

/* txt and json may be NULL. *caption: the text without line ends at its end, else the JSON's
 * "caption"; *fields: the JSON object's members as text, without braces. Names that rows use
 * themselves get the prefix "sidecar_". Either result may be NULL; both are ivl__free'd. A JSON
 * that cannot be read gives one member "sidecar_error". Fails only when memory is short. */
ivl_status ivl__sidecar_read(const char *txt, size_t n_txt, const char *json, size_t n_json,
                             char **caption, char **fields, ivl_error *error);

#endif
