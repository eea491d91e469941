/* path_range.c - "{00000..00099}" in a path; see path_range.h. */
#include "loader/path_range.h"

#include "runtime/memory.h"

#include <stdio.h>
#include <string.h>

typedef struct range {
    uint64_t from, to;
    int width; /* digits to pad to; 0: none */
    size_t length;
} range;

/* Digits at *s, at most 18, so that no sum or product below can wrap. */
static bool take_number(const char **s, uint64_t *value, size_t *digits)
{
    const char *start = *s;

    *value = 0;
    while (**s >= '0' && **s <= '9') {
        if (*s - start == 18) {
            return false;
        }
        *value = *value * 10 + (unsigned)(**s - '0');
        (*s)++;
    }
    *digits = (size_t)(*s - start);
    return *digits > 0;
}

/* A range at s, which points to '{'. */
static bool parse_range(const char *s, range *r)
{
    const char *start = s++;
    const char *first = s;
    const char *second;
    size_t a, b;

    if (!take_number(&s, &r->from, &a) || s[0] != '.' || s[1] != '.') {
        return false;
    }
    s += 2;
    second = s;
    if (!take_number(&s, &r->to, &b) || *s != '}') {
        return false;
    }
    r->width = (a > 1 && *first == '0') || (b > 1 && *second == '0') ? (int)(a > b ? a : b) : 0;
    r->length = (size_t)(s + 1 - start);
    return true;
}

static uint64_t range_size(const range *r)
{
    return (r->to >= r->from ? r->to - r->from : r->from - r->to) + 1;
}

static const char *find_range(const char *s, range *r)
{
    for (s = strchr(s, '{'); s; s = strchr(s + 1, '{')) {
        if (parse_range(s, r)) {
            return s;
        }
    }
    return NULL;
}

bool ivl__path_has_range(const char *text)
{
    range r;

    return find_range(text, &r) != NULL;
}

ivl_status ivl__path_range_count(const char *text, uint64_t *count, ivl_error *error)
{
    uint64_t product = 1;
    range r;

    for (const char *s = find_range(text, &r); s; s = find_range(s + r.length, &r)) {
        if (range_size(&r) > (uint64_t)INT64_MAX / product) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s' stands for more than 2^63 paths",
                             text);
        }
        product *= range_size(&r);
    }
    *count = product;
    return IVL_OK;
}

char *ivl__path_range_at(const char *text, uint64_t index)
{
    uint64_t below = 1; /* product of the sizes of the ranges to the right */
    char *path = ivl__malloc(strlen(text) * 4 + 32);
    size_t room = strlen(text) * 4 + 32;
    size_t used = 0;
    const char *rest = text;
    const char *s;
    range r;

    if (!path || ivl__path_range_count(text, &below, NULL) != IVL_OK) {
        ivl__free(path);
        return NULL;
    }
    /* A range of 6 characters or more becomes at most 18 digits: 4 x the length is enough. */
    while ((s = find_range(rest, &r)) != NULL) {
        uint64_t at;

        memcpy(path + used, rest, (size_t)(s - rest));
        used += (size_t)(s - rest);
        below /= range_size(&r);
        at = index / below;
        index %= below;
        used += (size_t)snprintf(path + used, room - used, "%0*llu", r.width,
                                 (unsigned long long)(r.to >= r.from ? r.from + at : r.from - at));
        rest = s + r.length;
    }
    memcpy(path + used, rest, strlen(rest) + 1);
    return path;
}
