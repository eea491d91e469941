/* json.h - JSON for stdout, written front to back; commas and quoting are looked after.
 *
 *     cli_json json = {0};
 *     cli_json_begin(&json, NULL, '{');
 *     cli_json_text(&json, "name", device.name);
 *     cli_json_end(&json, '}');
 *     code = cli_json_print(&json);
 *
 * key is NULL for elements of an array and for the outermost value. Strings may be any bytes
 * (json_text.h).
 */
#ifndef IVL_CLI_JSON_H
#define IVL_CLI_JSON_H

#include "loader/json_text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_json {
    ivl__text text;
    bool comma; /* the next value is not the first of its container */
} cli_json;

void cli_json_begin(cli_json *json, const char *key, char bracket);
void cli_json_end(cli_json *json, char bracket);
void cli_json_text(cli_json *json, const char *key, const char *value);
/* The same of bytes among which may be NUL. */
void cli_json_bytes(cli_json *json, const char *key, const char *value, size_t bytes);
void cli_json_u64(cli_json *json, const char *key, uint64_t value);
void cli_json_int(cli_json *json, const char *key, int value);
/* The shortest text that reads back as the same double; null for what is not finite. */
void cli_json_real(cli_json *json, const char *key, double value);
/* The shortest text that reads back as the same float. */
void cli_json_float(cli_json *json, const char *key, float value);
void cli_json_bool(cli_json *json, const char *key, bool value);
void cli_json_null(cli_json *json, const char *key);
/* The next value begins a line of its own. */
void cli_json_line(cli_json *json);

/* Writes it to stdout with a line feed and frees it. CLI_DONE, or CLI_FAILED (no memory; printed).
 */
int cli_json_print(cli_json *json);

#endif
