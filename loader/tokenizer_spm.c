/* tokenizer_spm.c - SentencePiece BPE; see tokenizer_spm.h.
 *
 * Strings are compared once, when the tokenizer is made: every piece and every single character of
 * a piece gets a symbol number, and a table tells for two symbols which piece their concatenation
 * is. Encoding then works on numbers alone. Symbols below n_pieces are the pieces themselves.
 */
#include "loader/tokenizer_spm.h"

#include "loader/json_text.h"
#include "loader/utf8.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

#define BLANK       "\xe2\x96\x81" /* U+2581, what SentencePiece writes for a blank */
#define BLANK_BYTES 3u
#define BLANK_CODE  0x2581u
#define REPLACEMENT "\xef\xbf\xbd"   /* U+FFFD */
#define UNKNOWN     " \xe2\x81\x87 " /* sentencepiece's unk_surface */
#define NO_SYMBOL   (-1)

/* A string of the vocabulary and its symbol. */
typedef struct string_slot {
    const char *text;
    uint32_t bytes;
    int32_t symbol; /* NO_SYMBOL: the slot is free */
} string_slot;

/* Two neighbours and the piece they make. */
typedef struct pair_slot {
    uint64_t key; /* left << 32 | right */
    int32_t merged;
    float score;
} pair_slot;

struct ivl__tokenizer_spm {
    ivl__spm_model *model;
    string_slot *strings; /* open addressing, n_strings a power of two */
    size_t n_strings;
    pair_slot *pairs; /* likewise; merged NO_SYMBOL: free */
    size_t n_pairs;
    /* A bit for every pair, at the low bits of its hash: most neighbours make no piece, and these
     * bits stay in the cache where the table does not. */
    uint64_t *filter;
    /* A bit for every two characters that stand side by side in some piece, likewise: between two
     * that do not, nothing is ever merged. */
    uint64_t *joints;
    int32_t ascii[128]; /* symbols of single characters */
    int32_t n_symbols;
};

/* ---- strings to symbols ------------------------------------------------------------------ */

static uint64_t mix(uint64_t value)
{
    value ^= value >> 32;
    value *= 0x9e3779b97f4a7c15u;
    return value ^ value >> 29;
}

static uint64_t hash_text(const char *text, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    }
    return mix(hash);
}

/* The slot of a string, or the free one where it would be. */
static string_slot *find_string(const ivl__tokenizer_spm *t, const char *text, size_t bytes)
{
    size_t at = (size_t)hash_text(text, bytes) & (t->n_strings - 1);

    while (t->strings[at].symbol != NO_SYMBOL &&
           (t->strings[at].bytes != bytes || memcmp(t->strings[at].text, text, bytes) != 0)) {
        at = (at + 1) & (t->n_strings - 1);
    }
    return &t->strings[at];
}

static int32_t symbol_of(const ivl__tokenizer_spm *t, const char *text, size_t bytes)
{
    if (bytes == 1 && !(text[0] & 0x80)) {
        return t->ascii[(unsigned char)text[0]];
    }
    return find_string(t, text, bytes)->symbol;
}

static ivl_status add_pieces(ivl__tokenizer_spm *t, ivl_error *error)
{
    for (size_t i = 0; i < t->model->n_pieces; i++) {
        const ivl__spm_piece *piece = &t->model->pieces[i];
        string_slot *slot;

        /* Control, unknown and byte pieces are never made from text. */
        if (piece->type != IVL__SPM_NORMAL) {
            continue;
        }
        slot = find_string(t, piece->text, piece->bytes);
        if (slot->symbol != NO_SYMBOL) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tokenizer: pieces %d and %zu are equal ('%.*s')", slot->symbol, i,
                             (int)(piece->bytes < 40 ? piece->bytes : 40), piece->text);
        }
        *slot = (string_slot){piece->text, piece->bytes, (int32_t)i};
    }
    return IVL_OK;
}

/* Characters that stand in pieces but are none: symbols that exist until they are merged. */
static void add_characters(ivl__tokenizer_spm *t)
{
    for (size_t i = 0; i < t->model->n_pieces; i++) {
        const ivl__spm_piece *piece = &t->model->pieces[i];
        size_t length;

        for (size_t at = 0; piece->type == IVL__SPM_NORMAL && at < piece->bytes; at += length) {
            string_slot *slot;

            length = ivl__utf8_decode(piece->text + at, piece->bytes - at, NULL);
            slot = find_string(t, piece->text + at, length);
            if (slot->symbol == NO_SYMBOL) {
                *slot = (string_slot){piece->text + at, (uint32_t)length, t->n_symbols++};
            }
        }
    }
    for (int c = 0; c < 128; c++) {
        const char text[1] = {(char)c};

        t->ascii[c] = find_string(t, text, 1)->symbol;
    }
}

/* ---- pairs ------------------------------------------------------------------------------- */

#define FILTER_BITS ((size_t)1 << 21)
#define JOINT_BITS  ((size_t)1 << 20)

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint64_t hash_pair(uint64_t key)
{
    return mix(key * 0xff51afd7ed558ccdu);
}

static void filter_add(uint64_t *filter, size_t bits, uint64_t hash)
{
    size_t bit = (size_t)(hash >> 40) & (bits - 1);

    filter[bit / 64] |= (uint64_t)1 << bit % 64;
}

/* false: certainly not there. */
static bool filter_has(const uint64_t *filter, size_t bits, uint64_t hash)
{
    size_t bit = (size_t)(hash >> 40) & (bits - 1);

    return filter[bit / 64] >> bit % 64 & 1;
}

static pair_slot *find_pair(const ivl__tokenizer_spm *t, uint64_t key, uint64_t hash)
{
    size_t at = (size_t)hash & (t->n_pairs - 1);

    while (t->pairs[at].merged != NO_SYMBOL && t->pairs[at].key != key) {
        at = (at + 1) & (t->n_pairs - 1);
    }
    return &t->pairs[at];
}

/* Enters every way to cut a piece in two symbols; without a table only counts them. */
static size_t cut_piece(ivl__tokenizer_spm *t, size_t id)
{
    const ivl__spm_piece *piece = &t->model->pieces[id];
    size_t n = 0;

    for (size_t at = ivl__utf8_decode(piece->text, piece->bytes, NULL); at < piece->bytes;
         at += ivl__utf8_decode(piece->text + at, piece->bytes - at, NULL)) {
        int32_t left = symbol_of(t, piece->text, at);
        int32_t right = symbol_of(t, piece->text + at, piece->bytes - at);

        if (left == NO_SYMBOL || right == NO_SYMBOL) {
            continue;
        }
        n++;
        if (t->pairs) {
            uint64_t key = pair_key(left, right);
            uint64_t hash = hash_pair(key);
            pair_slot *slot = find_pair(t, key, hash);

            filter_add(t->filter, FILTER_BITS, hash);
            slot->key = key;
            slot->merged = (int32_t)id;
            slot->score = piece->score;
        }
    }
    return n;
}

static size_t cut_pieces(ivl__tokenizer_spm *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->model->n_pieces; i++) {
        n += t->model->pieces[i].type == IVL__SPM_NORMAL ? cut_piece(t, i) : 0;
    }
    return n;
}

/* Which characters stand side by side. */
static void add_joints(ivl__tokenizer_spm *t)
{
    for (size_t i = 0; i < t->model->n_pieces; i++) {
        const ivl__spm_piece *piece = &t->model->pieces[i];
        int32_t before = NO_SYMBOL;
        size_t length;

        for (size_t at = 0; piece->type == IVL__SPM_NORMAL && at < piece->bytes; at += length) {
            int32_t symbol;

            length = ivl__utf8_decode(piece->text + at, piece->bytes - at, NULL);
            symbol = symbol_of(t, piece->text + at, length);
            if (at > 0) {
                filter_add(t->joints, JOINT_BITS, hash_pair(pair_key(before, symbol)));
            }
            before = symbol;
        }
    }
}

static size_t table_size(size_t entries)
{
    size_t size = 256;

    /* A third full at most: a search that fails is short. */
    while (size < 3 * entries) {
        size *= 2;
    }
    return size;
}

#define CODE_POINTS 0x110000u

/* Distinct characters of all pieces; a piece that is not UTF-8 is refused here. */
static ivl_status count_characters(const ivl__spm_model *model, size_t *count, ivl_error *error)
{
    unsigned char *seen = ivl__calloc(CODE_POINTS / 8, 1);

    if (!seen) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer");
    }
    for (size_t i = 0; i < model->n_pieces; i++) {
        const ivl__spm_piece *piece = &model->pieces[i];
        size_t length;

        for (size_t at = 0; at < piece->bytes; at += length) {
            uint32_t code;

            length = ivl__utf8_decode(piece->text + at, piece->bytes - at, &code);
            if (!length) {
                ivl__free(seen);
                return ivl__fail(error, IVL_BAD_MODEL, "tokenizer: piece %zu is not UTF-8", i);
            }
            *count += !(seen[code / 8] >> code % 8 & 1);
            seen[code / 8] |= (unsigned char)(1u << code % 8);
        }
    }
    ivl__free(seen);
    return IVL_OK;
}

static ivl_status make_tables(ivl__tokenizer_spm *t, ivl_error *error)
{
    size_t characters = 0;

    IVL__TRY(count_characters(t->model, &characters, error));
    t->n_symbols = (int32_t)t->model->n_pieces;
    t->n_strings = table_size(t->model->n_pieces + characters);
    t->strings = ivl__malloc(t->n_strings * sizeof *t->strings);
    if (!t->strings) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer");
    }
    for (size_t i = 0; i < t->n_strings; i++) {
        t->strings[i].symbol = NO_SYMBOL;
    }
    IVL__TRY(add_pieces(t, error));
    add_characters(t);
    t->n_pairs = table_size(cut_pieces(t));
    t->pairs = ivl__malloc(t->n_pairs * sizeof *t->pairs);
    t->filter = ivl__calloc(FILTER_BITS / 64, sizeof *t->filter);
    t->joints = ivl__calloc(JOINT_BITS / 64, sizeof *t->joints);
    if (!t->pairs || !t->filter || !t->joints) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer");
    }
    for (size_t i = 0; i < t->n_pairs; i++) {
        t->pairs[i].merged = NO_SYMBOL;
    }
    cut_pieces(t);
    add_joints(t);
    return IVL_OK;
}

/* ---- open -------------------------------------------------------------------------------- */

ivl_status ivl__tokenizer_spm_parse(const void *data, size_t bytes, ivl__tokenizer_spm **out,
                                    ivl_error *error)
{
    ivl__tokenizer_spm *t = ivl__calloc(1, sizeof *t);
    ivl_status status;

    if (!t) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer");
    }
    status = ivl__spm_model_parse(data, bytes, &t->model, error);
    if (status == IVL_OK) {
        status = make_tables(t, error);
    }
    if (status != IVL_OK) {
        ivl__tokenizer_spm_free(t);
        return status;
    }
    *out = t;
    return IVL_OK;
}

ivl_status ivl__tokenizer_spm_open(const char *path, ivl__tokenizer_spm **tokenizer,
                                   ivl_error *error)
{
    unsigned char *data;
    size_t bytes;
    ivl_status status = ivl__file_read(path, IVL__SPM_MAX_BYTES, &data, &bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    status = ivl__tokenizer_spm_parse(data, bytes, tokenizer, error);
    ivl__free(data);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "'%s'", path);
}

void ivl__tokenizer_spm_free(ivl__tokenizer_spm *t)
{
    if (t) {
        ivl__spm_model_free(t->model);
        ivl__free(t->strings);
        ivl__free(t->pairs);
        ivl__free(t->filter);
        ivl__free(t->joints);
        ivl__free(t);
    }
}

const ivl__spm_model *ivl__tokenizer_spm_model(const ivl__tokenizer_spm *t)
{
    return t->model;
}

void ivl__token_ids_free(ivl__token_ids *ids)
{
    ivl__free(ids->ids);
    ivl__free(ids->scratch);
    *ids = (ivl__token_ids){0};
}

/* ---- encode ------------------------------------------------------------------------------ */

/* One symbol of the text: a list, since merging takes out of the middle. */
typedef struct node {
    int32_t symbol; /* NO_SYMBOL: a character that is in no piece */
    uint32_t code;  /* of the character, for its bytes */
    int32_t before, after;
} node;

/* Two neighbours that could be merged, as they were when this was found. */
typedef struct candidate {
    float score;
    int32_t left;   /* index of the left one; its right neighbour is found from it */
    int32_t merged; /* what they make */
    int32_t left_symbol, right_symbol;
} candidate;

typedef struct encoder {
    const ivl__tokenizer_spm *tokenizer;
    node *nodes;
    int32_t n_nodes;
    candidate *heap;
    size_t n_heap;
} encoder;

/* The highest score first, the leftmost among equals. */
static bool precedes(const candidate *a, const candidate *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void heap_push(encoder *e, candidate c)
{
    size_t at = e->n_heap++;

    while (at > 0 && precedes(&c, &e->heap[(at - 1) / 2])) {
        e->heap[at] = e->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    e->heap[at] = c;
}

static candidate heap_pop(encoder *e)
{
    candidate top = e->heap[0];
    candidate last = e->heap[--e->n_heap];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= e->n_heap) {
            break;
        }
        child += child + 1 < e->n_heap && precedes(&e->heap[child + 1], &e->heap[child]) ? 1 : 0;
        if (!precedes(&e->heap[child], &last)) {
            break;
        }
        e->heap[at] = e->heap[child];
        at = child;
    }
    e->heap[at] = last;
    return top;
}

static void propose(encoder *e, int32_t left)
{
    int32_t right = left >= 0 ? e->nodes[left].after : -1;
    const pair_slot *pair;
    uint64_t key;
    uint64_t hash;

    if (right < 0 || e->nodes[left].symbol == NO_SYMBOL || e->nodes[right].symbol == NO_SYMBOL) {
        return;
    }
    key = pair_key(e->nodes[left].symbol, e->nodes[right].symbol);
    hash = hash_pair(key);
    pair = filter_has(e->tokenizer->filter, FILTER_BITS, hash) ? find_pair(e->tokenizer, key, hash)
                                                               : NULL;
    if (pair && pair->merged != NO_SYMBOL) {
        heap_push(e, (candidate){pair->score, left, pair->merged, e->nodes[left].symbol,
                                 e->nodes[right].symbol});
    }
}

/* A node that was swallowed has the symbol below, which no candidate holds. */
#define SWALLOWED (-2)

static void merge(encoder *e, const candidate *c)
{
    node *left = &e->nodes[c->left];
    node *right;

    if (left->symbol != c->left_symbol || left->after < 0 ||
        e->nodes[left->after].symbol != c->right_symbol) {
        return; /* one of the two has been merged since */
    }
    right = &e->nodes[left->after];
    left->symbol = c->merged;
    left->after = right->after;
    right->symbol = SWALLOWED;
    if (left->after >= 0) {
        e->nodes[left->after].before = c->left;
    }
    propose(e, left->before);
    propose(e, c->left);
}

/* A character that is no piece: its bytes, each a piece of its own. */
static size_t put_bytes(const ivl__spm_model *model, uint32_t code, int32_t *ids)
{
    char text[4];
    size_t n = ivl__utf8_encode(code, text);

    for (size_t i = 0; i < n; i++) {
        ids[i] = model->byte_ids[(unsigned char)text[i]];
    }
    return n;
}

/* Appends the ids of the nodes. Room for every character as 4 bytes. */
static ivl_status collect(const encoder *e, ivl__token_ids *out, ivl_error *error)
{
    const ivl__spm_model *model = e->tokenizer->model;

    for (int32_t i = e->n_nodes ? 0 : -1; i >= 0; i = e->nodes[i].after) {
        const node *symbol = &e->nodes[i];

        if (!ivl__grow((void **)&out->ids, &out->capacity, out->n + 4, sizeof *out->ids)) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for token ids");
        }
        if (symbol->symbol >= 0 && (size_t)symbol->symbol < model->n_pieces) {
            out->ids[out->n++] = symbol->symbol;
        } else {
            out->n += put_bytes(model, symbol->code, out->ids + out->n);
        }
    }
    return IVL_OK;
}

/* Merges what there is to merge among the nodes, appends their ids and forgets them. */
static ivl_status flush(encoder *e, ivl__token_ids *ids, ivl_error *error)
{
    ivl_status status;

    for (int32_t i = 0; i < e->n_nodes; i++) {
        propose(e, i);
    }
    while (e->n_heap) {
        candidate c = heap_pop(e);

        merge(e, &c);
    }
    status = collect(e, ids, error);
    e->n_nodes = 0;
    return status;
}

/* One more character. Where no piece has it behind the one before, what comes from here on cannot
 * be merged with what was: the list stays short, which makes the time linear in ordinary texts. */
static ivl_status add_character(encoder *e, const char *text, size_t bytes, uint32_t code,
                                ivl__token_ids *ids, ivl_error *error)
{
    const int32_t symbol = symbol_of(e->tokenizer, text, bytes);
    int32_t at = e->n_nodes;

    if (at > 0 && !filter_has(e->tokenizer->joints, JOINT_BITS,
                              hash_pair(pair_key(e->nodes[at - 1].symbol, symbol)))) {
        IVL__TRY(flush(e, ids, error));
        at = 0;
    }
    e->nodes[at] = (node){.symbol = symbol, .code = code, .before = at - 1, .after = -1};
    if (at > 0) {
        e->nodes[at - 1].after = at;
    }
    e->n_nodes = at + 1;
    return IVL_OK;
}

/* Characters, blanks written as U+2581, one more of them in front. */
static ivl_status add_text(encoder *e, const char *text, size_t bytes, ivl__token_ids *ids,
                           ivl_error *error)
{
    size_t length;

    if (bytes && e->tokenizer->model->add_dummy_prefix) {
        IVL__TRY(add_character(e, BLANK, BLANK_BYTES, BLANK_CODE, ids, error));
    }
    for (size_t at = 0; at < bytes; at += length) {
        uint32_t code;

        length = ivl__utf8_decode(text + at, bytes - at, &code);
        if (!length) {
            return ivl__fail(error, IVL_BAD_INPUT, "text is not UTF-8 at byte %zu (0x%02x)", at,
                             (unsigned)(unsigned char)text[at]);
        }
        if (text[at] == ' ') {
            IVL__TRY(add_character(e, BLANK, BLANK_BYTES, BLANK_CODE, ids, error));
        } else {
            IVL__TRY(add_character(e, text + at, length, code, ids, error));
        }
    }
    return flush(e, ids, error);
}

/* Nodes, and behind them the heap: each merge proposes at most two more. */
static ivl_status reserve(encoder *e, ivl__token_ids *ids, size_t bytes, ivl_error *error)
{
    size_t nodes = bytes + 1;
    size_t need = nodes * (sizeof(node) + 3 * sizeof(candidate));

    if (need > ids->scratch_bytes) {
        void *scratch = ivl__malloc(need);

        if (!scratch) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a text of %zu bytes",
                             bytes);
        }
        ivl__free(ids->scratch);
        ids->scratch = scratch;
        ids->scratch_bytes = need;
    }
    e->nodes = ids->scratch;
    e->heap = (candidate *)(void *)(e->nodes + nodes);
    return IVL_OK;
}

/* Appends the ids of one text. */
static ivl_status encode(const ivl__tokenizer_spm *t, const char *text, size_t bytes,
                         ivl__token_ids *ids, ivl_error *error)
{
    encoder e = {.tokenizer = t};

    if (bytes > IVL__SPM_MAX_TEXT) {
        return ivl__fail(error, IVL_BAD_INPUT, "text of %zu MiB; at most %zu MiB are read",
                         bytes >> 20, IVL__SPM_MAX_TEXT >> 20);
    }
    IVL__TRY(reserve(&e, ids, bytes, error));
    return add_text(&e, text, bytes, ids, error);
}

ivl_status ivl__tokenizer_spm_encode(const ivl__tokenizer_spm *t, const char *text, size_t bytes,
                                     ivl__token_ids *ids, ivl_error *error)
{
    ids->n = 0;
    return encode(t, text, bytes, ids, error);
}

ivl_status ivl__tokenizer_spm_encode_prompt(const ivl__tokenizer_spm *t, const char *prefix,
                                            const char *text, size_t bytes, size_t max_tokens,
                                            ivl__token_ids *ids, ivl_error *error)
{
    size_t prefix_bytes = strlen(prefix);
    char *whole = ivl__malloc(prefix_bytes + bytes + 1);
    ivl_status status;

    if (!whole ||
        !ivl__grow((void **)&ids->ids, &ids->capacity, max_tokens + 1, sizeof *ids->ids)) {
        ivl__free(whole);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a text of %zu bytes", bytes);
    }
    memcpy(whole, prefix, prefix_bytes);
    memcpy(whole + prefix_bytes, text, bytes);
    ids->n = 0;
    ids->ids[ids->n++] = t->model->bos_id;
    status = encode(t, whole, prefix_bytes + bytes, ids, error);
    ivl__free(whole);
    if (status == IVL_OK) {
        ids->n = ids->n < max_tokens ? ids->n : max_tokens - 1;
        ids->ids[ids->n++] = t->model->eos_id;
    }
    return status;
}

/* ---- decode ------------------------------------------------------------------------------ */

/* Bytes of byte pieces, once the run of them has ended. */
static void put_run(ivl__text *out, const char *run, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t length = ivl__utf8_decode(run + at, bytes - at, NULL);

        if (length) {
            ivl__text_add(out, run + at, length);
            at += length;
        } else {
            ivl__text_puts(out, REPLACEMENT);
            at++;
        }
    }
}

/* The text of a piece, U+2581 as blanks; true when a leading one was left out. */
static bool put_piece(ivl__text *out, const ivl__spm_piece *piece, bool drop_blank)
{
    size_t at = 0;
    bool dropped = drop_blank && piece->bytes >= BLANK_BYTES &&
                   memcmp(piece->text, BLANK, BLANK_BYTES) == 0;

    for (at = dropped ? BLANK_BYTES : 0; at < piece->bytes;) {
        if (piece->bytes - at >= BLANK_BYTES && memcmp(piece->text + at, BLANK, BLANK_BYTES) == 0) {
            ivl__text_puts(out, " ");
            at += BLANK_BYTES;
        } else {
            ivl__text_add(out, piece->text + at++, 1);
        }
    }
    return dropped;
}

typedef struct decoder {
    ivl__text out, run; /* what is decoded, and byte pieces not yet decoded */
    bool dropped;       /* the token before lost its leading blank */
} decoder;

static void decode_token(const ivl__spm_model *model, int32_t id, decoder *d)
{
    const ivl__spm_piece *piece = &model->pieces[id];

    if (piece->type == IVL__SPM_BYTE) {
        const char hex[3] = {piece->text[3], piece->text[4], '\0'};
        const char byte = (char)strtoul(hex, NULL, 16);

        ivl__text_add(&d->run, &byte, 1);
        return;
    }
    put_run(&d->out, d->run.data, d->run.bytes);
    ivl__text_clear(&d->run);
    /* The blank in front is dropped at the beginning only, once. */
    if (piece->type == IVL__SPM_NORMAL) {
        d->dropped = put_piece(&d->out, piece,
                               model->add_dummy_prefix && !d->dropped && !d->out.bytes);
    } else {
        d->dropped = false;
        ivl__text_puts(&d->out, piece->type == IVL__SPM_UNKNOWN ? UNKNOWN : "");
    }
}

ivl_status ivl__tokenizer_spm_decode(const ivl__tokenizer_spm *t, const int32_t *ids, size_t n,
                                     char **text, size_t *bytes, ivl_error *error)
{
    decoder d = {0};
    ivl_status status = IVL_OK;

    for (size_t i = 0; status == IVL_OK && i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= t->model->n_pieces) {
            status = ivl__fail(error, IVL_BAD_INPUT, "token id %d: this tokenizer has ids 0 to %zu",
                               ids[i], t->model->n_pieces - 1);
        } else {
            decode_token(t->model, ids[i], &d);
        }
    }
    put_run(&d.out, d.run.data, d.run.bytes);
    ivl__text_add(&d.out, "", 0);
    if (status == IVL_OK && (d.run.failed || d.out.failed)) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a text");
    }
    ivl__text_free(&d.run);
    if (status != IVL_OK) {
        ivl__text_free(&d.out);
        return status;
    }
    *text = d.out.data;
    *bytes = d.out.bytes;
    return IVL_OK;
}
