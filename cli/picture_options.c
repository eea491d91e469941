/* picture_options.c - options of the commands with image inputs; see picture_options.h. */
#include "cli/picture_options.h"

#include "loader/record_writer.h"
#include "runtime/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_UNIT_ROWS = 4096 };

void cli_picture_options_init(cli_picture_options *options)
{
    *options = (cli_picture_options){.resize = "crop",
                                     .gray16 = "clip",
                                     .dtype = "f32",
                                     .max_pixels = IVL__MAX_PIXELS_DEFAULT,
                                     .unit_rows = DEFAULT_UNIT_ROWS};
}

static void add_inputs(cli_picture_options *o, cli_option *table)
{
    const char *how = !o->resize                         ? "squash, crop or crop-floor"
                      : strcmp(o->resize, "squash") == 0 ? "squash (default), crop or crop-floor"
                                                         : "squash, crop (default) or crop-floor";
    const cli_option inputs[] = {
        {"resize", 0, CLI_TEXT, &o->resize, "HOW", how, NULL},
        {"size", 0, CLI_INT, &o->size, "N", "side of the crop (default: the model's)", NULL},
        {"exif", 0, CLI_FLAG, &o->exif, NULL, "apply the orientation of EXIF", NULL},
        {"gray16", 0, CLI_TEXT, &o->gray16, "HOW", "16-bit grey: clip (default) or scale", NULL},
        {"fast-decode", 0, CLI_FLAG, &o->fast_decode, NULL,
         "decode large JPEG files at a part of their size", NULL},
        {"max-pixels", 0, CLI_U64, &o->max_pixels, "N",
         "refuse larger pictures (default: 178956970)", NULL},
        {"batch", 0, CLI_INT, &o->batch, "N", "pictures per pass (default: from the plan)", NULL},
        {"stdin-tar", 0, CLI_TEXT, &o->stdin_tar, "NAME", "one tar from standard input", NULL},
        {"null", '0', CLI_FLAG, &o->nul_list, NULL, "paths on standard input end with NUL", NULL},
    };

    cli_options_append(table, inputs, sizeof inputs / sizeof inputs[0]);
}

void cli_picture_options_add(cli_picture_options *o, cli_option *table)
{
    const cli_option output = {"output",           'o', CLI_TEXT, &o->output, "OUT",
                               "where results go", NULL};
    const cli_option outputs[] = {
        {"dtype", 0, CLI_TEXT, &o->dtype, "T", "f32 (default) or f16", NULL},
        {"unit-rows", 0, CLI_U64, &o->unit_rows, "N", "inputs per unit of OUT/ (default: 4096)",
         &o->unit_rows_given},
        {"shard", 0, CLI_TEXT, &o->shard, "I/N", "only the units u of OUT/ with u mod N = I", NULL},
        {"force", 0, CLI_FLAG, &o->force, NULL, "start over whatever is there", NULL},
        {"retry-errors", 0, CLI_FLAG, &o->retry_errors, NULL, "try recorded failures again", NULL},
        {"same-numerics", 0, CLI_FLAG, &o->same_numerics, NULL,
         "refuse to go on with another device or precision", NULL},
    };

    if (o->no_output) {
        add_inputs(o, table);
        return;
    }
    cli_options_append(table, &output, 1);
    add_inputs(o, table);
    cli_options_append(table, outputs, sizeof outputs / sizeof outputs[0]);
}

/* ---- checks ------------------------------------------------------------------------------ */

/* "2/8" */
static bool parse_shard(const char *text, uint64_t *shard, uint64_t *shards)
{
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *shard = strtoull(text, &end, 10);
    if (*end != '/' || end[1] < '0' || end[1] > '9') {
        return false;
    }
    *shards = strtoull(end + 1, &end, 10);
    return errno == 0 && *end == '\0' && *shards > 0 && *shard < *shards;
}

/* "-" becomes "-0" with -0; without a "-" it is one input more. */
static bool take_inputs(cli_picture_options *o, const char *const *inputs, size_t n)
{
    bool named = false;

    o->inputs = ivl__calloc(n + 1, sizeof *o->inputs);
    if (!o->inputs) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        bool is_stdin = strcmp(inputs[i], "-") == 0;

        o->inputs[i] = is_stdin && o->nul_list ? "-0" : inputs[i];
        named = named || is_stdin;
    }
    o->n_inputs = n;
    if (o->nul_list && !named) {
        o->inputs[o->n_inputs++] = "-0";
    }
    return true;
}

static bool check_source(cli_picture_options *o, const char *command, int *code)
{
    bool folder = !o->no_output && ivl__record_path_is_folder(o->output);

    if (o->shard && !parse_shard(o->shard, &o->source.shard, &o->source.shards)) {
        *code = cli_usage_error(command, "--shard '%s': give I/N with I from 0 to N-1", o->shard);
        return false;
    }
    if (!folder && (o->source.shards > 1 || o->unit_rows_given)) {
        *code = cli_usage_error(command,
                                "%s needs a folder as output (-o OUT/), '%s' is a single file",
                                o->source.shards > 1 ? "--shard" : "--unit-rows", o->output);
        return false;
    }
    if (o->unit_rows < 1) {
        *code = cli_usage_error(command, "--unit-rows must be at least 1");
        return false;
    }
    o->source.unit_rows = folder ? o->unit_rows : 0;
    o->source.stdin_tar = o->stdin_tar;
    return true;
}

static bool check_values(cli_picture_options *o, const char *command, int *code)
{
    *code = CLI_USAGE;
    if (o->resize && !ivl__resize_parse(o->resize, &o->rules.preprocess.resize)) {
        bool reserved = strcmp(o->resize, "pad") == 0 || strcmp(o->resize, "tiles") == 0;

        *code = cli_usage_error(command, "--resize '%s' %s; squash, crop or crop-floor", o->resize,
                                reserved ? "is not supported yet" : "is unknown");
    } else if (strcmp(o->gray16, "clip") != 0 && strcmp(o->gray16, "scale") != 0) {
        *code = cli_usage_error(command, "--gray16 '%s' is unknown; clip or scale", o->gray16);
    } else if (strcmp(o->dtype, "f32") != 0 && strcmp(o->dtype, "f16") != 0) {
        *code = cli_usage_error(command, "--dtype '%s' is unknown; f32 or f16", o->dtype);
    } else if (o->max_pixels < 1) {
        *code = cli_usage_error(command, "--max-pixels must be at least 1");
    } else if (o->batch > 65536) {
        *code = cli_usage_error(command, "--batch %d is too large (at most 65536)", o->batch);
    } else {
        *code = CLI_DONE;
    }
    return *code == CLI_DONE;
}

bool cli_picture_options_check(cli_picture_options *o, const char *command,
                               const char *const *inputs, size_t n_inputs, int *code)
{
    if (!o->no_output && (!o->output || !*o->output)) {
        *code = cli_usage_error(command, "where do results go? give -o OUT");
        return false;
    }
    if (n_inputs == 0 && !o->stdin_tar && !o->nul_list) {
        *code = cli_usage_error(command, "no inputs: name files, folders, tars, @lists, or - for "
                                         "paths on standard input");
        return false;
    }
    if (!check_values(o, command, code) || !check_source(o, command, code)) {
        return false;
    }
    if (!take_inputs(o, inputs, n_inputs)) {
        *code = cli_usage_error(command, "out of memory for %zu inputs", n_inputs);
        return false;
    }
    o->type = strcmp(o->dtype, "f16") == 0 ? IVL__NPY_F2 : IVL__NPY_F4;
    return true;
}

void cli_picture_options_default_resize(cli_picture_options *o, const char *how)
{
    if (!o->resize && ivl__resize_parse(how, &o->rules.preprocess.resize)) {
        o->resize = how;
    }
}

bool cli_picture_options_fit(cli_picture_options *o, const char *command, int model_size, int patch,
                             int *code)
{
    o->size = o->size ? o->size : model_size;
    if (o->size > IVL__PREPROCESS_MAX_SIZE || o->size % patch) {
        *code = cli_usage_error(command,
                                "--size %d: must be a multiple of the patch size %d, at most %d",
                                o->size, patch, IVL__PREPROCESS_MAX_SIZE);
        return false;
    }
    o->rules.preprocess.size = o->size;
    o->rules.patch = patch;
    ivl__decode_options_init(&o->rules.decode);
    o->rules.decode.max_pixels = o->max_pixels;
    o->rules.decode.gray16_scale = strcmp(o->gray16, "scale") == 0;
    o->rules.decode.exif = o->exif;
    o->rules.decode.fast = o->fast_decode;
    o->rules.decode.fast_side = o->fast_decode ? o->size : 0;
    return true;
}

void cli_picture_options_identity(const cli_picture_options *o, ivl__text *text)
{
    ivl__text_printf(text, ",\"size\":%d,\"resize\":\"%s\",\"exif\":%s,\"gray16\":\"%s\"", o->size,
                     o->resize, o->exif ? "true" : "false", o->gray16);
    ivl__text_printf(text, ",\"fast_decode\":%s,\"dtype\":\"%s\"",
                     o->fast_decode ? "true" : "false", o->dtype);
    if (o->source.unit_rows) {
        ivl__text_printf(text, ",\"unit_rows\":%llu", (unsigned long long)o->source.unit_rows);
    }
}

void cli_picture_options_free(cli_picture_options *options)
{
    ivl__free(options->inputs);
    options->inputs = NULL;
}
