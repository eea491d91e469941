/* cmd_eval.c - `internvl eval`: the published evaluations on the user's data. */
#include "cli/eval.h"
#include "cli/json.h"

#include "runtime/os.h"

#include <stdio.h>
#include <string.h>

/* ---- shared by the tasks ----------------------------------------------------------------- */

char *cli_eval_path(const cli_eval_options *o, const char *name)
{
    return ivl__path_join(o->output, name);
}

void cli_eval_head(const cli_eval_options *o, const cli_clip *clip, const char *task,
                   ivl__text *text)
{
    ivl__text_printf(
        text, "{\"format\": \"internvl predictions 1\", \"task\": \"%s\", \"suite\": ", task);
    if (o->suite) {
        ivl__text_json(text, o->suite->name);
    } else {
        ivl__text_puts(text, "null");
    }
    ivl__text_printf(text, ", \"mode\": \"%s\", \"model_id\": \"%s\"", clip->mode,
                     clip->info.model_id);
}

/* ---- suites ------------------------------------------------------------------------------ */

static int print_suites(const cli_suites *suites, bool as_json)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '[');
    for (size_t i = 0; i < suites->n; i++) {
        const cli_suite *suite = &suites->items[i];

        if (!as_json) {
            printf("%-14s  %-20s  %s\n", suite->retrieval ? "retrieval" : "classification",
                   suite->name, suite->note);
            continue;
        }
        cli_json_line(&json);
        cli_json_begin(&json, NULL, '{');
        cli_json_text(&json, "name", suite->name);
        cli_json_text(&json, "task", suite->retrieval ? "retrieval" : "classification");
        cli_json_text(&json, "note", suite->note);
        for (int mode = 0; mode < 2; mode++) {
            cli_json_begin(&json, mode ? "g" : "c", '{');
            for (size_t k = 0; k < suite->n_metrics; k++) {
                double value;

                if (cli_suite_figure(suite, mode ? "g" : "c", suite->metrics[k], &value, NULL)) {
                    cli_json_real(&json, suite->metrics[k], value);
                }
            }
            cli_json_end(&json, '}');
        }
        cli_json_end(&json, '}');
    }
    cli_json_end(&json, ']');
    if (!as_json) {
        ivl__text_free(&json.text);
        return CLI_DONE;
    }
    return cli_json_print(&json);
}

static bool choose_suite(cli_eval_options *o, const cli_suites *suites, bool retrieval, int *code)
{
    const char *names[128];
    char text[200];
    size_t n = 0;

    if (!o->suite_name) {
        return true;
    }
    o->suite = cli_suites_find(suites, o->suite_name, retrieval);
    for (size_t i = 0; i < suites->n && n < sizeof names / sizeof names[0]; i++) {
        if (suites->items[i].retrieval == retrieval) {
            names[n++] = suites->items[i].name;
        }
    }
    if (!o->suite) {
        cli_suggest(o->suite_name, names, n, text, sizeof text);
        *code = cli_usage_error("eval",
                                "no suite of %s is called '%s'%s; `internvl eval suites` "
                                "lists them",
                                retrieval ? "retrieval" : "classification", o->suite_name, text);
    }
    return o->suite != NULL;
}

/* ---- the command ------------------------------------------------------------------------- */

static int evaluate(cli_eval_options *o, const cli_suites *suites, const cli_arguments *arguments)
{
    const char *task = arguments->items[0];
    const cli_arguments rest = {arguments->items + 1, arguments->n - 1};
    bool retrieval = strcmp(task, "retrieval") == 0;
    int code = CLI_DONE;

    if (strcmp(task, "suites") == 0) {
        return print_suites(suites, o->json);
    }
    if (!retrieval && strcmp(task, "classification") != 0) {
        return cli_usage_error("eval", "'%s' is none of classification, retrieval and suites",
                               task);
    }
    if (!o->output || !*o->output) {
        return cli_usage_error("eval", "where do results go? give -o OUT/");
    }
    if (!choose_suite(o, suites, retrieval, &code) ||
        !cli_clip_options_check(&o->clip, "eval", &code)) {
        return code;
    }
    if (!o->score_only) {
        code = retrieval ? cli_eval_retrieval(o, &rest) : cli_eval_classification(o, &rest);
    }
    return code == CLI_DONE || code == CLI_SKIPPED ? cli_eval_score(o, retrieval, code) : code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    cli_eval_options o = {.globals = globals, .started = ivl__now()};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"output", 'o', CLI_TEXT, &o.output, "OUT", "folder of vectors, predictions and metrics",
         NULL},
        {"suite", 0, CLI_TEXT, &o.suite_name, "NAME",
         "a published evaluation, whose figures stand beside ours", NULL},
        {"score-only", 0, CLI_FLAG, &o.score_only, NULL, "metrics of the predictions in OUT again",
         NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "metrics as JSON instead of a table", NULL},
        {"folders", 0, CLI_TEXT, &o.folders, "FILE",
         "classification: the folder of each class, one a line", NULL},
        {"annotations", 0, CLI_TEXT, &o.annotations, "FILE", "retrieval: pictures and captions",
         NULL},
        {"images", 0, CLI_TEXT, &o.images, "DIR", "retrieval: where the pictures lie", NULL},
        {"form", 0, CLI_TEXT, &o.form, "F",
         "retrieval: json, flickr, csv or lines (default: by the file)", NULL},
        {"names", 0, CLI_TEXT, &o.names, "FILE",
         "retrieval: the picture of each line of captions (XTD)", NULL},
        {"split", 0, CLI_TEXT, &o.split, "S", "retrieval: of Karpathy's JSON (default: test)",
         NULL},
        {"clean", 0, CLI_TEXT, &o.clean, "yes|no",
         "retrieval: the published caption cleaner (default: as published)", NULL},
        {"force", 0, CLI_FLAG, &o.pictures.force, NULL, "start over whatever is there", NULL},
        {"retry-errors", 0, CLI_FLAG, &o.pictures.retry_errors, NULL, "try recorded failures again",
         NULL},
        {0}};
    cli_arguments arguments = {0};
    cli_suites suites = {0};
    ivl_error error = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    o.pictures.no_output = true;
    o.pictures.resize = NULL; /* by the task */
    cli_prompt_options_add(&o.prompts, options);
    cli_clip_options_add(&o.clip, options);
    cli_picture_options_add(&o.pictures, options);
    if (!cli_options_parse(&cli_eval, options, argc, argv, &arguments, &code)) {
        return code;
    }
    if (arguments.n == 0) {
        code = cli_usage_error("eval", "which task? classification, retrieval or suites");
    } else if (cli_suites_parse(cli_suites_json, &suites, &error) != IVL_OK) {
        code = cli_fail(&error);
    } else {
        code = evaluate(&o, &suites, &arguments);
    }
    cli_suites_free(&suites);
    cli_picture_options_free(&o.pictures);
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_eval = {
    .name = "eval",
    .summary = "zero-shot classification and retrieval, beside the published figures",
    .synopsis = "classification MODEL DIR -o OUT [OPTIONS] | retrieval MODEL --annotations FILE "
                "--images DIR -o OUT [OPTIONS] | suites",
    .examples =
        "internvl eval classification InternVL-14B-224px val/ --prompts published_json/ --suite "
        "imagenet1k -o in1k/\n"
        "internvl eval retrieval InternVL-14B-224px --suite flickr30k --annotations "
        "flickr30k_test_karpathy.txt --images Images/ -o f30k/\n"
        "internvl eval retrieval -o f30k/ --score-only --json\n"
        "internvl eval suites",
    .run = run,
};
