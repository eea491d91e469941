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

const char *ivl__size_text(uint64_t bytes, ivl__size_buffer text)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1024.0 && unit < 4) {
        value /= 1024.0;
        unit++;
    }
    snprintf(text, sizeof(ivl__size_buffer), unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
