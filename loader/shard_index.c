/* shard_index.c - the index of a sharded checkpoint, as transformers writes it; see shard_index.h.
 */
#include "loader/shard_index.h"

#include "loader/json_text.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const ivl__sharded_tensor *)a)->name, ((const ivl__sharded_tensor *)b)->name);
}

char *ivl__shard_index_text(ivl__sharded_tensor *tensors, size_t n)
{
    ivl__text text = {0};
    uint64_t total = 0;

    for (size_t i = 0; i < n; i++) {
        total += tensors[i].bytes;
    }
    if (n) {
        qsort(tensors, n, sizeof *tensors, compare_names);
    }
    ivl__text_printf(&text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n",
                     (unsigned long long)total);
    ivl__text_puts(&text, "  \"weight_map\": {");
    for (size_t i = 0; i < n; i++) {
        ivl__text_puts(&text, i ? ",\n    " : "\n    ");
        ivl__text_json(&text, tensors[i].name);
        ivl__text_puts(&text, ": ");
        ivl__text_json(&text, tensors[i].file);
    }
    ivl__text_puts(&text, "\n  }\n}\n");
    if (text.failed) {
        ivl__text_free(&text);
        return NULL;
    }
    return text.data;
}
