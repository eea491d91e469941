/* record_run.h - runs of an embed command without pictures: a source, a batch size, and an end. */
#ifndef IVL_TESTS_RECORD_RUN_H
#define IVL_TESTS_RECORD_RUN_H

#include "loader/json_text.h"
#include "loader/record_writer.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "tests/folder.h"

enum { MAX_UNITS = 8 };

typedef struct run {
    const char *path;
    int sizes[MAX_UNITS]; /* inputs of each unit, 0 ends the list (-1: a unit without inputs) */
    int tar;              /* this unit is a tar; -1: none */
    uint64_t failing;     /* bit i: input i of all fails */
    int batch;
    int stop;      /* leaves without a word after so many added inputs; 0: never */
    int changed;   /* this input (from 1) of all has another key; 0: none */
    int rewritten; /* .. or the same key and another content */
    ivl__npy_type type;
    const char *identity, *provenance;
    bool same_numerics, force, retry;
    double sync;
    int shard, shards;

    /* What happened. */
    int added;
    ivl__record_writer_counts counts;
} run;

static const ivl__record_stream two_streams[] = {
    {.name = "img_emb", .suffix = "", .rank = 1, .shape = {3}},
    {.name = "text_emb", .suffix = "text", .rank = 2, .shape = {1, 2}},
};

static inline run run_of(const char *path)
{
    return (run){.path = path,
                 .sizes = {5, 4, 3},
                 .tar = 1,
                 .failing = 1u << 1 | 1u << 4 | 1u << 7,
                 .batch = 2,
                 .type = IVL__NPY_F4,
                 .identity = "{\"model\":\"m1\",\"mode\":\"vit\",\"size\":224}",
                 .provenance = "{\"device\":\"d\"}"};
}

/* Keys that every form has to quote in its own way. */
static inline const char *key_of(int i, int changed)
{
    static const char *const odd[] = {"a,b.jpg", "say \"x\".png", "two\nlines", "\xff\xfe.jpg",
                                      "a\\udc80"};
    static char text[32];

    if (i + 1 == changed) {
        return "changed.jpg";
    }
    if (i % 3 == 0) {
        return odd[i / 3 % 5];
    }
    snprintf(text, sizeof text, "k%d.jpg", i);
    return text;
}

/* Some keys do not tell everything. */
static inline uint64_t content_of(int i, int rewritten)
{
    return i % 3 == 1 ? ((uint64_t)i << 32) + (i + 1 == rewritten) + 1 : 0;
}

static inline float value_of(int i, int stream, int at)
{
    return (float)i * 1.7f + (float)stream * 0.1f + (float)at / 3.0f;
}

static inline ivl_status run_add(run *r, ivl__record_writer *w, int unit, int position, int i,
                                 ivl_error *error)
{
    float image[3], text[2];
    const float *rows[] = {image, text};
    ivl__record record = {.unit = (uint64_t)unit,
                          .position = (uint64_t)position,
                          .key = key_of(i, r->changed),
                          .content = content_of(i, r->rewritten),
                          .width = i % 2 ? 640 + i : 0,
                          .height = i % 2 ? 480 : 0,
                          .caption = i % 4 == 1 ? "a \"cat\"" : NULL,
                          .fields = i % 4 == 2 ? "\"n\": [1, 2]" : NULL};

    for (int k = 0; k < 3; k++) {
        image[k] = value_of(i, 0, k);
    }
    for (int k = 0; k < 2; k++) {
        text[k] = value_of(i, 1, k);
    }
    if (r->failing >> i & 1) {
        return ivl__record_writer_add_error(w, &record, "no \"picture\"", error);
    }
    return ivl__record_writer_add_row(w, &record, rows, error);
}

/* *stopped: the run was to end here. */
static inline ivl_status run_unit(run *r, ivl__record_writer *w, int unit, int first, bool *stopped,
                                  ivl_error *error)
{
    int size = r->sizes[unit] < 0 ? 0 : r->sizes[unit];
    char tar[] = "in \xff.tar";
    ivl__item item = {
        .kind = IVL__ITEM_UNIT_BEGIN, .unit = (uint64_t)unit, .key = unit == r->tar ? tar : NULL};
    ivl__seen seen;

    IVL__TRY(ivl__record_writer_seen(w, &item, &seen, error));
    if (seen == IVL__SEEN_UNIT) {
        return IVL_OK;
    }
    assert_int_equal(seen, IVL__SEEN_NEW);
    IVL__TRY(ivl__record_writer_begin_unit(w, (uint64_t)unit, item.key, error));
    for (int p = 0; p < size; p++) {
        ivl__item input = {.kind = IVL__ITEM_PICTURE,
                           .unit = (uint64_t)unit,
                           .position = (uint64_t)p,
                           .key = (char *)(uintptr_t)key_of(first + p, r->changed),
                           .content = content_of(first + p, r->rewritten)};

        IVL__TRY(ivl__record_writer_seen(w, &input, &seen, error));
        if (seen != IVL__SEEN_NEW) {
            continue;
        }
        if (r->stop && r->added == r->stop) {
            *stopped = true;
            return IVL_OK;
        }
        IVL__TRY(run_add(r, w, unit, p, first + p, error));
        r->added++;
        if (r->added % r->batch == 0) {
            IVL__TRY(ivl__record_writer_commit(w, error));
        }
    }
    item = (ivl__item){
        .kind = IVL__ITEM_UNIT_END, .unit = (uint64_t)unit, .position = (uint64_t)size};
    IVL__TRY(ivl__record_writer_seen(w, &item, &seen, error));
    assert_int_equal(seen, IVL__SEEN_NEW);
    return ivl__record_writer_end_unit(w, (uint64_t)unit, error);
}

static inline ivl_status run_units(run *r, ivl__record_writer *w, ivl_error *error)
{
    bool folder_form = ivl__record_path_is_folder(r->path);
    bool stopped = false;
    int units = 0;
    int inputs = 0;
    run one = *r;

    if (!folder_form) {
        /* Single files are one unit. */
        one.sizes[0] = 0;
        for (int u = 0; u < MAX_UNITS && r->sizes[u]; u++) {
            one.sizes[0] += r->sizes[u] > 0 ? r->sizes[u] : 0;
        }
        one.sizes[0] = one.sizes[0] ? one.sizes[0] : -1;
        one.sizes[1] = 0;
        one.tar = -1;
    }
    for (; units < MAX_UNITS && one.sizes[units]; units++) {
        ivl_status status = IVL_OK;

        if (!r->shards || units % r->shards == r->shard) {
            status = run_unit(&one, w, units, inputs, &stopped, error);
        }
        r->added = one.added;
        if (status != IVL_OK || stopped) {
            return status;
        }
        inputs += one.sizes[units] > 0 ? one.sizes[units] : 0;
    }
    return ivl__record_writer_finish(w, (uint64_t)units, (uint64_t)inputs, error);
}

static inline ivl_status run_it(run *r, ivl_error *error)
{
    ivl__record_writer_options options = {.streams = two_streams,
                                          .n_streams = 2,
                                          .type = r->type,
                                          .identity = r->identity,
                                          .provenance = r->provenance,
                                          .same_numerics = r->same_numerics,
                                          .force = r->force,
                                          .retry_errors = r->retry,
                                          .sync_seconds = r->sync};
    ivl__record_writer *w;
    ivl_status status;

    r->added = 0;
    IVL__TRY(ivl__record_writer_open(r->path, &options, &w, error));
    status = run_units(r, w, error);
    r->counts = ivl__record_writer_get_counts(w);
    ivl__record_writer_free(w);
    return status;
}

/* ---- what lies in a folder --------------------------------------------------------------- */

static inline int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds names, sizes and contents of all files below a folder, sorted. */
static inline void tree_add(ivl__text *tree, const char *path, const char *name)
{
    char *names[256];
    size_t n = 0;
    DIR *list = opendir(path);
    struct dirent *entry;

    assert_non_null(list);
    while ((entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            assert_true(n < 256);
            names[n++] = strdup(entry->d_name);
        }
    }
    closedir(list);
    qsort(names, n, sizeof names[0], compare_names);
    for (size_t i = 0; i < n; i++) {
        ivl__text full = {0}, shown = {0};
        unsigned char *data;
        size_t bytes;
        ivl_error error = {0};

        ivl__text_printf(&full, "%s/%s", path, names[i]);
        ivl__text_printf(&shown, "%s/%s", name, names[i]);
        if (ivl__file_kind_of(full.data) == IVL__FILE_FOLDER) {
            tree_add(tree, full.data, shown.data);
        } else {
            assert_ok(ivl__file_read(full.data, (size_t)1 << 30, &data, &bytes, &error), error);
            ivl__text_printf(tree, "[%s %zu]", shown.data, bytes);
            ivl__text_add(tree, data, bytes);
            ivl__free(data);
        }
        ivl__text_free(&full);
        ivl__text_free(&shown);
        free(names[i]);
    }
}

static inline ivl__text tree_of(const char *path)
{
    ivl__text tree = {0};

    ivl__text_add(&tree, "", 0);
    tree_add(&tree, path, "");
    return tree;
}

/* Fails, with both listings, unless the folder holds exactly this. */
static inline void assert_tree(const char *path, const ivl__text *wanted, const char *when)
{
    ivl__text tree = tree_of(path);

    if (tree.bytes != wanted->bytes || memcmp(tree.data, wanted->data, tree.bytes) != 0) {
        size_t at = 0;

        while (at < tree.bytes && at < wanted->bytes && tree.data[at] == wanted->data[at]) {
            at++;
        }
        at = at > 60 ? at - 60 : 0;
        fail_msg("%s: %s differs (%zu bytes, wanted %zu) near:\n%.200s\n---\n%.200s", when, path,
                 tree.bytes, wanted->bytes, tree.data + at, wanted->data + at);
    }
    ivl__text_free(&tree);
}

/* Runs sync a lot: a folder in memory where there is one. */
static inline int folder_make_fast(void **state)
{
    (void)state;
    strcpy(folder, "/dev/shm/ivl_test_XXXXXX");
    return mkdtemp(folder) ? 0 : folder_make(state);
}

/* A new empty folder and the output's path in it. */
static inline const char *fresh_output(const char *place, const char *output)
{
    char name[256];

    folder_empty(in_folder(place));
    mkdir(in_folder(place), 0777);
    snprintf(name, sizeof name, "%s/%s", place, output);
    return in_folder(name);
}

#endif
