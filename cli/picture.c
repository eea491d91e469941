/* picture.c - from the bytes of one input to a crop; see picture.h. */
#include "cli/picture.h"

#include "cli/trace.h"

#include "loader/utf8.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <string.h>

/* Scratch beyond this goes back after each picture: one panorama should not cost its thread the
 * memory for the rest of the run. */
#define KEPT_SCRATCH_BYTES ((size_t)8 << 20)

bool cli_picture_is_mark(const cli_picture *picture)
{
    return picture->item.kind == IVL__ITEM_UNIT_BEGIN || picture->item.kind == IVL__ITEM_UNIT_END;
}

uint64_t cli_picture_bytes(const cli_picture *p)
{
    uint64_t side = (uint64_t)p->width * (uint64_t)p->height * 3;

    return p->item.n_bytes + (p->rgb ? side : 0) + (p->item.tensor ? side * sizeof(float) : 0);
}

void cli_picture_free(cli_picture *picture)
{
    ivl__item_free(&picture->item);
    ivl__free(picture->rgb);
    ivl__free(picture->failure);
    *picture = (cli_picture){0};
}

/* ---- failures ---------------------------------------------------------------------------- */

/* Everything but the reason goes. */
static ivl_status fail_picture(cli_picture *p, const char *why, ivl_error *error)
{
    ivl__free(p->item.bytes);
    ivl__free(p->item.tensor);
    ivl__free(p->rgb);
    p->item.bytes = NULL;
    p->item.n_bytes = 0;
    p->item.tensor = NULL;
    p->rgb = NULL;
    p->failure = ivl__strdup(why);
    return p->failure ? IVL_OK
                      : ivl__fail(error, IVL_OUT_OF_MEMORY,
                                  "out of memory while noting that '%s' failed", p->item.key);
}

/* ---- tensors ----------------------------------------------------------------------------- */

static bool all_finite(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

static ivl_status check_tensor_shape(const ivl__item *item, const cli_picture_rules *rules,
                                     ivl_error *why)
{
    int size = rules->preprocess.size;

    if (rules->no_tensors) {
        return ivl__fail(why, IVL_BAD_INPUT,
                         "a .npy array holds normalised pixel values; this output takes files of "
                         "pictures only");
    }
    if (rules->fixed_size && (item->height != size || item->width != size)) {
        return ivl__fail(why, IVL_BAD_INPUT,
                         "%d x %d pixel values in an output of %d x %d; use --size or an output of "
                         "their own",
                         item->height, item->width, size, size);
    }
    if (item->height % rules->patch || item->width % rules->patch) {
        return ivl__fail(why, IVL_BAD_INPUT,
                         "%d x %d pixel values: both sides must be multiples of the patch size %d",
                         item->height, item->width, rules->patch);
    }
    return IVL_OK;
}

/* ---- pictures ---------------------------------------------------------------------------- */

/* Since `start`; noted in the trace too. */
static double spent(const cli_picture_thread *thread, const char *what, const cli_picture *p,
                    double start)
{
    double now = ivl__now();

    cli_trace_span(thread->track, what, p->item.key, start, now);
    return now - start;
}

/* What a file takes before it is opened; 0 for those that cannot be (the load says why). */
static uint64_t bytes_to_load(const ivl__item *item)
{
    ivl__file_identity identity;

    if (item->bytes) {
        return 0;
    }
    if (item->file) {
        return item->range;
    }
    return item->path && ivl__file_identity_of(item->path, &identity, NULL) == IVL_OK
               ? identity.bytes
               : 0;
}

/* Rows of the horizontal pass: the picture's height times the crop's width. */
static uint64_t resize_bytes(const ivl__image_header *header, int size)
{
    return (uint64_t)header->height * (uint64_t)size * 3;
}

static ivl_status decode(cli_picture *p, const cli_picture_rules *rules, ivl__image *image,
                         cli_picture_thread *thread, ivl_error *why)
{
    const uint64_t side = (uint64_t)rules->preprocess.size;
    ivl__image_header header;
    double start;
    ivl_status status;

    IVL__TRY(ivl__image_size(p->item.bytes, p->item.n_bytes, &rules->decode, &header, why));
    if (!thread->admit(thread->user, header.decode_bytes +
                                         resize_bytes(&header, rules->preprocess.size) +
                                         side * side * 3)) {
        return IVL_CANCELLED;
    }
    start = ivl__now();
    status = ivl__image_decode(p->item.bytes, p->item.n_bytes, &rules->decode, image, why);
    thread->times.decode += spent(thread, "decode", p, start);
    return status;
}

static ivl_status crop(cli_picture *p, const cli_picture_rules *rules, const ivl__image *image,
                       cli_picture_thread *thread, ivl_error *why)
{
    const size_t side = (size_t)rules->preprocess.size;
    double start = ivl__now();

    p->source_width = image->source_width;
    p->source_height = image->source_height;
    p->width = p->height = rules->preprocess.size;
    p->rgb = ivl__malloc(side * side * 3);
    if (!p->rgb) {
        return ivl__fail(why, IVL_OUT_OF_MEMORY, "no memory for a crop of %zu x %zu", side, side);
    }
    IVL__TRY(ivl__preprocess_u8(image, &rules->preprocess, p->rgb, &thread->scratch, why));
    if (thread->scratch.bytes > KEPT_SCRATCH_BYTES) {
        ivl__resize_scratch_free(&thread->scratch);
    }
    thread->times.resize += spent(thread, "resize", p, start);
    return IVL_OK;
}

static ivl_status decode_and_crop(cli_picture *p, const cli_picture_rules *rules,
                                  cli_picture_thread *thread, ivl_error *why)
{
    ivl__image image = {0};
    ivl_status status = decode(p, rules, &image, thread, why);

    if (status == IVL_OK) {
        /* Bytes of the file are of no more use, whether they can be read again or not. */
        ivl__free(p->item.bytes);
        p->item.bytes = NULL;
        p->item.n_bytes = 0;
        status = crop(p, rules, &image, thread, why);
    }
    ivl__image_free(&image);
    return status;
}

/* ---- both -------------------------------------------------------------------------------- */

static ivl_status load(cli_picture *p, cli_picture_thread *thread, ivl_error *why)
{
    double start;

    if (!thread->admit(thread->user, bytes_to_load(&p->item))) {
        return IVL_CANCELLED;
    }
    start = ivl__now();
    IVL__TRY(ivl__item_load(&p->item, why));
    thread->times.read += spent(thread, "read", p, start);
    return IVL_OK;
}

/* Before anything is read: pairs are of no use without their second half. */
static ivl_status check_caption(const ivl__item *item, ivl_error *why)
{
    size_t bytes = item->caption ? strlen(item->caption) : 0;
    size_t good = ivl__utf8_prefix(item->caption, bytes);

    if (!item->caption) {
        return ivl__fail(why, IVL_BAD_INPUT,
                         "it has no caption: --with-texts and --pair-score need a .txt or a .json "
                         "with \"caption\" beside it in the tar");
    }
    return good == bytes
               ? IVL_OK
               : ivl__fail(why, IVL_BAD_INPUT, "its caption is not UTF-8 at byte %zu (0x%02x)",
                           good, (unsigned)(unsigned char)item->caption[good]);
}

static ivl_status fill(cli_picture *p, const cli_picture_rules *rules, cli_picture_thread *thread,
                       ivl_error *why)
{
    if (rules->captioned && p->item.kind != IVL__ITEM_FAILED) {
        IVL__TRY(check_caption(&p->item, why));
    }
    if (p->item.kind != IVL__ITEM_TENSOR) {
        IVL__TRY(load(p, thread, why));
        return decode_and_crop(p, rules, thread, why);
    }
    p->width = p->source_width = p->item.width;
    p->height = p->source_height = p->item.height;
    IVL__TRY(check_tensor_shape(&p->item, rules, why));
    IVL__TRY(load(p, thread, why));
    if (!all_finite(p->item.tensor, 3 * (size_t)p->width * (size_t)p->height)) {
        return ivl__fail(why, IVL_BAD_INPUT, "its pixel values are not all finite");
    }
    return IVL_OK;
}

ivl_status cli_picture_fill(cli_picture *picture, const cli_picture_rules *rules,
                            cli_picture_thread *thread, ivl_error *error)
{
    ivl_error why = {0};
    ivl_status status = fill(picture, rules, thread, &why);

    if (status == IVL_OK || status == IVL_CANCELLED) {
        return status;
    }
    return fail_picture(picture, why.message, error);
}
