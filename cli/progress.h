/* progress.h - one live line on a terminal, one plain line every few seconds elsewhere.
 *
 *     embed  1234/5000  24.7 %  12.3 images/s  ETA 5:06  block 12/49
 *
 * NO_COLOR and TERM=dumb are respected; quiet prints nothing; --log-json gives objects. One
 * progress at a time; cli_say() clears the line and it comes back with the next update.
 */
#ifndef IVL_CLI_PROGRESS_H
#define IVL_CLI_PROGRESS_H

#include <stdint.h>

void cli_progress_begin(const char *what, const char *unit); /* "embed", "images" */
/* total 0: not known. found: done by earlier runs; they count as done but not for the rate. Cheap:
 * it prints at most ten times a second. stage may be NULL. */
void cli_progress_update(uint64_t done, uint64_t found, uint64_t total, const char *stage);
void cli_progress_end(void);

#endif
