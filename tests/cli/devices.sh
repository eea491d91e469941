# `internvl devices`, with and without OpenCL devices.
# shellcheck shell=bash disable=SC2034,SC2154

# ---- no OpenCL platform
without_platform() {
    last="OCL_ICD_VENDORS=/nonexistent internvl $*"
    code=0
    OCL_ICD_VENDORS=/nonexistent OCL_ICD_FILENAMES='' "$internvl" "$@" >"$out" 2>"$err" </dev/null || code=$?
}
without_platform devices --json
expect_code 5
expect_that 'stdout is not []' [ "$(cat "$out")" = '[]' ]
expect_stderr 'error: no OpenCL .*install'
without_platform devices
expect_code 5
expect_no_stdout
expect_stderr 'error: no OpenCL .*install'
without_platform devices -d cpu -q
expect_code 5

# ---- what is there
need_device
# A platform without devices (PoCL, where all its devices are told to stay away) is named.
if [ "$("$internvl" devices --json -q | jq -r '[.[].platform] | unique | join(",")')" = 'Portable Computing Language' ]; then
    last='devices of a platform that has none'
    code=0
    POCL_DEVICES=none "$internvl" devices --json >"$out" 2>"$err" </dev/null || code=$?
    expect_code 5
    expect_that 'stdout is not []' [ "$(cat "$out")" = '[]' ]
    expect_stderr "OpenCL platform 'Portable Computing Language' offers no device here"
    expect_stderr 'error: no OpenCL device found; install'
fi
expect_exit 0 devices --json
expect_json 'type == "array" and length > 0'
expect_json 'all(.[]; has("index", "platform", "name", "vendor", "driver", "type", "pci", "uuid",
    "duplicate_of", "global_mem", "max_alloc", "usable", "reason"))'
expect_json '[.[].index] == [range(length)]'
expect_json 'all(.[]; .usable == (.reason == ""))'
expect_json 'all(.[] | select(.usable); .global_mem > 0 and .max_alloc > 0)'
expect_json '[.[] | select(.selected)] | length == 1 and .[0].usable'
expect_no_stderr error
expect_exit 0 devices
expect_stdout '^\* [0-9]+  '
expect_stdout '^\* would be used'
# Options stand on either side of the command.
expect_exit 0 -d all devices --json
expect_json 'all(.[] | select(.usable and .duplicate_of == null); .selected)'
expect_exit 0 devices --json --device=0
expect_json '.[0].selected'
expect_exit 0 devices --json -d0
expect_json '.[0].selected'
expect_exit 0 devices --js -q -d 0,0 -d 0
expect_json '[.[] | select(.selected)] | length == 1'

# ---- --device that matches nothing
for selector in nosuchdevice 4711 pci:ff:1f.7 gpuu; do
    expect_exit 5 devices --json --device "$selector"
    expect_json 'type == "array" and all(.[]; .selected | not)'
    expect_stderr "error: --device $selector matches none of the devices: 0: "
done
expect_exit 5 devices -d 0,nosuchdevice
expect_stderr 'error: --device nosuchdevice matches none'
