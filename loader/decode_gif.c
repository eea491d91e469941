/* decode_gif.c - the first frame of a GIF by giflib, composed as Pillow does.
 *
 * Read record by record (not by DGifSlurp, which would hold every frame). What the frame does
 * not cover has the colour of the transparent index where there is one, else of index 0; a
 * transparent pixel keeps its palette colour, since alpha is dropped. A frame that sticks out
 * makes the picture larger; one that lies outside altogether is refused.
 */
#include "loader/image_codecs.h"
#include "runtime/memory.h"

#include <gif_lib.h>
#include <string.h>

/* A code of 12 bits stands for at most 4096 pixels. */
#define LZW_RATIO 2731

typedef struct gif_reader {
    GifFileType *gif;
    const unsigned char *data;
    size_t bytes, at;
    int transparent; /* index, or NO_TRANSPARENT_COLOR */
    int32_t width, height;
} gif_reader;

static int on_read(GifFileType *gif, GifByteType *out, int wanted)
{
    gif_reader *reader = gif->UserData;
    size_t bytes = wanted > 0 ? (size_t)wanted : 0;

    if (bytes > reader->bytes - reader->at) {
        bytes = reader->bytes - reader->at;
    }
    memcpy(out, reader->data + reader->at, bytes);
    reader->at += bytes;
    return (int)bytes;
}

static ivl_status fail(int code, ivl_error *error)
{
    const char *text = GifErrorString(code);

    if (code == D_GIF_ERR_NOT_ENOUGH_MEM) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "GIF: no memory for the decoder");
    }
    return ivl__fail(error, IVL_BAD_INPUT, "GIF: %s", text ? text : "damaged or truncated data");
}

/* One extension with its blocks; of a graphic control block the transparent index is kept. */
static int read_extension(gif_reader *reader)
{
    GifByteType *block;
    int code;

    if (DGifGetExtension(reader->gif, &code, &block) != GIF_OK) {
        return GIF_ERROR;
    }
    if (block && code == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 && (block[1] & 1)) {
        reader->transparent = block[4];
    }
    while (block) {
        if (DGifGetExtensionNext(reader->gif, &block) != GIF_OK) {
            return GIF_ERROR;
        }
    }
    return GIF_OK;
}

/* Up to and with the descriptor of the first frame. */
static ivl_status find_frame(gif_reader *reader, ivl_error *error)
{
    GifFileType *gif = reader->gif;
    GifRecordType type;

    do {
        if (DGifGetRecordType(gif, &type) != GIF_OK ||
            (type == EXTENSION_RECORD_TYPE && read_extension(reader) != GIF_OK) ||
            (type == IMAGE_DESC_RECORD_TYPE && DGifGetImageDesc(gif) != GIF_OK)) {
            return fail(gif->Error, error);
        }
        if (type == TERMINATE_RECORD_TYPE) {
            return ivl__fail(error, IVL_BAD_INPUT, "GIF: no frame in the file");
        }
    } while (type != IMAGE_DESC_RECORD_TYPE);
    if (gif->Image.Left >= gif->SWidth || gif->Image.Top >= gif->SHeight) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "GIF: first frame at (%d, %d) lies outside the screen of %d x %d pixels",
                         gif->Image.Left, gif->Image.Top, gif->SWidth, gif->SHeight);
    }
    if (gif->Image.Width <= 0 || gif->Image.Height <= 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "GIF: first frame is empty");
    }
    reader->width = gif->Image.Left + gif->Image.Width;
    reader->width = reader->width > gif->SWidth ? reader->width : gif->SWidth;
    reader->height = gif->Image.Top + gif->Image.Height;
    reader->height = reader->height > gif->SHeight ? reader->height : gif->SHeight;
    return IVL_OK;
}

static ivl_status reader_open(gif_reader *reader, const unsigned char *data, size_t bytes,
                              ivl_error *error)
{
    ivl_status status;
    int code = 0;

    memset(reader, 0, sizeof *reader);
    reader->data = data;
    reader->bytes = bytes;
    reader->transparent = NO_TRANSPARENT_COLOR;
    reader->gif = DGifOpen(reader, on_read, &code);
    if (!reader->gif) {
        return fail(code, error);
    }
    status = find_frame(reader, error);
    if (status != IVL_OK) {
        DGifCloseFile(reader->gif, NULL);
    }
    return status;
}

static bool gif_test(const unsigned char *data, size_t bytes)
{
    return bytes >= 6 && (memcmp(data, "GIF87a", 6) == 0 || memcmp(data, "GIF89a", 6) == 0);
}

static ivl_status gif_size(const unsigned char *data, size_t bytes, ivl__image_header *header,
                           ivl_error *error)
{
    gif_reader reader;
    ivl_status status = reader_open(&reader, data, bytes, error);

    if (status != IVL_OK) {
        return status;
    }
    header->width = reader.width;
    header->height = reader.height;
    header->decode_bytes = ivl__rgb_bytes(reader.width, reader.height) + (UINT64_C(1) << 20);
    header->least_bytes = (uint64_t)reader.gif->Image.Width * (uint64_t)reader.gif->Image.Height /
                          LZW_RATIO;
    DGifCloseFile(reader.gif, NULL);
    return IVL_OK;
}

/* [256, 3] colours; a file without a palette is grey, indices past a palette are black
 * (as in recent Pillow; 9.4 made them grey). */
static void make_palette(const GifFileType *gif, unsigned char palette[256][3])
{
    const ColorMapObject *map = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;

    for (int i = 0; i < 256; i++) {
        if (!map) {
            memset(palette[i], i, 3);
        } else if (i < map->ColorCount) {
            palette[i][0] = map->Colors[i].Red;
            palette[i][1] = map->Colors[i].Green;
            palette[i][2] = map->Colors[i].Blue;
        } else {
            memset(palette[i], 0, 3);
        }
    }
}

static void fill(ivl__image *image, const unsigned char color[3])
{
    size_t pixels = (size_t)image->width * (size_t)image->height;

    for (size_t i = 0; i < pixels; i++) {
        memcpy(image->rgb + 3 * i, color, 3);
    }
}

static ivl_status read_frame(gif_reader *reader, unsigned char (*palette)[3], unsigned char *line,
                             ivl__image *image, ivl_error *error)
{
    static const int first[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
    const GifImageDesc *frame = &reader->gif->Image;
    const int passes = frame->Interlace ? 4 : 1;

    for (int pass = 0; pass < passes; pass++) {
        const int begin = frame->Interlace ? first[pass] : 0;
        const int stride = frame->Interlace ? step[pass] : 1;

        for (int y = begin; y < frame->Height; y += stride) {
            unsigned char *out = image->rgb + 3 * ((size_t)(frame->Top + y) * (size_t)image->width +
                                                   (size_t)frame->Left);

            if (DGifGetLine(reader->gif, line, frame->Width) != GIF_OK) {
                return fail(reader->gif->Error, error);
            }
            for (int x = 0; x < frame->Width; x++) {
                memcpy(out + 3 * x, palette[line[x]], 3);
            }
        }
    }
    return IVL_OK;
}

static ivl_status gif_decode(const unsigned char *data, size_t bytes,
                             const ivl__decode_options *options, ivl__image *image,
                             ivl_error *error)
{
    unsigned char palette[256][3];
    unsigned char *line;
    gif_reader reader;
    ivl_status status = reader_open(&reader, data, bytes, error);

    (void)options;
    if (status != IVL_OK) {
        return status;
    }
    line = ivl__malloc((size_t)reader.gif->Image.Width);
    status = line ? ivl__image_alloc(reader.width, reader.height, image, error)
                  : ivl__fail(error, IVL_OUT_OF_MEMORY, "GIF: no memory for a row");
    if (status == IVL_OK) {
        make_palette(reader.gif, palette);
        fill(image, palette[reader.transparent < 0 ? 0 : reader.transparent]);
        status = read_frame(&reader, palette, line, image, error);
    }
    ivl__free(line);
    DGifCloseFile(reader.gif, NULL);
    return status;
}

const ivl__codec ivl__codec_gif = {"GIF", gif_test, gif_size, gif_decode};
