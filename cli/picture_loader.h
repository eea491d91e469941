/* picture_loader.h - inputs as an ordered stream of crops, made ahead of the device.
 *
 * One thread walks the source and drops what the output has already; workers load, decode and
 * resize; the caller takes pictures in input order. Memory is bounded twice: a fixed number of
 * pictures is under way, and a worker is admitted to a file or a decode only while their estimated
 * bytes fit the budget. The picture that everybody waits for is always admitted, however large it
 * is, so that the stream never stands still.
 */
#ifndef IVL_CLI_PICTURE_LOADER_H
#define IVL_CLI_PICTURE_LOADER_H

#include "cli/picture.h"
#include "loader/image_source.h"
#include "loader/record_writer.h"

typedef struct cli_picture_loader cli_picture_loader;

/* Called once, by the thread that takes pictures, before the first one is read: the start-up that
 * only a run with work to do needs. *ahead: pictures to keep ready (one batch of the device). */
typedef ivl_status cli_prepare_fn(void *user, int *ahead, ivl_error *error);

typedef struct cli_picture_loader_options {
    const char *const *inputs;
    size_t n_inputs;
    ivl__image_source_options source;
    ivl__record_writer *writer; /* asked what is recorded already; NULL: nothing is */
    cli_picture_rules rules;
    int threads;
    cli_prepare_fn *prepare;
    void *user;
} cli_picture_loader_options;

/* Starts walking. Fails as ivl__image_source_open does. What the options point to must live until
 * the loader is freed. */
ivl_status cli_picture_loader_open(const cli_picture_loader_options *options,
                                   cli_picture_loader **loader, ivl_error *error);

/* The next picture or mark, which the caller frees; *end at the end of the inputs. IVL_CANCELLED
 * when the user asked to stop; else the source's own trouble, after all that came before it. */
ivl_status cli_picture_loader_next(cli_picture_loader *loader, cli_picture *picture, bool *end,
                                   ivl_error *error);

/* What was seen so far. */
typedef struct cli_picture_loader_counts {
    ivl__image_source_counts source;
    uint64_t found;          /* inputs of this shard that earlier runs recorded */
    uint64_t found_errors;   /* of them, recorded as failed */
    cli_picture_times times; /* summed over the threads */
    uint64_t peak_bytes;     /* largest sum of estimates that was ever admitted */
    double first_read;       /* ivl__now() when the workers were let loose; 0: never */
} cli_picture_loader_counts;

cli_picture_loader_counts cli_picture_loader_get_counts(cli_picture_loader *loader);

/* Stops the threads; pictures that nobody took are dropped. */
void cli_picture_loader_free(cli_picture_loader *loader);

#endif
