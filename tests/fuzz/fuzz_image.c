/* fuzz_image.c - any bytes through header, decode (with and without options) and both protocols.
 *
 * The last byte chooses the options, so that one corpus covers them. Pictures are limited to 64
 * MB of pixels here: larger ones only make the fuzzer slow. What is checked besides the
 * sanitizers: the header's promise of size and memory holds, and a failure leaves no picture.
 */
#include "loader/preprocess.h"
#include "runtime/memory.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void preprocess(const ivl__image *image, ivl__resize resize)
{
    const ivl__preprocess_options options = {28, resize};
    unsigned char out[28 * 28 * 3];
    ivl__resize_scratch scratch = {0};
    ivl_error error;
    ivl_status status = ivl__preprocess_u8(image, &options, out, &scratch, &error);

    require(status == IVL_OK);
    ivl__resize_scratch_free(&scratch);
}

static void decode(const unsigned char *data, size_t bytes, const ivl__decode_options *options)
{
    ivl__image image = {0};
    ivl__image_header header = {0};
    ivl_error error;
    ivl_status sized = ivl__image_size(data, bytes, options, &header, &error);
    ivl_status status = ivl__image_decode(data, bytes, options, &image, &error);

    if (status != IVL_OK) {
        require(!image.rgb && (status == IVL_BAD_INPUT || status == IVL_OUT_OF_MEMORY));
        return;
    }
    require(sized == IVL_OK && image.source_width == header.width &&
            image.source_height == header.height && image.width <= header.width &&
            (uint64_t)image.width * (uint64_t)image.height <= options->max_pixels);
    if (image.width <= 1 << 14 && image.height <= 1 << 14) { /* longer ones are only slow */
        preprocess(&image, IVL__RESIZE_SQUASH);
        preprocess(&image, IVL__RESIZE_CROP);
    }
    ivl__image_free(&image);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
    ivl__decode_options options;

    ivl__decode_options_init(&options);
    options.max_pixels = (64 << 20) / 3;
    decode(data, bytes, &options);
    if (bytes > 0) {
        options.exif = data[bytes - 1] & 1;
        options.gray16_scale = data[bytes - 1] & 2;
        options.fast = data[bytes - 1] & 4;
        options.fast_side = data[bytes - 1] >> 3;
        decode(data, bytes, &options);
    }
    return 0;
}
