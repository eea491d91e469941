# Runs of `internvl embed` that end early: what was finished stays, and the rerun gives the bytes of
# a run that was not disturbed.
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
need_device
. cli/interrupted.sh
model=golden/vit_rms
for i in $(seq 30); do echo ../docs/samples/coffee.jpg; echo ../docs/samples/nosuchfile.jpg; echo golden/resize/input/gradient.png; done >"$tmp/list"
total=90
batch=4
run embed $model @"$tmp/list" -o "$tmp/whole.npy" --batch $batch -q
expect_code 3

# ---- kill -9: nothing under the final name, at most one batch again, the same bytes
begin "$tmp/killed.npy" $model -
kill -9 "$pid"
finish_run 2>/dev/null
last='a run killed by SIGKILL'
expect_code 137
expect_no_file "$tmp/killed.npy"
expect_no_file "$tmp/killed.jsonl"
saved_rows=$(wc -l <"$tmp/killed.jsonl.part")
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/killed.npy" --batch $batch --stats "$tmp/stats.json"
expect_that 'after kill -9 the bytes are those of one run' same_as_whole killed
expect_that "at most one batch is computed again" \
    jq -e ".images <= 60 - $saved_rows + $batch and .images < 60" "$tmp/stats.json" >/dev/null

# ---- one signal: the batch is finished, 130 or 143
for signal in INT TERM; do
    begin "$tmp/$signal.npy" $model -
    kill -$signal "$pid"
    finish_run
    last="a run that got SIG$signal"
    expect_code "$([ $signal = INT ] && echo 130 || echo 143)"
    expect_stderr 'rows of this run are saved'
    expect_no_file "$tmp/$signal.npy"
    expect_exit 3 embed $model @"$tmp/list" -o "$tmp/$signal.npy" --batch $batch -q
    expect_that "after SIG$signal the bytes are those of one run" same_as_whole $signal
done

# ---- a pinned tuning goes on as well: it names the backends itself
echo 'internvl-tuning 1' >"$tmp/pinned.txt"
begin "$tmp/pinned.npy" $model - --tuning "$tmp/pinned.txt"
kill -9 "$pid"
finish_run 2>/dev/null
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/pinned.npy" --batch $batch --tuning "$tmp/pinned.txt"
expect_that 'with a pinned tuning the bytes are those of one run' same_as_whole pinned

# ---- inputs appended at the end go on, others are refused
head -n 50 "$tmp/list" >"$tmp/shorter"
expect_exit 3 embed $model @"$tmp/shorter" -o "$tmp/grown.npy" --batch $batch -q
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/grown.npy" --batch $batch -q
expect_that 'a list that grew' same_as_whole grown
sed 1d "$tmp/list" >"$tmp/shifted"
expect_exit 2 embed $model @"$tmp/shifted" -o "$tmp/grown.npy"
expect_one_error 'coffee.jpg'

# ---- the checkpoint changes under a run: exit 4, finished rows stay
for how in cut rewritten; do
    cp -r $model "$tmp/model_$how"
    chmod -R u+w "$tmp/model_$how"
    begin "$tmp/$how.npy" "$tmp/model_$how" -
    if [ $how = cut ]; then
        truncate -s 100000 "$tmp/model_$how/model.safetensors"
    else
        dd if=/dev/zero of="$tmp/model_$how/model.safetensors" bs=1000 seek=900 count=100 conv=notrunc status=none
    fi
    tail -n +41 "$tmp/list" >&9
    exec 9>&-
    finish_run
    last="a run whose checkpoint was $how"
    expect_code 4
    expect_stderr 'error: .*model.safetensors'
    expect_no_file "$tmp/$how.npy"
    expect_that 'rows stay' [ "$(wc -l <"$tmp/$how.jsonl.part")" -ge 16 ]
done

# ---- numbers that are not finite: exit 6
cp -r $model "$tmp/model_nan"
chmod -R u+w "$tmp/model_nan"
size=$(stat -c %s "$tmp/model_nan/model.safetensors")
head -c 200000 /dev/zero | tr '\0' '\377' |
    dd of="$tmp/model_nan/model.safetensors" bs=1 seek=$((size - 200000)) conv=notrunc status=none
expect_exit 6 embed "$tmp/model_nan" ../docs/samples -o "$tmp/nan.npy"
expect_stderr 'error: .*not finite'
expect_no_file "$tmp/nan.npy"

# ---- the disk is full, the place cannot be written
# Each array has 180 rows of 17 KiB, above the limit; files of the driver's compiler stay below it.
cat "$tmp/list" "$tmp/list" "$tmp/list" >"$tmp/longer"
small() (trap '' XFSZ; ulimit -f "$1"; shift; "$internvl" "$@" >"$out" 2>"$err" </dev/null)
maps=(features "$model" @"$tmp/longer" --layers all --batch "$batch")
expect_exit 3 "${maps[@]}" -o "$tmp/roomy/" -q
code=0
small 2500 "${maps[@]}" -o "$tmp/full/" || code=$?
last='features with ulimit -f 2500'
expect_code 1
expect_stderr 'error: .*full/.*(too large|No space)'
expect_no_file "$tmp/full/hidden_2/hidden_2_000000.npy"
expect_exit 3 "${maps[@]}" -o "$tmp/full/" -q
for folder in hidden_0 hidden_2 pooled metadata errors; do
    expect_that "with room again $folder is that of one run" diff -rq "$tmp/full/$folder" "$tmp/roomy/$folder"
done
expect_exit 1 embed $model ../docs/samples -o "$tmp/no/such/folder.npy"
expect_one_error 'no/such'
expect_exit 1 embed $model ../docs/samples -o golden/CHECKPOINTS.md/out/
expect_one_error 'CHECKPOINTS.md'
code=0
"$internvl" embed $model ../docs/samples -o "$tmp/closed.npy" -q >&- || code=$?
last='embed with stdout closed'
expect_code 0
expect_file "$tmp/closed.npy"

# ---- processes that share an output, joined: one run's bytes
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/single/" --unit-rows 20 -q
for i in 0 1 2; do
    "$internvl" embed $model @"$tmp/list" -o "$tmp/shared/" --unit-rows 20 --shard $i/3 --batch $((i + 1)) -q 2>/dev/null &
done
wait
for folder in img_emb metadata errors; do
    expect_that "$folder of shards" diff -rq "$tmp/single/$folder" "$tmp/shared/$folder"
done
expect_exit 3 merge "$tmp/shared/" -o "$tmp/merged.npy"
expect_that 'the merge of shards is one run' same_as_whole merged

# ---- numerics: a resumed run uses what was recorded; --same-numerics refuses others
begin "$tmp/exact.npy" $model - --precision exact
kill -9 "$pid"
finish_run 2>/dev/null
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/exact.npy"
expect_stderr "precision exact.*batch $batch"
expect_exit 3 embed $model @"$tmp/shorter" -o "$tmp/same.npy" --precision exact -q
expect_exit 2 embed $model @"$tmp/list" -o "$tmp/same.npy" --same-numerics --batch 1 -q
expect_one_error 'batch'
