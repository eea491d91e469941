# `internvl features`: the recorded layers of a tiny model, shapes, parts.
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
need_device
. cli/arrays.sh
command -v unzip >/dev/null || skip 'unzip is not installed'
model=golden/vit_rms
samples=../docs/samples

shape() { head -c 192 "$1" | tr -d '\0' | grep -aoE "'shape': \([0-9, ]*\)" | grep -oE '\(.*\)'; }
# unpack FILE.npz: its members into $tmp/members.
unpack() { rm -rf "$tmp/members" && unzip -qq "$1" -d "$tmp/members"; }

# ---- numbers: block i of the recorded model is hidden_{i+1}
expect_exit 0 features $model $model/pixel_values.npy -o "$tmp/all.npz" --layers all --precision exact -q
expect_no_stderr
unpack "$tmp/all.npz"
expect_that 'members' [ "$(cd "$tmp/members" && echo *)" = 'hidden_0.npy hidden_1.npy hidden_2.npy pooled.npy' ]
i=0
for name in embeddings block_0 block_1; do
    expect_that "shape of hidden_$i" [ "$(shape "$tmp/members/hidden_$i.npy")" = '(2, 17, 256)' ]
    expect_that "hidden_$i" close_to "$tmp/members/hidden_$i.npy" $model/$name.npy "$(bound_of $model $name)"
    i=$((i + 1))
done
expect_that 'pooled' close_to "$tmp/members/pooled.npy" $model/pooler_output.npy "$(bound_of $model pooler_output)"
cp -r "$tmp/members" "$tmp/reference"
expect_that 'keys' grep -q 'pixel_values.npy#1' "$tmp/all.meta.json" "$tmp/all.jsonl"

# ---- layers from the end, twice the same, patches without CLS
expect_exit 0 features $model $model/pixel_values.npy -o "$tmp/p.npz" --layers -1 --layers 2,1 --patches --precision exact -q
unpack "$tmp/p.npz"
expect_that 'members' [ "$(cd "$tmp/members" && echo *)" = 'hidden_1.npy hidden_2.npy pooled.npy' ]
expect_that 'shape of patches' [ "$(shape "$tmp/members/hidden_2.npy")" = '(2, 4, 4, 256)' ]
expect_that 'patches' cmp -s <(values "$tmp/members/hidden_2.npy") \
    <(values "$tmp/reference/hidden_2.npy" | awk 'int((NR - 1) / 256) % 17 != 0')

# ---- arrays of another size than the model's decide, pictures follow --size
expect_exit 0 features golden/vit_ln golden/vit_ln/px84/pixel_values.npy -o "$tmp/84.npz" --layers 0 -q
unpack "$tmp/84.npz"
expect_that 'tokens of 84' [ "$(shape "$tmp/members/hidden_0.npy" | cut -d, -f2)" = ' 37' ]
expect_exit 3 features $model $samples/coffee.jpg $model/pixel_values.npy -o "$tmp/28.npz" --layers 0 --size 28
expect_stderr 'skipped .*56 x 56 pixel values in an output of 28 x 28'

# ---- half precision, parts in a folder, batches that do not show
expect_exit 0 features $model $samples -o "$tmp/one/" --layers 0,-1 --batch 1 --unit-rows 4 -q
expect_exit 0 features $model $samples -o "$tmp/many/" --layers 0,-1 --batch 5 --unit-rows 4 -q
for file in hidden_0/hidden_0_000000.npy hidden_2/hidden_2_000001.npy pooled/pooled_000001.npy; do
    expect_file "$tmp/one/$file"
    expect_that "$file" cmp -s "$tmp/one/$file" "$tmp/many/$file"
done
expect_that 'rows of a part' [ "$(shape "$tmp/one/hidden_2/hidden_2_000001.npy")" = '(2, 17, 256)' ]
expect_exit 0 features $model $samples -o "$tmp/half.npz" --layers 1 --dtype f16 -q
unpack "$tmp/half.npz"
expect_that 'half' grep -aq "'<f2'" "$tmp/members/hidden_1.npy"

# ---- again, and with other layers
expect_exit 0 features $model $samples -o "$tmp/half.npz" --layers 1 --dtype f16 -d nosuchdevice
expect_stderr 'nothing left to do'
expect_exit 2 features $model $samples -o "$tmp/half.npz" --layers 2 --dtype f16
expect_one_error 'layers'

# ---- mistakes
expect_exit 2 features $model $samples -o "$tmp/x.npz"
expect_one_error '--layers'
for layer in 3 -4 x 1x ''; do
    expect_exit 2 features $model $samples -o "$tmp/x.npz" --layers "$layer"
    expect_one_error 'layers 0 \(embeddings\) to 2'
done
expect_exit 2 features $model $samples -o "$tmp/x.npy" --layers 0
expect_one_error 'OUT.npz or a folder'
expect_no_file "$tmp/x.npz"
