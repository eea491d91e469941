/* spm_writer.h - a made-up SentencePiece model for stand-in checkpoints.
 *
 * Laid out as LLaMA's: <unk>, <s>, </s>, 256 byte pieces, then characters, syllables and words of
 * syllables with falling scores, [PAD] last. It encodes any text; its pieces mean nothing.
 */
#ifndef IVL_LOADER_SPM_WRITER_H
#define IVL_LOADER_SPM_WRITER_H

#include "loader/json_text.h"

/* The pieces that every vocabulary has: control pieces, bytes and the blank. */
enum { IVL__SPM_LEAST_PIECES = 3 + 256 + 1 };

/* Appends the bytes of a model with that many pieces, at least IVL__SPM_LEAST_PIECES and below
 * 2^20.
 */
void ivl__spm_write_stand_in(size_t n_pieces, ivl__text *out);

#endif
