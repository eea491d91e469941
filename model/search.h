/* search.h - searches, from the inside. */
#ifndef IVL_MODEL_SEARCH_H
#define IVL_MODEL_SEARCH_H

#include <stdbool.h>

/* For ivl_handle_sigbus: whether addr lies in rows that a search reads. A zero page is put there
 * and the search's call fails. Async-signal-safe. */
bool ivl__search_patch(void *addr);

#endif
