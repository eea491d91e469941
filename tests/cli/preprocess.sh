# `internvl preprocess`: bit for bit what Pillow and torchvision give, for every format.
# shellcheck shell=bash disable=SC2034,SC2154
expected=golden/resize/expected.json

# expect_crops PROTOCOL SIDE OPTIONS...: SHA-256 of each crop is the recorded one.
expect_crops() {
    local protocol=$1 side=$2 i=0 key file
    shift 2
    expect_exit 0 preprocess golden/resize/input -o "$tmp/$protocol.npy" --u8 -q "$@"
    expect_that "shape of $protocol" grep -aqE "'\|u1'.*\([0-9]+, $side, $side, 3\)" "$tmp/$protocol.npy"
    tail -c +193 "$tmp/$protocol.npy" | split -b $((side * side * 3)) -a 3 -d - "$tmp/crop_"
    while read -r key; do
        file=input/${key##*/}
        expect_that "$protocol of $file" [ "$(sha256sum <"$tmp/crop_$(printf %03d $i)" | cut -c -64)" = \
            "$(jq -r --arg f "$file" --arg p "$protocol" '.files[$f][$p].sha256' $expected)" ]
        i=$((i + 1))
    done < <(jq -r .key "$tmp/$protocol.jsonl")
    expect_that "$protocol: all files" [ $i = "$(find golden/resize/input -type f | wc -l)" ]
    rm "$tmp"/crop_*
}
expect_crops short56 56 --size 56
expect_crops short224 224
expect_crops square84 84 --size 84 --resize squash

# ---- normalised
body() { tail -c +"$(($(od -An -tu2 -j8 -N2 "$1") + 11))" "$1"; }
for name in c1_420 gradient; do
    file=$(find golden/resize/input -name "$name.*")
    expect_exit 0 preprocess "$file" -o "$tmp/$name.npy" --size 56 -q
    expect_that 'header' grep -aq "'<f4'.*(1, 3, 56, 56)" "$tmp/$name.npy"
    expect_that "values of $name" cmp -s <(body "$tmp/$name.npy") <(body "golden/resize/arrays/${name}_short56_pixel_values.npy")
done
# Arrays pass unchanged when they fit.
expect_exit 0 preprocess golden/vit_rms/pixel_values.npy -o "$tmp/pass.npy" --size 56 -q
expect_that 'pixel values' cmp -s <(body "$tmp/pass.npy") <(body golden/vit_rms/pixel_values.npy)
expect_exit 3 preprocess golden/vit_rms/pixel_values.npy -o "$tmp/misfit.npy"
expect_stderr '56 x 56 pixel values in an output of 224 x 224'
expect_exit 3 preprocess golden/vit_rms/pixel_values.npy -o "$tmp/u8.npy" --size 56 --u8 -q

# ---- no device is needed, threads and batches do not show
OCL_ICD_VENDORS=/nonexistent "$internvl" preprocess ../docs/samples -o "$tmp/one.npy" --threads 1 --batch 1 -q
expect_exit 0 preprocess ../docs/samples -o "$tmp/many.npy" --threads 4 --batch 5
expect_stderr '6 images'
expect_that 'same bits' cmp -s "$tmp/one.npy" "$tmp/many.npy"
expect_exit 2 preprocess ../docs/samples -o "$tmp/x.jpg"
expect_one_error 'OUT.npy'
expect_exit 2 preprocess ../docs/samples -o "$tmp/x.npy" --u8 --dtype f16
expect_exit 2 preprocess -o "$tmp/x.npy"
expect_one_error 'no inputs'
