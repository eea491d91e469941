# shellcheck shell=bash disable=SC2154
# internvl verify: recorded outputs, bounds, and golden folders that are not what they should be.

# ---- usage
expect_exit 2 verify
expect_one_error 'needs MODEL and GOLDEN_DIR'
expect_exit 2 verify golden/vit_rms
expect_one_error 'needs MODEL and GOLDEN_DIR, got 1 argument'
expect_exit 2 verify golden/vit_rms golden/vit_rms --photos golden/resize
expect_one_error '--photos belongs to --published'
expect_exit 2 verify golden/vit_rms --published
expect_one_error '--published needs --photos DIR'
expect_exit 2 verify golden/vit_rms golden/vit_rms --published --photos golden/resize
expect_one_error 'needs MODEL alone, got 2'
expect_exit 2 verify golden/vit_rms --published --photos golden/resize
expect_one_error 'golden/resize/image1.jpg.*examples/'
expect_exit 2 verify golden/vit_rms golden/vit_rms --arch tiny --config golden/vit_rms/config.json
expect_one_error 'exclude each other'
expect_exit 0 verify --help
expect_stdout 'verify MODEL GOLDEN_DIR'

# ---- models and folders that are of no use; none of it needs a device
expect_exit 4 verify golden/none golden/vit_rms
expect_one_error 'golden/none'
expect_exit 4 verify golden/vit_rms/formats/must_fail_wrong_shape golden/vit_rms/formats
expect_one_error 'encoder.layers.1.mlp.fc1.weight'
expect_exit 2 verify golden/vit_rms "$tmp/none"
expect_one_error "golden data: .*$tmp/none/pixel_values.npy"
mkdir "$tmp/empty"
expect_exit 2 verify golden/vit_rms "$tmp/empty"
expect_one_error 'pixel_values.npy'

# spoiled: a fresh copy of the golden folder in $bad.
bad=$tmp/bad
spoiled() {
    rm -rf "$bad"
    cp -r golden/vit_rms "$bad"
    rm -rf "$bad/formats"
}
spoiled
rm "$bad"/embeddings.npy "$bad"/block_*.npy "$bad/pooler_output.npy"
expect_exit 2 verify golden/vit_rms "$bad"
expect_one_error 'none of embeddings.npy, block_0.npy .. block_1.npy, pooler_output.npy'
expect_no_stdout
spoiled
rm "$bad/fp64_errors.json"
expect_exit 2 verify golden/vit_rms "$bad"
expect_one_error 'fp64_errors.json'
for text in '{"embeddings": ' '[1, 2]' '{"embeddings": {"max_abs_err": "small", "rms": 1}}' '{}'; do
    echo "$text" >"$bad/fp64_errors.json"
    expect_exit 2 verify golden/vit_rms "$bad"
    expect_one_error 'golden data: .*fp64_errors.json'
done
for array in pixel_values embeddings block_1; do
    spoiled
    head -c 300 golden/vit_rms/$array.npy >"$bad/$array.npy"
    expect_exit 2 verify golden/vit_rms "$bad"
    expect_one_error "golden data: .*$array.npy"
done
spoiled
cp golden/vit_rms/pooler_output.npy "$bad/pixel_values.npy"
expect_exit 2 verify golden/vit_rms "$bad"
expect_one_error 'must be \[N, 3, height, width\]'

# ---- recorded with another model
spoiled
cp golden/vit_rms/block_1.npy "$bad/block_2.npy"
expect_exit 6 verify golden/vit_rms "$bad"
expect_one_error 'block_2.npy, the model has 2 blocks'
expect_exit 6 verify golden/vit_ln golden/vit_rms
expect_one_error 'embeddings.npy.* is not \[2, tokens, 128\]'
spoiled
cp golden/vit_rms/pooler_output.npy "$bad/block_0.npy"
expect_exit 6 verify golden/vit_rms "$bad"
expect_one_error 'block_0.npy'

# ---- runs
need_device
for case in vit_rms:vit_rms vit_rms_odd:vit_rms_odd vit_ln:vit_ln/px56 vit_ln:vit_ln/px84 \
    vit_eps/rms:vit_eps/rms vit_eps/ln:vit_eps/ln; do
    expect_exit 0 verify "golden/${case%:*}" "golden/${case#*:}" --json
    expect_json '.passed and .precision == "exact" and (.arrays | all(.passed and .max_abs_error <= .bound))'
    expect_json '.arrays | length >= 3 and all(.cosine > 0.999999)'
done
expect_exit 0 verify golden/vit_rms/formats/bin golden/vit_rms/formats --residency stream
expect_stdout '^block_1 .* 1\.0000*$'
expect_no_stdout '^embeddings'
expect_exit 0 verify golden/vit_rms golden/vit_rms --json
expect_json '.arrays | map(.name) == ["embeddings", "block_0", "block_1", "pooler_output"]'
expect_json '.arrays | map(.tap) == ["hidden_0", "hidden_1", "hidden_2", "pooled"]'


# InternVL-C and -G: images, queries and texts.
expect_exit 0 verify golden/internvl_c_g golden/internvl_c_g --json
expect_json '.passed and (.arrays | length == 23 and all(.passed and .max_abs_error <= .bound))'
expect_json '.arrays | map(.name) | contains(["image_embeds_g", "query_layer_3", "query_output", "text1_layer_2", "text0_final_norm", "text_embeds_normalized"])'
expect_exit 0 verify golden/internvl_c_g golden/internvl_c_g --residency stream --device-memory 3MiB
expect_stdout '^image_embeds_g .* 1\.0000*$'
clip=$tmp/clip
cp -r golden/internvl_c_g "$clip"
cp golden/internvl_c_g/image_embeds_c.npy "$clip/image_embeds_g.npy"
expect_exit 6 verify golden/internvl_c_g "$clip"
expect_stderr 'error: verify: 1 of 23 arrays .*image_embeds_g'
cp golden/internvl_c_g/text_embeds.npy "$clip/text_ids.npy"
expect_exit 2 verify golden/internvl_c_g "$clip"
expect_one_error 'text_ids.npy. must be int32'
cp golden/internvl_c_g/itm_ids.npy "$clip/text_ids.npy"
expect_exit 6 verify golden/internvl_c_g "$clip"
expect_one_error 'text._layer_0.npy. is not'

# Bounds that no fp32 run meets, and outputs of other layers.
spoiled
sed -i 's/"max_abs_err": [^,]*/"max_abs_err": 1e-12/; s/"rms": [^,]*/"rms": 1e-9/' "$bad/fp64_errors.json"
expect_exit 6 verify golden/vit_rms "$bad"
expect_stdout 'block_0 .*FAILED$'
expect_stderr 'error: verify: 4 of 4 arrays are beyond their bounds'
spoiled
cp golden/vit_rms/block_0.npy "$bad/block_1.npy"
expect_exit 6 verify golden/vit_rms "$bad" --json
expect_json '.passed == false and (.arrays | map(.passed) == [true, true, false, true])'
expect_stderr 'error: verify: 1 of 4 arrays .*block_1'

# Fast: cosines decide, and bounds need not be there. A device without it is told so.
spoiled
rm "$bad/fp64_errors.json"
run verify golden/vit_rms "$bad" --precision fast --json
if [ "$code" = 5 ]; then
    expect_one_error 'fast'
else
    expect_code 0
    expect_json '.passed and (.precision | startswith("fast:")) and (.arrays | all(.bound == null and .cosine >= 0.9999))'
    cp golden/vit_rms/block_0.npy "$bad/block_1.npy"
    expect_exit 6 verify golden/vit_rms "$bad" --precision fast
    expect_stdout '^block_1 .*FAILED$'
fi
expect_exit 5 verify golden/vit_rms golden/vit_rms --device nosuchdevice
expect_exit 5 verify golden/vit_rms golden/vit_rms --device-memory 1KiB
expect_one_error 'use --device-memory'

# ---- the model card's table: random weights run to the end and do not reproduce it
mkdir "$tmp/photos"
cp ../docs/samples/coffee.jpg "$tmp/photos/image1.jpg"
cp ../docs/samples/chelsea.jpg "$tmp/photos/image2.jpg"
expect_exit 2 verify golden/internvl_c_g --published --photos "$tmp/photos"
expect_one_error 'image3.jpg.*is missing'
echo 'no picture' >"$tmp/photos/image3.jpg"
expect_exit 2 verify golden/internvl_c_g --published --photos "$tmp/photos"
expect_stderr 'error: .*image3.jpg'
cp ../docs/samples/rocket.jpg "$tmp/photos/image3.jpg"
expect_exit 4 verify golden/vit_rms --published --photos "$tmp/photos"
expect_one_error 'no text tower'
expect_exit 6 verify golden/internvl_c_g --published --photos "$tmp/photos"
expect_stdout '^c +image1.jpg +\[1\] .* 0.99609 .*FAILED$'
expect_stdout '^g +image3.jpg +\[2\] .* 3.1233e-05 .*FAILED$'
expect_stderr 'precision exact'
expect_stderr 'error: verify: [0-9]+ of 18 probabilities'
expect_exit 6 verify golden/internvl_c_g --published --photos "$tmp/photos" --json -q
expect_json '.passed == false and (.cells | length) == 18 and .bound == 0.2 and .logit_scale > 0 and
    ([.cells[] | select(.mode == "g" and .image == "image2.jpg") | .probability] | add - 1 | fabs < 1e-6)'
