# docs/examples/embed.c: the program of the documents gives the vector that `internvl embed` gives.
# $IVL_EXAMPLE is the program.
# shellcheck shell=bash disable=SC2034,SC2154
need_device
model=golden/vit_rms
device=${IVL_TEST_DEVICE:-auto}

# picture SIDE: a PPM whose pixels are the bytes of a photograph's file.
picture() {
    printf 'P6\n%d %d\n255\n' "$1" "$1"
    head -c $(($1 * $1 * 3)) ../docs/samples/coffee.jpg
}
picture 56 >"$tmp/56.ppm"
picture 70 >"$tmp/70.ppm"
head -c 5000 "$tmp/56.ppm" >"$tmp/short.ppm"

# example CODE ARGUMENT...: runs it; what it wrote is in $out and $err.
example() {
    local expected=$1
    shift
    last="embed $*"
    code=0
    "$IVL_EXAMPLE" "$@" >"$out" 2>"$err" </dev/null || code=$?
    expect_code "$expected"
}

expect_exit 0 embed $model "$tmp/56.ppm" -o "$tmp/cli.npy" --precision exact --device "$device" -q
header=$(($(od -An -tu2 -j8 -N2 "$tmp/cli.npy") + 10))
od -An -v -tf4 -w4 -j "$header" "$tmp/cli.npy" >"$tmp/cli.txt"
example 0 $model "$tmp/56.ppm" "$device"

# The two may compute with different backends, each within the bound of `verify` from the true vector.
bound=$(jq -r '.pooler_output | [8 * .max_abs_err, 4e-6 * .rms] | max * 2' $model/fp64_errors.json)
agree() {
    paste "$tmp/cli.txt" "$out" | awk -v bound="$bound" '
        { d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || !(d <= bound)) bad = 1; if ($1 != 0) n++ }
        END { exit bad || NR != 256 || n < 250 }'
}
expect_that "the vectors differ by more than $bound" agree

example 1 $model "$tmp/70.ppm" "$device"
expect_stderr "'.*70.ppm' has 70 x 70 pixels, the model takes 56 x 56"
expect_no_stdout
example 1 $model "$tmp/short.ppm" "$device"
expect_stderr "short.ppm' ends early"
example 1 $model $model/config.json "$device"
expect_stderr 'is no binary PPM'
example 1 "$tmp/none" "$tmp/56.ppm" "$device"
expect_stderr "^embed: .*none"
example 1 $model "$tmp/56.ppm" 'no such device'
expect_stderr 'no such device'
expect_no_stdout
example 2 $model
expect_stderr '^usage: '
