/* decode_png.c - PNG by libpng: any bit depth, palette, interlaced, to 8-bit RGB as Pillow does.
 *
 * libpng and not stb_image, because it checks checksums, palettes and data lengths while rows
 * arrive, never inflates more than a row at a time, and skips the ancillary chunks (profiles,
 * compressed texts) that hostile files inflate. All of its memory comes from runtime/memory.
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

/* zlib's window, libpng's structs and buffers. */
#define LIBRARY_BYTES (UINT64_C(1) << 20)
/* Deflate cannot do better than 258 bytes for 2 bits. */
#define DEFLATE_RATIO 1032

typedef struct png_reader {
    png_structp png;
    png_infop info;
    const unsigned char *data;
    size_t bytes, at;
    ivl_status status;
    ivl_error *error;
    ivl__image image;
} png_reader;

static png_voidp on_malloc(png_structp png, png_alloc_size_t bytes)
{
    (void)png;
    return ivl__malloc(bytes);
}

static void on_free(png_structp png, png_voidp block)
{
    (void)png;
    ivl__free(block);
}

static PNG_NORETURN void on_error(png_structp png, png_const_charp text)
{
    png_reader *reader = png_get_error_ptr(png);
    bool memory = strstr(text, "memory") != NULL;

    reader->status = ivl__fail(reader->error, memory ? IVL_OUT_OF_MEMORY : IVL_BAD_INPUT, "PNG: %s",
                               text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep out, size_t bytes)
{
    png_reader *reader = png_get_io_ptr(png);

    if (bytes > reader->bytes - reader->at) {
        png_error(png, "file ends too early (truncated)");
    }
    memcpy(out, reader->data + reader->at, bytes);
    reader->at += bytes;
}

static ivl_status reader_open(png_reader *reader, const unsigned char *data, size_t bytes,
                              ivl_error *error)
{
    memset(reader, 0, sizeof *reader);
    reader->data = data;
    reader->bytes = bytes;
    reader->error = error;
    reader->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning,
                                           NULL, on_malloc, on_free);
    reader->info = reader->png ? png_create_info_struct(reader->png) : NULL;
    if (!reader->info) {
        png_destroy_read_struct(&reader->png, NULL, NULL);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "PNG: no memory for the decoder");
    }
    return IVL_OK;
}

static void reader_close(png_reader *reader)
{
    png_destroy_read_struct(&reader->png, &reader->info, NULL);
}

/* Up to the first IDAT. The caller has set the jump. */
static void read_header(png_reader *reader)
{
    png_structp png = reader->png;

    png_set_read_fn(png, reader, on_read);
    /* image_decode.c has the limit; libpng's own of a million would refuse long strips. */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    /* Negative count: every ancillary chunk. Transparency goes too, since alpha is dropped. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "tRNS", 1);
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_QUIET_USE);
    png_set_benign_errors(png, 1);
    png_read_info(png, reader->info);
}

static bool png_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 8 && png_sig_cmp(data, 0, 8) == 0;
}

static ivl_status png_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                           ivl_error *error)
{
    png_reader reader;
    ivl_status status = reader_open(&reader, data, bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    if (setjmp(png_jmpbuf(reader.png)) == 0) {
        uint64_t pixels, bits;

        read_header(&reader);
        header->width = (int32_t)png_get_image_width(reader.png, reader.info);
        header->height = (int32_t)png_get_image_height(reader.png, reader.info);
        pixels = (uint64_t)header->width * (uint64_t)header->height;
        bits = (uint64_t)png_get_bit_depth(reader.png, reader.info) *
               png_get_channels(reader.png, reader.info);
        header->decode_bytes = 3 * pixels + 32 * (uint64_t)header->width + LIBRARY_BYTES;
        header->least_bytes = pixels / 8 / DEFLATE_RATIO * bits;
    }
    reader_close(&reader);
    return reader.status;
}

/* Asks libpng for 3 bytes a pixel; true when 16-bit grey comes instead, to be clipped here. */
static bool set_transforms(png_reader *reader, const ivl__decode_options *options)
{
    png_structp png = reader->png;
    int depth = png_get_bit_depth(png, reader->info);
    int color = png_get_color_type(png, reader->info);
    bool clip = color == PNG_COLOR_TYPE_GRAY && depth == 16 && !options->gray16_scale;

    if (color == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
    }
    if (color == PNG_COLOR_TYPE_GRAY && depth < 8) {
        png_set_expand_gray_1_2_4_to_8(png);
    }
    if (color & PNG_COLOR_MASK_ALPHA) {
        png_set_strip_alpha(png);
    }
    if (!clip) {
        if (depth == 16) {
            png_set_strip_16(png);
        }
        if (!(color & PNG_COLOR_MASK_COLOR)) {
            png_set_gray_to_rgb(png);
        }
    }
    return clip;
}

/* The row holds [width] big-endian 16-bit values in front of its 3 x width bytes; from the end,
 * so that nothing is overwritten before it is read. */
static void clip_row(unsigned char *row, size_t width)
{
    for (size_t x = width; x-- > 0;) {
        unsigned char value = row[2 * x] ? 255 : row[2 * x + 1];

        memset(row + 3 * x, value, 3);
    }
}

/* The caller has set the jump. */
static void decode(png_reader *reader, const ivl__decode_options *options)
{
    png_structp png = reader->png;
    size_t width, height;
    bool clip;
    int passes;

    read_header(reader);
    clip = set_transforms(reader, options);
    passes = png_set_interlace_handling(png);
    png_read_update_info(png, reader->info);
    width = png_get_image_width(png, reader->info);
    height = png_get_image_height(png, reader->info);
    if (png_get_rowbytes(png, reader->info) != width * (clip ? 2 : 3)) {
        png_error(png, "unexpected row size");
    }
    reader->status = ivl__image_alloc((int32_t)width, (int32_t)height, &reader->image,
                                      reader->error);
    if (reader->status != IVL_OK) {
        return;
    }
    for (int pass = 0; pass < passes; pass++) {
        for (size_t y = 0; y < height; y++) {
            png_read_row(png, reader->image.rgb + 3 * width * y, NULL);
        }
    }
    for (size_t y = 0; clip && y < height; y++) {
        clip_row(reader->image.rgb + 3 * width * y, width);
    }
}

static ivl_status png_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    png_reader reader;
    ivl_status status = reader_open(&reader, data, bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    if (setjmp(png_jmpbuf(reader.png)) == 0) {
        decode(&reader, options);
    }
    reader_close(&reader);
    if (reader.status != IVL_OK) {
        ivl__image_free(&reader.image);
        return reader.status;
    }
    *image = reader.image;
    return IVL_OK;
}

const ivl__codec ivl__codec_png = {"PNG", png_test, png_size, png_decode};
