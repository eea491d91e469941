/* output_folder.c - an output folder that is looked at; see output_folder.h. */
#include "loader/output_folder.h"

#include "loader/record_unit.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

ivl_status ivl__output_open(const char *path, ivl__record_layout *layout, json_t **manifest,
                            ivl_error *error)
{
    ivl__record_stream streams[IVL__MAX_STREAMS];
    ivl__npy_type type = IVL__NPY_F4;
    ivl_status status = IVL_OK;
    int n = 0;

    if (ivl__file_kind_of(path) != IVL__FILE_FOLDER) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' is no folder", path);
    }
    status = ivl__manifest_read(path, manifest, error);
    if (status == IVL_OK && !*manifest) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "'%s' is not an output folder: it has no manifest.json", path);
    }
    if (status == IVL_OK) {
        status = ivl__record_head_streams(*manifest, streams, &n, &type, error);
    }
    if (status == IVL_OK) {
        status = ivl__record_layout_init(layout, path, streams, n, type, error);
    }
    if (status != IVL_OK) {
        json_decref(*manifest);
        *manifest = NULL;
        return ivl__fail_context(error, status == IVL_BAD_INPUT ? IVL_INVALID_ARGUMENT : status,
                                 "'%s' is not an output folder", path);
    }
    return IVL_OK;
}

ivl_status ivl__output_read_unit(const ivl__record_layout *layout, uint64_t unit, bool open,
                                 ivl__journal *journal, ivl_error *error)
{
    char *record = ivl__record_path(layout, unit);
    char *path = record ? ivl__record_concat(record, open ? ".part" : "") : NULL;
    unsigned char *text = NULL;
    size_t bytes, used;
    json_t *json = NULL;
    ivl_status status = path ? ivl__unit_read(path, &json, &text, &bytes, &used, error)
                             : no_memory(error);

    if (status == IVL_OK) {
        status = ivl__journal_parse(layout, json, journal, error);
        if (status == IVL_OK && (journal->unit != unit || (!open && !journal->complete))) {
            status = ivl__fail(error, IVL_BAD_INPUT, "not the record of unit %" PRIu64 ", finished",
                               unit);
            ivl__journal_free(journal);
        }
        if (status != IVL_OK) {
            ivl__fail_context(error, status, "'%s'", path);
        }
        json_decref(json);
    }
    if (status == IVL_OK && open) {
        uint32_t crc[IVL__RECORD_MAX_FILES];
        ivl__record_state state;

        if (ivl__journal_line(layout, (char *)text, used, &bytes, &state, crc)) {
            ivl__record_state_free(&journal->now);
            journal->now = state;
        }
    }
    ivl__free(text);
    ivl__free(record);
    ivl__free(path);
    return status;
}

ivl_status ivl__output_unit_state(const ivl__record_layout *layout, uint64_t unit, bool *done,
                                  bool *begun, ivl_error *error)
{
    char *record = ivl__record_path(layout, unit);
    char *journal = record ? ivl__record_concat(record, ".part") : NULL;
    ivl_status status = journal ? IVL_OK : no_memory(error);

    *begun = journal && ivl__file_exists(journal);
    *done = !*begun && record && ivl__file_exists(record);
    ivl__free(record);
    ivl__free(journal);
    return status;
}
