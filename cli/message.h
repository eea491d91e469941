/* message.h - the one writer to stderr, shared by messages and the progress line. */
#ifndef IVL_CLI_MESSAGE_H
#define IVL_CLI_MESSAGE_H

#include "cli/cli.h"
#include "loader/json_text.h"

/* Called once, by main, before anything is printed. `globals` is looked at for each message, so
 * that options count from where they were read. Becomes the library's log hook as well. */
void cli_messages_begin(const cli_globals *globals);

const cli_globals *cli_messages_globals(void);
/* stderr is a terminal that takes escape sequences (TERM, NO_COLOR). */
bool cli_messages_live(void);

/* Writes whole lines; clears the live line first. Safe from any thread. */
void cli_messages_write(const ivl__text *lines);
/* Replaces the live line; "" takes it away. Only where cli_messages_live(). */
void cli_messages_live_line(const char *text);

/* Seconds since 1970 as a JSON number, for --log-json. */
void cli_messages_add_time(ivl__text *text);

#endif
