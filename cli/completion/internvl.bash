# bash completion for internvl

_internvl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' word i
    local commands='devices info selftest synth embed features preprocess verify status merge tokenize index search'
    commands+=' similarity classify eval'
    local global='--device --device-memory --residency --precision --gemm --tuning --threads --quiet
        --verbose --log-json --trace --no-cache --cache-dir --kernel-dir --help --version'
    local picture='--resize --size --exif --gray16 --fast-decode --max-pixels --batch --stdin-tar --null'
    local image="--output $picture --dtype --unit-rows --shard --force --retry-errors --same-numerics
        --stats --dry-run"
    local clip='--mode --tokenizer --config --arch'
    local prompts='--classes --templates --prompts --dataset --language'
    local architectures='internvit-6b-224 internvit-6b-448-v1-0 internvit-6b-448-v1-5
        internvit-300m-448 internvl-14b-224 internvl-c-13b-224 tiny tiny-14b'
    local options=''

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ " $commands " == *" $word "* ]]; then
            command=$word
            break
        fi
    done
    case $prev in
    -d | --device) mapfile -t COMPREPLY < <(compgen -W 'auto gpu cpu all' -- "$cur"); return ;;
    --residency) mapfile -t COMPREPLY < <(compgen -W 'auto mapped resident stream' -- "$cur"); return ;;
    --precision) mapfile -t COMPREPLY < <(compgen -W 'exact fast' -- "$cur"); return ;;
    --gemm) mapfile -t COMPREPLY < <(compgen -W 'auto clblast tile cpu' -- "$cur"); return ;;
    --arch)
        mapfile -t COMPREPLY < <(compgen -W "$architectures" -- "$cur")
        return
        ;;
    --resize) mapfile -t COMPREPLY < <(compgen -W 'squash crop crop-floor' -- "$cur"); return ;;
    --language) mapfile -t COMPREPLY < <(compgen -W 'en zh jp it ar' -- "$cur"); return ;;
    --form) mapfile -t COMPREPLY < <(compgen -W 'auto json flickr csv lines' -- "$cur"); return ;;
    --clean) mapfile -t COMPREPLY < <(compgen -W 'yes no' -- "$cur"); return ;;
    --gray16) mapfile -t COMPREPLY < <(compgen -W 'clip scale' -- "$cur"); return ;;
    --pool) mapfile -t COMPREPLY < <(compgen -W 'cls mean cls+mean' -- "$cur"); return ;;
    --normalize) mapfile -t COMPREPLY < <(compgen -W 'yes no' -- "$cur"); return ;;
    --layout) mapfile -t COMPREPLY < <(compgen -W 'safetensors sharded bin pth' -- "$cur"); return ;;
    --naming) mapfile -t COMPREPLY < <(compgen -W 'hub pth hf' -- "$cur"); return ;;
    --dtype)
        if [ "$command" = synth ]; then
            mapfile -t COMPREPLY < <(compgen -W 'bf16 fp16 fp32' -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -W 'f32 f16' -- "$cur")
        fi
        return
        ;;
    synth)
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$architectures" -- "$cur")
            return
        fi
        ;;
    eval)
        if [[ $cur != -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W 'classification retrieval suites' -- "$cur")
            return
        fi
        ;;
    esac
    case $command in
    '') [[ $cur == -* ]] || options=$commands ;;
    devices | selftest) options='--json' ;;
    info) options='--json --tensors --full-hash --config --arch' ;;
    synth) options='--output --seed --dtype --layout --naming --set --shard-size --force' ;;
    embed)
        options="--mode --pool --normalize --texts --with-texts --pair-score --tokenizer --config --arch $image"
        ;;
    features) options="--layers --patches --config --arch $image" ;;
    preprocess) options="--u8 $image" ;;
    verify) options='--json --config --arch --published --photos --tokenizer' ;;
    status) options='--json' ;;
    merge) options='--output --force' ;;
    index) options='--output --mode --dtype --force' ;;
    search)
        options="--best --text --texts --vectors --json --table --check --tokenizer --config --arch $picture"
        ;;
    tokenize) options='--texts --text --raw --decode' ;;
    similarity) options="--images --texts --text --itm --json $clip $picture" ;;
    classify) options="--topk --labels $prompts $clip $picture" ;;
    eval)
        options="--output --suite --score-only --json --folders --annotations --images --form
            --names --split --clean --force --retry-errors $prompts $clip $picture"
        ;;
    esac
    if [[ $cur == -* || -z $command ]]; then
        [[ $cur == -* ]] && options="$options $global"
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    fi
}
complete -o default -F _internvl internvl
