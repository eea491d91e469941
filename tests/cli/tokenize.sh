# `internvl tokenize`: ids of texts and back. Needs no device.
# shellcheck shell=bash disable=SC2034,SC2154
model=golden/tokenizer/tiny.model

expect_exit 0 tokenize $model --text ''
expect_json '.ids == [1, 463, 754, 2] and (.pieces | length) == 4'
expect_exit 0 tokenize $model --text '' --raw
expect_json '.ids == []'
expect_exit 0 tokenize $model --text ' ' --text 'a, b' --raw
expect_that 'a line per text' [ "$(wc -l <"$out")" = 2 ]

# The recorded ids, all at once as JSON lines.
jq -c '.cases[] | {text}' golden/tokenizer/tiny_cases.json >"$tmp/cases.jsonl"
jq -c '.cases[].sentencepiece_ids' golden/tokenizer/tiny_cases.json >"$tmp/want"
expect_exit 0 tokenize $model --texts "$tmp/cases.jsonl" --raw
expect_that 'ids are those recorded' sh -c 'jq -c .ids "$1" | cmp - "$2"' sh "$out" "$tmp/want"
# And back.
cp "$tmp/want" "$tmp/ids.txt"
jq -c '.cases[].decoded' golden/tokenizer/tiny_cases.json >"$tmp/decoded"
expect_exit 0 tokenize $model --texts "$tmp/ids.txt" --decode
expect_that 'texts are those recorded' sh -c 'jq -c .text "$1" | cmp - "$2"' sh "$out" "$tmp/decoded"

# A folder, lines, CR, an empty line, bad lines among good ones.
mkdir "$tmp/model"
cp $model "$tmp/model/tokenizer.model"
printf 'a cat\r\n\n\377\nlast' >"$tmp/lines.txt"
expect_exit 3 tokenize "$tmp/model" --texts "$tmp/lines.txt" --raw
expect_stderr 'line 3 of .*lines.txt: line is not UTF-8 at byte 0 \(0xff\)'
expect_that 'three lines' [ "$(wc -l <"$out")" = 3 ]
printf '{"text":"a"}\n{"text":1}\nnot json\n{"text":"a\\u0000b"}\n' >"$tmp/bad.jsonl"
expect_exit 3 tokenize $model --texts "$tmp/bad.jsonl"
expect_stderr 'line 2 of .*no "text"'
expect_stderr 'line 3 of .*not JSON'
expect_that 'two lines' [ "$(wc -l <"$out")" = 2 ]
expect_exit 3 tokenize $model --decode --text '1 99999' --text 'x'
expect_stderr 'text 1: token id 99999: this tokenizer has ids 0 to 796'
expect_stderr "text 2: 'x' is no token id"

# Usage and unusable models.
expect_exit 2 tokenize $model
expect_one_error 'no texts'
expect_exit 2 tokenize --text a
expect_one_error 'needs one MODEL'
expect_exit 2 tokenize $model --texts "$tmp/none.txt"
expect_one_error 'none.txt'
expect_exit 4 tokenize "$tmp/none.model" --text a
expect_one_error 'none.model'
expect_exit 4 tokenize golden/vit_rms --text a
expect_one_error 'holds no tokenizer.model'
expect_exit 4 tokenize golden/malformed/spm_truncated.model --text a
expect_one_error 'spm_truncated.model.*damaged'
