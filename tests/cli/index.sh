# `internvl index`: embed outputs become one file, which NumPy reads too; what does not fit together is refused.
# shellcheck shell=bash disable=SC2034,SC2154,SC1091
. cli/arrays.sh
expect_exit 2 index
expect_one_error 'the EMBEDDINGS are missing'
expect_exit 2 index "$tmp"
expect_one_error '-o X.index is missing'
expect_exit 2 index "$tmp" -o "$tmp/x.index"
expect_one_error 'it has no manifest.json'
expect_exit 2 index "$tmp/none.npy" -o "$tmp/x.index"
expect_one_error "none.meta.json' is not there"
expect_exit 2 index golden/CHECKPOINTS.md -o "$tmp/x.index"
expect_one_error 'cannot be read: an index is made from an output folder of embed'
expect_exit 2 index "$tmp" -o "$tmp/x.index" --dtype bf16
expect_one_error "--dtype 'bf16' is unknown"
expect_no_file "$tmp/x.index"

# ---- an output that nobody computed: records and arrays by hand, rows of three values
id=$(printf 'a%.0s' {1..64})
# output NAME MODEL_ID MODE ROWS: NAME.npy with its record; row 1 is zero where there are 3 rows.
output() {
    local row numbers=()
    for ((row = 0; row < $4; row++)); do
        [ $row = 1 ] && numbers+=(0 0 0) || numbers+=(3 0 4)
        printf '{"row": %d, "key": "%s_%d.jpg", "width": 1, "height": 1}\n' $row "$1" $row
    done >"$tmp/$1.jsonl"
    array "$tmp/$1.npy" "$4" 3 "${numbers[@]}"
    record "$tmp/$1.meta.json" "$2" "$3" "$4" 3
}
output one "$id" vit 1
expect_exit 0 index "$tmp/one.npy" -o "$tmp/one.index"
expect_stderr 'index: 1 rows of 3 values \(mode vit\) in .* 0 skipped'
expect_no_stdout
expect_file "$tmp/one.index"
expect_that 'the parts are gone' [ "$(cd "$tmp" && echo one.index*)" = one.index ]
expect_that 'NumPy sees an array of one row' sh -c 'head -c 128 "$1" | grep -qa "shape.: (1, 3)"' sh "$tmp/one.index"
# What is there stays.
expect_exit 2 index "$tmp/one.npy" -o "$tmp/one.index"
expect_one_error 'one.index. exists; .*--force'
expect_exit 0 index "$tmp/one.npy" -o "$tmp/one.index" --force -q
expect_no_stderr

# A row that is all zero has no direction: left out, named, exit 3.
output three "$id" vit 3
expect_exit 3 index "$tmp/three.npy" -o "$tmp/three.index"
expect_stderr 'skipped three_1.jpg: its vector has no direction'
expect_stderr 'index: 2 rows of 3 values .* 1 skipped'
# Several outputs, one after another; not of two models or modes.
expect_exit 3 index "$tmp/three.npy" "$tmp/one.npy" -o "$tmp/both.index"
expect_stderr 'index: 3 rows'
output other "$(printf 'b%.0s' {1..64})" vit 1
expect_exit 2 index "$tmp/one.npy" "$tmp/other.npy" -o "$tmp/x.index"
expect_one_error "one.npy' was made by model a{64}, '.*other.npy' by model b{64}"
output modes "$id" c 1
expect_exit 2 index "$tmp/one.npy" "$tmp/modes.npy" -o "$tmp/x.index"
expect_one_error 'mode vit .*mode c .*cannot be compared'
expect_exit 2 index "$tmp/one.npy" --mode g -o "$tmp/x.index"
expect_one_error 'has no vectors of mode g; it has: vit'
# Damaged, not finished.
truncate -s -4 "$tmp/modes.npy"
expect_exit 2 index "$tmp/modes.npy" -o "$tmp/x.index"
expect_one_error 'modes.npy. is damaged: .*truncated: the shape needs 12 data bytes, the file has 8'
sed -i 's/"done"/"open"/' "$tmp/other.meta.json"
expect_exit 2 index "$tmp/other.npy" -o "$tmp/x.index"
expect_one_error 'is not complete; run embed to its end first'
printf '{"row": 0, "key": "a\n' >"$tmp/one.jsonl"
expect_exit 2 index "$tmp/one.npy" -o "$tmp/x.index"
expect_one_error 'line 1 is not one that embed writes'
expect_no_file "$tmp/x.index"
expect_that 'nothing is left' [ "$(cd "$tmp" && echo x.index*)" = 'x.index*' ]
# Two modes in one output; one array names its mode itself.
output two "$id" c,g 1
mv "$tmp/two.npy" "$tmp/two.c.npy"
cp "$tmp/two.c.npy" "$tmp/two.g.npy"
sed -i 's/"streams": .*/"streams": [{"name": "img_emb_c", "suffix": "c", "type": "float32", "shape": [3]}, {"name": "img_emb_g", "suffix": "g", "type": "float32", "shape": [3]}],/' "$tmp/two.meta.json"
expect_exit 2 index "$tmp/two.npy" -o "$tmp/x.index"
expect_one_error 'has vectors of the modes c, g; choose one with --mode'
expect_exit 0 index "$tmp/two.npy" --mode g -o "$tmp/two.index"
expect_stderr 'mode g'
expect_exit 0 index "$tmp/two.c.npy" -o "$tmp/two.index" --force
expect_stderr 'mode c'
expect_exit 2 index "$tmp/two.c.npy" --mode g -o "$tmp/x.index"
expect_one_error 'has no vectors of mode g'
# Places that cannot be written.
expect_exit 1 index "$tmp/three.npy" -o "$tmp/no/such/x.index"
expect_one_error 'no/such'
code=0
(trap '' XFSZ; ulimit -f 4; "$internvl" index "$tmp/three.npy" -o "$tmp/full.index" >"$out" 2>"$err") || code=$?
last='index with ulimit -f 4'
expect_code 1
expect_stderr 'full.index'
expect_that 'nothing is left' [ "$(cd "$tmp" && echo full*)" = 'full*' ]

# ---- from embed: a folder of units and a single file give the same bytes
need_device
model=golden/vit_rms
for i in 1 2 3; do echo ../docs/samples/coffee.jpg; echo ../docs/samples/nosuchfile.jpg; echo golden/resize/input/gradient.png; done >"$tmp/list"
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/whole.npy" -q
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/out/" --unit-rows 2 --shard 0/2 -q
expect_exit 2 index "$tmp/out/" -o "$tmp/x.index"
expect_one_error 'is not complete: unit 1 of 5 is missing; run embed \(all its shards\) to its end first'
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/out/" --unit-rows 2 --shard 1/2 -q
expect_exit 3 index "$tmp/out/" -o "$tmp/folder.index"
expect_stderr '3 inputs failed in embed and are not in the index'
expect_stderr 'index: 6 rows of 256 values'
expect_exit 3 index "$tmp/whole.npy" -o "$tmp/file.index" -q
expect_that 'a folder and a file give the same index' cmp "$tmp/folder.index" "$tmp/file.index"
expect_exit 3 merge "$tmp/out/" -o "$tmp/merged.npy" -q
expect_exit 3 index "$tmp/merged.npy" -o "$tmp/merged.index" -q
expect_that 'and so does the merged folder' cmp "$tmp/folder.index" "$tmp/merged.index"
expect_exit 3 index "$tmp/out/" --dtype f16 -o "$tmp/half.index" -q
expect_that 'f16 is smaller' [ "$(stat -c %s "$tmp/half.index")" -lt "$(stat -c %s "$tmp/file.index")" ]
