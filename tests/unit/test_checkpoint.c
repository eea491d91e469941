/* test_checkpoint.c - every container and naming scheme gives the same weights; what is malformed
 * is refused with its reason, and memory that runs short leaves nothing behind. */
#include "loader/safetensors.h"
#include "loader/tensor_table.h"
#include "loader/torch_zip.h"
#include "model/model_weights.h"
#include "runtime/memory.h"
#include "tests/folder.h"

#include <sys/resource.h>

static const ivl__vit_config small = {.hidden = 24,
                                      .layers = 2,
                                      .heads = 2,
                                      .mlp = 40,
                                      .patch = 14,
                                      .image = 28,
                                      .channels = 3,
                                      .qk_norm = true,
                                      .eps = 1e-6};

#define FORMATS "golden/vit_rms/formats/"

/* ---- the same values in every container -------------------------------------------------- */

typedef struct flat {
    char role[64];
    size_t count;
    float *values;
} flat;

typedef struct flat_model {
    flat roles[64];
    size_t n;
    char id[65], full_id[65], naming[8];
    int grid, owned;
} flat_model;

static ivl_status flatten(void *user, const char *role, const ivl__weight_ref *ref,
                          ivl_error *error)
{
    flat_model *m = user;
    flat *to = &m->roles[m->n++];
    size_t at = 0;

    (void)error;
    assert_true(m->n <= 64);
    snprintf(to->role, sizeof to->role, "%s", role);
    for (int i = 0; i < ref->n_parts; i++) {
        to->count += (size_t)ref->parts[i]->elements;
        m->owned += ref->parts[i]->file < 0;
    }
    to->values = ivl__calloc(to->count, sizeof(float));
    assert_non_null(to->values);
    for (int i = 0; i < ref->n_parts; i++) {
        for (size_t j = 0; j < ref->parts[i]->elements; j++) {
            to->values[at++] = ivl__dtype_load(ref->parts[i]->dtype, ref->parts[i]->data, j);
        }
    }
    return IVL_OK;
}

static ivl__model_config tower_of(const ivl__vit_config *vit)
{
    return (ivl__model_config){.architecture = IVL__ARCH_VIT, .vit = *vit};
}

static flat_model *read_model(const char *path, const ivl__vit_config *vit)
{
    const ivl__model_config config = tower_of(vit);
    flat_model *m = ivl__calloc(1, sizeof *m);
    ivl__tensor_table *table = NULL;
    ivl__model_weights *weights = NULL;
    ivl_error error = {0};

    assert_non_null(m);
    assert_ok(ivl__tensor_table_open(path, &table, &error), error);
    assert_ok(ivl__model_weights_map(table, &config, &weights, &error), error);
    assert_ok(ivl__model_weights_visit(&config, weights, flatten, m, &error), error);
    assert_ok(ivl__model_id(&config, weights, false, m->id, &error), error);
    assert_ok(ivl__model_id(&config, weights, true, m->full_id, &error), error);
    assert_ok(ivl__tensor_table_check_unchanged(table, &error), error);
    snprintf(m->naming, sizeof m->naming, "%s", weights->vit->naming);
    m->grid = weights->vit->grid;
    ivl__model_weights_free(weights);
    ivl__tensor_table_free(table);
    return m;
}

static void free_model(flat_model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        ivl__free(m->roles[i].values);
    }
    ivl__free(m);
}

static void assert_same(const flat_model *a, const flat_model *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->roles[i].role, b->roles[i].role);
        assert_int_equal(a->roles[i].count, b->roles[i].count);
        assert_memory_equal(a->roles[i].values, b->roles[i].values,
                            a->roles[i].count * sizeof(float));
    }
}

static void every_container_holds_the_same_values(void **state)
{
    static const struct {
        const char *path, *naming;
        bool bf16, owned;
    } cases[] = {
        {FORMATS "safetensors_bf16", "hub", true, false},
        {FORMATS "safetensors_fp16", "hub", false, false},
        {FORMATS "safetensors_unaligned", "hub", false, false},
        {FORMATS "sharded", "hub", true, false},
        {FORMATS "sharded/model.safetensors.index.json", "hub", true, false},
        {FORMATS "bin", "hub", true, false},
        {FORMATS "bin/pytorch_model.bin", "hub", true, false},
        {FORMATS "bin_fp32", "hub", false, false},
        {FORMATS "bin_sharded", "hub", true, false},
        {FORMATS "bin_parameters", "hub", true, false},
        {FORMATS "bin_strided", "hub", true, true},
        {FORMATS "bin_shared", "hub", true, false},
        {FORMATS "pth_plain", "pth", true, false},
        {FORMATS "pth_module/vit.pth", "pth", true, false},
        {FORMATS "pth_model", "pth", true, false},
    };
    flat_model *reference = read_model(FORMATS "safetensors_fp32", &small);
    flat_model *bf16 = read_model(FORMATS "safetensors_bf16", &small);

    (void)state;
    assert_int_equal(reference->n, 4 + 2 * 13);
    assert_string_equal(reference->roles[0].role, "block.0000.fc1_b");
    for (size_t i = 1; i < reference->n; i++) {
        assert_true(strcmp(reference->roles[i - 1].role, reference->roles[i].role) < 0);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        flat_model *m = read_model(cases[i].path, &small);

        assert_same(m, reference);
        assert_string_equal(m->naming, cases[i].naming);
        assert_int_equal(m->grid, 2);
        assert_int_equal(m->owned > 0, cases[i].owned);
        if (cases[i].bf16) {
            assert_string_equal(m->id, bf16->id);
            assert_string_equal(m->full_id, bf16->full_id);
        }
        free_model(m);
    }
    assert_string_not_equal(reference->id, bf16->id);
    assert_string_not_equal(bf16->id, bf16->full_id);
    free_model(reference);
    free_model(bf16);
}

/* ---- the transformers port: made from the hub's file ------------------------------------- */

/* The port's name of a hub tensor; part 0 .. 2 of a fused one. */
static void port_name(const char *name, int part, char out[200])
{
    static const char *const pairs[][2] = {
        {"encoder.layers.", "encoder.layer."},
        {"class_embedding", "cls_token"},
        {"position_embedding", "position_embeddings"},
        {"patch_embedding", "patch_embeddings.projection"},
        {"norm1.", "layernorm_before."},
        {"norm2.", "layernorm_after."},
        {"ls1", "lambda_1"},
        {"ls2", "lambda_2"},
        {"attn.qkv", "attention.?_proj"},
        {"attn.proj", "attention.projection_layer"},
        {"attn.", "attention."},
    };
    char *which;

    snprintf(out, 200, "%s", name);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *at = strstr(out, pairs[i][0]);
        char rest[200];

        if (at) {
            snprintf(rest, sizeof rest, "%s", at + strlen(pairs[i][0]));
            snprintf(at, (size_t)(out + 200 - at), "%s%s", pairs[i][1], rest);
        }
    }
    which = strchr(out, '?');
    if (which) {
        *which = "qkv"[part];
    }
}

/* Writes a table as a safetensors file in the port's names below a prefix. */
static void write_port(const ivl__tensor_table *t, const char *prefix, const char *file)
{
    char *header = ivl__calloc(1, 1 << 20);
    unsigned char *data = ivl__malloc(1 << 20);
    size_t n = 0, at = 0;
    unsigned char length[8];
    FILE *out = fopen(file, "wb");

    assert_true(header && data && out);
    for (size_t i = 0; i < t->count; i++) {
        const ivl__tensor_entry *e = &t->entries[i];
        int parts = strstr(e->name, "attn.qkv") ? 3 : 1;

        for (int p = 0; p < parts; p++) {
            size_t bytes = e->bytes / (size_t)parts;
            char name[200];

            port_name(e->name, p, name);
            n += (size_t)sprintf(header + n, "%c\"%s%s\":{\"dtype\":\"%s\",\"shape\":[",
                                 n ? ',' : '{', prefix, name, e->dtype_text);
            for (int d = 0; d < e->rank; d++) {
                n += (size_t)sprintf(header + n, "%s%d", d ? "," : "",
                                     (int)e->shape[d] / (d ? 1 : parts));
            }
            n += (size_t)sprintf(header + n, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
            memcpy(data + at, e->data + (size_t)p * bytes, bytes);
            at += bytes;
        }
    }
    n += (size_t)sprintf(header + n, "}");
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)(n >> 8 * i);
    }
    assert_int_equal(fwrite(length, 1, 8, out) + fwrite(header, 1, n, out) +
                         fwrite(data, 1, at, out),
                     8 + n + at);
    assert_int_equal(fclose(out), 0);
    ivl__free(header);
    ivl__free(data);
}

static void the_port_names_give_the_same_id(void **state)
{
    static const char *const prefixes[] = {"", "vision_tower.", "model.vision_tower."};
    static const struct {
        const char *path;
        ivl__vit_config config;
    } cases[] = {
        {FORMATS "safetensors_bf16", {24, 2, 2, 40, 14, 28, 3, false, true, false, 1e-6}},
        {"golden/vit_eps/ln", {32, 1, 2, 48, 14, 28, 3, true, false, true, 1e-6}},
    };

    (void)state;
    for (size_t c = 0; c < 2; c++) {
        ivl__vit_config config = cases[c].config;
        ivl__tensor_table *table = NULL;
        flat_model *hub, *port;
        ivl_error error = {0};

        assert_ok(ivl__tensor_table_open(cases[c].path, &table, &error), error);
        config.mlp =
            (int32_t)ivl__tensor_table_find(table, "encoder.layers.0.mlp.fc1.bias")->shape[0];
        hub = read_model(cases[c].path, &config);
        for (size_t p = 0; p < 3; p++) {
            write_port(table, prefixes[p], in_folder("port.safetensors"));
            port = read_model(in_folder("port.safetensors"), &config);
            assert_same(port, hub);
            assert_string_equal(port->naming, "hf");
            assert_string_equal(port->id, hub->id);
            assert_string_equal(port->full_id, hub->full_id);
            free_model(port);
        }
        free_model(hub);
        ivl__tensor_table_free(table);
    }
}

/* ---- strictness -------------------------------------------------------------------------- */

static ivl_status open_and_map(const char *path, const ivl__vit_config *vit, ivl_error *error)
{
    const ivl__model_config config = tower_of(vit);
    ivl__tensor_table *table = NULL;
    ivl__model_weights *weights = NULL;
    ivl_status status = ivl__tensor_table_open(path, &table, error);

    if (status == IVL_OK) {
        status = ivl__model_weights_map(table, &config, &weights, error);
    }
    ivl__model_weights_free(weights);
    ivl__tensor_table_free(table);
    return status;
}

static void wrong_tensors_are_named(void **state)
{
    ivl__vit_config other = small;
    ivl_error error = {0};

    (void)state;
    assert_fails(open_and_map(FORMATS "must_fail_extra_tensor", &small, &error), IVL_BAD_MODEL,
                 error, "\"encoder.layers.0.attn.unexpected.weight\" is unexpected");
    assert_fails(open_and_map(FORMATS "must_fail_missing_tensor", &small, &error), IVL_BAD_MODEL,
                 error, "\"encoder.layers.1.attn.k_norm.weight\" is missing");
    assert_fails(open_and_map(FORMATS "must_fail_wrong_shape", &small, &error), IVL_BAD_MODEL,
                 error, "\"encoder.layers.1.mlp.fc1.weight\" has shape");
    assert_fails(open_and_map(FORMATS "bin_legacy", &small, &error), IVL_BAD_MODEL, error,
                 "re-save it");
    other.layers = 1;
    assert_fails(open_and_map(FORMATS "bin", &other, &error), IVL_BAD_MODEL, error,
                 "\"encoder.layers.1.");
    other.layers = 3;
    assert_fails(open_and_map(FORMATS "bin", &other, &error), IVL_BAD_MODEL, error,
                 "\"encoder.layers.2.mlp.fc1.bias\" is missing");
    assert_fails(open_and_map("golden/no_such_model", &small, &error), IVL_BAD_MODEL, error,
                 "no model at");
    assert_fails(open_and_map("golden/vit_rms", &small, &error), IVL_BAD_MODEL, error, "shape");
}

/* A safetensors file of empty vectors with these names, comma-separated. */
static void write_names(const char *file, const char *names)
{
    char text[2000] = "--------{";
    size_t n = strlen(text);

    for (size_t at = 0; names[at];) {
        size_t length = strcspn(names + at, ",");

        n += (size_t)sprintf(text + n,
                             "%s\"%.*s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                             at ? "," : "", (int)length, names + at);
        at += length + (names[at + length] != 0);
    }
    n += (size_t)sprintf(text + n, "}");
    for (size_t i = 0; i < 8; i++) {
        text[i] = (char)((n - 8) >> 8 * i);
    }
    write_file(file, text, n);
}

static void lora_and_foreign_checkpoints_are_refused(void **state)
{
    ivl_error error = {0};

    (void)state;
    write_names(in_folder("lora.safetensors"),
                "base_model.model.encoder.layers.0.attn.qkv.lora_A.default.weight");
    assert_fails(open_and_map(in_folder("lora.safetensors"), &small, &error), IVL_BAD_MODEL, error,
                 "LoRA");
    write_names(in_folder("bert.safetensors"), "bert.embeddings.weight");
    assert_fails(open_and_map(in_folder("bert.safetensors"), &small, &error), IVL_BAD_MODEL, error,
                 "no InternViT");
}

/* What the geometry is read from, of width 1024 and with a table of 677 rows; bytes are zeros. */
static void write_geometry(const char *file)
{
    static const char header[] =
        "{\"patch_embed.proj.weight\":{\"dtype\":\"U8\",\"shape\":[1024,3,1,1],"
        "\"data_offsets\":[0,3072]},\"pos_embed\":{\"dtype\":\"U8\",\"shape\":[1,677,1024],"
        "\"data_offsets\":[3072,696320]},\"blocks.0.mlp.fc1.weight\":{\"dtype\":\"U8\","
        "\"shape\":[4,1024],\"data_offsets\":[696320,700416]},\"blocks.0.norm1.bias\":{"
        "\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[700416,700416]},\"cls_token\":{"
        "\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[700416,700416]}}";
    size_t n = sizeof header - 1;
    unsigned char *data = ivl__calloc(1, 8 + n + 700416);

    assert_non_null(data);
    for (size_t i = 0; i < 8; i++) {
        data[i] = (unsigned char)(n >> 8 * i);
    }
    memcpy(data + 8, header, n);
    write_file(file, data, 8 + n + 700416);
    ivl__free(data);
}

static void geometry_comes_from_tensors_where_the_width_is_known(void **state)
{
    ivl__tensor_table *table = NULL;
    ivl__vit_config config;
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__tensor_table_open(FORMATS "pth_plain", &table, &error), error);
    assert_fails(ivl__vit_config_from_tensors(table, &config, &error), IVL_BAD_MODEL, error,
                 "--config");
    ivl__tensor_table_free(table);
    write_geometry(in_folder("vit.safetensors"));
    assert_ok(ivl__tensor_table_open(in_folder("vit.safetensors"), &table, &error), error);
    assert_ok(ivl__vit_config_from_tensors(table, &config, &error), error);
    assert_int_equal(config.hidden, 1024);
    assert_int_equal(config.heads, 16);
    assert_int_equal(config.mlp, 4);
    assert_int_equal(config.layers, 1);
    assert_int_equal(config.patch, 1);
    assert_int_equal(config.image, 26);
    assert_true(config.layer_norm && !config.qkv_bias && !config.qk_norm);
    ivl__tensor_table_free(table);
}

/* ---- text towers without a config.json --------------------------------------------------- */

typedef struct named_shape {
    const char *name; /* sorted */
    int rank;
    uint64_t shape[3];
} named_shape;

/* What the tensors say; only their names and shapes are looked at. */
static ivl_status text_geometry(const named_shape *tensors, size_t n, ivl__model_config *config,
                                ivl_error *error)
{
    ivl__tensor_entry entries[16] = {{0}};
    char names[16][64];
    const ivl__tensor_table table = {.entries = entries, .count = n};

    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "%s", tensors[i].name);
        entries[i].name = names[i];
        entries[i].rank = tensors[i].rank;
        memcpy(entries[i].shape, tensors[i].shape, sizeof tensors[i].shape);
    }
    ivl__model_config_init(config);
    return ivl__clip_config_from_tensors(&table, false, config, error);
}

static void text_towers_without_configuration(void **state)
{
    static const named_shape c[] = {
        {"clip_projector.norm1_q.weight", 1, {3200}},
        {"text_projection", 2, {4096, 768}},
        {"transformer.embed_tokens.weight", 2, {49954, 4096}},
        {"transformer.layers.0.input_layernorm.weight", 1, {4096}},
        {"transformer.layers.0.mlp.up_proj.weight", 2, {11008, 4096}},
        {"transformer.layers.1.input_layernorm.weight", 1, {4096}},
    };
    static const named_shape g[] = {
        {"clip_projector.norm1_q.weight", 1, {3200}},
        {"qllama.model.embed_tokens.weight", 2, {49954, 4096}},
        {"qllama.model.layers.0.cross_attn.norm1.weight", 1, {4096}},
        {"qllama.model.layers.0.input_layernorm.weight", 1, {4096}},
        {"qllama.model.layers.0.mlp.up_proj.weight", 2, {11008, 4096}},
        {"qllama.model.layers.1.input_layernorm.weight", 1, {4096}},
        {"qllama.model.layers.2.input_layernorm.weight", 1, {4096}},
        {"qllama.model.layers.3.cross_attn.norm1.weight", 1, {4096}},
        {"qllama.model.layers.3.input_layernorm.weight", 1, {4096}},
        {"query_tokens", 3, {1, 64, 4096}},
        {"text_projection", 2, {4096, 512}},
    };
    named_shape narrow[sizeof c / sizeof c[0]];
    ivl__model_config config;
    ivl_error error = {0};

    (void)state;
    assert_ok(text_geometry(c, 6, &config, &error), error);
    assert_int_equal(config.architecture, IVL__ARCH_C_13B);
    assert_int_equal(config.qllama.layers, 2);
    assert_int_equal(config.qllama.heads, 32);
    assert_int_equal(config.qllama.mlp, 11008);
    assert_int_equal(config.qllama.vocab, 49954);
    assert_int_equal(config.clip_embed_dim, 768);
    assert_int_equal(config.attn_pool_heads, 16);
    assert_ok(text_geometry(g, 11, &config, &error), error);
    assert_int_equal(config.architecture, IVL__ARCH_14B);
    assert_int_equal(config.qllama.layers, 4);
    assert_int_equal(config.query_tokens, 64);
    assert_int_equal(config.cross_attention_frequency, 3);
    assert_int_equal(config.clip_embed_dim, 512);
    /* No projection; a width whose heads nobody knows; no matrix; no tower at all. */
    assert_fails(text_geometry(g, 9, &config, &error), IVL_BAD_MODEL, error, "text_projection");
    memcpy(narrow, c, sizeof c);
    narrow[2].shape[1] = 512;
    assert_fails(text_geometry(narrow, 6, &config, &error), IVL_BAD_MODEL, error,
                 "text tower of width 512");
    narrow[4].rank = 1;
    assert_fails(text_geometry(narrow, 6, &config, &error), IVL_BAD_MODEL, error, "up_proj");
    assert_ok(text_geometry(c, 2, &config, &error), error);
    assert_int_equal(config.architecture, IVL__ARCH_VIT);
}

/* The tower in the port's names and a second shard with these tensors. */
static void write_composite(const char *names)
{
    ivl__tensor_table *table = NULL;
    ivl_error error = {0};

    assert_ok(ivl__tensor_table_open(FORMATS "safetensors_bf16", &table, &error), error);
    write_port(table, "vision_tower.", in_folder("tower.safetensors"));
    ivl__tensor_table_free(table);
    write_names(in_folder("rest.safetensors"), names);
    write_text("model.safetensors.index.json",
               "{\"weight_map\":{\"vision_tower.embeddings.cls_token\":\"tower.safetensors\","
               "\"lm_head.weight\":\"rest.safetensors\"}}");
    /* Left beside published towers; must not be taken for the model. */
    write_text("mlp_projector.pth", "not read");
}

static void other_parts_are_counted_and_unknown_ones_refused(void **state)
{
    const ivl__model_config config = tower_of(&small);
    ivl__tensor_table *table = NULL;
    ivl__model_weights *weights = NULL;
    ivl_error error = {0};

    (void)state;
    write_composite("lm_head.weight,language_model.a,language_model.b,mlp1.0.weight,logit_scale,"
                    "language_model.layers.0.rotary_emb.inv_freq");
    assert_ok(ivl__tensor_table_open(folder, &table, &error), error);
    assert_int_equal(table->n_files, 2);
    assert_ok(ivl__model_weights_map(table, &config, &weights, &error), error);
    assert_int_equal(weights->unused.n, 5);
    for (int i = 0; i < weights->unused.n; i++) {
        const ivl__unused_tensors *part = &weights->unused.items[i];

        assert_int_equal(part->tensors, strcmp(part->prefix, "language_model.") == 0 ? 2 : 1);
    }
    ivl__model_weights_free(weights);
    ivl__tensor_table_free(table);
    write_composite("lm_head.weight,audio.weight");
    assert_fails(open_and_map(folder, &small, &error), IVL_BAD_MODEL, error,
                 "\"audio.weight\" belongs to no known part");
    write_composite("lm_head.weight,logit_scale_2");
    assert_fails(open_and_map(folder, &small, &error), IVL_BAD_MODEL, error, "\"logit_scale_2\"");
    write_composite("audio.weight");
    assert_fails(open_and_map(folder, &small, &error), IVL_BAD_MODEL, error,
                 "\"lm_head.weight\" is not in shard rest.safetensors");
}

/* ---- malformed files --------------------------------------------------------------------- */

static const struct {
    const char *file, *text; /* "" where reading is right too */
} malformed[] = {
    {"st_empty.safetensors", "empty"},
    {"st_seven_bytes.safetensors", "7 bytes"},
    {"st_header_length_huge.safetensors", "4611686018427387904"},
    {"st_header_length_all_ones.safetensors", "18446744073709551615"},
    {"st_header_length_zero.safetensors", "not a JSON object"},
    {"st_header_length_past_end.safetensors", "5000"},
    {"st_header_not_json.safetensors", "not valid JSON"},
    {"st_header_array.safetensors", "not a JSON object"},
    {"st_header_bad_utf8.safetensors", "unable to decode byte"},
    {"st_header_deep.safetensors", "depth"},
    {"st_overlap.safetensors", "overlap"},
    {"st_hole.safetensors", "hole"},
    {"st_first_not_zero.safetensors", "must begin at 0"},
    {"st_offset_past_end.safetensors", "1099511627776"},
    {"st_offset_wraps.safetensors", "too big integer"},
    {"st_offset_negative.safetensors", "not negative"},
    {"st_offset_reversed.safetensors", "before begin"},
    {"st_offset_float.safetensors", "whole numbers"},
    {"st_offset_three.safetensors", "two elements"},
    {"st_offset_missing.safetensors", "no data_offsets"},
    {"st_duplicate_key.safetensors", "duplicate"},
    {"st_dtype_unknown.safetensors", "\"Q4_0\""},
    {"st_dtype_number.safetensors", "dtype must be a string"},
    {"st_shape_overflow.safetensors", "overflows"},
    {"st_shape_overflow_to_16.safetensors", "overflows"},
    {"st_shape_negative.safetensors", "negative size"},
    {"st_shape_many_dims.safetensors", "5001 dimensions"},
    {"st_size_mismatch.safetensors", "need 24 bytes, offsets give 16"},
    {"st_trailing_bytes.safetensors", "3 bytes after"},
    {"st_truncated_data.safetensors", "download complete"},
    {"st_nul_in_name.safetensors", "not valid JSON"},
    {"st_is_zip.safetensors", "zip file"},
    {"st_is_lfs_pointer.safetensors", "LFS"},
    {"st_is_html.safetensors", "HTML"},
    {"index_path_up.json", "\"..\""},
    {"index_path_absolute.json", "absolute"},
    {"index_missing_shard.json", "model-00001-of-00002.safetensors does not exist"},
    {"index_empty_name.json", "empty"},
    {"index_not_string.json", "must be a string"},
    {"index_backslash.json", "backslash"},
    {"index_no_weight_map.json", "no weight_map"},
    {"zip_truncated_central_directory.bin", "end-of-central-directory"},
    {"zip_cut_in_the_middle.bin", "not a complete zip"},
    {"zip_directory_offset_past_end.bin", "outside the file"},
    {"zip_offset_contradicts_zip64.bin", ""},
    {"zip64_directory_size_wraps.bin", ""},
    {"zip_entry_count_huge.bin", "60000"},
    {"zip_member_size_bomb.bin", "4294967280"},
    {"zip_member_offset_past_end.bin", "local header"},
    {"zip_member_encrypted.bin", "encrypted"},
    {"zip_method_unknown.bin", "method 93"},
    {"zip_deflate_bomb.bin", "need 16 bytes"},
    {"zip_compressed_entry.bin", ""},
    {"zip_missing_data_file.bin", "no member data/0"},
    {"zip_missing_pickle.bin", "no data.pkl"},
    {"zip_short_data_file.bin", "need 16 bytes, the member has 7"},
    {"zip_big_endian.bin", "\"big\""},
    {"zip_duplicate_member.bin", "appears twice"},
    {"zip_two_top_folders.bin", "top folder"},
    {"zip_torchscript.bin", "TorchScript"},
    {"pkl_storage_past_end.bin", "beyond the 4 elements"},
    {"pkl_stride_past_end.bin", "beyond the 4 elements"},
    {"pkl_stride_overflow.bin", "overflow"},
    {"pkl_size_overflow.bin", "overflow"},
    {"pkl_size_huge_stride_zero.bin", "stride 0"},
    {"pkl_stride_negative.bin", "negative stride"},
    {"pkl_offset_negative.bin", "negative storage offset"},
    {"pkl_rank_mismatch.bin", "2 sizes and 1 strides"},
    {"pkl_numel_huge.bin", "does not fit 64 bits"},
    {"pkl_numel_negative.bin", "negative element count"},
    {"pkl_storage_type_unknown.bin", "torch.QInt8Storage"},
    {"pkl_storage_key_path.bin", "no member"},
    {"pkl_persistent_id_not_storage.bin", "\"storage\""},
    {"pkl_os_system.bin", "os.system is not allowed"},
    {"pkl_posix_system_nested.bin", "posix.system is not allowed"},
    {"pkl_builtins_eval.bin", "builtins.eval is not allowed"},
    {"pkl_stack_global_eval.bin", "builtins.eval is not allowed"},
    {"pkl_numpy_scalar.bin", "numpy.core.multiarray.scalar is not allowed"},
    {"pkl_unknown_opcode.bin", "opcode 0xff at byte 3"},
    {"pkl_ext_opcode.bin", "opcode 0x82 at byte 2"},
    {"pkl_no_stop.bin", "without STOP"},
    {"pkl_empty.bin", "empty"},
    {"pkl_stack_underflow.bin", "needs 3 things"},
    {"pkl_pop_mark_without_mark.bin", "without a MARK"},
    {"pkl_memo_missing.bin", "memo entry 7"},
    {"pkl_memo_index_huge.bin", "memo index 4294967295"},
    {"pkl_string_length_past_end.bin", "beyond the end"},
    {"pkl_long1_length.bin", "integer of 255 bytes"},
    {"pkl_deep_nesting.bin", "too deeply"},
    {"pkl_memo_bomb.bin", "opcode 0x6c at byte 10"},
    {"pkl_self_reference.bin", "no tensors"},
    {"pkl_duplicate_tensor_name.bin", "\"a\" is in the checkpoint twice"},
    {"pkl_not_a_dict.bin", "dictionary of tensors"},
    {"pkl_key_not_string.bin", "not a string"},
    {"pkl_legacy_magic_only.bin", "re-save it"},
};

/* Nothing may be allocated in the size that a file claims: with 1 GiB of address space such a call
 * would answer IVL_OUT_OF_MEMORY. AddressSanitizer needs more for itself. */
static void limit_address_space(struct rlimit *before)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_AS, before), 0);
    limit = *before;
#if !defined(__SANITIZE_ADDRESS__)
    limit.rlim_cur = 1u << 30;
#endif
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
}

static void malformed_checkpoints_are_refused(void **state)
{
    struct rlimit before;

    (void)state;
    limit_address_space(&before);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        ivl__tensor_table *table = NULL;
        ivl_error error = {0};
        char path[300], named[300];
        ivl_status status;

        snprintf(path, sizeof path, "golden/malformed/%s", malformed[i].file);
        if (strncmp(malformed[i].file, "index_", 6) == 0) {
            /* An index is recognised by its ending. */
            ivl_error read_error = {0};
            unsigned char *text;
            size_t bytes;

            assert_ok(ivl__file_read(path, 100000, &text, &bytes, &read_error), read_error);
            snprintf(named, sizeof named, "%s", in_folder("model.safetensors.index.json"));
            write_file(named, text, bytes);
            ivl__free(text);
            status = ivl__tensor_table_open(named, &table, &error);
        } else {
            status = ivl__tensor_table_open(path, &table, &error);
        }
        if (malformed[i].text[0] &&
            (status != IVL_BAD_MODEL || !strstr(error.message, malformed[i].text))) {
            fail_msg("%s: %s \"%s\", wanted \"%s\"", malformed[i].file, ivl_status_name(status),
                     error.message, malformed[i].text);
        }
        ivl__tensor_table_free(table);
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
}

static void a_deflated_checkpoint_is_read(void **state)
{
    ivl__tensor_table *table = NULL;
    ivl_error error = {0};

    (void)state;
    assert_ok(ivl__tensor_table_open("golden/malformed/zip_compressed_entry.bin", &table, &error),
              error);
    assert_int_equal(table->count, 1);
    assert_int_equal(table->entries[0].file, -1);
    assert_int_equal(table->entries[0].elements, 4);
    ivl__tensor_table_free(table);
}

/* ---- files that change, memory that runs short ------------------------------------------- */

static void a_changed_file_is_noticed(void **state)
{
    ivl__tensor_table *table = NULL;
    ivl_error error = {0};

    (void)state;
    write_names(in_folder("model.safetensors"), "a,b");
    assert_ok(ivl__tensor_table_open(in_folder("model.safetensors"), &table, &error), error);
    assert_int_equal(table->count, 2);
    assert_ok(ivl__tensor_table_check_unchanged(table, &error), error);
    write_names(in_folder("model.safetensors"), "a,b,c");
    assert_fails(ivl__tensor_table_check_unchanged(table, &error), IVL_BAD_MODEL, error,
                 "was changed");
    ivl__tensor_table_free(table);
}

static void short_memory_leaves_nothing_behind(void **state)
{
    static const char *const paths[] = {FORMATS "safetensors_bf16", FORMATS "sharded",
                                        FORMATS "bin_strided", FORMATS "bin_sharded",
                                        "golden/malformed/zip_compressed_entry.bin"};

    (void)state;
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        ivl_status status = IVL_OUT_OF_MEMORY;
        int64_t n = 0;

        for (; n < 5000 && status != IVL_OK; n++) {
            ivl__tensor_table *table = NULL;
            ivl_error error = {0};

            ivl__memory_fail(n, false);
            status = ivl__tensor_table_open(paths[p], &table, &error);
            ivl__memory_fail(-1, false);
            assert_true(status == IVL_OK || status == IVL_OUT_OF_MEMORY);
            assert_true((status == IVL_OK) == (table != NULL));
            ivl__tensor_table_free(table);
        }
        assert_int_equal(status, IVL_OK);
        assert_true(n > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_container_holds_the_same_values),
        cmocka_unit_test_setup_teardown(the_port_names_give_the_same_id, folder_make,
                                        folder_remove),
        cmocka_unit_test(wrong_tensors_are_named),
        cmocka_unit_test_setup_teardown(lora_and_foreign_checkpoints_are_refused, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(geometry_comes_from_tensors_where_the_width_is_known,
                                        folder_make, folder_remove),
        cmocka_unit_test(text_towers_without_configuration),
        cmocka_unit_test_setup_teardown(other_parts_are_counted_and_unknown_ones_refused,
                                        folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(malformed_checkpoints_are_refused, folder_make,
                                        folder_remove),
        cmocka_unit_test(a_deflated_checkpoint_is_read),
        cmocka_unit_test_setup_teardown(a_changed_file_is_noticed, folder_make, folder_remove),
        cmocka_unit_test(short_memory_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
