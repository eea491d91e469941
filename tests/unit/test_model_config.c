/* test_model_config.c - config.json of every kind, and what is refused. */
#include "loader/model_config.h"
#include "runtime/memory.h"
#include "runtime/os.h"
#include "tests/test.h"

static ivl_status parse_file(const char *path, ivl__model_config *config, ivl_error *error)
{
    unsigned char *text;
    size_t bytes;
    ivl_status status;

    ivl__model_config_init(config);
    IVL__TRY(ivl__file_read(path, 1000000, &text, &bytes, error));
    status = ivl__model_config_parse((char *)text, bytes, config, error);
    ivl__free(text);
    return status;
}

static void published_configurations_are_read(void **state)
{
    ivl__model_config config;
    ivl_error error = {0};

    (void)state;
    assert_ok(parse_file("golden/vit_rms/config.json", &config, &error), error);
    assert_int_equal(config.architecture, IVL__ARCH_VIT);
    assert_int_equal(config.vit.hidden, 256);
    assert_int_equal(config.vit.layers, 2);
    assert_int_equal(config.vit.heads, 2);
    assert_int_equal(config.vit.mlp, 288);
    assert_int_equal(config.vit.image, 56);
    assert_int_equal(config.vit.patch, 14);
    assert_true(config.vit.qk_norm && !config.vit.qkv_bias && !config.vit.layer_norm);
    assert_true(config.vit.eps == 1e-6);
    assert_ok(parse_file("golden/vit_ln/config.json", &config, &error), error);
    assert_true(!config.vit.qk_norm && config.vit.qkv_bias && config.vit.layer_norm);
}

static ivl_status parse(const char *text, ivl__model_config *config, ivl_error *error)
{
    ivl__model_config_init(config);
    return ivl__model_config_parse(text, strlen(text), config, error);
}

#define DIMENSIONS                                                          \
    "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4," \
    "\"intermediate_size\":96,"

static void composite_configurations_are_told_apart(void **state)
{
    ivl__model_config config;
    ivl_error error = {0};

    (void)state;
    assert_ok(parse("{\"model_type\":\"internvl\",\"vision_config\":{" DIMENSIONS
                    "\"image_size\":28,\"patch_size\":14},\"qllama_config\":{" DIMENSIONS
                    "\"vocab_size\":99,\"cross_attention_frequency\":3},\"clip_embed_dim\":48}",
                    &config, &error),
              error);
    assert_int_equal(config.architecture, IVL__ARCH_14B);
    assert_int_equal(config.qllama.vocab, 99);
    assert_int_equal(config.qllama.kv_heads, 4);
    assert_int_equal(config.cross_attention_frequency, 3);
    assert_int_equal(config.clip_embed_dim, 48);
    assert_int_equal(config.attn_pool_heads, 16);
    assert_int_equal(config.query_tokens, 96);
    assert_ok(parse("{\"model_type\":\"internvl\",\"text_config\":{},\"vision_config\":{"
                    "\"model_type\":\"internvl_vision\"," DIMENSIONS
                    "\"image_size\":[28,28],\"patch_size\":[14,14],\"attention_bias\":true,"
                    "\"use_qk_norm\":false}}",
                    &config, &error),
              error);
    assert_int_equal(config.architecture, IVL__ARCH_CHAT);
    assert_int_equal(config.vit.image, 28);
    assert_true(config.vit.qkv_bias && !config.vit.qk_norm && config.vit.layer_norm);
    assert_fails(parse("{\"model_type\":\"llava\",\"mm_hidden_size\":3200}", &config, &error),
                 IVL_BAD_MODEL, error, "\"llava\"");
}

static void impossible_values_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {"config_not_json.json", "not valid JSON"},
        {"config_missing_key.json", "\"num_hidden_layers\" is missing"},
        {"config_zero_heads.json", "\"num_attention_heads\" is 0"},
        {"config_indivisible.json", "257 is not divisible by 2 heads"},
        {"config_overflow.json", "out of range"},
        {"config_unknown_act.json", "\"relu6x\" is not supported"},
    };
    ivl__model_config config;
    ivl_error error = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[200];

        snprintf(path, sizeof path, "golden/malformed/%s", cases[i][0]);
        assert_fails(parse_file(path, &config, &error), IVL_BAD_MODEL, error, cases[i][1]);
    }
}

static void preprocessor_sizes_are_numbers_or_objects(void **state)
{
    static const struct {
        const char *text;
        int size;
    } cases[] = {
        {"{\"size\":448}", 448},
        {"{\"size\":{\"shortest_edge\":224}}", 224},
        {"{\"size\":{\"height\":56,\"width\":56}}", 56},
        {"{}", 0},
    };
    ivl__model_config config;
    ivl_error error = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ivl__model_config_init(&config);
        assert_ok(
            ivl__preprocessor_config_parse(cases[i].text, strlen(cases[i].text), &config, &error),
            error);
        assert_int_equal(config.size, cases[i].size);
        assert_true(config.mean[0] == 0.485f && config.std[2] == 0.225f);
    }
    assert_fails(ivl__preprocessor_config_parse("{\"image_std\":[0,1,1]}", 21, &config, &error),
                 IVL_BAD_MODEL, error, "image_std");
}

static void every_known_architecture_is_sound(void **state)
{
    ivl__model_config config;
    ivl_error error = {0};
    size_t n = 0;

    (void)state;
    for (const ivl__known_architecture *it; (it = ivl__known_architecture_at(n)); n++) {
        const ivl__vit_config *vit = &it->config.vit;

        assert_ok(ivl__known_architecture_find(it->name, &config, &error), error);
        assert_int_equal(vit->hidden % vit->heads, 0);
        assert_int_equal(vit->image % vit->patch, 0);
        assert_int_equal(vit->channels, 3);
        assert_true(it->config.std[0] > 0);
        assert_true(it->config.architecture == IVL__ARCH_VIT || it->config.qllama.vocab > 0);
    }
    assert_int_equal(n, 8);
    assert_fails(ivl__known_architecture_find("resnet", &config, &error), IVL_INVALID_ARGUMENT,
                 error, "internvit-300m-448");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_configurations_are_read),
        cmocka_unit_test(composite_configurations_are_told_apart),
        cmocka_unit_test(impossible_values_are_refused),
        cmocka_unit_test(preprocessor_sizes_are_numbers_or_objects),
        cmocka_unit_test(every_known_architecture_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
