/* record_journal.h - how far a unit of an output is: its journal while in progress, then its
 * record.
 *
 * Both are one JSON object; the journal has further lines behind it. The object is written whole
 * (temporary file, sync, rename) and tells only of bytes that are on the disk. Each line tells of
 * bytes that were written since and perhaps never reached the disk: it carries their CRC-32, by
 * which a reader finds out after the power went off. The last line that holds, counts.
 *
 *   {"unit":0,"key":null,"state":"open","inputs":8,"rows":7,"errors":1,"inputs_hash":"<16 hex>",
 *    "first":"a.jpg","last":"h.jpg","bytes":[...],"provenance":{...}}
 *   {"inputs":12,"rows":11,"errors":1,"inputs_hash":"...","last":"l.jpg","bytes":[...],"crc":[...]}
 *
 * "old" in the object: the unit is being written anew from its former files (*.old), of which it
 * tells the extent, because failed inputs are tried again.
 *
 * The text is hostile input: everything is checked, and what a state claims is consistent.
 */
#ifndef IVL_LOADER_RECORD_JOURNAL_H
#define IVL_LOADER_RECORD_JOURNAL_H

#include "loader/record_layout.h"

#include <jansson.h>

/* Longest journal and record that is read. */
#define IVL__JOURNAL_MAX_BYTES ((size_t)64 << 20)

typedef struct ivl__record_state {
    uint64_t inputs, rows, errors; /* inputs == rows + errors */
    uint64_t hash;                 /* chained over keys and contents of all inputs */
    char *last;                    /* key of the last one, escaped; NULL without inputs */
    uint64_t bytes[IVL__RECORD_MAX_FILES];
} ivl__record_state;

typedef struct ivl__journal {
    uint64_t unit;
    char *key;   /* of a tar, escaped, or NULL */
    char *first; /* key of the first input, escaped, or NULL */
    bool complete;
    ivl__record_state now;
    bool has_old;
    ivl__record_state old;
    json_t *provenance; /* of the last run that added something; never NULL once read */
    json_t *earlier;    /* array: of runs before it, where different; or NULL */
} ivl__journal;

void ivl__record_state_free(ivl__record_state *state);
bool ivl__record_state_copy(ivl__record_state *to, const ivl__record_state *from);
void ivl__journal_free(ivl__journal *journal);

/* The next link of the chain of keys (and contents, where not 0); hash 0 begins it. */
uint64_t ivl__record_hash(uint64_t hash, const char *key, uint64_t content);

/* The object at the beginning of a text; *used is where it ends. IVL_BAD_INPUT, without a name. A
 * member "keys" that stands last (the long list in the record of an .npz) is not read. */
ivl_status ivl__journal_json(const char *text, size_t bytes, json_t **json, size_t *used,
                             ivl_error *error);
/* Takes a journal out of the object. */
ivl_status ivl__journal_parse(const ivl__record_layout *layout, const json_t *json,
                              ivl__journal *journal, ivl_error *error);
/* The state in the last line of text[0, *end) that begins at `from` or later; false when there is
 * none that can be read. *end becomes the beginning of that line. */
bool ivl__journal_line(const ivl__record_layout *layout, const char *text, size_t from, size_t *end,
                       ivl__record_state *state, uint32_t crc[IVL__RECORD_MAX_FILES]);

/* Adds the members to an object. */
bool ivl__journal_write(const ivl__record_layout *layout, const ivl__journal *journal,
                        json_t *object);
/* A new line (ivl__free), NULL when memory is short. */
char *ivl__journal_format_line(const ivl__record_layout *layout, const ivl__record_state *state,
                               const uint32_t *crc);

/* A whole number >= 0 of an object; false when it is missing or something else. */
bool ivl__json_u64(const json_t *object, const char *name, uint64_t *value);

#endif
