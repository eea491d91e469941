#!/bin/bash
# Unpacks the tarball of cpack in an empty folder and runs it with a bare environment: package.sh BUILD.
set -eu
build=$(cd "$1" && pwd)
example=$(cd "$(dirname "$0")/../.." && pwd)/docs/examples/embed.c
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

(cd "$build" && cpack -G TGZ -B "$folder/out" >"$folder/cpack.log") || { cat "$folder/cpack.log"; exit 1; }
mkdir "$folder/a folder"
tar -xzf "$folder"/out/*.tar.gz --strip-components=1 -C "$folder/a folder"
cd "$folder/a folder"

failed=0
fail() { echo "package: $*"; failed=1; }
for file in include/internvl/internvl.h include/internvl/runtime/status.h lib/libinternvl.so lib/libinternvl.a \
    lib/pkgconfig/internvl.pc share/man/man1/internvl.1 share/bash-completion/completions/internvl; do
    [ -e "$file" ] || fail "$file is missing"
done
[ -e lib/libOpenCL.so.1 ] && fail "an OpenCL loader was packed"
bad=$(nm -D --defined-only lib/libinternvl.so | awk '$2 != "A" {print $3}' | grep -vE '^ivl_[a-z]' || true)
[ -z "$bad" ] || fail "the shared library exports $bad"

# A user of the installed header and library.
cat >user.c <<'C'
#include "internvl.h"
#include <stdio.h>
int main(void) { return puts(ivl_version()) < 0; }
C
export PKG_CONFIG_PATH=$PWD/lib/pkgconfig
cc -I include/internvl user.c -o user -L lib -linternvl -Wl,--allow-shlib-undefined && LD_LIBRARY_PATH=$PWD/lib ./user || fail "a program with the shared library does not run"
status=0
cc -I include/internvl "$example" -o example -L lib -linternvl -Wl,--allow-shlib-undefined || fail "the example does not build"
LD_LIBRARY_PATH=$PWD/lib ./example 2>/dev/null || status=$?
[ "$status" = 2 ] || fail "the example without arguments: exit $status"
pkg-config --cflags --libs internvl >/dev/null || fail "pkg-config does not take internvl.pc"

if [ ! -x bin/internvl ]; then
    fail "bin/internvl is missing"
else
    readelf -d bin/internvl | grep -q 'RUNPATH.*\$ORIGIN/../lib' || fail "RUNPATH is not \$ORIGIN/../lib"
    for library in libclblast libjansson libjpeg; do
        env -i ldd bin/internvl | grep "$library" | grep -qF "$PWD/" || fail "$library is not taken from the tarball"
    done
    env -i ldd bin/internvl | grep 'not found' && fail "a library is not found"
    env -i bin/internvl --version || fail "internvl --version"
    status=0
    env -i HOME="$folder" bin/internvl devices || status=$?
    [ "$status" = 0 ] || [ "$status" = 5 ] || fail "internvl devices: exit $status"
fi
[ "$failed" = 0 ] && echo "package: runs from an empty folder"
exit "$failed"
