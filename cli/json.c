/* json.c - JSON for stdout; see json.h. */
#include "cli/json.h"

#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void begin_value(cli_json *json, const char *key)
{
    if (json->comma) {
        ivl__text_puts(&json->text, ", ");
    }
    if (key) {
        ivl__text_json(&json->text, key);
        ivl__text_puts(&json->text, ": ");
    }
    json->comma = true;
}

void cli_json_begin(cli_json *json, const char *key, char bracket)
{
    begin_value(json, key);
    ivl__text_add(&json->text, &bracket, 1);
    json->comma = false;
}

void cli_json_end(cli_json *json, char bracket)
{
    ivl__text_add(&json->text, &bracket, 1);
    json->comma = true;
}

void cli_json_text(cli_json *json, const char *key, const char *value)
{
    begin_value(json, key);
    ivl__text_json(&json->text, value);
}

void cli_json_bytes(cli_json *json, const char *key, const char *value, size_t bytes)
{
    begin_value(json, key);
    ivl__text_json_bytes(&json->text, value, bytes);
}

void cli_json_u64(cli_json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    ivl__text_printf(&json->text, "%llu", (unsigned long long)value);
}

void cli_json_int(cli_json *json, const char *key, int value)
{
    begin_value(json, key);
    ivl__text_printf(&json->text, "%d", value);
}

void cli_json_real(cli_json *json, const char *key, double value)
{
    char number[40];

    begin_value(json, key);
    if (!isfinite(value)) {
        ivl__text_puts(&json->text, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value) {
            break;
        }
    }
    ivl__text_puts(&json->text, number);
}

void cli_json_float(cli_json *json, const char *key, float value)
{
    char number[40];

    begin_value(json, key);
    if (!isfinite(value)) {
        ivl__text_puts(&json->text, "null");
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, (double)value);
        if (strtof(number, NULL) == value) {
            break;
        }
    }
    ivl__text_puts(&json->text, number);
}

void cli_json_bool(cli_json *json, const char *key, bool value)
{
    begin_value(json, key);
    ivl__text_puts(&json->text, value ? "true" : "false");
}

void cli_json_null(cli_json *json, const char *key)
{
    begin_value(json, key);
    ivl__text_puts(&json->text, "null");
}

void cli_json_line(cli_json *json)
{
    ivl__text_puts(&json->text, json->comma ? ",\n " : "\n ");
    json->comma = false;
}

int cli_json_print(cli_json *json)
{
    int code = CLI_DONE;

    if (json->text.failed || !json->text.data) {
        cli_say(IVL_LOG_ERROR, "out of memory for the JSON on stdout");
        code = CLI_FAILED;
    } else {
        fwrite(json->text.data, 1, json->text.bytes, stdout);
        putchar('\n');
    }
    ivl__text_free(&json->text);
    return code;
}
