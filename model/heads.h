/* heads.h - what is read from the decoder's rows: embeddings of texts, and whether an image and a
 * text belong together.
 *
 * Source: modeling_internvl.py of OpenGVLab/InternVL, encode_text and the image-text matching of
 * the training forward.
 */
#ifndef IVL_MODEL_HEADS_H
#define IVL_MODEL_HEADS_H

#include "model/decoder.h"

/* The last rows of the texts of a chunk, after the final norm, and their embeddings. */
typedef struct ivl__text_rows {
    ivl__span last;   /* [sequences, H] f32, in scratch */
    ivl__span embeds; /* [sequences, E] f32, in scratch */
} ivl__text_rows;
ivl_status ivl__text_head(const ivl__decoder *decoder, const ivl__span *spans,
                          const ivl__decoder_chunk *chunk, ivl__text_rows *rows, ivl_error *error);

/* logits [sequences, 2] f32 in scratch: the mean over a pair's queries, class 1 is "match". The
 * final norm has been applied. */
ivl_status ivl__itm_head(const ivl__decoder *decoder, const ivl__span *spans,
                         const ivl__decoder_chunk *chunk, ivl__span *logits, ivl_error *error);

#endif
