/* caption_set.c - retrieval annotations; see caption_set.h. */
#include "loader/caption_builder.h"
#include "loader/csv.h"
#include "loader/utf8.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

static const char *const form_names[] = {"auto", "json", "flickr", "csv", "lines"};

bool ivl__caption_form_parse(const char *name, ivl__caption_form *form)
{
    for (size_t i = 0; i < sizeof form_names / sizeof form_names[0]; i++) {
        if (strcmp(form_names[i], name) == 0) {
            *form = (ivl__caption_form)i;
            return true;
        }
    }
    return false;
}

void ivl__caption_set_free(ivl__caption_set *set)
{
    for (size_t i = 0; i < set->n_images; i++) {
        ivl__free(set->images[i]);
    }
    for (size_t i = 0; i < set->n_captions; i++) {
        ivl__free(set->captions[i].text);
    }
    ivl__free(set->images);
    ivl__free(set->captions);
    *set = (ivl__caption_set){0};
}

/* ---- filling ----------------------------------------------------------------------------- */

static char *copy_text(const char *text, size_t bytes)
{
    char *copy = ivl__malloc(bytes + 1);

    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

static ivl_status new_image(ivl__caption_builder *b, char *name, uint32_t *image, ivl_error *error)
{
    ivl__caption_set *set = b->set;

    if (set->n_images >= INT32_MAX) {
        return ivl__fail(error, IVL_BAD_INPUT, "too many pictures");
    }
    if (!ivl__grow((void **)&set->images, &set->images_capacity, set->n_images + 1,
                   sizeof *set->images) ||
        json_object_set_new_nocheck(b->by_name, name, json_integer((json_int_t)set->n_images)) !=
            0) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the names of pictures");
    }
    *image = (uint32_t)set->n_images;
    set->images[set->n_images++] = name;
    return IVL_OK;
}

ivl_status ivl__caption_builder_image(ivl__caption_builder *b, const char *name, size_t bytes,
                                      uint32_t *image, ivl_error *error)
{
    const json_t *known;
    char *copy;
    ivl_status status;

    if (bytes == 0 || memchr(name, '\0', bytes)) {
        return ivl__fail(error, IVL_BAD_INPUT, "the name of a picture %s",
                         bytes ? "holds a NUL byte" : "is empty");
    }
    b->by_name = b->by_name ? b->by_name : json_object();
    copy = copy_text(name, bytes);
    if (!b->by_name || !copy) {
        ivl__free(copy);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the names of pictures");
    }
    known = json_object_get(b->by_name, copy);
    if (known) {
        *image = (uint32_t)json_integer_value(known);
        ivl__free(copy);
        return IVL_OK;
    }
    status = new_image(b, copy, image, error);
    if (status != IVL_OK) {
        ivl__free(copy);
    }
    return status;
}

static ivl_status check_caption(const char *text, size_t bytes, ivl_error *error)
{
    size_t length;

    for (size_t at = 0; at < bytes; at += length) {
        length = ivl__utf8_decode(text + at, bytes - at, NULL);
        if (!length || !text[at]) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "the caption is not UTF-8 text at byte %zu (0x%02x)", at,
                             (unsigned)(unsigned char)text[at]);
        }
    }
    return IVL_OK;
}

ivl_status ivl__caption_builder_add(ivl__caption_builder *b, uint32_t image, const char *text,
                                    size_t bytes, ivl_error *error)
{
    ivl__caption_set *set = b->set;
    char *copy;

    IVL__TRY(check_caption(text, bytes, error));
    copy = copy_text(text, bytes);
    if (!copy || !ivl__grow((void **)&set->captions, &set->captions_capacity, set->n_captions + 1,
                            sizeof *set->captions)) {
        ivl__free(copy);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for captions");
    }
    set->captions[set->n_captions++] = (ivl__caption){.text = copy, .image = image};
    return IVL_OK;
}

/* ---- lines ------------------------------------------------------------------------------- */

/* The lines of a text, without white space around them. */
typedef struct line_reader {
    const char *at, *end;
    uint64_t line;
} line_reader;

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool next_line(line_reader *r, const char **text, size_t *bytes)
{
    const char *stop;

    if (r->at == r->end) {
        return false;
    }
    *text = r->at;
    stop = memchr(r->at, '\n', (size_t)(r->end - r->at));
    r->at = stop ? stop + 1 : r->end;
    stop = stop ? stop : r->end;
    if (r->line++ == 0 && stop - *text >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
        *text += 3;
    }
    while (*text < stop && is_white(**text)) {
        ++*text;
    }
    while (stop > *text && is_white(stop[-1])) {
        stop--;
    }
    *bytes = (size_t)(stop - *text);
    return true;
}

/* Lines of a text; empty ones at its end do not count. */
static line_reader lines_of(const void *data, size_t bytes)
{
    const char *text = data;

    while (bytes && is_white(text[bytes - 1])) {
        bytes--;
    }
    return (line_reader){.at = text, .end = text + bytes};
}

/* Where the caption begins in NAME.jpg,CAPTION; 0 for another line. */
static size_t caption_start(const char *text, size_t bytes)
{
    static const char mark[] = ".jpg,";

    for (size_t i = 1; i + sizeof mark - 1 <= bytes; i++) {
        if (memcmp(text + i, mark, sizeof mark - 1) == 0) {
            return i + sizeof mark - 1;
        }
    }
    return 0;
}

static ivl_status read_flickr_line(ivl__caption_builder *b, const char *text, size_t bytes,
                                   ivl_error *error)
{
    size_t start = caption_start(text, bytes);
    uint32_t image;

    if (!start) {
        return ivl__fail(error, IVL_BAD_INPUT, "not of the form NAME.jpg,CAPTION");
    }
    IVL__TRY(ivl__caption_builder_image(b, text, start - 1, &image, error));
    return ivl__caption_builder_add(b, image, text + start, bytes - start, error);
}

static ivl_status read_flickr(ivl__caption_builder *b, const void *data, size_t bytes,
                              ivl_error *error)
{
    line_reader r = lines_of(data, bytes);
    const char *text;
    size_t length;

    while (next_line(&r, &text, &length)) {
        ivl_status status;

        if (r.line == 1 || length == 0) {
            continue;
        }
        status = read_flickr_line(b, text, length, error);
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "line %llu", (unsigned long long)r.line);
        }
    }
    return IVL_OK;
}

static ivl_status read_pairs(ivl__caption_builder *b, line_reader *captions, line_reader *names,
                             ivl_error *error)
{
    for (;;) {
        const char *text, *name;
        size_t bytes, name_bytes;
        bool has_text = next_line(captions, &text, &bytes);
        bool has_name = next_line(names, &name, &name_bytes);
        uint32_t image;
        ivl_status status;

        if (!has_text && !has_name) {
            return IVL_OK;
        }
        if (has_text != has_name) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "there are %s captions than names of pictures (line %llu)",
                             has_text ? "more" : "fewer",
                             (unsigned long long)(has_text ? captions : names)->line);
        }
        status = ivl__caption_builder_image(b, name, name_bytes, &image, error);
        if (status == IVL_OK) {
            status = ivl__caption_builder_add(b, image, text, bytes, error);
        }
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "line %llu",
                                     (unsigned long long)captions->line);
        }
    }
}

/* ---- CSV --------------------------------------------------------------------------------- */

static ivl_status read_csv_record(ivl__caption_builder *b, const ivl__csv *csv, int key,
                                  int caption, ivl_error *error)
{
    uint32_t image;

    if ((size_t)key >= csv->n || (size_t)caption >= csv->n) {
        return ivl__fail(error, IVL_BAD_INPUT, "there are %zu fields, fewer than in the header",
                         csv->n);
    }
    IVL__TRY(ivl__caption_builder_image(b, csv->fields[key].text, csv->fields[key].bytes, &image,
                                        error));
    return ivl__caption_builder_add(b, image, csv->fields[caption].text, csv->fields[caption].bytes,
                                    error);
}

static ivl_status read_records(ivl__caption_builder *b, ivl__csv *csv, ivl_error *error)
{
    bool end;
    int key, caption;

    IVL__TRY(ivl__csv_next(csv, &end, error));
    key = end ? -1 : ivl__csv_column(csv, "key");
    caption = end ? -1 : ivl__csv_column(csv, "caption");
    if (key < 0 || caption < 0) {
        return ivl__fail(error, IVL_BAD_INPUT,
                         "the first line is no header with the columns key and caption");
    }
    for (;;) {
        ivl_status status;

        IVL__TRY(ivl__csv_next(csv, &end, error));
        if (end) {
            return IVL_OK;
        }
        status = read_csv_record(b, csv, key, caption, error);
        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "line %llu", (unsigned long long)csv->line);
        }
    }
}

static ivl_status read_csv(ivl__caption_builder *b, const void *data, size_t bytes,
                           ivl_error *error)
{
    ivl__csv csv;
    ivl_status status;

    ivl__csv_begin(&csv, data, bytes);
    status = read_records(b, &csv, error);
    ivl__csv_free(&csv);
    return status;
}

/* ---- any form ---------------------------------------------------------------------------- */

static ivl_status parse_form(ivl__caption_builder *b, const void *data, size_t bytes,
                             const void *names, size_t names_bytes,
                             const ivl__caption_options *options, ivl_error *error)
{
    line_reader captions = lines_of(data, bytes);
    line_reader pictures = lines_of(names, names_bytes);

    switch (options->form) {
    case IVL__CAPTIONS_JSON:
        return ivl__caption_json(b, data, bytes, options->split ? options->split : "test", error);
    case IVL__CAPTIONS_FLICKR: return read_flickr(b, data, bytes, error);
    case IVL__CAPTIONS_CSV: return read_csv(b, data, bytes, error);
    case IVL__CAPTIONS_LINES: return read_pairs(b, &captions, &pictures, error);
    case IVL__CAPTIONS_AUTO: break;
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT, "the form of the captions is not known");
}

ivl_status ivl__caption_set_parse(const void *data, size_t bytes, const void *names,
                                  size_t names_bytes, const ivl__caption_options *options,
                                  ivl__caption_set *set, ivl_error *error)
{
    ivl__caption_builder b = {.set = set};
    ivl_status status;

    *set = (ivl__caption_set){.form = options->form};
    status = parse_form(&b, data, bytes, names, names_bytes, options, error);
    json_decref(b.by_name);
    if (status == IVL_OK && set->n_captions == 0) {
        status = ivl__fail(error, IVL_BAD_INPUT, "there are no captions");
    }
    if (status != IVL_OK) {
        ivl__caption_set_free(set);
    }
    return status;
}

/* By what the file begins with; names belong to captions in lines. */
static ivl__caption_form guess(const char *data, size_t bytes, const ivl__caption_options *options)
{
    line_reader r = {.at = data, .end = data + bytes};
    const char *text;
    size_t length = 0;

    if (options->names) {
        return IVL__CAPTIONS_LINES;
    }
    while (length == 0 && next_line(&r, &text, &length)) {
    }
    if (length && (*text == '{' || *text == '[')) {
        return IVL__CAPTIONS_JSON;
    }
    /* Both have a header; only the second line tells. */
    if (r.line == 1 && next_line(&r, &text, &length) && caption_start(text, length) &&
        *text != '"') {
        ivl__csv csv;
        bool end;
        bool is_csv;

        ivl__csv_begin(&csv, data, bytes);
        is_csv = ivl__csv_next(&csv, &end, NULL) == IVL_OK && ivl__csv_column(&csv, "key") >= 0;
        ivl__csv_free(&csv);
        return is_csv ? IVL__CAPTIONS_CSV : IVL__CAPTIONS_FLICKR;
    }
    return IVL__CAPTIONS_CSV;
}

static ivl_status read_names(const ivl__caption_options *options, unsigned char **names,
                             size_t *bytes, ivl_error *error)
{
    if (options->form != IVL__CAPTIONS_LINES) {
        return IVL_OK;
    }
    if (!options->names) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "captions in lines need a file with the names of the pictures");
    }
    return ivl__file_read(options->names, IVL__CAPTIONS_MAX_BYTES, names, bytes, error);
}

ivl_status ivl__caption_set_read(const char *path, const ivl__caption_options *options,
                                 ivl__caption_set *set, ivl_error *error)
{
    ivl__caption_options o = *options;
    unsigned char *data = NULL;
    unsigned char *names = NULL;
    size_t bytes = 0;
    size_t names_bytes = 0;
    ivl_status status;

    *set = (ivl__caption_set){0};
    IVL__TRY(ivl__file_read(path, IVL__CAPTIONS_MAX_BYTES, &data, &bytes, error));
    if (o.form == IVL__CAPTIONS_AUTO) {
        o.form = guess((const char *)data, bytes, &o);
    }
    status = read_names(&o, &names, &names_bytes, error);
    if (status == IVL_OK) {
        status = ivl__caption_set_parse(data, bytes, names, names_bytes, &o, set, error);
        if (status != IVL_OK) {
            ivl__fail_context(error, status, "captions '%s'", path);
        }
    }
    ivl__free(names);
    ivl__free(data);
    return status;
}
