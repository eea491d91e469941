# `internvl search`: the nearest rows of an index, in order; every wrong index and query is named.
# shellcheck shell=bash disable=SC2034,SC2154
expect_exit 2 search
expect_one_error 'the X.index is missing'
expect_exit 2 search x.index -k 0 --vectors q.npy
expect_one_error '-k must be at least 1'
expect_exit 2 search x.index --vectors q.npy --json --table
expect_one_error 'exclude each other'
expect_exit 2 search "$tmp/none.index" --vectors "$tmp/q.npy"
expect_one_error 'none.index'
expect_exit 2 search golden/CHECKPOINTS.md --vectors "$tmp/q.npy"
expect_one_error "index 'golden/CHECKPOINTS.md': not an npy file"

# ---- an index by hand: rows of three values
# f32 NUMBERS: as little-endian bytes; only those that are written here.
f32() {
    local value
    for value in "$@"; do
        case $value in 0) printf '\0\0\0\0' ;; 1) printf '\0\0\200\77' ;; -1) printf '\0\0\200\277' ;; 3) printf '\0\0\100\100' ;; 4) printf '\0\0\200\100' ;; nan) printf '\0\0\300\177' ;; esac
    done
}
# array FILE ROWS NUMBERS...: an array [ROWS, 3] of float32.
array() {
    local file=$1 rows=$2
    shift 2
    printf '\223NUMPY\1\0\166\0%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($rows, 3), }" >"$file"
    f32 "$@" >>"$file"
}
array "$tmp/emb.npy" 5 1 0 0 0 1 0 3 4 0 1 0 0 -1 0 0
i=0
for key in x.jpg 'y \"q\".jpg' 'xy\udcff.jpg' x_again.jpg minus_x.jpg; do
    printf '{"row": %d, "key": "%s", "width": 1, "height": 1}\n' $i "$key"
    i=$((i + 1))
done >"$tmp/emb.jsonl"
cat >"$tmp/emb.meta.json" <<END
{"format": "internvl-output", "version": 1,
 "identity": {"command": "embed", "model_id": "$(printf 'a%.0s' {1..64})", "mode": "vit", "pool": "cls", "resize": "crop", "size": 56},
 "streams": [{"name": "img_emb", "suffix": "", "type": "float32", "shape": [3]}],
 "state": "done", "rows": 5, "errors": 0}
END
expect_exit 0 index "$tmp/emb.npy" -o "$tmp/x.index" -q
array "$tmp/q.npy" 3 4 0 0 0 0 0 0 1 0
array "$tmp/none.npy" 1 0 nan 0
expect_exit 2 search "$tmp/x.index" "$tmp/x.index" --vectors "$tmp/q.npy"
expect_one_error '--vectors takes one X.index alone'
expect_exit 2 search "$tmp/x.index"
expect_one_error 'what for'
expect_exit 2 search "$tmp/x.index" --vectors "$tmp/missing.npy"
expect_one_error 'missing.npy'
expect_exit 2 search "$tmp/x.index" --vectors golden/malformed/npy_truncated.npy
expect_one_error 'npy_truncated.npy'
printf '\223NUMPY\1\0\166\0%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }" >"$tmp/narrow.npy"
f32 1 >>"$tmp/narrow.npy"
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

# ---- rows of a model against themselves
expect_exit 0 embed golden/vit_rms ../docs/samples/*.jpg golden/resize/input/*.png -o "$tmp/photos.npy" -q
expect_exit 0 index "$tmp/photos.npy" -o "$tmp/photos.index" -q
expect_exit 0 search "$tmp/photos.index" --vectors "$tmp/photos.npy" -k 1
expect_that 'each is nearest to itself (or to an equal one)' jq -es 'all(.[]; .rank == 1 and .score > 0.99999)' "$out"
