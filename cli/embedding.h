/* embedding.h - what `embed` makes of one image: a vector per mode, that of its caption, and their
 * cosines.
 *
 * Modes always stand in the order vit, c, g. One mode alone is the array "img_emb"; of several each
 * is "img_emb_<mode>" (single files: OUT.<mode>.npy). Captions are "text_emb" (OUT.text.npy).
 */
#ifndef IVL_CLI_EMBEDDING_H
#define IVL_CLI_EMBEDDING_H

#include "cli/image_run.h"
#include "cli/options.h"
#include "cli/text_encoder.h"

enum { CLI_EMBED_MODES = 3, CLI_EMBED_TAPS = 5, CLI_EMBED_STREAMS = CLI_EMBED_MODES + 1 };

/* As given; NULL and empty: the default. */
typedef struct cli_embedding_options {
    cli_list modes;
    const char *pool, *normalize;
    bool with_texts, pair_score;
} cli_embedding_options;

typedef struct cli_image_vector {
    const char *mode;
    int first_tap, n_taps; /* its parts among the taps */
    size_t width;          /* of one part */
    bool normalize;
    float *vector; /* [n_taps * width] f32, of the writing thread */
} cli_image_vector;

typedef struct cli_embedding {
    cli_image_vector vectors[CLI_EMBED_MODES];
    int n_vectors;
    const char *taps[CLI_EMBED_TAPS];
    int n_taps;
    char modes[16]; /* of the session: "c,g,text" */
    ivl__record_stream streams[CLI_EMBED_STREAMS];
    int n_streams;

    /* Captions: tap "text", the last one. */
    bool with_texts, pair_score, normalize_texts;
    const ivl__tokenizer_spm *tokenizer; /* set by the command; NULL without captions */
    cli_token_list tokens;               /* of the batch, as is offsets */
    int32_t *offsets;
    size_t offsets_capacity;
    size_t dim;
    float *text; /* [dim], of the writing thread */
} cli_embedding;

/* Names, before the model is opened. false: return *code. */
bool cli_embedding_check(const cli_embedding_options *options, int *code);
/* What the model can do of it: CLI_DONE, or the exit code of what was printed. To be freed in
 * either case. */
int cli_embedding_init(cli_embedding *embedding, const cli_embedding_options *options,
                       const ivl_model_info *info);
void cli_embedding_free(cli_embedding *embedding);

/* The published protocol's resize: crop in mode vit, squash in c and g; NULL where modes of both
 * kinds are asked for. */
const char *cli_embedding_resize(const cli_embedding *embedding);
/* Members of the identity, each with a comma before it. */
void cli_embedding_identity(const cli_embedding *embedding, const cli_embedding_options *options,
                            ivl__text *text);
/* Fills the taps, streams and functions of a run. */
void cli_embedding_set_run(cli_embedding *embedding, cli_image_run *run);

/* "yes" or "no"; true where nothing was given. */
bool cli_embedding_normalize_check(const char *normalize, int *code);

#endif
