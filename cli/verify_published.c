/* verify_published.c - `verify --published`; see verify_published.h. */
#include "cli/verify_published.h"

#include "cli/image_run.h"
#include "cli/json.h"
#include "cli/published.h"
#include "cli/text_encoder.h"

#include "loader/unit_vector.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_MODES = 2 };

typedef struct published_run {
    const cli_verify_published_options *options;
    cli_clip clip;
    const char *modes[MOST_MODES], *taps[MOST_MODES];
    int n_modes, n_images;
    size_t dim;
    float *texts;              /* [3, dim] of length 1 */
    float *images[MOST_MODES]; /* [3, dim] of length 1 */
    char *paths[CLI_PUBLISHED_IMAGES];
    cli_published_result results[MOST_MODES];
    int n_failed;
} published_run;

/* ---- vectors ----------------------------------------------------------------------------- */

static ivl_status make_room(published_run *r, ivl_error *error)
{
    size_t floats = CLI_PUBLISHED_TEXTS * r->dim;

    r->texts = ivl__calloc(floats, sizeof(float));
    for (int m = 0; m < r->n_modes; m++) {
        r->images[m] = ivl__calloc(floats, sizeof(float));
        if (!r->images[m]) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for vectors");
        }
    }
    return r->texts ? IVL_OK : ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for vectors");
}

static ivl_status encode_texts(void *user, cli_encoder *encoder, ivl_error *error)
{
    published_run *r = user;
    cli_token_list tokens = {0};
    ivl_status status = IVL_OK;

    for (int t = 0; status == IVL_OK && t < CLI_PUBLISHED_TEXTS; t++) {
        const char *text = cli_published_texts[t];

        status = cli_token_list_add(&tokens, r->clip.tokenizer, IVL__SUMMARIZE_PROMPT, text,
                                    strlen(text), error);
    }
    if (status == IVL_OK) {
        status = cli_text_vectors(encoder, &tokens, 0, tokens.n, r->texts, error);
    }
    for (int t = 0; status == IVL_OK && t < CLI_PUBLISHED_TEXTS; t++) {
        ivl__unit_vector(r->texts + (size_t)t * r->dim, r->dim); /* a zero vector fails later */
    }
    cli_token_list_free(&tokens);
    return status;
}

static ivl_status take_image(void *user, const cli_batch *batch, const cli_picture *picture,
                             int index, ivl_error *error)
{
    published_run *r = user;

    if (picture->failure) {
        return ivl__fail(error, IVL_INVALID_ARGUMENT, "'%s': %s", picture->item.key,
                         picture->failure);
    }
    for (int m = 0; m < r->n_modes; m++) {
        float *vector = r->images[m] + (size_t)r->n_images * r->dim;

        memcpy(vector, batch->results[m] + (size_t)index * r->dim, r->dim * sizeof *vector);
        ivl__unit_vector(vector, r->dim);
    }
    r->n_images++;
    return IVL_OK;
}

/* ---- photographs ------------------------------------------------------------------------- */

static ivl_status find_photos(published_run *r, ivl_error *error)
{
    for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
        const char *folder = r->options->photos;

        r->paths[i] = ivl__path_join(folder, cli_published_images[i]);
        if (!r->paths[i]) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a path");
        }
        if (ivl__file_kind_of(r->paths[i]) == IVL__FILE_MISSING) {
            return ivl__fail(error, IVL_INVALID_ARGUMENT,
                             "verify: '%s' is missing; --photos DIR holds image1.jpg, image2.jpg "
                             "and image3.jpg of the folder examples/ that comes with the model",
                             r->paths[i]);
        }
    }
    return IVL_OK;
}

static int run_model(published_run *r, const cli_globals *globals)
{
    cli_picture_options pictures;
    cli_globals exact = *globals;
    double started = ivl__now();
    int code = CLI_DONE;

    exact.precision = globals->precision == IVL_PRECISION_AUTO ? IVL_PRECISION_EXACT
                                                               : globals->precision;
    cli_picture_options_init(&pictures);
    pictures.no_output = true;
    pictures.resize = "crop-floor"; /* as CLIPImageProcessor */
    if (cli_picture_options_check(&pictures, "verify", (const char *const *)r->paths,
                                  CLI_PUBLISHED_IMAGES, &code) &&
        cli_picture_options_fit(&pictures, "verify", r->clip.info.image_size,
                                r->clip.info.patch_size, &code)) {
        const cli_image_run run = {.what = "verify",
                                   .globals = &exact,
                                   .pictures = &pictures,
                                   .started = started,
                                   .take = take_image,
                                   .ready = encode_texts,
                                   .user = r,
                                   .model = r->clip.model,
                                   .taps = r->taps,
                                   .n_taps = r->n_modes};

        code = cli_image_run_do(&run);
    }
    cli_picture_options_free(&pictures);
    return code;
}

/* ---- results ----------------------------------------------------------------------------- */

static void compare(published_run *r)
{
    for (int m = 0; m < r->n_modes; m++) {
        cli_published_compare(cli_published_find(r->modes[m]), r->images[m], r->texts, r->dim,
                              r->clip.info.logit_scale, &r->results[m]);
        r->n_failed += r->results[m].n_failed;
    }
}

static void print_table(const published_run *r)
{
    for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
        printf("[%d] %s\n", t + 1, cli_published_texts[t]);
    }
    printf("\n%-4s %-12s %-6s %12s %12s %12s\n", "mode", "image", "text", "here", "published",
           "difference");
    for (int m = 0; m < r->n_modes; m++) {
        const cli_published_table *table = cli_published_find(r->modes[m]);
        const cli_published_result *result = &r->results[m];

        for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
            for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
                printf("%-4s %-12s [%d]    %12.5g %12.5g %+12.3f%s\n", r->modes[m],
                       cli_published_images[i], t + 1, exp(result->log_probability[i][t]),
                       table->probability[i][t], result->difference[i][t],
                       cli_published_cell_passes(result, i, t) ? "" : "  FAILED");
            }
        }
    }
}

static void add_cell(cli_json *json, const published_run *r, int m, int i, int t)
{
    const cli_published_result *result = &r->results[m];

    cli_json_line(json);
    cli_json_begin(json, NULL, '{');
    cli_json_text(json, "mode", r->modes[m]);
    cli_json_text(json, "image", cli_published_images[i]);
    cli_json_text(json, "text", cli_published_texts[t]);
    cli_json_real(json, "probability", exp(result->log_probability[i][t]));
    cli_json_real(json, "published", cli_published_find(r->modes[m])->probability[i][t]);
    cli_json_real(json, "log_difference", result->difference[i][t]);
    cli_json_bool(json, "passed", cli_published_cell_passes(result, i, t));
    cli_json_end(json, '}');
}

static int print_json(const published_run *r)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '{');
    cli_json_text(&json, "model", r->options->model);
    cli_json_text(&json, "model_id", r->clip.info.model_id);
    cli_json_real(&json, "logit_scale", r->clip.info.logit_scale);
    cli_json_real(&json, "bound", CLI_PUBLISHED_BOUND);
    cli_json_bool(&json, "passed", r->n_failed == 0);
    cli_json_begin(&json, "cells", '[');
    for (int m = 0; m < r->n_modes; m++) {
        for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
            for (int t = 0; t < CLI_PUBLISHED_TEXTS; t++) {
                add_cell(&json, r, m, i, t);
            }
        }
    }
    cli_json_end(&json, ']');
    cli_json_end(&json, '}');
    return cli_json_print(&json);
}

static int print_results(const published_run *r)
{
    int cells = r->n_modes * CLI_PUBLISHED_IMAGES * CLI_PUBLISHED_TEXTS;
    int code = CLI_DONE;

    if (r->options->json) {
        code = print_json(r);
    } else {
        print_table(r);
    }
    if (r->n_failed) {
        cli_say(IVL_LOG_ERROR,
                "verify: %d of %d probabilities are not the model card's: their logarithms differ "
                "by more than %.1f",
                r->n_failed, cells, CLI_PUBLISHED_BOUND);
        return CLI_VERIFY;
    }
    cli_say(IVL_LOG_INFO,
            "all %d probabilities of the model card are reproduced (logarithms +-%.1f)", cells,
            CLI_PUBLISHED_BOUND);
    return code;
}

/* ---- the command ------------------------------------------------------------------------- */

static void choose_modes(published_run *r)
{
    static const char *const names[] = {"c", "g"};

    for (int i = 0; i < MOST_MODES; i++) {
        if (cli_clip_has_mode(&r->clip.info, names[i])) {
            r->modes[r->n_modes] = names[i];
            r->taps[r->n_modes++] = i ? "image_g" : "image_c";
        }
    }
    r->dim = (size_t)r->clip.info.embed_dim;
}

static int verify(published_run *r, const cli_globals *globals)
{
    ivl_error error = {0};
    int code;

    if (find_photos(r, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    code = cli_clip_open("verify", r->options->model, &r->options->clip, &r->clip);
    if (code != CLI_DONE) {
        return code;
    }
    choose_modes(r);
    if (make_room(r, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    code = run_model(r, globals);
    if (code != CLI_DONE) {
        return code;
    }
    compare(r);
    return print_results(r);
}

int cli_verify_published(const cli_globals *globals, const cli_verify_published_options *options)
{
    published_run r = {.options = options};
    int code = verify(&r, globals);

    for (int i = 0; i < CLI_PUBLISHED_IMAGES; i++) {
        ivl__free(r.paths[i]);
    }
    for (int m = 0; m < r.n_modes; m++) {
        ivl__free(r.images[m]);
    }
    ivl__free(r.texts);
    cli_clip_close(&r.clip);
    return code;
}
