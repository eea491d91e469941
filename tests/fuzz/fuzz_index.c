/* fuzz_index.c - any bytes as an index of vectors: as the file itself, and as the head of one whose
 * tail and checksum are right. What is accepted lies inside the file, and its products do not
 * overflow.
 */
#include "loader/search_index.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const unsigned char *front, size_t front_bytes, const unsigned char *back,
                  size_t back_bytes, uint64_t file_bytes)
{
    ivl__index_head head;
    ivl_error error;

    if (ivl__index_parse(front, front_bytes, back, back_bytes, file_bytes, &head, &error) !=
        IVL_OK) {
        return;
    }
    if (head.rows < 1 || head.dim < 1 || strlen(head.model_id) != 64 ||
        !json_is_object(head.identity) ||
        ivl__index_rows_bytes(&head) / (uint64_t)head.dim / head.rows !=
            ivl__npy_type_bytes(head.type) ||
        IVL__INDEX_ROWS_AT + ivl__index_rows_bytes(&head) > ivl__index_table_at(&head) ||
        ivl__index_keys_at(&head) + head.keys_bytes > file_bytes) {
        abort();
    }
    ivl__index_head_free(&head);
}

/* The bytes as the head of an index of two rows of three values, whose file has the length that
 * keys of `keys` bytes would give it. */
static void check_as_head(const uint8_t *data, size_t size, uint64_t keys)
{
    static const uint64_t shape[2] = {2, 3};
    unsigned char front[IVL__INDEX_ROWS_AT];
    unsigned char *back = malloc(size + IVL__INDEX_TAIL_BYTES);
    unsigned char *tail = back + size;
    const uint64_t head_at = IVL__INDEX_ROWS_AT + 2 * 3 * 4 + 3 * 8 + keys;
    const uint64_t values[3] = {head_at, size, crc32_z(0, data, size)};
    ivl_error error;
    int at = 0;

    memset(front, ' ', sizeof front);
    if (!back || ivl__npy_header(IVL__NPY_F4, shape, 2, front, &error) != IVL_OK) {
        abort();
    }
    front[IVL__NPY_HEADER_BYTES - 1] = ' ';
    front[8] = (IVL__INDEX_ROWS_AT - 10) & 0xff;
    front[9] = (IVL__INDEX_ROWS_AT - 10) >> 8;
    front[IVL__INDEX_ROWS_AT - 1] = '\n';
    memcpy(back, data, size);
    for (int v = 0; v < 3; v++) {
        for (int i = 0; i < (v ? 4 : 8); i++) {
            tail[at++] = (unsigned char)(values[v] >> 8 * i);
        }
    }
    memcpy(tail + 16, "IVLINDEX", 8);
    check(front, sizeof front, back, size + IVL__INDEX_TAIL_BYTES,
          head_at + size + IVL__INDEX_TAIL_BYTES);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size < IVL__INDEX_ROWS_AT ? size : IVL__INDEX_ROWS_AT, data, size, size);
    if (size <= IVL__INDEX_MAX_HEAD) {
        check_as_head(data, size, 5);
    }
    return 0;
}
