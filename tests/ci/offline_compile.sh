#!/bin/bash
# Compiles every line of offline_variants.txt with the code generators of the GPU vendors, without a GPU.
# A kernel that does not compile, spills registers or needs a dynamic stack fails. Tools are unpacked under
# build/tools (test.sh --all fetches them); a vendor whose tool is missing is named and left out, and
# with none at all the step is skipped (77).
set -eu
cd "$(dirname "$0")/../.."
tools=$PWD/build/tools/
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

clc=$tools/clc/usr/lib/clc
ptxas=$(find "$tools" -path '*cuda_nvcc/bin/ptxas' 2>/dev/null | head -n 1)
clang=$(command -v clang-19 || true)
ocloc=$(command -v ocloc || find "$tools" -name ocloc -type f 2>/dev/null | head -n 1)
library=$(find "$tools/intel" -name 'libocloc.so*' 2>/dev/null | head -n 1)
[ -z "$library" ] || export LD_LIBRARY_PATH="${library%/*}"
failed=0
compiled=0
common=(-x cl -cl-std=CL1.2 -Xclang -finclude-default-header -I cl -O3 -Wno-unused-command-line-argument)

# report CHIP VARIANT REASON LOG
report() {
    printf '%s: %s: %s\n' "$1" "$2" "$3"
    head -n 20 "$4"
    failed=1
}

amd() { # CHIP FILE DEFINES...
    local chip=$1 file=$2 log=$work/amd.log
    shift 2
    if ! "$clang" "${common[@]}" -target amdgcn-amd-amdhsa -mcpu="$chip" -nogpulib -Xclang -mlink-builtin-bitcode \
        -Xclang "$clc/amdgcn--amdhsa.bc" -Rpass-analysis=kernel-resource-usage "$@" -S "cl/$file" -o "$work/k.s" 2>"$log"; then
        report "$chip" "$file $*" 'does not compile' "$log"
    elif grep -E 'Spill: [1-9]|Dynamic Stack: True' "$log" >"$work/bad"; then
        report "$chip" "$file $*" 'spills or needs a dynamic stack' "$work/bad"
    fi
}

nvidia() {
    local chip=$1 file=$2 log=$work/nv.log
    shift 2
    if ! "$clang" "${common[@]}" -target nvptx64--nvidiacl -Xclang -target-cpu -Xclang "$chip" -fgnu-keywords \
        -Xclang -mlink-builtin-bitcode -Xclang "$clc/nvptx64--nvidiacl.bc" "$@" -S "cl/$file" -o "$work/k.ptx" 2>"$log" ||
        ! "$ptxas" -arch="$chip" -v "$work/k.ptx" -o /dev/null >"$log" 2>&1; then
        report "$chip" "$file $*" 'does not compile' "$log"
    elif grep -E '[1-9][0-9]* bytes spill' "$log" >"$work/bad"; then
        report "$chip" "$file $*" 'spills' "$work/bad"
    fi
}

intel() {
    local chip=$1 file=$2 log=$work/intel.log
    shift 2
    if ! "$ocloc" compile -file "cl/$file" -device "$chip" --format zebin -options "-cl-std=CL1.2 -I $PWD/cl $*" \
        -out_dir "$work/intel" >"$log" 2>&1; then
        report "$chip" "$file $*" 'does not compile' "$log"
    elif cat "$work"/intel/*.bin 2>/dev/null | strings -a | grep -A2 'type: *scratch' >"$work/bad"; then
        report "$chip" "$file $*" 'spills' "$work/bad"
    fi
    rm -rf "$work/intel"
}

# Kernels of CPUs are compiled by their drivers on this machine; here they may not even cause a warning, which PoCL
# would show to everybody.
warnings_of_cpu_kernels() {
    local log=$work/cpu.log words
    while read -r -a words; do
        [ "${words[0]:-#}" = cpu ] || continue
        "$clang" -x cl -cl-std=CL1.2 -march=znver4 -Xclang -finclude-default-header -I cl -fsyntax-only -Wall -Werror \
            -Wno-unused-function "cl/${words[1]}" "${words[@]:2}" 2>"$log" ||
            report cpu "${words[*]:1}" 'has warnings' "$log"
        compiled=$((compiled + 1))
    done <tests/ci/offline_variants.txt
}

every() { # VENDOR CHIP...
    local vendor=$1 chip file only words
    shift
    while read -r -a words; do
        case ${words[0]:-#} in '#'* | cpu) continue ;; esac
        only=
        case ${words[0]} in @*) only=,${words[0]#@}, words=("${words[@]:1}") ;; esac
        file=${words[0]}
        for chip; do
            case ${only:-,$chip,} in *",$chip,"*) ;; *) continue ;; esac
            "$vendor" "$chip" "$file" "${words[@]:1}"
            compiled=$((compiled + 1))
        done
    done <tests/ci/offline_variants.txt
}

for file in cl/*.cl; do
    grep -qE "^((cpu|@[^ ]*) )?${file#cl/}( |\$)" tests/ci/offline_variants.txt || case $file in
    cl/exp_values.cl | cl/probe_bf16_dot.cl | cl/probe_amx.cl) ;;
    *) echo "offline: no variant of $file is listed"; failed=1 ;;
    esac
done
[ -z "$clang" ] || warnings_of_cpu_kernels
if [ -n "$clang" ] && [ -f "$clc/amdgcn--amdhsa.bc" ]; then
    every amd gfx900 gfx90a gfx942 gfx1030 gfx1100 gfx1201
else
    echo "offline: AMD left out (clang-19 and libclc-19 are not here)"
fi
if [ -n "$clang" ] && [ -n "$ptxas" ] && [ -f "$clc/nvptx64--nvidiacl.bc" ]; then
    every nvidia sm_70 sm_75 sm_80 sm_90
else
    echo "offline: NVIDIA left out (clang-19, libclc-19 or ptxas are not here)"
fi
if [ -n "$ocloc" ]; then
    every intel skl tgllp dg2 pvc
else
    echo "offline: Intel left out (ocloc is not here)"
fi
[ "$failed" = 0 ] || exit 1
[ "$compiled" -gt 0 ] || { echo "skipped: no offline compiler is here"; exit 77; }
echo "offline: $compiled compilations, no spill, no dynamic stack"
