# `internvl status` and `internvl merge`: folders that several processes fill, and their parts joined.
# shellcheck shell=bash disable=SC2034,SC2154
expect_exit 2 status
expect_one_error 'the output folder is missing'
expect_exit 2 merge "$tmp"
expect_one_error '-o X.npy is missing'
expect_exit 2 status "$tmp/none/"
expect_one_error "none/' is no folder"
expect_exit 2 status "$tmp" --json
expect_one_error 'is not an output folder: it has no manifest.json'
expect_no_stdout
expect_exit 2 merge golden/CHECKPOINTS.md -o "$tmp/x.npy"
expect_one_error "CHECKPOINTS.md' is no folder"
expect_no_file "$tmp/x.npy"

need_device
model=golden/vit_rms
for i in 1 2 3; do echo ../docs/samples/coffee.jpg; echo ../docs/samples/nosuchfile.jpg; echo golden/resize/input/gradient.png; done >"$tmp/list"
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/whole.npy" -q

# ---- three shards, seen from outside: 9 inputs are 5 units of 2
for i in 0 1 2; do
    # The units of shard 1 (inputs 2, 3 and 8) have no failures.
    expect_exit "$([ $i = 1 ] && echo 0 || echo 3)" embed $model @"$tmp/list" -o "$tmp/out/" --unit-rows 2 --shard $i/3 -q
    [ $i = 1 ] || continue
    expect_exit 0 status "$tmp/out/" --json
    expect_json '.complete == false and .units_done == 4 and .units_begun == 0 and .units_total == 5'
    expect_json '.inputs_total == 9 and .rows == 5 and .errors == 2'
    expect_exit 0 status "$tmp/out/"
    expect_stdout '^state +not complete$'
    expect_stdout '^units +4 of 5 done$'
    expect_exit 2 merge "$tmp/out/" -o "$tmp/merged.npy"
    expect_one_error 'unit 2 \(of 5\) is missing'
    expect_no_file "$tmp/merged.npy"
    expect_no_file "$tmp/merged.meta.json.lock"
done
expect_exit 0 status "$tmp/out" --json
expect_json '.complete and .units_done == 5 and .rows == 6 and .errors == 3 and .seconds_left == 0'
expect_exit 0 status "$tmp/out/"
expect_stdout '^state +complete$'

# ---- joined: the bytes of a single run
same_as_whole() {
    local file
    for file in npy jsonl errors.jsonl; do
        cmp "$tmp/whole.$file" "$tmp/$1.$file" || return 1
    done
}
# Exit 3 as the run itself: some inputs have no row.
expect_exit 3 merge "$tmp/out/" -o "$tmp/merged.npy"
expect_no_stdout
expect_stderr "3 inputs failed and have no row; the .errors.jsonl beside '.*merged.npy' lists them"
expect_that 'the merge is one run' same_as_whole merged
expect_that 'errors in the folder' cmp "$tmp/out/errors.jsonl" "$tmp/whole.errors.jsonl"
expect_that 'the record tells of all units' \
    jq -e '.state == "merged" and .units == 5 and .rows == 6 and .errors == 3 and .inputs == 9' "$tmp/merged.meta.json" >"$out"
expect_that 'nothing else is left' [ "$(cd "$tmp" && echo merged*)" = 'merged.errors.jsonl merged.jsonl merged.meta.json merged.npy' ]

# ---- what is there stays, unless --force is given
echo mine >"$tmp/merged.jsonl"
expect_exit 2 merge "$tmp/out/" -o "$tmp/merged.npy"
expect_one_error 'merged.meta.json. exists; .*--force'
expect_that 'a file that was there' [ "$(cat "$tmp/merged.jsonl")" = mine ]
expect_exit 3 merge "$tmp/out/" -o "$tmp/merged.npy" --force -q
expect_no_stderr
expect_that 'a merge with --force' same_as_whole merged

# ---- places that cannot be written
expect_exit 1 merge "$tmp/out/" -o "$tmp/no/such/x.npy"
expect_one_error 'no/such'
expect_exit 2 merge "$tmp/out/" -o "$tmp/x.csv"
expect_one_error 'must end with .npy'
code=0
(trap '' XFSZ; ulimit -f 1; "$internvl" merge "$tmp/out/" -o "$tmp/full.npy" >"$out" 2>"$err") || code=$?
last='merge with ulimit -f 1'
expect_code 1
expect_one_error 'full.npy.part'
expect_that 'nothing is left' [ "$(cd "$tmp" && echo full*)" = 'full*' ]

# ---- a unit that is gone, and computed again
rm "$tmp"/out/*/*000003.*
expect_exit 2 merge "$tmp/out/" -o "$tmp/again.npy"
expect_one_error 'unit 3 \(of 5\) is missing'
expect_exit 3 embed $model @"$tmp/list" -o "$tmp/out/" --unit-rows 2 -q
expect_exit 3 merge "$tmp/out/" -o "$tmp/again.npy" -q
expect_that 'computed again' same_as_whole again
# Where nothing failed: 0.
expect_exit 0 embed $model ../docs/samples -o "$tmp/good/" -q
expect_exit 0 merge "$tmp/good/" -o "$tmp/good.npy"
expect_no_stderr 'failed'
