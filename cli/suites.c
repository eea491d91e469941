/* suites.c - published evaluations from suites.json; see suites.h. */
#include "cli/suites.h"

#include "loader/caption_set.h"
#include "loader/prompt_files.h"
#include "runtime/memory.h"

#include <jansson.h>
#include <string.h>

static const char *const class_metrics[] = {"acc1", "acc5", "mean_per_class_recall"};
static const char *const recall_metrics[] = {
    "image_retrieval_recall@1", "image_retrieval_recall@5", "image_retrieval_recall@10",
    "text_retrieval_recall@1",  "text_retrieval_recall@5",  "text_retrieval_recall@10",
};

/* ---- one suite --------------------------------------------------------------------------- */

static bool is_metric(const cli_suite *suite, const char *name)
{
    const char *const *known = suite->retrieval ? recall_metrics : class_metrics;
    size_t n = suite->retrieval ? sizeof recall_metrics / sizeof *recall_metrics
                                : sizeof class_metrics / sizeof *class_metrics;

    for (size_t i = 0; name && i < n; i++) {
        if (strcmp(known[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static ivl_status read_metrics(cli_suite *suite, const json_t *metrics, ivl_error *error)
{
    for (size_t i = 0; i < json_array_size(metrics); i++) {
        const char *name = json_string_value(json_array_get(metrics, i));

        if (!is_metric(suite, name) || suite->n_metrics == CLI_SUITE_METRICS) {
            return ivl__fail(error, IVL_BAD_INPUT, "metrics[%zu] is not known", i);
        }
        suite->metrics[suite->n_metrics++] = name;
    }
    return suite->n_metrics ? IVL_OK : ivl__fail(error, IVL_BAD_INPUT, "there are no metrics");
}

static ivl_status check_figures(const cli_suite *suite, const json_t *published, size_t index,
                                ivl_error *error)
{
    const char *mode = json_string_value(json_object_get(published, "mode"));
    const char *source = json_string_value(json_object_get(published, "source"));
    const json_t *values = json_object_get(published, "values");
    const char *name;
    json_t *value;

    if (!mode || (strcmp(mode, "c") != 0 && strcmp(mode, "g") != 0) || !source || !*source ||
        json_object_size(values) == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "published[%zu] has no mode, source or values",
                         index);
    }
    json_object_foreach((json_t *)(uintptr_t)values, name, value)
    {
        if (!is_metric(suite, name) || !json_is_number(value) || json_number_value(value) < 0.0 ||
            json_number_value(value) > 1.0) {
            return ivl__fail(error, IVL_BAD_INPUT,
                             "published[%zu]: \"%.40s\" is no metric with a value from 0 to 1",
                             index, name);
        }
    }
    return IVL_OK;
}

static ivl_status read_published(cli_suite *suite, const json_t *published, ivl_error *error)
{
    if (json_array_size(published) == 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "nothing was published");
    }
    for (size_t i = 0; i < json_array_size(published); i++) {
        IVL__TRY(check_figures(suite, json_array_get(published, i), i, error));
    }
    suite->published = published;
    return IVL_OK;
}

static ivl_status read_prompts(cli_suite *suite, const json_t *object, ivl_error *error)
{
    const json_t *prompts = json_object_get(object, "prompts");
    ivl__caption_form form;

    if (suite->retrieval) {
        suite->clean = json_is_true(json_object_get(object, "clean"));
        return ivl__caption_form_parse(suite->reader, &form) &&
                       json_is_boolean(json_object_get(object, "clean"))
                   ? IVL_OK
                   : ivl__fail(error, IVL_BAD_INPUT, "reader or clean is wrong");
    }
    suite->dataset = json_string_value(json_object_get(prompts, "dataset"));
    suite->language = json_string_value(json_object_get(prompts, "language"));
    return strcmp(suite->reader, "folders") == 0 && suite->dataset && suite->language &&
                   ivl__prompt_language(suite->language)
               ? IVL_OK
               : ivl__fail(error, IVL_BAD_INPUT, "reader or prompts are wrong");
}

static ivl_status read_suite(cli_suite *suite, const json_t *object, ivl_error *error)
{
    const char *task = json_string_value(json_object_get(object, "task"));
    const char *note = json_string_value(json_object_get(object, "note"));

    suite->name = json_string_value(json_object_get(object, "name"));
    suite->reader = json_string_value(json_object_get(object, "reader"));
    suite->note = note ? note : "";
    if (!suite->name || !suite->reader || !task) {
        return ivl__fail(error, IVL_BAD_INPUT, "name, task or reader is missing");
    }
    suite->retrieval = strcmp(task, "retrieval") == 0;
    if (!suite->retrieval && strcmp(task, "classification") != 0) {
        return ivl__fail(error, IVL_BAD_INPUT, "task \"%.40s\" is not known", task);
    }
    IVL__TRY(read_prompts(suite, object, error));
    IVL__TRY(read_metrics(suite, json_object_get(object, "metrics"), error));
    return read_published(suite, json_object_get(object, "published"), error);
}

/* ---- all of them ------------------------------------------------------------------------- */

static ivl_status read_all(cli_suites *suites, const json_t *list, ivl_error *error)
{
    size_t n = json_array_size(list);

    suites->items = ivl__calloc(n ? n : 1, sizeof *suites->items);
    if (!suites->items) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the suites");
    }
    for (size_t i = 0; i < n; i++) {
        cli_suite *suite = &suites->items[i];
        ivl_status status = read_suite(suite, json_array_get(list, i), error);

        if (status != IVL_OK) {
            return ivl__fail_context(error, status, "suite %zu (%s)", i,
                                     suite->name ? suite->name : "without a name");
        }
        if (cli_suites_find(suites, suite->name, suite->retrieval)) {
            return ivl__fail(error, IVL_BAD_INPUT, "suite \"%s\" stands there twice", suite->name);
        }
        suites->n = i + 1;
    }
    return IVL_OK;
}

ivl_status cli_suites_parse(const char *text, cli_suites *suites, ivl_error *error)
{
    json_error_t detail;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &detail);
    ivl_status status;

    *suites = (cli_suites){.json = root};
    status = root ? read_all(suites, json_object_get(root, "suites"), error)
                  : ivl__fail(error, IVL_BAD_INPUT, "suites: %s (line %d)", detail.text,
                              detail.line);
    if (status != IVL_OK) {
        cli_suites_free(suites);
    }
    return status;
}

void cli_suites_free(cli_suites *suites)
{
    ivl__free(suites->items);
    json_decref(suites->json);
    *suites = (cli_suites){0};
}

const cli_suite *cli_suites_find(const cli_suites *suites, const char *name, bool retrieval)
{
    for (size_t i = 0; i < suites->n; i++) {
        if (suites->items[i].retrieval == retrieval && strcmp(suites->items[i].name, name) == 0) {
            return &suites->items[i];
        }
    }
    return NULL;
}

bool cli_suite_figure(const cli_suite *suite, const char *mode, const char *metric, double *value,
                      const char **source)
{
    const json_t *published = suite->published;

    for (size_t i = 0; i < json_array_size(published); i++) {
        const json_t *entry = json_array_get(published, i);
        const json_t *figure = json_object_get(json_object_get(entry, "values"), metric);

        if (figure && strcmp(json_string_value(json_object_get(entry, "mode")), mode) == 0) {
            *value = json_number_value(figure);
            if (source) {
                *source = json_string_value(json_object_get(entry, "source"));
            }
            return true;
        }
    }
    return false;
}
