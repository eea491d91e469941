/* spm_writer.c - a made-up SentencePiece model; see spm_writer.h.
 *
 * A protocol buffer (spm_model.c reads it): 1 pieces {1 text, 2 score, 3 type}, 2 trainer_spec
 * {3 model type, 4 vocabulary size, 35 byte fallback, 40 .. 42 ids}, 3 normalizer_spec {1 name,
 * 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces}.
 */
#include "loader/spm_writer.h"

#include "loader/spm_model.h"

#include <stdio.h>
#include <string.h>

#define BLANK "\xe2\x96\x81" /* U+2581, which stands for a blank */

static const char consonants[] = "bcdfghjklmnpqrstvwxyz";
static const char vowels[] = "aeiou";
enum { FIRST_MADE_UP = 3 + 256 };
enum { SYLLABLES = (sizeof consonants - 1) * (sizeof vowels - 1) };

/* ---- the wire format --------------------------------------------------------------------- */

static void put_varint(ivl__text *out, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));

        ivl__text_add(out, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_number(ivl__text *out, uint32_t tag, uint64_t value)
{
    put_varint(out, (uint64_t)tag << 3);
    put_varint(out, value);
}

static void put_bytes(ivl__text *out, uint32_t tag, const void *data, size_t bytes)
{
    put_varint(out, (uint64_t)tag << 3 | 2);
    put_varint(out, bytes);
    ivl__text_add(out, data, bytes);
}

static void put_piece(ivl__text *out, const char *text, float score, ivl__spm_type type)
{
    ivl__text piece = {0};
    unsigned char bits[4];

    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    memcpy(bits, &score, sizeof bits); /* little-endian, as everything here */
    ivl__text_add(&piece, bits, sizeof bits);
    put_number(&piece, 3, type);
    put_bytes(out, 1, piece.data ? piece.data : "", piece.bytes);
    out->failed = out->failed || piece.failed;
    ivl__text_free(&piece);
}

/* ---- pieces ------------------------------------------------------------------------------ */

static size_t put_syllable(char *text, size_t i)
{
    text[0] = consonants[i / (sizeof vowels - 1) % (sizeof consonants - 1)];
    text[1] = vowels[i % (sizeof vowels - 1)];
    return 2;
}

/* Piece i behind the bytes: the blank and printable ASCII, then 1, 2, 3 .. syllables, each of
 * them without and with a blank before it. Each is two earlier pieces put together, so that merges
 * arrive at it. */
static void made_up(size_t i, char text[24])
{
    size_t n = 1;
    size_t count = SYLLABLES;
    size_t used = 0;

    if (i < 1 + 95) {
        snprintf(text, 24, "%s%c", i ? "" : BLANK, i ? (int)(' ' + i - 1) : 0);
        return;
    }
    i -= 1 + 95;
    for (; i >= 2 * count; count *= SYLLABLES) {
        i -= 2 * count;
        n++;
    }
    if (i >= count) {
        used = strlen(strcpy(text, BLANK));
        i -= count;
    }
    for (; n > 0; n--) {
        used += put_syllable(text + used, i % SYLLABLES);
        i /= SYLLABLES;
    }
    text[used] = '\0';
}

static void put_pieces(ivl__text *out, size_t n_pieces)
{
    char text[24];
    size_t pad = n_pieces > IVL__SPM_LEAST_PIECES;

    put_piece(out, "<unk>", 0.0f, IVL__SPM_UNKNOWN);
    put_piece(out, "<s>", 0.0f, IVL__SPM_CONTROL);
    put_piece(out, "</s>", 0.0f, IVL__SPM_CONTROL);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        put_piece(out, text, 0.0f, IVL__SPM_BYTE);
    }
    for (size_t i = FIRST_MADE_UP; i < n_pieces - pad; i++) {
        made_up(i - FIRST_MADE_UP, text);
        put_piece(out, text, -(float)(i - FIRST_MADE_UP), IVL__SPM_NORMAL);
    }
    if (pad) {
        put_piece(out, "[PAD]", 0.0f, IVL__SPM_NORMAL);
    }
}

void ivl__spm_write_stand_in(size_t n_pieces, ivl__text *out)
{
    ivl__text spec = {0};

    put_pieces(out, n_pieces);
    put_number(&spec, 3, 2);
    put_number(&spec, 4, n_pieces);
    put_number(&spec, 35, 1);
    for (uint32_t id = 0; id < 3; id++) {
        put_number(&spec, 40 + id, id);
    }
    put_bytes(out, 2, spec.data ? spec.data : "", spec.bytes);
    out->failed = out->failed || spec.failed;
    ivl__text_clear(&spec);
    put_bytes(&spec, 1, "identity", 8);
    put_number(&spec, 3, 1);
    put_number(&spec, 4, 0);
    put_number(&spec, 5, 1);
    put_bytes(out, 3, spec.data ? spec.data : "", spec.bytes);
    out->failed = out->failed || spec.failed;
    ivl__text_free(&spec);
}
