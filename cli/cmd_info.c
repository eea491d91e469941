/* cmd_info.c - `internvl info`: what a checkpoint is, and the plan for the chosen device. */
#include "cli/json.h"
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct request {
    const char *path; /* NULL: the geometry of --arch alone */
    cli_model_options model;
    bool json, tensors, full_hash;
} request;

typedef struct facts {
    ivl_model *model;
    ivl_model_info info;
    ivl_plan plan;
    bool planned;
    char full_hash[65]; /* "" where not asked for */
} facts;

/* ---- JSON ------------------------------------------------------------------------------------ */

static const char *residency_name(ivl_residency residency)
{
    switch (residency) {
    case IVL_RESIDENCY_MAPPED: return "mapped";
    case IVL_RESIDENCY_RESIDENT: return "resident";
    case IVL_RESIDENCY_STREAM: return "stream";
    case IVL_RESIDENCY_AUTO: break;
    }
    return "auto";
}

static void add_plan(cli_json *json, const ivl_plan *p)
{
    cli_json_begin(json, "plan", '{');
    cli_json_text(json, "device", p->device);
    cli_json_text(json, "platform", p->platform);
    cli_json_text(json, "residency", residency_name(p->residency));
    cli_json_u64(json, "budget", p->budget);
    cli_json_int(json, "batch", p->batch);
    cli_json_int(json, "sub_batch", p->sub_batch);
    cli_json_int(json, "stages", p->stages);
    cli_json_int(json, "resident_stages", p->resident_stages);
    cli_json_u64(json, "weight_bytes", p->weight_bytes);
    cli_json_u64(json, "resident_bytes", p->resident_bytes);
    cli_json_u64(json, "mapped_bytes", p->mapped_bytes);
    cli_json_u64(json, "slot_bytes", p->slot_bytes);
    cli_json_u64(json, "activation_bytes", p->activation_bytes);
    cli_json_u64(json, "scratch_bytes", p->scratch_bytes);
    cli_json_u64(json, "peak_bytes", p->peak_bytes);
    cli_json_u64(json, "streamed_per_batch", p->streamed_per_pass);
    cli_json_u64(json, "minimum_budget", p->minimum_budget);
    cli_json_u64(json, "text_rows", p->text_rows);
    cli_json_end(json, '}');
}

static void add_colours(cli_json *json, const char *key, const float values[3])
{
    cli_json_begin(json, key, '[');
    for (int i = 0; i < 3; i++) {
        char text[24];

        /* As published: six digits, not the double nearest to the float. */
        snprintf(text, sizeof text, "%.6g", (double)values[i]);
        cli_json_real(json, NULL, strtod(text, NULL));
    }
    cli_json_end(json, ']');
}

static void add_unused(cli_json *json, const ivl_model_info *info)
{
    cli_json_begin(json, "unused", '[');
    for (int i = 0; i < info->n_unused; i++) {
        cli_json_begin(json, NULL, '{');
        cli_json_text(json, "prefix", info->unused[i].prefix);
        cli_json_int(json, "tensors", info->unused[i].tensors);
        cli_json_u64(json, "bytes", info->unused[i].bytes);
        cli_json_end(json, '}');
    }
    cli_json_end(json, ']');
}

static void add_tensors(cli_json *json, const ivl_model *model)
{
    ivl_tensor_info t;

    cli_json_begin(json, "tensors", '[');
    for (size_t i = 0; ivl_model_get_tensor(model, i, &t); i++) {
        cli_json_line(json);
        cli_json_begin(json, NULL, '{');
        cli_json_text(json, "name", t.name);
        cli_json_text(json, "dtype", t.dtype);
        cli_json_begin(json, "shape", '[');
        for (int d = 0; d < t.rank; d++) {
            cli_json_u64(json, NULL, t.shape[d]);
        }
        cli_json_end(json, ']');
        cli_json_u64(json, "bytes", t.bytes);
        cli_json_text(json, "file", t.file);
        cli_json_end(json, '}');
    }
    cli_json_end(json, ']');
}

static void add_parts(cli_json *json, const ivl_model_info *info)
{
    cli_json_begin(json, "parts", '[');
    for (int i = 0; i < info->n_parts; i++) {
        cli_json_begin(json, NULL, '{');
        cli_json_text(json, "name", info->parts[i].name);
        cli_json_u64(json, "parameters", info->parts[i].parameters);
        cli_json_u64(json, "bytes", info->parts[i].bytes);
        cli_json_end(json, '}');
    }
    cli_json_end(json, ']');
}

/* Of models with a text tower. */
static void add_text_tower(cli_json *json, const ivl_model_info *info)
{
    cli_json_int(json, "embed_dim", info->embed_dim);
    if (info->logit_scale > 0.0) {
        cli_json_real(json, "logit_scale", info->logit_scale);
    } else {
        cli_json_null(json, "logit_scale");
    }
    cli_json_begin(json, "text", '{');
    cli_json_int(json, "layers", info->text_layers);
    cli_json_int(json, "hidden_size", info->text_hidden_size);
    cli_json_int(json, "heads", info->text_heads);
    cli_json_int(json, "key_heads", info->text_kv_heads);
    cli_json_int(json, "mlp_size", info->text_mlp_size);
    cli_json_int(json, "vocab_size", info->vocab_size);
    cli_json_real(json, "norm_eps", info->text_norm_eps);
    cli_json_int(json, "query_tokens", info->query_tokens);
    cli_json_int(json, "cross_attention_frequency", info->cross_attention_frequency);
    cli_json_end(json, '}');
}

static void add_geometry(cli_json *json, const ivl_model_info *info)
{
    cli_json_int(json, "layers", info->layers);
    cli_json_int(json, "hidden_size", info->hidden_size);
    cli_json_int(json, "heads", info->heads);
    cli_json_int(json, "mlp_size", info->mlp_size);
    cli_json_int(json, "image_size", info->image_size);
    cli_json_int(json, "patch_size", info->patch_size);
    cli_json_bool(json, "qkv_bias", info->qkv_bias);
    cli_json_bool(json, "qk_normalization", info->qk_normalization);
    cli_json_text(json, "norm", info->norm);
    cli_json_real(json, "norm_eps", info->norm_eps);
    add_colours(json, "mean", info->mean);
    add_colours(json, "std", info->std);
}

/* null for what a geometry without weights does not have. */
static void add_text_or_null(cli_json *json, const char *key, const char *value)
{
    if (value && value[0]) {
        cli_json_text(json, key, value);
    } else {
        cli_json_null(json, key);
    }
}

static int print_json(const request *r, const facts *f)
{
    const ivl_model_info *info = &f->info;
    cli_json json = {0};

    cli_json_begin(&json, NULL, '{');
    cli_json_text(&json, "architecture", info->architecture);
    add_text_or_null(&json, "path", r->path);
    add_text_or_null(&json, "naming", info->naming);
    cli_json_begin(&json, "modes", '[');
    for (int i = 0; i < info->n_modes; i++) {
        cli_json_text(&json, NULL, info->modes[i]);
    }
    cli_json_end(&json, ']');
    cli_json_u64(&json, "parameters", info->parameters);
    cli_json_u64(&json, "bytes", info->bytes);
    cli_json_text(&json, "dtype", info->dtype);
    add_parts(&json, info);
    add_geometry(&json, info);
    if (info->embed_dim) {
        add_text_tower(&json, info);
    }
    add_text_or_null(&json, "model_id", info->model_id);
    if (r->full_hash) {
        add_text_or_null(&json, "full_hash", f->full_hash);
    }
    add_unused(&json, info);
    if (f->planned) {
        add_plan(&json, &f->plan);
    } else {
        cli_json_null(&json, "plan");
    }
    if (r->tensors) {
        add_tensors(&json, f->model);
    }
    cli_json_end(&json, '}');
    return cli_json_print(&json);
}

/* ---- for people ------------------------------------------------------------------------------ */

/* The text lasts until the fourth call after. */
static const char *size_text(uint64_t bytes)
{
    static ivl__size_buffer texts[4];
    static unsigned next;

    return ivl__size_text(bytes, texts[next++ % 4]);
}

static void count_text(uint64_t n, char text[32])
{
    double value = (double)n;

    if (n >= 1000000000) {
        snprintf(text, 32, "%.2f billion", value / 1e9);
    } else if (n >= 1000000) {
        snprintf(text, 32, "%.1f million", value / 1e6);
    } else {
        snprintf(text, 32, "%llu", (unsigned long long)n);
    }
}

/* More than one part, each a line; the text tower's geometry. */
static void print_parts(const ivl_model_info *i)
{
    static const struct {
        const char *name, *text;
    } texts[] = {{"vit", "vision tower"},
                 {"c", "pooling block of InternVL-C"},
                 {"text", "text tower, which QLLaMA shares"},
                 {"g", "queries, cross-attention and pooling block of InternVL-G"}};
    char parameters[32];

    for (size_t t = 0; i->n_parts > 1 && t < sizeof texts / sizeof texts[0]; t++) {
        for (int p = 0; p < i->n_parts; p++) {
            if (strcmp(texts[t].name, i->parts[p].name) == 0) {
                count_text(i->parts[p].parameters, parameters);
                printf("              %-14s %s, %s\n", parameters, size_text(i->parts[p].bytes),
                       texts[t].text);
            }
        }
    }
}

static void print_text_tower(const ivl_model_info *i)
{
    printf("  text        %d layers, width %d, %d heads, MLP %d, %d tokens known\n", i->text_layers,
           i->text_hidden_size, i->text_heads, i->text_mlp_size, i->vocab_size);
    if (i->query_tokens) {
        printf("  queries     %d; one layer in %d looks at the picture\n", i->query_tokens,
               i->cross_attention_frequency);
    }
    printf("  embeddings  of %d values", i->embed_dim);
    if (i->logit_scale > 0.0) {
        printf(", cosines times %.4g", i->logit_scale);
    }
    printf("\n");
}

static void print_model(const request *r, const facts *f)
{
    const ivl_model_info *i = &f->info;
    char parameters[32];

    count_text(i->parameters, parameters);
    printf("%s%s%s\n", i->architecture, r->path ? "  " : ", geometry of ",
           r->path ? r->path : r->model.arch);
    printf("  weights     %s parameters, %s, %s%s%s\n", parameters, i->dtype, size_text(i->bytes),
           i->naming && i->naming[0] ? ", names as in the layout " : "",
           i->naming ? i->naming : "");
    print_parts(i);
    printf("  geometry    %d blocks, width %d, %d heads, MLP %d, %s (eps %g)%s%s\n", i->layers,
           i->hidden_size, i->heads, i->mlp_size, i->norm, i->norm_eps,
           i->qk_normalization ? ", q/k norm" : "", i->qkv_bias ? ", q/k/v biases" : "");
    printf("  pictures    %d x %d, patches of %d, mean %g %g %g, deviation %g %g %g\n",
           i->image_size, i->image_size, i->patch_size, (double)i->mean[0], (double)i->mean[1],
           (double)i->mean[2], (double)i->std[0], (double)i->std[1], (double)i->std[2]);
    if (i->embed_dim) {
        print_text_tower(i);
    }
    printf("  modes      ");
    for (int m = 0; m < i->n_modes; m++) {
        printf(" %s", i->modes[m]);
    }
    printf("\n");
    if (i->model_id && i->model_id[0]) {
        printf("  model id    %s\n", i->model_id);
    }
    if (f->full_hash[0]) {
        printf("  full hash   %s\n", f->full_hash);
    }
    for (int u = 0; u < i->n_unused; u++) {
        printf("  not run     %s*: %d tensors, %s\n", i->unused[u].prefix, i->unused[u].tensors,
               size_text(i->unused[u].bytes));
    }
}

static const char *residency_text(ivl_residency residency)
{
    switch (residency) {
    case IVL_RESIDENCY_MAPPED: return "mapped: kernels read the weights where the file is mapped";
    case IVL_RESIDENCY_RESIDENT: return "resident: weights are copied to the device once";
    case IVL_RESIDENCY_STREAM: return "stream: weights are uploaded through slots for each batch";
    case IVL_RESIDENCY_AUTO: break;
    }
    return "auto";
}

/* Where `auto` maps the weights, a budget below their size means slots, which count. */
static void print_minimum(const ivl_plan *p, bool automatic)
{
    bool streams = automatic && p->residency == IVL_RESIDENCY_MAPPED &&
                   p->minimum_budget < p->weight_bytes;

    printf("              %12s  is the smallest --device-memory that works%s\n",
           size_text(p->minimum_budget), streams ? ": below the size of the" : "");
    if (streams) {
        printf("              %12s  weights they are streamed, and the slots count\n", "");
    }
}

static void print_plan(const ivl_plan *p, bool automatic)
{
    printf("\nplan for %s (%s)\n", p->device, p->platform);
    printf("  residency   %s\n", residency_text(p->residency));
    if (p->residency == IVL_RESIDENCY_STREAM) {
        printf("              %d of %d stages stay on the device\n", p->resident_stages, p->stages);
    }
    printf("  batch       %d images per pass over the weights, %d per kernel\n", p->batch,
           p->sub_batch);
    if (p->text_rows) {
        printf("              %llu rows of queries and tokens beside them\n",
               (unsigned long long)p->text_rows);
    }
    printf("  memory      %12s  weights kept\n", size_text(p->resident_bytes));
    printf("              %12s  slots for streamed weights\n", size_text(p->slot_bytes));
    printf("              %12s  activations\n", size_text(p->activation_bytes));
    printf("              %12s  scratch and staging\n", size_text(p->scratch_bytes));
    printf("              %12s  in all, of a budget of %s\n", size_text(p->peak_bytes),
           size_text(p->budget));
    if (p->mapped_bytes) {
        printf("              %12s  mapped, outside of the budget\n", size_text(p->mapped_bytes));
    }
    print_minimum(p, automatic);
    printf("  per batch   %12s  uploaded\n", size_text(p->streamed_per_pass));
}

static void print_tensors(const ivl_model *model)
{
    ivl_tensor_info t;

    printf("\n");
    for (size_t i = 0; ivl_model_get_tensor(model, i, &t); i++) {
        printf("%-60s %s [", t.name, t.dtype);
        for (int d = 0; d < t.rank; d++) {
            printf("%s%llu", d ? ", " : "", (unsigned long long)t.shape[d]);
        }
        printf("]  %s\n", t.file);
    }
}

static int print_text(const request *r, const facts *f, bool automatic)
{
    print_model(r, f);
    if (f->planned) {
        print_plan(&f->plan, automatic);
    }
    if (r->tensors) {
        print_tensors(f->model);
    }
    return CLI_DONE;
}

/* ---- command --------------------------------------------------------------------------------- */

static ivl_status open_model(const request *r, facts *f, ivl_error *error)
{
    IVL__TRY(r->path ? cli_open_model(r->path, &r->model, &f->model, error)
                     : ivl_model_open_architecture(r->model.arch, &f->model, error));
    ivl_model_get_info(f->model, &f->info);
    return r->full_hash ? ivl_model_full_hash(f->model, f->full_hash, error) : IVL_OK;
}

/* Without a plan the model is still described. That no device is there is an error only for those
 * who asked for one. */
static int make_plan(const cli_globals *globals, facts *f)
{
    ivl_session_options options;
    ivl_error error = {0};
    ivl_status status;

    cli_session_options(globals, &options);
    status = ivl_plan_make(f->model, &options, &f->plan, &error);
    f->planned = status == IVL_OK;
    if (status == IVL_OK) {
        return CLI_DONE;
    }
    if (status == IVL_NO_DEVICE && !globals->n_devices) {
        cli_say(IVL_LOG_WARNING, "no plan: %s", error.message);
        return CLI_DONE;
    }
    return cli_fail(&error);
}

static bool parse(int argc, char **argv, request *r, int *code)
{
    const cli_option options[] = {
        {"json", 0, CLI_FLAG, &r->json, NULL, "one object on stdout", NULL},
        {"tensors", 0, CLI_FLAG, &r->tensors, NULL, "every tensor that runs", NULL},
        {"full-hash", 0, CLI_FLAG, &r->full_hash, NULL,
         "SHA-256 over all weights as well: reads the whole checkpoint", NULL},
        {"config", 0, CLI_TEXT, &r->model.config, "FILE.json",
         "geometry for a checkpoint that has no config.json", NULL},
        {"arch", 0, CLI_TEXT, &r->model.arch, "NAME",
         "geometry by name (internvit-6b-224, internvit-300m-448, ...); without MODEL: the plan "
         "for "
         "that geometry",
         NULL},
        {0}};
    cli_arguments arguments = {0};

    if (!cli_options_parse(&cli_info, options, argc, argv, &arguments, code)) {
        return false;
    }
    *code = CLI_DONE;
    if (arguments.n > 1) {
        *code = cli_usage_error("info", "one MODEL at a time; \"%s\" is the second",
                                arguments.items[1]);
    } else if (arguments.n == 0 && !r->model.arch) {
        *code = cli_usage_error("info", "MODEL is missing; give a folder, a file, or --arch NAME");
    } else if (arguments.n == 0 && (r->full_hash || r->tensors || r->model.config)) {
        *code = cli_usage_error("info", "--tensors, --full-hash and --config need a MODEL");
    } else if (r->model.arch && r->model.config) {
        *code = cli_usage_error("info", "--arch and --config exclude each other");
    }
    r->path = arguments.n ? arguments.items[0] : NULL;
    cli_arguments_free(&arguments);
    return *code == CLI_DONE;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    request r = {0};
    facts f = {0};
    ivl_error error = {0};
    int code;
    int plan_code;

    if (!parse(argc, argv, &r, &code)) {
        return code;
    }
    if (open_model(&r, &f, &error) != IVL_OK) {
        ivl_model_free(f.model);
        return cli_fail(&error);
    }
    plan_code = make_plan(globals, &f);
    code = r.json ? print_json(&r, &f)
                  : print_text(&r, &f, globals->residency == IVL_RESIDENCY_AUTO);
    ivl_model_free(f.model);
    return plan_code ? plan_code : code;
}

const cli_command cli_info = {
    .name = "info",
    .summary = "what a checkpoint is, and the plan for the chosen device",
    .synopsis = "MODEL [--json] [--tensors] [--full-hash] [--config FILE.json | --arch NAME]",
    .examples = "internvl info InternViT-6B-224px\n"
                "internvl info InternViT-6B-224px --device gpu --device-memory 4GiB\n"
                "internvl info weights.pth --arch internvit-6b-224 --tensors\n"
                "internvl info --arch internvit-6b-224 --json",
    .run = run,
};
