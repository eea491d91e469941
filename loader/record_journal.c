/* record_journal.c - how far a unit of an output is; see record_journal.h. */
#include "loader/record_journal.h"

#include "loader/json_text.h"
#include "runtime/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ivl__record_state_free(ivl__record_state *state)
{
    ivl__free(state->last);
    *state = (ivl__record_state){0};
}

bool ivl__record_state_copy(ivl__record_state *to, const ivl__record_state *from)
{
    char *last = from->last ? ivl__strdup(from->last) : NULL;

    if (from->last && !last) {
        return false;
    }
    *to = *from;
    to->last = last;
    return true;
}

void ivl__journal_free(ivl__journal *journal)
{
    ivl__free(journal->key);
    ivl__free(journal->first);
    ivl__record_state_free(&journal->now);
    ivl__record_state_free(&journal->old);
    json_decref(journal->provenance);
    json_decref(journal->earlier);
    *journal = (ivl__journal){0};
}

/* FNV-1a, each key with the NUL behind it. It finds inputs that changed, not forgeries. */
static uint64_t mix(uint64_t hash, unsigned byte)
{
    return (hash ^ byte) * 0x100000001b3u;
}

uint64_t ivl__record_hash(uint64_t hash, const char *key, uint64_t content)
{
    if (hash == 0) {
        hash = 0xcbf29ce484222325u;
    }
    do {
        hash = mix(hash, (unsigned char)*key);
    } while (*key++);
    for (uint64_t left = content; left; left >>= 8) {
        hash = mix(hash, (unsigned)(left & 0xff));
    }
    return hash ? hash : 1;
}

/* ---- reading ----------------------------------------------------------------------------- */

bool ivl__json_u64(const json_t *object, const char *name, uint64_t *value)
{
    const json_t *member = json_object_get(object, name);
    json_int_t number = json_integer_value(member);

    if (!json_is_integer(member) || number < 0) {
        return false;
    }
    *value = (uint64_t)number;
    return true;
}

/* true when missing or null (*copy is NULL then) or a string that could be copied. */
static bool take_string(const json_t *object, const char *name, char **copy)
{
    const json_t *member = json_object_get(object, name);

    *copy = NULL;
    if (!member || json_is_null(member)) {
        return true;
    }
    if (!json_is_string(member)) {
        return false;
    }
    *copy = ivl__strdup(json_string_value(member));
    return *copy != NULL;
}

static bool take_hash(const json_t *object, uint64_t *hash)
{
    const char *text = json_string_value(json_object_get(object, "inputs_hash"));

    if (!text || strlen(text) != 16) {
        return false;
    }
    *hash = 0;
    for (; *text; text++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = strchr(digits, *text);

        if (!digit) {
            return false;
        }
        *hash = *hash << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

/* Arrays have their rows behind the header; the other lengths are what they are. */
static bool take_bytes(const ivl__record_layout *layout, const json_t *object,
                       ivl__record_state *state)
{
    const json_t *list = json_object_get(object, "bytes");

    if (!json_is_array(list) || json_array_size(list) != (size_t)layout->n_files) {
        return false;
    }
    for (int i = 0; i < layout->n_files; i++) {
        const json_t *entry = json_array_get(list, (size_t)i);
        json_int_t bytes = json_integer_value(entry);

        if (!json_is_integer(entry) || bytes < 0 || bytes > INT64_MAX / 2) {
            return false;
        }
        state->bytes[i] = (uint64_t)bytes;
        if (state->inputs && ivl__record_kind_of(layout, i) == IVL__RECORD_ARRAY) {
            uint64_t row = ivl__record_row_bytes(layout, i);

            if (state->rows > (uint64_t)INT64_MAX / 4 / row ||
                state->bytes[i] != IVL__NPY_HEADER_BYTES + state->rows * row) {
                return false;
            }
        }
    }
    return true;
}

static bool state_parse(const ivl__record_layout *layout, const json_t *object,
                        ivl__record_state *state)
{
    bool good;

    *state = (ivl__record_state){0};
    good = ivl__json_u64(object, "inputs", &state->inputs) &&
           ivl__json_u64(object, "rows", &state->rows) &&
           ivl__json_u64(object, "errors", &state->errors) && state->rows <= state->inputs &&
           state->errors == state->inputs - state->rows && take_hash(object, &state->hash) &&
           take_bytes(layout, object, state) && take_string(object, "last", &state->last) &&
           (state->last != NULL) == (state->inputs > 0);
    if (!good) {
        ivl__record_state_free(state);
    }
    return good;
}

static const char keys_member[] = ",\n  \"keys\": [";

ivl_status ivl__journal_json(const char *text, size_t bytes, json_t **json, size_t *used,
                             ivl_error *error)
{
    const char *keys = bytes ? strstr(text, keys_member) : NULL;
    char *cut = NULL;
    json_error_t why;

    if (keys) {
        size_t n = (size_t)(keys - text);

        cut = ivl__malloc(n + 2);
        if (!cut) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
        }
        memcpy(cut, text, n);
        memcpy(cut + n, "}", 2);
        text = cut;
        bytes = n + 1;
    }
    *json = json_loadb(text, bytes, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &why);
    ivl__free(cut);
    if (!*json) {
        return ivl__fail(error, IVL_BAD_INPUT, "not a JSON object (%s)", why.text);
    }
    if (!json_is_object(*json)) {
        json_decref(*json);
        *json = NULL;
        return ivl__fail(error, IVL_BAD_INPUT, "not a JSON object");
    }
    *used = (size_t)why.position;
    return IVL_OK;
}

static bool take_old(const ivl__record_layout *layout, const json_t *json, ivl__journal *journal)
{
    const json_t *old = json_object_get(json, "old");

    journal->has_old = old != NULL;
    return !old || (state_parse(layout, old, &journal->old) && journal->old.inputs > 0);
}

ivl_status ivl__journal_parse(const ivl__record_layout *layout, const json_t *json,
                              ivl__journal *journal, ivl_error *error)
{
    ivl__journal j = {0};
    const char *state = json_string_value(json_object_get(json, "state"));
    json_t *provenance = json_object_get(json, "provenance");
    json_t *earlier = json_object_get(json, "earlier_provenance");

    if (!state || !ivl__json_u64(json, "unit", &j.unit) || !take_string(json, "key", &j.key) ||
        !take_string(json, "first", &j.first) || !state_parse(layout, json, &j.now) ||
        !take_old(layout, json, &j) || (strcmp(state, "open") != 0 && strcmp(state, "done") != 0) ||
        (j.first == NULL) != (j.now.inputs == 0 && !j.has_old) || !json_is_object(provenance) ||
        (earlier && !json_is_array(earlier))) {
        ivl__journal_free(&j);
        return ivl__fail(error, IVL_BAD_INPUT, "not a record of a unit, or damaged");
    }
    j.complete = strcmp(state, "done") == 0;
    j.provenance = json_incref(provenance);
    j.earlier = earlier ? json_incref(earlier) : NULL;
    *journal = j;
    return IVL_OK;
}

static bool line_parse(const ivl__record_layout *layout, const char *line, size_t bytes,
                       ivl__record_state *state, uint32_t *crc)
{
    json_error_t why;
    json_t *json = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &why);
    const json_t *list = json_object_get(json, "crc");
    bool good = json_is_object(json) && json_array_size(list) == (size_t)layout->n_files;

    for (int i = 0; good && i < layout->n_files; i++) {
        json_int_t value = json_integer_value(json_array_get(list, (size_t)i));

        good = json_is_integer(json_array_get(list, (size_t)i)) && value >= 0 &&
               value <= (json_int_t)UINT32_MAX;
        crc[i] = (uint32_t)value;
    }
    good = good && state_parse(layout, json, state);
    json_decref(json);
    return good;
}

bool ivl__journal_line(const ivl__record_layout *layout, const char *text, size_t from, size_t *end,
                       ivl__record_state *state, uint32_t crc[IVL__RECORD_MAX_FILES])
{
    while (*end > from) {
        size_t stop = *end;
        size_t start;

        /* A line that was torn off has no line feed: it does not count. */
        while (stop > from && text[stop - 1] != '\n') {
            stop--;
        }
        if (stop == from) {
            *end = from;
            return false;
        }
        for (start = stop - 1; start > from && text[start - 1] != '\n'; start--) {
        }
        *end = start;
        if (line_parse(layout, text + start, stop - start, state, crc)) {
            return true;
        }
    }
    return false;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Takes over `value`, which may be NULL when memory was short. */
static bool put(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0;
}

static json_t *hash_json(uint64_t hash)
{
    char text[17];

    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

static json_t *string_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static bool state_write(const ivl__record_layout *layout, const ivl__record_state *state,
                        json_t *object)
{
    json_t *bytes = json_array();
    bool good = bytes != NULL;

    for (int i = 0; good && i < layout->n_files; i++) {
        good = json_array_append_new(bytes, json_integer((json_int_t)state->bytes[i])) == 0;
    }
    good = good && put(object, "inputs", json_integer((json_int_t)state->inputs)) &&
           put(object, "rows", json_integer((json_int_t)state->rows)) &&
           put(object, "errors", json_integer((json_int_t)state->errors)) &&
           put(object, "inputs_hash", hash_json(state->hash)) &&
           put(object, "last", string_or_null(state->last));
    return put(object, "bytes", bytes) && good;
}

bool ivl__journal_write(const ivl__record_layout *layout, const ivl__journal *journal,
                        json_t *object)
{
    json_t *old = journal->has_old ? json_object() : NULL;

    if (journal->has_old && !(old && state_write(layout, &journal->old, old))) {
        json_decref(old);
        return false;
    }
    return put(object, "unit", json_integer((json_int_t)journal->unit)) &&
           put(object, "key", string_or_null(journal->key)) &&
           put(object, "state", json_string(journal->complete ? "done" : "open")) &&
           state_write(layout, &journal->now, object) &&
           put(object, "first", string_or_null(journal->first)) &&
           (!old || put(object, "old", old)) &&
           json_object_set(object, "provenance", journal->provenance) == 0 &&
           (!journal->earlier ||
            json_object_set(object, "earlier_provenance", journal->earlier) == 0);
}

char *ivl__journal_format_line(const ivl__record_layout *layout, const ivl__record_state *state,
                               const uint32_t *crc)
{
    json_t *object = json_object();
    json_t *list = json_array();
    ivl__text line = {0};
    bool good = object && list && state_write(layout, state, object);
    char *dump = NULL;

    for (int i = 0; good && i < layout->n_files; i++) {
        good = json_array_append_new(list, json_integer((json_int_t)crc[i])) == 0;
    }
    good = object && put(object, "crc", list) && good;
    if (good) {
        dump = json_dumps(object, JSON_COMPACT);
    }
    json_decref(object);
    if (!dump) {
        return NULL;
    }
    ivl__text_printf(&line, "%s\n", dump);
    free(dump);
    if (line.failed) {
        ivl__text_free(&line);
    }
    return line.data;
}
