/* progress.c - how far a command is; see progress.h. */
#include "cli/progress.h"

#include "cli/message.h"
#include "runtime/os.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LIVE_SECONDS  0.1
#define PLAIN_SECONDS 5.0

/* One progress at a time, updated by one thread at a time. */
static struct {
    const char *what, *unit;
    double begun, printed; /* seconds on ivl__now's clock */
    uint64_t done, found, total;
    char stage[48];
    bool on, stale; /* stale: the last update was not printed */
} state;

static bool live(void)
{
    return cli_messages_live() && !cli_messages_globals()->log_json;
}

void cli_progress_begin(const char *what, const char *unit)
{
    memset(&state, 0, sizeof state);
    state.what = what;
    state.unit = unit;
    state.begun = ivl__now();
    /* A plain line at once would say nothing; the live one shows that something happens. */
    state.printed = live() ? 0.0 : state.begun;
    state.on = !cli_messages_globals()->quiet;
}

/* Units per second of this run, 0 where nothing is known yet. */
static double rate(double now)
{
    double seconds = now - state.begun;

    return state.done > state.found && seconds > 0.0 ? (double)(state.done - state.found) / seconds
                                                     : 0.0;
}

/* Seconds to go, negative where not known. */
static double seconds_left(double per_second)
{
    if (!state.total || per_second <= 0.0 || state.done > state.total) {
        return -1.0;
    }
    return (double)(state.total - state.done) / per_second;
}

static void add_eta(ivl__text *text, double seconds)
{
    unsigned long long s = (unsigned long long)(seconds + 0.5);

    if (s >= 3600) {
        ivl__text_printf(text, "  ETA %llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    } else {
        ivl__text_printf(text, "  ETA %llu:%02llu", s / 60, s % 60);
    }
}

static void add_plain(ivl__text *text, double now)
{
    double per_second = rate(now);
    double left = seconds_left(per_second);

    ivl__text_printf(text, "%s  %llu", state.what, (unsigned long long)state.done);
    if (state.total) {
        ivl__text_printf(text, "/%llu  %.1f %%", (unsigned long long)state.total,
                         100.0 * (double)state.done / (double)state.total);
    }
    if (per_second > 0.0) {
        ivl__text_printf(text, "  %.3g %s/s", per_second, state.unit);
    }
    if (left >= 0.0) {
        add_eta(text, left);
    }
    if (state.stage[0]) {
        ivl__text_printf(text, "  %s", state.stage);
    }
}

static void add_json(ivl__text *text, double now)
{
    double per_second = rate(now);
    double left = seconds_left(per_second);

    ivl__text_puts(text, "{\"time\": ");
    cli_messages_add_time(text);
    ivl__text_puts(text, ", \"level\": \"progress\", \"what\": ");
    ivl__text_json(text, state.what);
    ivl__text_printf(text, ", \"done\": %llu, \"found\": %llu, \"total\": ",
                     (unsigned long long)state.done, (unsigned long long)state.found);
    if (state.total) {
        ivl__text_printf(text, "%llu", (unsigned long long)state.total);
    } else {
        ivl__text_puts(text, "null");
    }
    ivl__text_printf(text, ", \"per_second\": %.6g, \"seconds_left\": ", per_second);
    if (left >= 0.0) {
        ivl__text_printf(text, "%.1f", left);
    } else {
        ivl__text_puts(text, "null");
    }
    ivl__text_puts(text, ", \"stage\": ");
    ivl__text_json(text, state.stage);
    ivl__text_puts(text, "}\n");
}

/* A line that is wrapped could not be replaced: cut it to the screen, never inside a character. */
static void cut_to_screen(ivl__text *text)
{
    struct winsize screen;
    size_t columns = 0;
    size_t at = 0;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &screen) != 0 || !screen.ws_col || !text->data) {
        return;
    }
    while (at < text->bytes && columns + 1 < screen.ws_col) {
        size_t n = ivl__utf8_length(text->data + at);

        at += n ? n : 1;
        columns++;
    }
    text->data[at] = '\0';
}

static void print(double now)
{
    ivl__text text = {0};

    if (cli_messages_globals()->log_json) {
        add_json(&text, now);
        cli_messages_write(&text);
    } else if (live()) {
        add_plain(&text, now);
        cut_to_screen(&text);
        cli_messages_live_line(text.data ? text.data : "");
    } else {
        add_plain(&text, now);
        ivl__text_puts(&text, "\n");
        cli_messages_write(&text);
    }
    ivl__text_free(&text);
    state.printed = now;
    state.stale = false;
}

void cli_progress_update(uint64_t done, uint64_t found, uint64_t total, const char *stage)
{
    double now;

    if (!state.on) {
        return;
    }
    state.done = done;
    state.found = found;
    state.total = total;
    state.stage[0] = '\0';
    if (stage) {
        snprintf(state.stage, sizeof state.stage, "%s", stage);
    }
    state.stale = true;
    now = ivl__now();
    if (now - state.printed >= (live() ? LIVE_SECONDS : PLAIN_SECONDS)) {
        print(now);
    }
}

/* The live line goes; a log ends with the last state. */
void cli_progress_end(void)
{
    if (!state.on) {
        return;
    }
    if (live()) {
        cli_messages_live_line("");
    } else if (state.stale && ivl__now() - state.begun >= PLAIN_SECONDS) {
        state.stage[0] = '\0';
        print(ivl__now());
    }
    state.on = false;
}
