# Wrong usage, help and version: nothing here needs a device or a model.
# shellcheck shell=bash disable=SC2034,SC2154

# ---- help and version
expect_exit 0 --version
expect_stdout '^internvl [0-9]+\.[0-9]+\.[0-9]+$'
expect_no_stderr
expect_exit 0 --help
expect_stdout '^usage: internvl '
expect_stdout '^  devices '
expect_stdout '^Examples:'
expect_no_stderr
expect_exit 0 devices --version
expect_stdout '^internvl [0-9]'
commands=$("$internvl" --help | sed -n '/^Commands/,/^$/s/^  \([a-z]*\) .*/\1/p')
expect_that 'the commands are not listed' [ -n "$commands" ]
for command in $commands; do
    expect_exit 0 "$command" --help
    expect_stdout "^usage: internvl $command "
    expect_stdout '^Examples:'
    expect_stdout "^  internvl .*$command"
    expect_no_stderr
    expect_exit 0 --help "$command"
    expect_stdout "^usage: internvl $command "
    # Help needs nothing else to be right.
    expect_exit 0 "$command" -h --no-such-option
    # An option that does not exist is refused everywhere.
    expect_exit 2 "$command" --no-such-option
    expect_one_error "$command: unknown option --no-such-option"
    expect_stderr "see internvl $command --help"
    expect_no_stdout
done

# ---- commands
expect_exit 2
expect_one_error 'a command is missing'
expect_no_stdout
expect_exit 2 devcies
expect_one_error 'unknown command "devcies"; did you mean devices\?'
expect_exit 2 dev
expect_one_error 'did you mean devices\?'
expect_exit 2 zzzzzz
expect_one_error 'unknown command "zzzzzz"; see internvl --help'
expect_exit 2 ''
expect_exit 2 --

# ---- options
expect_exit 2 --no-such-option devices
expect_one_error 'unknown option --no-such-option'
expect_exit 2 devices --jsno
expect_one_error 'unknown option --jsno; did you mean json\?'
expect_exit 2 devices -Z
expect_one_error 'devices: unknown option -Z'
expect_exit 2 devices --json=yes
expect_one_error '--json takes no value'
expect_exit 2 devices extra
expect_one_error 'unexpected argument "extra"'
expect_exit 2 devices -- --json
expect_one_error 'unexpected argument "--json"'
for option in -d --device --device-memory --residency --precision --gemm --tuning --threads --cache-dir --trace; do
    name=$option
    [ "$option" != -d ] || name=--device
    expect_exit 2 devices "$option"
    expect_one_error "devices: $name needs a value"
    expect_exit 2 "$option"
    expect_one_error "error: $name needs a value"
done

# ---- abbreviations
expect_exit 2 devices --no=1
expect_one_error '--no-cache takes no value'
expect_exit 2 devices --ver
expect_one_error '--ver is ambiguous: --verbose, --version'
expect_exit 2 devices --devic
expect_one_error '--devic is ambiguous: --device, --device-memory'
expect_exit 2 devices --dev-mem 1GiB
expect_one_error 'unknown option --dev-mem'
expect_exit 2 devices --device-m nonsense
expect_one_error '--device-memory nonsense is no budget'
expect_exit 2 devices --thr 0
expect_one_error '--threads 0 is outside'

# ---- values
for size in 0 0MiB -1 -1GiB '' GiB 4XiB 4GiBx '4 GiB' 0x10 1e3 99999999999999999999 99999999999GiB 17179869184GiB \
    0% -5% 100.1% 101% nan% inf% 5%% % 0.0%; do
    expect_exit 2 --device-memory "$size" devices
    expect_one_error '--device-memory .*is no budget; give a size above 0'
    expect_exit 2 devices "--device-memory=$size"
    expect_one_error 'devices: --device-memory .*is no budget'
done
for threads in 0 1025; do
    expect_exit 2 devices --threads "$threads"
    expect_one_error "--threads $threads is outside of 1 \\.\\. 1024"
done
for threads in -1 x '' 1.5 ' 1' +1 2147483648 99999999999999999999; do
    expect_exit 2 devices --threads "$threads"
    expect_one_error '--threads ".*" is no whole number'
done
expect_exit 2 devices --residency fast
expect_one_error '--residency fast is unknown; there are auto, mapped, resident and stream'
expect_exit 2 devices --precision fp16
expect_one_error '--precision fp16 is unknown; there are auto, exact and fast'
expect_exit 2 devices -q -v
expect_one_error 'exclude each other'
expect_exit 2 devices -qv
expect_one_error 'exclude each other'
expect_exit 2 devices --no-cache --cache-dir "$tmp/cache"
expect_one_error 'exclude each other'
expect_exit 2 devices --cache-dir ''
expect_one_error '--cache-dir needs the name of a folder'

# ---- trace
expect_exit 2 devices --trace ''
expect_one_error '--trace needs the name of a file'
expect_exit 1 devices --trace "$tmp/none/trace.json"
expect_one_error "--trace: '$tmp/none/trace.json.part' cannot be written: No such file"
expect_exit 2 devices --nonsense --trace "$tmp/trace.json"
expect_no_file "$tmp/trace.json"
expect_exit 0 info golden/vit_ln --json --trace "$tmp/trace.json"
expect_file "$tmp/trace.json"
expect_no_file "$tmp/trace.json.part"
expect_that 'the trace is no JSON' jq -e '.traceEvents | length > 0' "$tmp/trace.json" >"$tmp/discard"

# ---- messages
expect_exit 2 --log-json devices --no-such-option
expect_stderr '^\{"time": [0-9.]+, "level": "error", "message": "devices: unknown option --no-such-option; see internvl devices --help"\}$'
# A message stays one line, and no escape sequence gets through.
expect_exit 2 $'a\nb\033[31mc\x80\xff'
expect_one_error 'unknown command "a; b\\x1b\[31mc\\x80\\xff"'

# ---- stdout that takes nothing
if [ -e /dev/full ]; then
    last='internvl --help >/dev/full'
    code=0
    "$internvl" --help >/dev/full 2>"$err" || code=$?
    expect_code 1
    expect_one_error 'standard output could not be written: No space left'
fi
last='internvl --help >&-'
code=0
"$internvl" --help >&- 2>"$err" || code=$?
expect_code 1
expect_one_error 'standard output could not be written'
last='internvl --help | true'
code=0
# The reader is gone before the first byte: it ends before the writer begins.
{ sleep 0.3; "$internvl" --help 2>"$err"; echo "$?" >"$tmp/code"; } | true
code=$(cat "$tmp/code")
expect_code 1
expect_one_error 'standard output could not be written: Broken pipe'
last='internvl devices --no-such-option with everything closed'
code=0
"$internvl" devices --no-such-option <&- >&- 2>&- || code=$?
expect_code 2
