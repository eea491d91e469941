#!/bin/bash
# Checks the include graph: arrows between the rooms point down only. Prints every offending line.
#   cl/ nothing outside cl/ | runtime/ runtime/ | loader/ loader/ and the base headers of runtime/
#   (base headers: status, memory, log, hash, os, file, dtype)
#   model/ runtime/, loader/, model/ | cli/ cli/, model/internvl.h, model/metrics.h, loader/, base headers, bench/*.h
#   tests/ and bench/ anything. Every quoted include names its room ("runtime/os.h").
set -eu
cd "$(dirname "$0")/../.."

base='runtime/(status|memory|log|hash|os|file|dtype)\.h'
failed=0

# check ROOM ALLOWED...: every quoted include of the room's files matches one of the patterns.
check() {
    local room=$1 allowed bad
    shift
    [ -d "$room" ] || return 0
    allowed=$(IFS='|'; echo "$*")
    bad=$(grep -rnE --include='*.[ch]' --include='*.cl' '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' "$room" |
        grep -vE "\"($allowed)\"" || true)
    if [ -n "$bad" ]; then
        printf '%s/ may not include:\n%s\n' "$room" "$bad"
        failed=1
    fi
}

check cl '[a-z0-9_]+\.h'
check runtime 'runtime/.*'
check loader 'loader/.*' "$base"
check model 'model/.*' 'runtime/.*' 'loader/.*'
check cli 'cli/.*' 'model/(internvl|metrics)\.h' 'loader/.*' "$base" 'bench/.*\.h'

# What only one room may know.
bad=$(grep -rnE --include='*.[ch]' '#[[:space:]]*include[[:space:]]*<(CL/|clblast)' loader model cli 2>/dev/null || true)
if [ -n "$bad" ]; then
    printf 'OpenCL outside runtime/:\n%s\n' "$bad"
    failed=1
fi
bad=$(grep -rnE --include='*.[ch]' '\b(cl[A-Z][A-Za-z]+)\(' model loader 2>/dev/null | grep -vE '^\S+\s*(\*|//)' || true)
if [ -n "$bad" ]; then
    printf 'cl* calls outside runtime/:\n%s\n' "$bad"
    failed=1
fi
[ "$failed" = 0 ] && echo "include graph: arrows point down only"
exit "$failed"
