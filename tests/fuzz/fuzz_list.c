/* fuzz_list.c - any bytes as a list and as a range: lines add up, ranges stay in their bounds. */
#define _GNU_SOURCE
#include "loader/input_list.h"
#include "loader/path_range.h"
#include "loader/sidecar.h"
#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void walk_list(int fd, char separator)
{
    ivl__input_list *list;
    const char *line;
    size_t bytes;
    bool complete, end = false;

    lseek(fd, 0, SEEK_SET);
    if (ivl__input_list_open(NULL, fd, separator, &list, NULL) != IVL_OK) {
        return;
    }
    while (ivl__input_list_next(list, &line, &bytes, &complete, &end, NULL) == IVL_OK && !end) {
        if (line[bytes] != '\0' || bytes > IVL__LIST_MAX_LINE + 65536) {
            abort();
        }
        uint64_t count;
        if (bytes < 4096 && ivl__path_range_count(line, &count, NULL) == IVL_OK) {
            char *first = ivl__path_range_at(line, 0);
            char *last = ivl__path_range_at(line, count - 1);

            ivl__free(first);
            ivl__free(last);
        }
    }
    ivl__input_list_free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *caption, *fields;
    int fd = memfd_create("list", 0);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    walk_list(fd, '\n');
    walk_list(fd, '\0');
    close(fd);
    if (ivl__sidecar_read((const char *)data, size, (const char *)data, size, &caption, &fields,
                          NULL) == IVL_OK) {
        ivl__free(caption);
        ivl__free(fields);
    }
    return 0;
}
