# `internvl synth`: stand-in checkpoints in every layout and naming, and what is in its way.
# shellcheck shell=bash disable=SC2034,SC2154

# fact KEY MODEL [OPTIONS]: what info says, without a plan, so that no device is needed.
fact() {
    local key=$1
    shift
    OCL_ICD_VENDORS=/nonexistent OCL_ICD_FILENAMES='' "$internvl" info "$@" --json 2>/dev/null </dev/null |
        jq -r ".$key"
}
model_id() { fact model_id "$@"; }
same() { [ "$1" = "$2" ]; }
differs() { [ "$1" != "$2" ]; }

# ---- one seed is one model
expect_exit 0 synth tiny -o "$tmp/first" --seed 3
expect_no_stdout
expect_stderr "tiny, seed 3, written to '$tmp/first' in"
expect_file "$tmp/first/model.safetensors"
expect_file "$tmp/first/config.json"
expect_file "$tmp/first/preprocessor_config.json"
first=$(model_id "$tmp/first")
expect_that "model id is \"$first\"" grep -qE '^[0-9a-f]{64}$' <<<"$first"
for layout in safetensors sharded bin pth; do
    for naming in hub pth hf; do
        expect_exit 0 synth tiny --output "$tmp/$layout-$naming" --layout "$layout" --naming "$naming" --seed 3 -q
        expect_no_stderr
        expect_that "$layout, $naming is another model" same "$(model_id "$tmp/$layout-$naming")" "$first"
    done
done
expect_file "$tmp/sharded-hub/model.safetensors.index.json"
expect_file "$tmp/bin-hf/pytorch_model.bin"
expect_file "$tmp/pth-pth/pytorch_model.pth"
expect_exit 0 synth tiny -o "$tmp/again" --seed=3 --threads 1
expect_that 'two runs differ' diff -r "$tmp/first" "$tmp/again"
expect_exit 0 synth tiny -o "$tmp/other" --seed 4
expect_that 'two seeds are one model' differs "$(model_id "$tmp/other")" "$first"
for file in m.safetensors m.bin m.pth; do
    expect_exit 0 synth tiny -o "$tmp/$file" --seed 3
    expect_that "$file is another model" same "$(model_id "$tmp/$file" --arch tiny)" "$first"
done
expect_exit 0 synth tiny -o "$tmp/shards" --seed 3 --layout sharded --shard-size 100KiB
expect_that 'small shards are another model' same "$(model_id "$tmp/shards")" "$first"
for dtype in bf16 fp16 fp32; do
    expect_exit 0 synth tiny-14b -o "$tmp/14b-$dtype" --dtype "$dtype"
    expect_that "not stored as $dtype" same "$(fact dtype "$tmp/14b-$dtype")" "$dtype"
done

# ---- a text tower has a tokenizer of its vocabulary
expect_exit 0 tokenize "$tmp/14b-bf16" --text baba
expect_json '.ids[0] == 1 and .ids[-1] == 2'
expect_exit 4 tokenize "$tmp/first" --text baba
expect_exit 0 synth tiny-14b -o "$tmp/14b-bf16" --force
expect_exit 0 synth tiny-14b -o "$tmp/few" --set qllama_config.vocab_size=259
expect_no_file "$tmp/few/tokenizer.model"

# ---- settings
expect_exit 0 synth tiny -o "$tmp/set" --set num_hidden_layers=3,hidden_size=256 --set norm_type=layer_norm
expect_exit 0 info "$tmp/set" --json
expect_json '.layers == 3 and .hidden_size == 256 and .norm == "layer_norm"'
expect_exit 0 synth tiny-14b -o "$tmp/nested" --set vision_config.num_hidden_layers=1
expect_exit 0 info "$tmp/nested" --json
expect_json '.layers == 1 and .architecture == "InternVL-14B"'
expect_exit 2 synth tiny -o "$tmp/none" --set layers=3
expect_one_error 'setting "layers=3": no such key; known are .*num_hidden_layers'
expect_exit 2 synth tiny -o "$tmp/none" --set num_hidden_layers
expect_one_error 'not of the form key=value'
expect_exit 2 synth tiny -o "$tmp/none" --set image_size=57
expect_one_error 'image_size 57 is not divisible by patch_size 14'

# ---- usage
expect_exit 2 synth
expect_one_error 'ARCH is missing; known are internvit-6b-224, .*tiny-14b'
expect_exit 2 synth tiny
expect_one_error '-o DIR is missing'
expect_exit 2 synth tiny tiny-14b -o "$tmp/none"
expect_one_error 'one ARCH at a time'
expect_exit 2 synth internvit-7b -o "$tmp/none"
expect_one_error 'unknown architecture "internvit-7b"; known are'
expect_exit 2 synth tiny -o "$tmp/none" --dtype int8
expect_one_error 'unknown dtype "int8"; known are'
expect_exit 2 synth tiny -o "$tmp/none" --layout gguf
expect_one_error 'unknown layout "gguf"; known are'
expect_exit 2 synth tiny -o "$tmp/none" --naming timm
expect_one_error 'unknown naming "timm"; known are'
expect_exit 2 synth tiny -o "$tmp/none" --seed -1
expect_exit 2 synth tiny -o "$tmp/none" --shard-size 0
expect_one_error '--shard-size "0" is no size'
expect_exit 2 synth tiny -o "$tmp/none.bin" --layout pth
expect_one_error 'ends like a file of layout bin, not pth'

# ---- what is there already
expect_exit 2 synth tiny -o "$tmp/first"
expect_one_error "'$tmp/first' exists and is not empty; choose another name, or --force"
expect_exit 2 synth tiny -o "$tmp/m.pth"
expect_one_error "'$tmp/m.pth' exists"
expect_exit 0 synth tiny -o "$tmp/first" --force --layout bin --seed 3
expect_no_file "$tmp/first/model.safetensors"
expect_that 'replaced by another model' same "$(model_id "$tmp/first")" "$first"
echo mine >"$tmp/other/notes.txt"
expect_exit 2 synth tiny -o "$tmp/other" --force
expect_one_error "holds 'notes.txt', which synth does not write"
expect_file "$tmp/other/model.safetensors"

# ---- failures leave nothing
# full_disk ARGUMENTS...: as `run`, but no file may grow beyond 200 KiB.
full_disk() {
    last="(ulimit -f 200; internvl $*)"
    code=0
    (ulimit -f 200; exec "$internvl" "$@") >"$out" 2>"$err" </dev/null || code=$?
}
full_disk synth tiny -o "$tmp/full"
expect_code 1
expect_one_error 'a file of [0-9]+ bytes is not possible here: .*File too large'
expect_no_file "$tmp/full"
expect_no_file "$tmp/full.part"
expect_exit 1 synth internvit-6b-224 -o "$tmp/huge" \
    --set num_hidden_layers=1024,hidden_size=102400,intermediate_size=1048576
expect_one_error "'$tmp/huge' needs [0-9.]+ [GT]iB, but [0-9.]+ [MGT]iB are free"
expect_no_file "$tmp/huge"
expect_no_file "$tmp/huge.part"
echo >"$tmp/file"
expect_exit 1 synth tiny -o "$tmp/file/model"
expect_one_error 'a file is in the way'

# interrupted SIGNAL CODE: a run that is told to stop once its part has appeared.
interrupted() {
    local i
    last="internvl synth internvit-6b-448-v1-5 -o cut, $1"
    "$internvl" synth internvit-6b-448-v1-5 -o "$tmp/cut" --set num_hidden_layers=4 >"$out" 2>"$err" </dev/null &
    for ((i = 0; i < 500; i++)); do
        [ -s "$tmp/cut.part/model.safetensors" ] && break
        sleep 0.01
    done
    kill "-$1" $!
    code=0
    wait $! || code=$?
    expect_code "$2"
    expect_no_file "$tmp/cut"
    expect_no_file "$tmp/cut.part"
}
free=$(df --output=avail -B1 "$tmp" | tail -n 1)
[ "$free" -gt 3000000000 ] || skip "interruption needs 1 GB of room, $free bytes are free"
interrupted TERM 143
