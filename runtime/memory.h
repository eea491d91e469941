/* memory.h - the one allocator of host memory, and size arithmetic that cannot wrap.
 *
 * Every host allocation of the library goes through here, so that tests can fail the n-th one.
 */
#ifndef IVL_RUNTIME_MEMORY_H
#define IVL_RUNTIME_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns NULL when memory is short or count * size overflows; zero bytes give a valid
 * pointer. Blocks are released with ivl__free, which ignores NULL. */
void *ivl__malloc(size_t bytes);
void *ivl__calloc(size_t count, size_t size);
void *ivl__realloc(void *block, size_t bytes);
char *ivl__strdup(const char *text);
void ivl__free(void *block);

/* Grows an array of elements of the given size to hold at least `need` of them, doubling.
 * *items and *capacity are changed on success only. */
bool ivl__grow(void **items, size_t *capacity, size_t need, size_t size);

/* false, and *out untouched, when the result does not fit. */
bool ivl__mul_size(size_t a, size_t b, size_t *out);
bool ivl__add_size(size_t a, size_t b, size_t *out);

/* Fault injection: after `after` further allocations, one (forever = false) or every later one
 * fails; after < 0 switches it off. Tests only; counts calls of all threads. */
void ivl__memory_fail(int64_t after, bool forever);
/* How many allocations were asked for since ivl__memory_fail was last called. */
int64_t ivl__memory_calls(void);
/* Blocks of the process that were given and not released. Tests only. */
int64_t ivl__memory_live(void);

#endif
