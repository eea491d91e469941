#!/bin/bash
# Runs the op tests on tiny shapes inside Oclgrind: oclgrind.sh BUILD. Races and uninitialised values in separate
# runs, because reports of one use up the budget of the other. Findings are read from the log: the exit status
# says nothing about them. A test in which Oclgrind crashes must be named in oclgrind_crashes.txt.
#
# Oclgrind 21.10's check for uninitialised values knows no `freeze`, which LLVM puts in when it optimises, takes
# word 11 (from 0) of every shuffle for uninitialised, and reads beyond its memory for lanes that a shuffle leaves
# open. Kernels are built for it as they are for other compilers than clang, and not optimised.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tests=$here/..
build=$(cd "$1" && pwd)
oclgrind=$(find "$here/../../build/icd/oclgrind" -path '*/bin/oclgrind' 2>/dev/null | head -n 1)
[ -n "$oclgrind" ] || oclgrind=$(command -v oclgrind || true)
[ -n "$oclgrind" ] || { echo "skipped: Oclgrind is not here (package oclgrind)"; exit 77; }
logs=$build/oclgrind
mkdir -p "$logs"
cd "$tests"
export IVL_TEST_TINY=1
failed=0
ran=0

# one PROGRAM CHECK: findings fail, a crash fails unless its name is listed.
one() {
    local name=${1##*/} log status=0 options=
    log=$logs/$name$2.log
    rm -f "$log"
    [ "$2" != --uninitialized ] || options="-cl-opt-disable -U__clang__"
    timeout 400 "$oclgrind" --max-errors 20 --log "$log" --build-options "$options" "$2" "$1" >"$log.out" 2>&1 || status=$?
    ran=$((ran + 1))
    if [ -f "$log" ] && grep -qE 'Invalid|race|ninitialized|divergence' "$log"; then
        echo "$name $2: findings"
        head -n 30 "$log"
        failed=1
    elif [ "$status" = 0 ] || [ "$status" = 77 ]; then
        echo "$name $2: clean"
    elif grep -qx "$name" "$here/oclgrind_crashes.txt"; then
        echo "$name $2: Oclgrind ends with status $status, as listed"
    else
        echo "$name $2: status $status"
        tail -n 20 "$log.out"
        failed=1
    fi
}

while read -r program; do
    for check in --data-races --uninitialized; do
        # Whole matrices by kernels that are not optimised, only to compare their times.
        if [ "${program##*/} $check" = "test_tuning --uninitialized" ]; then
            echo "test_tuning --uninitialized: SKIPPED: minutes of the simulator; test_gemm checks its kernels"
            continue
        fi
        one "$program" "$check"
    done
done < <(sed -n 's/^ivl_test(\([a-z0-9_]*\) op.*/\1/p' op.cmake | while read -r name; do echo "$build/tests/$name"; done)
[ "$ran" -gt 0 ] || { echo "no test was run"; exit 1; }
exit "$failed"
