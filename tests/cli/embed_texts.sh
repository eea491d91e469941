# `internvl embed --texts`: numbers, rows, neighbours, units, bad input, and runs that end early.
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
need_device
. cli/arrays.sh
. cli/interrupted.sh
model=golden/internvl_c_g

# ---- numbers: the recorded texts, as objects because one holds a line feed
jq -c '.[]' $model/texts.json >"$tmp/texts.jsonl"
n=$(wc -l <"$tmp/texts.jsonl")
expect_exit 0 embed $model --texts "$tmp/texts.jsonl" -o "$tmp/raw.npy" --normalize no --precision exact
expect_no_stdout
expect_stderr "$n texts in .* 0 skipped"
expect_that 'text_embeds' close_to "$tmp/raw.npy" $model/text_embeds.npy "$(bound_of $model text_embeds)"
expect_exit 0 embed $model --texts "$tmp/texts.jsonl" -o "$tmp/unit.npy" --precision exact -q
expect_no_stderr
expect_that 'length 1 unless told otherwise' close_to "$tmp/unit.npy" $model/text_embeds_normalized.npy \
    "$(bound_of $model text_embeds_normalized)"
expect_that 'the texts are in the metadata' diff <(jq -r .text "$tmp/unit.jsonl") <(jq -r '.[].text' $model/texts.json)
expect_that 'rows and keys count' [ "$(jq -c '[.row, .key]' "$tmp/unit.jsonl" | tail -n 1)" = "[$((n - 1)),\"$n\"]" ]
expect_that 'no width' jq -e -s 'all(.[]; keys == ["key", "row", "text"])' "$tmp/unit.jsonl" >/dev/null

# ---- one text a line: empty ones are rows, CR is no part of them, the last needs no line feed
printf 'a photo\n\nzwei Katzen\r\n\xe4\xb8\x80\xe5\x8f\xaa\xe7\x8c\xab\na "quoted" text' >"$tmp/lines.txt"
expect_exit 0 embed $model --texts "$tmp/lines.txt" -o "$tmp/lines.npy" -q
expect_that 'five rows' [ "$(jq -s -c 'map(.text)' "$tmp/lines.jsonl")" = '["a photo","","zwei Katzen","一只猫","a \"quoted\" text"]' ]
printf '{"text":"a photo"}\n{"text":"","other":1}\n{"text":"zwei Katzen"}\n{"text":"\\u4e00\\u53ea\\u732b"}\n{"text":"a \\"quoted\\" text"}\n' >"$tmp/lines.jsonl.in.jsonl"
expect_exit 0 embed $model --texts "$tmp/lines.jsonl.in.jsonl" -o "$tmp/objects.npy" -q
expect_that 'lines and objects' cmp -s "$tmp/lines.npy" "$tmp/objects.npy"
expect_that 'their metadata' cmp -s "$tmp/lines.jsonl" "$tmp/objects.jsonl"
code=0
"$internvl" embed $model --texts - -o "$tmp/stdin.npy" -q <"$tmp/lines.txt" 2>"$err" || code=$?
last='embed --texts - <FILE'
expect_code 0
expect_that 'standard input' cmp -s "$tmp/lines.npy" "$tmp/stdin.npy"

# ---- a text alone, among others, in any order and batch, streamed: the same bits
seq 1 40 | sed 's/.*/photo number & of a small red panda that sits in a tree/; 7s/.*//; 11s/.*/&&&&&&&&&&/' >"$tmp/many.txt"
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/many.npy" -q
for line in 1 7 11 40; do
    sed -n "${line}p" "$tmp/many.txt" >"$tmp/one.txt"
    expect_exit 0 embed $model --texts "$tmp/one.txt" -o "$tmp/one.npy" --force -q
    expect_that "line $line alone" cmp -s <(values "$tmp/one.npy") <(rows "$tmp/many.npy" 48 $line $line)
done
tac "$tmp/many.txt" >"$tmp/back.txt"
expect_exit 0 embed $model --texts "$tmp/back.txt" -o "$tmp/back.npy" --batch 7 -q
expect_that 'order of the output' cmp -s <(values "$tmp/back.npy") \
    <(for i in $(seq 40 -1 1); do rows "$tmp/many.npy" 48 "$i" "$i"; done)
for how in '--batch 1' '--batch 13' '--batch 5 --residency stream' '--mode c' '--threads 1'; do
    # shellcheck disable=SC2086
    expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/other.npy" --force -q $how
    expect_that "bits with $how" cmp -s "$tmp/many.npy" "$tmp/other.npy"
done

# ---- forms, types, statistics, dry run
for form in npz jsonl csv sqlite; do
    expect_exit 0 embed $model --texts "$tmp/lines.txt" -o "$tmp/form_$form.$form" -q
    expect_file "$tmp/form_$form.meta.json"
done
expect_that 'vectors as text' jq -e -s 'length == 5 and all(.[]; .vector | length == 48)' "$tmp/form_jsonl.jsonl" >/dev/null
expect_that 'keys as a table' [ "$(cut -d, -f1 "$tmp/form_csv.csv" | tail -n +2 | tr '\n' ' ')" = '1 2 3 4 5 ' ]
expect_exit 0 embed $model --texts "$tmp/lines.txt" -o "$tmp/half.npy" --dtype f16 -q
expect_that 'halves' grep -q "'<f2'.*(5, 48)" <(header "$tmp/half.npy")
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/s.npy" --batch 40 --stats "$tmp/stats.json" -q
expect_that 'statistics' jq -e '.images == 40 and .failed == 0 and .weight_passes == 1 and .batch == 40 and
    .seconds > 0 and .startup_seconds > 0 and .images_per_second > 0 and .stages.write > 0' "$tmp/stats.json" >/dev/null
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/s.npy" -d nosuchdevice --stats "$tmp/stats.json"
expect_stderr 'nothing left to do'
expect_that 'nothing is computed again' jq -e '.images == 0' "$tmp/stats.json" >/dev/null
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/no/such/dry.npy" --dry-run
expect_stdout '^items: 40$'
expect_stdout '^bytes out: 7680 \(192 a row\)$'
expect_stdout '^pace: .* texts/s$'
expect_no_file "$tmp/no"

# ---- units, shards, merge
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/units/" --unit-rows 12 -q
expect_file "$tmp/units/text_emb/text_emb_000003.npy"
expect_that 'rows of a unit' [ "$(wc -l <"$tmp/units/metadata/metadata_000003.jsonl")" = 4 ]
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/shards/" --unit-rows 12 --shard 1/2 -q
expect_exit 2 merge "$tmp/shards/" -o "$tmp/early.npy"
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/shards/" --unit-rows 12 --shard 0/2 --batch 5 -q
for folder in text_emb metadata errors; do
    expect_that "$folder of shards" diff -rq "$tmp/units/$folder" "$tmp/shards/$folder"
done
expect_exit 0 merge "$tmp/shards/" -o "$tmp/merged.npy" -q
expect_that 'merged rows' cmp -s "$tmp/many.npy" "$tmp/merged.npy"
expect_that 'merged metadata' cmp -s "$tmp/many.jsonl" "$tmp/merged.jsonl"

# ---- lines that cannot be used are named, recorded and left out
printf 'good\n\xff\xfe\nfine\n' >"$tmp/bad.txt"
expect_exit 3 embed $model --texts "$tmp/bad.txt" -o "$tmp/bad.npy"
expect_stderr 'skipped line 2 of .*not UTF-8 at byte 0'
expect_that 'two rows' [ "$(jq -r .key "$tmp/bad.jsonl" | tr '\n' ' ')" = '1 3 ' ]
expect_that 'the reason is kept' jq -e '.key == "2" and (.error | test("UTF-8"))' "$tmp/bad.errors.jsonl" >/dev/null
expect_exit 3 embed $model --texts "$tmp/bad.txt" -o "$tmp/bad.npy" --stats "$tmp/stats.json"
expect_stderr '1 lines failed in an earlier run'
expect_that 'nothing is computed again' jq -e '.images == 0 and .failed == 0' "$tmp/stats.json" >/dev/null
expect_exit 3 embed $model --texts "$tmp/bad.txt" -o "$tmp/bad.npy" --retry-errors --stats "$tmp/stats.json"
expect_that 'the failed one is tried again' jq -e '.images == 0 and .failed == 1' "$tmp/stats.json" >/dev/null
printf '{"text": "good"}\nno object\n{"caption": "x"}\n{"text": 7}\n{"text": "fine"}\n' >"$tmp/bad.jsonl.in.jsonl"
expect_exit 3 embed $model --texts "$tmp/bad.jsonl.in.jsonl" -o "$tmp/badobjects.npy"
expect_stderr 'line 2 .*not JSON'
expect_stderr 'line 3 .*no "text"'
expect_that 'rows among bad objects' [ "$(jq -r .text "$tmp/badobjects.jsonl" | tr '\n' ' ')" = 'good fine ' ]
head -c 3000 "$internvl" >"$tmp/binary.txt"
expect_exit 3 embed $model --texts "$tmp/binary.txt" -o "$tmp/binary.npy" -q
head -c 1000000 /dev/zero | tr '\0' 'a' >"$tmp/long.txt"
expect_exit 0 embed $model --texts "$tmp/long.txt" -o "$tmp/long.npy" -q
expect_that 'a line of 1 MB is a row' [ "$(jq -r '.text | length' "$tmp/long.jsonl")" = 1000000 ]

# ---- another list is refused, a longer one goes on
head -n 30 "$tmp/many.txt" >"$tmp/shorter.txt"
expect_exit 0 embed $model --texts "$tmp/shorter.txt" -o "$tmp/grown.npy" -q
expect_exit 0 embed $model --texts "$tmp/many.txt" -o "$tmp/grown.npy" --stats "$tmp/stats.json" -q
expect_that 'a list that grew' cmp -s "$tmp/many.npy" "$tmp/grown.npy"
expect_that 'only what is new' jq -e '.images == 10' "$tmp/stats.json" >/dev/null
sed '3s/photo/picture/' "$tmp/many.txt" >"$tmp/changed.txt"
expect_exit 2 embed $model --texts "$tmp/changed.txt" -o "$tmp/grown.npy"
expect_one_error 'not those .*grown.npy'
expect_exit 2 embed $model --texts "$tmp/shorter.txt" -o "$tmp/grown.npy"
expect_one_error 'had 40 inputs, now 30'
expect_exit 2 embed $model --texts "$tmp/many.txt" -o "$tmp/grown.npy" --normalize no
expect_one_error 'normalize is "yes", this run has "no"'
expect_exit 0 embed $model --texts "$tmp/changed.txt" -o "$tmp/grown.npy" --force -q

# ---- usage, tokenizers, models
for wrong in '--mode vit' '--pool cls' '--with-texts' '--pair-score' '--size 56' '--resize crop' '--normalize maybe' '../docs/samples'; do
    # shellcheck disable=SC2086
    expect_exit 2 embed $model --texts "$tmp/lines.txt" -o "$tmp/w.npy" $wrong
done
expect_exit 2 embed $model --texts "$tmp/nosuch.txt" -o "$tmp/w.npy"
expect_one_error 'nosuch.txt'
: >"$tmp/empty.txt"
expect_exit 2 embed $model --texts "$tmp/empty.txt" -o "$tmp/w.npy"
expect_stderr 'empty'
expect_exit 4 embed golden/vit_rms --texts "$tmp/lines.txt" -o "$tmp/w.npy"
expect_one_error 'text tower'
expect_exit 0 synth tiny-14b -o "$tmp/synth" -q
expect_exit 0 embed "$tmp/synth" --texts "$tmp/lines.txt" -o "$tmp/synth.npy" -q
expect_exit 4 embed $model --texts "$tmp/lines.txt" -o "$tmp/w.npy" --tokenizer "$tmp/lines.txt"
expect_one_error 'lines.txt'
expect_exit 0 synth tiny-14b -o "$tmp/few" --set qllama_config.vocab_size=300 -q
expect_exit 4 embed $model --texts "$tmp/lines.txt" -o "$tmp/w.npy" --tokenizer "$tmp/few/tokenizer.model"
expect_one_error '300 pieces.*797'
mv "$tmp/few/tokenizer.model" "$tmp/few.model"
expect_exit 4 embed "$tmp/few" --texts "$tmp/lines.txt" -o "$tmp/w.npy"
expect_one_error 'no tokenizer.model.*--tokenizer'
expect_exit 0 embed "$tmp/few" --texts "$tmp/lines.txt" -o "$tmp/few.npy" --tokenizer "$tmp/few.model" -q
expect_no_file "$tmp/w.npy"

# ---- kill -9 and signals: at most one batch again, the bytes of one run
batch=4
{ sed 5d "$tmp/many.txt"; printf '\xff\n'; sed 6d "$tmp/many.txt"; } >"$tmp/list"
inputs=$(wc -l <"$tmp/list")
expect_exit 3 embed $model --texts "$tmp/list" -o "$tmp/whole.npy" --batch $batch -q
begin "$tmp/killed.npy" $model --texts -
kill -9 "$pid"
finish_run 2>/dev/null
last='a run killed by SIGKILL'
expect_code 137
expect_no_file "$tmp/killed.npy"
saved_rows=$(wc -l <"$tmp/killed.jsonl.part")
expect_exit 3 embed $model --texts "$tmp/list" -o "$tmp/killed.npy" --batch $batch --stats "$tmp/stats.json"
expect_that 'after kill -9 the bytes are those of one run' same_as_whole killed
expect_that 'at most one batch is computed again' \
    jq -e ".images <= $inputs - 1 - $saved_rows + $batch and .images < $inputs - 1" "$tmp/stats.json" >/dev/null
for signal in INT TERM; do
    begin "$tmp/$signal.npy" $model --texts -
    kill -$signal "$pid"
    finish_run
    last="a run that got SIG$signal"
    expect_code "$([ $signal = INT ] && echo 130 || echo 143)"
    expect_stderr 'rows of this run are saved'
    expect_exit 3 embed $model --texts "$tmp/list" -o "$tmp/$signal.npy" --batch $batch -q
    expect_that "after SIG$signal the bytes are those of one run" same_as_whole $signal
done
expect_exit 3 embed $model --texts "$tmp/list" -o "$tmp/wholeunits/" --batch $batch -q
begin "$tmp/killedunits/" $model --texts -
kill -9 "$pid"
finish_run 2>/dev/null
expect_exit 3 embed $model --texts "$tmp/list" -o "$tmp/killedunits/" --batch $batch -q
for folder in text_emb metadata errors; do
    expect_that "after kill -9 $folder is that of one run" diff -rq "$tmp/wholeunits/$folder" "$tmp/killedunits/$folder"
done
