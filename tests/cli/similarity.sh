# `internvl similarity`: numbers, forms, texts and pictures that fail, models that cannot.
# shellcheck shell=bash disable=SC2034,SC2154,SC1091
. cli/arrays.sh
need_device
model=golden/internvl_c_g
samples=../docs/samples

# numbers_close FILTER ARRAY BOUND: the numbers that jq's FILTER makes of stdout are those of the array.
numbers_close() {
    paste <(jq -r "$1" "$out") <(values "$2") | awk -v bound="$3" '
        NF != 2 { bad = 1 }
        { d = $1 - $2; if (d < 0) d = -d; if (!(d <= bound)) bad = 1; n++ }
        END { exit bad || !n }'
}

# ---- the recorded logits of both modes: four pictures, ten texts, one with a line feed, one empty
jq -c '.[]' $model/texts.json >"$tmp/texts.jsonl"
for mode in c g; do
    expect_exit 0 similarity $model --mode $mode --images $model/images --texts "$tmp/texts.jsonl" --json \
        --precision exact
    expect_that "logits of $mode" numbers_close '.logits[][]' $model/logits_per_image_$mode.npy \
        "$(bound_of $model logits_per_image_$mode)"
    expect_json ".mode == \"$mode\" and (.texts | length) == 10 and (.images | length) == 4"
    expect_json '.images[2] == "golden/internvl_c_g/images/img2.png" and .texts[2] == ""'
    # Softmax over the texts, and one scale for all cosines; values are printed as floats.
    expect_json '[.probabilities[] | add | . > 0.999999 and . < 1.000001] | all'
    expect_json '[[.logits, .cosine] | transpose[] | transpose[] | .[0] / .[1]] | (max - min) / max < 1e-5'
done
# The best mode is the default.
cp "$out" "$tmp/g.json"
expect_exit 0 similarity $model --images $model/images --texts "$tmp/texts.jsonl" --json --precision exact
expect_that 'the default is g' cmp -s "$out" "$tmp/g.json"

# ---- a picture and a text do not depend on what is beside them, and come in the order given
expect_exit 0 similarity $model --text 'a bowl of soup' --images $model/images/img3.png --json --precision exact
expect_json '.images == ["golden/internvl_c_g/images/img3.png"] and .texts == ["a bowl of soup"]'
alone=$(jq -c '.cosine[0][0]' "$out")
expect_exit 0 similarity $model $model/images/img0.png --images "$model/images/img3.png,$model/images/img1.png" \
    $model/images/img2.png --text x --text 'a bowl of soup' --json --precision exact --batch 3
expect_json '[.images[] | .[-5:-4]] == ["0", "3", "1", "2"]'
expect_that 'the cosine among others is that alone' [ "$(jq -c '.cosine[1][1]' "$out")" = "$alone" ]

# ---- the table
expect_exit 0 similarity $model --images $model/images --text 'a bowl of soup' --text '一只猫'
expect_stdout '^\[2\] 一只猫$'
expect_stdout '^cosine, of texts +\[1\] +\[2\]$'
expect_stdout '^\.\.n/internvl_c_g/images/img1.png +-?0\.[0-9]{4} +[0-9.]+ % +-?0\.[0-9]{4} +[0-9.]+ %$'
expect_stderr '4 images'

# ---- matching: the recorded logits of six pairs as probabilities of class 1. The derivative of the sigmoid by each logit
# is at most 1/4, so two logits that differ by the bound move it by at most half of that; 6e-8 is its own rounding.
jq -c '.texts[] | {text: .}' $model/itm.json >"$tmp/itm.jsonl"
expect_exit 0 similarity $model --images $model/images --texts "$tmp/itm.jsonl" --itm --json --precision exact
expect_that 'matching' awk -v bound="$(bound_of $model itm_logits)" '
    { d = $1 - 1 / (1 + exp($2 - $3)); if (d < 0) d = -d; if (NF != 3 || !(d <= bound / 2 + 6e-8)) bad = 1; n++ }
    END { exit bad || n != 6 }' \
    <(paste -d ' ' <(jq -r --argjson pairs "$(jq -c .pairs_image_text $model/itm.json)" '.itm as $m | $pairs[] | $m[.[0]][.[1]]' "$out") \
    <(values $model/itm_logits.npy | paste -d ' ' - -))
expect_exit 0 similarity $model --images $model/images/img0.png --text x --itm --mode c
expect_stdout '^cosine, of texts, match +\[1\]$'

# ---- texts
expect_exit 0 similarity $model --images $model/images/img0.png --text "$(printf 'a text\tthat is longer than its column')"
expect_stdout '^\[1\] a text that is longer than its\.\.$'
head -c 1000000 /dev/zero | tr '\0' 'a' >"$tmp/long.txt"
expect_exit 0 similarity $model --images $model/images/img0.png --texts "$tmp/long.txt" --text '' --json -q
expect_json '(.texts[0] == "") and (.texts[1] | length) == 1000000 and (.cosine[0] | length) == 2'
expect_no_stderr
printf 'good\n\377bad\n\nlast\r\n' >"$tmp/some.txt"
expect_exit 3 similarity $model --images $model/images/img0.png --texts "$tmp/some.txt" --json
expect_json '.texts == ["good", "", "last"]'
expect_stderr 'skipped line 2 of .*some.txt: line is not UTF-8 at byte 0 \(0xff\)'
printf '\377\376\375\n\377\n' >"$tmp/binary"
expect_exit 3 similarity $model --images $model/images/img0.png --texts "$tmp/binary"
expect_stderr 'error: similarity: no text is left \(2 skipped\)'
expect_no_stdout

# ---- pictures
cp $model/images/img0.png "$tmp/good.png"
echo 'no picture' >"$tmp/bad.png"
expect_exit 3 similarity $model --images "$tmp/bad.png" "$tmp/good.png" "$tmp/none.png" --text x --json
expect_json '(.images | length) == 1'
expect_stderr 'skipped .*bad.png: '
expect_stderr 'skipped .*none.png: '
expect_exit 3 similarity $model --images "$tmp/bad.png" --text x
expect_no_stdout

# ---- usage
expect_exit 2 similarity
expect_one_error 'a MODEL is missing'
expect_exit 2 similarity $model --images $model/images
expect_one_error 'no texts: give --texts FILE or --text STR'
expect_exit 2 similarity $model --text x
expect_one_error 'no inputs'
expect_exit 2 similarity $model --images $model/images --text x --mode vit
expect_one_error "mode 'vit' is none of images and texts; c or g"
expect_exit 2 similarity $model --images $model/images --texts "$tmp/none.txt"
expect_one_error 'none.txt'

# ---- models: no text tower, no such mode, no tokenizer, another's
expect_exit 4 similarity golden/vit_rms --images $model/images --text x
expect_one_error 'golden/vit_rms \(InternViT\) has no text tower; InternVL-14B and InternVL-C have one'
expect_exit 0 synth internvl-c-13b-224 -o "$tmp/c13b" -q --set \
    vision_config.num_hidden_layers=1,vision_config.hidden_size=64,vision_config.num_attention_heads=4 --set \
    vision_config.intermediate_size=64,vision_config.image_size=28,qllama_config.num_hidden_layers=1 --set \
    qllama_config.hidden_size=64,qllama_config.num_attention_heads=4,qllama_config.intermediate_size=64 --set \
    qllama_config.vocab_size=300,qllama_config.num_key_value_heads=4
expect_exit 4 similarity "$tmp/c13b" --images $model/images --text x --mode g
expect_one_error 'has no mode g; it has: c'
expect_exit 0 similarity "$tmp/c13b" --images $model/images/img0.png --text x --json -q
expect_json '.mode == "c"'
expect_exit 4 similarity "$tmp/c13b" --images $model/images --text x --itm
expect_one_error 'itm needs the queries of InternVL-G'
mkdir "$tmp/bare"
cp $model/config.json $model/model.safetensors "$tmp/bare"
expect_exit 4 similarity "$tmp/bare" --images $model/images --text x
expect_one_error "bare' holds no tokenizer.model; give its file by --tokenizer FILE"
expect_exit 0 similarity "$tmp/bare" --tokenizer golden/tokenizer/tiny.model --images $model/images --text x -q
expect_exit 4 similarity $model --tokenizer "$tmp/c13b/tokenizer.model" --images $model/images --text x
expect_one_error "tokenizer.model' has 300 pieces, but the vocabulary of 'golden/internvl_c_g' has 797"
expect_exit 4 similarity $model --tokenizer golden/malformed/spm_truncated.model --images $model/images --text x
expect_one_error 'spm_truncated.model.*damaged'
