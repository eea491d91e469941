# `internvl info`: what checkpoints are, with and without a device, and what is no checkpoint.
# shellcheck shell=bash disable=SC2034,SC2154

without_platform() {
    last="OCL_ICD_VENDORS=/nonexistent internvl $*"
    code=0
    OCL_ICD_VENDORS=/nonexistent OCL_ICD_FILENAMES='' "$internvl" "$@" >"$out" 2>"$err" </dev/null || code=$?
}
formats=golden/vit_rms/formats

# ---- without OpenCL
without_platform info golden/vit_ln --json
expect_code 0
expect_json 'has("architecture", "modes", "parameters", "bytes", "dtype", "layers", "hidden_size",
    "image_size", "model_id", "plan")'
expect_json '.plan == null and .modes == ["vit"] and .dtype == "bf16" and .naming == "hub"'
expect_json '.layers == 2 and .hidden_size == 128 and .heads == 2 and .mlp_size == 256 and .image_size == 56'
expect_json '.norm == "layer_norm" and .qkv_bias and (.qk_normalization | not) and .norm_eps == 1e-6'
expect_json '.bytes == 2 * .parameters and (.model_id | test("^[0-9a-f]{64}$")) and (has("tensors") | not)'
expect_stderr 'warning: no plan: no OpenCL'
without_platform info golden/vit_ln
expect_code 0
expect_stdout '^InternViT  golden/vit_ln$'
expect_stdout '2 blocks, width 128, 2 heads, MLP 256, layer_norm'
expect_no_stdout '^plan for'
# Who asks for a device or a capability gets an answer.
without_platform info golden/vit_ln --json --device cpu
expect_code 5
expect_json '.plan == null'
without_platform info --arch internvit-6b-224 --json
expect_code 0
expect_json '.plan == null and .model_id == null and .layers == 48 and .hidden_size == 3200 and .heads == 25'
without_platform info --arch internvit-300m-448 --json
expect_json '.image_size == 448 and .layers == 24 and .heads == 16 and .qkv_bias'


# ---- InternVL-C and InternVL-G
without_platform info golden/internvl_c_g --json
expect_code 0
expect_json '.architecture == "InternVL-14B" and .modes == ["vit", "c", "g", "text"] and .embed_dim == 48'
expect_json '.text.layers == 4 and .text.vocab_size == 797 and .text.query_tokens == 96'
expect_json '.text.cross_attention_frequency == 2 and .logit_scale > 1'
expect_json '(.parts | map(.name) | sort) == ["c", "g", "text", "vit"]'
expect_json '([.parts[].parameters] | add) == .parameters and ([.parts[].bytes] | add) == .bytes'
expect_json '(.unused | map(.prefix)) == ["qllama.lm_head."]'
without_platform info golden/internvl_c_g
expect_stdout '^  text +4 layers, width 128, 4 heads, MLP 168, 797 tokens known$'
expect_stdout '^  queries +96; one layer in 2 looks at the picture$'
expect_stdout ' text tower, which QLLaMA shares$'
without_platform info --arch internvl-14b-224 --json
expect_json '.parameters == 13834975747 - 49954 * 4096 and .text.layers == 32 and .logit_scale == null'
without_platform info --arch internvl-c-13b-224 --json
expect_json '.modes == ["vit", "c", "text"] and .parameters == 12620029697 and .text.query_tokens == 0'

# ---- tensors and hashes
without_platform info golden/vit_ln --json --tensors
expect_json '([.tensors[].bytes] | add) == .bytes'
expect_json '([.tensors[] | .shape | reduce .[] as $n (1; . * $n)] | add) == .parameters'
expect_json 'all(.tensors[]; .dtype == "bf16" and (.file | endswith("model.safetensors")))'
without_platform info golden/vit_ln --tensors
expect_stdout '^encoder.layers.1.attn.qkv.weight +bf16 \[384, 128\]  '
id_of() {
    without_platform info "$@" --json --full-hash
    expect_code 0
    expect_json '.full_hash | test("^[0-9a-f]{64}$")'
    jq -r '.model_id + " " + .full_hash' "$out"
}
# The same tensors in other containers are the same model; other bytes are not.
first=$(id_of $formats/safetensors_bf16)
expect_that 'sharded files give another id' [ "$(id_of $formats/sharded)" = "$first" ]
expect_that 'fp32 gives the same id' [ "$(id_of $formats/safetensors_fp32)" != "$first" ]
cp -r $formats/safetensors_bf16 "$tmp/changed"
# The last byte belongs to the last tensor.
size=$(stat -c %s "$tmp/changed/model.safetensors")
printf '\x7f' | dd of="$tmp/changed/model.safetensors" bs=1 seek=$((size - 1)) conv=notrunc status=none
expect_that 'a changed byte gives the same id' [ "$(id_of "$tmp/changed")" != "$first" ]

# ---- containers, names, geometry given by hand
for format in safetensors_fp16 bin bin_fp32 bin_parameters bin_sharded bin_shared bin_strided; do
    without_platform info $formats/$format --json
    expect_code 0
    expect_json '.hidden_size == 24 and .layers == 2'
done
for format in pth_model pth_module pth_plain; do
    # Two heads of 12 cannot be read from the tensors.
    without_platform info $formats/$format/vit.pth
    expect_code 4
    expect_one_error 'vit\.pth.*(--config|--arch)'
    without_platform info $formats/$format/vit.pth --config $formats/bin/config.json --json
    expect_code 0
    expect_json '.hidden_size == 24 and .heads == 2 and .naming == "pth"'
done
# A name that is no UTF-8 is told byte for byte.
odd=$tmp/$'m\xff\xe9'
if cp -r golden/vit_ln "$odd" 2>/dev/null; then
    without_platform info "$odd" --json
    expect_code 0
    expect_stdout '"path": "[^"]*/m\\udcff\\udce9"'
fi

# ---- no checkpoint
without_platform info "$tmp/nothing"
expect_code 4
expect_one_error "no model at '$tmp/nothing'"
expect_no_stdout
mkdir "$tmp/empty"
without_platform info "$tmp/empty"
expect_code 4
expect_one_error "'$tmp/empty' has no checkpoint"
for format in must_fail_extra_tensor must_fail_missing_tensor must_fail_wrong_shape bin_legacy; do
    without_platform info $formats/$format
    expect_code 4
    expect_one_error "$formats/$format|tensor"
    expect_no_stdout
done
for file in golden/malformed/st_*.safetensors golden/malformed/pkl_*.bin golden/malformed/zip*; do
    without_platform info "$file" --arch tiny
    expect_code 4
    expect_one_error "${file##*/}"
    expect_no_stdout
done
for file in golden/malformed/config_*.json; do
    without_platform info golden/vit_ln --config "$file"
    expect_code 4
    expect_one_error "${file##*/}"
done
without_platform info golden/vit_ln --config "$tmp/none.json"
expect_code 4
expect_one_error 'none\.json'
for file in golden/malformed/index_*.json; do
    rm -rf "$tmp/index"
    cp -r $formats/sharded "$tmp/index"
    cp "$file" "$tmp/index/model.safetensors.index.json"
    without_platform info "$tmp/index"
    expect_code 4
    expect_one_error 'index'
done
head -c 300000 golden/vit_ln/model.safetensors >"$tmp/empty/model.safetensors"
without_platform info "$tmp/empty" --arch tiny
expect_code 4
expect_one_error "$tmp/empty/model.safetensors"

# ---- usage
expect_exit 2 info
expect_one_error 'info: MODEL is missing'
expect_exit 2 info golden/vit_ln golden/vit_rms
expect_one_error 'one MODEL at a time; "golden/vit_rms"'
expect_exit 2 info --arch nonsense
expect_one_error 'unknown architecture "nonsense"; known are internvit-6b-224'
expect_exit 2 info golden/vit_ln --arch tiny --config golden/vit_ln/config.json
expect_one_error 'exclude each other'
expect_exit 2 info --arch tiny --tensors
expect_one_error 'need a MODEL'

# ---- the plan
need_device
expect_exit 0 info golden/vit_rms --json
expect_json '.plan | .batch >= 1 and .peak_bytes <= .budget'
expect_json '.plan | .peak_bytes == .resident_bytes + .slot_bytes + .activation_bytes + .scratch_bytes'
least=$(sed -n 's/.*"minimum_budget": \([0-9]*\).*/\1/p' "$out")
expect_exit 0 info golden/vit_rms --device-memory "$least"
expect_exit 5 info golden/vit_rms --device-memory $((least - 1))
expect_exit 0 info golden/vit_rms
expect_stdout '^plan for '
expect_stdout 'is the smallest --device-memory that works: below the size of the'
expect_stdout 'weights they are streamed, and the slots count'
expect_exit 0 info golden/vit_rms --residency mapped
expect_stdout 'is the smallest --device-memory that works$'
expect_exit 0 info golden/vit_rms --json --residency stream
expect_json '.plan | .residency == "stream" and .streamed_per_batch == .weight_bytes and .mapped_bytes == 0'
expect_exit 0 info golden/vit_rms --json --residency resident
expect_json '.plan | .residency == "resident" and .streamed_per_batch == 0 and .resident_bytes > .weight_bytes'
expect_exit 0 info --arch internvit-6b-224 --json --device-memory 700MiB
expect_json '.plan | .residency == "stream" and .peak_bytes <= 700 * 1048576 and .budget == 700 * 1048576'
expect_exit 0 info --arch tiny --json --device-memory 50%
expect_json '.plan.budget > 0'
expect_exit 5 info --arch internvit-6b-224 --residency stream --device-memory 8MiB
expect_stderr 'error: .*needs at least [0-9.]+ MiB .*budget is 8.0 MiB; use --device-memory [0-9]+MiB'
# The figure of that message works.
least=$(sed -n 's/.*use --device-memory \([0-9]*MiB\).*/\1/p' "$err")
expect_exit 0 info --arch internvit-6b-224 --residency stream --device-memory "$least"
expect_exit 5 info --arch tiny --device-memory 1000TiB
expect_stderr 'error: --device-memory .* is more than'
expect_exit 5 info golden/vit_rms --json --device nosuchdevice
expect_json '.plan == null and .layers == 2'
expect_stderr 'error: --device nosuchdevice matches none'
