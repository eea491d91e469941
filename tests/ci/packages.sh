# packages.sh - sourced by test.sh and quickstart.sh: what must be installed, and who builds.
#
# Nothing here installs or replaces an OpenCL loader; PoCL is the only driver that may be installed,
# and only where no OpenCL platform exists.
# shellcheck shell=bash disable=SC2034

build_packages=(cmake ninja-build gcc g++ pkg-config ocl-icd-opencl-dev opencl-c-headers libclblast-dev
    zlib1g-dev libjansson-dev libjpeg62-turbo-dev libwebp-dev libgif-dev libpng-dev
    libsqlite3-dev)
test_packages=(libcmocka-dev jq)

say() { printf '\n== %s\n' "$*"; }

# missing PACKAGE...: those that dpkg does not know as installed.
missing() {
    command -v dpkg-query >/dev/null || return 0
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# Is any OpenCL platform registered?
platform_exists() {
    [ -n "${OCL_ICD_VENDORS:-}" ] || compgen -G '/etc/OpenCL/vendors/*.icd' >/dev/null
}

# The command that makes us root; empty when we are, "-" when there is no way.
root_by() {
    if [ "$(id -u)" = 0 ]; then
        echo ''
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        echo sudo
    else
        echo -
    fi
}

# install_packages PACKAGE...: 0 when all are there afterwards.
install_packages() {
    local wanted root
    mapfile -t wanted < <(missing "$@")
    [ "${#wanted[@]}" -gt 0 ] || return 0
    root=$(root_by)
    if [ "$root" = - ]; then
        printf 'These packages are missing and need root: apt-get install %s\n' "${wanted[*]}" >&2
        return 1
    fi
    say "installing ${wanted[*]}"
    ${root:+"$root"} apt-get update -q || return 1
    ${root:+"$root"} env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${wanted[@]}"
}

# as_user COMMAND...: under sudo as the person who called it, so that no file of root's is left behind.
as_user() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        runuser -u "$SUDO_USER" -- env HOME="$(getent passwd "$SUDO_USER" | cut -d: -f6)" "$@"
    else
        "$@"
    fi
}
