#!/bin/bash
# Checks texts: no path of a build machine, no folder outside the project (only .ci/run knows some),
# no trailing blanks, no conflict marker, every script parses (and satisfies shellcheck where installed).
set -eu
cd "$(dirname "$0")/../.."

failed=0
files=()
while IFS= read -r -d '' file; do
    files+=("$file")
done < <(find . \( -name .git -o -name build -o -name 'build-*' -o -path ./tests/golden -o -path ./tests/fuzz/seeds \
    -o -name __pycache__ \) -prune -o -type f \( -name '*.[ch]' -o -name '*.cl' -o -name '*.sh' -o -name '*.cmake' \
    -o -name '*.md' -o -name '*.txt' -o -name '*.py' -o -name '*.json' -o -name '*.1' -o -path './.ci/*' \) -print0)

# forbid TEXT PATTERN [EXCEPT]: no file contains the pattern.
forbid() {
    local bad
    bad=$(grep -nE -- "$2" "${files[@]}" | grep -vE "^\./tests/ci/check_names\.sh:${3:+|$3}" || true)
    if [ -n "$bad" ]; then
        printf '%s:\n%s\n' "$1" "$bad" | head -20
        failed=1
    fi
}

forbid 'path of a machine' '(/work/|/home/[a-z]+/|/root/)'
forbid 'folder outside the project' '\.\./shared' '^\./\.ci/run:'
forbid 'trailing blanks' '[[:blank:]]+$'
forbid 'conflict marker' '^(<<<<<<<|>>>>>>>) '

scripts=()
for script in quickstart.sh test.sh .ci/run tests/ci/*.sh tests/cli/*.sh; do
    [ -f "$script" ] && scripts+=("$script")
done
for script in "${scripts[@]}"; do
    bash -n "$script" || failed=1
done
if command -v shellcheck >/dev/null; then
    shellcheck --severity=warning "${scripts[@]}" || failed=1
fi
if command -v python3 >/dev/null; then
    for file in "${files[@]}"; do
        case $file in *.py) python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file" || failed=1 ;; esac
    done
fi
[ "$failed" = 0 ] && echo "names: nothing found in ${#files[@]} files"
exit "$failed"
