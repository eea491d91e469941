/* spm_model.c - reading a SentencePiece model file; see spm_model.h.
 *
 * Invariant: a cursor never leaves the bytes it was given; a length is checked against what is
 * left before anything moves.
 */
#include "loader/spm_model.h"

#include "runtime/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Ids must fit the tokenizer's 32-bit tables with room for single characters. */
#define MAX_PIECES 4000000u

/* ---- protocol buffers -------------------------------------------------------------------- */

typedef struct cursor {
    const unsigned char *at, *end;
} cursor;

/* One field: numbers in `number`, nested bytes in `body`. */
typedef struct field {
    uint32_t tag;
    uint64_t number;
    cursor body;
} field;

static bool read_varint(cursor *c, uint64_t *value)
{
    uint64_t result = 0;

    for (int shift = 0; shift < 64 && c->at < c->end; shift += 7) {
        unsigned char byte = *c->at++;

        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return true;
        }
    }
    return false;
}

static bool read_fixed(cursor *c, int bytes, uint64_t *value)
{
    uint64_t result = 0;

    if (c->end - c->at < bytes) {
        return false;
    }
    for (int i = 0; i < bytes; i++) {
        result |= (uint64_t)*c->at++ << (8 * i);
    }
    *value = result;
    return true;
}

/* false at damage: a field that ends outside the message, or a wire type that is none of these. */
static bool read_field(cursor *c, field *f)
{
    uint64_t key = 0;
    uint64_t length = 0;

    *f = (field){0};
    if (!read_varint(c, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) {
        return false;
    }
    f->tag = (uint32_t)(key >> 3);
    switch (key & 7) {
    case 0: return read_varint(c, &f->number);
    case 1: return read_fixed(c, 8, &f->number);
    case 5: return read_fixed(c, 4, &f->number);
    case 2:
        if (!read_varint(c, &length) || length > (uint64_t)(c->end - c->at)) {
            return false;
        }
        f->body = (cursor){c->at, c->at + length};
        c->at += length;
        return true;
    default: return false; /* groups: not in this format */
    }
}

static ivl_status damaged(const char *where, ivl_error *error)
{
    return ivl__fail(error, IVL_BAD_MODEL,
                     "not a SentencePiece model, or damaged: %s ends in the middle of a field or "
                     "has an unknown wire type",
                     where);
}

/* ---- messages ---------------------------------------------------------------------------- */

/* message SentencePiece: 1 piece, 2 score, 3 type. */
static ivl_status read_piece(ivl__spm_model *m, cursor c, ivl_error *error)
{
    ivl__spm_piece piece = {.type = IVL__SPM_NORMAL};
    field f;

    while (c.at < c.end) {
        if (!read_field(&c, &f)) {
            return damaged("a piece", error);
        }
        if (f.tag == 1) {
            piece.text = (const char *)f.body.at;
            piece.bytes = (uint32_t)(f.body.end - f.body.at);
        } else if (f.tag == 2) {
            uint32_t bits = (uint32_t)f.number;

            memcpy(&piece.score, &bits, sizeof bits);
        } else if (f.tag == 3) {
            piece.type = f.number > 6 ? IVL__SPM_UNUSED : (ivl__spm_type)f.number;
        }
    }
    if (!piece.text || !piece.bytes || !isfinite(piece.score)) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tokenizer: piece %zu has no text or no finite score", m->n_pieces);
    }
    if (m->n_pieces >= MAX_PIECES ||
        !ivl__grow((void **)&m->pieces, &m->capacity, m->n_pieces + 1, sizeof *m->pieces)) {
        return ivl__fail(error, m->n_pieces >= MAX_PIECES ? IVL_BAD_MODEL : IVL_OUT_OF_MEMORY,
                         "tokenizer: more than %zu pieces", m->n_pieces);
    }
    m->pieces[m->n_pieces++] = piece;
    return IVL_OK;
}

/* message TrainerSpec: 3 model_type, 24 treat_whitespace_as_suffix, 40 unk_id, 41 bos_id,
 * 42 eos_id. (4 vocab_size is not to be trusted: extended vocabularies keep the old number.) */
static ivl_status read_trainer(ivl__spm_model *m, cursor c, ivl_error *error)
{
    static const char *const types[] = {"none", "UNIGRAM", "BPE", "WORD", "CHAR"};
    uint64_t type = 1;
    bool suffix = false;
    field f;

    while (c.at < c.end) {
        if (!read_field(&c, &f)) {
            return damaged("the trainer's part", error);
        }
        switch (f.tag) {
        case 3: type = f.number; break;
        case 24: suffix = f.number != 0; break;
        case 40: m->unk_id = (int32_t)f.number; break;
        case 41: m->bos_id = (int32_t)f.number; break;
        case 42: m->eos_id = (int32_t)f.number; break;
        default: break;
        }
    }
    if (type != 2 || suffix) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tokenizer: model type %s%s; only BPE with blanks as prefixes is known",
                         types[type < 5 ? type : 0], suffix ? ", blanks as suffixes" : "");
    }
    return IVL_OK;
}

/* message NormalizerSpec: 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces,
 * 5 escape_whitespaces. The last three are true where they are not written. */
static ivl_status read_normalizer(ivl__spm_model *m, cursor c, ivl_error *error)
{
    bool remove = true;
    bool escape = true;
    bool map = false;
    field f;

    while (c.at < c.end) {
        if (!read_field(&c, &f)) {
            return damaged("the normaliser's part", error);
        }
        switch (f.tag) {
        case 2: map = f.body.at != f.body.end; break;
        case 3: m->add_dummy_prefix = f.number != 0; break;
        case 4: remove = f.number != 0; break;
        case 5: escape = f.number != 0; break;
        default: break;
        }
    }
    if (map || remove || !escape) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tokenizer: it normalises texts (%s), which is not known here",
                         map      ? "by a character map"
                         : remove ? "blanks are removed"
                                  : "blanks are not escaped");
    }
    return IVL_OK;
}

/* message ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec. */
static ivl_status read_model(ivl__spm_model *m, cursor c, ivl_error *error)
{
    const cursor none = {c.end, c.end};
    cursor trainer = none;
    cursor normalizer = none;
    field f;

    while (c.at < c.end) {
        if (!read_field(&c, &f)) {
            return damaged("the file", error);
        }
        if (f.tag == 1) {
            IVL__TRY(read_piece(m, f.body, error));
        } else if (f.tag == 2) {
            trainer = f.body;
        } else if (f.tag == 3) {
            normalizer = f.body;
        }
    }
    if (!m->n_pieces) {
        return ivl__fail(error, IVL_BAD_MODEL, "not a SentencePiece model: it holds no pieces");
    }
    IVL__TRY(read_trainer(m, trainer, error));
    return read_normalizer(m, normalizer, error);
}

/* ---- what the tokenizer relies on -------------------------------------------------------- */

static ivl_status check_piece(ivl__spm_model *m, size_t id, int *n_bytes, ivl_error *error)
{
    const ivl__spm_piece *piece = &m->pieces[id];
    unsigned value = 0;
    char text[8];

    switch (piece->type) {
    case IVL__SPM_NORMAL:
    case IVL__SPM_UNKNOWN:
    case IVL__SPM_CONTROL: return IVL_OK;
    case IVL__SPM_BYTE:
        snprintf(text, sizeof text, "%.*s", (int)(piece->bytes < 7 ? piece->bytes : 7),
                 piece->text);
        if (piece->bytes != 6 || sscanf(text, "<0x%2X>", &value) != 1 || m->byte_ids[value] >= 0) {
            return ivl__fail(error, IVL_BAD_MODEL,
                             "tokenizer: byte piece %zu is '%s', not one of <0x00> to <0xFF>, or "
                             "there twice",
                             id, text);
        }
        m->byte_ids[value] = (int32_t)id;
        (*n_bytes)++;
        return IVL_OK;
    case IVL__SPM_USER_DEFINED:
    case IVL__SPM_UNUSED: break;
    }
    return ivl__fail(error, IVL_BAD_MODEL,
                     "tokenizer: piece %zu is of a type (%d) that is not known here", id,
                     (int)piece->type);
}

static ivl_status check_model(ivl__spm_model *m, ivl_error *error)
{
    int n_bytes = 0;

    memset(m->byte_ids, -1, sizeof m->byte_ids);
    for (size_t i = 0; i < m->n_pieces; i++) {
        IVL__TRY(check_piece(m, i, &n_bytes, error));
    }
    if (n_bytes != 256) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tokenizer: %d of 256 byte pieces; one without byte fallback is not known "
                         "here",
                         n_bytes);
    }
    if (m->bos_id < 0 || (size_t)m->bos_id >= m->n_pieces || m->eos_id < 0 ||
        (size_t)m->eos_id >= m->n_pieces || m->unk_id < 0 || (size_t)m->unk_id >= m->n_pieces) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "tokenizer: ids of <unk> (%d), <s> (%d) and </s> (%d) among %zu pieces",
                         m->unk_id, m->bos_id, m->eos_id, m->n_pieces);
    }
    return IVL_OK;
}

ivl_status ivl__spm_model_parse(const void *data, size_t bytes, ivl__spm_model **out,
                                ivl_error *error)
{
    ivl__spm_model *m;
    ivl_status status;

    if (!bytes || bytes > IVL__SPM_MAX_BYTES) {
        return ivl__fail(error, IVL_BAD_MODEL, "not a SentencePiece model: %zu bytes", bytes);
    }
    m = ivl__calloc(1, sizeof *m);
    if (m) {
        m->file = ivl__malloc(bytes);
    }
    if (!m || !m->file) {
        ivl__free(m);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a tokenizer");
    }
    memcpy(m->file, data, bytes);
    m->unk_id = 0;
    m->bos_id = 1;
    m->eos_id = 2;
    m->add_dummy_prefix = true;
    status = read_model(m, (cursor){m->file, m->file + bytes}, error);
    if (status == IVL_OK) {
        status = check_model(m, error);
    }
    if (status != IVL_OK) {
        ivl__spm_model_free(m);
        return status;
    }
    *out = m;
    return IVL_OK;
}

void ivl__spm_model_free(ivl__spm_model *m)
{
    if (m) {
        ivl__free(m->file);
        ivl__free(m->pieces);
        ivl__free(m);
    }
}
