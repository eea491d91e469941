/* suites.h - the published evaluations of InternVL-C and InternVL-G: what they read, how they ask,
 * what they measure, what was published, and where. Data: suites.json, part of the program.
 */
#ifndef IVL_CLI_SUITES_H
#define IVL_CLI_SUITES_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>

/* The text of suites.json, NUL-terminated. */
extern const char cli_suites_json[];

enum { CLI_SUITE_METRICS = 6 };

/* Strings belong to the suites. */
typedef struct cli_suite {
    const char *name;     /* "imagenet1k", "flickr30k-cn", ... */
    const char *note;     /* what data is meant; "" */
    bool retrieval;       /* else classification */
    const char *reader;   /* classification: "folders"; retrieval: a caption form (caption_set.h) */
    const char *dataset;  /* of the published prompts; NULL for retrieval */
    const char *language; /* of the published prompts; NULL for retrieval */
    bool clean;           /* captions pass the cleaner */
    const char *metrics[CLI_SUITE_METRICS]; /* [n_metrics] */
    size_t n_metrics;
    const void *published; /* JSON, for cli_suite_figure */
} cli_suite;

typedef struct cli_suites {
    cli_suite *items; /* [n] */
    size_t n;
    void *json;
} cli_suites;

/* IVL_BAD_INPUT names the suite and what is wrong with it. */
ivl_status cli_suites_parse(const char *text, cli_suites *suites, ivl_error *error);
void cli_suites_free(cli_suites *suites);
/* NULL where there is none of this name and task. */
const cli_suite *cli_suites_find(const cli_suites *suites, const char *name, bool retrieval);

/* The published value of a metric in a mode ("c" or "g"), and its source; false where nothing was
 * published. source may be NULL. */
bool cli_suite_figure(const cli_suite *suite, const char *mode, const char *metric, double *value,
                      const char **source);

#endif
