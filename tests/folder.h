/* folder.h - a temporary folder of one test: made, filled and removed again. */
#ifndef IVL_TESTS_FOLDER_H
#define IVL_TESTS_FOLDER_H

#include "tests/test.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static inline int folder_make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/ivl_test_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline void folder_empty(const char *path)
{
    DIR *list = opendir(path);
    struct dirent *entry;
    char name[4096];

    while (list && (entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            int n = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);

            if (n > 0 && (size_t)n < sizeof name && unlink(name) != 0) {
                folder_empty(name);
                rmdir(name);
            }
        }
    }
    if (list) {
        closedir(list);
    }
}

static inline int folder_remove(void **state)
{
    (void)state;
    folder_empty(folder);
    return rmdir(folder);
}

/* "folder/name" in one of a few buffers that take turns. */
static inline const char *in_folder(const char *name)
{
    static char paths[64][512];
    static int turn;
    char *path = paths[turn++ % 64];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_file(in_folder(name), text, strlen(text));
}

#endif
