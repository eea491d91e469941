# `internvl classify`: the recorded classes, names and prompts, labels, the cache of class vectors.
# shellcheck shell=bash disable=SC2034,SC2154
need_device
model=golden/internvl_c_g
golden=golden/zeroshot
# Vectors of texts that another build of the program kept are not what is tested.
export XDG_CACHE_HOME="$tmp/xdg"
images="$model/images"

jq -r '.classes[]' $golden/zeroshot.json >"$tmp/classes.txt"
jq -r '.templates[]' $golden/zeroshot.json >"$tmp/templates.txt"
jq -r --arg images "$images" '["key,label"] + [.target | to_entries[] | "\($images)/img\(.key).png,\(.value)"] | .[]' \
    $golden/zeroshot.json >"$tmp/labels.csv"
prompts=(--classes "$tmp/classes.txt" --templates "$tmp/templates.txt")

# ---- the recorded case: best five in order, logits, accuracies
for mode in c g; do
    name=$(tr cg CG <<<$mode)
    expect_exit 0 classify $model $images "${prompts[@]}" --labels "$tmp/labels.csv" --mode $mode --precision exact
    expect_that 'four rows and a last line' [ "$(wc -l <"$out")" = 5 ]
    expect_that "classes of $mode" cmp -s <(jq -c 'select(.top) | [.top[].index]' "$out") \
        <(jq -c ".$name.top5_indices[]" $golden/zeroshot.json)
    expect_that "names of $mode" cmp -s <(jq -r 'select(.top) | .top[].class' "$out") \
        <(jq -r "[.classes, .$name.top5_indices] | .[0] as \$c | .[1][][] | \$c[.]" $golden/zeroshot.json)
    # Recorded with four digits: half of the last one, and the bound of `verify`.
    bound=$(jq -r ".logits_$mode | [8 * .max_abs_err, 4e-6 * .rms] | max + 5e-5" $golden/fp64_errors.json)
    expect_that "scores of $mode" awk -v bound="$bound" '
        { d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || !(d <= bound)) bad = 1; n++ }
        END { exit bad || n != 20 }' <(paste <(jq -r 'select(.top) | .top[].score' "$out") \
        <(jq -r ".$name.top5_logits[][]" $golden/zeroshot.json))
    expect_that "metrics of $mode" [ "$(tail -n 1 "$out" | jq -c '[.acc1, .acc5, .mean_per_class_recall, .images]')" = \
        "$(jq -c "[.$name.acc1, .$name.acc5, .$name.mean_per_class_recall, 4]" $golden/zeroshot.json)" ]
done

# ---- the vectors of the classes are kept: the same bytes, and no text is encoded again
cache="$tmp/cache"
first() { run classify $model $images "${prompts[@]}" --cache-dir "$cache" -v; }
first
expect_code 0
cp "$out" "$tmp/first"
expect_no_stderr 'classes were encoded before'
expect_that 'one file is kept' [ "$(find "$cache/texts" -name '*.npy' | wc -l)" = 1 ]
first
expect_stderr '6 of 6 classes were encoded before'
expect_that 'the same bytes' cmp -s "$out" "$tmp/first"
kept=$(echo "$cache"/texts/*.npy)
# What an interrupted run left: the first two classes. The array's header has a fixed length.
head -c $((192 + 2 * 48 * 4)) "$kept" | sed 's/(6, 48)/(2, 48)/' >"$tmp/part.npy"
mv "$tmp/part.npy" "$kept"
first
expect_stderr '2 of 6 classes were encoded before'
expect_that 'a run that goes on gives the same bytes' cmp -s "$out" "$tmp/first"
expect_that 'and completes the file' grep -aq '(6, 48)' "$kept"
# Damage.
printf 'xxxxxxxx' | dd of="$kept" bs=1 seek=300 conv=notrunc status=none
first
expect_code 0
expect_stderr "'.*npy' is damaged; its vectors are computed again"
expect_that 'damage changes nothing' cmp -s "$out" "$tmp/first"
# Another name is another set of classes.
sed 's/tench/trench/' "$tmp/classes.txt" >"$tmp/other.txt"
expect_exit 0 classify $model $images --classes "$tmp/other.txt" --templates "$tmp/templates.txt" --cache-dir "$cache"
expect_no_stderr 'were encoded before'
expect_exit 0 classify $model $images "${prompts[@]}" --no-cache -q
expect_that 'without a cache too' cmp -s "$out" "$tmp/first"

# ---- an interrupted run keeps the classes it has finished, and the next one goes on there
seq -f 'thing number %g' 3000 >"$tmp/many.txt"
many=(classify "$model" "$images/img0.png" --classes "$tmp/many.txt" --topk 50)
expect_exit 0 "${many[@]}" --cache-dir "$tmp/whole" -q
cp "$out" "$tmp/want"
last='internvl classify ... and SIGINT when the first classes are kept'
"$internvl" "${many[@]}" --cache-dir "$tmp/cut" >"$out" 2>"$err" &
pid=$!
for _ in $(seq 2000); do
    [ -z "$(find "$tmp/cut/texts" -name '*.npy' 2>/dev/null)" ] || break
    sleep 0.02
done
kill -INT $pid
code=0
wait $pid || code=$?
expect_code 130
expect_no_stdout
expect_exit 0 "${many[@]}" --cache-dir "$tmp/cut"
expect_stderr '[1-9][0-9]* of 3000 classes were encoded before'
expect_no_stderr '3000 of 3000'
expect_that 'the same bytes as without interruption' cmp -s "$out" "$tmp/want"
expect_that 'the same vectors' cmp -s "$tmp"/whole/texts/*.npy "$tmp"/cut/texts/*.npy

# ---- topk, batches, published prompts, names that stand twice
expect_exit 0 classify $model $images "${prompts[@]}" --topk 1 -q --batch 1
expect_that 'one class a row' cmp -s <(jq -c '.top' "$out") <(jq -c '.top[:1]' "$tmp/first")
expect_exit 0 classify $model $images "${prompts[@]}" --topk 100 -q
expect_json '(.top | length) == 6'
expect_exit 0 classify $model $images --prompts $golden/prompts --dataset imagenet1k --language zh -q
expect_stdout '小熊猫'
expect_exit 0 classify $model $images --prompts $golden/prompts --dataset vtab/flowers -q
expect_json '(.top | length) == 2'
expect_exit 0 classify $model $images/img0.png --prompts $golden/prompts --dataset imagenet1k -q
# Both cranes have one vector: the lower index first.
expect_json '[.top[] | select(.class == "crane")] | .[0].index == 3 and .[1].index == 4 and .[0].score == .[1].score'

# ---- labels
printf 'key,label\n"%s/img0.png",tench\n' "$images" >"$tmp/some.csv"
expect_exit 0 classify $model $images "${prompts[@]}" --labels "$tmp/some.csv"
expect_that 'one image counts' [ "$(tail -n 1 "$out" | jq .images)" = 1 ]
expect_stderr '3 images have no label in .*some.csv. and are not counted'
printf 'cat\ndog\n' >"$tmp/two.txt"
expect_exit 0 classify $model $images/img0.png --classes "$tmp/two.txt" --labels <(echo "key,label
$images/img0.png,1") -q
expect_that 'no acc5 below five classes' [ "$(tail -n 1 "$out" | jq -c .acc5)" = null ]
printf 'key,label\n%s/img0.png,0\nnone.png,1\n' "$images" >"$tmp/unknown.csv"
expect_exit 2 classify $model $images "${prompts[@]}" --labels "$tmp/unknown.csv"
expect_one_error "1 keys of '.*unknown.csv' are none of the inputs: \"none.png\""
expect_no_stdout
echo "$images/img0.png" >"$tmp/list"
last='internvl classify MODEL - --labels unknown.csv <list'
code=0
"$internvl" classify $model - "${prompts[@]}" --labels "$tmp/unknown.csv" <"$tmp/list" >"$out" 2>"$err" || code=$?
expect_code 2
expect_stderr '1 keys of .* are none of the inputs'
expect_that 'what was computed is there' [ "$(wc -l <"$out")" = 2 ]
printf 'key,label\nx,cow\n' >"$tmp/cow.csv"
expect_exit 2 classify $model $images "${prompts[@]}" --labels "$tmp/cow.csv"
expect_one_error 'cow.csv.: line 2: label "cow" is neither the name of a class nor an index from 0 to 5'

# ---- pictures that fail have no line
echo x >"$tmp/bad.png"
expect_exit 3 classify $model "$tmp/bad.png" $images/img0.png "${prompts[@]}"
expect_that 'one line' [ "$(wc -l <"$out")" = 1 ]
expect_stderr 'skipped .*bad.png'

# ---- a reader that goes away ends the run
last='internvl classify ... | true'
code=0
{ "$internvl" classify $model $images $images $images "${prompts[@]}" -q 2>"$err" || echo $? >"$tmp/code"; } | true
expect_that 'a closed pipe is an error' [ "$(cat "$tmp/code" 2>/dev/null)" = 1 ]

# ---- usage, lists and models
expect_exit 2 classify $model $images
expect_one_error 'no classes: give --classes FILE, or --prompts DIR with --dataset NAME'
expect_exit 2 classify $model $images --prompts $golden/prompts
expect_one_error 'prompts needs --dataset NAME'
expect_exit 2 classify $model $images --prompts $golden/prompts --dataset imagenet1k --language de
expect_one_error "language 'de' is unknown"
expect_exit 2 classify $model $images --prompts $golden/prompts --dataset none
expect_one_error 'en_classnames.json.: nothing for "none"; there is: imagenet1k, flowers, digits'
expect_exit 2 classify $model $images "${prompts[@]}" --prompts $golden/prompts --dataset imagenet1k
expect_one_error 'both give templates'
expect_exit 2 classify $model $images --classes "$tmp/classes.txt" --dataset imagenet1k
expect_one_error 'belong to --prompts DIR'
expect_exit 2 classify $model $images "${prompts[@]}" --topk 0
expect_one_error 'topk must be at least 1'
printf 'a photo of {}\nno place\n' >"$tmp/noplace.txt"
expect_exit 2 classify $model $images --classes "$tmp/classes.txt" --templates "$tmp/noplace.txt"
expect_one_error 'noplace.txt.: line 2 \("no place"\) has no \{\} or \{c\}'
expect_exit 2 classify $model $images --classes $model/images/img0.png
expect_one_error 'img0.png.: line 1: line is not UTF-8'
expect_exit 2 classify $model $images --classes "$tmp/none.txt"
expect_one_error 'none.txt'
expect_exit 4 classify golden/vit_rms $images "${prompts[@]}"
expect_one_error 'has no text tower'
