/* pass.h - the images and texts of a call that share one pass over the weights, as rows of the
 * decoder in chunks. */
#ifndef IVL_MODEL_PASS_H
#define IVL_MODEL_PASS_H

#include "model/taps.h"

typedef enum ivl__rows_kind {
    IVL__ROWS_QUERIES = 0,
    IVL__ROWS_PAIRS,
    IVL__ROWS_TEXTS
} ivl__rows_kind;
#define IVL__ROWS_KINDS 3

/* Rows of the decoder lie as: queries of the images, pairs, texts. */
typedef struct ivl__pass {
    int first_image, images; /* of the call */
    int first_text, texts;   /* those whose own rows are run; pairs are those of the images */
    int32_t rows;
    struct ivl__pass_rows {
        int32_t first_row, rows;
        int first_chunk, n_chunks;
    } of[IVL__ROWS_KINDS];
    ivl__decoder_chunk *chunks;
    int n_chunks;
    int *first_sequence; /* [n_chunks] in the pass, of its kind */
    int32_t *starts;     /* all chunks' */
} ivl__pass;

/* The next images and texts behind those that are done: as many as the plan has room for. Writes
 * what the decoder's rows begin with to the device. */
ivl_status ivl__pass_open(ivl_session *session, const ivl__request *request, int done_images,
                          int done_texts, ivl__pass *pass, ivl_error *error);
void ivl__pass_close(ivl_session *session, ivl__pass *pass);
/* Queries and embeddings of tokens as the rows of the decoder. */
ivl_status ivl__pass_embed(ivl_session *session, const ivl__request *request, const ivl__pass *pass,
                           ivl_error *error);

#endif
