# `internvl selftest`: every check told, failures found.
# shellcheck shell=bash disable=SC2034,SC2154

expect_exit 5 selftest --device nosuchdevice
expect_stderr '^internvl: error: '
expect_no_stdout
need_device

expect_exit 0 selftest
expect_no_stdout FAILED
expect_that 'a line is no check' [ "$(grep -cvE '^(skipped +[^ ]+ +[^ ]|ok +[^ ]+ +error [0-9.e+-]+, bound [0-9.e+-]+$)' "$out")" = 0 ]
for check in language norm_rms gelu pool model_rms model_layer; do
    expect_stdout "^ok +$check "
done
expect_stderr 'checks passed, 0 failed'
expect_exit 0 selftest --json --quiet
expect_no_stderr
expect_json 'length > 10 and all(.[]; has("check", "passed", "skipped", "max_error", "bound", "note"))'
expect_json 'all(.[]; .passed != .skipped and (.skipped or .max_error <= .bound))'

# ---- a kernel that is wrong
mkdir "$tmp/cl"
cp ../cl/* "$tmp/cl"
sed -i 's/fmax(v, (F)(0.0f))/fmax(v, (F)(0.001f))/' "$tmp/cl/gelu.h"
expect_that 'the kernel was not changed' [ "$(cmp ../cl/gelu.h "$tmp/cl/gelu.h" | wc -l)" = 1 ]
expect_exit 6 selftest --kernel-dir "$tmp/cl"
expect_stdout '^FAILED +gelu +error 0\.00[01].*, bound [0-9.e-]+'
expect_stdout '^ok +norm_rms '
expect_stderr 'error: [0-9]+ of the checks failed on '
expect_exit 6 selftest --kernel-dir "$tmp/cl" --json
expect_json 'any(.[]; .check == "gelu" and (.passed | not) and .max_error > .bound)'
# Nothing else uses such a device.
expect_exit 1 info golden/vit_ln --kernel-dir "$tmp/cl"
expect_stderr 'error: .*gelu'
