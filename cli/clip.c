/* clip.c - models of images and texts; see clip.h. */
#include "cli/clip.h"

#include "cli/tokenizer.h"

#include <string.h>

void cli_clip_options_add(cli_clip_options *o, cli_option *table)
{
    const cli_option options[] = {
        {"mode", 0, CLI_TEXT, &o->mode, "M", "c or g (default: the best the checkpoint has)", NULL},
        {"tokenizer", 0, CLI_TEXT, &o->tokenizer, "FILE",
         "tokenizer.model, where the checkpoint has none beside it", NULL},
        {"config", 0, CLI_TEXT, &o->model.config, "FILE", "config.json of the model", NULL},
        {"arch", 0, CLI_TEXT, &o->model.arch, "NAME", "architecture of the model", NULL},
    };

    cli_options_append(table, options, sizeof options / sizeof options[0]);
}

bool cli_clip_options_check(const cli_clip_options *o, const char *command, int *code)
{
    if (o->mode && strcmp(o->mode, "c") != 0 && strcmp(o->mode, "g") != 0) {
        *code = cli_usage_error(command, "--mode '%s' is none of images and texts; c or g",
                                o->mode);
        return false;
    }
    return true;
}

bool cli_clip_has_mode(const ivl_model_info *info, const char *mode)
{
    for (int i = 0; i < info->n_modes; i++) {
        if (strcmp(info->modes[i], mode) == 0) {
            return true;
        }
    }
    return false;
}

int cli_refuse_texts(const char *command, const ivl_model_info *info, const char *what)
{
    cli_say(IVL_LOG_ERROR,
            "%s: %s needs a text tower, and %s (%s) has none; InternVL-14B and InternVL-C have one",
            command, what, info->path, info->architecture);
    return CLI_MODEL;
}

static ivl_status choose_mode(const char *command, const cli_clip_options *o, cli_clip *clip,
                              ivl_error *error)
{
    const ivl_model_info *info = &clip->info;

    if (!cli_clip_has_mode(info, "text") || !cli_clip_has_mode(info, "c")) {
        return ivl__fail(error, IVL_BAD_MODEL,
                         "%s: %s (%s) has no text tower; InternVL-14B and InternVL-C have one",
                         command, info->path, info->architecture);
    }
    clip->mode = o->mode ? o->mode : cli_clip_has_mode(info, "g") ? "g" : "c";
    if (!cli_clip_has_mode(info, clip->mode)) {
        return ivl__fail(error, IVL_BAD_MODEL, "%s: %s (%s) has no mode %s; it has: c", command,
                         info->path, info->architecture, clip->mode);
    }
    clip->tap = strcmp(clip->mode, "g") == 0 ? "image_g" : "image_c";
    return IVL_OK;
}

int cli_clip_open(const char *command, const char *path, const cli_clip_options *options,
                  cli_clip *clip)
{
    ivl_error error = {0};
    ivl_status status;

    *clip = (cli_clip){0};
    status = cli_open_model(path, &options->model, &clip->model, &error);
    if (status == IVL_OK) {
        ivl_model_get_info(clip->model, &clip->info);
        status = choose_mode(command, options, clip, &error);
    }
    if (status == IVL_OK) {
        status = cli_open_tokenizer(path, options->tokenizer, clip->info.vocab_size,
                                    &clip->tokenizer, &error);
    }
    if (status != IVL_OK) {
        cli_clip_close(clip);
        return cli_fail(&error);
    }
    return CLI_DONE;
}

void cli_clip_close(cli_clip *clip)
{
    ivl__tokenizer_spm_free(clip->tokenizer);
    ivl_model_free(clip->model);
    *clip = (cli_clip){0};
}
