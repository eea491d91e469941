/* image_source.c - the inputs of a command as one stream of items; see image_source.h.
 *
 * Three steps, each a small state machine: next_path() makes explicit paths of the arguments
 * (ranges, lists, stdin), next_raw() makes items of a path (file, folder, tar, array), and
 * ivl__image_source_next() numbers them and frames them by units. One item waits in `held` while
 * the marks before it are handed out.
 */
#include "loader/image_source.h"

#include "loader/folder_walk.h"
#include "loader/input_list.h"
#include "loader/npy_source.h"
#include "loader/path_range.h"
#include "loader/shard.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <string.h>
#include <strings.h>

enum { DEFAULT_UNIT_ROWS = 4096 };

/* Where the source stands with the tar it has come to. */
typedef enum tar_state {
    TAR_NONE,
    TAR_FOUND,     /* its unit has not begun */
    TAR_ANNOUNCED, /* its unit has; the caller may still skip it */
    TAR_READING    /* and is over when shard is NULL */
} tar_state;

struct ivl__image_source {
    const char *const *inputs;
    size_t n_inputs, at;
    ivl__image_source_options options;
    ivl__image_source_counts counts;

    /* What argument inputs[at - 1] still has to give. */
    ivl__input_list *list;
    const char *range;
    uint64_t range_at, range_count;
    bool stdin_tar_done;

    /* What the last path still has to give. */
    ivl__folder_walk *walk;
    ivl__npy_source *npy;
    ivl__shard *shard;
    tar_state tar;
    char *tar_path; /* NULL: the tar on stdin */

    /* Units. */
    bool unit_open, unit_mine;
    uint64_t unit, position, next_unit;
    ivl__item held;
    bool has_held;
};

/* ---- names ------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text);
    size_t b = strlen(end);

    return a >= b && strcasecmp(text + a - b, end) == 0;
}

bool ivl__is_picture_name(const char *name)
{
    static const char *const known[] = {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp",  ".gif",
        ".pnm", ".ppm",  ".pgm", ".pbm",  ".tga", ".webp",
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (ends_with(name, known[i])) {
            return true;
        }
    }
    return false;
}

static bool is_stdin(const char *input)
{
    return strcmp(input, "-") == 0 || strcmp(input, "-0") == 0;
}

static ivl_status out_of_memory(ivl_error *error)
{
    return ivl__fail(error, IVL_OUT_OF_MEMORY, "cannot go on with the inputs: out of memory");
}

/* ---- items ------------------------------------------------------------------------------- */

/* Takes key over, and frees it when it fails. */
static ivl_status make_failed(char *key, const char *why, ivl__item *item, ivl_error *error)
{
    char *text = ivl__strdup(why);

    if (!key || !text) {
        ivl__free(key);
        ivl__free(text);
        return out_of_memory(error);
    }
    *item = (ivl__item){.kind = IVL__ITEM_FAILED, .key = key, .error_text = text};
    return IVL_OK;
}

static ivl_status make_picture(char *path, ivl__item *item, ivl_error *error)
{
    char *key = path ? ivl__strdup(path) : NULL;

    if (!key) {
        ivl__free(path);
        return out_of_memory(error);
    }
    *item = (ivl__item){.kind = IVL__ITEM_PICTURE, .key = key, .path = path};
    return IVL_OK;
}

/* ---- arguments to paths ------------------------------------------------------------------ */

static ivl_status open_argument(ivl__image_source *s, const char *input, char **path,
                                ivl_error *error)
{
    ivl_status status;

    if (is_stdin(input)) {
        return ivl__input_list_open(NULL, s->options.stdin_fd, input[1] ? '\0' : '\n', &s->list,
                                    error);
    }
    if (input[0] == '@' && input[1]) {
        return ivl__input_list_open(input + 1, -1, '\n', &s->list, error);
    }
    if (ivl__path_has_range(input) && ivl__file_kind_of(input) == IVL__FILE_MISSING) {
        status = ivl__path_range_count(input, &s->range_count, error);
        s->range = status == IVL_OK ? input : NULL;
        s->range_at = 0;
        return status;
    }
    *path = ivl__strdup(input);
    return *path ? IVL_OK : out_of_memory(error);
}

/* *path, or *failed for a line that is none; neither when the list is through. */
static ivl_status next_line(ivl__image_source *s, char **path, ivl__item *failed, bool *has_failed,
                            ivl_error *error)
{
    const char *line;
    size_t bytes;
    bool complete;
    bool end;
    ivl_status status;

    do {
        status = ivl__input_list_next(s->list, &line, &bytes, &complete, &end, error);
        if (status != IVL_OK) {
            return status;
        }
        if (end) {
            ivl__input_list_free(s->list);
            s->list = NULL;
            return IVL_OK;
        }
    } while (bytes == 0);
    if (!complete || strlen(line) != bytes || bytes > 65535) {
        *has_failed = true;
        return make_failed(ivl__strdup("(list)"),
                           strlen(line) != bytes
                               ? "a line with a NUL byte; lists separated by NUL are read by -0"
                               : "a line longer than a path can be",
                           failed, error);
    }
    *path = ivl__strdup(line);
    return *path ? IVL_OK : out_of_memory(error);
}

/* The next explicit path; NULL at the end of the arguments. */
static ivl_status next_path(ivl__image_source *s, char **path, ivl__item *failed, bool *has_failed,
                            ivl_error *error)
{
    ivl_status status = IVL_OK;

    *path = NULL;
    *has_failed = false;
    while (status == IVL_OK && !*path && !*has_failed) {
        if (s->list) {
            status = next_line(s, path, failed, has_failed, error);
        } else if (s->range && s->range_at < s->range_count) {
            *path = ivl__path_range_at(s->range, s->range_at++);
            status = *path ? IVL_OK : out_of_memory(error);
        } else if (s->at < s->n_inputs) {
            s->range = NULL;
            status = open_argument(s, s->inputs[s->at++], path, error);
        } else {
            break;
        }
    }
    return status;
}

/* ---- paths to items ---------------------------------------------------------------------- */

/* What open_path() or next_raw() found. */
typedef enum found { FOUND_NOTHING, FOUND_ITEM, FOUND_TAR, FOUND_END } found;

static ivl_status open_npy(ivl__image_source *s, char *path, ivl__item *item, found *what,
                           ivl_error *error)
{
    ivl_error local = {0};
    ivl_status status = ivl__npy_source_open(path, &s->npy, &local);

    if (status == IVL_OUT_OF_MEMORY) {
        ivl__free(path);
        return ivl__fail(error, status, "%s", local.message);
    }
    if (status != IVL_OK) {
        *what = FOUND_ITEM;
        return make_failed(path, local.message, item, error);
    }
    ivl__free(path);
    return IVL_OK;
}

/* Takes path over. */
static ivl_status open_path(ivl__image_source *s, char *path, ivl__item *item, found *what,
                            ivl_error *error)
{
    ivl_status status;

    *what = FOUND_NOTHING;
    if (ivl__file_kind_of(path) == IVL__FILE_FOLDER) {
        status = ivl__folder_walk_open(path, &s->walk, error);
        ivl__free(path);
        return status;
    }
    if (ends_with(path, ".tar")) {
        s->tar_path = path;
        s->tar = TAR_FOUND;
        *what = FOUND_TAR;
        return IVL_OK;
    }
    if (ends_with(path, ".npy")) {
        return open_npy(s, path, item, what, error);
    }
    *what = FOUND_ITEM;
    return make_picture(path, item, error);
}

static ivl_status next_in_walk(ivl__image_source *s, ivl__item *item, found *what, ivl_error *error)
{
    uint64_t other = ivl__folder_walk_other(s->walk);
    char *path, *unreadable;
    ivl_status status = ivl__folder_walk_next(s->walk, &path, &unreadable, error);

    s->counts.other += ivl__folder_walk_other(s->walk) - other;
    if (status != IVL_OK) {
        return status;
    }
    if (!path) {
        ivl__folder_walk_free(s->walk);
        s->walk = NULL;
        return IVL_OK;
    }
    *what = FOUND_ITEM;
    if (unreadable) {
        status = make_failed(path, unreadable, item, error);
        ivl__free(unreadable);
        return status;
    }
    return make_picture(path, item, error);
}

static ivl_status next_in_shard(ivl__image_source *s, ivl__item *item, found *what,
                                ivl_error *error)
{
    uint64_t other = ivl__shard_other(s->shard);
    bool end;
    ivl_status status = ivl__shard_next(s->shard, item, &end, error);

    s->counts.other += ivl__shard_other(s->shard) - other;
    if (status != IVL_OK) {
        return status;
    }
    if (end) {
        ivl__shard_free(s->shard);
        s->shard = NULL;
        return IVL_OK;
    }
    *what = FOUND_ITEM;
    return IVL_OK;
}

static ivl_status next_in_npy(ivl__image_source *s, ivl__item *item, found *what, ivl_error *error)
{
    bool end;
    ivl_status status = ivl__npy_source_next(s->npy, item, &end, error);

    if (status == IVL_OK && end) {
        ivl__npy_source_free(s->npy);
        s->npy = NULL;
    } else if (status == IVL_OK) {
        *what = FOUND_ITEM;
    }
    return status;
}

/* The next item without its numbers, or FOUND_TAR when the next path is a tar. */
static ivl_status next_raw(ivl__image_source *s, ivl__item *item, found *what, ivl_error *error)
{
    ivl_status status = IVL_OK;

    *what = FOUND_NOTHING;
    while (status == IVL_OK && *what == FOUND_NOTHING) {
        char *path;
        bool failed;

        if (s->shard) {
            status = next_in_shard(s, item, what, error);
            if (!s->shard) {
                return status; /* its unit ends here */
            }
            continue;
        }
        if (s->walk || s->npy) {
            status = s->walk ? next_in_walk(s, item, what, error)
                             : next_in_npy(s, item, what, error);
            continue;
        }
        status = next_path(s, &path, item, &failed, error);
        if (status != IVL_OK) {
            break;
        }
        if (failed) {
            *what = FOUND_ITEM;
        } else if (path) {
            status = open_path(s, path, item, what, error);
        } else if (s->options.stdin_tar && !s->stdin_tar_done) {
            s->stdin_tar_done = true;
            s->tar = TAR_FOUND;
            *what = FOUND_TAR;
        } else {
            *what = FOUND_END;
        }
    }
    return status;
}

static const char *tar_name(const ivl__image_source *s)
{
    return s->tar_path ? s->tar_path : s->options.stdin_tar;
}

/* Opens the tar that was found. One that cannot be opened is a single failed input. */
static ivl_status open_tar(ivl__image_source *s, ivl_error *error)
{
    ivl_error local = {0};
    ivl_status status = ivl__shard_open(tar_name(s), s->tar_path, s->options.stdin_fd, &s->shard,
                                        &local);
    char *path = s->tar_path;

    s->tar = TAR_READING;
    s->tar_path = NULL;
    if (status == IVL_OK || status == IVL_OUT_OF_MEMORY) {
        ivl__free(path);
        return status == IVL_OK ? IVL_OK : ivl__fail(error, status, "%s", local.message);
    }
    status = make_failed(path, local.message, &s->held, error);
    s->has_held = status == IVL_OK;
    return status;
}

/* ---- units ------------------------------------------------------------------------------- */

static bool is_mine(const ivl__image_source *s, uint64_t unit)
{
    return s->options.shards < 2 || unit % s->options.shards == s->options.shard;
}

static ivl_status begin_unit(ivl__image_source *s, const char *tar, ivl__item *mark,
                             ivl_error *error)
{
    char *key = tar ? ivl__strdup(tar) : NULL;

    if (tar && !key) {
        return out_of_memory(error);
    }
    s->unit = s->next_unit++;
    s->counts.units++;
    s->position = 0;
    s->unit_open = true;
    s->unit_mine = is_mine(s, s->unit);
    *mark = (ivl__item){
        .kind = IVL__ITEM_UNIT_BEGIN, .unit = s->unit, .index = s->counts.inputs, .key = key};
    return IVL_OK;
}

static void end_unit(ivl__image_source *s, ivl__item *mark)
{
    *mark = (ivl__item){.kind = IVL__ITEM_UNIT_END,
                        .unit = s->unit,
                        .index = s->counts.inputs,
                        .position = s->position};
    s->unit_open = false;
}

/* Announces a found tar by its own unit, unless there are no units. */
static ivl_status step_tar(ivl__image_source *s, ivl__item *item, bool *made, ivl_error *error)
{
    ivl_status status;

    if (s->options.unit_rows == 0 || s->tar == TAR_ANNOUNCED) {
        return open_tar(s, error);
    }
    if (s->unit_open) {
        *made = s->unit_mine;
        end_unit(s, item);
        return IVL_OK;
    }
    status = begin_unit(s, tar_name(s), item, error);
    if (status != IVL_OK) {
        return status;
    }
    s->tar = TAR_ANNOUNCED;
    *made = s->unit_mine;
    if (!s->unit_mine) {
        ivl__item_free(item);
        ivl__image_source_skip_unit(s);
    }
    return IVL_OK;
}

/* Hands out the held item, or the mark that comes before it. */
static ivl_status step_item(ivl__image_source *s, ivl__item *item, bool *made, ivl_error *error)
{
    uint64_t rows = s->options.unit_rows;
    ivl_status status;

    if (s->unit_open && s->tar == TAR_NONE && rows && s->position == rows) {
        *made = s->unit_mine;
        end_unit(s, item);
        return IVL_OK;
    }
    if (!s->unit_open) {
        status = begin_unit(s, NULL, item, error);
        *made = status == IVL_OK && s->unit_mine;
        return status;
    }
    s->held.unit = s->unit;
    s->held.position = s->position++;
    s->held.index = s->counts.inputs++;
    s->has_held = false;
    *made = s->unit_mine;
    if (*made) {
        *item = s->held;
        s->held = (ivl__item){0};
    } else {
        ivl__item_free(&s->held);
    }
    return IVL_OK;
}

ivl_status ivl__image_source_next(ivl__image_source *s, ivl__item *item, bool *end,
                                  ivl_error *error)
{
    ivl_status status = IVL_OK;
    ivl__item made_item = {0};
    bool made = false;
    found what;

    while (status == IVL_OK && !made) {
        if (s->has_held) {
            status = step_item(s, &made_item, &made, error);
        } else if (s->tar == TAR_FOUND || s->tar == TAR_ANNOUNCED) {
            status = step_tar(s, &made_item, &made, error);
        } else if (s->tar == TAR_READING && !s->shard) {
            s->tar = TAR_NONE;
            if (s->options.unit_rows) {
                end_unit(s, &made_item);
                made = true;
            }
        } else {
            status = next_raw(s, &s->held, &what, error);
            s->has_held = status == IVL_OK && what == FOUND_ITEM;
            if (status == IVL_OK && what == FOUND_END) {
                if (!s->unit_open) {
                    *end = true;
                    return IVL_OK;
                }
                made = s->unit_mine;
                end_unit(s, &made_item);
            }
        }
    }
    if (status == IVL_OK) {
        *item = made_item;
        *end = false;
    }
    return status;
}

void ivl__image_source_skip_unit(ivl__image_source *s)
{
    if (s->tar == TAR_ANNOUNCED) {
        ivl__free(s->tar_path);
        s->tar_path = NULL;
        s->tar = TAR_NONE;
        s->unit_open = false;
    }
}

/* ---- open and free ----------------------------------------------------------------------- */

static ivl_status check_inputs(const char *const *inputs, size_t n_inputs,
                               const ivl__image_source_options *options, ivl_error *error)
{
    size_t stdin_uses = options->stdin_tar ? 1 : 0;

    if (n_inputs == 0 && !options->stdin_tar) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT,
                         "no inputs: name files, folders, tars, "
                         "@lists, or - for paths on standard input");
    }
    if (options->shards && options->shard >= options->shards) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "shard %llu of %llu (they count from 0)",
                         (unsigned long long)options->shard, (unsigned long long)options->shards);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        ivl__input_list *list;
        uint64_t count;
        ivl_status status = IVL_OK;

        stdin_uses += is_stdin(inputs[i]);
        if (inputs[i][0] == '\0') {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "an input is an empty string");
        }
        if (inputs[i][0] == '@' && inputs[i][1]) {
            status = ivl__input_list_open(inputs[i] + 1, -1, '\n', &list, error);
            if (status == IVL_OK) {
                ivl__input_list_free(list);
            }
        } else if (ivl__path_has_range(inputs[i])) {
            status = ivl__path_range_count(inputs[i], &count, error);
        }
        if (status != IVL_OK) {
            return status == IVL_OUT_OF_MEMORY
                       ? status
                       : ivl__fail_context(error, IVL_INVALID_ARGUMENT, "input '%s'", inputs[i]);
        }
    }
    if (stdin_uses > 1) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "standard input is named %zu times",
                         stdin_uses);
    }
    return IVL_OK;
}

ivl_status ivl__image_source_open(const char *const *inputs, size_t n_inputs,
                                  const ivl__image_source_options *options,
                                  ivl__image_source **source, ivl_error *error)
{
    static const ivl__image_source_options defaults = {.unit_rows = DEFAULT_UNIT_ROWS};
    const ivl__image_source_options *o = options ? options : &defaults;
    ivl_status status = check_inputs(inputs, n_inputs, o, error);
    ivl__image_source *s;

    if (status != IVL_OK) {
        return status;
    }
    s = ivl__calloc(1, sizeof *s);
    if (!s) {
        return out_of_memory(error);
    }
    s->inputs = inputs;
    s->n_inputs = n_inputs;
    s->options = *o;
    *source = s;
    return IVL_OK;
}

ivl__image_source_counts ivl__image_source_get_counts(const ivl__image_source *source)
{
    return source->counts;
}

void ivl__image_source_free(ivl__image_source *source)
{
    if (!source) {
        return;
    }
    ivl__item_free(&source->held);
    ivl__input_list_free(source->list);
    ivl__folder_walk_free(source->walk);
    ivl__npy_source_free(source->npy);
    ivl__shard_free(source->shard);
    ivl__free(source->tar_path);
    ivl__free(source);
}
