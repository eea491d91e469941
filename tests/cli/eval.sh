# `internvl eval`: classification and retrieval on small sets, published figures, scores alone.
# shellcheck shell=bash disable=SC2034,SC2154
golden=golden/zeroshot
# Vectors of texts that another build of the program kept are not what is tested.
export XDG_CACHE_HOME="$tmp/xdg"
model=golden/internvl_c_g

# ---- suites (nothing else is needed)
expect_exit 0 eval suites
expect_stdout '^classification  imagenet1k +validation set'
expect_stdout '^retrieval       flickr30k-cn +flickr30k_cn_test.txt'
expect_exit 0 eval suites --json
expect_json 'length == 44 and (.[0] | .name == "imagenet1k" and .c.acc1 == 0.83178 and .g.acc1 == 0.829)'

# ---- scores alone: the recorded logits and scores as predictions give the recorded metrics
mkdir "$tmp/class" "$tmp/ret"
jq -c '{format: "internvl predictions 1", task: "classification", suite: null, mode: "c", model_id: "", classes: 6},
    ([.target, .C.top5_indices] | transpose[] | {label: .[0], top: [.[1][] | {index: .}]})' \
    $golden/zeroshot.json >"$tmp/class/predictions.jsonl"
expect_exit 0 eval classification --score-only -o "$tmp/class"
expect_stdout '^acc1 +0\.0000 +-$'
expect_stdout '^acc5 +0\.7500 +-$'
expect_that 'metrics.json' [ "$(jq -c '[.metrics[]]' "$tmp/class/metrics.json")" = '[0,0.75,0]' ]
expect_exit 0 eval classification --score-only -o "$tmp/class" --suite imagenet1k --json
expect_json '.suite == "imagenet1k" and .published.acc1 == 0.83178 and (.source | test("OpenGVLab"))'
# [texts, 12] scores to both rankings.
od -An -v -tf4 -w48 -j "$(($(od -An -tu2 -j8 -N2 $golden/retrieval_scores.npy) + 10))" $golden/retrieval_scores.npy |
    jq -cs --argjson of "$(jq -c .text_image_index $golden/retrieval.json)" '
        def best: to_entries | sort_by(-.value, .key) | .[:10] | map({index: .key, score: .value});
        [range(0; length; 12) as $i | .[$i:$i + 12]] as $s |
        {format: "internvl predictions 1", task: "retrieval", suite: "flickr30k", mode: "g", model_id: "",
         images: 12, texts: ($s | length)},
        (range($s | length) as $t | {query: "text", index: $t, right: [$of[$t]], top: ($s[$t] | best)}),
        (range(12) as $i | {query: "image", index: $i, right: [range($s | length) | select($of[.] == $i)],
         top: ([$s[][$i]] | best)})' >"$tmp/ret/predictions.jsonl"
expect_exit 0 eval retrieval --score-only -o "$tmp/ret" --json
for metric in image_retrieval_recall text_retrieval_recall; do
    for k in 1 5 10; do
        # Recorded in fp32: half of its last place beside a double below 1.
        expect_json ".metrics.\"$metric@$k\" - $(jq ".metrics.\"$metric@$k\"" $golden/retrieval.json) | fabs < 6e-8"
    done
done
expect_json '.suite == "flickr30k" and .published."image_retrieval_recall@1" == 0.8498 and .images == 12 and .texts == 47'
expect_exit 0 eval retrieval --score-only -o "$tmp/ret"
expect_stdout '^image_retrieval_recall@1 +0\.3830 +0\.8498$'
expect_stdout '^published: clip_benchmark/README.md of OpenGVLab/InternVL, zero-shot retrieval \(mode g\)$'

# ---- bad predictions, usage
expect_exit 2 eval classification --score-only -o "$tmp/ret"
expect_one_error 'predictions.jsonl.: line 1: these are predictions of retrieval'
expect_exit 2 eval classification --score-only -o "$tmp/none"
expect_one_error 'none/predictions.jsonl'
echo '{"label": 7, "top": []}' >>"$tmp/class/predictions.jsonl"
expect_exit 2 eval classification --score-only -o "$tmp/class"
expect_one_error 'line 6: "label" is no number from 0 to below 6'
: >"$tmp/class/predictions.jsonl"
expect_exit 2 eval classification --score-only -o "$tmp/class"
expect_one_error 'there are no predictions'
expect_exit 2 eval
expect_one_error 'which task\? classification, retrieval or suites'
expect_exit 2 eval captions -o "$tmp/x"
expect_one_error "'captions' is none of classification, retrieval and suites"
expect_exit 2 eval classification $model "$tmp"
expect_one_error 'where do results go'
expect_exit 2 eval classification $model "$tmp" -o "$tmp/x" --suite imagenet
expect_one_error "no suite of classification is called 'imagenet'; did you mean imagenet"
expect_exit 2 eval classification $model -o "$tmp/x" --classes "$tmp/none.txt"
expect_one_error 'needs a MODEL and a folder with a folder for each class, got 1 arguments'
expect_exit 2 eval retrieval $model -o "$tmp/x"
expect_one_error 'needs --annotations FILE and --images DIR'

# ---- classification: a folder per class
need_device
data="$tmp/data"
mkdir "$data"
i=0
while IFS= read -r name; do
    mkdir "$data/$name"
    echo "$name" >>"$tmp/classes.txt"
done < <(jq -r '.classes[]' $golden/zeroshot.json)
jq -r '.templates[]' $golden/zeroshot.json >"$tmp/templates.txt"
while IFS= read -r label; do
    cp $model/images/img$i.png "$data/$(sed -n "$((label + 1))p" "$tmp/classes.txt")"
    i=$((i + 1))
done < <(jq '.target[]' $golden/zeroshot.json)
prompts=(--classes "$tmp/classes.txt" --templates "$tmp/templates.txt")
for mode in c g; do
    name=$(tr cg CG <<<$mode)
    expect_exit 0 eval classification $model "$data" "${prompts[@]}" -o "$tmp/out.$mode" --mode $mode --json \
        --precision exact --suite pets
    expect_that "metrics of $mode" [ "$(jq -c '[.metrics[]]' "$out")" = \
        "$(jq -c "[.$name | .acc1, .acc5, .mean_per_class_recall]" $golden/zeroshot.json)" ]
    expect_that "predictions of $mode" cmp -s \
        <(tail -n +2 "$tmp/out.$mode/predictions.jsonl" | jq -c '[.key[-8:], .label, [.top[].index]]' | sort) \
        <(jq -c "[.target, .$name.top5_indices] | transpose | to_entries[] |
            [\"img\(.key).png\", .value[0], .value[1]]" $golden/zeroshot.json | sort)
done
expect_that 'published figures of C' [ "$(jq .published.acc1 "$tmp/out.c/metrics.json")" = 0.96048 ]
# Again: nothing is computed; another mode is another set of vectors.
cp "$tmp/out.c/predictions.jsonl" "$tmp/before"
expect_exit 0 eval classification $model "$data" "${prompts[@]}" -o "$tmp/out.c" --mode c --precision exact --suite pets
expect_stderr 'nothing left to do'
expect_that 'the same predictions' cmp -s "$tmp/out.c/predictions.jsonl" "$tmp/before"
expect_exit 2 eval classification $model "$data" "${prompts[@]}" -o "$tmp/out.c" --mode g
expect_stderr 'mode is "c", this run has "g"'
# Sorted folders, or folders by a list; pictures that fail or lie outside.
mkdir "$tmp/ids"
printf 'n3\nn1\nn2\nn6\nn5\nn4\n' >"$tmp/folders.txt"
n=0
while IFS= read -r id; do
    n=$((n + 1))
    cp -r "$data/$(sed -n ${n}p "$tmp/classes.txt")" "$tmp/ids/$id"
done <"$tmp/folders.txt"
expect_exit 0 eval classification $model "$tmp/ids" "${prompts[@]}" -o "$tmp/ids.out" --folders "$tmp/folders.txt" --mode c
expect_that 'labels by the list' cmp -s \
    <(tail -n +2 "$tmp/ids.out/predictions.jsonl" | jq -c '[.key[-8:], .label]' | sort) \
    <(tail -n +2 "$tmp/out.c/predictions.jsonl" | jq -c '[.key[-8:], .label]' | sort)
echo bad >"$tmp/ids/n2/bad.png"
cp $model/images/img0.png "$tmp/ids"
expect_exit 3 eval classification $model "$tmp/ids" "${prompts[@]}" -o "$tmp/sorted.out" --json
expect_json '.metrics and .images == 4'
expect_stderr 'folders in their sorted order are the classes: .n1. is "tench"'
expect_stderr 'skipped .*bad.png'
expect_stderr '1 pictures of .* lie in no folder and are not counted'
rmdir "$tmp/ids/n5" 2>/dev/null || rm -r "$tmp/ids/n5"
expect_exit 2 eval classification $model "$tmp/ids" "${prompts[@]}" -o "$tmp/x"
expect_one_error "has 5 folders for 6 classes, and 'n1' is the name of none or of several; give --folders FILE"
printf 'n1\n' >"$tmp/short.txt"
expect_exit 2 eval classification $model "$tmp/ids" "${prompts[@]}" -o "$tmp/x" --folders "$tmp/short.txt"
expect_one_error "short.txt' names 1 folders, but there are 6 classes"
expect_exit 4 eval classification golden/vit_rms "$data" "${prompts[@]}" -o "$tmp/x"
expect_one_error 'has no text tower'

# ---- retrieval: one set in every form gives one answer
pictures=$model/images
cat >"$tmp/set.csv" <<END
key,caption
img0.png,"A small, Red panda!"
img1.png,a bowl of soup
img0.png,一只猫的照片
img2.png,the mountain is covered with snow
img3.png,
END
expect_exit 0 eval retrieval $model --annotations "$tmp/set.csv" --images $pictures -o "$tmp/r.csv" --json --mode c
expect_json '.images == 4 and .texts == 5 and .metrics."text_retrieval_recall@10" == 1'
tail -n +2 "$tmp/r.csv/predictions.jsonl" >"$tmp/want"
# The same by similarity.
expect_exit 0 similarity $model --images $pictures --text 'A small, Red panda!' --text 'a bowl of soup' \
    --text '一只猫的照片' --text 'the mountain is covered with snow' --text '' --mode c --json -q
expect_that 'rankings are those of the cosines' cmp -s \
    <(jq -c '.cosine[] | to_entries | sort_by(-.value, .key) | map(.key)' "$out") \
    <(jq -c 'select(.query == "image") | [.top[].index]' "$tmp/want")
cat >"$tmp/coco.json" <<END
{"images": [{"id": 5, "file_name": "img0.png"}, {"id": 6, "file_name": "img1.png"}, {"id": 7, "file_name": "img2.png"},
  {"id": 8, "file_name": "img3.png"}],
 "annotations": [{"image_id": 5, "caption": "A small, Red panda!"}, {"image_id": 6, "caption": "a bowl of soup"},
  {"image_id": 5, "caption": "一只猫的照片"}, {"image_id": 7, "caption": "the mountain is covered with snow"},
  {"image_id": 8, "caption": ""}]}
END
printf 'img0.png\nimg1.png\nimg0.png\nimg2.png\nimg3.png\n' >"$tmp/names.txt"
printf 'A small, Red panda!\na bowl of soup\n一只猫的照片\nthe mountain is covered with snow\n.\n' >"$tmp/lines.txt"
expect_exit 0 eval retrieval $model --annotations "$tmp/coco.json" --images $pictures -o "$tmp/r.json" --clean no --mode c
expect_that 'JSON' cmp -s <(tail -n +2 "$tmp/r.json/predictions.jsonl") "$tmp/want"
# Cleaned, every form is one set: the dot of the list becomes the empty caption of the others.
expect_exit 0 eval retrieval $model --annotations "$tmp/coco.json" --images $pictures -o "$tmp/r.clean" --mode c
expect_stderr '5 captions \(cleaned\) x 4 pictures'
expect_exit 0 eval retrieval $model --annotations "$tmp/lines.txt" --names "$tmp/names.txt" --images $pictures \
    -o "$tmp/r.lines" --clean yes --mode c --suite xtd-en
expect_that 'lines' cmp -s <(tail -n +2 "$tmp/r.lines/predictions.jsonl") <(tail -n +2 "$tmp/r.clean/predictions.jsonl")
expect_that 'cleaning changes scores' [ "$(head -n 1 "$tmp/want")" != "$(sed -n 2p "$tmp/r.clean/predictions.jsonl")" ]
expect_stdout '^image_retrieval_recall@1 .* 0\.7670$'
# Pictures of a split's folder; a picture that is missing is a miss both ways.
mkdir -p "$tmp/coco/val2014"
cp $pictures/img0.png "$tmp/coco/val2014/COCO_val2014_1.png"
printf 'key,caption\nCOCO_val2014_1.png,a panda\ngone.png,a bowl\n' >"$tmp/gone.csv"
expect_exit 3 eval retrieval $model --annotations "$tmp/gone.csv" --images "$tmp/coco" -o "$tmp/r.gone" --json
expect_json '.images == 2 and .texts == 2'
expect_json '.metrics."image_retrieval_recall@10" == 0.5 and .metrics."text_retrieval_recall@10" == 0.5'
expect_stderr 'skipped .*gone.png'

# ---- annotations that cannot be used
expect_exit 2 eval retrieval $model --annotations "$tmp/lines.txt" --images $pictures -o "$tmp/x" --form lines
expect_one_error 'captions in lines need a file with the names of the pictures'
expect_exit 2 eval retrieval $model --annotations "$tmp/lines.txt" --images $pictures -o "$tmp/x" --form word
expect_one_error "form 'word' is unknown; auto, json, flickr, csv or lines"
expect_exit 2 eval retrieval $model --annotations "$tmp/set.csv" --images $pictures -o "$tmp/x" --clean maybe
expect_one_error "clean 'maybe' is unknown; yes or no"
expect_exit 2 eval retrieval $model --annotations "$tmp/none.json" --images $pictures -o "$tmp/x"
expect_one_error 'none.json'
expect_no_file "$tmp/x"
