/* batch.c - pictures of one shape, and what stands between them; see batch.h. */
#include "cli/batch.h"

#include "runtime/memory.h"

#include <string.h>

ivl_status cli_batch_init(cli_batch *batch, int n_taps, ivl_error *error)
{
    size_t n = n_taps > 0 ? (size_t)n_taps : 1;

    *batch = (cli_batch){.n_taps = n_taps};
    batch->results = ivl__calloc(n, sizeof *batch->results);
    batch->results_capacity = ivl__calloc(n, sizeof *batch->results_capacity);
    if (!batch->results || !batch->results_capacity) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a batch");
    }
    return IVL_OK;
}

void cli_batch_clear(cli_batch *batch)
{
    for (size_t i = 0; i < batch->n_events; i++) {
        cli_picture_free(&batch->events[i]);
    }
    batch->n_events = 0;
    batch->images = (ivl_images){0};
    batch->texts = (ivl_texts){0};
}

void cli_batch_free(cli_batch *batch)
{
    cli_batch_clear(batch);
    for (int i = 0; batch->results && i < batch->n_taps; i++) {
        ivl__free(batch->results[i]);
    }
    ivl__free(batch->results);
    ivl__free(batch->results_capacity);
    ivl__free(batch->events);
    ivl__free(batch->pixels);
    *batch = (cli_batch){0};
}

bool cli_batch_has_result(const cli_picture *event)
{
    return !event->failure && !cli_picture_is_mark(event);
}

bool cli_batch_takes(const cli_batch *batch, const cli_picture *picture)
{
    const ivl_images *images = &batch->images;

    if (!cli_batch_has_result(picture) || images->count == 0) {
        return true;
    }
    return images->width == picture->width && images->height == picture->height &&
           (images->rgb != NULL) == (picture->rgb != NULL);
}

/* The block is as large as a full batch of this shape needs, so that it never moves while images
 * point into it. */
static ivl_status begin_shape(cli_batch *batch, const cli_picture *picture, size_t bytes, int most,
                              ivl_error *error)
{
    size_t need;

    if (!ivl__mul_size(bytes, (size_t)most, &need)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "a batch of %d x %d x %d is too large", most,
                         picture->height, picture->width);
    }
    if (need > batch->pixels_bytes) {
        ivl__free(batch->pixels);
        batch->pixels_bytes = 0;
        batch->pixels = ivl__malloc(need);
        if (!batch->pixels) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY,
                             "no memory for a batch of %d pictures (%zu MiB); use --batch", most,
                             need >> 20);
        }
        batch->pixels_bytes = need;
    }
    batch->images = (ivl_images){.width = picture->width,
                                 .height = picture->height,
                                 .rgb = picture->rgb ? batch->pixels : NULL,
                                 .pixels = picture->rgb ? NULL : batch->pixels};
    return IVL_OK;
}

/* Moves the pixels into the block. */
static ivl_status add_pixels(cli_batch *batch, cli_picture *p, int most, ivl_error *error)
{
    size_t bytes = (size_t)p->width * (size_t)p->height * 3 * (p->rgb ? 1 : sizeof(float));
    unsigned char *block;

    if (batch->images.count == 0) {
        IVL__TRY(begin_shape(batch, p, bytes, most, error));
    }
    block = batch->pixels;
    memcpy(block + (size_t)batch->images.count * bytes,
           p->rgb ? (const void *)p->rgb : (const void *)p->item.tensor, bytes);
    batch->images.count++;
    ivl__free(p->rgb);
    ivl__free(p->item.tensor);
    p->rgb = NULL;
    p->item.tensor = NULL;
    return IVL_OK;
}

ivl_status cli_batch_add(cli_batch *batch, cli_picture *picture, int most, ivl_error *error)
{
    ivl_status status = IVL_OK;

    if (!ivl__grow((void **)&batch->events, &batch->events_capacity, batch->n_events + 1,
                   sizeof *batch->events)) {
        status = ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a batch");
    }
    if (status == IVL_OK && cli_batch_has_result(picture)) {
        status = add_pixels(batch, picture, most, error);
    }
    if (status != IVL_OK) {
        cli_picture_free(picture);
        return status;
    }
    batch->events[batch->n_events++] = *picture;
    return IVL_OK;
}

ivl_status cli_batch_reserve(cli_batch *batch, int tap, size_t floats, ivl_error *error)
{
    if (floats <= batch->results_capacity[tap]) {
        return IVL_OK;
    }
    ivl__free(batch->results[tap]);
    batch->results_capacity[tap] = 0;
    batch->results[tap] = ivl__calloc(floats, sizeof(float));
    if (!batch->results[tap]) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY,
                         "no memory for %zu MiB of results; use a smaller --batch",
                         floats * sizeof(float) >> 20);
    }
    batch->results_capacity[tap] = floats;
    return IVL_OK;
}
