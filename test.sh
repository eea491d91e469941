#!/bin/bash
# test.sh - builds and runs the tests.
#
#   ./test.sh         self-test and model tests on your own device, then the suite on PoCL
#   ./test.sh --all   also Intel's CPU runtime, rusticl, Oclgrind, sanitizers, fuzzing, offline compilers
#
# Installs missing Debian packages (as root or through sudo). Registers no OpenCL driver, except PoCL where no
# platform exists: other implementations lie under build/icd/ and are chosen per process.
set -eu
cd "$(dirname "$(readlink -f "$0")")"
# shellcheck source=tests/ci/packages.sh
. tests/ci/packages.sh

all=no
case ${1:-} in
'') ;;
--all) all=yes ;;
-h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '/^set/,$d'; exit 0 ;;
*) echo "test.sh: unknown option '$1' (there is --all)" >&2; exit 2 ;;
esac
preset=release
[ -n "${CI:-}" ] && preset=ci

packages=("${build_packages[@]}" "${test_packages[@]}")
platform_exists || packages+=(pocl-opencl-icd)
install_packages "${packages[@]}"
[ -f build ] && { echo "test.sh: 'build' is a file; it must be a folder" >&2; exit 1; }
as_user mkdir -p build/icd build/steps

# What only --all needs; a failure is a step that is skipped.
fetch_intel() {
    [ -f build/icd/intel/lib/libintelocl.so ] && return
    say "fetching Intel's CPU runtime into build/icd/intel (270 MB)"
    as_user python3 -m venv build/icd/intel &&
        as_user build/icd/intel/bin/pip install -q --disable-pip-version-check intel-opencl-rt==2026.2.0 intel-cmplr-lib-rt
}

# unpack NAME PACKAGE: PACKAGE into build/icd/NAME; what it depends on is installed, it registers nothing.
unpack() {
    [ -d "build/icd/$1" ] || [ -z "$(missing "$2")" ] && return
    local needs
    mapfile -t needs < <(apt-get install -s --no-install-recommends "$2" 2>/dev/null |
        awk -v own="$2" '/^Inst/ && $2 != own {print $2}')
    [ "${#needs[@]}" = 0 ] || install_packages "${needs[@]}" || return 1
    say "unpacking $2 into build/icd/$1"
    # shellcheck disable=SC2016
    as_user bash -c 'cd build/icd && apt-get download -q "$2" && dpkg -x "$2"_*.deb "$1"' unpack "$1" "$2"
}

# The compilers of the GPU vendors, unpacked under build/tools: libclc-19 would remove Mesa's OpenCL if it were
# installed, and Intel's package would register a driver.
fetch_tools() {
    as_user mkdir -p build/tools/packages
    install_packages clang-19 || true
    # ocloc finds its compiler through these libraries; they register nothing.
    install_packages libigc1 libigdfcl1 || true
    # shellcheck disable=SC2016
    as_user bash -c 'cd build/tools/packages || exit 1
        [ -d ../clc ] || { apt-get download -q libclc-19 libclc-19-dev &&
            for deb in libclc-19*.deb; do dpkg -x "$deb" ../clc; done; }
        [ -d ../intel ] || { apt-get download -q intel-opencl-icd && dpkg -x intel-opencl-icd_*.deb ../intel; }'
    [ -d build/tools/cuda ] || {
        as_user python3 -m venv build/tools/venv && as_user build/tools/venv/bin/pip install -q --disable-pip-version-check --no-deps \
            --target build/tools/cuda nvidia-cuda-nvcc-cu12==12.9.86
    }
}

if [ "$all" = yes ]; then
    install_packages clang binutils python3-venv clang-format-14 shellcheck || true
    fetch_intel || echo "Intel's CPU runtime could not be fetched; its step is skipped"
    unpack mesa mesa-opencl-icd || echo "rusticl could not be unpacked; its step is skipped"
    unpack oclgrind oclgrind || echo "Oclgrind could not be unpacked; its step is skipped"
    fetch_tools || echo "not every offline compiler could be fetched; the step names what it leaves out"
fi
# The library alone is PoCL without being registered.
install_packages libpocl2 || true

say "building (build/$preset)"
as_user cmake --preset "$preset"
as_user cmake --build "build/$preset"

steps=(own_device:1500 host:900 pocl:1500)
[ "$all" = yes ] && steps+=(quickstart:900 package:300 intel:1200 rusticl:900 oclgrind:1200 offline:900 sanitize:1800 fuzz:1200)
for step in "${steps[@]}"; do
    name=${step%:*}
    printf 'add_test(%s bash "%s/tests/ci/step.sh" %s)\nset_tests_properties(%s PROPERTIES TIMEOUT %s SKIP_RETURN_CODE 77)\n' \
        "$name" "$PWD" "$name" "$name" "${step#*:}"
done | as_user tee build/steps/CTestTestfile.cmake >/dev/null
say "running ${#steps[@]} steps; what they print is in build/steps/Testing/Temporary/LastTest.log"
as_user env IVL_PRESET="$preset" ctest --test-dir build/steps --output-on-failure --no-tests=error
