/* zip_writer.h - the records of a zip archive of stored members, zip64 where needed.
 *
 * Members are placed first, so that their data can be written in any order; headers are made when
 * the checksums are known. Format: PKWARE APPNOTE 6.3.9. No times are recorded: equal members give
 * equal archives.
 */
#ifndef IVL_LOADER_ZIP_WRITER_H
#define IVL_LOADER_ZIP_WRITER_H

#include "loader/json_text.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ivl__zip_member {
    const char *name; /* ASCII */
    uint64_t bytes;
    uint32_t crc;
    uint64_t header_at, data_at; /* in the file; set by ivl__zip_place */
} ivl__zip_member;

/* Places a member whose local header begins at `at` so that its data begins on a multiple of
 * alignment, by an extra field as torch.save writes it. Answers where the data ends. */
uint64_t ivl__zip_place(ivl__zip_member *member, uint64_t at, unsigned alignment);

/* Appends the local header: the bytes from header_at up to data_at. */
void ivl__zip_add_local_header(ivl__text *out, const ivl__zip_member *member);

/* Appends the central directory and the end records of an archive whose data ends at `at`. */
void ivl__zip_add_directory(ivl__text *out, const ivl__zip_member *members, size_t n, uint64_t at);

#endif
