#!/bin/bash
# quickstart.sh - from a fresh clone to embeddings of photographs.
#
#   ./quickstart.sh              builds, makes a stand-in model, embeds the sample photographs
#   ./quickstart.sh MODEL_DIR    the same with a checkpoint of yours: info, plan, images per second
#   --gpu                        exit 5 where a GPU is there that no OpenCL platform serves, or none at all
#
# Needs neither root nor a network when the packages are installed. Replaces no OpenCL loader or driver.
set -eu
here=$(dirname "$(readlink -f "$0")")
gpu=no
model=
for argument; do
    case $argument in
    --gpu) gpu=yes ;;
    -h | --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '/^set/,$d'; exit 0 ;;
    -*) echo "quickstart.sh: unknown option '$argument'" >&2; exit 2 ;;
    *) model=$(readlink -f "$argument") ;;
    esac
done
cd "$here"
# shellcheck source=tests/ci/packages.sh
. tests/ci/packages.sh
[ -z "$model" ] || [ -e "$model" ] || { echo "quickstart.sh: '$model' does not exist" >&2; exit 2; }

# advice VENDOR: what would make the vendor's GPU usable, as far as it can be seen from outside.
advice() {
    local node
    case $1 in
    0x1002)
        if [ -e /dev/kfd ] && ! [ -w /dev/kfd ]; then
            echo "AMD GPU: /dev/kfd is not accessible to you: sudo usermod -aG render,video $(id -un), then log in again"
        elif ! compgen -G '/etc/OpenCL/vendors/amdocl*.icd' >/dev/null; then
            echo "AMD GPU: no driver is installed: rocm-opencl-icd (Debian), rocm-opencl-runtime (AMD's repository)"
        fi
        ;;
    0x8086)
        if ! compgen -G '/etc/OpenCL/vendors/intel*.icd' >/dev/null; then
            echo "Intel GPU: no driver is installed: apt-get install intel-opencl-icd (newer GPUs: Intel's repository)"
        else
            for node in /dev/dri/renderD*; do
                [ -e "$node" ] && ! [ -w "$node" ] &&
                    echo "Intel GPU: $node is not accessible to you: sudo usermod -aG render $(id -un), then log in again"
            done
        fi
        ;;
    0x10de)
        compgen -G '/etc/OpenCL/vendors/nvidia*.icd' >/dev/null ||
            echo "NVIDIA GPU: no driver is installed: apt-get install nvidia-driver nvidia-opencl-icd (non-free)"
        ;;
    esac
    return 0
}

gpus_seen=0
gpu_advice() {
    local device vendor
    for device in /sys/bus/pci/devices/*; do
        [ -r "$device/class" ] || continue
        case $(cat "$device/class") in 0x03* | 0x12*) ;; *) continue ;; esac
        vendor=$(cat "$device/vendor")
        case $vendor in 0x1002 | 0x8086 | 0x10de) advice "$vendor" ;; esac
    done | sort -u
}
for device in /sys/bus/pci/devices/*; do
    [ -r "$device/class" ] || continue
    case $(cat "$device/class")$(cat "$device/vendor") in 0x03*0x1002 | 0x03*0x8086 | 0x03*0x10de) gpus_seen=1 ;; esac
done
unserved=$(gpu_advice)
show_advice() {
    [ -z "$unserved" ] && return
    printf '\n**** A GPU is in this machine that OpenCL cannot use yet ****\n%s\n\n' "$unserved"
}
show_advice
if [ "$gpu" = yes ] && { [ -n "$unserved" ] || [ "$gpus_seen" = 0 ]; }; then
    [ "$gpus_seen" = 1 ] || echo "quickstart.sh: no GPU of AMD, Intel or NVIDIA is on the PCI bus" >&2
    exit 5
fi

packages=("${build_packages[@]}")
platform_exists || packages+=(pocl-opencl-icd)
needed=$(missing "${packages[@]}" | tr '\n' ' ')
[ -z "$needed" ] || echo "To install: ${needed}(up to 0.7 GB of disk)"
[ -n "$model" ] || echo "The stand-in model takes 0.6 GB under build/quickstart."
install_packages "${packages[@]}"

say "building (build/quickstart/build)"
as_user cmake --preset release -DIVL_TESTS=OFF -DIVL_BENCH=OFF -B build/quickstart/build >/dev/null
as_user cmake --build build/quickstart/build
internvl=$(find build/quickstart/build -maxdepth 2 -name internvl -type f -perm -u+x | head -n 1)
[ -n "$internvl" ] || { echo "quickstart.sh: the build made no program" >&2; exit 1; }
device=()
[ "$gpu" = no ] || device=(-d gpu)

say "devices"
as_user "$internvl" devices
if [ -z "$model" ]; then
    model=build/quickstart/model
    if [ ! -e "$model/config.json" ]; then
        say "stand-in model: the 300M geometry with random weights"
        as_user "$internvl" synth internvit-300m-448 -o "$model"
    fi
    stand_in=yes
else
    stand_in=no
fi
say "the model and its plan"
as_user "$internvl" info "$model" "${device[@]}"
say "embedding docs/samples"
as_user rm -f build/quickstart/samples.csv build/quickstart/samples.*json*
as_user "$internvl" embed "$model" docs/samples -o build/quickstart/samples.csv --force \
    --stats build/quickstart/stats.json "${device[@]}"

say "cosine of each pair"
# A row is a key and its vector; a line without numbers is a heading.
awk -F, '$2 + 0 == $2 { n++; split($1, part, "/"); name[n] = part[length(part)]; gsub(/"/, "", name[n])
        for (i = 2; i <= NF; i++) { v[n, i] = $i; norm[n] += $i * $i }; last = NF }
    END { for (a = 1; a <= n; a++) { printf "%-16.16s", name[a]
            for (b = 1; b <= n; b++) { s = 0; for (i = 2; i <= last; i++) s += v[a, i] * v[b, i]
                printf " %6.3f", s / sqrt(norm[a] * norm[b]) }
            print "" } }' build/quickstart/samples.csv
rate=$(grep -o '"images_per_second": *[0-9.eE+-]*' build/quickstart/stats.json | sed 's/.*: *//')
awk -v r="$rate" 'BEGIN { if (r > 0) printf "\n%.3g images/s; a million images take %.3g hours at this rate\n", r, 1e6 / r / 3600 }'

if [ "$stand_in" = yes ]; then
    say "the 6B model on this device"
    as_user "$internvl" info --arch internvit-6b-224 "${device[@]}" || true
    cat <<'TEXT'

The vectors above come from random weights. With a real checkpoint:
    git lfs install
    git clone https://huggingface.co/OpenGVLab/InternViT-300M-448px
    ./quickstart.sh InternViT-300M-448px
TEXT
fi
show_advice
