/* tuning_file.c - reads and writes tuning files; see tuning_file.h. */
#include "runtime/tuning_file.h"

#include "runtime/hash.h"
#include "runtime/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "internvl-tuning 1"
#define KEY_DIGITS 32

/* ---- table ------------------------------------------------------------------------------- */

static ivl__tuning_entry *find(ivl__tuning_table *table, ivl_precision precision, int32_t n,
                               int32_t k, ivl_dtype w_type)
{
    for (int i = 0; i < table->n; i++) {
        ivl__tuning_entry *e = &table->entries[i];

        if (e->precision == precision && e->choice.n == n && e->choice.k == k &&
            e->choice.w_type == w_type) {
            return e;
        }
    }
    return NULL;
}

const ivl__tuning_entry *ivl__tuning_find(const ivl__tuning_table *table, ivl_precision precision,
                                          int32_t n, int32_t k, ivl_dtype w_type)
{
    return find((ivl__tuning_table *)(uintptr_t)table, precision, n, k, w_type);
}

bool ivl__tuning_set(ivl__tuning_table *table, const ivl__tuning_entry *entry)
{
    ivl__tuning_entry *old = find(table, entry->precision, entry->choice.n, entry->choice.k,
                                  entry->choice.w_type);

    if (!old) {
        if (table->n == IVL__GEMM_MAX_CHOICES) {
            return false;
        }
        old = &table->entries[table->n++];
    }
    *old = *entry;
    return true;
}

/* ---- reading ----------------------------------------------------------------------------- */

static const ivl__gemm_backend *backend_of(const char *name)
{
    for (size_t i = 0; ivl__gemm_backends[i]; i++) {
        if (strcmp(ivl__gemm_backends[i]->name, name) == 0) {
            return ivl__gemm_backends[i];
        }
    }
    return NULL;
}

static bool type_of(const char *name, ivl_dtype *type)
{
    static const ivl_dtype types[3] = {IVL_F32, IVL_F16, IVL_BF16};

    for (int i = 0; i < 3; i++) {
        if (strcmp(ivl__dtype_name(types[i]), name) == 0) {
            *type = types[i];
            return true;
        }
    }
    return false;
}

/* What is wrong with the words of a line, NULL where nothing is. */
static const char *take_words(char words[8][IVL__GEMM_TILE_TEXT], int n, ivl__tuning_entry *e)
{
    ivl__gemm_choice *c = &e->choice;

    *e = (ivl__tuning_entry){.precision = IVL_EXACT};
    if (n < 6) {
        return "it needs precision, columns, depth, weights, backend and parameters";
    }
    if (strcmp(words[0], "fast") == 0) {
        e->precision = IVL_FAST;
    } else if (strcmp(words[0], "exact") != 0) {
        return "the precision is neither exact nor fast";
    }
    c->n = atoi(words[1]);
    c->k = atoi(words[2]);
    if (c->n < 1 || c->k < 1) {
        return "columns and depth must be positive numbers";
    }
    if (!type_of(words[3], &c->w_type)) {
        return "the weights are neither fp32 nor fp16 nor bf16";
    }
    c->backend = backend_of(words[4]);
    if (!c->backend) {
        return "there is no such backend";
    }
    if (strcmp(words[5], "-") != 0 &&
        (strcmp(words[4], "tile") != 0 || !ivl__gemm_tile_params_parse(words[5], &c->tile))) {
        return "the parameters make no sense";
    }
    e->ms = n > 6 ? atof(words[6]) : 0.0;
    e->rows = n > 7 ? atoi(words[7]) : 0;
    return NULL;
}

static const char *take_entry(const char *line, ivl__tuning_table *table)
{
    char words[8][IVL__GEMM_TILE_TEXT];
    ivl__tuning_entry entry;
    const char *wrong;
    int n;

    _Static_assert(IVL__GEMM_TILE_TEXT == 96, "the widths below");
    n = sscanf(line, "%95s %95s %95s %95s %95s %95s %95s %95s", words[0], words[1], words[2],
               words[3], words[4], words[5], words[6], words[7]);
    wrong = take_words(words, n, &entry);
    if (wrong) {
        return wrong;
    }
    if (find(table, entry.precision, entry.choice.n, entry.choice.k, entry.choice.w_type)) {
        return "there is a line for this matrix already";
    }
    return ivl__tuning_set(table, &entry) ? NULL : "there are too many lines";
}

static void checksum(const char *text, size_t bytes, char hex[65])
{
    ivl__sha256 hash;

    ivl__sha256_init(&hash);
    ivl__sha256_add(&hash, text, bytes);
    ivl__sha256_hex(&hash, hex);
}

/* One line behind the first; start is the beginning of the whole text. */
static const char *take_line(const char *start, const char *line, size_t bytes,
                             ivl__tuning_table *table)
{
    char copy[400];
    char hex[65];

    if (bytes >= sizeof copy) {
        return "it is too long";
    }
    memcpy(copy, line, bytes);
    copy[bytes] = '\0';
    if (copy[0] == '#' || strspn(copy, " \t\r") == bytes) {
        return NULL;
    }
    if (strncmp(copy, "key ", 4) == 0) {
        snprintf(table->key, sizeof table->key, "%.32s", copy + 4);
        return strlen(copy + 4) == KEY_DIGITS ? NULL : "a key has 32 digits";
    }
    if (strncmp(copy, "checksum ", 9) == 0) {
        checksum(start, (size_t)(line - start), hex);
        table->edited = strncmp(copy + 9, hex, KEY_DIGITS) != 0;
        return NULL;
    }
    return take_entry(copy, table);
}

ivl_status ivl__tuning_parse(const char *name, const char *text, ivl__tuning_table *table,
                             ivl_error *error)
{
    const char *line = text;

    *table = (ivl__tuning_table){.edited = true};
    for (int number = 1; *line; number++) {
        size_t bytes = strcspn(line, "\n");
        const char *wrong;

        if (number == 1) {
            wrong = bytes == strlen(FIRST_LINE) && memcmp(line, FIRST_LINE, bytes) == 0
                        ? NULL
                        : "a tuning file begins with '" FIRST_LINE "'";
        } else {
            wrong = take_line(text, line, bytes, table);
        }
        if (wrong) {
            return ivl__fail(error, IVL_BAD_INPUT, "%s:%d: %s", name, number, wrong);
        }
        line += bytes + (line[bytes] == '\n');
    }
    if (line == text) {
        return ivl__fail(error, IVL_BAD_INPUT, "%s: it is empty", name);
    }
    return IVL_OK;
}

/* ---- writing ----------------------------------------------------------------------------- */

#define LINE_BYTES 256u

static void append(char *text, size_t *used, size_t room, const char *format, ...)
    IVL__PRINTF(4, 5);

static void append(char *text, size_t *used, size_t room, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    *used += (size_t)vsnprintf(text + *used, room - *used, format, arguments);
    va_end(arguments);
}

char *ivl__tuning_format(const ivl__tuning_table *table, const char *remark)
{
    size_t room = ((size_t)table->n + 8) * LINE_BYTES + strlen(remark);
    size_t used = 0;
    char *text = ivl__malloc(room);
    char hex[65];

    if (!text) {
        return NULL;
    }
    append(text, &used, room, FIRST_LINE "\nkey %s\n# %s\n", table->key, remark);
    append(text, &used, room,
           "# Delete this file to have it measured again; edit a copy and pass it with --tuning.\n"
           "# precision columns depth weights backend parameters ms rows\n");
    for (int i = 0; i < table->n; i++) {
        const ivl__tuning_entry *e = &table->entries[i];
        char parameters[IVL__GEMM_TILE_TEXT] = "-";

        if (e->choice.tile.mwg) {
            ivl__gemm_tile_params_text(&e->choice.tile, parameters);
        }
        append(text, &used, room, "%s %d %d %s %s %s %.3f %d\n",
               e->precision == IVL_FAST ? "fast" : "exact", e->choice.n, e->choice.k,
               ivl__dtype_name(e->choice.w_type), e->choice.backend->name, parameters, e->ms,
               e->rows);
    }
    checksum(text, used, hex);
    append(text, &used, room, "checksum %.32s\n", hex);
    return text;
}
