/* Tokenizer: recorded ids of SentencePiece and of the published call, decoding, hostile files. */
#include "tests/test.h"

#include "loader/spm_writer.h"
#include "loader/tokenizer_spm.h"
#include "loader/utf8.h"
#include "runtime/file.h"
#include "runtime/memory.h"

#include <jansson.h>

static ivl__tokenizer_spm *open_tokenizer(const char *path)
{
    ivl__tokenizer_spm *tokenizer = NULL;
    ivl_error error = {0};

    assert_ok(ivl__tokenizer_spm_open(path, &tokenizer, &error), error);
    return tokenizer;
}

static void check_ids(const char *text, const char *what, const json_t *want,
                      const ivl__token_ids *got)
{
    size_t n = json_array_size(want);

    for (size_t i = 0; i < n || i < got->n; i++) {
        long long expected = i < n ? json_integer_value(json_array_get(want, i)) : -1;
        long long id = i < got->n ? got->ids[i] : -1;

        if (expected != id) {
            fail_msg("\"%.80s\", %s: token %zu is %lld, wanted %lld", text, what, i, id, expected);
        }
    }
}

static void check_decoded(const ivl__tokenizer_spm *tokenizer, const char *text,
                          const ivl__token_ids *ids, const json_t *want)
{
    ivl_error error = {0};
    char *decoded = NULL;
    size_t bytes = 0;

    assert_ok(ivl__tokenizer_spm_decode(tokenizer, ids->ids, ids->n, &decoded, &bytes, &error),
              error);
    if (bytes != json_string_length(want) || memcmp(decoded, json_string_value(want), bytes) != 0) {
        fail_msg("\"%.80s\" is decoded as \"%.80s\", wanted \"%.80s\"", text, decoded,
                 json_string_value(want));
    }
    ivl__free(decoded);
}

static size_t check_cases(const char *model, const char *cases_path)
{
    ivl__tokenizer_spm *tokenizer = open_tokenizer(model);
    json_error_t json_error;
    json_t *root = json_load_file(cases_path, JSON_ALLOW_NUL, &json_error);
    json_t *cases = json_object_get(root, "cases");
    ivl__token_ids ids = {0};
    ivl_error error = {0};
    size_t n = json_array_size(cases);

    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(cases, i);
        const json_t *text = json_object_get(c, "text");
        const char *string = json_string_value(text);
        size_t bytes = json_string_length(text);

        assert_ok(ivl__tokenizer_spm_encode(tokenizer, string, bytes, &ids, &error), error);
        check_ids(string, "alone", json_object_get(c, "sentencepiece_ids"), &ids);
        if (json_object_get(c, "decoded")) {
            check_decoded(tokenizer, string, &ids, json_object_get(c, "decoded"));
        }
        assert_ok(ivl__tokenizer_spm_encode_prompt(tokenizer, IVL__SUMMARIZE_PROMPT, string, bytes,
                                                   IVL__SUMMARIZE_TOKENS, &ids, &error),
                  error);
        /* Special-token text is plain text here, on purpose. */
        if (!json_is_true(json_object_get(c, "special_literal_in_text"))) {
            check_ids(string, "with its prompt", json_object_get(c, "summarize_ids"), &ids);
        }
        assert_in_range(ids.n, 2, IVL__SUMMARIZE_TOKENS);
        assert_int_equal(ids.ids[0], ivl__tokenizer_spm_model(tokenizer)->bos_id);
        assert_int_equal(ids.ids[ids.n - 1], ivl__tokenizer_spm_model(tokenizer)->eos_id);
    }
    ivl__token_ids_free(&ids);
    json_decref(root);
    ivl__tokenizer_spm_free(tokenizer);
    return n;
}

static void recorded_ids(void **state)
{
    (void)state;
    assert_int_equal(check_cases("golden/tokenizer/tiny.model", "golden/tokenizer/tiny_cases.json"),
                     304);
}

/* The real vocabulary of 49,954 pieces is too large for this repository. */
static void recorded_ids_of_qllama(void **state)
{
    const char *folder = getenv("IVL_TEST_DATA");
    char path[4096];

    (void)state;
    snprintf(path, sizeof path, "%s/qllama_tokenizer.model", folder ? folder : "");
    if (!folder || !ivl__file_exists(path)) {
        print_message("skipped: qllama_tokenizer.model is not here (IVL_TEST_DATA names its "
                      "folder)\n");
        skip();
    }
    assert_int_equal(check_cases(path, "golden/tokenizer/qllama_cases.json"), 244);
}

static void invalid_utf8_is_named(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *at;
    } cases[] = {
        {"abc\xff", 4, "byte 3 (0xff)"},          {"\xc0\x80", 2, "byte 0 (0xc0)"},
        {"a\xed\xa0\x80", 4, "byte 1 (0xed)"},    {"caf\xc3", 4, "byte 3 (0xc3)"},
        {"\xf4\x90\x80\x80", 4, "byte 0 (0xf4)"}, {"ok \x80", 4, "byte 3 (0x80)"},
    };
    ivl__tokenizer_spm *tokenizer = open_tokenizer("golden/tokenizer/tiny.model");
    ivl__token_ids ids = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl_error error = {0};

        assert_fails(
            ivl__tokenizer_spm_encode(tokenizer, cases[i].text, cases[i].bytes, &ids, &error),
            IVL_BAD_INPUT, error, cases[i].at);
    }
    ivl__token_ids_free(&ids);
    ivl__tokenizer_spm_free(tokenizer);
}

/* Any text comes back from its ids, NUL bytes and characters outside the vocabulary included. */
static void texts_come_back(void **state)
{
    static const char text[] =
        "a\0b  \xf0\x9f\x98\x80 \xe7\x8c\xab</s> <unk>[PAD]\r\n\t \xef\xbf\xbd";
    ivl__tokenizer_spm *tokenizer = open_tokenizer("golden/tokenizer/tiny.model");
    ivl__token_ids ids = {0};
    ivl_error error = {0};
    char *back = NULL;
    size_t bytes = 0;

    (void)state;
    assert_ok(ivl__tokenizer_spm_encode(tokenizer, text, sizeof text - 1, &ids, &error), error);
    assert_ok(ivl__tokenizer_spm_decode(tokenizer, ids.ids, ids.n, &back, &bytes, &error), error);
    assert_int_equal(bytes, sizeof text - 1);
    assert_memory_equal(back, text, bytes);
    ivl__free(back);
    ids.ids[0] = 797;
    assert_fails(ivl__tokenizer_spm_decode(tokenizer, ids.ids, ids.n, &back, &bytes, &error),
                 IVL_BAD_INPUT, error, "ids 0 to 796");
    ivl__token_ids_free(&ids);
    ivl__tokenizer_spm_free(tokenizer);
}

/* A long text whose parts merge in every order: what a quadratic encoder would not finish. */
static void long_texts_are_encoded(void **state)
{
    const size_t bytes = 1000000;
    ivl__tokenizer_spm *tokenizer = open_tokenizer("golden/tokenizer/tiny.model");
    char *text = ivl__malloc(bytes);
    ivl__token_ids ids = {0};
    ivl_error error = {0};
    char *back = NULL;
    size_t n_back = 0;

    (void)state;
    for (size_t i = 0; i < bytes; i++) {
        text[i] = "a photo of the cat "[i % 19];
    }
    assert_ok(ivl__tokenizer_spm_encode(tokenizer, text, bytes, &ids, &error), error);
    assert_ok(ivl__tokenizer_spm_decode(tokenizer, ids.ids, ids.n, &back, &n_back, &error), error);
    assert_int_equal(n_back, bytes);
    assert_memory_equal(back, text, bytes);
    ivl__free(back);
    ivl__free(text);
    ivl__token_ids_free(&ids);
    ivl__tokenizer_spm_free(tokenizer);
}

/* ---- the definition, word for word --------------------------------------------------------- */

#define MAX_PARTS 400

typedef struct part {
    const char *text;
    uint32_t bytes;
} part;

static int find_piece(const ivl__spm_model *model, const char *text, uint32_t bytes)
{
    for (size_t i = 0; i < model->n_pieces; i++) {
        const ivl__spm_piece *piece = &model->pieces[i];

        if (piece->type == IVL__SPM_NORMAL && piece->bytes == bytes &&
            memcmp(piece->text, text, bytes) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Merges the best neighbours, the leftmost among equals, until there are none; `n` parts are left.
 */
static size_t merge_by_definition(const ivl__spm_model *model, part *parts, size_t n)
{
    for (;;) {
        size_t best = n;
        float score = 0.0f;

        for (size_t i = 0; i + 1 < n; i++) {
            int piece = find_piece(model, parts[i].text, parts[i].bytes + parts[i + 1].bytes);

            if (piece >= 0 && (best == n || model->pieces[piece].score > score)) {
                best = i;
                score = model->pieces[piece].score;
            }
        }
        if (best == n) {
            return n;
        }
        parts[best].bytes += parts[best + 1].bytes;
        memmove(parts + best + 1, parts + best + 2, (n - best - 2) * sizeof *parts);
        n--;
    }
}

/* Random characters and pieces, written as the encoder sees them: blanks as U+2581. */
static size_t random_text(const ivl__spm_model *model, uint64_t *state, char *text)
{
    static const char *const characters[] = {"a", "t", "1", "\xe2\x96\x81", "\xe7\x8c\xab", "~"};
    size_t bytes = 3;

    memcpy(text, "\xe2\x96\x81", 3); /* the blank in front */
    while (bytes < 100) {
        const char *from = characters[test_random(state) % 6];
        size_t length = strlen(from);
        const ivl__spm_piece *piece = &model->pieces[test_random(state) % model->n_pieces];

        if (piece->type == IVL__SPM_NORMAL && test_random(state) % 2) {
            from = piece->text;
            length = piece->bytes;
        }
        memcpy(text + bytes, from, length);
        bytes += length;
    }
    return bytes;
}

/* Texts are cut where nothing can be merged: that must not change an id. */
static void ids_follow_the_definition(void **state)
{
    ivl__tokenizer_spm *tokenizer = open_tokenizer("golden/tokenizer/tiny.model");
    const ivl__spm_model *model = ivl__tokenizer_spm_model(tokenizer);
    ivl__token_ids ids = {0};
    ivl_error error = {0};
    uint64_t seed = 5;

    (void)state;
    for (int round = 0; round < 100; round++) {
        char text[MAX_PARTS];
        part parts[MAX_PARTS];
        size_t bytes = random_text(model, &seed, text);
        size_t n = 0;
        size_t at = 0;

        for (size_t i = 0; i < bytes; n++) {
            parts[n] = (part){text + i, (uint32_t)ivl__utf8_decode(text + i, bytes - i, NULL)};
            i += parts[n].bytes;
        }
        n = merge_by_definition(model, parts, n);
        /* U+2581 in a text stays what it is, as a blank would become it. */
        assert_ok(ivl__tokenizer_spm_encode(tokenizer, text + 3, bytes - 3, &ids, &error), error);
        for (size_t i = 0; i < n; i++) {
            int piece = find_piece(model, parts[i].text, parts[i].bytes);

            for (uint32_t b = 0; piece < 0 && b < parts[i].bytes; b++) {
                assert_int_equal(ids.ids[at++], model->byte_ids[(unsigned char)parts[i].text[b]]);
            }
            if (piece >= 0) {
                assert_int_equal(ids.ids[at++], piece);
            }
        }
        assert_int_equal(at, ids.n);
    }
    ivl__token_ids_free(&ids);
    ivl__tokenizer_spm_free(tokenizer);
}

static void broken_files_are_refused(void **state)
{
    static const struct {
        const char *path, *text;
    } cases[] = {
        {"golden/malformed/spm_empty.model", "0 bytes"},
        {"golden/malformed/spm_group_wire_type.model", "unknown wire type"},
        {"golden/malformed/spm_is_text.model", "not a SentencePiece model"},
        {"golden/malformed/spm_length_past_end.model", "middle of a field"},
        {"golden/malformed/spm_truncated.model", "damaged"},
        {"golden/tokenizer/nothing.model", "nothing.model"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__tokenizer_spm *tokenizer = NULL;
        ivl_error error = {0};
        ivl_status status = ivl__tokenizer_spm_open(cases[i].path, &tokenizer, &error);

        if (status == IVL_OK || !strstr(error.message, cases[i].text)) {
            fail_msg("%s: %s \"%s\"", cases[i].path, ivl_status_name(status), error.message);
        }
        assert_null(tokenizer);
    }
}

/* Every prefix and every single damaged byte of a model: an error or a tokenizer, never worse. */
static void damage_does_no_harm(void **state)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    ivl__token_ids ids = {0};
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__file_read("golden/tokenizer/tiny.model", 1 << 20, &data, &bytes, &error), error);
    for (size_t i = 0; i < bytes; i += 7) {
        ivl__tokenizer_spm *tokenizer = NULL;

        assert_int_not_equal(ivl__tokenizer_spm_parse(data, i, &tokenizer, &error), IVL_OK);
        data[i] ^= 0x55;
        if (ivl__tokenizer_spm_parse(data, bytes, &tokenizer, &error) == IVL_OK) {
            assert_ok(
                ivl__tokenizer_spm_encode(tokenizer, "a photo \xe7\x8c\xab", 11, &ids, &error),
                error);
            assert_true(ids.n > 0);
            ivl__tokenizer_spm_free(tokenizer);
        }
        data[i] ^= 0x55;
    }
    ivl__token_ids_free(&ids);
    ivl__free(data);
}

/* Stand-ins of any size are read, encode any text, and their longer pieces are reached by merges.
 */
static void stand_ins_are_tokenizers(void **state)
{
    static const struct {
        size_t pieces, tokens; /* of "baba" */
    } cases[] = {{260, 5}, {261, 5}, {400, 3}, {797, 2}, {49954, 1}};
    static const char text[] = "a photo of the cat, \xe7\x8c\xab\n";

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__tokenizer_spm *tokenizer = NULL;
        ivl__token_ids ids = {0};
        ivl__text file = {0};
        ivl_error error = {0};
        char *back = NULL;
        size_t bytes = 0;

        ivl__spm_write_stand_in(cases[i].pieces, &file);
        assert_false(file.failed);
        assert_ok(ivl__tokenizer_spm_parse(file.data, file.bytes, &tokenizer, &error), error);
        assert_int_equal(ivl__tokenizer_spm_model(tokenizer)->n_pieces, cases[i].pieces);
        assert_ok(ivl__tokenizer_spm_encode(tokenizer, text, sizeof text - 1, &ids, &error), error);
        assert_ok(ivl__tokenizer_spm_decode(tokenizer, ids.ids, ids.n, &back, &bytes, &error),
                  error);
        assert_string_equal(back, text);
        ivl__free(back);
        assert_ok(ivl__tokenizer_spm_encode(tokenizer, "baba", 4, &ids, &error), error);
        assert_int_equal(ids.n, cases[i].tokens);
        ivl__token_ids_free(&ids);
        ivl__tokenizer_spm_free(tokenizer);
        ivl__text_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_ids),
        cmocka_unit_test(recorded_ids_of_qllama),
        cmocka_unit_test(invalid_utf8_is_named),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(long_texts_are_encoded),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(damage_does_no_harm),
        cmocka_unit_test(stand_ins_are_tokenizers),
        cmocka_unit_test(ids_follow_the_definition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
