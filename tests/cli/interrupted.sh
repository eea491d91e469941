# Words for topics about runs of `embed` that end early; to be sourced. $tmp/list has the inputs,
# $batch how many make a batch, $tmp/whole.* is what a run that was not disturbed wrote.
# shellcheck shell=bash disable=SC2034,SC2154

# begin OUT ARGUMENTS...: a run in the background that reads 40 lines on standard input and waits for
# more; returns when some rows are saved. Its process is $pid.
begin() {
    local output=$1
    shift
    rm -f "$tmp/fifo"
    mkfifo "$tmp/fifo"
    "$internvl" embed "$@" -o "$output" --batch "$batch" <"$tmp/fifo" >"$out" 2>"$err" &
    pid=$!
    exec 9>"$tmp/fifo"
    head -n 40 "$tmp/list" >&9
    for _ in $(seq 400); do
        saved "$output" && return
        sleep 0.05
    done
    expect_that 'rows are saved within 20 s' false
}
saved() {
    local rows=${1%.npy}.jsonl.part
    [ ! -d "$1" ] || rows=$1/metadata/metadata_000000.jsonl.part
    [ "$(cat "$rows" 2>/dev/null | wc -l)" -ge 16 ]
}
# finish_run: its exit code is in $code.
finish_run() {
    code=0
    wait "$pid" || code=$?
    exec 9>&-
}
# same_as_whole NAME [FILE...]: the files NAME.FILE are those of the run that was not disturbed.
same_as_whole() {
    local name=$1 file
    shift
    [ $# != 0 ] || set -- npy jsonl errors.jsonl
    for file; do
        cmp -s "$tmp/whole.$file" "$tmp/$name.$file" || return 1
    done
}
