/* test.h - what every test file includes: cmocka and its prerequisites. */
#ifndef IVL_TESTS_TEST_H
#define IVL_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Fails with the error's message when a call did not succeed. */
#define assert_ok(call, error)                                                        \
    do {                                                                              \
        ivl_status status_ = (call);                                                  \
        if (status_ != IVL_OK) {                                                      \
            fail_msg("%s: %s: %s", #call, ivl_status_name(status_), (error).message); \
        }                                                                             \
    } while (0)

/* Fails unless the call answers `expected` and its message contains `text`. */
#define assert_fails(call, expected, error, text)                                               \
    do {                                                                                        \
        ivl_status status_ = (call);                                                            \
        if (status_ != (expected) || !strstr((error).message, (text))) {                        \
            fail_msg("%s: %s: \"%s\" (wanted %s with \"%s\")", #call, ivl_status_name(status_), \
                     (error).message, ivl_status_name(expected), (text));                       \
        }                                                                                       \
    } while (0)

/* A sequence of numbers that is the same everywhere (splitmix64); *state is the seed. */
static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#endif
