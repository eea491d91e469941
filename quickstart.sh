#!/bin/bash
# quickstart.sh - from a fresh clone to embeddings of photographs.
#
#   ./quickstart.sh              builds, makes a stand-in model, embeds the sample photographs
#   ./quickstart.sh MODEL_DIR    the same with a checkpoint of yours: info, plan, embed, images per second
#   --gpu                        on a GPU; exit 5 where OpenCL serves none, instead of going on with the CPU
#
# Needs neither root nor a network when the packages are installed. Replaces no OpenCL loader or driver.
# MODEL_DIR is what `internvl` takes as a model: a folder as downloaded, or one weight file.
set -eu
here=$(dirname "$(readlink -f "$0")")
gpu=no
model=
for argument; do
    case $argument in
    --gpu) gpu=yes ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "quickstart.sh: unknown option '$argument' (see --help)" >&2; exit 2 ;;
    *)
        [ -z "$model" ] || { echo "quickstart.sh: one MODEL_DIR at a time, got '$model' and '$argument'" >&2; exit 2; }
        [ -e "$argument" ] || { echo "quickstart.sh: '$argument' does not exist" >&2; exit 2; }
        model=$(readlink -f "$argument")
        ;;
    esac
done
cd "$here"
# shellcheck source=tests/ci/packages.sh
. tests/ci/packages.sh

# ---- GPUs on the bus, before anything is built: `internvl devices` knows better, but later ----

# driver_there PATTERN: is an OpenCL driver registered whose file name matches?
driver_there() { compgen -G "/etc/OpenCL/vendors/$1" >/dev/null; }

# advice VENDOR: what would make the vendor's GPU usable, as far as it can be seen from outside; nothing when
# it seems usable.
advice() {
    local node login
    login="sudo usermod -aG render,video ${SUDO_USER:-$(id -un)}, then log in again"
    case $1 in
    0x1002)
        if [ -n "${RUSTICL_ENABLE:-}" ]; then
            :
        elif ! driver_there 'amdocl*.icd'; then
            echo "AMD GPU: no driver is installed: rocm-opencl-runtime from AMD's repository (repo.radeon.com)"
        elif ! as_user test -w /dev/kfd; then
            echo "AMD GPU: /dev/kfd is not accessible to you: $login"
        fi
        ;;
    0x8086)
        if ! driver_there 'intel*.icd'; then
            echo "Intel GPU: no driver is installed: apt-get install intel-opencl-icd (newer GPUs: Intel's repository)"
        else
            for node in /dev/dri/renderD*; do
                as_user test -w "$node" || echo "Intel GPU: $node is not accessible to you: $login"
            done
        fi
        ;;
    0x10de)
        driver_there 'nvidia*.icd' ||
            echo "NVIDIA GPU: no driver is installed: apt-get install nvidia-driver nvidia-opencl-icd (non-free)"
        ;;
    esac
    return 0
}

# gpu_vendors: the PCI vendor of each GPU or accelerator, one a line.
gpu_vendors() {
    local device
    for device in /sys/bus/pci/devices/*; do
        [ -r "$device/class" ] || continue
        case $(cat "$device/class")$(cat "$device/vendor") in
        0x03*0x1002 | 0x12*0x1002 | 0x03*0x8086 | 0x12*0x8086 | 0x03*0x10de | 0x12*0x10de) cat "$device/vendor" ;;
        esac
    done | sort -u
}

show_advice() {
    [ -n "$unserved" ] || return 0
    printf '\n**** A GPU is in this machine that OpenCL cannot use yet ****\n%s\n****\n' "$unserved"
}

vendors=$(gpu_vendors)
unserved=$(for vendor in $vendors; do advice "$vendor"; done)
served=no
for vendor in $vendors; do
    [ -n "$(advice "$vendor")" ] || served=yes
done
show_advice
if [ "$gpu" = yes ] && [ "$served" = no ] && { [ -n "$vendors" ] || ! platform_exists; }; then
    [ -n "$vendors" ] || echo "quickstart.sh: no GPU of AMD, Intel or NVIDIA is on the PCI bus" >&2
    exit 5
fi
# However it ends: what would help is the last thing on the screen.
trap show_advice EXIT

# ---- what it is going to take -----------------------------------------------------------------

# disk_of PACKAGE...: megabytes after installation, with what they depend on. Where apt knows nothing yet, what
# all of them take on a bare Debian 12 (155 packages).
disk_of() {
    local all kib=
    mapfile -t all < <(apt-get install -s --no-install-recommends "$@" 2>/dev/null | awk '/^Inst/ {print $2}')
    [ "${#all[@]}" = 0 ] || kib=$(apt-cache show --no-all-versions "${all[@]}" | awk '/^Installed-Size:/ {s += $2} END {print s}')
    echo $((${kib:-860000} / 1000))
}

packages=("${build_packages[@]}")
platform_exists || packages+=(pocl-opencl-icd)
mapfile -t needed < <(missing "${packages[@]}")
say "what this does"
if [ "${#needed[@]}" -gt 0 ]; then
    printf 'installs  %s\n          (%s MB of disk; 1 to 5 minutes, as the network goes)\n' "${needed[*]}" "$(disk_of "${needed[@]}")"
else
    echo "installs  nothing: all packages are here"
fi
echo "builds    into build/quickstart/build (10 MB, a minute)"
if [ -z "$model" ]; then
    [ -e build/quickstart/model/config.json ] ||
        echo "writes    a stand-in model into build/quickstart/model (600 MB, a few seconds)"
    [ -e build/quickstart/tiny-14b/config.json ] ||
        echo "writes    a small one with a text tower into build/quickstart/tiny-14b (3 MB)"
    echo "embeds    the photographs of docs/samples (a minute on two CPU cores), compares two with three texts"
else
    echo "embeds    the photographs of docs/samples with '$model'"
fi
install_packages "${packages[@]}"

# ---- building ---------------------------------------------------------------------------------

say "building (build/quickstart/build)"
quiet=(-- --quiet)
[ ! -t 1 ] || quiet=()
as_user cmake --preset release -DIVL_TESTS=OFF -DIVL_BENCH=OFF -B build/quickstart/build >/dev/null
as_user cmake --build build/quickstart/build "${quiet[@]}"
internvl=$here/build/quickstart/build/cli/internvl

# ---- devices ----------------------------------------------------------------------------------

say "devices"
device=()
[ "$gpu" = no ] || device=(-d gpu)
code=0
as_user "$internvl" devices "${device[@]}" || code=$?
# A driver may be registered that serves nothing here; the CPU then needs PoCL all the same.
if [ "$code" = 5 ] && [ "$gpu" = no ] && [ -n "$(missing pocl-opencl-icd)" ]; then
    install_packages pocl-opencl-icd
    code=0
    as_user "$internvl" devices || code=$?
fi
unserved=$(as_user "$internvl" devices 2>&1 >/dev/null | sed -n '/served by no OpenCL platform/s/^internvl: \(warning: \)\{0,1\}//p' || true)
[ "$code" = 0 ] || exit "$code"

# ---- the model --------------------------------------------------------------------------------

stand_in=no
if [ -z "$model" ]; then
    stand_in=yes
    model=build/quickstart/model
    if [ ! -e "$model/config.json" ]; then
        say "stand-in model: the 300M geometry with random weights"
        as_user "$internvl" synth internvit-300m-448 -o "$model"
    fi
fi
say "the model and its plan"
as_user "$internvl" info "$model" "${device[@]}"

# ---- embedding --------------------------------------------------------------------------------

say "embedding docs/samples"
code=0
as_user "$internvl" embed "$model" docs/samples -o build/quickstart/samples.csv --force \
    --stats build/quickstart/stats.json "${device[@]}" || code=$?
[ "$code" = 0 ] || exit "$code"

say "cosine of each pair of vectors"
# A row is a key and its vector; a line without numbers is a heading.
awk -F, '$2 + 0 == $2 { n++; split($1, part, "/"); name[n] = part[length(part)]; gsub(/"/, "", name[n])
        for (i = 2; i <= NF; i++) { v[n, i] = $i; norm[n] += $i * $i }; last = NF }
    END { printf "%-16s", ""
        for (b = 1; b <= n; b++) printf " %10.10s", name[b]
        print ""
        for (a = 1; a <= n; a++) { printf "%-16.16s", name[a]
            for (b = 1; b <= n; b++) { s = 0; for (i = 2; i <= last; i++) s += v[a, i] * v[b, i]
                printf " %10.3f", s / sqrt(norm[a] * norm[b]) }
            print "" } }' build/quickstart/samples.csv
awk -F'[:,]' '{ for (i = 1; i < NF; i++) if ($i ~ /"images_per_second"/) r = $(i + 1) + 0 }
    END { if (r > 0) { h = 1e6 / r / 3600
        printf "\n%.3g images/s; a million images take ", r
        if (h < 1) printf "%.0f minutes", h * 60; else if (h < 48) printf "%.1f hours", h; else printf "%.0f days", h / 24
        print " at this rate" } }' build/quickstart/stats.json

if [ "$stand_in" = yes ]; then
    say "the 6B model on this device"
    as_user "$internvl" info --arch internvit-6b-224 "${device[@]}"
fi

# ---- images and texts -------------------------------------------------------------------------

# The model's own text tower where it has one; where the model is a stand-in, a small one with one.
pairs=
if [ "$stand_in" = yes ]; then
    pairs=build/quickstart/tiny-14b
    [ -e "$pairs/config.json" ] || as_user "$internvl" synth tiny-14b -o "$pairs" --quiet
elif as_user "$internvl" info "$model" --json "${device[@]}" 2>/dev/null | grep -q '"modes": \[[^]]*"text"'; then
    pairs=$model
fi
if [ -n "$pairs" ]; then
    say "images and texts: cosines and probabilities"
    as_user "$internvl" similarity "$pairs" --images docs/samples/coffee.jpg docs/samples/chelsea.jpg \
        --text "a cup of coffee" --text "a cat" --text "一只猫" "${device[@]}"
    [ "$stand_in" = no ] ||
        printf '\nThese figures mean nothing: the weights of this small InternVL-14B are random, too.\n'
fi

if [ "$stand_in" = yes ]; then
    cat <<TEXT

The vectors above come from random weights: they show that everything works, not what is in the pictures.
With a real checkpoint (0.6 GB; InternViT-6B-224px: 12 GB; git-lfs is a package):
    git lfs install
    git clone https://huggingface.co/OpenGVLab/InternViT-300M-448px
    $(printf %q "$here/quickstart.sh") InternViT-300M-448px
TEXT
else
    printf '\nYour own photographs:\n'
fi
[ "$stand_in" = no ] || model=InternViT-300M-448px
printf '    %q embed %q photos/ -o embeddings/\n' "$internvl" "$model"
