/* gather.cl - rows picked by index: embeddings of tokens, queries for every picture, last tokens, and the
 * way back, rows added to those they belong to.
 *
 * gather_rows: table [rows of a tile, width] of IN_TYPE (widen.h), rows `first` .. first + tile_rows - 1 of a
 * matrix of table_rows; out[r] = table[index[r]] fp32, rows out_ld apart, for the rows r whose index lies in
 * this tile. Where an index is none of the matrix, the launch of the first tile writes NaN.
 * add_rows: y[r] += x[index[r]], fp32 (not `indexed`: index[r] = r); a negative index adds nothing, one from
 * x_rows on makes NaN.
 * index int32 [rows]. Offsets count elements. One work-item per SPAN columns (y) of a row (x).
 * Exact, and one rounding per sum. Test: tests/op/test_token.c, bit for bit.
 */
#include "widen.h"

__kernel void gather_rows(__global const IN *table, ulong table_at, int first, int tile_rows, int table_rows,
                          __global const int *index, ulong index_at, __global float *out, ulong out_at,
                          int out_ld, int width, ulong rows)
{
    const int begin = (int)get_global_id(1) * SPAN;
    const size_t row = get_global_id(0);
    if (row >= rows || begin >= width) {
        return;
    }
    const int end = min(begin + SPAN, width);
    const int from = index[index_at + row];
    out += out_at + row * (size_t)out_ld;
    if (from >= first && from - first < tile_rows) {
        table += table_at + (size_t)(from - first) * (size_t)width;
        for (int i = begin; i < end; i++) {
            out[i] = LOAD(table, i);
        }
    } else if (first == 0 && (from < 0 || from >= table_rows)) {
        for (int i = begin; i < end; i++) {
            out[i] = NAN;
        }
    }
}

__kernel void add_rows(__global const float *x, ulong x_at, int x_ld, int x_rows, __global const int *index,
                       ulong index_at, int indexed, __global float *y, ulong y_at, int y_ld, int width, ulong rows)
{
    const int begin = (int)get_global_id(1) * SPAN;
    const size_t row = get_global_id(0);
    if (row >= rows || begin >= width) {
        return;
    }
    const int end = min(begin + SPAN, width);
    const int from = indexed ? index[index_at + row] : (int)row;
    if (from < 0) {
        return;
    }
    x += x_at + (size_t)min(from, x_rows - 1) * (size_t)x_ld;
    y += y_at + row * (size_t)y_ld;
    for (int i = begin; i < end; i++) {
        y[i] = from < x_rows ? y[i] + x[i] : NAN;
    }
}
