#!/bin/bash
# device_report.sh - what a device does, as a page of docs/devices/.
#
#   bench/device_report.sh BUILD_DIR [--device SELECTOR] >docs/devices/NAME.md
#
# BUILD_DIR: where CMake built (build/release). Runs the self-test, the products, whole blocks, pictures and texts from
# start to end and the host's share, products and blocks beside their yardsticks in the same run, and prints the
# commands with what they answered. On a processor about ten minutes; let nothing else run. Makes stand-ins of a few
# layers in a temporary folder (4 GB). Progress goes to stderr.
# shellcheck disable=SC2016 # backquotes are Markdown's
set -eu
here=$(dirname "$(readlink -f "$0")")
if [ ! -x "${1:-}/cli/internvl" ]; then
    sed -n '2,/stderr/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
build=$(readlink -f "$1")
shift
device=("$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$here/../docs/samples" samples
export PATH="$build/cli:$build/bench:$PATH"

section() { printf '\n## %s\n\n' "$1"; }

# show COMMAND...: the command as a reader would type it, and what it answered.
show() {
    echo "$*" >&2
    printf '    $ %s\n' "$*"
    { "$@" 2>&1 || echo "(exit $?)"; } | tr '\r' '\n' | sed 's/^/    /; s/ *$//'
}

# peak_memory COMMAND...: the largest anonymous memory of the process, in MB, sampled every 20 ms.
peak_memory() {
    local most=0 now pid
    "$@" >/dev/null 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        now=$(awk '/^RssAnon/ { print int($2 / 1000) }' /proc/$pid/status 2>/dev/null) || now=
        [ "${now:-0}" -le "$most" ] || most=$now
        sleep 0.02
    done
    wait $pid || true
    echo "$most MB"
}

internvl -q synth internvit-6b-224 --set num_hidden_layers=3 -o block3 >&2
for _ in 1 2 3 4 5 6 7 8; do ls samples/*.jpg; done >pictures.txt

printf '# %s\n' "$(internvl "${device[@]}" devices 2>/dev/null | sed -n "1s,^[* 0-9]* *,,p")"
printf '\nMade by `bench/device_report.sh` of internvl %s on %s.\n' "$(internvl --version | awk '{ print $NF }')" "$(date -I)"
if [ -r /proc/cpuinfo ]; then
    printf 'Host: %s processors, %s, Linux %s.\n' "$(nproc)" \
        "$(sed -n 's/^model name[^:]*: //p;' /proc/cpuinfo | sed -n 1p)" "$(uname -r | cut -d- -f1)"
fi

section 'Device'
show internvl "${device[@]}" devices
show internvl "${device[@]}" selftest

section 'Matrix products of the 6B model'
echo 'The last column is the ratio to the best of the register-only fma loop of the same run.'
echo
show bench_gemm "${device[@]}" --rows 257
show bench_gemm "${device[@]}" --rows 1025

section 'Whole blocks'
echo '`internvl synth internvit-6b-224 --set num_hidden_layers=3 -o block3` made the model.'
echo
show bench_block block3 "${device[@]}"

section 'A run from start to end'
echo '`pictures.txt` names the sample photographs eight times. The second run finds its caches warm.'
echo
show internvl "${device[@]}" -q embed block3 @pictures.txt -o first.npy --stats first.json
show internvl "${device[@]}" -q embed block3 @pictures.txt -o second.npy --stats second.json
show cat second.json

section 'Texts'
echo '`internvl synth internvl-14b-224 --set qllama_config.num_hidden_layers=2 --set vision_config.num_hidden_layers=1 -o'
echo 'text2` made the model; 1,000 lines of 24 words. Against `seconds`: the sum of qkv, proj, gate/up and down, the products.'
echo
internvl -q synth internvl-14b-224 --set qllama_config.num_hidden_layers=2 --set vision_config.num_hidden_layers=1 -o text2 >&2
tr -cs 'a-zA-Z' '\n' <"$here/../README.md" | awk 'NF { word[n++] = $1 }
    END { for (i = 0; i < 24000; i++) printf "%s%s", word[(i * 7 + int(i / n)) % n], i % 24 == 23 ? "\n" : " " }' >captions.txt
show internvl "${device[@]}" -q embed text2 --texts captions.txt -o texts.npy --stats texts.json
show cat texts.json

section 'Host'
printf 'Largest anonymous memory of `internvl embed block3 @pictures.txt -o third.npy` (RssAnon of /proc, every 20 ms): %s.\n\n' \
    "$(peak_memory internvl "${device[@]}" -q embed block3 @pictures.txt -o third.npy)"
show bench_image samples/*.jpg
