/* signals.h - installing the handlers; what they found out is in cli.h. */
#ifndef IVL_CLI_SIGNALS_H
#define IVL_CLI_SIGNALS_H

#include "cli/cli.h"

void cli_signals_begin(void);

#endif
