/* status.c - texts of the statuses, and the two functions that fill an ivl_error. */
#include "runtime/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ivl_status_name(ivl_status status)
{
    switch (status) {
#define IVL__STATUS_NAME(name, value, text) \
    case IVL_##name: return "IVL_" #name;
        IVL_STATUS_MAP(IVL__STATUS_NAME)
#undef IVL__STATUS_NAME
    }
    return "IVL_UNKNOWN";
}

const char *ivl_status_text(ivl_status status)
{
    switch (status) {
#define IVL__STATUS_TEXT(name, value, text) \
    case IVL_##name: return text;
        IVL_STATUS_MAP(IVL__STATUS_TEXT)
#undef IVL__STATUS_TEXT
    }
    return "unknown status";
}

ivl_status ivl__fail(ivl_error *error, ivl_status status, const char *format, ...)
{
    if (error) {
        va_list args;

        va_start(args, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
    }
    return status;
}

ivl_status ivl__fail_context(ivl_error *error, ivl_status status, const char *format, ...)
{
    if (error) {
        char old[sizeof error->message];
        va_list args;
        int used;

        memcpy(old, error->message, sizeof old);
        va_start(args, format);
        used = vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
        if (used >= 0 && (size_t)used + 3 < sizeof error->message) {
            size_t room = sizeof error->message - (size_t)used;

            snprintf(error->message + used, room, ": %.*s", (int)room - 3, old);
        }
        error->status = status;
    }
    return status;
}
