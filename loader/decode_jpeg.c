/* decode_jpeg.c - JPEG by libjpeg-turbo, set up as Pillow does: ISLOW transform, fancy upsampling.
 *
 * libjpeg reports errors by a callback that must not return; everything that has to be released
 * lives in one struct outside the frame of setjmp. Warnings that mean missing or damaged picture
 * data are errors here (libjpeg would fill the rest with grey and go on).
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* Encoders write about 10 scans, at most a few dozen; each costs a walk over all coefficients,
 * which a hostile file can ask for with a few bytes. */
#define MAX_SCANS 100

typedef struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    ivl_status status;
    ivl_error *error;
    ivl__image image;
    unsigned char *row; /* [width, 4] u8: a row of CMYK */
} jpeg_reader;

static _Noreturn void give_up(jpeg_reader *reader, ivl_status status, const char *text)
{
    reader->status = ivl__fail(reader->error, status, "JPEG: %s", text);
    longjmp(reader->jump, 1);
}

static _Noreturn void on_error(j_common_ptr cinfo)
{
    char text[JMSG_LENGTH_MAX];
    bool memory = cinfo->err->msg_code == JERR_OUT_OF_MEMORY ||
                  cinfo->err->msg_code == JERR_NO_BACKING_STORE;

    cinfo->err->format_message(cinfo, text);
    give_up(cinfo->client_data, memory ? IVL_OUT_OF_MEMORY : IVL_BAD_INPUT, text);
}

static void on_message(j_common_ptr cinfo, int level)
{
    if (level >= 0) {
        return; /* trace */
    }
    switch (cinfo->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC: on_error(cinfo);
    default: return;
    }
}

static void on_source(j_decompress_ptr cinfo)
{
    (void)cinfo;
}

static boolean on_source_end(j_decompress_ptr cinfo)
{
    give_up(cinfo->client_data, IVL_BAD_INPUT, "file ends too early (truncated)");
}

static void on_skip(j_decompress_ptr cinfo, long bytes)
{
    if (bytes <= 0) {
        return;
    }
    if ((size_t)bytes > cinfo->src->bytes_in_buffer) {
        on_source_end(cinfo);
    }
    cinfo->src->next_input_byte += bytes;
    cinfo->src->bytes_in_buffer -= (size_t)bytes;
}

static void on_progress(j_common_ptr cinfo)
{
    jpeg_reader *reader = cinfo->client_data;

    if (reader->cinfo.input_scan_number > MAX_SCANS) {
        give_up(reader, IVL_BAD_INPUT, "more than 100 scans");
    }
}

/* Everything up to the frame header. The caller has set reader->jump. */
static void read_header(jpeg_reader *reader, const unsigned char *data, size_t bytes)
{
    struct jpeg_decompress_struct *cinfo = &reader->cinfo;

    jpeg_create_decompress(cinfo);
    reader->source.next_input_byte = data;
    reader->source.bytes_in_buffer = bytes;
    reader->source.init_source = on_source;
    reader->source.fill_input_buffer = on_source_end;
    reader->source.skip_input_data = on_skip;
    reader->source.resync_to_restart = jpeg_resync_to_restart;
    reader->source.term_source = on_source;
    cinfo->src = &reader->source;
    reader->progress.progress_monitor = on_progress;
    cinfo->progress = &reader->progress;
    jpeg_read_header(cinfo, TRUE);
    if (cinfo->image_width > JPEG_MAX_DIMENSION || cinfo->image_height > JPEG_MAX_DIMENSION) {
        give_up(reader, IVL_BAD_INPUT, "size is over the limit of the format");
    }
    if (cinfo->num_components != 1 && cinfo->num_components != 3 && cinfo->num_components != 4) {
        give_up(reader, IVL_BAD_INPUT, "neither grey, three nor four colour components");
    }
}

static void reader_init(jpeg_reader *reader, ivl_error *error)
{
    memset(reader, 0, sizeof *reader);
    reader->error = error;
    reader->cinfo.err = jpeg_std_error(&reader->errors);
    reader->cinfo.client_data = reader;
    reader->errors.error_exit = on_error;
    reader->errors.emit_message = on_message;
}

/* Coefficients of all components at once: blocks of 64 x 16 bits, rounded up to whole MCUs. */
static uint64_t coefficient_bytes(struct jpeg_decompress_struct *cinfo)
{
    uint64_t blocks = 0;

    if (!jpeg_has_multiple_scans(cinfo)) {
        return 0;
    }
    for (int i = 0; i < cinfo->num_components; i++) {
        const jpeg_component_info *component = &cinfo->comp_info[i];

        blocks += ((uint64_t)component->width_in_blocks + MAX_SAMP_FACTOR) *
                  ((uint64_t)component->height_in_blocks + MAX_SAMP_FACTOR);
    }
    return 128 * blocks;
}

/* Rows of a few MCUs, tables, and the library's pools. */
static uint64_t working_bytes(struct jpeg_decompress_struct *cinfo)
{
    return (UINT64_C(1) << 20) + 256 * (uint64_t)cinfo->num_components * cinfo->image_width +
           coefficient_bytes(cinfo);
}

static bool jpeg_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF;
}

static ivl_status jpeg_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                            ivl_error *error)
{
    jpeg_reader reader;

    reader_init(&reader, error);
    if (setjmp(reader.jump) == 0) {
        read_header(&reader, data, bytes);
        header->width = (int32_t)reader.cinfo.image_width;
        header->height = (int32_t)reader.cinfo.image_height;
        header->decode_bytes = ivl__rgb_bytes(header->width, header->height) +
                               working_bytes(&reader.cinfo);
        /* A block takes at least a bit of its component, and the components may be subsampled
         * against each other down to a quarter in each direction. Arithmetic coding has no
         * such floor. */
        header->least_bytes = reader.cinfo.arith_code ? 0
                                                      : (uint64_t)header->width *
                                                            (uint64_t)header->height / 64 / 16 / 8;
    }
    jpeg_destroy_decompress(&reader.cinfo);
    return reader.status;
}

/* Smallest eighth that keeps the short side at twice what the resize will ask for. */
static void choose_scale(struct jpeg_decompress_struct *cinfo, int32_t fast_side)
{
    JDIMENSION side = cinfo->image_width < cinfo->image_height ? cinfo->image_width
                                                               : cinfo->image_height;

    for (unsigned eighths = 1; eighths < 8; eighths *= 2) {
        if (((uint64_t)side * eighths + 7) / 8 >= 2 * (uint64_t)fast_side) {
            cinfo->scale_num = eighths;
            cinfo->scale_denom = 8;
            return;
        }
    }
}

/* a x b / 255, rounded, as Pillow computes it. */
static unsigned mul_div_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;

    return ((t >> 8) + t) >> 8;
}

/* Four components are taken as Adobe writes them, inverted, whether or not the file has the
 * marker: stored 255 - C. Then Pillow's naive conversion. */
static void cmyk_to_rgb(const unsigned char *in, unsigned char *out, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, in += 4, out += 3) {
        unsigned light = in[3]; /* 255 - K */

        for (int c = 0; c < 3; c++) {
            unsigned covered = mul_div_255(255u - in[c], light);

            out[c] = (unsigned char)(light > covered ? light - covered : 0);
        }
    }
}

static void read_rows(jpeg_reader *reader)
{
    struct jpeg_decompress_struct *cinfo = &reader->cinfo;
    const size_t width = cinfo->output_width;

    while (cinfo->output_scanline < cinfo->output_height) {
        unsigned char *out = reader->image.rgb + cinfo->output_scanline * width * 3;
        JSAMPROW row = reader->row ? reader->row : out;

        if (jpeg_read_scanlines(cinfo, &row, 1) != 1) {
            give_up(reader, IVL_BAD_INPUT, "picture data ends too early");
        }
        if (reader->row) {
            cmyk_to_rgb(reader->row, out, width);
        }
    }
}

/* The caller has set reader->jump. */
static void decode(jpeg_reader *reader, const unsigned char *data, size_t bytes,
                   const ivl__decode_options *options)
{
    struct jpeg_decompress_struct *cinfo = &reader->cinfo;

    read_header(reader, data, bytes);
    cinfo->out_color_space = cinfo->num_components == 4 ? JCS_CMYK : JCS_RGB;
    cinfo->dct_method = JDCT_ISLOW;
    if (options->fast && options->fast_side > 0) {
        choose_scale(cinfo, options->fast_side);
    }
    /* Twice the estimate: the point is that no file makes the library ask for far more. */
    cinfo->mem->max_memory_to_use = (long)(2 * working_bytes(cinfo));
    jpeg_start_decompress(cinfo);
    reader->status = ivl__image_alloc((int32_t)cinfo->output_width, (int32_t)cinfo->output_height,
                                      &reader->image, reader->error);
    if (reader->status != IVL_OK) {
        return;
    }
    reader->image.source_width = (int32_t)cinfo->image_width;
    reader->image.source_height = (int32_t)cinfo->image_height;
    if (cinfo->num_components == 4 &&
        !(reader->row = ivl__malloc(4 * (size_t)cinfo->output_width))) {
        give_up(reader, IVL_OUT_OF_MEMORY, "no memory for a row");
    }
    /* What follows the last row is not looked at: a missing end marker costs nothing. */
    read_rows(reader);
}

static ivl_status jpeg_decode(const unsigned char *data, size_t bytes,
                              const ivl__decode_options *options, ivl__image *image,
                              ivl_error *error)
{
    jpeg_reader reader;

    reader_init(&reader, error);
    if (setjmp(reader.jump) == 0) {
        decode(&reader, data, bytes, options);
    }
    jpeg_destroy_decompress(&reader.cinfo);
    ivl__free(reader.row);
    if (reader.status != IVL_OK) {
        ivl__image_free(&reader.image);
        return reader.status;
    }
    *image = reader.image;
    return IVL_OK;
}

const ivl__codec ivl__codec_jpeg = {"JPEG", jpeg_test, jpeg_size, jpeg_decode};
