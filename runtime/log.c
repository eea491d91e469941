/* log.c - the log hook; see log.h. */
#include "runtime/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/* The one mutable global of the library: set once by the program before it starts threads. */
static ivl_log_fn *log_fn;
static void *log_user;

void ivl_set_log(ivl_log_fn *fn, void *user)
{
    log_fn = fn;
    log_user = user;
}

void ivl__log(ivl_log_level level, const char *format, ...)
{
    char text[2000];
    va_list args;

    if (!log_fn) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_fn(log_user, level, text);
}
