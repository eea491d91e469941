/* zip_writer.c - records of a zip archive; see zip_writer.h. */
#include "loader/zip_writer.h"

#include <string.h>

#define ALL_ONES 0xffffffffu
/* 1980-01-01, the first day that the format knows. */
#define DATE 0x21u

static void add_number(ivl__text *out, uint64_t value, unsigned bytes)
{
    unsigned char little[8];

    for (unsigned i = 0; i < bytes; i++) {
        little[i] = (unsigned char)(value >> (8 * i));
    }
    ivl__text_add(out, little, bytes);
}

/* All ones say that the number stands in the zip64 field. */
static uint64_t in_32_bits(uint64_t value)
{
    return value < ALL_ONES ? value : ALL_ONES;
}

static unsigned local_zip64_bytes(const ivl__zip_member *member)
{
    return member->bytes >= ALL_ONES ? 20 : 0;
}

uint64_t ivl__zip_place(ivl__zip_member *member, uint64_t at, unsigned alignment)
{
    /* The aligning field has an id and a length of two bytes each. */
    uint64_t least = at + 30 + strlen(member->name) + local_zip64_bytes(member) + 4;

    member->header_at = at;
    member->data_at = (least + alignment - 1) / alignment * alignment;
    return member->data_at + member->bytes;
}

static void add_versions(ivl__text *out, const ivl__zip_member *member)
{
    bool large = member->bytes >= ALL_ONES || member->header_at >= ALL_ONES;

    add_number(out, large ? 45 : 20, 2); /* version needed: 4.5 has zip64 */
    add_number(out, 0, 2);               /* flags */
    add_number(out, 0, 2);               /* stored */
    add_number(out, 0, 2);               /* time */
    add_number(out, DATE, 2);
    add_number(out, member->crc, 4);
    add_number(out, in_32_bits(member->bytes), 4);
    add_number(out, in_32_bits(member->bytes), 4);
    add_number(out, strlen(member->name), 2);
}

void ivl__zip_add_local_header(ivl__text *out, const ivl__zip_member *member)
{
    uint64_t rest = member->data_at - member->header_at - 30 - strlen(member->name);
    unsigned large = local_zip64_bytes(member);

    add_number(out, 0x04034b50, 4);
    add_versions(out, member);
    add_number(out, rest, 2);
    ivl__text_puts(out, member->name);
    if (large) {
        add_number(out, 1, 2);
        add_number(out, 16, 2);
        add_number(out, member->bytes, 8);
        add_number(out, member->bytes, 8);
    }
    rest -= large + 4;
    ivl__text_puts(out, "FB");
    add_number(out, rest, 2);
    for (uint64_t i = 0; i < rest; i++) {
        ivl__text_puts(out, "Z");
    }
}

static void add_central_header(ivl__text *out, const ivl__zip_member *member)
{
    bool large = member->bytes >= ALL_ONES;
    bool far = member->header_at >= ALL_ONES;
    unsigned fields = (large ? 16u : 0u) + (far ? 8u : 0u);

    add_number(out, 0x02014b50, 4);
    add_number(out, 45, 2); /* made by: 4.5, MS-DOS attributes */
    add_versions(out, member);
    add_number(out, fields ? fields + 4 : 0, 2);
    add_number(out, 0, 2); /* comment */
    add_number(out, 0, 2); /* disk */
    add_number(out, 0, 2); /* internal attributes */
    add_number(out, 0, 4); /* external attributes */
    add_number(out, in_32_bits(member->header_at), 4);
    ivl__text_puts(out, member->name);
    if (fields) {
        add_number(out, 1, 2);
        add_number(out, fields, 2);
    }
    if (large) {
        add_number(out, member->bytes, 8);
        add_number(out, member->bytes, 8);
    }
    if (far) {
        add_number(out, member->header_at, 8);
    }
}

void ivl__zip_add_directory(ivl__text *out, const ivl__zip_member *members, size_t n, uint64_t at)
{
    size_t begin = out->bytes;
    uint64_t bytes;

    for (size_t i = 0; i < n; i++) {
        add_central_header(out, &members[i]);
    }
    bytes = out->bytes - begin;
    /* Written always, as torch.save does. */
    add_number(out, 0x06064b50, 4);
    add_number(out, 44, 8); /* of the record, without these 12 bytes */
    add_number(out, 45, 2);
    add_number(out, 45, 2);
    add_number(out, 0, 4);
    add_number(out, 0, 4);
    add_number(out, n, 8);
    add_number(out, n, 8);
    add_number(out, bytes, 8);
    add_number(out, at, 8);
    add_number(out, 0x07064b50, 4);
    add_number(out, 0, 4);
    add_number(out, at + bytes, 8);
    add_number(out, 1, 4);
    add_number(out, 0x06054b50, 4);
    add_number(out, 0, 4);
    add_number(out, n < 0xffff ? n : 0xffff, 2);
    add_number(out, n < 0xffff ? n : 0xffff, 2);
    add_number(out, in_32_bits(bytes), 4);
    add_number(out, in_32_bits(at), 4);
    add_number(out, 0, 2); /* comment */
}
