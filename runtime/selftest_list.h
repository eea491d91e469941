/* selftest_list.h - the known-answer tests, one line each; see selftest.h.
 *
 * XX(name, kind): kind is IVL__BASELINE, or the member of ivl__caps that a failure switches off.
 */
#ifndef IVL_RUNTIME_SELFTEST_LIST_H
#define IVL_RUNTIME_SELFTEST_LIST_H

#define IVL__SELFTEST_LIST(BASELINE, OPTIONAL) BASELINE(language)

#endif
