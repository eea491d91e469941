# `internvl search`: the nearest rows of an index, in order; every wrong index and query is named.
# shellcheck shell=bash disable=SC2034,SC2154,SC1091
. cli/arrays.sh
expect_exit 2 search
expect_one_error 'a MODEL and the X.index are missing'
expect_exit 2 search golden/vit_rms --text a
expect_one_error 'needs a MODEL and an X.index, got only "golden/vit_rms"'
expect_exit 2 search golden/vit_rms x.index
expect_one_error 'what for'
expect_exit 2 search x.index --vectors q.npy --text a
expect_one_error '--vectors takes one X.index alone'
expect_exit 2 search x.index -k 0 --vectors q.npy
expect_one_error '-k must be at least 1'
expect_exit 2 search x.index --vectors q.npy --json --table
expect_one_error 'exclude each other'
expect_exit 2 search "$tmp/none.index" --vectors "$tmp/q.npy"
expect_one_error 'none.index'
expect_exit 2 search golden/CHECKPOINTS.md --vectors "$tmp/q.npy"
expect_one_error "index 'golden/CHECKPOINTS.md': not an npy file"

# ---- an index by hand: rows of three values
array "$tmp/emb.npy" 5 3 1 0 0 0 1 0 3 4 0 1 0 0 -1 0 0
i=0
for key in x.jpg 'y \"q\".jpg' 'xy\udcff.jpg' x_again.jpg minus_x.jpg; do
    printf '{"row": %d, "key": "%s", "width": 1, "height": 1}\n' $i "$key"
    i=$((i + 1))
done >"$tmp/emb.jsonl"
record "$tmp/emb.meta.json" "$(printf 'a%.0s' {1..64})" vit 5 3
expect_exit 0 index "$tmp/emb.npy" -o "$tmp/x.index" -q
array "$tmp/q.npy" 3 3 4 0 0 0 0 0 0 1 0
array "$tmp/none.npy" 1 3 0 nan 0
expect_exit 2 search "$tmp/x.index" "$tmp/x.index" --vectors "$tmp/q.npy"
expect_one_error '--vectors takes one X.index alone'
expect_exit 2 search "$tmp/x.index" --vectors "$tmp/missing.npy"
expect_one_error 'missing.npy'
expect_exit 2 search "$tmp/x.index" --vectors golden/malformed/npy_truncated.npy
expect_one_error 'npy_truncated.npy'
array "$tmp/narrow.npy" 1 1 1
expect_exit 2 search "$tmp/x.index" --vectors "$tmp/narrow.npy"
expect_one_error "narrow.npy' has vectors of 1 values, the index has vectors of 3"
expect_exit 3 search "$tmp/x.index" --vectors "$tmp/none.npy"
expect_stderr 'skipped query row 0: its vector has no direction'
expect_stderr 'no query is left'
expect_no_stdout
# Cut off and damaged; what the head does not tell is found by --check.
head -c 4140 "$tmp/x.index" >"$tmp/cut.index"
expect_exit 2 search "$tmp/cut.index" --vectors "$tmp/q.npy"
expect_one_error 'cut.index.*truncated: the shape needs 60 data bytes, the file has 44'
cp "$tmp/x.index" "$tmp/bad.index"
printf '\1' | dd of="$tmp/bad.index" bs=1 seek=4100 conv=notrunc 2>/dev/null
expect_exit 2 search "$tmp/bad.index" --vectors "$tmp/q.npy" --check
expect_one_error 'bad.index. is damaged: the checksum of its rows is'
expect_exit 5 search "$tmp/x.index" --vectors "$tmp/q.npy" --device nosuchdevice
expect_no_stdout

need_device
# The second query has no direction; of equal scores the lower row comes first; keys are any bytes.
expect_exit 3 search "$tmp/x.index" --vectors "$tmp/q.npy" -k 3 --check
expect_stderr 'skipped query row 1'
expect_that 'a line for each result' [ "$(wc -l <"$out")" = 6 ]
cat >"$tmp/want" <<'END'
{"query": 0, "rank": 1, "key": "x.jpg", "score": 1}
{"query": 0, "rank": 2, "key": "x_again.jpg", "score": 1}
{"query": 0, "rank": 3, "key": "xy\udcff.jpg", "score": 0.600000024}
{"query": 2, "rank": 1, "key": "y \"q\".jpg", "score": 1}
{"query": 2, "rank": 2, "key": "xy\udcff.jpg", "score": 0.800000012}
{"query": 2, "rank": 3, "key": "x.jpg", "score": 0}
END
expect_that 'the results' cmp "$tmp/want" "$out"
expect_stderr 'search: 2 queries, the 3 best of 5 rows of 3 values .*precision exact'
# More than there are: all rows. A table for people. The same from copies of the rows, and from f16.
expect_exit 3 search "$tmp/x.index" --vectors "$tmp/q.npy" -k 99 --json -q
expect_that 'all rows' [ "$(wc -l <"$out")" = 10 ]
cp "$out" "$tmp/mapped"
expect_exit 3 search "$tmp/x.index" --vectors "$tmp/q.npy" -k 99 --residency stream --device-memory 1MiB -q
expect_that 'residency changes nothing' cmp "$tmp/mapped" "$out"
expect_exit 3 search "$tmp/x.index" --vectors "$tmp/q.npy" -k 2 --table -q
expect_stdout '^row 0$'
expect_stdout '^ rank +score +key$'
expect_stdout '^ +1 +1.0000  y "q".jpg$'
expect_stdout '^ +2 +0.8000  xy.udcff.jpg$'
expect_exit 0 index "$tmp/emb.npy" --dtype f16 -o "$tmp/half.index" -q
expect_exit 3 search "$tmp/half.index" --vectors "$tmp/q.npy" -k 1 -q
expect_json '.score == 1'
expect_exit 5 search "$tmp/x.index" --vectors "$tmp/q.npy" --device-memory 100 -q
expect_one_error 'raise --device-memory or lower -k'

# ---- pictures against the rows of the model that they come from
vit=golden/vit_rms
expect_exit 0 embed $vit ../docs/samples/*.jpg golden/resize/input/*.png -o "$tmp/photos.npy" -q
expect_exit 0 index "$tmp/photos.npy" -o "$tmp/photos.index" -q
expect_exit 0 search "$tmp/photos.index" --vectors "$tmp/photos.npy" -k 1
expect_that 'each is nearest to itself (or to an equal one)' jq -es 'all(.[]; .rank == 1 and .score > 0.99999)' "$out"
expect_exit 0 search $vit "$tmp/photos.index" ../docs/samples/coffee.jpg ../docs/samples/chelsea.jpg -k 1
expect_that 'photographs find themselves' jq -es 'length == 2 and all(.[]; .query == .key and .score > 0.99999)' "$out"
# The index says how its pictures were brought to size; something else is another vector.
expect_exit 0 search $vit "$tmp/photos.index" ../docs/samples/coffee.jpg -k 1 --resize squash -q
expect_json '.score < 0.99999'
expect_exit 3 search $vit "$tmp/photos.index" ../docs/samples/coffee.jpg "$tmp/gone.jpg" -k 1
expect_stderr 'skipped .*gone.jpg'
expect_that 'the other one is searched for' [ "$(wc -l <"$out")" = 1 ]
expect_exit 3 search $vit "$tmp/photos.index" "$tmp/gone.jpg"
expect_stderr 'no query is left \(1 skipped\)'
expect_no_stdout
for pool in mean cls+mean; do
    expect_exit 0 embed $vit ../docs/samples/*.jpg --pool $pool -o "$tmp/$pool.npy" -q
    expect_exit 0 index "$tmp/$pool.npy" -o "$tmp/$pool.index" -q
    expect_exit 0 search $vit "$tmp/$pool.index" ../docs/samples/coffee.jpg -k 1 -q
    expect_json '.key == .query and .score > 0.99999'
done
# Another model, named with the index's; texts where none can be compared.
expect_exit 2 search golden/vit_ln "$tmp/photos.index" ../docs/samples/coffee.jpg
expect_one_error "was made by model [0-9a-f]{64}, 'golden/vit_ln' is model [0-9a-f]{64}"
expect_exit 2 search $vit "$tmp/x.index" ../docs/samples/coffee.jpg
expect_one_error "was made by model a{64}, 'golden/vit_rms' is model [0-9a-f]{64}"
expect_exit 4 search $vit "$tmp/photos.index" --text 'a cat'
expect_one_error 'texts need a text tower'
expect_exit 4 search "$tmp" "$tmp/photos.index" --text 'a cat'

# ---- texts and pictures in one space: indices of the recorded vectors
clip=golden/internvl_c_g
expect_exit 0 info $clip --json -q
id=$(jq -r .model_id "$out")
# recorded MODE: an index of the recorded vectors of that mode.
recorded() {
    cp $clip/image_embeds_"$1".npy "$tmp/clip_$1.npy"
    for i in 0 1 2 3; do printf '{"row": %d, "key": "%s", "width": 1, "height": 1}\n' $i $clip/images/img$i.png; done >"$tmp/clip_$1.jsonl"
    record "$tmp/clip_$1.meta.json" "$id" "$1" 4 48
    expect_exit 0 index "$tmp/clip_$1.npy" -o "$tmp/clip_$1.index" -q
}
# The scores on stdout (a line for each picture of each text) are the cosines of the recorded vectors. They may
# differ by the length of the error of the unit text vector, at most 2 sqrt(48) b / |text| where b is what `verify`
# allows an element, and by 48 2^-24 for the sum of the products.
scores_of() {
    { values $clip/image_embeds_"$1"_normalized.npy; values $clip/text_embeds_normalized.npy; values $clip/text_embeds.npy
        jq -r '"\(.text) \(.key[-5:-4]) \(.score)"' "$tmp/numbered"; } |
        awk -v b="$(bound_of $clip text_embeds)" '
            NR <= 192 { image[NR - 1] = $1; next }
            NR <= 672 { text[NR - 193] = $1; next }
            NR <= 1152 { square[int((NR - 673) / 48)] += $1 * $1; next }
            {
                sum = 0
                for (d = 0; d < 48; d++) sum += image[$2 * 48 + d] * text[$1 * 48 + d]
                off = $3 - sum; if (off < 0) off = -off
                if (!(off <= 2 * sqrt(48) * b / sqrt(square[$1]) + 2.9e-6)) { print "text", $1, "image", $2, $3, sum; bad = 1 }
                n++
            }
            END { exit bad || n != 40 }'
}
jq -c '.[]' $clip/texts.json >"$tmp/texts.jsonl"
for mode in c g; do
    recorded $mode
    expect_exit 0 search $clip "$tmp/clip_$mode.index" --texts "$tmp/texts.jsonl" -k 4 --precision exact
    jq -c --slurpfile texts "$tmp/texts.jsonl" '. as $hit | {text: ($texts | map(.text) | index($hit.query)), key, score}' "$out" >"$tmp/numbered"
    expect_that "scores of texts, mode $mode" scores_of $mode
    expect_that 'best first' jq -es '[.[] | select(.query == "a")] | [.[].rank] == [1, 2, 3, 4] and ([.[].score] | . == (sort | reverse))' "$out"
    expect_exit 0 search $clip "$tmp/clip_$mode.index" $clip/images -k 1 --precision exact -q
    expect_that "pictures find themselves, mode $mode" jq -es 'length == 4 and all(.[]; .query == .key and .score > 0.99999)' "$out"
done
# Texts first, then pictures; what fails is left out.
expect_exit 3 search $clip "$tmp/clip_g.index" $clip/images/img2.png --text a --text "$(printf '\377')" -k 1
expect_stderr 'skipped --text 2'
expect_that 'the order of the queries' jq -es 'map(.query) == ["a", "golden/internvl_c_g/images/img2.png"]' "$out"
expect_exit 2 search $clip "$tmp/clip_g.index" --texts "$tmp/none.txt"
expect_one_error 'none.txt'
