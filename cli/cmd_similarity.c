/* cmd_similarity.c - `internvl similarity`: how well images and texts go together. */
#include "cli/clip.h"
#include "cli/image_run.h"
#include "cli/json.h"
#include "cli/pair_matcher.h"

#include "loader/text_source.h"
#include "model/metrics.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of images and texts in the table for people. */
enum { NAME_COLUMNS = 32 };

typedef struct similarity_options {
    cli_picture_options pictures;
    cli_clip_options clip;
    cli_list images, text;
    const char *texts;
    bool json, itm;
} similarity_options;

/* What stands beside the rows and above the columns. */
typedef struct name {
    char *text;
    size_t bytes;
} name;

typedef struct similarity {
    cli_clip clip;
    size_t dim;
    cli_token_list tokens;
    name *texts; /* [n_texts] */
    size_t n_texts, texts_capacity, failed_texts;
    float *text_vectors; /* [n_texts, dim] of length 1 */
    name *images;        /* [n_images] */
    size_t n_images, images_capacity;
    float *image_vectors; /* [n_images, dim] of length 1 */
    size_t vectors_capacity;
    bool itm;
    cli_pair_matcher pairs;
} similarity;

static ivl_status add_name(name **names, size_t *n, size_t *capacity, const char *text,
                           size_t bytes, ivl_error *error)
{
    char *copy = ivl__malloc(bytes + 1);

    if (!copy || !ivl__grow((void **)names, capacity, *n + 1, sizeof **names)) {
        ivl__free(copy);
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for a row");
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    (*names)[(*n)++] = (name){copy, bytes};
    return IVL_OK;
}

static void free_names(name *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ivl__free(names[i].text);
    }
    ivl__free(names);
}

/* ---- texts ------------------------------------------------------------------------------- */

/* A text that cannot be tokenised is named and left out. */
static ivl_status add_text(similarity *s, const char *where, const char *text, size_t bytes,
                           ivl_error *error)
{
    ivl_error detail = {0};
    ivl_status status = cli_token_list_add(&s->tokens, s->clip.tokenizer, IVL__SUMMARIZE_PROMPT,
                                           text, bytes, &detail);

    if (status == IVL_BAD_INPUT) {
        cli_say(IVL_LOG_WARNING, "skipped %s: %s", where, detail.message);
        s->failed_texts++;
        return IVL_OK;
    }
    if (status == IVL_OK && s->itm) {
        status = cli_token_list_add(&s->pairs.texts, s->clip.tokenizer, "", text, bytes, &detail);
    }
    return status == IVL_OK
               ? add_name(&s->texts, &s->n_texts, &s->texts_capacity, text, bytes, error)
               : ivl__fail(error, status, "%s: %s", where, detail.message);
}

static ivl_status add_file(similarity *s, const char *path, ivl_error *error)
{
    ivl__text_source *source = NULL;
    ivl__text_item item;
    bool end = false;
    ivl_status status = ivl__text_source_open(path, &source, error);

    while (status == IVL_OK) {
        char where[64];

        status = ivl__text_source_next(source, &item, &end, error);
        if (status != IVL_OK || end) {
            break;
        }
        snprintf(where, sizeof where, "line %llu", (unsigned long long)item.line);
        if (item.failed) {
            cli_say(IVL_LOG_WARNING, "skipped %s of %s: %s", where, path, item.error_text);
            s->failed_texts++;
        } else {
            status = add_text(s, where, item.text, item.bytes, error);
        }
    }
    ivl__text_source_free(source);
    return status;
}

static ivl_status read_texts(similarity *s, const similarity_options *o, ivl_error *error)
{
    for (size_t i = 0; i < o->text.n; i++) {
        char where[64];

        snprintf(where, sizeof where, "--text %zu", i + 1);
        IVL__TRY(add_text(s, where, o->text.items[i], strlen(o->text.items[i]), error));
    }
    if (o->texts) {
        IVL__TRY(add_file(s, o->texts, error));
    }
    return IVL_OK;
}

/* ---- vectors ----------------------------------------------------------------------------- */

static ivl_status encode_texts(void *user, cli_encoder *encoder, ivl_error *error)
{
    similarity *s = user;

    s->text_vectors = ivl__calloc(s->n_texts * s->dim, sizeof *s->text_vectors);
    if (!s->text_vectors) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu vectors", s->n_texts);
    }
    IVL__TRY(cli_text_vectors(encoder, &s->tokens, 0, s->n_texts, s->text_vectors, error));
    for (size_t i = 0; i < s->n_texts; i++) {
        ivl__normalize(s->text_vectors + i * s->dim, s->dim);
    }
    return IVL_OK;
}

static ivl_status take_image(void *user, const cli_batch *batch, const cli_picture *picture,
                             int index, ivl_error *error)
{
    similarity *s = user;
    float *vector;

    if (picture->failure) {
        return IVL_OK;
    }
    if (!ivl__grow((void **)&s->image_vectors, &s->vectors_capacity, (s->n_images + 1) * s->dim,
                   sizeof *s->image_vectors)) {
        return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for %zu vectors",
                         s->n_images + 1);
    }
    vector = s->image_vectors + s->n_images * s->dim;
    memcpy(vector, batch->results[0] + (size_t)index * s->dim, s->dim * sizeof *vector);
    ivl__normalize(vector, s->dim);
    return add_name(&s->images, &s->n_images, &s->images_capacity, picture->item.key,
                    strlen(picture->item.key), error);
}

/* ---- numbers ----------------------------------------------------------------------------- */

static ivl_status match_batch(void *user, cli_encoder *encoder, const cli_batch *batch,
                              ivl_error *error)
{
    similarity *s = user;

    return cli_pair_matcher_add(&s->pairs, encoder, &batch->images, error);
}

static float match(const similarity *s, size_t image, size_t text)
{
    return cli_pair_matcher_get(&s->pairs, image, text);
}

static float cosine(const similarity *s, size_t image, size_t text)
{
    return (float)ivl__dot(s->image_vectors + image * s->dim, s->text_vectors + text * s->dim,
                           s->dim);
}

static float logit(const similarity *s, size_t image, size_t text)
{
    return (float)(s->clip.info.logit_scale * (double)cosine(s, image, text));
}

/* Softmax over the texts. */
static float probability(const similarity *s, size_t image, size_t text)
{
    double most = -INFINITY;
    double sum = 0.0;

    for (size_t i = 0; i < s->n_texts; i++) {
        most = fmax(most, (double)logit(s, image, i));
    }
    for (size_t i = 0; i < s->n_texts; i++) {
        sum += exp((double)logit(s, image, i) - most);
    }
    return (float)(exp((double)logit(s, image, text) - most) / sum);
}

/* ---- output ------------------------------------------------------------------------------ */

static void add_matrix(cli_json *json, const char *key, const similarity *s,
                       float (*value)(const similarity *s, size_t image, size_t text))
{
    cli_json_line(json);
    cli_json_begin(json, key, '[');
    for (size_t i = 0; i < s->n_images; i++) {
        cli_json_begin(json, NULL, '[');
        for (size_t k = 0; k < s->n_texts; k++) {
            cli_json_float(json, NULL, value(s, i, k));
        }
        cli_json_end(json, ']');
    }
    cli_json_end(json, ']');
}

static void add_names(cli_json *json, const char *key, const name *names, size_t n)
{
    cli_json_line(json);
    cli_json_begin(json, key, '[');
    for (size_t i = 0; i < n; i++) {
        cli_json_bytes(json, NULL, names[i].text, names[i].bytes);
    }
    cli_json_end(json, ']');
}

static int print_json(const similarity *s)
{
    cli_json json = {0};

    cli_json_begin(&json, NULL, '{');
    cli_json_text(&json, "mode", s->clip.mode);
    add_names(&json, "images", s->images, s->n_images);
    add_names(&json, "texts", s->texts, s->n_texts);
    add_matrix(&json, "cosine", s, cosine);
    add_matrix(&json, "logits", s, logit);
    add_matrix(&json, "probabilities", s, probability);
    if (s->itm) {
        add_matrix(&json, "itm", s, match);
    }
    cli_json_end(&json, '}');
    return cli_json_print(&json);
}

/* The character at `at`: its bytes, as it can be printed in one line. */
static size_t character(const name *n, size_t at, const char **text, size_t *bytes)
{
    size_t length = ivl__utf8_decode(n->text + at, n->bytes - at, NULL);
    bool control = (unsigned char)n->text[at] < 0x20 || n->text[at] == 0x7f;

    *text = !length ? "?" : control ? " " : n->text + at;
    *bytes = length && !control ? length : 1;
    return length ? length : 1;
}

static size_t count_columns(const name *n)
{
    size_t columns = 0;
    const char *text;
    size_t bytes;

    for (size_t at = 0; at < n->bytes; columns++) {
        at += character(n, at, &text, &bytes);
    }
    return columns;
}

/* At most NAME_COLUMNS characters of a name: of a long one the end, where names of files differ,
 * or the beginning. Answers how many. */
static size_t print_name(const name *n, bool end)
{
    size_t columns = count_columns(n);
    size_t from = end && columns > NAME_COLUMNS ? columns - NAME_COLUMNS + 2 : 0;
    size_t to = !end && columns > NAME_COLUMNS ? NAME_COLUMNS - 2 : columns;
    size_t column = 0;

    fputs(from ? ".." : "", stdout);
    for (size_t at = 0; at < n->bytes && column < to; column++) {
        const char *text;
        size_t bytes;

        at += character(n, at, &text, &bytes);
        if (column >= from) {
            fwrite(text, 1, bytes, stdout);
        }
    }
    fputs(to < columns ? ".." : "", stdout);
    return columns < NAME_COLUMNS ? columns : NAME_COLUMNS;
}

/* Texts may be long: they have numbers, which stand above the columns. */
static int print_table(const similarity *s)
{
    for (size_t k = 0; k < s->n_texts; k++) {
        printf("[%zu] ", k + 1);
        print_name(&s->texts[k], false);
        putchar('\n');
    }
    printf("\n%-*s", NAME_COLUMNS, s->itm ? "cosine, of texts, match" : "cosine, of texts");
    for (size_t k = 0; k < s->n_texts; k++) {
        char head[24];

        snprintf(head, sizeof head, "[%zu]", k + 1);
        printf(" %*s", s->itm ? 23 : 15, head);
    }
    putchar('\n');
    for (size_t i = 0; i < s->n_images; i++) {
        size_t columns = print_name(&s->images[i], true);

        printf("%*s", (int)(NAME_COLUMNS - columns), "");
        for (size_t k = 0; k < s->n_texts; k++) {
            printf(" %7.4f %5.1f %%", (double)cosine(s, i, k),
                   100.0 * (double)probability(s, i, k));
            if (s->itm) {
                printf(" %5.1f %%", 100.0 * (double)match(s, i, k));
            }
        }
        putchar('\n');
    }
    return CLI_DONE;
}

/* ---- the command ------------------------------------------------------------------------- */

static int run_images(const cli_globals *globals, const similarity_options *o, similarity *s,
                      double started)
{
    const char *modes = s->itm && strcmp(s->clip.mode, "c") == 0 ? "c,g,text"
                        : strcmp(s->clip.mode, "c") == 0         ? "c,text"
                                                                 : "g,text";
    const cli_image_run run = {
        .what = "similarity",
        .globals = globals,
        .pictures = &o->pictures,
        .started = started,
        .take = take_image,
        .ready = encode_texts,
        .computed = s->itm ? match_batch : NULL,
        .user = s,
        .model = s->clip.model,
        .modes = modes,
        .taps = &s->clip.tap,
        .n_taps = 1,
    };
    int code = cli_image_run_do(&run);
    int printed;

    if ((code != CLI_DONE && code != CLI_SKIPPED) || s->n_images == 0) {
        return code;
    }
    printed = o->json ? print_json(s) : print_table(s);
    return printed != CLI_DONE ? printed : s->failed_texts ? CLI_SKIPPED : code;
}

static int run_on(const cli_globals *globals, similarity_options *o, similarity *s, double started)
{
    ivl_error error = {0};
    int code = CLI_DONE;

    if (!cli_picture_options_fit(&o->pictures, "similarity", s->clip.info.image_size,
                                 s->clip.info.patch_size, &code)) {
        return code;
    }
    s->dim = (size_t)s->clip.info.embed_dim;
    s->itm = o->itm;
    if (o->itm && !cli_clip_has_mode(&s->clip.info, "g")) {
        cli_say(IVL_LOG_ERROR,
                "similarity: --itm needs the queries of InternVL-G; %s (%s) has none",
                s->clip.info.path, s->clip.info.architecture);
        return CLI_MODEL;
    }
    if (read_texts(s, o, &error) != IVL_OK) {
        return cli_fail(&error);
    }
    if (s->n_texts == 0) {
        cli_say(IVL_LOG_ERROR, "similarity: no text is left (%zu skipped)", s->failed_texts);
        return s->failed_texts ? CLI_SKIPPED : CLI_USAGE;
    }
    return run_images(globals, o, s, started);
}

/* The word of the command line that a value begins in, `before` where no word has it: the later
 * parts of a word that was cut at its commas. */
static int word_of(const char *value, int before, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (value >= argv[i] && value <= argv[i] + strlen(argv[i])) {
            return i;
        }
    }
    return before;
}

/* Values of --images and the positionals behind MODEL, in the order of the command line. */
static const char **list_images(const similarity_options *o, const cli_arguments *arguments,
                                int argc, char **argv, size_t *n)
{
    const char **images = ivl__calloc(o->images.n + arguments->n, sizeof *images);
    size_t option = 0;
    int word = 0;

    *n = 0;
    if (!images) {
        return NULL;
    }
    for (size_t i = 1; i <= arguments->n; i++) {
        int end = i < arguments->n ? word_of(arguments->items[i], 0, argc, argv) : argc;

        for (; option < o->images.n; option++) {
            word = word_of(o->images.items[option], word, argc, argv);
            if (word > end) {
                break;
            }
            images[(*n)++] = o->images.items[option];
        }
        if (i < arguments->n) {
            images[(*n)++] = arguments->items[i];
        }
    }
    return images;
}

static int similarity_of(const cli_globals *globals, similarity_options *o,
                         const cli_arguments *arguments, int argc, char **argv)
{
    double started = ivl__now();
    similarity s = {0};
    const char **images;
    size_t n_images = 0;
    int code = CLI_DONE;

    if (arguments->n == 0) {
        return cli_usage_error("similarity", "a MODEL is missing");
    }
    if (!o->texts && !o->text.n) {
        return cli_usage_error("similarity", "no texts: give --texts FILE or --text STR");
    }
    images = list_images(o, arguments, argc, argv, &n_images);
    if (!images) {
        return cli_fail(&(ivl_error){IVL_OUT_OF_MEMORY, "out of memory for a list of images"});
    }
    if (cli_clip_options_check(&o->clip, "similarity", &code) &&
        cli_picture_options_check(&o->pictures, "similarity", images, n_images, &code)) {
        code = cli_clip_open("similarity", arguments->items[0], &o->clip, &s.clip);
        code = code == CLI_DONE ? run_on(globals, o, &s, started) : code;
    }
    ivl__free(images);
    free_names(s.texts, s.n_texts);
    free_names(s.images, s.n_images);
    ivl__free(s.text_vectors);
    ivl__free(s.image_vectors);
    cli_pair_matcher_free(&s.pairs);
    cli_token_list_free(&s.tokens);
    cli_clip_close(&s.clip);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    similarity_options o = {.json = false};
    cli_option options[CLI_MOST_OPTIONS] = {
        {"images", 0, CLI_LIST, &o.images, "INPUT[,..]", "pictures; further words are pictures too",
         NULL},
        {"texts", 0, CLI_TEXT, &o.texts, "FILE",
         "a text a line, or objects with \"text\" (.jsonl); -", NULL},
        {"text", 0, CLI_STRINGS, &o.text, "STR", "one text; repeatable", NULL},
        {"itm", 0, CLI_FLAG, &o.itm, NULL,
         "also the probability that image and text match (InternVL-G)", NULL},
        {"json", 0, CLI_FLAG, &o.json, NULL, "cosines, logits and probabilities as JSON", NULL},
        {0}};
    cli_arguments arguments = {0};
    int code;

    cli_picture_options_init(&o.pictures);
    o.pictures.resize = "squash";
    o.pictures.no_output = true;
    cli_clip_options_add(&o.clip, options);
    cli_picture_options_add(&o.pictures, options);
    if (cli_options_parse(&cli_similarity, options, argc, argv, &arguments, &code)) {
        code = similarity_of(globals, &o, &arguments, argc, argv);
        cli_picture_options_free(&o.pictures);
        cli_arguments_free(&arguments);
    }
    cli_list_free(&o.images);
    cli_list_free(&o.text);
    return code;
}

const cli_command cli_similarity = {
    .name = "similarity",
    .summary = "how well images and texts go together",
    .synopsis = "MODEL --images INPUT... --texts FILE|--text STR... [OPTIONS]",
    .examples =
        "internvl similarity InternVL-14B-224px --images a.jpg b.jpg --text \"a red panda\"\n"
        "internvl similarity InternVL-14B-224px --images photos/ --texts captions.txt --json\n"
        "internvl similarity internvl_c_13b_224px.pth --tokenizer tokenizer.model --images a.jpg "
        "--text \"a cat\"",
    .run = run,
};
