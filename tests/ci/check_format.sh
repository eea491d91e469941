#!/bin/bash
# Checks every C file against .clang-format. The result depends on the version, so only 14 (Debian 12)
# is asked; without it the check is skipped (77).
set -eu
cd "$(dirname "$0")/../.."

tool=
for candidate in clang-format-14 clang-format; do
    if command -v "$candidate" >/dev/null && "$candidate" --version | grep -q 'version 14\.'; then
        tool=$candidate
        break
    fi
done
if [ -z "$tool" ]; then
    echo "skipped: clang-format 14 is not installed (package clang-format-14)"
    exit 77
fi
folders=()
for folder in runtime loader model cli bench tests docs/examples; do
    [ -d "$folder" ] && folders+=("$folder")
done
find "${folders[@]}" -name '*.[ch]' -print0 | xargs -0 "$tool" --dry-run -Werror
echo "format: all files agree with .clang-format"
