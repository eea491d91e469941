# `internvl embed` in modes c and g: numbers, several arrays in one pass, captions and their scores,
# and runs that end early.
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
need_device
. cli/arrays.sh
. cli/interrupted.sh
model=golden/internvl_c_g
samples=../docs/samples

# ---- numbers
expect_exit 0 embed $model $model/pixel_values.npy --mode c,g -o "$tmp/raw.npy" --normalize no --precision exact
expect_no_file "$tmp/raw.npy"
for mode in c g; do
    expect_that "image_embeds_$mode" close_to "$tmp/raw.$mode.npy" $model/image_embeds_$mode.npy \
        "$(bound_of $model image_embeds_$mode)"
done
expect_exit 0 embed $model $model/pixel_values.npy --mode c,g -o "$tmp/unit.npy" --precision exact -q
for mode in c g; do
    expect_that "image_embeds_${mode}_normalized" close_to "$tmp/unit.$mode.npy" \
        $model/image_embeds_${mode}_normalized.npy "$(bound_of $model image_embeds_${mode}_normalized)"
done
# The pictures that the arrays were made from.
expect_exit 0 embed $model $model/images --mode c,g -o "$tmp/files.npy" --precision exact -q
expect_that 'from files' cmp -s "$tmp/files.g.npy" "$tmp/unit.g.npy"

# ---- modes: the best by default, in one fixed order, alone as together, batch or streamed
expect_exit 0 embed $model $samples --mode c,g -o "$tmp/both.npy" -q
expect_that 'six rows' grep -q '(6, 48)' <(header "$tmp/both.c.npy")
expect_that 'one list of rows' [ "$(wc -l <"$tmp/both.jsonl")" = 6 ]
expect_exit 0 embed $model $samples -o "$tmp/default.npy" -q
expect_that 'the default is g' cmp -s "$tmp/default.npy" "$tmp/both.g.npy"
expect_that 'it squashes and normalises' jq -e '.identity | .mode == "g" and .resize == "squash" and .normalize == "yes" and
    (has("pool") | not)' "$tmp/default.meta.json" >/dev/null
expect_exit 0 embed $model $samples --mode c -o "$tmp/c.npy" -q
expect_that 'c alone' cmp -s "$tmp/c.npy" "$tmp/both.c.npy"
expect_that 'the same rows' cmp -s "$tmp/c.jsonl" "$tmp/both.jsonl"
expect_exit 0 embed $model $samples --mode g --mode c -o "$tmp/both.npy" -d nosuchdevice
expect_stderr 'nothing left to do'
for how in '--batch 1' '--batch 4 --threads 1' '--batch 64' '--batch 3 --residency stream'; do
    # shellcheck disable=SC2086
    expect_exit 0 embed $model $samples --mode c,g -o "$tmp/other.npy" --force -q $how
    expect_that "bits with $how" cmp -s "$tmp/both.c.npy" "$tmp/other.c.npy"
    expect_that "bits of g with $how" cmp -s "$tmp/both.g.npy" "$tmp/other.g.npy"
done
expect_exit 0 embed $model $samples/coffee.jpg -o "$tmp/one.npy" -q
expect_that 'a picture alone' cmp -s <(values "$tmp/one.npy") <(rows "$tmp/both.g.npy" 48 4 4)
expect_exit 0 embed $model $samples --mode c,g -o "$tmp/other.npy" --force --batch 6 --stats "$tmp/stats.json" -q
expect_that 'one pass for both' jq -e '.images == 6 and .weight_passes == 1' "$tmp/stats.json" >/dev/null
expect_exit 0 embed $model $samples --mode vit -o "$tmp/vit.npy" -q
expect_that 'the tower crops' jq -e '.identity | .mode == "vit" and .resize == "crop" and .normalize == "no" and .pool == "cls"' \
    "$tmp/vit.meta.json" >/dev/null
expect_that 'the width of the tower' grep -q '(6, 160)' <(header "$tmp/vit.npy")
expect_exit 0 embed $model $samples --mode vit,g --resize squash --pool mean -o "$tmp/mix.npy" -q
expect_that 'g beside vit' cmp -s "$tmp/mix.g.npy" "$tmp/both.g.npy"
expect_that 'each as its mode has it' jq -e '.identity.normalize == "no,yes"' "$tmp/mix.meta.json" >/dev/null

# ---- forms of two arrays
expect_exit 0 embed $model $samples --mode c,g -o "$tmp/units/" --unit-rows 4 -q
expect_file "$tmp/units/img_emb_c/img_emb_c_000001.npy"
expect_file "$tmp/units/img_emb_g/img_emb_g_000001.npy"
expect_exit 0 merge "$tmp/units/" -o "$tmp/merged.npy" -q
for file in c.npy g.npy jsonl; do
    expect_that "merged $file" cmp -s "$tmp/merged.$file" "$tmp/both.$file"
done
expect_exit 0 embed $model $samples --mode c,g -o "$tmp/form.npz" -q
expect_file "$tmp/form.npz"
for form in jsonl csv sqlite; do
    expect_exit 0 embed $model $samples --mode c,g -o "$tmp/form_$form.$form" -q
    expect_file "$tmp/form_$form.c.$form"
    expect_file "$tmp/form_$form.g.$form"
done
expect_that 'keys in both' diff <(cut -d, -f1 "$tmp/form_csv.c.csv") <(cut -d, -f1 "$tmp/form_csv.g.csv")

# ---- captions: vectors row for row, cosines
mkdir "$tmp/tar"
i=0
for picture in $samples/*.jpg; do
    i=$((i + 1))
    name=$tmp/tar/00$i
    cp "$picture" "$name.jpg"
    case $i in
    1) printf 'a photo of an astronaut\n' >"$name.txt" ;;
    2) printf '{"caption": "ein Mann mit Kamera", "pair_score": 7}' >"$name.json" ;;
    3) : >"$name.txt" ;;
    4) printf 'a cup of coffee' >"$name.txt" ;;
    5) printf '\xff not text' >"$name.txt" ;;
    esac
done
tar -C "$tmp/tar" -cf "$tmp/pairs.tar" --sort=name .
pairs=("$tmp/pairs.tar" --mode "c,g" --with-texts --pair-score)
expect_exit 3 embed $model "${pairs[@]}" -o "$tmp/pairs.npy" --stats "$tmp/stats.json"
expect_stderr 'skipped .*005.jpg: its caption is not UTF-8'
expect_stderr 'skipped .*006.jpg: it has no caption'
expect_that 'one pass for images and captions' jq -e '.images == 4 and .weight_passes == 1' "$tmp/stats.json" >/dev/null
expect_that 'failed inputs are recorded' [ "$(wc -l <"$tmp/pairs.errors.jsonl")" = 2 ]
expect_that 'four rows everywhere' grep -q '(4, 48)' <(header "$tmp/pairs.text.npy")
expect_that 'the images are those of any run' cmp -s <(values "$tmp/pairs.g.npy") <(rows "$tmp/both.g.npy" 48 1 4)
printf 'a photo of an astronaut\nein Mann mit Kamera\n\na cup of coffee\n' >"$tmp/captions.txt"
expect_exit 0 embed $model --texts "$tmp/captions.txt" -o "$tmp/captions.npy" -q
expect_that 'the captions are those of --texts' cmp -s "$tmp/captions.npy" "$tmp/pairs.text.npy"
# scores MODE: the products of rows that were written; length 1 up to half a unit of each of 2 x 48 floats.
scores() {
    paste <(values "$tmp/pairs.$1.npy") <(values "$tmp/pairs.text.npy") |
        awk '{ s += $1 * $2; if (NR % 48 == 0) { print s; s = 0 } }'
}
for mode in c g; do
    expect_that "pair_score_$mode" awk '{ d = $1 - $2; if (!(d < 1e-6 && d > -1e-6)) exit 1; n++ } END { exit n != 4 }' \
        <(paste <(scores $mode) <(jq ".pair_score_$mode" "$tmp/pairs.jsonl"))
done
expect_that 'the sidecar keeps its own' jq -e -s '.[1].sidecar_pair_score == 7' "$tmp/pairs.jsonl" >/dev/null
expect_exit 3 embed $model "$tmp/pairs.tar" --pair-score -o "$tmp/score.npy" --normalize no -q
expect_no_file "$tmp/score.text.npy"
expect_that 'one mode has one score' diff <(jq .pair_score "$tmp/score.jsonl") <(jq .pair_score_g "$tmp/pairs.jsonl")
for how in '--batch 1' '--batch 3 --residency stream'; do
    # shellcheck disable=SC2086
    expect_exit 3 embed $model "${pairs[@]}" -o "$tmp/other_pairs.npy" --force -q $how
    for file in c.npy g.npy text.npy jsonl errors.jsonl; do
        expect_that "$file with $how" cmp -s "$tmp/pairs.$file" "$tmp/other_pairs.$file"
    done
done
expect_exit 3 embed $model "${pairs[@]}" -o "$tmp/pair_units/" -q
expect_file "$tmp/pair_units/text_emb/text_emb_000000.npy"
expect_exit 0 embed $model "${pairs[@]}" -o "$tmp/no/dry.npy" --dry-run
expect_stdout '^bytes out: 3456 \(576 a row\)$'

# ---- usage and models
expect_exit 2 embed $model $samples --mode x -o "$tmp/w.npy"
expect_one_error "--mode 'x'"
expect_exit 2 embed $model $samples --mode c,vit -o "$tmp/w.npy"
expect_one_error 'need --resize'
expect_exit 2 embed $model $samples --pool mean -o "$tmp/w.npy"
expect_one_error '--pool is of mode vit'
expect_exit 2 embed $model $samples --mode vit --pair-score -o "$tmp/w.npy"
expect_one_error 'mode c or g'
expect_exit 2 embed $model "$tmp/pairs.tar" --pair-score -o "$tmp/w.csv"
expect_one_error '\.csv'
expect_exit 2 embed $model $samples --mode c -o "$tmp/default.npy"
expect_one_error 'mode is "g", this run has "c"'
expect_exit 4 embed golden/vit_rms $samples --mode g -o "$tmp/w.npy"
expect_one_error 'no mode g; it has: vit'
expect_exit 4 embed golden/vit_rms $samples --with-texts -o "$tmp/w.npy"
expect_one_error '--with-texts needs a text tower'
# A checkpoint of InternVL-C alone: c is the best it has, and c alone.
expect_exit 0 synth internvl-c-13b-224 -o "$tmp/c13b" -q --set \
    vision_config.num_hidden_layers=1,vision_config.hidden_size=64,vision_config.num_attention_heads=4 --set \
    vision_config.intermediate_size=64,vision_config.image_size=28,qllama_config.num_hidden_layers=1 --set \
    qllama_config.hidden_size=64,qllama_config.num_attention_heads=4,qllama_config.intermediate_size=64 --set \
    qllama_config.vocab_size=300,qllama_config.num_key_value_heads=4
for mode in g c,g; do
    expect_exit 4 embed "$tmp/c13b" $samples --mode $mode -o "$tmp/w.npy"
    expect_one_error 'no mode g; it has: vit, c'
done
expect_exit 3 embed "$tmp/c13b" "$tmp/pairs.tar" --pair-score -o "$tmp/c13b.npy" -q
expect_that 'its default is c' jq -e '.identity.mode == "c"' "$tmp/c13b.meta.json" >/dev/null
expect_that 'its score' jq -e -s 'length == 4 and all(.[]; .pair_score | type == "number")' "$tmp/c13b.jsonl" >/dev/null
expect_no_file "$tmp/w.npy"

# ---- kill -9 with two arrays, in single files and in a folder: the bytes of one run
for i in $(seq 30); do echo $samples/coffee.jpg; echo $samples/nosuchfile.jpg; echo $samples/chelsea.jpg; done >"$tmp/list"
batch=4
expect_exit 3 embed $model @"$tmp/list" --mode c,g -o "$tmp/whole.npy" --batch $batch -q
begin "$tmp/killed.npy" $model - --mode c,g
kill -9 "$pid"
finish_run 2>/dev/null
last='a run killed by SIGKILL'
expect_code 137
expect_no_file "$tmp/killed.c.npy"
saved_rows=$(wc -l <"$tmp/killed.jsonl.part")
expect_exit 3 embed $model @"$tmp/list" --mode c,g -o "$tmp/killed.npy" --batch $batch --stats "$tmp/stats.json" -q
expect_that 'after kill -9 the bytes are those of one run' same_as_whole killed c.npy g.npy jsonl errors.jsonl
expect_that 'at most one batch is computed again' \
    jq -e ".images <= 60 - $saved_rows + $batch and .images < 60" "$tmp/stats.json" >/dev/null
expect_exit 3 embed $model @"$tmp/list" --mode c,g -o "$tmp/whole_units/" --batch $batch -q
begin "$tmp/killed_units/" $model - --mode c,g
kill -9 "$pid"
finish_run 2>/dev/null
expect_exit 3 embed $model @"$tmp/list" --mode c,g -o "$tmp/killed_units/" --batch $batch -q
for folder in img_emb_c img_emb_g metadata errors; do
    expect_that "after kill -9 $folder is that of one run" diff -rq "$tmp/whole_units/$folder" "$tmp/killed_units/$folder"
done
