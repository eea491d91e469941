/* signals.c - Ctrl-C, termination, and files that shrink under their map; see cli.h. */
#include "cli/signals.h"

#include "cli/message.h"
#include "runtime/os.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* timeout(1) and shells send a signal to the process and to its group, so one request may come
 * twice within microseconds; nobody presses keys that fast. */
#define ONE_REQUEST_MS 100

static atomic_int requests, first_signal;
static atomic_llong first_ms;

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int code_of(int number)
{
    return number == SIGINT ? CLI_INTERRUPTED : CLI_TERMINATED;
}

/* Perhaps from a signal handler: no lock, no allocation. Whatever line is on the screen stays
 * there.
 */
static void write_line(const char *text)
{
    static const char plain[] = "\ninternvl: ";
    static const char json[] = "{\"level\": \"warning\", \"message\": \"";
    const cli_globals *globals = cli_messages_globals();
    bool as_json = globals->log_json;
    char line[160] = "";

    if (globals->quiet) {
        return;
    }
    strcat(line, as_json ? json : plain + !cli_messages_live());
    strcat(line, text);
    strcat(line, as_json ? "\"}\n" : "\n");
    if (write(STDERR_FILENO, line, strlen(line)) < 0) {
        return; /* nobody reads it */
    }
}

/* The second request ends the process here: a stage may run for seconds on a slow device, and what
 * is finished is on disk, as after kill -9. */
static void on_stop(int number)
{
    int none = 0;

    if (atomic_compare_exchange_strong(&first_signal, &none, number)) {
        atomic_store(&first_ms, now_ms());
        atomic_store(&requests, 1);
        write_line("stopping; a second request stops at once");
        return;
    }
    if (atomic_load(&requests) && now_ms() - atomic_load(&first_ms) > ONE_REQUEST_MS) {
        write_line("stopped at once; what was finished before is saved");
        _exit(code_of(atomic_load(&first_signal)));
    }
}

/* May run in a thread of the driver. A fault elsewhere happens again when the handler returns, and
 * then ends the process as it would have without us. */
static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!ivl_handle_sigbus(info->si_addr)) {
        signal(number, SIG_DFL);
    }
}

static sigset_t stop_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

static void *wait_for_stops(void *user)
{
    sigset_t set = stop_signals();
    int number;

    (void)user;
    while (sigwait(&set, &number) == 0) {
        on_stop(number);
    }
    return NULL;
}

/* A thread of ours takes the requests, and they are blocked in all others and in the programs that
 * drivers start. While LLVM compiles a kernel it has handlers of its own, which remove the files
 * that it works on and then call ours; and a terminal sends Ctrl-C to a driver's linker as well. In
 * both cases the kernel would fail to build. */
static void take_stops_in_a_thread(void)
{
    ivl__thread thread;
    sigset_t set = stop_signals();
    sigset_t before;

    if (pthread_sigmask(SIG_BLOCK, &set, &before) == 0 &&
        ivl__thread_start(&thread, wait_for_stops, NULL, NULL) != IVL_OK) {
        /* The handlers do, but for the time of a compilation. */
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

void cli_signals_begin(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_stop;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    /* A limit on the size of files (ulimit -f) makes writes fail, as a full disk does. */
    sigaction(SIGXFSZ, &action, NULL);
    action.sa_sigaction = on_bus;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, NULL);
    take_stops_in_a_thread();
}

int cli_stop_requests(void)
{
    return atomic_load(&requests);
}

int cli_stop_code(void)
{
    int number = atomic_load(&first_signal);

    return number ? code_of(number) : CLI_DONE;
}
