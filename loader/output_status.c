/* output_status.c - the progress of an output folder, from outside; see output_status.h.
 *
 * Only done/, manifest.json and totals.json are read, so it costs one small file per unit, and runs
 * that are at work are not disturbed. What changes while it is being read is read once more.
 */
#include "loader/output_status.h"

#include "loader/output_folder.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <inttypes.h>
#include <string.h>

typedef struct survey {
    const ivl__record_layout *layout;
    ivl__output_status *found;
    int64_t first_ns, last_ns; /* when the first and last unit that is done was finished */
    uint64_t first_rows;       /* of the unit that was finished first */
    uint64_t done_rows;        /* of all that are done */
    ivl_status status;
    ivl_error *error;
} survey;

static ivl_status no_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory");
}

/* Rows per second count from the end of the first unit on: how long that took is not known. */
static ivl_status note_time(survey *s, uint64_t unit, uint64_t rows, ivl_error *error)
{
    char *path = ivl__record_path(s->layout, unit);
    ivl__file_identity identity;
    ivl_status status = path ? ivl__file_identity_of(path, &identity, error) : no_memory(error);

    ivl__free(path);
    IVL__TRY(status);
    if (s->found->units_done == 0 || identity.mtime_ns < s->first_ns) {
        s->first_ns = identity.mtime_ns;
        s->first_rows = rows;
    }
    if (s->found->units_done == 0 || identity.mtime_ns > s->last_ns) {
        s->last_ns = identity.mtime_ns;
    }
    return IVL_OK;
}

static ivl_status add_unit(survey *s, uint64_t unit, bool open, ivl_error *error)
{
    ivl__journal journal;
    const ivl__record_state *state = &journal.now;

    IVL__TRY(ivl__output_read_unit(s->layout, unit, open, &journal, error));
    if (journal.has_old && journal.now.inputs < journal.old.inputs) {
        state = &journal.old; /* They are tried again, and are rows and errors until then. */
    }
    s->found->rows += state->rows;
    s->found->errors += state->errors;
    if (open) {
        s->found->units_begun++;
    } else if (note_time(s, unit, state->rows, NULL) == IVL_OK) {
        s->found->units_done++;
        s->done_rows += state->rows;
    }
    ivl__journal_free(&journal);
    return IVL_OK;
}

/* A journal may become a record, and a record may be reopened, between listing and reading. */
static bool survey_entry(void *user, const char *name, ivl__entry_kind kind)
{
    survey *s = user;
    uint64_t unit;
    bool open;

    if (kind == IVL__ENTRY_FOLDER || !ivl__record_name_unit(name, &unit, &open)) {
        return true;
    }
    if (!open) {
        bool done, begun;

        s->status = ivl__output_unit_state(s->layout, unit, &done, &begun, s->error);
        if (s->status != IVL_OK || begun) {
            return s->status == IVL_OK; /* Its journal counts. */
        }
    }
    s->status = add_unit(s, unit, open, s->error);
    if (s->status == IVL_IO_ERROR) {
        ivl_error again;

        s->status = add_unit(s, unit, !open, &again) == IVL_OK ? IVL_OK : IVL_IO_ERROR;
    }
    return s->status == IVL_OK;
}

static void finish_survey(survey *s)
{
    ivl__output_status *found = s->found;
    double seconds = 1e-9 * (double)(s->last_ns - s->first_ns);

    if (found->units_done > 1 && seconds > 0) {
        found->rows_per_second = (double)(s->done_rows - s->first_rows) / seconds;
    }
    found->complete = found->units_total > 0 && found->units_begun == 0 &&
                      found->units_done == found->units_total;
}

ivl_status ivl__output_status_read(const char *path, ivl__output_status *status, ivl_error *error)
{
    ivl__output_status found = {0};
    ivl__record_layout layout;
    survey s = {.layout = &layout, .found = &found, .status = IVL_OK, .error = error};
    ivl_status result;
    char *folder;
    json_t *manifest;

    IVL__TRY(ivl__output_open(path, &layout, &manifest, error));
    json_decref(manifest);
    folder = ivl__path_join(layout.base, "done");
    result = folder ? ivl__folder_list(folder, survey_entry, &s, error) : no_memory(error);
    result = result == IVL_OK ? s.status : result;
    if (result == IVL_OK) {
        result = ivl__totals_read(layout.base, &found.units_total, &found.inputs_total, error);
    }
    ivl__free(folder);
    ivl__record_layout_free(&layout);
    if (result == IVL_OK) {
        finish_survey(&s);
        *status = found;
    }
    return result == IVL_BAD_INPUT
               ? ivl__fail_context(error, IVL_INVALID_ARGUMENT, "output '%s' is damaged", path)
               : result;
}
