/* cmd_verify.c - `internvl verify`: recorded inputs through the model, and how far each layer is
 * from what was recorded. */
#include "cli/golden.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verify_published.h"

#include "runtime/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Precision fast keeps directions, not single elements. */
#define LEAST_COSINE 0.9999

typedef struct request {
    const char *model, *folder;
    cli_model_options options;
    const char *photos, *tokenizer;
    bool json, published;
} request;

typedef struct comparison {
    cli_golden_difference difference;
    bool passed;
} comparison;

typedef struct verification {
    ivl_model *model;
    ivl_model_info info;
    ivl_session *session;
    cli_golden golden;
    ivl_output *outputs;     /* [golden.n_arrays] */
    comparison *comparisons; /* [golden.n_arrays] */
    ivl_stats stats;
    bool exact; /* bounds decide, not cosines */
    int n_failed;
} verification;

/* ---- running --------------------------------------------------------------------------------- */

static int show_progress(void *user, const char *stage, int done, int total)
{
    (void)user;
    cli_progress_update((uint64_t)done, 0, (uint64_t)total, stage);
    return cli_stop_requests();
}

static ivl_status make_outputs(verification *v, ivl_error *error)
{
    size_t n = (size_t)v->golden.n_arrays;

    v->outputs = ivl__calloc(n, sizeof *v->outputs);
    v->comparisons = ivl__calloc(n, sizeof *v->comparisons);
    for (size_t i = 0; v->outputs && v->comparisons && i < n; i++) {
        const cli_golden_array *a = &v->golden.arrays[i];

        v->outputs[i] = (ivl_output){.tap = a->tap, .capacity = a->room};
        v->outputs[i].data = ivl__calloc(a->room, sizeof(float));
        if (!v->outputs[i].data) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the outputs");
        }
    }
    return v->outputs && v->comparisons
               ? IVL_OK
               : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for the outputs");
}

static ivl_status run_model(verification *v, ivl_error *error)
{
    const cli_golden *g = &v->golden;
    const ivl_images images = {
        .count = g->n, .width = g->width, .height = g->height, .pixels = g->pixels};
    const ivl_texts texts = {.count = g->n_texts, .ids = g->ids, .offsets = g->offsets};
    const ivl_inputs inputs = {.size = sizeof inputs, .images = &images, .texts = &texts};
    ivl_status status;

    cli_progress_begin("verify", "stages");
    status = ivl_run(v->session, &inputs, v->outputs, (size_t)g->n_arrays, error);
    cli_progress_end();
    return status;
}

static ivl_status compare(verification *v, ivl_error *error)
{
    for (int i = 0; i < v->golden.n_arrays; i++) {
        const cli_golden_array *a = &v->golden.arrays[i];
        comparison *c = &v->comparisons[i];

        IVL__TRY(cli_golden_compare(&v->golden, a, v->outputs[i].data, &c->difference, error));
        c->passed = v->exact ? c->difference.largest <= a->bound
                             : c->difference.cosine >= LEAST_COSINE;
        v->n_failed += !c->passed;
    }
    return IVL_OK;
}

/* Nothing has to have a place that no array asks for. */
static const char *modes_of(const cli_golden *g, char modes[16])
{
    bool c = false, queries = false, text = false;

    for (int i = 0; i < g->n_arrays; i++) {
        const char *tap = g->arrays[i].tap;

        c |= strcmp(tap, "image_c") == 0;
        queries |= strcmp(tap, "image_g") == 0 || strncmp(tap, "query", 5) == 0;
        text |= strncmp(tap, "text", 4) == 0;
    }
    snprintf(modes, 16, "vit%s%s%s", c ? ",c" : "", queries ? ",g" : "", text ? ",text" : "");
    return modes;
}

static ivl_status verify(const cli_globals *globals, const request *r, verification *v,
                         ivl_error *error)
{
    ivl_session_options options;
    char modes[16];

    IVL__TRY(cli_open_model(r->model, &r->options, &v->model, error));
    ivl_model_get_info(v->model, &v->info);
    v->exact = globals->precision != IVL_PRECISION_FAST;
    IVL__TRY(cli_golden_open(r->folder, &v->info, v->exact, &v->golden, error));
    IVL__TRY(make_outputs(v, error));
    cli_session_options(globals, &options);
    options.precision = v->exact ? IVL_PRECISION_EXACT : IVL_PRECISION_FAST;
    options.modes = modes_of(&v->golden, modes);
    options.width = v->golden.width;
    options.height = v->golden.height;
    options.progress = show_progress;
    IVL__TRY(ivl_session_open(v->model, &options, &v->session, error));
    IVL__TRY(run_model(v, error));
    ivl_session_get_stats(v->session, &v->stats);
    return compare(v, error);
}

static void verification_free(verification *v)
{
    for (int i = 0; v->outputs && i < v->golden.n_arrays; i++) {
        ivl__free(v->outputs[i].data);
    }
    ivl__free(v->outputs);
    ivl__free(v->comparisons);
    cli_golden_free(&v->golden);
    ivl_session_free(v->session);
    ivl_model_free(v->model);
}

/* ---- results --------------------------------------------------------------------------------- */

static void print_table(const verification *v)
{
    printf("%-25s %12s %12s %8s %12s %12s\n", "", "error", "bound", "share", "in norm", "cosine");
    for (int i = 0; i < v->golden.n_arrays; i++) {
        const cli_golden_array *a = &v->golden.arrays[i];
        const comparison *c = &v->comparisons[i];

        printf("%-25s %12.3g ", a->name, c->difference.largest);
        if (v->exact) {
            printf("%12.3g %8.3f ", a->bound, c->difference.largest / a->bound);
        } else {
            printf("%12s %8s ", "-", "-");
        }
        printf("%12.3g %12.9f%s\n", c->difference.relative, c->difference.cosine,
               c->passed ? "" : "  FAILED");
    }
}

static void add_array(cli_json *json, const cli_golden_array *a, const comparison *c, bool exact)
{
    cli_json_line(json);
    cli_json_begin(json, NULL, '{');
    cli_json_text(json, "name", a->name);
    cli_json_text(json, "tap", a->tap);
    cli_json_begin(json, "shape", '[');
    for (int d = 0; d < a->npy.rank; d++) {
        cli_json_u64(json, NULL, a->npy.shape[d]);
    }
    cli_json_end(json, ']');
    cli_json_real(json, "max_abs_error", c->difference.largest);
    if (exact) {
        cli_json_real(json, "bound", a->bound);
    } else {
        cli_json_null(json, "bound");
    }
    cli_json_real(json, "relative_error", c->difference.relative);
    cli_json_real(json, "cosine", c->difference.cosine);
    cli_json_bool(json, "passed", c->passed);
    cli_json_end(json, '}');
}

static int print_json(const request *r, const verification *v)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '{');
    cli_json_text(&json, "model", r->model);
    cli_json_text(&json, "model_id", v->info.model_id);
    cli_json_text(&json, "golden", r->folder);
    cli_json_text(&json, "device", v->stats.device);
    cli_json_text(&json, "platform", v->stats.platform);
    cli_json_text(&json, "driver", v->stats.driver);
    cli_json_text(&json, "precision", v->stats.precision);
    cli_json_text(&json, "gemm", v->stats.gemm);
    cli_json_text(&json, "residency", v->stats.residency);
    cli_json_int(&json, "images", v->golden.n);
    cli_json_bool(&json, "passed", v->n_failed == 0);
    cli_json_begin(&json, "arrays", '[');
    for (int i = 0; i < v->golden.n_arrays; i++) {
        add_array(&json, &v->golden.arrays[i], &v->comparisons[i], v->exact);
    }
    cli_json_end(&json, ']');
    cli_json_end(&json, '}');
    return cli_json_print(&json);
}

/* The array that is furthest beyond what is allowed. */
static const char *worst_array(const verification *v)
{
    int worst = 0;
    double most = -INFINITY;

    for (int i = 0; i < v->golden.n_arrays; i++) {
        const comparison *c = &v->comparisons[i];
        double excess = v->exact ? c->difference.largest / v->golden.arrays[i].bound
                                 : -c->difference.cosine;

        if (!c->passed && excess > most) {
            most = excess;
            worst = i;
        }
    }
    return v->golden.arrays[worst].name;
}

static int print_results(const request *r, const verification *v)
{
    int code = CLI_DONE;

    if (r->json) {
        code = print_json(r, v);
    } else {
        print_table(v);
    }
    cli_say(IVL_LOG_INFO, "%d of %d arrays within %s on %s (%s), precision %s, gemm %s, %s",
            v->golden.n_arrays - v->n_failed, v->golden.n_arrays,
            v->exact ? "their bounds" : "a cosine of 0.9999", v->stats.device, v->stats.platform,
            v->stats.precision, v->stats.gemm, v->stats.residency);
    if (v->n_failed) {
        cli_say(IVL_LOG_ERROR, "verify: %d of %d arrays are beyond %s, %s most of all", v->n_failed,
                v->golden.n_arrays, v->exact ? "their bounds" : "a cosine of 0.9999",
                worst_array(v));
        return CLI_VERIFY;
    }
    return code;
}

/* ---- command --------------------------------------------------------------------------------- */

static int check(const request *r, size_t n_arguments)
{
    const char *plural = n_arguments == 1 ? "" : "s";

    if (r->options.arch && r->options.config) {
        return cli_usage_error("verify", "--arch and --config exclude each other");
    }
    if (!r->published && (r->photos || r->tokenizer)) {
        return cli_usage_error("verify", "--%s belongs to --published",
                               r->photos ? "photos" : "tokenizer");
    }
    if (!r->published) {
        return n_arguments == 2
                   ? CLI_DONE
                   : cli_usage_error("verify", "needs MODEL and GOLDEN_DIR, got %zu argument%s",
                                     n_arguments, plural);
    }
    if (!r->photos) {
        return cli_usage_error("verify", "--published needs --photos DIR: the folder with "
                                         "image1.jpg, image2.jpg and image3.jpg of the model card");
    }
    return n_arguments == 1 ? CLI_DONE
                            : cli_usage_error("verify",
                                              "--published needs MODEL alone, got %zu "
                                              "arguments",
                                              n_arguments);
}

static bool parse(int argc, char **argv, request *r, int *code)
{
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &r->json, NULL, "one object on stdout", NULL},
        {"config", 0, CLI_TEXT, &r->options.config, "FILE.json",
         "geometry for a checkpoint that has no config.json", NULL},
        {"arch", 0, CLI_TEXT, &r->options.arch, "NAME", "geometry by name", NULL},
        {"published", 0, CLI_FLAG, &r->published, NULL,
         "the sample table of InternVL-14B's model card", NULL},
        {"photos", 0, CLI_TEXT, &r->photos, "DIR", "its photographs: image1.jpg .. image3.jpg",
         NULL},
        {"tokenizer", 0, CLI_TEXT, &r->tokenizer, "FILE",
         "tokenizer.model, where the checkpoint has none beside it", NULL},
        {0}};
    cli_arguments arguments = {0};

    if (!cli_options_parse(&cli_verify, options, argc, argv, &arguments, code)) {
        return false;
    }
    *code = check(r, arguments.n);
    if (*code == CLI_DONE) {
        r->model = arguments.items[0];
        r->folder = arguments.n > 1 ? arguments.items[1] : NULL;
    }
    cli_arguments_free(&arguments);
    return *code == CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    request r = {0};
    verification v = {0};
    ivl_error error = {0};
    int code;

    if (!parse(argc, argv, &r, &code)) {
        return code;
    }
    if (r.published) {
        return cli_verify_published(globals,
                                    &(cli_verify_published_options){
                                        .model = r.model,
                                        .photos = r.photos,
                                        .clip = {.tokenizer = r.tokenizer, .model = r.options},
                                        .json = r.json,
                                    });
    }
    if (verify(globals, &r, &v, &error) == IVL_OK) {
        code = print_results(&r, &v);
    } else {
        code = cli_fail(&error);
    }
    verification_free(&v);
    return code;
}

const cli_command cli_verify = {
    .name = "verify",
    .summary = "each layer against recorded outputs, or the model card's figures",
    .synopsis = "MODEL GOLDEN_DIR|--published --photos DIR [OPTIONS]",
    .examples = "internvl verify InternViT-6B-224px golden/\n"
                "internvl verify InternViT-6B-224px golden/ --residency stream\n"
                "internvl verify InternViT-6B-224px golden/ --precision fast --json\n"
                "internvl verify InternVL-14B-224px --published --photos examples/",
    .run = run,
};
