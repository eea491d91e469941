#!/bin/bash
# One step of `test.sh`: step.sh NAME. Exit 0 passed, 77 skipped (the reason is the last line), else failed.
# Every OpenCL step selects one driver for its processes; nothing is registered with the system.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
preset=${IVL_PRESET:-release}
icd=$root/build/icd

skip() { echo "skipped: $*"; exit 77; }

# on DRIVER LABELS: the suite of those labels on one driver. The driver is OCL_ICD_VENDORS's form.
on() {
    export OCL_ICD_VENDORS=$1 IVL_TEST_DEVICE=${IVL_TEST_DEVICE:-0}
    # A driver that gives no device would skip every test: that is no success.
    if ! "build/$preset/tests/test_opencl" >build/steps/probe.log 2>&1; then
        cat build/steps/probe.log
        echo "$1 gives no usable device"
        return 1
    fi
    ctest --test-dir "build/$preset" -L "$2" -j2 --output-on-failure --no-tests=error
}

library() { ldconfig -p | grep -qF "$1"; }

step_own_device() {
    [ -x "build/$preset/cli/internvl" ] || [ -x "build/$preset/internvl" ] || skip "the program is not built"
    local program
    program=$(find "build/$preset" -maxdepth 2 -name internvl -type f -perm -u+x | head -n 1)
    "$program" devices || skip "no usable OpenCL device of your own"
    "$program" selftest
    ctest --test-dir "build/$preset" -L model --output-on-failure
}

step_host() { ctest --test-dir "build/$preset" -L 'unit|lint' -j2 --output-on-failure --no-tests=error; }

step_pocl() {
    library libpocl.so.2 || skip "PoCL is not installed (package libpocl2)"
    on libpocl.so.2 'op|model|cli'
}

step_intel() {
    local lib=$icd/intel/lib/libintelocl.so
    [ -f "$lib" ] || skip "Intel's CPU runtime is not under build/icd (needs python3-venv and a network)"
    on "$lib" 'op|model'
}

step_rusticl() {
    local lib
    lib=$(find "$icd/mesa" -name 'libRusticlOpenCL.so.1' 2>/dev/null | head -n 1)
    if [ -z "$lib" ]; then
        library libRusticlOpenCL.so.1 || skip "Mesa's rusticl is not here (package mesa-opencl-icd)"
        lib=libRusticlOpenCL.so.1
    fi
    export RUSTICL_ENABLE=llvmpipe IVL_TEST_TINY=1
    on "$lib" op
}

step_sanitize() {
    # Its kernels are those of the suite that ran before: PoCL's cache of that build spares minutes of compiling.
    cmake --preset sanitize -DIVL_TEST_CACHE="$root/build/$preset/pocl-cache" >build/sanitize.log
    cmake --build build/sanitize
    library libpocl.so.2 && export OCL_ICD_VENDORS=libpocl.so.2
    IVL_TEST_TINY=1 ctest --test-dir build/sanitize -LE lint -j2 --output-on-failure --no-tests=error
}

step_fuzz() {
    command -v clang >/dev/null || skip "clang is not installed"
    local targets
    targets=$(grep -c '^ivl_fuzz(' tests/fuzz/CMakeLists.txt)
    # Two at a time, six minutes for all of them together.
    cmake --preset fuzz -DIVL_FUZZ_SECONDS=$((360 * 2 / targets)) >build/fuzz.log
    cmake --build build/fuzz
    ctest --test-dir build/fuzz -L fuzz -j2 --output-on-failure --no-tests=error
}

# The README's first command, from another folder, with a recorded tiny model instead of the large stand-in.
step_quickstart() {
    library libpocl.so.2 || skip "PoCL is not installed (package libpocl2)"
    local log=$root/build/steps/quickstart.log status=0
    export OCL_ICD_VENDORS=libpocl.so.2
    (cd / && "$root/quickstart.sh" "$root/tests/golden/vit_rms") >"$log" 2>&1 || { cat "$log"; return 1; }
    for line in '^plan for ' '^astronaut.jpg  *1\.000 ' 'images/s; a million images take '; do
        grep -q "$line" "$log" || { cat "$log"; echo "quickstart.sh printed no line with: $line"; return 1; }
    done
    "$root/quickstart.sh" "$root/nowhere" 2>/dev/null || status=$?
    [ "$status" = 2 ] || { echo "quickstart.sh without its model: exit $status"; return 1; }
}

step_package() { bash tests/ci/package.sh "build/$preset"; }
step_oclgrind() { bash tests/ci/oclgrind.sh "build/$preset"; }
step_offline() { bash tests/ci/offline_compile.sh; }

[ "$(type -t "step_$1")" = function ] || { echo "step.sh: no step '$1'" >&2; exit 2; }
"step_$1"
