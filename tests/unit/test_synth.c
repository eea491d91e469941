/* test_synth.c - stand-in checkpoints: one seed is one model in every layout and naming, names and
 * sizes are the published ones, and whatever goes wrong leaves nothing behind. */
#include "loader/tensor_table.h"
#include "loader/tensor_writer_layout.h"
#include "model/internvl.h"
#include "model/synth_tensors.h"
#include "runtime/file.h"
#include "runtime/memory.h"
#include "tests/folder.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <zlib.h>

static const char *const namings[] = {"hub", "pth", "hf"};
static const char *const layouts[] = {"safetensors", "sharded", "bin", "pth"};
static const char *const dtypes[] = {"bf16", "fp16", "fp32"};

static ivl_synth_options options_of(const char *arch)
{
    ivl_synth_options options;

    ivl_synth_options_init(&options);
    options.arch = arch;
    options.seed = 5;
    return options;
}

static ivl_model *open_model(const char *path, const char *arch)
{
    ivl_model_options options;
    ivl_error error = {0};
    ivl_model *model = NULL;

    ivl_model_options_init(&options);
    options.arch = arch;
    assert_ok(ivl_model_open(path, &options, &model, &error), error);
    return model;
}

static ivl_model_info info_of(const ivl_model *model)
{
    ivl_model_info info;

    ivl_model_get_info(model, &info);
    return info;
}

static int entries_of(const char *path)
{
    DIR *list = opendir(path);
    int n = 0;

    while (list && readdir(list)) {
        n++;
    }
    if (list) {
        closedir(list);
    }
    return n - 2;
}

static void start_over(void)
{
    folder_empty(folder);
    assert_int_equal(entries_of(folder), 0);
}

/* ---- every form of one model ------------------------------------------------------------- */

static void check_form(const ivl_synth_options *options, const char *id, const char *full)
{
    const char *path = in_folder("model");
    ivl_error error = {0};
    ivl_model_info info;
    ivl_model *model;
    char hex[65];

    assert_ok(ivl_synth(options, path, &error), error);
    model = open_model(path, NULL);
    info = info_of(model);
    assert_string_equal(info.naming, options->naming);
    assert_string_equal(info.dtype, options->dtype);
    if (*id) {
        assert_string_equal(info.model_id, id);
        assert_ok(ivl_model_full_hash(model, hex, &error), error);
        assert_string_equal(hex, full);
    }
    ivl_model_free(model);
    start_over();
}

/* All bytes of all roles are equal wherever the dtype is. */
static void check_all_forms(const char *arch)
{
    for (size_t d = 0; d < 3; d++) {
        ivl_synth_options options = options_of(arch);
        ivl_error error = {0};
        char id[65], full[65];
        ivl_model *model;

        options.dtype = dtypes[d];
        assert_ok(ivl_synth(&options, in_folder("first"), &error), error);
        model = open_model(in_folder("first"), NULL);
        snprintf(id, sizeof id, "%s", info_of(model).model_id);
        assert_ok(ivl_model_full_hash(model, full, &error), error);
        ivl_model_free(model);
        start_over();
        for (size_t n = 0; n < 3; n++) {
            for (size_t l = 0; l < 4; l++) {
                options.naming = namings[n];
                options.layout = layouts[l];
                check_form(&options, id, full);
            }
        }
    }
}

static void test_forms_of_tiny(void **state)
{
    (void)state;
    check_all_forms("tiny");
}

static void test_forms_of_tiny_14b(void **state)
{
    (void)state;
    check_all_forms("tiny-14b");
}

/* Parameters by part, from the shapes (width 160 of the tower, 128 of QLLaMA; MLP 168; 797 tokens;
 * 96 queries; embeddings of 48). A pooling block of width d has 3 d^2 for q, k, v and 48 d for its
 * projection, nine vectors of d and a bias. The head of captions is all that is not run. */
static void test_parts_of_14b(void **state)
{
    enum { V = 160, H = 128, F = 168, T = 797, E = 48 };
    const uint64_t cross = 2 * H * H + 2 * H * V + H + V;
    const uint64_t layer = 4 * H * H + 3 * H * F + 2 * H;
    const struct {
        const char *name;
        uint64_t parameters;
    } parts[] = {{"text", T * H + 4 * layer + H + H * E + 1},
                 {"c", 3 * V * V + V * E + 9 * V + E},
                 {"g", 96 * H + 2 * cross + 3 * H * H + H * E + 9 * H + E + 2 * H + 2}};
    ivl_synth_options options = options_of("tiny-14b");
    ivl_error error = {0};
    ivl_model_info info;
    ivl_model *model;

    (void)state;
    assert_ok(ivl_synth(&options, in_folder("model"), &error), error);
    model = open_model(in_folder("model"), NULL);
    info = info_of(model);
    assert_string_equal(info.architecture, "InternVL-14B");
    assert_int_equal(info.n_unused, 1);
    assert_string_equal(info.unused[0].prefix, "qllama.lm_head.");
    assert_int_equal(info.unused[0].tensors, 1);
    assert_int_equal(info.n_parts, 4);
    for (int i = 0; i < 3; i++) {
        int at = 0;

        while (at < info.n_parts && strcmp(info.parts[at].name, parts[i].name) != 0) {
            at++;
        }
        assert_true(at < info.n_parts);
        assert_int_equal(info.parts[at].parameters, parts[i].parameters);
    }
    /* A logarithm between 2 and 4 in bf16: off by at most 2^-7. */
    assert_true(fabs(log(info.logit_scale * 0.07)) <= 0x1p-7);
    ivl_model_free(model);
}

static void check_tensor(const ivl__tensor_table *table, const char *name, int rank, uint64_t rows,
                         uint64_t columns)
{
    const ivl__tensor_entry *entry = ivl__tensor_table_find(table, name);

    if (!entry) {
        fail_msg("\"%s\" is not in the checkpoint", name);
    }
    assert_int_equal(entry->rank, rank);
    assert_true(rank < 1 || entry->shape[0] == rows);
    assert_true(rank < 2 || entry->shape[1] == columns);
}

static void test_names_of_14b(void **state)
{
    ivl_synth_options options = options_of("tiny-14b");
    ivl_error error = {0};
    ivl__tensor_table *table;
    const ivl__tensor_entry *scale;

    (void)state;
    options.dtype = "fp32";
    assert_ok(ivl_synth(&options, in_folder("model"), &error), error);
    assert_ok(ivl__tensor_table_open(in_folder("model"), &table, &error), error);
    check_tensor(table, "vision_model.encoder.layers.1.attn.qkv.weight", 2, 480, 160);
    check_tensor(table, "qllama.model.layers.2.cross_attn.k_proj.weight", 2, 128, 160);
    check_tensor(table, "qllama.model.layers.2.cross_attn.norm2.weight", 1, 160, 0);
    check_tensor(table, "qllama.model.layers.3.mlp.down_proj.weight", 2, 128, 168);
    check_tensor(table, "qllama.lm_head.weight", 2, 797, 128);
    check_tensor(table, "clip_projector.cross_attn.q_bias", 1, 160, 0);
    check_tensor(table, "clip_projector.cross_attn.proj.weight", 2, 48, 160);
    check_tensor(table, "clip_projector2.norm1_v.bias", 1, 128, 0);
    check_tensor(table, "text_projection", 2, 128, 48);
    check_tensor(table, "query_tokens", 3, 1, 96);
    check_tensor(table, "itm_head.weight", 2, 2, 128);
    check_tensor(table, "logit_scale", 0, 0, 0);
    assert_null(ivl__tensor_table_find(table, "qllama.model.layers.1.cross_attn.norm1.weight"));
    scale = ivl__tensor_table_find(table, "logit_scale");
    assert_true(ivl__dtype_load(IVL_F32, scale->data, 0) == (float)log(1 / 0.07));
    ivl__tensor_table_free(table);
}

/* Counts of the published checkpoints, summed up from their configurations. */
static void test_published_sizes(void **state)
{
    static const struct {
        const char *arch;
        size_t tensors;
        uint64_t parameters;
    } published[] = {
        {"internvit-6b-224", 628, 5902793600u},      {"internvit-6b-448-v1-0", 628, 5905251200u},
        {"internvit-6b-448-v1-5", 589, 5536496000u}, {"internvit-300m-448", 340, 304012288u},
        {"internvl-14b-224", 1048, 13834975747u},    {"internvl-c-13b-224", 934, 12620029697u},
    };

    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        ivl__synth_tensors tensors = {0};
        ivl__model_config config;
        ivl_error error = {0};
        uint64_t parameters = 0;

        assert_ok(ivl__known_architecture_find(published[i].arch, &config, &error), error);
        assert_ok(ivl__synth_tensors_list(&config, "hub", &tensors, &error), error);
        for (size_t t = 0; t < tensors.count; t++) {
            uint64_t n = 1;

            for (int d = 0; d < tensors.items[t].rank; d++) {
                n *= tensors.items[t].shape[d];
            }
            parameters += n;
        }
        assert_int_equal(tensors.count, published[i].tensors);
        assert_int_equal(parameters, published[i].parameters);
        ivl__free(tensors.items);
    }
}

static void test_single_files(void **state)
{
    static const char *const names[] = {"a.safetensors", "b.bin", "c.pth"};
    ivl_synth_options options = options_of("tiny");
    ivl_error error = {0};
    char first[65] = "";

    (void)state;
    for (int i = 0; i < 3; i++) {
        ivl_model *model;

        assert_ok(ivl_synth(&options, in_folder(names[i]), &error), error);
        model = open_model(in_folder(names[i]), "tiny");
        assert_string_equal(info_of(model).naming, i == 2 ? "pth" : "hub");
        if (!*first) {
            snprintf(first, sizeof first, "%s", info_of(model).model_id);
        }
        assert_string_equal(info_of(model).model_id, first);
        ivl_model_free(model);
    }
    assert_int_equal(entries_of(folder), 3);
    options.layout = "sharded";
    assert_fails(ivl_synth(&options, in_folder("d.bin"), &error), IVL_INVALID_ARGUMENT, error,
                 "d.bin' ends like a file of layout bin, not sharded");
}

/* ---- values ------------------------------------------------------------------------------ */

/* 16-bit weights are the fp32 weights, rounded to nearest even. */
static void test_rounding(void **state)
{
    ivl__tensor_table *tables[3];
    ivl_error error = {0};
    size_t compared = 0;

    (void)state;
    for (int d = 0; d < 3; d++) {
        ivl_synth_options options = options_of("tiny");

        options.dtype = dtypes[d];
        assert_ok(ivl_synth(&options, in_folder(dtypes[d]), &error), error);
        assert_ok(ivl__tensor_table_open(in_folder(dtypes[d]), &tables[d], &error), error);
    }
    for (size_t t = 0; t < tables[2]->count; t++) {
        for (size_t i = 0; i < tables[2]->entries[t].elements; i++, compared++) {
            float exact = ivl__dtype_load(IVL_F32, tables[2]->entries[t].data, i);
            float bf16 = ivl__dtype_load(IVL_BF16, tables[0]->entries[t].data, i);
            float fp16 = ivl__dtype_load(IVL_F16, tables[1]->entries[t].data, i);

            assert_true(bf16 == ivl__bf16_to_float(ivl__float_to_bf16(exact)));
            assert_true(fp16 == ivl__f16_to_float(ivl__float_to_f16(exact)));
        }
    }
    assert_int_equal(compared, 342400);
    for (int d = 0; d < 3; d++) {
        ivl__tensor_table_free(tables[d]);
    }
}

/* n values uniform over -1 .. 1: their mean has deviation sqrt(1 / 3 n) and the mean of their
 * squares sqrt(4 / 45 n) around 1 / 3; so has the product of neighbours, 1 / 3 sqrt(1 / n), around
 * 0. Five deviations are one case in 1.7 million, and the numbers are fixed. */
static void test_distribution(void **state)
{
    enum { N = 1 << 20 };
    float *values = ivl__malloc(N * sizeof *values);
    ivl__synth_range range = ivl__synth_range_of(0, 1);
    double sum = 0, squares = 0, neighbours = 0;

    (void)state;
    assert_non_null(values);
    ivl__synth_fill(ivl__synth_key(5, "some role"), &range, 0, N, IVL_F32, values);
    for (int i = 0; i < N; i++) {
        double x = (double)values[i];

        assert_true(x >= -1 && x <= 1);
        sum += x;
        squares += x * x;
        neighbours += i ? x * (double)values[i - 1] : 0;
    }
    assert_true(fabs(sum / N) < 5 * sqrt(1.0 / 3 / N));
    assert_true(fabs(squares / N - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
    assert_true(fabs(neighbours / N) < 5.0 / 3 * sqrt(1.0 / N));
    ivl__free(values);
}

/* Any stretch is that of the whole, whatever it begins with. */
static void test_pieces(void **state)
{
    enum { N = 5000 };
    static uint16_t whole[N], part[N];
    ivl__synth_range range = ivl__synth_range_of(1, 0.5);
    uint64_t key = ivl__synth_key(7, "role");
    static const size_t begins[] = {0, 1, 2, 3, 4, 1019, 1020, 1021, 2047, 4998};

    (void)state;
    ivl__synth_fill(key, &range, 0, N, IVL_BF16, whole);
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        ivl__synth_fill(key, &range, begins[i], N - begins[i], IVL_BF16, part);
        assert_memory_equal(part, whole + begins[i], (N - begins[i]) * sizeof *part);
    }
    ivl__synth_fill(ivl__synth_key(8, "role"), &range, 0, N, IVL_BF16, part);
    assert_memory_not_equal(part, whole, sizeof whole);
    ivl__synth_fill(ivl__synth_key(7, "rolf"), &range, 0, N, IVL_BF16, part);
    assert_memory_not_equal(part, whole, sizeof whole);
}

/* ---- settings ---------------------------------------------------------------------------- */

static void synth_with(const char *arch, const char *naming, const char *setting,
                       ivl_model_info *info, ivl_model **model)
{
    ivl_synth_options options = options_of(arch);
    ivl_error error = {0};

    options.naming = naming;
    options.settings = &setting;
    options.n_settings = 1;
    assert_ok(ivl_synth(&options, in_folder("model"), &error), error);
    *model = open_model(in_folder("model"), NULL);
    *info = info_of(*model);
    start_over();
}

static void test_settings(void **state)
{
    ivl_model_info info;
    ivl_model *model;

    (void)state;
    synth_with("tiny", "hub", "num_hidden_layers=3", &info, &model);
    assert_int_equal(info.layers, 3);
    ivl_model_free(model);
    synth_with("tiny", "hub", "norm_type=layer_norm", &info, &model);
    assert_string_equal(info.norm, "layer_norm");
    ivl_model_free(model);
    synth_with("tiny", "hf", "image_size=84", &info, &model);
    assert_int_equal(info.image_size, 84);
    ivl_model_free(model);
    synth_with("tiny", "hf", "qkv_bias=true", &info, &model);
    assert_true(info.qkv_bias);
    ivl_model_free(model);
    synth_with("tiny", "pth", "layer_norm_eps=1e-5", &info, &model);
    assert_true(info.norm_eps == 1e-5);
    ivl_model_free(model);
    synth_with("tiny-14b", "hub", "vision_config.num_hidden_layers=1", &info, &model);
    assert_int_equal(info.layers, 1);
    ivl_model_free(model);
    synth_with("tiny-14b", "hub", "force_image_size=84", &info, &model);
    assert_int_equal(info.image_size, 84);
    ivl_model_free(model);
    synth_with("tiny-14b", "hub", "qllama_config.num_hidden_layers=2", &info, &model);
    assert_int_equal(info.text_layers, 2);
    ivl_model_free(model);
}

static void test_bad_settings(void **state)
{
    static const struct {
        const char *arch, *setting, *text;
    } bad[] = {
        {"tiny", "layers=3", "known are architectures, attention_dropout"},
        {"tiny", "layers=3", "num_hidden_layers"},
        {"tiny", "num_hidden_layers", "not of the form key=value"},
        {"tiny", "=3", "not of the form key=value"},
        {"tiny", "num_hidden_layers=", "num_hidden_layers is a whole number"},
        {"tiny", "num_hidden_layers=2x", "num_hidden_layers is a whole number"},
        {"tiny", "num_hidden_layers= 2", "num_hidden_layers is a whole number"},
        {"tiny", "num_hidden_layers=99999999999999999999", "num_hidden_layers is a whole number"},
        {"tiny", "num_hidden_layers=-1", "\"num_hidden_layers\" is -1, out of range 1 .. 1024"},
        {"tiny", "layer_norm_eps=small", "layer_norm_eps is a number"},
        {"tiny", "layer_norm_eps=nan", "layer_norm_eps is a number"},
        {"tiny", "qkv_bias=yes", "qkv_bias is true or false"},
        {"tiny", "image_size=57", "image_size 57 is not divisible by patch_size 14"},
        {"tiny", "num_attention_heads=3", "hidden_size 128 is not divisible by 3 heads"},
        {"tiny", "norm_type=batch", "norm_type \"batch\" is not supported"},
        {"tiny", "vision_config.hidden_size=64", "no such key"},
        {"tiny", "_name_or_path=x", "no such key"},
        {"tiny-14b", "num_hidden_layers=3", "qllama_config.<key>"},
        {"tiny-14b", "qllama_config=3", "set by its keys, with a dot"},
        {"tiny-14b", "qllama_config.vocab=3", "vocab_size"},
        {"tiny-14b", "force_image_size=57", "no multiple of patch_size 14"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ivl_synth_options options = options_of(bad[i].arch);
        ivl_error error = {0};

        options.settings = &bad[i].setting;
        options.n_settings = 1;
        assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                     bad[i].text);
    }
    assert_int_equal(entries_of(folder), 0);
}

static void test_bad_names(void **state)
{
    ivl_synth_options options = options_of("internvit-7b");
    ivl_error error = {0};

    (void)state;
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "unknown architecture \"internvit-7b\"; known are internvit-6b-224,");
    options = options_of("tiny");
    options.dtype = "int8";
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "unknown dtype \"int8\"; known are bf16, fp16 and fp32");
    options = options_of("tiny");
    options.layout = "gguf";
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "unknown layout \"gguf\"; known are safetensors, sharded, bin and pth");
    options = options_of("tiny");
    options.naming = "timm";
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "unknown naming \"timm\"; known are hub, pth and hf");
    assert_int_equal(entries_of(folder), 0);
}

/* ---- files ------------------------------------------------------------------------------- */

static void assert_same_file(const char *a, const char *b)
{
    unsigned char *data[2];
    size_t bytes[2];
    ivl_error error = {0};

    assert_ok(ivl__file_read(a, 1 << 26, &data[0], &bytes[0], &error), error);
    assert_ok(ivl__file_read(b, 1 << 26, &data[1], &bytes[1], &error), error);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(data[0], data[1], bytes[0]);
    ivl__free(data[0]);
    ivl__free(data[1]);
}

/* Whatever the number of threads. The one large tensor is made in several pieces. */
static void test_same_bytes(void **state)
{
    static const char *const files[][2] = {{"a/model.safetensors", "b/model.safetensors"},
                                           {"a/config.json", "b/config.json"},
                                           {"c/pytorch_model.bin", "d/pytorch_model.bin"}};
    static const char *const setting = "intermediate_size=60000";
    ivl_error error = {0};

    (void)state;
    for (int i = 0; i < 4; i++) {
        ivl_synth_options options = options_of("tiny");
        char name[2] = {(char)('a' + i), 0};

        options.layout = i < 2 ? "safetensors" : "bin";
        options.threads = i % 2 ? 3 : 1;
        options.settings = &setting;
        options.n_settings = 1;
        assert_ok(ivl_synth(&options, in_folder(name), &error), error);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_same_file(in_folder(files[i][0]), in_folder(files[i][1]));
    }
}

static uint32_t little(const unsigned char *at, int bytes)
{
    uint32_t value = 0;

    for (int i = bytes; i-- > 0;) {
        value = value << 8 | at[i];
    }
    return value;
}

/* What unzip would check: checksums put together from pieces, and data on multiples of 64. */
static void test_zip_members(void **state)
{
    static const char *const setting = "intermediate_size=60000";
    ivl_synth_options options = options_of("tiny");
    ivl_error error = {0};
    unsigned char *data;
    size_t bytes, at = 0;
    int members = 0;

    (void)state;
    options.settings = &setting;
    options.n_settings = 1;
    assert_ok(ivl_synth(&options, in_folder("model.bin"), &error), error);
    assert_ok(ivl__file_read(in_folder("model.bin"), 1 << 26, &data, &bytes, &error), error);
    while (little(data + at, 4) == 0x04034b50) {
        size_t begin = at + 30 + little(data + at + 26, 2) + little(data + at + 28, 2);
        uint32_t size = little(data + at + 18, 4);

        assert_int_equal(begin % 64, 0);
        assert_true(begin + size < bytes);
        assert_int_equal(little(data + at + 14, 4), crc32(0, data + begin, size));
        at = begin + size;
        members++;
    }
    assert_int_equal(little(data + at, 4), 0x02014b50); /* the central directory */
    assert_int_equal(members, 4 + 2 * 13 + 4);
    ivl__free(data);
}

static void test_small_shards(void **state)
{
    static const char *const kinds[] = {"sharded", "bin"};
    char ids[2][65];

    (void)state;
    for (int i = 0; i < 2; i++) {
        ivl_synth_options options = options_of("tiny");
        ivl_error error = {0};
        ivl_model *model;
        int n;

        options.layout = kinds[i];
        options.shard_bytes = 100000;
        assert_ok(ivl_synth(&options, in_folder(kinds[i]), &error), error);
        /* 684,800 bytes in shards of at most 100,000, but for the patch embedding. */
        n = entries_of(in_folder(kinds[i])) - 3;
        assert_in_range(n, 7, 14);
        model = open_model(in_folder(kinds[i]), NULL);
        snprintf(ids[i], sizeof ids[i], "%s", info_of(model).model_id);
        ivl_model_free(model);
    }
    assert_string_equal(ids[0], ids[1]);
}

static ivl_status write_into(void *user, uint64_t at, const void *data, size_t bytes,
                             ivl_error *error)
{
    const int *fd = user;

    (void)error;
    assert_int_equal(pwrite(*fd, data, bytes, (off_t)at), bytes);
    return IVL_OK;
}

/* A tensor of 5 GiB and one behind it: sizes, offsets and element counts beyond 32 bits. The file
 * is almost all hole. */
static void test_large_offsets(void **state)
{
    static const ivl__stored_tensor tensors[] = {
        {.name = "large", .dtype = IVL_BF16, .rank = 2, .shape = {5 << 20, 512}},
        {.name = "small", .dtype = IVL_F32, .rank = 1, .shape = {3}}};
    static const float values[3] = {1, 2, 3};
    ivl__layout layout = {.tensors = tensors, .n = 2};
    uint64_t offsets[2];
    const uint32_t crcs[2] = {0, 0};
    const char *path = in_folder("large.bin");
    ivl__tensor_table *table;
    ivl_error error = {0};
    int fd = open(path, O_RDWR | O_CREAT, 0666);

    (void)state;
    assert_true(fd >= 0);
    layout.offsets = offsets;
    assert_ok(ivl__torch_format.plan(&layout, &error), error);
    assert_int_equal(ftruncate(fd, (off_t)layout.bytes), 0);
    assert_ok(ivl__torch_format.headers(&layout, crcs, write_into, &fd, &error), error);
    assert_int_equal(pwrite(fd, values, sizeof values, (off_t)offsets[1]), sizeof values);
    close(fd);
    ivl__torch_format.free(&layout);
    assert_true(offsets[1] > (uint64_t)5 << 30);
    assert_int_equal(offsets[0] % 64, 0);
    assert_int_equal(offsets[1] % 64, 0);
    assert_ok(ivl__tensor_table_open(path, &table, &error), error);
    check_tensor(table, "large", 2, 5 << 20, 512);
    assert_int_equal(table->entries[0].file_offset, offsets[0]);
    assert_int_equal(table->entries[1].file_offset, offsets[1]);
    assert_memory_equal(table->entries[1].data, values, sizeof values);
    ivl__tensor_table_free(table);
}

/* ---- what is in the way ------------------------------------------------------------------ */

static void test_existing(void **state)
{
    ivl_synth_options options = options_of("tiny");
    ivl_error error = {0};
    ivl_model *model;

    (void)state;
    assert_int_equal(mkdir(in_folder("model"), 0777), 0);
    assert_ok(ivl_synth(&options, in_folder("model/"), &error),
              error); /* an empty folder is fine */
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "exists and is not empty; choose another name, or --force");
    options.force = true;
    options.layout = "sharded";
    assert_int_equal(mkdir(in_folder("model.old.part"), 0777), 0);
    write_text("model.old.part/model.safetensors", "of a killed run");
    assert_ok(ivl_synth(&options, in_folder("model"), &error), error);
    model = open_model(in_folder("model"), NULL);
    ivl_model_free(model);
    /* Nothing of before. */
    assert_true(ivl__file_exists(in_folder("model/model.safetensors.index.json")));
    assert_false(ivl__file_exists(in_folder("model/model.safetensors")));
    write_text("model/notes.txt", "mine");
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "holds 'notes.txt', which synth does not write");
    assert_int_equal(unlink(in_folder("model/notes.txt")), 0);
    write_text("model/config.json", "{\"_name_or_path\": \"OpenGVLab/InternViT-6B-224px\"}");
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_INVALID_ARGUMENT, error,
                 "was not made by synth");
    assert_int_equal(symlink("nowhere", in_folder("link")), 0);
    assert_fails(ivl_synth(&options, in_folder("link"), &error), IVL_INVALID_ARGUMENT, error,
                 "is a symbolic link");
    assert_fails(ivl_synth(&options, in_folder("."), &error), IVL_INVALID_ARGUMENT, error,
                 "is no name for a new folder");
    write_text("file", "");
    assert_fails(ivl_synth(&options, in_folder("file"), &error), IVL_INVALID_ARGUMENT, error,
                 "file' exists");
    assert_int_equal(entries_of(folder), 3);
}

/* What a killed run left is cleared away; what another process is writing is not. */
static void test_part_of_another(void **state)
{
    ivl_synth_options options = options_of("tiny");
    ivl_error error = {0};
    int lock;

    (void)state;
    assert_ok(ivl__folder_lock(in_folder("model.part"), &lock, &error), error);
    write_text("model.part/model-00001-of-00009.safetensors", "half");
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_IO_ERROR, error,
                 "model.part' is being written by another process");
    assert_int_equal(entries_of(in_folder("model.part")), 1);
    ivl__file_close(lock);
    assert_ok(ivl_synth(&options, in_folder("model"), &error), error);
    assert_int_equal(entries_of(folder), 1);
    assert_int_equal(entries_of(in_folder("model")), 3);
}

static void test_no_space(void **state)
{
    static const char *const settings[] = {"num_hidden_layers=1024", "hidden_size=102400",
                                           "intermediate_size=1048576"};
    ivl_synth_options options = options_of("internvit-6b-224");
    ivl_error error = {0};

    (void)state;
    options.settings = settings;
    options.n_settings = 3;
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_IO_ERROR, error,
                 "B are free on the disk of");
    assert_int_equal(entries_of(folder), 0);
}

/* A disk that is full and a file that may not grow fail alike: write(2) and ftruncate(2) refuse. */
static void test_full_disk(void **state)
{
    static const char *const where[] = {"model", "model.pth"};
    struct rlimit old, small;
    ivl_error error = {0};

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = old;
    small.rlim_cur = 300000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 2; i++) {
        ivl_synth_options options = options_of("tiny");

        assert_fails(ivl_synth(&options, in_folder(where[i]), &error), IVL_IO_ERROR, error,
                     "File too large");
        assert_int_equal(entries_of(folder), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
}

static int cancel_after_some(void *user, const char *stage, int done, int total)
{
    int *calls = user;

    assert_string_equal(stage, "weights");
    assert_in_range(done, 0, total);
    return ++*calls > 0;
}

static void test_cancel(void **state)
{
    ivl_synth_options options = options_of("internvit-300m-448");
    ivl_error error = {0};
    int calls = 0;

    (void)state;
    options.progress = cancel_after_some;
    options.progress_user = &calls;
    assert_fails(ivl_synth(&options, in_folder("model"), &error), IVL_CANCELLED, error,
                 "cancelled");
    assert_int_equal(calls, 1);
    assert_int_equal(entries_of(folder), 0);
}

/* Whichever allocation fails, it is said, and nothing stays; when all later ones fail too, the part
 * may stay, but nothing bears the final name. */
static void short_memory(bool forever)
{
    static const char *const setting = "num_hidden_layers=1";
    ivl_synth_options options = options_of("tiny");
    int64_t n = -1;
    int failed = 0;
    bool again;

    options.layout = "bin";
    options.shard_bytes = 200000;
    options.settings = &setting;
    options.n_settings = 1;
    options.threads = 1;
    do {
        ivl_error error = {0};
        ivl_status status;

        start_over();
        ivl__memory_fail(++n, forever);
        status = ivl_synth(&options, in_folder("model"), &error);
        again = ivl__memory_calls() > n;
        if (status == IVL_OK) {
            /* The sync of a folder is left out when memory is short: the result is whole. */
            ivl__memory_fail(-1, false);
            ivl_model_free(open_model(in_folder("model"), NULL));
        } else {
            failed++;
            assert_int_equal(status, IVL_OUT_OF_MEMORY);
            assert_non_null(strstr(error.message, "out of memory"));
            assert_false(ivl__file_exists(in_folder("model")));
            assert_true(forever || entries_of(folder) == 0);
        }
    } while (again);
    assert_true(failed > 50);
}

static void test_short_memory(void **state)
{
    (void)state;
    short_memory(false);
    short_memory(true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_forms_of_tiny), TEST(test_forms_of_tiny_14b), TEST(test_parts_of_14b),
        TEST(test_names_of_14b),  TEST(test_published_sizes),   TEST(test_single_files),
        TEST(test_rounding),      TEST(test_distribution),      TEST(test_pieces),
        TEST(test_settings),      TEST(test_bad_settings),      TEST(test_bad_names),
        TEST(test_same_bytes),    TEST(test_zip_members),       TEST(test_small_shards),
        TEST(test_large_offsets), TEST(test_existing),          TEST(test_part_of_another),
        TEST(test_no_space),      TEST(test_full_disk),         TEST(test_cancel),
        TEST(test_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
