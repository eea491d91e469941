/* fuzz_journal.c - any bytes as what lies in an output folder: the record of a unit, its journal
 * with the lines behind it, and the manifest. What is accepted is consistent, and is read back the
 * same when it is written.
 */
#include "loader/record_head.h"
#include "loader/record_journal.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
    if (!good) {
        abort();
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_state(const ivl__record_state *a, const ivl__record_state *b)
{
    return a->inputs == b->inputs && a->rows == b->rows && a->errors == b->errors &&
           a->hash == b->hash && same_text(a->last, b->last) &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Copying a unit relies on this. */
static void check_state(const ivl__record_layout *layout, const ivl__record_state *state)
{
    must(state->rows <= state->inputs && state->errors == state->inputs - state->rows);
    must((state->last != NULL) == (state->inputs > 0));
    for (int i = 0; i < layout->n_files; i++) {
        if (state->inputs && ivl__record_kind_of(layout, i) == IVL__RECORD_ARRAY) {
            must((state->bytes[i] - IVL__NPY_HEADER_BYTES) / ivl__record_row_bytes(layout, i) ==
                 state->rows);
        }
    }
}

static void check_journal(const ivl__record_layout *layout, const json_t *json)
{
    json_t *written = json_object();
    ivl__journal journal, again;
    ivl_error error;

    must(written != NULL);
    if (ivl__journal_parse(layout, json, &journal, &error) == IVL_OK) {
        check_state(layout, &journal.now);
        must(ivl__journal_write(layout, &journal, written));
        must(ivl__journal_parse(layout, written, &again, &error) == IVL_OK);
        must(again.unit == journal.unit && again.complete == journal.complete &&
             again.has_old == journal.has_old && same_text(again.key, journal.key) &&
             same_text(again.first, journal.first) && same_state(&again.now, &journal.now) &&
             json_equal(again.provenance, journal.provenance));
        if (journal.has_old) {
            check_state(layout, &journal.old);
            must(same_state(&again.old, &journal.old));
        }
        ivl__journal_free(&again);
        ivl__journal_free(&journal);
    }
    json_decref(written);
}

/* Lines are taken from the last one on, until one holds. */
static void check_lines(const ivl__record_layout *layout, const char *text, size_t from, size_t end)
{
    uint32_t crc[IVL__RECORD_MAX_FILES], crc_again[IVL__RECORD_MAX_FILES];
    ivl__record_state state, again;
    size_t before = end;

    while (ivl__journal_line(layout, text, from, &end, &state, crc)) {
        char *line = ivl__journal_format_line(layout, &state, crc);
        size_t stop = line ? strlen(line) : 0;

        must(line && end >= from && end < before);
        before = end;
        check_state(layout, &state);
        must(ivl__journal_line(layout, line, 0, &stop, &again, crc_again) && stop == 0);
        must(same_state(&state, &again) &&
             memcmp(crc, crc_again, (size_t)layout->n_files * sizeof *crc) == 0);
        ivl__record_state_free(&state);
        ivl__record_state_free(&again);
        ivl__free(line);
    }
}

/* As an output whose rows are 256 floats. */
static void check_form(const char *path, const json_t *json, const char *text, size_t used,
                       size_t size)
{
    const ivl__record_stream stream = {.name = "img_emb", .suffix = "", .rank = 1, .shape = {256}};
    ivl__record_layout layout;
    ivl_error error;

    must(ivl__record_layout_init(&layout, path, &stream, 1, IVL__NPY_F4, &error) == IVL_OK);
    if (json) {
        check_journal(&layout, json);
    }
    check_lines(&layout, text, used, size);
    ivl__record_layout_free(&layout);
}

/* A manifest that is accepted names files inside its folder. */
static void check_manifest(const json_t *json)
{
    ivl__record_stream streams[IVL__MAX_STREAMS];
    ivl__record_layout layout;
    ivl__npy_type type;
    ivl_error error;
    int n;

    if (ivl__record_head_streams(json, streams, &n, &type, &error) != IVL_OK ||
        ivl__record_layout_init(&layout, "out/", streams, n, type, &error) != IVL_OK) {
        return;
    }
    for (int i = 0; i < layout.n_files; i++) {
        char *path = ivl__record_file_path(&layout, i, 7);

        must(path && strncmp(path, "out/", 4) == 0 && !strstr(path, ".."));
        must(strchr(path + 4, '/') && strchr(path + 4, '/') == strrchr(path, '/'));
        ivl__free(path);
    }
    ivl__record_layout_free(&layout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = ivl__malloc(size + 1); /* Files are read with a NUL behind them. */
    json_t *json = NULL;
    ivl_error error;
    size_t used = 0;

    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (ivl__journal_json(text, size, &json, &used, &error) == IVL_OK) {
        must(used <= size);
        check_manifest(json);
    } else {
        json = NULL;
        used = 0;
    }
    check_form("out/", json, text, used, size);
    check_form("out.csv", json, text, used, size);
    json_decref(json);
    ivl__free(text);
    return 0;
}
