/* memory.c - the one allocator of host memory; see memory.h. */
#include "runtime/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_int_fast64_t calls, live;
static atomic_int_fast64_t fail_after = -1;
static atomic_bool fail_forever;

void ivl__memory_fail(int64_t after, bool forever)
{
    atomic_store(&calls, 0);
    atomic_store(&fail_forever, forever);
    atomic_store(&fail_after, after);
}

int64_t ivl__memory_calls(void)
{
    return atomic_load(&calls);
}

static bool must_fail(void)
{
    int64_t n = atomic_fetch_add(&calls, 1);
    int64_t after = atomic_load(&fail_after);

    if (after < 0) {
        return false;
    }
    return atomic_load(&fail_forever) ? n >= after : n == after;
}

int64_t ivl__memory_live(void)
{
    return atomic_load(&live);
}

static void *counted(void *block)
{
    if (block) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    }
    return block;
}

void *ivl__malloc(size_t bytes)
{
    return must_fail() ? NULL : counted(malloc(bytes ? bytes : 1));
}

void *ivl__calloc(size_t count, size_t size)
{
    size_t bytes;

    if (!ivl__mul_size(count, size, &bytes) || must_fail()) {
        return NULL;
    }
    return counted(calloc(1, bytes ? bytes : 1));
}

void *ivl__realloc(void *block, size_t bytes)
{
    void *moved = must_fail() ? NULL : realloc(block, bytes ? bytes : 1);

    return block ? moved : counted(moved);
}

char *ivl__strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = ivl__malloc(bytes);

    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

void ivl__free(void *block)
{
    if (block) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    }
    free(block);
}

bool ivl__grow(void **items, size_t *capacity, size_t need, size_t size)
{
    size_t wanted = *capacity ? *capacity : 16;
    size_t bytes;
    void *grown;

    if (need <= *capacity) {
        return true;
    }
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2) {
            return false;
        }
        wanted *= 2;
    }
    if (!ivl__mul_size(wanted, size, &bytes)) {
        return false;
    }
    grown = ivl__realloc(*items, bytes);
    if (!grown) {
        return false;
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

bool ivl__mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) {
        return false;
    }
    *out = a * b;
    return true;
}

bool ivl__add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) {
        return false;
    }
    *out = a + b;
    return true;
}
