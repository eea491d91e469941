#!/bin/bash
# Runs the cases of one topic: run_topic.sh PROGRAM TOPIC.sh. All cases run, whatever fails before;
# exit 0 all passed, 1 some failed, 77 skipped (the reason is printed).
#
# A topic is a list of cases made of these words; the working directory is tests/.
#
#   expect_exit CODE ARGUMENTS...   runs `internvl ARGUMENTS...` and checks its exit code; what it
#                                   wrote is in $out and $err for the words that follow
#   expect_stdout PATTERN           some line of stdout matches (extended regular expression)
#   expect_stderr PATTERN           the same for stderr
#   expect_no_stdout [PATTERN]      nothing was written, or nothing that matches
#   expect_no_stderr [PATTERN]
#   expect_one_error PATTERN        stderr is one line, an error, and matches
#   expect_json FILTER              jq's FILTER over stdout answers true
#   expect_that WHAT COMMAND...     any other check: COMMAND succeeds
#   expect_file FILE, expect_no_file FILE
#   need_device                     skips the rest when there is no usable OpenCL device
#   skip REASON
#
# $internvl is the program, $tmp an empty folder that is removed at the end.
set -u
internvl=$1
topic=$2
tmp=$(mktemp -d "${TMPDIR:-/tmp}/internvl-cli.XXXXXX") || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
# Nothing of the person who runs the tests is read or written.
export HOME=$tmp/home LC_ALL=C TERM=dumb
unset NO_COLOR
mkdir "$HOME"
mkdir "$tmp/run"
out=$tmp/run/stdout
err=$tmp/run/stderr
checks=0
failures=0
last='(nothing was run)'

fail() {
    failures=$((failures + 1))
    printf 'FAILED (%s:%s) %s\n  after: %s\n' "$topic" "$(line_of_topic)" "$*" "$last"
    [ ! -s "$err" ] || sed 's/^/  stderr: /' "$err" | head -n 20
}

# The line of the topic that is being run, however deep the words are nested.
line_of_topic() {
    local i
    for ((i = 0; i < ${#BASH_SOURCE[@]}; i++)); do
        [ "${BASH_SOURCE[i]}" != "$topic" ] || { echo "${BASH_LINENO[i - 1]}"; return; }
    done
}

expect_that() {
    local what=$1
    shift
    checks=$((checks + 1))
    "$@" || fail "$what"
}

# run ARGUMENTS...: runs the program; its exit code is in $code.
run() {
    last="internvl $*"
    code=0
    "$internvl" "$@" >"$out" 2>"$err" </dev/null || code=$?
}

expect_code() { expect_that "exit code is $code, expected $1" [ "$code" = "$1" ]; }

expect_exit() {
    local expected=$1
    shift
    run "$@"
    expect_code "$expected"
}

expect_stdout() { expect_that "no line of stdout matches: $1" grep -qE -e "$1" "$out"; }
expect_stderr() { expect_that "no line of stderr matches: $1" grep -qE -e "$1" "$err"; }

nothing_in() {
    if [ $# = 1 ]; then
        [ ! -s "$1" ]
    else
        ! grep -qE -e "$2" "$1"
    fi
}
expect_no_stdout() { expect_that "stdout is not free of ${1:-text}" nothing_in "$out" "$@"; }
expect_no_stderr() { expect_that "stderr is not free of ${1:-text}" nothing_in "$err" "$@"; }

one_line() { [ "$(wc -l <"$err")" = 1 ] && grep -q '^internvl: error: ' "$err"; }
expect_one_error() {
    expect_that 'stderr is not one line with an error' one_line
    expect_stderr "$1"
}

json_satisfies() { jq -e "$1" "$out" >/dev/null; }
expect_json() {
    command -v jq >/dev/null || { expect_that 'jq is not installed (package jq)' false; return; }
    expect_that "stdout does not satisfy jq: $1" json_satisfies "$1"
}

expect_file() { expect_that "$1 is missing" [ -e "$1" ]; }
expect_no_file() { expect_that "$1 is there" [ ! -e "$1" ]; }

# A topic that checks nothing has not passed.
finish() {
    echo "$topic: $checks checks, $failures failed"
    [ "$failures" = 0 ] && [ "$checks" != 0 ]
    exit
}
# A topic with a word of that name would end without a verdict.
readonly -f finish

# What was checked before counts: a failure is reported as one.
skip() {
    [ "$failures" = 0 ] || finish
    echo "skipped: $* ($checks checks before passed)"
    exit 77
}

need_device() {
    local code=0
    "$internvl" devices --quiet >/dev/null 2>"$err" || code=$?
    [ "$code" = 0 ] || skip "no usable OpenCL device: $(cat "$err")"
}

# shellcheck source=/dev/null
. "$topic"
finish
