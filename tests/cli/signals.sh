# Ctrl-C and SIGTERM: the first asks, the second ends the program at once.
# shellcheck shell=bash disable=SC2034,SC2154

# A command that waits for its input: nothing but a second signal ends it.
start() {
    last="internvl $*, waiting"
    rm -f "$tmp/pipe"
    mkfifo "$tmp/pipe"
    "$internvl" tokenize golden/tokenizer/tiny.model --texts - "$@" <"$tmp/pipe" >"$out" 2>"$err" &
    pid=$!
    exec 9>"$tmp/pipe"
    # The handlers are there before anything is opened.
    sleep 0.3
}
send() {
    kill -s "$1" "$pid"
    sleep 0.3
}
finish_it() {
    code=0
    wait "$pid" || code=$?
    exec 9>&-
}
alive() { kill -0 "$pid" 2>/dev/null; }

start
send INT
expect_that 'one SIGINT killed it' alive
expect_stderr '^internvl: stopping; a second request stops at once$'
send INT
finish_it
expect_code 130
expect_stderr '^internvl: stopped at once'

start
send TERM
expect_that 'one SIGTERM killed it' alive
send TERM
finish_it
expect_code 143

# The first one tells what the exit code says.
start --quiet
send TERM
send INT
finish_it
expect_code 143
expect_no_stderr

start --log-json
send INT
expect_that 'the message is no JSON' jq -e '.level == "warning"' "$err" >"$tmp/discard"
send TERM
finish_it
expect_code 130

# timeout(1) sends its signal to the process and to the group: one request.
start
kill -s INT "$pid"
kill -s INT "$pid"
sleep 0.3
expect_that 'one request that came twice killed it' alive
send INT
finish_it
expect_code 130

# While a driver compiles: LLVM has handlers of its own, and a linker may run in our group of processes.
need_device
for when in 0.05 0.1 0.2 0.4 0.8; do
    for name in INT TERM; do
        last="embed while kernels are compiled, SIG$name after $when s"
        rm -rf "$tmp/cache"
        mkdir "$tmp/cache"
        code=0
        # The signal goes to the whole group, as from a terminal.
        POCL_CACHE_DIR=$tmp/cache timeout --preserve-status -s "$name" "$when" \
            "$internvl" embed golden/vit_rms ../docs/samples -o "$tmp/s.npy" --cache-dir "$tmp/cache" --force >"$out" 2>"$err" </dev/null || code=$?
        expect_that "exit code $code" [ "$code" = "$([ $name = INT ] && echo 130 || echo 143)" ]
        expect_no_stderr error
    done
done
