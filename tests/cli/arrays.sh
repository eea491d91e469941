# Words for topics that look into arrays; to be sourced.
# shellcheck shell=bash

# The header of a .npy file, and its float32 values one a line.
header() { head -c 192 "$1" | tr -d '\0' | grep -ao '{.*}'; }
values() { od -An -v -tf4 -w4 -j "$(($(od -An -tu2 -j8 -N2 "$1") + 10))" "$1"; }
# rows A WIDTH FIRST LAST: the values of rows FIRST to LAST, from 1.
rows() { values "$1" | sed -n "$((($3 - 1) * $2 + 1)),$(($4 * $2))p"; }
# close_to A B BOUND: as many values, and the largest difference is within the bound.
close_to() {
    paste <(values "$1") <(values "$2") | awk -v bound="$3" '
        NF != 2 { bad = 1 }
        { d = $1 - $2; if (d < 0) d = -d; if (!(d <= bound)) bad = 1; n++ }
        END { exit bad || !n }'
}
# What fp32 on another order of sums may differ by; the rule of `verify`.
bound_of() { jq -r ".$2 | [8 * .max_abs_err, 4e-6 * .rms] | max" "$1/fp64_errors.json"; }

# f32 NUMBERS...: as little-endian bytes; only those that are written here.
f32() {
    local value
    for value in "$@"; do
        case $value in 0) printf '\0\0\0\0' ;; 1) printf '\0\0\200\77' ;; -1) printf '\0\0\200\277' ;; 3) printf '\0\0\100\100' ;; 4) printf '\0\0\200\100' ;; nan) printf '\0\0\300\177' ;; esac
    done
}
# array FILE ROWS WIDTH NUMBERS...: a .npy file of float32.
array() {
    printf '\223NUMPY\1\0\166\0%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($2, $3), }" >"$1"
    f32 "${@:4}" >>"$1"
}
# record FILE MODEL_ID MODE ROWS WIDTH: what `embed` puts beside an array of one mode.
record() {
    cat >"$1" <<END
{"format": "internvl-output", "version": 1,
 "identity": {"command": "embed", "model_id": "$2", "mode": "$3", "pool": "cls", "resize": "squash", "size": 56},
 "streams": [{"name": "img_emb", "suffix": "", "type": "float32", "shape": [$5]}],
 "state": "done", "rows": $4, "errors": 0}
END
}
