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
