/* decode_webp.c - WebP by libwebp: lossy, lossless, alpha dropped, first frame of an animation.
 *
 * A frame smaller than its canvas lies on black, as the transparent canvas of the reference
 * reader looks once alpha is dropped. libwebp allocates on its own; decode_bytes counts that.
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

/* WebPBitstreamFeatures.format */
#define FORMAT_LOSSY 1

static bool webp_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0;
}

static ivl_status fail(VP8StatusCode code, ivl_error *error)
{
    switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "WebP: no memory for the decoder");
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return ivl__fail(error, IVL_BAD_INPUT, "WebP: file ends too early (truncated)");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return ivl__fail(error, IVL_BAD_INPUT, "WebP: feature not supported by libwebp");
    default: return ivl__fail(error, IVL_BAD_INPUT, "WebP: damaged data");
    }
}

static ivl_status webp_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                            ivl_error *error)
{
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(data, bytes, &features);
    uint64_t pixels;

    if (code != VP8_STATUS_OK) {
        return fail(code, error);
    }
    header->width = features.width;
    header->height = features.height;
    /* RGB, and: the lossless decoder keeps 32 bits a pixel and more, the lossy one some rows and
     * the plane of alpha. Format 0: an animation may mix both. */
    pixels = (uint64_t)features.width * (uint64_t)features.height;
    header->decode_bytes = 3 * pixels + (UINT64_C(1) << 20);
    header->decode_bytes += features.format == FORMAT_LOSSY
                                ? (features.has_alpha ? 2 * pixels : 0) +
                                      256 * (uint64_t)features.width
                                : 5 * pixels;
    return IVL_OK;
}

/* Decodes one still frame to (x, y) of the picture, inside which it is known to lie. */
static ivl_status decode_frame(const unsigned char *data, size_t bytes, ivl__image *image,
                               int32_t x, int32_t y, ivl_error *error)
{
    WebPDecoderConfig config;
    const size_t stride = 3 * (size_t)image->width;
    const size_t offset = (size_t)y * stride + 3 * (size_t)x;
    VP8StatusCode code;

    if (!WebPInitDecoderConfig(&config)) {
        return ivl__fail(error, IVL_INTERNAL, "libwebp does not match its headers");
    }
    code = WebPGetFeatures(data, bytes, &config.input);
    if (code != VP8_STATUS_OK) {
        return fail(code, error);
    }
    if (config.input.width > image->width - x || config.input.height > image->height - y) {
        return ivl__fail(error, IVL_BAD_INPUT, "WebP: frame is larger than its canvas");
    }
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->rgb + offset;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = stride * (size_t)image->height - offset;
    code = WebPDecode(data, bytes, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? IVL_OK : fail(code, error);
}

static ivl_status decode_animation(const unsigned char *data, size_t bytes, ivl__image *image,
                                   ivl_error *error)
{
    const WebPData file = {data, bytes};
    WebPDemuxer *demuxer = WebPDemux(&file);
    WebPIterator frame;
    ivl_status status;

    if (!demuxer) {
        return ivl__fail(error, IVL_BAD_INPUT, "WebP: animation is damaged or truncated");
    }
    if (!WebPDemuxGetFrame(demuxer, 1, &frame)) {
        WebPDemuxDelete(demuxer);
        return ivl__fail(error, IVL_BAD_INPUT, "WebP: animation without a frame");
    }
    memset(image->rgb, 0, (size_t)ivl__rgb_bytes(image->width, image->height));
    if (frame.x_offset < 0 || frame.y_offset < 0 || frame.x_offset >= image->width ||
        frame.y_offset >= image->height) {
        status = ivl__fail(error, IVL_BAD_INPUT, "WebP: frame lies outside its canvas");
    } else {
        status = decode_frame(frame.fragment.bytes, frame.fragment.size, image, frame.x_offset,
                              frame.y_offset, error);
    }
    WebPDemuxReleaseIterator(&frame);
    WebPDemuxDelete(demuxer);
    return status;
}

static ivl_status webp_decode(const unsigned char *data, size_t bytes,
                              const ivl__decode_options *options, ivl__image *image,
                              ivl_error *error)
{
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(data, bytes, &features);
    ivl_status status;

    (void)options;
    if (code != VP8_STATUS_OK) {
        return fail(code, error);
    }
    status = ivl__image_alloc(features.width, features.height, image, error);
    if (status != IVL_OK) {
        return status;
    }
    return features.has_animation ? decode_animation(data, bytes, image, error)
                                  : decode_frame(data, bytes, image, 0, 0, error);
}

const ivl__codec ivl__codec_webp = {"WebP", webp_test, webp_size, webp_decode};
