/* cmd_classify.c - `internvl classify`: zero-shot classes of images by prompts. */
#include "cli/classifier.h"
#include "cli/image_run.h"
#include "cli/input_walk.h"
#include "cli/json.h"

#include "loader/label_file.h"
#include "model/metrics.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Accuracy at five needs as many, whatever is printed. */
enum { LEAST_TOP = 5, NAMED_KEYS = 5 };

typedef struct classify_options {
    cli_picture_options pictures;
    cli_clip_options clip;
    cli_prompt_options prompts;
    const char *labels;
    int topk;
} classify_options;

typedef struct classifying {
    cli_clip clip;
    cli_classifier classifier;
    ivl__prompt_list classes, templates;
    ivl__labels labels;
    bool labelled;
    size_t topk;
    uint32_t *top; /* [the larger of topk and LEAST_TOP] */
    float *vector; /* [embed_dim] */
    ivl__class_counts counts;
    uint64_t without_label;
} classifying;

/* ---- labels ------------------------------------------------------------------------------ */

/* Names the keys that no input has; their number. */
static size_t tell_unknown_keys(const ivl__labels *labels, const char *file)
{
    ivl__text names = {0};
    size_t unknown = 0;

    for (size_t i = 0; i < labels->n; i++) {
        if (!labels->items[i].used && unknown++ < NAMED_KEYS) {
            ivl__text_puts(&names, unknown > 1 ? ", " : "");
            ivl__text_json(&names, labels->items[i].key);
        }
    }
    if (unknown) {
        cli_say(IVL_LOG_ERROR, "classify: %zu keys of '%s' are none of the inputs: %s%s", unknown,
                file, names.data ? names.data : "", unknown > NAMED_KEYS ? ", ..." : "");
    }
    ivl__text_free(&names);
    return unknown;
}

static ivl_status ask_label(void *user, char **key, ivl_error *error)
{
    (void)error;
    ivl__labels_find(user, *key);
    return IVL_OK;
}

static int read_labels(classifying *c, const classify_options *o)
{
    ivl_error error = {0};
    ivl_status status;

    if (!o->labels) {
        return CLI_DONE;
    }
    c->labelled = true;
    status = ivl__labels_read(o->labels, &c->classes, &c->labels, &error);
    if (status != IVL_OK) {
        return status == IVL_OUT_OF_MEMORY ? cli_fail(&error)
                                           : cli_usage_error("classify", "%s", error.message);
    }
    c->counts.n_classes = c->classes.n;
    c->counts.totals = ivl__calloc(c->classes.n, sizeof *c->counts.totals);
    c->counts.rights = ivl__calloc(c->classes.n, sizeof *c->counts.rights);
    if (!c->counts.totals || !c->counts.rights) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for counts"});
    }
    /* A look at the names of all inputs, before hours are spent on them. */
    if (cli_inputs_can_walk(&o->pictures)) {
        status = cli_inputs_walk(&o->pictures, ask_label, &c->labels, &error);
        if (status != IVL_OK) {
            return cli_fail(&error);
        }
        return tell_unknown_keys(&c->labels, o->labels) ? CLI_USAGE : CLI_DONE;
    }
    return CLI_DONE;
}

/* ---- images ------------------------------------------------------------------------------ */

static ivl_status print_line(ivl__text *line, ivl_error *error)
{
    ivl__text_puts(line, "\n");
    if (line->failed) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a line");
    }
    if (fwrite(line->data, 1, line->bytes, stdout) != line->bytes || fflush(stdout) != 0) {
        return ivl__fail(error, IVL_IO_ERROR, "stdout: %s", strerror(errno));
    }
    return IVL_OK;
}

static ivl_status print_image(const classifying *c, const char *key, size_t n, ivl_error *error)
{
    cli_json json = {0};
    ivl_status status;

    cli_json_begin(&json, NULL, '{');
    cli_json_text(&json, "key", key);
    cli_json_begin(&json, "top", '[');
    for (size_t i = 0; i < n; i++) {
        cli_json_begin(&json, NULL, '{');
        cli_json_text(&json, "class", c->classes.items[c->top[i]]);
        cli_json_u64(&json, "index", c->top[i]);
        cli_json_float(&json, "score", c->classifier.scores[c->top[i]]);
        cli_json_end(&json, '}');
    }
    cli_json_end(&json, ']');
    cli_json_end(&json, '}');
    status = print_line(&json.text, error);
    ivl__text_free(&json.text);
    return status;
}

static ivl_status take_image(void *user, const cli_batch *batch, const cli_picture *picture,
                             int index, ivl_error *error)
{
    classifying *c = user;
    size_t dim = (size_t)c->clip.info.embed_dim;
    size_t n;
    int32_t label;

    if (picture->failure) {
        return IVL_OK;
    }
    memcpy(c->vector, batch->results[0] + (size_t)index * dim, dim * sizeof *c->vector);
    ivl__normalize(c->vector, dim);
    n = cli_classifier_score(&c->classifier, c->vector, c->topk < LEAST_TOP ? LEAST_TOP : c->topk,
                             c->top);
    if (c->labelled) {
        label = ivl__labels_find(&c->labels, picture->item.key);
        c->without_label += label < 0;
        if (label >= 0) {
            ivl__class_counts_add(&c->counts, (uint32_t)label, c->top, n);
        }
    }
    return print_image(c, picture->item.key, n < c->topk ? n : c->topk, error);
}

static int print_metrics(const classifying *c, const classify_options *o, int code)
{
    ivl__class_metrics m = ivl__class_metrics_of(&c->counts);
    cli_json json = {0};
    int printed;

    cli_json_begin(&json, NULL, '{');
    cli_json_real(&json, "acc1", m.acc1);
    cli_json_real(&json, "acc5", m.acc5);
    cli_json_real(&json, "mean_per_class_recall", m.mean_per_class_recall);
    cli_json_u64(&json, "images", m.images);
    cli_json_end(&json, '}');
    printed = cli_json_print(&json);
    if (c->without_label) {
        cli_say(IVL_LOG_WARNING, "%llu images have no label in '%s' and are not counted",
                (unsigned long long)c->without_label, o->labels);
    }
    if (printed == CLI_DONE && tell_unknown_keys(&c->labels, o->labels)) {
        return CLI_USAGE;
    }
    return printed == CLI_DONE ? code : printed;
}

/* ---- the command ------------------------------------------------------------------------- */

static int run_images(const cli_globals *globals, const classify_options *o, classifying *c,
                      double started)
{
    const cli_image_run run = {
        .what = "classify",
        .globals = globals,
        .pictures = &o->pictures,
        .started = started,
        .take = take_image,
        .user = c,
        .model = c->clip.model,
        .modes = c->clip.mode,
        .taps = &c->clip.tap,
        .n_taps = 1,
    };
    int code = cli_image_run_do(&run);

    return c->labelled && (code == CLI_DONE || code == CLI_SKIPPED) ? print_metrics(c, o, code)
                                                                    : code;
}

static int run_on(const cli_globals *globals, classify_options *o, classifying *c, double started)
{
    size_t k = (size_t)o->topk;
    ivl_error error = {0};
    int code = CLI_DONE;

    if (!cli_picture_options_fit(&o->pictures, "classify", c->clip.info.image_size,
                                 c->clip.info.patch_size, &code)) {
        return code;
    }
    c->topk = k < c->classes.n ? k : c->classes.n;
    c->top = ivl__calloc(c->topk < LEAST_TOP ? LEAST_TOP : c->topk, sizeof *c->top);
    c->vector = ivl__calloc((size_t)c->clip.info.embed_dim, sizeof *c->vector);
    if (!c->top || !c->vector) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a vector"});
    }
    c->classifier = (cli_classifier){
        .clip = &c->clip, .classes = &c->classes, .templates = &c->templates};
    if (cli_image_run_check(&o->pictures, &error) != IVL_OK ||
        cli_classifier_encode(&c->classifier, globals, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    return run_images(globals, o, c, started);
}

static int classify(const cli_globals *globals, classify_options *o, const cli_arguments *arguments)
{
    double started = ivl__now();
    classifying c = {0};
    int code = CLI_DONE;

    if (arguments->n == 0) {
        return cli_usage_error("classify", "a MODEL and inputs are missing");
    }
    if (o->topk < 1) {
        return cli_usage_error("classify", "--topk must be at least 1");
    }
    if (!cli_clip_options_check(&o->clip, "classify", &code) ||
        !cli_prompt_options_check(&o->prompts, "classify", &code) ||
        !cli_picture_options_check(&o->pictures, "classify", arguments->items + 1, arguments->n - 1,
                                   &code)) {
        return code;
    }
    code = cli_prompt_options_read(&o->prompts, "classify", &c.classes, &c.templates);
    code = code == CLI_DONE ? read_labels(&c, o) : code;
    if (code == CLI_DONE) {
        code = cli_clip_open("classify", arguments->items[0], &o->clip, &c.clip);
    }
    if (code == CLI_DONE) {
        code = run_on(globals, o, &c, started);
    }
    cli_classifier_free(&c.classifier);
    cli_clip_close(&c.clip);
    ivl__labels_free(&c.labels);
    ivl__prompt_list_free(&c.classes);
    ivl__prompt_list_free(&c.templates);
    ivl__free(c.counts.totals);
    ivl__free(c.counts.rights);
    ivl__free(c.top);
    ivl__free(c.vector);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    classify_options o = {.topk = 5};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"topk", 0, CLI_INT, &o.topk, "N", "classes of an image, the best first (default: 5)",
         NULL},
        {"labels", 0, CLI_TEXT, &o.labels, "FILE.csv",
         "key,label: accuracies as a last line; a label is a name or an index", NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    o.pictures.no_output = true;
    cli_prompt_options_add(&o.prompts, options);
    cli_clip_options_add(&o.clip, options);
    cli_picture_options_add(&o.pictures, options);
    if (!cli_options_parse(&cli_classify, options, argc, argv, &arguments, &code)) {
        return code;
    }
    code = classify(globals, &o, &arguments);
    cli_picture_options_free(&o.pictures);
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_classify = {
    .name = "classify",
    .summary = "zero-shot classes of images, by names and prompts",
    .synopsis = "MODEL INPUT... --classes FILE|--prompts DIR --dataset NAME [OPTIONS]",
    .examples =
        "internvl classify InternVL-14B-224px photos/ --classes names.txt --topk 3\n"
        "internvl classify InternVL-14B-224px val/ --classes names.txt --templates templates.txt "
        "--labels labels.csv\n"
        "internvl classify InternVL-14B-224px val/ --prompts published_json/ --dataset imagenet1k "
        "--language zh",
    .run = run,
};
