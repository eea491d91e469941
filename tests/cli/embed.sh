# `internvl embed`: numbers, forms of the output, options, statistics.
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
need_device
. cli/arrays.sh
model=golden/vit_rms
samples=../docs/samples

# ---- numbers
expect_exit 0 embed $model $model/pixel_values.npy -o "$tmp/a.npy" --precision exact
expect_no_stdout
expect_stderr 'precision exact, gemm [a-z]+, [a-z]+, batch [0-9]+'
expect_stderr '2 images'
expect_that 'header' grep -q "'<f4'.*(2, 256)" <(header "$tmp/a.npy")
expect_that 'pooler_output' close_to "$tmp/a.npy" $model/pooler_output.npy "$(bound_of $model pooler_output)"
for px in 56 84; do
    expect_exit 0 embed golden/vit_ln golden/vit_ln/px$px/pixel_values.npy -o "$tmp/ln$px.npy" --precision exact -q
    expect_no_stderr
    expect_that "px$px" close_to "$tmp/ln$px.npy" golden/vit_ln/px$px/pooler_output.npy \
        "$(bound_of golden/vit_ln/px$px pooler_output)"
done
# Sizes of arrays may change within a run.
expect_exit 0 embed golden/vit_ln golden/vit_ln/px84/pixel_values.npy $samples/coffee.jpg \
    golden/vit_ln/px56/pixel_values.npy -o "$tmp/mixed.npy" --precision exact -q
expect_that 'px84 among others' cmp -s <(values "$tmp/ln84.npy") <(values "$tmp/mixed.npy" |
    head -n "$(values "$tmp/ln84.npy" | wc -l)")
expect_that 'px56 among others' cmp -s <(values "$tmp/ln56.npy") <(values "$tmp/mixed.npy" |
    tail -n "$(values "$tmp/ln56.npy" | wc -l)")

# ---- a batch of n is n batches of one, bit for bit, whatever the threads and the residency
expect_exit 0 embed $model $samples -o "$tmp/b1.npy" --batch 1 --threads 1 -q
for how in '--batch 2' '--batch 5 --threads 3' '--batch 64' '--batch 3 --residency stream'; do
    # shellcheck disable=SC2086
    expect_exit 0 embed $model $samples -o "$tmp/bn.npy" --force -q $how
    expect_that "bits with $how" cmp -s "$tmp/b1.npy" "$tmp/bn.npy"
    expect_that "rows with $how" cmp -s "$tmp/b1.jsonl" "$tmp/bn.jsonl"
done
expect_that 'six rows' [ "$(wc -l <"$tmp/b1.jsonl")" = 6 ]
expect_that 'members of a row' grep -qF '{"row": 3, "key": "../docs/samples/coffee.jpg", "width": 600, "height": 400}' \
    <(jq -c . "$tmp/b1.jsonl" | sed 's/:/: /g; s/,/, /g')
expect_that 'no errors' [ ! -s "$tmp/b1.errors.jsonl" ]

# ---- pool, normalize, dtype
expect_exit 0 embed $model $samples -o "$tmp/mean.npy" --pool mean -q
expect_exit 0 embed $model $samples -o "$tmp/both.npy" --pool cls+mean -q
expect_that 'width of both' grep -q '(6, 512)' <(header "$tmp/both.npy")
expect_that 'both are both' cmp -s <(values "$tmp/both.npy") \
    <(for i in 0 1 2 3 4 5; do
          values "$tmp/b1.npy" | sed -n "$((i * 256 + 1)),$((i * 256 + 256))p"
          values "$tmp/mean.npy" | sed -n "$((i * 256 + 1)),$((i * 256 + 256))p"
      done)
expect_exit 0 embed $model $samples -o "$tmp/unit.npy" --normalize yes -q
# 256 values, each rounded to 2^-24 relative: the squares add up to 1 within 2 x 2^-24.
expect_that 'length 1' awk -v bound=1.2e-7 '
    { s += $1 * $1 } NR % 256 == 0 { d = s - 1; if (d < 0) d = -d; if (d > bound) bad = 1; s = 0 }
    END { exit bad || NR != 1536 }' <(od -An -v -tf4 -w4 -j192 "$tmp/unit.npy")
expect_exit 0 embed $model $samples -o "$tmp/half.npy" --dtype f16 -q
expect_that 'half' grep -q "'<f2'.*(6, 256)" <(header "$tmp/half.npy")
expect_that 'bytes of half' [ "$(stat -c %s "$tmp/half.npy")" = $((192 + 6 * 256 * 2)) ]

# ---- protocols change the numbers, --size the tokens
for how in '--resize squash' '--resize crop-floor' '--size 84' '--fast-decode --size 28'; do
    # shellcheck disable=SC2086
    expect_exit 0 embed $model $samples -o "$tmp/other.npy" --force -q $how
    expect_that "rows with $how" grep -q '(6, 256)' <(header "$tmp/other.npy")
done

# ---- forms
for form in jsonl csv sqlite; do
    expect_exit 0 embed $model $samples -o "$tmp/form_$form.$form" -q
    expect_file "$tmp/form_$form.$form"
    expect_no_file "$tmp/form_$form.$form.part"
done
expect_that 'vectors as text' jq -e -s 'length == 6 and all(.[]; .vector | length == 256)' "$tmp/form_jsonl.jsonl" >/dev/null
# X.npy and X.sqlite have the same record: the second is refused, and the first keeps it.
cp "$tmp/b1.meta.json" "$tmp/b1.before"
for form in jsonl csv sqlite npz; do
    expect_exit 2 embed $model $samples -o "$tmp/b1.$form"
    expect_one_error "b1.$form': an output of that name and of the form npy"
done
expect_that 'the record of the first' cmp -s "$tmp/b1.meta.json" "$tmp/b1.before"
expect_exit 0 embed $model $samples -o "$tmp/units/" --unit-rows 4 -q
expect_that 'first unit' grep -q '(4, 256)' <(header "$tmp/units/img_emb/img_emb_000000.npy")
expect_that 'second unit' grep -q '(2, 256)' <(header "$tmp/units/img_emb/img_emb_000001.npy")
expect_that 'bits of units' cmp -s <(values "$tmp/b1.npy") \
    <(values "$tmp/units/img_emb/img_emb_000000.npy"; values "$tmp/units/img_emb/img_emb_000001.npy")
for file in manifest.json done/000000.json metadata/metadata_000001.jsonl; do
    expect_file "$tmp/units/$file"
done

# ---- a rerun computes nothing and needs no device
cp "$tmp/b1.npy" "$tmp/before.npy"
expect_exit 0 embed $model $samples -o "$tmp/b1.npy" -d nosuchdevice --stats "$tmp/again.json"
expect_stderr 'nothing left to do'
expect_that 'same output' cmp -s "$tmp/b1.npy" "$tmp/before.npy"
expect_that 'no images' jq -e '.images == 0 and .failed == 0' "$tmp/again.json" >/dev/null
# Another identity is refused, naming the difference; --force starts over.
expect_exit 2 embed $model $samples -o "$tmp/b1.npy" --pool mean
expect_one_error 'pool'
expect_exit 0 embed $model $samples -o "$tmp/b1.npy" --pool mean --force -q
expect_that 'other numbers' cmp -s "$tmp/b1.npy" "$tmp/mean.npy"

# ---- statistics
expect_exit 3 embed $model $samples nosuchfile.jpg -o "$tmp/s.npy" --stats "$tmp/stats.json" --batch 6
expect_that 'keys of --stats' jq -e 'has("images", "failed", "seconds", "startup_seconds", "images_per_second",
    "stages", "bytes_streamed", "weight_bytes_read", "weight_passes", "mapped_bytes", "overlap",
    "peak_device_memory", "residency", "batch", "device", "precision", "gemm")' "$tmp/stats.json" >/dev/null
expect_that 'counts of --stats' jq -e '.images == 6 and .failed == 1 and .batch == 6 and .weight_passes == 1 and
    .seconds > 0 and .images_per_second > 0 and (.images_per_second * .seconds - 6 | fabs) < 0.01 and
    .peak_device_memory > 0 and .stages.decode > 0' "$tmp/stats.json" >/dev/null
expect_exit 0 embed $model $samples -o "$tmp/t.npy" --residency stream --batch 3 --stats "$tmp/stats.json" -q
expect_that 'streaming' jq -e '.residency == "stream" and .weight_passes == 2 and
    .bytes_streamed > 1900000 * 2 and .mapped_bytes == 0' "$tmp/stats.json" >/dev/null

# ---- dry run
expect_exit 0 embed $model $samples nosuchfile.jpg -o "$tmp/no/such/dry.npy" --dry-run
expect_stdout '^items: 7$'
expect_stdout '^bytes out: 7168 '
expect_stdout '^free disk: [0-9]+'
expect_stdout '^expected time: [0-9]+:[0-9]{2}:[0-9]{2}$'
expect_no_file "$tmp/no"

# ---- mistakes
expect_exit 2 embed
expect_one_error 'MODEL'
expect_exit 2 embed $model -o "$tmp/x.npy"
expect_one_error 'no inputs'
expect_exit 2 embed $model $samples
expect_one_error '-o OUT'
expect_exit 2 embed $model $samples -o "$tmp/x.png"
expect_exit 2 embed $model $samples -o "$tmp/x.npy" --size 57
expect_one_error 'multiple of the patch size 14'
expect_exit 2 embed $model $samples -o "$tmp/x.npy" --shard 0/2
expect_one_error 'needs a folder'
expect_exit 2 embed $model $samples -o "$tmp/x/" --shard 2/2
expect_one_error 'from 0 to N-1'
for wrong in '--mode q' '--pool max' '--normalize maybe' '--resize pad' '--gray16 x' '--dtype f64' '--unit-rows 3'; do
    # shellcheck disable=SC2086
    expect_exit 2 embed $model $samples -o "$tmp/x.npy" $wrong
    expect_one_error "${wrong%% *}"
done
expect_exit 4 embed $model $samples -o "$tmp/x.npy" --mode c
expect_one_error 'no mode c.*it has: vit'
expect_exit 4 embed $model --texts nosuchfile.txt -o "$tmp/x.npy"
expect_one_error 'text tower'
expect_exit 4 embed golden/nosuchmodel $samples -o "$tmp/x.npy"
expect_one_error 'golden/nosuchmodel'
expect_exit 5 embed $model $samples -o "$tmp/x.npy" -d nosuchdevice
expect_one_error 'nosuchdevice'
expect_exit 5 embed $model $samples -o "$tmp/x.npy" --force --device-memory 100000
expect_no_file "$tmp/x.npy"
