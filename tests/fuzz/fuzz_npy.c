/* fuzz_npy.c - any bytes as the header of an array: accepted ones lie inside the file, and their
 * own header parses to the same. */
#include "loader/npy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char header[IVL__NPY_HEADER_BYTES];
    ivl__npy npy, again;
    ivl_error error;

    if (ivl__npy_parse(data, size, size, &npy, &error) != IVL_OK) {
        return 0;
    }
    if (npy.offset > size || npy.bytes > size - npy.offset) {
        abort();
    }
    if (ivl__npy_header(npy.type, npy.shape, npy.rank, header, &error) == IVL_OK &&
        (ivl__npy_parse(header, sizeof header, sizeof header + npy.bytes, &again, &error) !=
             IVL_OK ||
         again.count != npy.count ||
         memcmp(again.shape, npy.shape, (size_t)npy.rank * sizeof npy.shape[0]) != 0)) {
        abort();
    }
    return 0;
}
