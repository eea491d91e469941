/* fuzz_texts.c - any bytes as a list of texts, a line or an object each: texts are UTF-8, lines are
 * counted, and what fails says why.
 */
#define _GNU_SOURCE
#include "loader/text_source.h"
#include "loader/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/ivl_fuzz_XXXXXX";

static void remove_folder(void)
{
    rmdir(folder);
}

static void read_all(const char *path, size_t size)
{
    ivl__text_source *source;
    ivl__text_item item;
    uint64_t lines = 0;
    bool end = false;

    if (ivl__text_source_open(path, &source, NULL) != IVL_OK) {
        abort();
    }
    while (ivl__text_source_next(source, &item, &end, NULL) == IVL_OK && !end) {
        if (item.line != ++lines || lines > size || item.bytes > size ||
            ivl__utf8_prefix(item.text, item.bytes) != item.bytes ||
            item.failed != (item.error_text[0] != '\0') || (item.failed && item.bytes)) {
            abort();
        }
    }
    if (!end) {
        abort();
    }
    ivl__text_source_free(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The suffix decides: a link of either name leads to the bytes in memory. */
    static char lines[64], objects[64];
    char memory[64];
    int fd = memfd_create("texts", 0);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    if (!lines[0]) {
        if (!mkdtemp(folder) || atexit(remove_folder) != 0) {
            abort();
        }
        snprintf(lines, sizeof lines, "%s/t.txt", folder);
        snprintf(objects, sizeof objects, "%s/t.jsonl", folder);
    }
    snprintf(memory, sizeof memory, "/proc/self/fd/%d", fd);
    if (symlink(memory, lines) != 0 || symlink(memory, objects) != 0) {
        abort();
    }
    read_all(lines, size);
    read_all(objects, size);
    unlink(lines);
    unlink(objects);
    close(fd);
    return 0;
}
