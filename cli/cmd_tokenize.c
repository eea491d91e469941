/* cmd_tokenize.c - `internvl tokenize`: token ids of texts as the model gets them, and back. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/tokenizer.h"

#include "loader/json_text.h"
#include "loader/text_source.h"
#include "loader/tokenizer_spm.h"
#include "runtime/memory.h"
#include "runtime/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenizing {
    ivl__tokenizer_spm *tokenizer;
    bool raw, decode;
    ivl__token_ids ids;
    ivl__text line;
    uint64_t failed;
} tokenizing;

/* ---- one text -------------------------------------------------------------------------------- */

static ivl_status encode(tokenizing *t, const char *text, size_t bytes, ivl_error *error)
{
    const ivl__spm_model *model = ivl__tokenizer_spm_model(t->tokenizer);

    IVL__TRY(t->raw
                 ? ivl__tokenizer_spm_encode(t->tokenizer, text, bytes, &t->ids, error)
                 : ivl__tokenizer_spm_encode_prompt(t->tokenizer, IVL__SUMMARIZE_PROMPT, text,
                                                    bytes, IVL__SUMMARIZE_TOKENS, &t->ids, error));
    ivl__text_puts(&t->line, "{\"ids\":[");
    for (size_t i = 0; i < t->ids.n; i++) {
        ivl__text_printf(&t->line, i ? ",%d" : "%d", (int)t->ids.ids[i]);
    }
    ivl__text_puts(&t->line, "],\"pieces\":[");
    for (size_t i = 0; i < t->ids.n; i++) {
        ivl__text_puts(&t->line, i ? "," : "");
        ivl__text_json_bytes(&t->line, model->pieces[t->ids.ids[i]].text,
                             model->pieces[t->ids.ids[i]].bytes);
    }
    ivl__text_puts(&t->line, "]}\n");
    return IVL_OK;
}

/* Numbers between blanks, commas or brackets: what `tokenize` prints can be given back. */
static ivl_status parse_ids(const char *text, size_t bytes, ivl__token_ids *ids, ivl_error *error)
{
    const char *end = text + bytes;

    ids->n = 0;
    for (const char *at = text; at < end;) {
        char *after = NULL;
        long id;

        if (strchr(" \t,[]", *at) && *at) {
            at++;
            continue;
        }
        errno = 0;
        id = strtol(at, &after, 10);
        if (after == at || after > end || errno || id < 0 || id > INT32_MAX) {
            return ivl__fail(error, IVL_BAD_INPUT, "'%.20s' is no token id", at);
        }
        if (!ivl__grow((void **)&ids->ids, &ids->capacity, ids->n + 1, sizeof *ids->ids)) {
            return ivl__fail(error, IVL_OUT_OF_MEMORY, "out of memory for token ids");
        }
        ids->ids[ids->n++] = (int32_t)id;
        at = after;
    }
    return IVL_OK;
}

static ivl_status decode(tokenizing *t, const char *text, size_t bytes, ivl_error *error)
{
    char *decoded = NULL;
    size_t n = 0;

    IVL__TRY(parse_ids(text, bytes, &t->ids, error));
    IVL__TRY(ivl__tokenizer_spm_decode(t->tokenizer, t->ids.ids, t->ids.n, &decoded, &n, error));
    ivl__text_puts(&t->line, "{\"text\":");
    ivl__text_json_bytes(&t->line, decoded, n);
    ivl__text_puts(&t->line, "}\n");
    ivl__free(decoded);
    return IVL_OK;
}

/* Prints the result, or counts and names the failure; `where` is "line 7" or "--text 2". */
static ivl_status tokenize(tokenizing *t, const char *where, const char *text, size_t bytes,
                           ivl_error *error)
{
    ivl_error detail = {0};
    ivl_status status;

    ivl__text_clear(&t->line);
    status = t->decode ? decode(t, text, bytes, &detail) : encode(t, text, bytes, &detail);
    if (status == IVL_BAD_INPUT) {
        t->failed++;
        cli_say(IVL_LOG_ERROR, "%s: %s", where, detail.message);
        return IVL_OK;
    }
    if (status == IVL_OK && t->line.failed) {
        status = ivl__fail(&detail, IVL_OUT_OF_MEMORY, "out of memory for a line");
    }
    if (status == IVL_OK && fwrite(t->line.data, 1, t->line.bytes, stdout) != t->line.bytes) {
        status = ivl__fail(&detail, IVL_IO_ERROR, "stdout: %s", strerror(errno));
    }
    return status == IVL_OK ? status : ivl__fail(error, status, "%s: %s", where, detail.message);
}

/* ---- all texts ------------------------------------------------------------------------------- */

static ivl_status tokenize_file(tokenizing *t, const char *path, ivl_error *error)
{
    ivl__text_source *source = NULL;
    ivl__text_item item;
    bool end = false;
    ivl_status status = ivl__text_source_open(path, &source, error);

    while (status == IVL_OK && !cli_stop_requests()) {
        char where[64];

        status = ivl__text_source_next(source, &item, &end, error);
        if (status != IVL_OK || end) {
            break;
        }
        snprintf(where, sizeof where, "line %llu", (unsigned long long)item.line);
        if (item.failed) {
            t->failed++;
            cli_say(IVL_LOG_ERROR, "%s of %s: %s", where, path, item.error_text);
        } else {
            status = tokenize(t, where, item.text, item.bytes, error);
        }
    }
    ivl__text_source_free(source);
    return status;
}

/* MODEL is a folder, or the tokenizer's file itself. */
static ivl_status open_tokenizer(const char *path, ivl__tokenizer_spm **tokenizer, ivl_error *error)
{
    bool folder = ivl__file_kind_of(path) == IVL__FILE_FOLDER;

    return cli_open_tokenizer(path, folder ? NULL : path, 0, tokenizer, error);
}

static int finish(const tokenizing *t, ivl_status status, const ivl_error *error)
{
    int code = status == IVL_OK ? (t->failed ? CLI_SKIPPED : CLI_DONE) : cli_fail(error);

    return status == IVL_OK && cli_stop_requests() ? cli_stop_code() : code;
}

static int tokenize_all(tokenizing *t, const char *model, const char *file, const cli_list *texts)
{
    ivl_error error = {0};
    ivl_status status = open_tokenizer(model, &t->tokenizer, &error);
    int code;

    for (size_t i = 0; status == IVL_OK && i < texts->n; i++) {
        char where[64];

        snprintf(where, sizeof where, "--text %zu", i + 1);
        status = tokenize(t, where, texts->items[i], strlen(texts->items[i]), &error);
    }
    if (status == IVL_OK && file) {
        status = tokenize_file(t, file, &error);
    }
    code = finish(t, status, &error);
    ivl__token_ids_free(&t->ids);
    ivl__text_free(&t->line);
    ivl__tokenizer_spm_free(t->tokenizer);
    return code;
}

static int run(const cli_globals *globals, int argc, char **argv)
{
    tokenizing t = {0};
    const char *file = NULL;
    cli_list texts = {0};
    cli_arguments arguments = {0};
    const cli_option options[] = {
        {"texts", 0, CLI_TEXT, &file, "FILE", "a text a line, or objects with \"text\" (.jsonl); -",
         NULL},
        {"text", 0, CLI_STRINGS, &texts, "STR", "one text; repeatable", NULL},
        {"raw", 0, CLI_FLAG, &t.raw, NULL, "the tokenizer alone: no prompt, BOS, EOS, no cut",
         NULL},
        {"decode", 0, CLI_FLAG, &t.decode, NULL, "texts are lists of ids; prints their text", NULL},
        {0}};
    int code;

    (void)globals;
    if (!cli_options_parse(&cli_tokenize, options, argc, argv, &arguments, &code)) {
        return code;
    }
    if (arguments.n != 1) {
        code = cli_usage_error("tokenize", "needs one MODEL or tokenizer.model, got %zu",
                               arguments.n);
    } else if (!file && !texts.n) {
        code = cli_usage_error("tokenize", "no texts: give --texts FILE or --text STR");
    } else {
        code = tokenize_all(&t, arguments.items[0], file, &texts);
    }
    cli_list_free(&texts);
    cli_arguments_free(&arguments);
    return code;
}

const cli_command cli_tokenize = {
    .name = "tokenize",
    .summary = "token ids of texts, as the model gets them, and back",
    .synopsis = "MODEL|TOKENIZER --texts FILE|--text STR... [--raw] [--decode]",
    .examples = "internvl tokenize InternVL-14B-224px --text \"a red panda\"\n"
                "internvl tokenize tokenizer.model --texts captions.txt --raw\n"
                "internvl tokenize tokenizer.model --decode --text \"1 263 2654 7243 29874 2\"",
    .run = run,
};
