/* eval_score.c - predictions to metrics, beside the published ones; see eval.h. */
#include "cli/eval.h"
#include "cli/json.h"

#include "loader/input_list.h"
#include "loader/prediction_file.h"
#include "model/metrics.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct metric {
    char name[32];
    double value, published; /* NaN: there is none */
} metric;

typedef struct score {
    ivl__prediction_head head;
    ivl__class_counts classes;
    ivl__recall_counts by_text, by_image;
    metric metrics[CLI_SUITE_METRICS];
    size_t n_metrics;
    const char *source; /* of the published values; NULL */
} score;

/* ---- reading ----------------------------------------------------------------------------- */

static ivl_status begin(score *s, bool retrieval, const char *line, size_t bytes, ivl_error *error)
{
    IVL__TRY(ivl__prediction_parse_head(line, bytes, &s->head, error));
    if (s->head.retrieval != retrieval) {
        return ivl__fail(error, IVL_BAD_INPUT, "these are predictions of %s",
                         s->head.retrieval ? "retrieval" : "classification");
    }
    s->classes.n_classes = s->head.classes;
    s->classes.totals = ivl__calloc((size_t)s->head.classes + 1, sizeof *s->classes.totals);
    s->classes.rights = ivl__calloc((size_t)s->head.classes + 1, sizeof *s->classes.rights);
    return s->classes.totals && s->classes.rights
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for counts");
}

static ivl_status add(score *s, const char *line, size_t bytes, ivl__prediction *p,
                      ivl_error *error)
{
    IVL__TRY(ivl__prediction_parse(line, bytes, &s->head, p, error));
    if (s->head.retrieval) {
        ivl__recall_counts_add(p->by_image ? &s->by_image : &s->by_text, p->top, p->n_top, p->right,
                               p->n_right);
    } else {
        ivl__class_counts_add(&s->classes, p->label, p->top, p->n_top);
    }
    return IVL_OK;
}

static ivl_status read_lines(score *s, bool retrieval, ivl__input_list *list, ivl_error *error)
{
    ivl__prediction p = {0};
    ivl_status status = IVL_OK;
    uint64_t lines = 0;

    while (status == IVL_OK) {
        const char *line;
        size_t bytes;
        bool complete, end;

        status = ivl__input_list_next(list, &line, &bytes, &complete, &end, error);
        if (status != IVL_OK || end) {
            break;
        }
        status = !complete      ? ivl__fail(error, IVL_BAD_INPUT, "the line is too long")
                 : lines++ == 0 ? begin(s, retrieval, line, bytes, error)
                                : add(s, line, bytes, &p, error);
        if (status != IVL_OK) {
            ivl__fail_context(error, status, "line %llu",
                              (unsigned long long)ivl__input_list_line(list));
        }
    }
    ivl__prediction_free(&p);
    return status == IVL_OK && lines == 0
               ? ivl__fail(error, IVL_BAD_INPUT, "there are no predictions")
               : status;
}

static ivl_status read_file(score *s, bool retrieval, const char *path, ivl_error *error)
{
    ivl__input_list *list = NULL;
    ivl_status status;

    IVL__TRY(ivl__input_list_open(path, -1, '\n', &list, error));
    status = read_lines(s, retrieval, list, error);
    ivl__input_list_free(list);
    return status == IVL_OK ? status : ivl__fail_context(error, status, "'%s'", path);
}

/* ---- metrics ----------------------------------------------------------------------------- */

static void add_metric(score *s, const cli_suite *suite, const char *name, double value)
{
    metric *m = &s->metrics[s->n_metrics++];

    *m = (metric){.value = value, .published = (double)NAN};
    snprintf(m->name, sizeof m->name, "%s", name);
    if (suite) {
        cli_suite_figure(suite, s->head.mode, name, &m->published, &s->source);
    }
}

static void add_recalls(score *s, const cli_suite *suite, const char *direction,
                        const ivl__recall_counts *counts)
{
    for (int i = 0; i < IVL__RECALLS; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s_retrieval_recall@%u", direction, ivl__recall_at[i]);
        add_metric(s, suite, name, ivl__recall_of(counts, i));
    }
}

static void make_metrics(score *s, const cli_suite *suite)
{
    ivl__class_metrics m;

    if (s->head.retrieval) {
        add_recalls(s, suite, "image", &s->by_text);
        add_recalls(s, suite, "text", &s->by_image);
        return;
    }
    m = ivl__class_metrics_of(&s->classes);
    add_metric(s, suite, "acc1", m.acc1);
    add_metric(s, suite, "acc5", m.acc5);
    add_metric(s, suite, "mean_per_class_recall", m.mean_per_class_recall);
}

/* ---- output ------------------------------------------------------------------------------ */

static void add_counts(cli_json *json, const score *s)
{
    if (s->head.retrieval) {
        cli_json_u64(json, "images", s->by_image.queries);
        cli_json_u64(json, "texts", s->by_text.queries);
    } else {
        cli_json_u64(json, "images", s->classes.images);
        cli_json_u64(json, "classes", s->head.classes);
    }
}

static void add_published(cli_json *json, const score *s)
{
    if (!s->source) {
        cli_json_null(json, "published");
        return;
    }
    cli_json_begin(json, "published", '{');
    for (size_t i = 0; i < s->n_metrics; i++) {
        if (!isnan(s->metrics[i].published)) {
            cli_json_real(json, s->metrics[i].name, s->metrics[i].published);
        }
    }
    cli_json_end(json, '}');
    cli_json_text(json, "source", s->source);
}

static void make_json(const score *s, const char *suite, cli_json *json)
{
    cli_json_begin(json, NULL, '{');
    cli_json_text(json, "task", s->head.retrieval ? "retrieval" : "classification");
    if (suite && *suite) {
        cli_json_text(json, "suite", suite);
    } else {
        cli_json_null(json, "suite");
    }
    cli_json_text(json, "mode", s->head.mode);
    cli_json_text(json, "model_id", s->head.model_id);
    add_counts(json, s);
    cli_json_line(json);
    cli_json_begin(json, "metrics", '{');
    for (size_t i = 0; i < s->n_metrics; i++) {
        cli_json_real(json, s->metrics[i].name, s->metrics[i].value);
    }
    cli_json_end(json, '}');
    cli_json_line(json);
    add_published(json, s);
    cli_json_end(json, '}');
}

static void print_value(double value)
{
    if (isnan(value)) {
        printf("  %10s", "-");
    } else {
        printf("  %10.4f", value);
    }
}

static void print_table(const score *s)
{
    printf("%-26s  %10s  %10s\n", "metric", "ours", "published");
    for (size_t i = 0; i < s->n_metrics; i++) {
        printf("%-26s", s->metrics[i].name);
        print_value(s->metrics[i].value);
        print_value(s->metrics[i].published);
        putchar('\n');
    }
    if (s->source) {
        printf("published: %s (mode %s)\n", s->source, s->head.mode);
    }
}

static int print(const cli_eval_options *o, const score *s, const char *suite, int code)
{
    char *path = cli_eval_path(o, "metrics.json");
    ivl_error error = {0};
    cli_json json = {0};
    int printed = CLI_DONE;

    make_json(s, suite, &json);
    if (!path || json.text.failed) {
        printed = cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for metrics"});
    } else if (ivl__file_replace(path, json.text.data, json.text.bytes, &error) != IVL_OK) {
        printed = cli_fail(&error);
    }
    ivl__free(path);
    if (printed == CLI_DONE && o->json) {
        printed = cli_json_print(&json);
    } else if (printed == CLI_DONE) {
        print_table(s);
    }
    ivl__text_free(&json.text);
    return printed == CLI_DONE ? code : printed;
}

int cli_eval_score(const cli_eval_options *o, bool retrieval, int code)
{
    char *path = cli_eval_path(o, "predictions.jsonl");
    const cli_suite *suite = o->suite;
    cli_suites suites = {0};
    score s = {0};
    ivl_error error = {0};
    ivl_status status = path ? read_file(&s, retrieval, path, &error)
                             : ivl__fail(&error, IVL_OUT_OF_MEMORY, "out of memory for a path");

    /* What the predictions were made for, unless something else is asked for. */
    if (status == IVL_OK && !suite && s.head.suite[0] &&
        cli_suites_parse(cli_suites_json, &suites, &error) == IVL_OK) {
        suite = cli_suites_find(&suites, s.head.suite, retrieval);
    }
    if (status == IVL_OK) {
        make_metrics(&s, suite);
        code = print(o, &s, suite ? suite->name : s.head.suite, code);
    } else {
        code = status == IVL_OUT_OF_MEMORY ? cli_fail(&error)
                                           : cli_usage_error("eval", "%s", error.message);
    }
    cli_suites_free(&suites);
    ivl__free(s.classes.totals);
    ivl__free(s.classes.rights);
    ivl__free(path);
    return code;
}
