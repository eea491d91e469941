/* record_layout.c - which files an output consists of; see record_layout.h. */
#include "loader/record_layout.h"

#include "loader/json_text.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>

static const struct {
    const char *ending;
    ivl__record_form form;
} forms[] = {
    {".npy", IVL__RECORD_NPY}, {".npz", IVL__RECORD_NPZ},       {".jsonl", IVL__RECORD_JSONL},
    {".csv", IVL__RECORD_CSV}, {".sqlite", IVL__RECORD_SQLITE},
};

enum { N_FORMS = sizeof forms / sizeof forms[0] };

/* Elements of a row are counted in 64 bits and multiplied by 8 at most; NumPy's own limit. */
#define MAX_ROW_ELEMENTS ((uint64_t)1 << 40)

bool ivl__record_path_is_folder(const char *path)
{
    size_t n = strlen(path);

    return n && (path[n - 1] == '/' || ivl__file_kind_of(path) == IVL__FILE_FOLDER);
}

/* The text without its last `cut` bytes. */
static char *shortened(const char *text, size_t cut)
{
    char *copy = ivl__strdup(text);

    if (copy) {
        copy[strlen(copy) - cut] = '\0';
    }
    return copy;
}

static ivl_status find_form(ivl__record_layout *layout, const char *path, ivl_error *error)
{
    size_t n = strlen(path);

    if (ivl__record_path_is_folder(path)) {
        size_t slashes = 0;

        while (slashes + 1 < n && path[n - 1 - slashes] == '/') {
            slashes++;
        }
        layout->form = IVL__RECORD_FOLDER;
        layout->base = shortened(path, slashes);
        return layout->base ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    for (int i = 0; i < N_FORMS; i++) {
        size_t length = strlen(forms[i].ending);

        if (n > length && strcmp(path + n - length, forms[i].ending) == 0 &&
            path[n - length - 1] != '/') {
            layout->form = forms[i].form;
            layout->base = shortened(path, length);
            return layout->base ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
        }
    }
    return ivl__fail(error, IVL_INVALID_ARGUMENT,
                     "output '%s': its form is not known; end it with .npy, .npz, .jsonl, .csv or "
                     ".sqlite, or with / for a folder",
                     path);
}

/* Names become parts of file names and of JSON. */
static bool is_plain(const char *name)
{
    for (const char *s = name; *s; s++) {
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_' || *s == '-')) {
            return false;
        }
    }
    return strlen(name) <= 100;
}

static ivl_status check_stream(const ivl__record_layout *layout, const ivl__record_stream *streams,
                               int i, uint64_t *elements, ivl_error *error)
{
    const ivl__record_stream *stream = &streams[i];
    bool by_suffix = layout->form != IVL__RECORD_FOLDER && layout->form != IVL__RECORD_NPZ;

    *elements = 1;
    if (!stream->name[0] || !is_plain(stream->name) || !is_plain(stream->suffix) ||
        strcmp(stream->name, "metadata") == 0 || strcmp(stream->name, "errors") == 0 ||
        strcmp(stream->name, "done") == 0 || strcmp(stream->suffix, "errors") == 0 ||
        strcmp(stream->suffix, "meta") == 0) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "output stream '%s' (suffix '%s') is no name",
                         stream->name, stream->suffix);
    }
    for (int j = 0; j < i; j++) {
        if (strcmp(streams[j].name, stream->name) == 0 ||
            (by_suffix && strcmp(streams[j].suffix, stream->suffix) == 0)) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "output streams '%s' and '%s' share a name or suffix", streams[j].name,
                             stream->name);
        }
    }
    if (stream->rank < 0 || stream->rank > 4) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "output stream '%s': %d dimensions",
                         stream->name, stream->rank);
    }
    for (int d = 0; d < stream->rank; d++) {
        if (stream->shape[d] == 0 || stream->shape[d] > MAX_ROW_ELEMENTS / *elements) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "output stream '%s': %llu as a size",
                             stream->name, (unsigned long long)stream->shape[d]);
        }
        *elements *= stream->shape[d];
    }
    return IVL_OK;
}

static ivl_status copy_streams(ivl__record_layout *layout, const ivl__record_stream *streams, int n,
                               ivl_error *error)
{
    layout->streams = ivl__calloc((size_t)n, sizeof *layout->streams);
    layout->elements = ivl__calloc((size_t)n, sizeof *layout->elements);
    if (!layout->streams || !layout->elements) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    layout->n_streams = n;
    for (int i = 0; i < n; i++) {
        IVL__TRY(check_stream(layout, streams, i, &layout->elements[i], error));
        layout->streams[i] = streams[i];
        layout->streams[i].name = ivl__strdup(streams[i].name);
        layout->streams[i].suffix = ivl__strdup(streams[i].suffix);
        if (!layout->streams[i].name || !layout->streams[i].suffix) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
        }
    }
    return IVL_OK;
}

/* Bytes are for pictures, which are arrays. */
static bool type_fits(const ivl__record_layout *layout)
{
    switch (layout->form) {
    case IVL__RECORD_JSONL:
    case IVL__RECORD_CSV:
    case IVL__RECORD_SQLITE: return layout->type == IVL__NPY_F4 || layout->type == IVL__NPY_F2;
    default:
        return layout->type == IVL__NPY_F4 || layout->type == IVL__NPY_F2 ||
               layout->type == IVL__NPY_U1;
    }
}

ivl_status ivl__record_layout_init(ivl__record_layout *layout, const char *path,
                                   const ivl__record_stream *streams, int n_streams,
                                   ivl__npy_type type, ivl_error *error)
{
    ivl_status status;

    *layout = (ivl__record_layout){.type = type};
    if (n_streams < 1 || n_streams > IVL__MAX_STREAMS) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "an output of %d streams (1 to %d)",
                         n_streams, (int)IVL__MAX_STREAMS);
    }
    status = find_form(layout, path, error);
    if (status == IVL_OK && !type_fits(layout)) {
        status = ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' cannot hold %s rows", path,
                           ivl__npy_type_name(type));
    }
    if (status == IVL_OK) {
        layout->path = ivl__strdup(path);
        status = layout->path ? copy_streams(layout, streams, n_streams, error)
                              : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
    }
    if (status != IVL_OK) {
        ivl__record_layout_free(layout);
        return status;
    }
    layout->n_files = n_streams + 2;
    if (layout->form == IVL__RECORD_JSONL || layout->form == IVL__RECORD_CSV) {
        layout->n_files = n_streams + 1;
    }
    return IVL_OK;
}

void ivl__record_layout_free(ivl__record_layout *layout)
{
    for (int i = 0; layout->streams && i < layout->n_streams; i++) {
        ivl__free((char *)(uintptr_t)layout->streams[i].name);
        ivl__free((char *)(uintptr_t)layout->streams[i].suffix);
    }
    ivl__free(layout->streams);
    ivl__free(layout->elements);
    ivl__free(layout->path);
    ivl__free(layout->base);
    *layout = (ivl__record_layout){0};
}

const char *ivl__record_form_name(const ivl__record_layout *layout)
{
    for (int i = 0; i < N_FORMS; i++) {
        if (forms[i].form == layout->form) {
            return forms[i].ending + 1;
        }
    }
    return "folder";
}

ivl__record_kind ivl__record_kind_of(const ivl__record_layout *layout, int file)
{
    if (file == layout->n_files - 1) {
        return IVL__RECORD_ERRORS;
    }
    if (file == layout->n_streams) {
        return IVL__RECORD_METADATA;
    }
    return layout->form == IVL__RECORD_JSONL ? IVL__RECORD_VECTORS
           : layout->form == IVL__RECORD_CSV ? IVL__RECORD_TABLE
                                             : IVL__RECORD_ARRAY;
}

bool ivl__record_is_packed(const ivl__record_layout *layout, int file)
{
    return (layout->form == IVL__RECORD_NPZ && file < layout->n_streams) ||
           (layout->form == IVL__RECORD_SQLITE && file < layout->n_files - 1);
}

uint64_t ivl__record_row_bytes(const ivl__record_layout *layout, int stream)
{
    return layout->elements[stream] * ivl__npy_type_bytes(layout->type);
}

/* ---- names ------------------------------------------------------------------------------- */

/* What was put together; the text's memory becomes the caller's. */
static char *take(ivl__text *text)
{
    if (text->failed) {
        ivl__text_free(text);
    }
    return text->data;
}

static char *unit_path(const ivl__record_layout *layout, const char *folder, const char *prefix,
                       uint64_t unit, const char *ending)
{
    ivl__text text = {0};

    ivl__text_printf(&text, "%s/%s/%s%06llu%s", layout->base, folder, prefix,
                     (unsigned long long)unit, ending);
    return take(&text);
}

static char *stream_path(const ivl__record_layout *layout, const ivl__record_stream *stream,
                         const char *ending)
{
    ivl__text text = {0};

    ivl__text_printf(&text, "%s%s%s%s", layout->base, stream->suffix[0] ? "." : "", stream->suffix,
                     ending);
    return take(&text);
}

static char *folder_file_path(const ivl__record_layout *layout, int file, uint64_t unit)
{
    ivl__text prefix = {0};
    char *path = NULL;

    if (file == layout->n_streams) {
        return unit_path(layout, "metadata", "metadata_", unit, ".jsonl");
    }
    if (file == layout->n_streams + 1) {
        return unit_path(layout, "errors", "errors_", unit, ".jsonl");
    }
    ivl__text_printf(&prefix, "%s_", layout->streams[file].name);
    if (!prefix.failed) {
        path = unit_path(layout, layout->streams[file].name, prefix.data, unit, ".npy");
    }
    ivl__text_free(&prefix);
    return path;
}

char *ivl__record_file_path(const ivl__record_layout *layout, int file, uint64_t unit)
{
    static const char *const endings[] = {
        [IVL__RECORD_NPY] = ".npy",
        [IVL__RECORD_JSONL] = ".jsonl",
        [IVL__RECORD_CSV] = ".csv",
        [IVL__RECORD_SQLITE] = ".sqlite.npy",
    };

    if (layout->form == IVL__RECORD_FOLDER) {
        return folder_file_path(layout, file, unit);
    }
    switch (ivl__record_kind_of(layout, file)) {
    case IVL__RECORD_ERRORS: return ivl__record_concat(layout->base, ".errors.jsonl");
    case IVL__RECORD_METADATA:
        return ivl__record_concat(layout->base,
                                  layout->form == IVL__RECORD_SQLITE ? ".sqlite.jsonl" : ".jsonl");
    case IVL__RECORD_ARRAY:
    case IVL__RECORD_VECTORS:
    case IVL__RECORD_TABLE: break;
    }
    if (layout->form == IVL__RECORD_NPZ) {
        ivl__text text = {0};

        ivl__text_printf(&text, "%s.npz.%s.npy", layout->base, layout->streams[file].name);
        return take(&text);
    }
    return stream_path(layout, &layout->streams[file], endings[layout->form]);
}

char *ivl__record_path(const ivl__record_layout *layout, uint64_t unit)
{
    return layout->form == IVL__RECORD_FOLDER ? unit_path(layout, "done", "", unit, ".json")
                                              : ivl__record_concat(layout->base, ".meta.json");
}

char *ivl__record_packed_path(const ivl__record_layout *layout, int stream)
{
    return layout->form == IVL__RECORD_NPZ
               ? ivl__record_concat(layout->base, ".npz")
               : stream_path(layout, &layout->streams[stream], ".sqlite");
}

char *ivl__record_concat(const char *a, const char *b)
{
    ivl__text text = {0};

    ivl__text_printf(&text, "%s%s", a, b);
    return take(&text);
}
