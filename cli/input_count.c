/* input_count.c - how many inputs there are; see input_count.h. */
#include "cli/input_count.h"

#include "cli/cli.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <stdatomic.h>
#include <string.h>

#define POLL_SECONDS 0.1

struct cli_input_count {
    const char *const *inputs;
    size_t n_inputs;
    ivl__image_source_options options;
    ivl__thread thread;
    atomic_bool stop, over;
    atomic_uint_fast64_t total; /* once it is over; 0: not known */
};

static uint64_t count_all(cli_input_count *c, ivl__image_source *source)
{
    uint64_t n = 0;
    bool end = false;

    while (!atomic_load(&c->stop)) {
        ivl__item item;

        if (ivl__image_source_next(source, &item, &end, NULL) != IVL_OK) {
            return 0;
        }
        if (end) {
            return n;
        }
        n += item.kind != IVL__ITEM_UNIT_BEGIN && item.kind != IVL__ITEM_UNIT_END;
        ivl__item_free(&item);
    }
    return 0;
}

static void *run(void *user)
{
    cli_input_count *c = user;
    ivl__image_source *source;

    if (ivl__image_source_open(c->inputs, c->n_inputs, &c->options, &source, NULL) == IVL_OK) {
        atomic_store(&c->total, count_all(c, source));
        ivl__image_source_free(source);
    }
    atomic_store(&c->over, true);
    return NULL;
}

static bool countable(const char *const *inputs, size_t n_inputs,
                      const ivl__image_source_options *options)
{
    for (size_t i = 0; i < n_inputs; i++) {
        if (strcmp(inputs[i], "-") == 0 || strcmp(inputs[i], "-0") == 0) {
            return false;
        }
    }
    return !options->stdin_tar;
}

cli_input_count *cli_input_count_start(const char *const *inputs, size_t n_inputs,
                                       const ivl__image_source_options *options)
{
    cli_input_count *c;

    if (!countable(inputs, n_inputs, options)) {
        return NULL;
    }
    c = ivl__calloc(1, sizeof *c);
    if (!c) {
        return NULL;
    }
    c->inputs = inputs;
    c->n_inputs = n_inputs;
    c->options = *options;
    if (ivl__thread_start(&c->thread, run, c, NULL) != IVL_OK) {
        ivl__free(c);
        return NULL;
    }
    return c;
}

uint64_t cli_input_count_get(cli_input_count *count)
{
    return count ? (uint64_t)atomic_load(&count->total) : 0;
}

bool cli_input_count_wait(cli_input_count *count, uint64_t *inputs)
{
    ivl__mutex lock;
    ivl__cond never;

    if (!count) {
        return false;
    }
    ivl__mutex_init(&lock);
    ivl__cond_init(&never);
    ivl__mutex_lock(&lock);
    while (!atomic_load(&count->over) && cli_stop_requests() == 0) {
        (void)ivl__cond_wait_for(&never, &lock, POLL_SECONDS);
    }
    ivl__mutex_unlock(&lock);
    ivl__cond_free(&never);
    ivl__mutex_free(&lock);
    *inputs = cli_input_count_get(count);
    return atomic_load(&count->over);
}

void cli_input_count_free(cli_input_count *count)
{
    if (!count) {
        return;
    }
    atomic_store(&count->stop, true);
    ivl__thread_join(count->thread);
    ivl__free(count);
}
