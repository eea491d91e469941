/* message.c - messages for people on stderr, the exit code of an error, the end of stdout.
 *
 * A message is one line whatever it quotes: file names and build logs come from outside and may
 * hold line feeds or escape sequences.
 */
#include "cli/message.h"

#include "runtime/os.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLEAR_LINE "\r\033[K"

static struct {
    const cli_globals *globals;
    ivl__mutex mutex;
    bool live;       /* the terminal takes escape sequences */
    bool line_shown; /* the live line is on the screen */
} state;

/* ---- the writer ------------------------------------------------------------------------------ */

static void from_library(void *user, ivl_log_level level, const char *text)
{
    (void)user;
    cli_say(level, "%s", text);
}

void cli_messages_begin(const cli_globals *globals)
{
    const char *term = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");

    state.globals = globals;
    state.live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0 &&
                 !(no_colour && no_colour[0]);
    ivl__mutex_init(&state.mutex);
    ivl_set_log(from_library, NULL);
}

const cli_globals *cli_messages_globals(void)
{
    return state.globals;
}

bool cli_messages_live(void)
{
    return state.live;
}

static void clear_live_line(void)
{
    if (state.line_shown) {
        fputs(CLEAR_LINE, stderr);
        state.line_shown = false;
    }
}

void cli_messages_write(const ivl__text *lines)
{
    ivl__mutex_lock(&state.mutex);
    clear_live_line();
    if (lines->data) {
        fwrite(lines->data, 1, lines->bytes, stderr);
    }
    ivl__mutex_unlock(&state.mutex);
}

void cli_messages_live_line(const char *text)
{
    ivl__mutex_lock(&state.mutex);
    if (text[0]) {
        fprintf(stderr, CLEAR_LINE "%s", text);
        state.line_shown = true;
    } else {
        clear_live_line();
    }
    ivl__mutex_unlock(&state.mutex);
}

void cli_messages_add_time(ivl__text *text)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    ivl__text_printf(text, "%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

/* ---- messages -------------------------------------------------------------------------------- */

static const char *level_name(ivl_log_level level)
{
    switch (level) {
    case IVL_LOG_ERROR: return "error";
    case IVL_LOG_WARNING: return "warning";
    case IVL_LOG_INFO: return "info";
    case IVL_LOG_VERBOSE: return "verbose";
    }
    return "info";
}

/* Valid UTF-8 as it is; control characters (C1 too) and stray bytes made visible. */
static void add_printable(ivl__text *line, const char *text)
{
    while (*text) {
        size_t n = ivl__utf8_length(text);
        unsigned char c = (unsigned char)*text;

        if (c == '\n' || c == '\t') {
            ivl__text_puts(line, c == '\n' ? "; " : " ");
        } else if (n == 0 || c < 0x20 || c == 0x7f) {
            ivl__text_printf(line, "\\x%02x", c);
        } else if (n == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0) {
            ivl__text_printf(line, "\\x%02x", (unsigned char)text[1]);
        } else {
            ivl__text_add(line, text, n);
        }
        text += n ? n : 1;
    }
}

static void add_plain(ivl__text *line, ivl_log_level level, const char *text)
{
    ivl__text_puts(line, "internvl: ");
    if (level <= IVL_LOG_WARNING) {
        if (state.live) {
            ivl__text_puts(line, level == IVL_LOG_ERROR ? "\033[1;31m" : "\033[1;33m");
        }
        ivl__text_printf(line, "%s:", level_name(level));
        ivl__text_puts(line, state.live ? "\033[0m " : " ");
    }
    add_printable(line, text);
    ivl__text_puts(line, "\n");
}

static void add_json(ivl__text *line, ivl_log_level level, const char *text)
{
    ivl__text_puts(line, "{\"time\": ");
    cli_messages_add_time(line);
    ivl__text_printf(line, ", \"level\": \"%s\", \"message\": ", level_name(level));
    ivl__text_json(line, text);
    ivl__text_puts(line, "}\n");
}

static bool wanted(ivl_log_level level)
{
    if (state.globals->quiet) {
        return level == IVL_LOG_ERROR;
    }
    return level <= IVL_LOG_INFO || state.globals->verbose;
}

static void IVL__PRINTF(2, 0) say(ivl_log_level level, const char *format, va_list args)
{
    char text[4000];
    ivl__text line = {0};

    if (!wanted(level)) {
        return;
    }
    vsnprintf(text, sizeof text, format, args);
    if (state.globals->log_json) {
        add_json(&line, level, text);
    } else {
        add_plain(&line, level, text);
    }
    cli_messages_write(&line);
    ivl__text_free(&line);
}

void cli_say(ivl_log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(level, format, args);
    va_end(args);
}

int cli_usage_error(const char *command, const char *format, ...)
{
    char text[3000];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_say(IVL_LOG_ERROR, "%s%s%s; see internvl %s%s--help", command ? command : "",
            command ? ": " : "", text, command ? command : "", command ? " " : "");
    return CLI_USAGE;
}

/* ---- exit codes ------------------------------------------------------------------------------ */

int cli_exit_code(ivl_status status)
{
    switch (status) {
    case IVL_OK: return CLI_DONE;
    case IVL_INVALID_ARGUMENT: return CLI_USAGE;
    case IVL_BAD_INPUT: return CLI_SKIPPED;
    case IVL_BAD_MODEL: return CLI_MODEL;
    case IVL_NO_DEVICE:
    case IVL_OUT_OF_DEVICE_MEMORY:
    case IVL_UNSUPPORTED: return CLI_DEVICE;
    case IVL_NOT_FINITE:
    case IVL_VERIFY_FAILED: return CLI_VERIFY;
    case IVL_CANCELLED: return cli_stop_code() ? cli_stop_code() : CLI_FAILED;
    case IVL_OUT_OF_MEMORY:
    case IVL_IO_ERROR:
    case IVL_DEVICE_FAILED:
    case IVL_INTERNAL: break;
    }
    return CLI_FAILED;
}

int cli_fail(const ivl_error *error)
{
    if (error->status == IVL_CANCELLED && cli_stop_code()) {
        cli_say(IVL_LOG_WARNING, "%s",
                cli_stop_code() == CLI_INTERRUPTED ? "interrupted" : "terminated");
    } else {
        cli_say(IVL_LOG_ERROR, "%s",
                error->message[0] ? error->message : ivl_status_text(error->status));
    }
    return cli_exit_code(error->status);
}

int cli_close_stdout(int code)
{
    bool failed = ferror(stdout) != 0;

    errno = 0;
    if (fclose(stdout) != 0) {
        failed = true;
    }
    if (!failed) {
        return code;
    }
    cli_say(IVL_LOG_ERROR, "standard output could not be written%s%s; the results are incomplete",
            errno ? ": " : "", errno ? strerror(errno) : "");
    return CLI_FAILED;
}
