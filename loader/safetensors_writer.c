/* safetensors_writer.c - the layout of a .safetensors file; see tensor_writer_layout.h.
 *
 * u64 length, JSON header, data. As the reference writer does it: tensors by descending element
 * size and then by name, and blanks behind the header so that data begins on a multiple of 8.
 */
#include "loader/tensor_writer_layout.h"

#include "runtime/memory.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 8u

typedef struct entry {
    const ivl__stored_tensor *tensor;
    size_t index;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const ivl__stored_tensor *x = ((const entry *)a)->tensor;
    const ivl__stored_tensor *y = ((const entry *)b)->tensor;
    size_t bytes_x = ivl__dtype_bytes(x->dtype);
    size_t bytes_y = ivl__dtype_bytes(y->dtype);

    return bytes_x != bytes_y ? (bytes_x < bytes_y ? 1 : -1) : strcmp(x->name, y->name);
}

static const char *dtype_word(ivl_dtype dtype)
{
    switch (dtype) {
    case IVL_F32: return "F32";
    case IVL_F16: return "F16";
    case IVL_BF16: return "BF16";
    case IVL_I64: return "I64";
    case IVL_OTHER: break;
    }
    return "U8";
}

static void add_entry(ivl__text *text, const ivl__stored_tensor *tensor, uint64_t begin,
                      uint64_t end)
{
    ivl__text_puts(text, ",");
    ivl__text_json(text, tensor->name);
    ivl__text_printf(text, ":{\"dtype\":\"%s\",\"shape\":[", dtype_word(tensor->dtype));
    for (int i = 0; i < tensor->rank; i++) {
        ivl__text_printf(text, "%s%llu", i ? "," : "", (unsigned long long)tensor->shape[i]);
    }
    ivl__text_printf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                     (unsigned long long)end);
}

static void finish_header(ivl__text *text)
{
    unsigned char length[8];

    ivl__text_puts(text, "}");
    while (text->bytes % ALIGNMENT && !text->failed) {
        ivl__text_puts(text, " ");
    }
    for (unsigned i = 0; i < 8 && !text->failed; i++) {
        length[i] = (unsigned char)((uint64_t)(text->bytes - 8) >> (8 * i));
    }
    if (!text->failed) {
        memcpy(text->data, length, sizeof length);
    }
}

static ivl_status plan(ivl__layout *layout, ivl_error *error)
{
    entry *order = ivl__calloc(layout->n, sizeof *order);
    ivl__text *text = ivl__calloc(1, sizeof *text);
    uint64_t at = 0;

    layout->state = text;
    if (!order || !text) {
        ivl__free(order);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu tensors", layout->n);
    }
    for (size_t i = 0; i < layout->n; i++) {
        order[i] = (entry){&layout->tensors[i], i};
    }
    if (layout->n) {
        qsort(order, layout->n, sizeof *order, compare_entries);
    }
    /* The length comes first; it is filled in when it is known. */
    ivl__text_add(text, "\0\0\0\0\0\0\0\0", 8);
    ivl__text_puts(text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < layout->n; i++) {
        uint64_t bytes = ivl__stored_tensor_bytes(order[i].tensor);

        add_entry(text, order[i].tensor, at, at + bytes);
        layout->offsets[order[i].index] = at;
        at += bytes;
    }
    finish_header(text);
    ivl__free(order);
    if (text->failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a header");
    }
    for (size_t i = 0; i < layout->n; i++) {
        layout->offsets[i] += text->bytes;
    }
    layout->bytes = text->bytes + at;
    return IVL_OK;
}

static ivl_status headers(const ivl__layout *layout, const uint32_t *crcs,
                          ivl__layout_write_fn *write, void *user, ivl_error *error)
{
    const ivl__text *text = layout->state;

    (void)crcs;
    return write(user, 0, text->data, text->bytes, error);
}

static void free_state(ivl__layout *layout)
{
    if (layout->state) {
        ivl__text_free(layout->state);
        ivl__free(layout->state);
    }
}

const ivl__layout_format ivl__safetensors_format = {false, plan, headers, free_state};
