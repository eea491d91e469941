# --trace: what ran on the device is in the timeline.
# shellcheck shell=bash disable=SC2034,SC2154

need_device
# traced FILTER: jq's FILTER over the last trace answers true.
traced() { expect_that "the trace does not satisfy jq: $1" jq -e "$1" "$tmp/trace.json" >"$tmp/discard"; }

expect_exit 0 verify golden/vit_rms golden/vit_rms --residency stream --trace "$tmp/trace.json"
expect_no_file "$tmp/trace.json.part"
traced '[.traceEvents[] | select(.ph == "M") | .args.name] | contains(["internvl", "device: compute", "device: upload"])'
traced '[.traceEvents[] | select(.ph == "X")] | length > 20 and all(.[]; .dur >= 0 and .ts >= 0 and .pid == 1)'
# Commands of one queue follow each other.
traced '[.traceEvents[] | select(.ph == "X")] | group_by(.tid) | all(.[]; sort_by(.ts) |
    [.[:-1], .[1:]] | transpose | all(.[]; .[0].ts + .[0].dur <= .[1].ts + 1))'
# Every span is on a track that has a name.
traced '([.traceEvents[] | select(.name == "thread_name") | .tid] | sort) ==
    ([.traceEvents[] | select(.ph == "X") | .tid] | unique)'
traced '[.traceEvents[] | select(.ph == "X") | .cat] | unique | length > 2'
# An old trace is replaced; the trace of a run that failed is there as well.
expect_exit 4 verify "$tmp/none" golden/vit_rms --trace "$tmp/trace.json"
traced '[.traceEvents[] | select(.ph == "X")] == []'
# The host's threads: each picture is read, decoded and resized on one track of a worker, one after the other.
expect_exit 0 embed golden/vit_rms ../docs/samples -o "$tmp/t.npy" --threads 2 --batch 2 --trace "$tmp/trace.json" -q
traced '[.traceEvents[] | select(.ph == "M" and .name == "thread_name") | .args.name] |
    index("write") != null and any(.[]; test("^decode [01]$")) and all(.[]; test("^(decode [01]|write|device: .*)$"))'
traced '(.traceEvents | map(select(.ph == "M" and .name == "thread_name") | {key: "\(.tid)", value: .args.name}) | from_entries) as $track |
    [.traceEvents[] | select(.ph == "X") | . + {track: $track["\(.tid)"]} | select(.track | startswith("decode"))] |
    (group_by(.name) | length == 6 and all(.[]; ([.[] | .cat] | sort) == ["decode", "read", "resize"] and
        ([.[] | .track] | unique | length) == 1)) and
    (group_by(.track) | all(.[]; sort_by(.ts) | [.[:-1], .[1:]] | transpose | all(.[]; .[0].ts + .[0].dur <= .[1].ts + 1)))'
traced '[.traceEvents[] | select(.ph == "X" and .cat == "write")] | length >= 3'
