# What `internvl embed` takes, in which order, under which keys, and what becomes of what it cannot.
# shellcheck shell=bash disable=SC2034,SC2154
need_device
model=golden/vit_rms
samples=../docs/samples
keys() { jq -r .key "$1" | paste -sd ' ' -; }
expect_keys() { expect_that "keys of $1 are '$(keys "$1")', expected '$2'" [ "$(keys "$1")" = "$2" ]; }

# ---- good ones among bad ones
cp $samples/coffee.jpg "$tmp/a.jpg"
: >"$tmp/empty.png"
head -c 20000 $samples/coffee.jpg >"$tmp/cut.jpg"
mkdir "$tmp/folder.jpg"
expect_exit 3 embed $model "$tmp/a.jpg" "$tmp/empty.png" golden/malformed/img_giant.png "$tmp/cut.jpg" \
    "$tmp/nosuchfile.jpg" golden/malformed/img_text.jpg "$tmp/a.jpg" -o "$tmp/mix.npy"
expect_stderr 'warning: skipped .*/empty.png: '
expect_stderr 'skipped golden/malformed/img_giant.png: .*2147483647 x 2147483647.*--max-pixels'
expect_stderr 'skipped .*/cut.jpg: '
expect_stderr 'skipped .*/nosuchfile.jpg: .*No such file'
expect_stderr '2 images .*5 skipped'
expect_keys "$tmp/mix.jsonl" "$tmp/a.jpg $tmp/a.jpg"
expect_keys "$tmp/mix.errors.jsonl" \
    "$tmp/empty.png golden/malformed/img_giant.png $tmp/cut.jpg $tmp/nosuchfile.jpg golden/malformed/img_text.jpg"
expect_that 'reasons' jq -e -s 'all(.[]; .error | length > 3)' "$tmp/mix.errors.jsonl" >/dev/null
# Recorded failures are told again, and tried again only when asked.
expect_exit 3 embed $model "$tmp/a.jpg" "$tmp/empty.png" golden/malformed/img_giant.png "$tmp/cut.jpg" \
    "$tmp/nosuchfile.jpg" golden/malformed/img_text.jpg "$tmp/a.jpg" -o "$tmp/mix.npy"
expect_stderr '5 inputs failed in an earlier run.*--retry-errors'
cp $samples/rocket.jpg "$tmp/nosuchfile.jpg"
expect_exit 3 embed $model "$tmp/a.jpg" "$tmp/empty.png" golden/malformed/img_giant.png "$tmp/cut.jpg" \
    "$tmp/nosuchfile.jpg" golden/malformed/img_text.jpg "$tmp/a.jpg" -o "$tmp/mix.npy" --retry-errors
expect_keys "$tmp/mix.jsonl" "$tmp/a.jpg $tmp/nosuchfile.jpg $tmp/a.jpg"
# Only bad ones: an empty array, not none.
expect_exit 3 embed $model "$tmp/empty.png" -o "$tmp/none.npy" -q
expect_that 'no row' grep -aq '(0, 256)' "$tmp/none.npy"
# Every malformed picture, each a failure or a picture, never the end.
expect_exit 3 embed $model golden/malformed -o "$tmp/malformed.npy" -q
expect_that 'all accounted for' [ "$(cat "$tmp/malformed.jsonl" "$tmp/malformed.errors.jsonl" | wc -l)" = \
    "$(find golden/malformed -name 'img_*' | wc -l)" ]

# ---- arrays: bad sizes, bad numbers, other types
expect_exit 3 embed $model golden/malformed/npy_bad_magic.npy golden/resize/arrays/cmyk_rgb.npy \
    $model/pixel_values.npy -o "$tmp/npy.npy" -q
expect_keys "$tmp/npy.jsonl" "$model/pixel_values.npy#0 $model/pixel_values.npy#1"
cp $model/pixel_values.npy "$tmp/nan.npy"
chmod u+w "$tmp/nan.npy"
printf '\000\000\300\177' | dd of="$tmp/nan.npy" bs=1 seek=5000 conv=notrunc status=none
expect_exit 3 embed $model "$tmp/nan.npy" -o "$tmp/nan_out.npy"
expect_stderr 'skipped .*nan.npy#0: .*not all finite'
expect_keys "$tmp/nan_out.jsonl" "$tmp/nan.npy#1"
# 63 is no multiple of 14.
{
    printf '\223NUMPY\001\000\166\000'
    printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 56, 63), }"
    head -c $((3 * 56 * 63 * 4)) /dev/zero
} >"$tmp/56x63.npy"
expect_exit 3 embed $model "$tmp/56x63.npy" $model/pixel_values.npy -o "$tmp/odd.npy"
expect_stderr 'skipped .*56x63.npy#0: 56 x 63 pixel values: .*multiples of the patch size 14'
expect_keys "$tmp/odd.jsonl" "$model/pixel_values.npy#0 $model/pixel_values.npy#1"

# ---- nothing at all
mkdir "$tmp/nothing"
echo text >"$tmp/nothing/readme.txt"
expect_exit 2 embed $model "$tmp/nothing" -o "$tmp/no.npy"
expect_one_error '1 other file'
expect_no_file "$tmp/no.npy"
expect_exit 2 embed $model @"$tmp/nosuchlist" -o "$tmp/no.npy"
expect_one_error 'nosuchlist'
expect_no_file "$tmp/no.npy.part"

# ---- folders: order, links, loops, names that are not UTF-8
mkdir -p "$tmp/photos/b" "$tmp/photos/a"
for name in z.jpg a/1.JPG b/2.jpeg; do cp "$samples/camera.jpg" "$tmp/photos/$name"; done
cp $samples/camera.jpg "$tmp/photos"/$'\xff\xe9.jpg'
ln -s ../../photos "$tmp/photos/b/loop"
ln -s nowhere "$tmp/photos/b/dangling.jpg"
echo no >"$tmp/photos/notes.txt"
expect_exit 3 embed $model "$tmp/photos" -o "$tmp/folder.npy" -q
expect_that 'keys of a folder' cmp -s <(grep -o '"key": *"[^"]*"' "$tmp/folder.jsonl" | sed 's/^"key": *//') <(
    printf '"%s"\n' "$tmp/photos/a/1.JPG" "$tmp/photos/b/2.jpeg" "$tmp/photos/z.jpg" "$tmp/photos/\\udcff\\udce9.jpg")
expect_exit 3 embed $model "$tmp/photos" -o "$tmp/folder.npy"
expect_stderr 'left out: 1 files .or members of tars. that are no pictures'

# ---- lists, stdin, ranges, tars
printf '%s\r\n' $samples/coffee.jpg $samples/rocket.jpg >"$tmp/crlf.txt"
expect_exit 0 embed $model @"$tmp/crlf.txt" -o "$tmp/list.npy" -q
expect_keys "$tmp/list.jsonl" "$samples/coffee.jpg $samples/rocket.jpg"
"$internvl" embed $model - -o "$tmp/stdin.npy" -q <"$tmp/crlf.txt"
expect_that 'paths on stdin' cmp -s "$tmp/list.npy" "$tmp/stdin.npy"
printf '%s\0' $samples/coffee.jpg $samples/rocket.jpg |
    "$internvl" embed $model -0 -o "$tmp/nul.npy" -q
expect_that 'paths on stdin, with NUL' cmp -s "$tmp/list.npy" "$tmp/nul.npy"
for i in 01 02 03; do cp $samples/coffee.jpg "$tmp/r$i.jpg"; done
expect_exit 0 embed $model "$tmp/r{01..03}.jpg" -o "$tmp/range.npy" -q
expect_keys "$tmp/range.jsonl" "$tmp/r01.jpg $tmp/r02.jpg $tmp/r03.jpg"
printf 'a cup\n' >"$tmp/r02.txt"
tar -C "$tmp" -cf "$tmp/shard.tar" r01.jpg r02.jpg r02.txt
expect_exit 0 embed $model "$tmp/shard.tar" -o "$tmp/tar/" -q
expect_that 'keys of a tar' [ "$(keys "$tmp/tar/metadata/metadata_000000.jsonl")" = \
    "$tmp/shard.tar/r01.jpg $tmp/shard.tar/r02.jpg" ]
expect_that 'caption' jq -e -s '.[1].caption == "a cup"' "$tmp/tar/metadata/metadata_000000.jsonl" >/dev/null
"$internvl" embed $model --stdin-tar "$tmp/shard.tar" -o "$tmp/pipe/" -q <"$tmp/shard.tar"
expect_that 'a tar on stdin' cmp -s "$tmp/tar/img_emb/img_emb_000000.npy" "$tmp/pipe/img_emb/img_emb_000000.npy"
